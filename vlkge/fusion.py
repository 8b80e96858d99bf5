"""One vector per entity out of those of its modalities; an absent modality never counts."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mkg_builder.registry import Registry

REGISTRY = Registry(
    "fusion",
    "vlkge.fusions",
    {
        "average": "vlkge.fusion:Average",
        "addition": "vlkge.fusion:Addition",
        "concat": "vlkge.fusion:Concat",
        "weighted": "vlkge.fusion:Weighted",
    },
)


class Fusion(nn.Module, ABC):
    """`(vectors [m, n, d], present [m, n]) -> [n, out_dim(d)]`.

    What lies where `present` is False may be anything, NaN included: it neither changes the result
    nor receives a gradient. An entity with nothing present becomes zeros.

    Args:
        modalities: how many modalities (m) there are.
    """

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.modalities = modalities

    def out_dim(self, dim: int) -> int:
        """The size of a fused vector when each modality's has `dim` components."""
        return dim

    @abstractmethod
    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse the modalities' vectors [m, n, d] of n entities into [n, out_dim(d)]."""


def _masked(vectors: Tensor, present: Tensor) -> Tensor:
    return torch.where(present[..., None], vectors, vectors.new_zeros(()))


class Addition(Fusion):
    """The sum of the vectors that are present."""

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse [m, n, d] into [n, d]."""
        return _masked(vectors, present).sum(0)


class Average(Fusion):
    """The mean of the vectors that are present.

    The official VL-KGE code also counts a structural vector that it has masked out; for an entity
    that differs from this by a constant factor only.
    """

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse [m, n, d] into [n, d]."""
        count = present.sum(0).clamp(min=1).to(vectors.dtype)
        return _masked(vectors, present).sum(0) / count[:, None]


class Concat(Fusion):
    """The vectors behind each other; zeros stand where one is absent."""

    def out_dim(self, dim: int) -> int:
        """`m * dim`."""
        return self.modalities * dim

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse [m, n, d] into [n, m * d]."""
        return _masked(vectors, present).transpose(0, 1).flatten(1)


class Weighted(Fusion):
    """A weighted mean: one learned weight per modality, softmax over those that are present."""

    def __init__(self, modalities: int) -> None:
        super().__init__(modalities)
        self.logits = nn.Parameter(torch.zeros(modalities))

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse [m, n, d] into [n, d]."""
        strength = (self.logits - self.logits.max().detach()).exp()[:, None] * present
        total = strength.sum(0)
        weights = strength / torch.where(total > 0, total, torch.ones_like(total))
        return torch.einsum("mn,mnd->nd", weights, _masked(vectors, present))


def make_fusion(name: str, modalities: int) -> Fusion:
    """The fusion of this name for so many modalities.

    Raises:
        UnknownNameError: no fusion has this name.
    """
    fusion: Fusion = REGISTRY.resolve(name)(modalities)
    return fusion
