"""The vectors of one modality: learned freely for some entities, or an encoder's, brought to the model's size."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from vlkge import shapes
from vlkge.config import ModelConfig

CONSTANT = 1.0
"""Appended to a standardised vector: centring takes away what could carry how frequent an answer is."""


class FreeVectors(nn.Module):
    """One learned vector for each of some entities; others share one, the rest have none.

    Args:
        owners: bool [n], which entities have one of their own.
        dim: its size.
        sharers: bool [n], which entities share one; none by default.
        zeros: whether the rest have a vector of zeros that counts as present.
    """

    rows: Tensor

    def __init__(self, owners: Tensor, dim: int, sharers: Tensor | None = None, zeros: bool = False) -> None:
        super().__init__()
        self.zeros = zeros
        own = int(owners.sum())
        self.shared = own if sharers is not None and bool(sharers.any()) else None
        rows = _rows(owners) if self.shared is None else torch.where(cast(Tensor, sharers), own, _rows(owners))
        self.register_buffer("rows", rows, persistent=False)
        # Xavier over the whole table, as the official code; a table may be empty
        self.weight = nn.Parameter(torch.empty(own + (self.shared is not None), dim))
        nn.init.xavier_uniform_(self.weight.data.view(-1, dim) if len(self.weight) else torch.empty(1, dim))

    def forward(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [k, dim] of entities [k] and whether they have one; zeros where not."""
        rows = self.rows[indices]
        present = rows >= 0
        vectors = self.weight.new_zeros(len(rows), self.weight.shape[1])
        if len(self.weight):
            # sparse: an optimiser step then costs what the batch touches, not what the graph holds
            vectors = where(present, lambda chosen: embedding(chosen, self.weight, sparse=True), rows.clamp(min=0))
        return vectors, torch.ones_like(present) if self.zeros else present


class EncodedVectors(nn.Module):
    """Frozen vectors of an encoder, normalised and brought to the model's size.

    The statistics are those of entities seen in train, and are saved with the weights; the vectors
    are not, they stay in the features.

    Args:
        vectors: float32 [n, d].
        owners: bool [n], which entities have one.
        seen: bool [n], which entities are seen in train.
        config: `normalise`, `projection` and `dropout` count.
        dim: components of the projected vectors.
    """

    rows: Tensor
    vectors: Tensor
    mean: Tensor
    scale: Tensor
    frozen: Tensor | None

    def __init__(self, vectors: Tensor, owners: Tensor, seen: Tensor, config: ModelConfig, dim: int) -> None:
        super().__init__()
        size = vectors.shape[1]
        self.normalise, self.dropout, self.dim = config.normalise, config.dropout, dim
        self.generator: torch.Generator | None = None
        self.register_buffer("rows", _rows(owners), persistent=False)
        self.register_buffer("vectors", vectors[owners], persistent=False)
        mean, scale = _statistics(vectors[owners & seen], size)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        fits = config.projection == "fitting" and size == dim
        start = _start(dim, size + (self.normalise == "standardise"))
        self.projection = None if fits or config.projection == "frozen" else nn.Parameter(start)
        self.register_buffer("frozen", start if config.projection == "frozen" else None)

    def forward(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Projected vectors [k, dim] of entities [k] and whether they have one; zeros where not."""
        rows = self.rows[indices]
        present = rows >= 0
        if not len(self.vectors):
            return self.mean.new_zeros(len(rows), self.dim), present
        return where(present, lambda chosen: self.project(self.vectors[chosen]), rows.clamp(min=0)), present

    def project(self, raw: Tensor) -> Tensor:
        """An encoder's vectors [k, d] normalised and projected to [k, dim], of about length 1 at the start."""
        if self.normalise == "standardise":
            raw = (raw - self.mean) * self.scale
        elif self.normalise == "l2":
            raw = normalize(raw, dim=-1)
        if self.training and self.dropout:
            kept = torch.rand(raw.shape, generator=self.generator, device=raw.device) >= self.dropout
            raw = raw * (kept / (1 - self.dropout))
        matrix = self.frozen if self.projection is None else self.projection
        if matrix is None:
            return raw
        if self.normalise == "standardise":
            raw = torch.cat([raw, raw.new_full((len(raw), 1), CONSTANT)], dim=1)
        return raw @ matrix.T


def _rows(owners: Tensor) -> Tensor:
    return torch.where(owners, owners.cumsum(0) - 1, -1)


def where(present: Tensor, vectors: Callable[[Tensor], Tensor], things: Tensor) -> Tensor:
    """Vectors [n, d] of the things [n, ...] that are present, row by row; zeros for the others."""
    if shapes.fixed(present):
        return torch.where(present[:, None], vectors(things), 0.0)
    of_present = vectors(things[present])
    if len(of_present) == len(present):
        return of_present
    zeros = of_present.new_zeros(len(present), of_present.shape[1])
    return zeros.index_copy(0, present.nonzero()[:, 0], of_present)


def _statistics(vectors: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Mean and scale per component that bring vectors to about length 1; a constant component stays 0."""
    if len(vectors) < 2:
        return torch.zeros(size), torch.full((size,), size**-0.5)
    deviation = vectors.double().std(0, unbiased=False)
    constant = deviation <= 1e-6 * deviation.max().clamp(min=1e-30)
    scale = torch.where(constant, 0.0, deviation.clamp(min=1e-30).reciprocal() * size**-0.5)
    return vectors.double().mean(0).float(), scale.float()


def _start(rows: int, columns: int) -> Tensor:
    """A matrix [rows, columns] that keeps lengths on average: the identity, or one seeded by its shape.

    Encoders of one space (CLIP's picture and text) thereby start in one space.
    """
    if rows == columns:
        return torch.eye(rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rows * 1_000_003 + columns)
        start: Tensor = nn.init.orthogonal_(torch.empty(rows, columns))
    return start.mul(max(1.0, (columns / rows) ** 0.5))
