"""One vector per entity out of those of its modalities; an absent modality never counts."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mkg_builder.registry import Registry
from vlkge import shapes

REGISTRY = Registry(
    "fusion",
    "vlkge.fusions",
    {
        "average": "vlkge.fusion:Average",
        "addition": "vlkge.fusion:Addition",
        "concat": "vlkge.fusion:Concat",
        "weighted": "vlkge.fusion:Weighted",
        "gated": "vlkge.fusion:Gated",
    },
)


class Fusion(nn.Module, ABC):
    """`(vectors [m, n, d], present [m, n]) -> [n, out_dim]`.

    What lies where `present` is False may be anything, NaN included: it neither changes the result
    nor receives a gradient. An entity with nothing present becomes zeros.

    Args:
        modalities: how many modalities (m) there are.
        dim: components of each one's vector (d).
    """

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__()
        self.modalities, self.dim = modalities, dim

    @property
    def out_dim(self) -> int:
        """Components of a fused vector."""
        return self.dim

    @abstractmethod
    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse the modalities' vectors [m, n, d] of n entities into [n, out_dim]."""


def _masked(vectors: Tensor, present: Tensor) -> Tensor:
    if not shapes.fixed(present) and bool(present.all()):
        return vectors
    return torch.where(present[..., None], vectors, vectors.new_zeros(()))


def _added(vectors: Tensor, present: Tensor) -> Tensor:
    kept = _masked(vectors, present)
    return kept[0] if len(kept) == 1 else kept.sum(0)


class Addition(Fusion):
    """The sum of the vectors that are present."""

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse [m, n, d] into [n, d]."""
        return _added(vectors, present)


class Average(Fusion):
    """The mean of the vectors that are present.

    The official VL-KGE code also counts a structural vector that it has masked out; for an entity
    that differs from this by a constant factor only.
    """

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse [m, n, d] into [n, d]."""
        added = _added(vectors, present)
        return added if len(vectors) == 1 else added / present.sum(0).clamp(min=1).to(vectors.dtype)[:, None]


class Concat(Fusion):
    """The vectors behind each other; zeros stand where one is absent."""

    @property
    def out_dim(self) -> int:
        """`m * d`."""
        return self.modalities * self.dim

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse [m, n, d] into [n, m * d]."""
        return _masked(vectors, present).transpose(0, 1).flatten(1)


class Weighted(Fusion):
    """A weighted mean: one learned weight per modality, softmax over those that are present."""

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__(modalities, dim)
        self.logits = nn.Parameter(torch.zeros(modalities))

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse [m, n, d] into [n, d]."""
        logits = self.logits[:, None].expand(-1, present.shape[1])
        weights = logits.masked_fill(~present, torch.finfo(logits.dtype).min).softmax(0) * present
        return torch.einsum("mn,mnd->nd", weights, _masked(vectors, present))


class Gated(Fusion):
    """A weighted mean whose weights each entity's own vectors decide: softmax over `gate_m . v_m + bias_m`.

    With zero gates, as at the start, it is the mean (after Arevalo et al., "Gated Multimodal Units", 2017).
    """

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__(modalities, dim)
        self.gates = nn.Parameter(torch.zeros(modalities, dim))
        self.biases = nn.Parameter(torch.zeros(modalities))

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse [m, n, d] into [n, d]."""
        kept = _masked(vectors, present)
        strength = torch.einsum("mnd,md->mn", kept, self.gates) + self.biases[:, None]
        strength = strength.masked_fill(~present, torch.finfo(strength.dtype).min)
        weights = strength.softmax(0) * present
        return torch.einsum("mn,mnd->nd", weights, kept)


def make_fusion(name: str, modalities: int, dim: int) -> Fusion:
    """The fusion of this name for so many modalities of so many components.

    Raises:
        UnknownNameError: no fusion has this name.
    """
    fusion: Fusion = REGISTRY.resolve(name)(modalities, dim)
    return fusion
