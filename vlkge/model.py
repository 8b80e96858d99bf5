"""Entities as vectors of their modalities, relations as parameters, triples as scores."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from vlkge.config import ModelConfig
from vlkge.dataset import Dataset
from vlkge.encoders import Modality
from vlkge.errors import ExperimentError
from vlkge.features import ModalityFeatures
from vlkge.fusion import make_fusion
from vlkge.scorers import make_scorer

STRUCTURAL = "structural"

Features = Mapping[Modality, ModalityFeatures]
"""The encoders' vectors by modality."""

CONSTANT = 1.0
"""Appended to a standardised vector: centring takes away what could carry how frequent an answer is."""

IMAGINARY_GAIN = 0.1
"""Start of the map from the real to the imaginary part: small, but not zero, which would never learn."""


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
        # sparse: an optimiser step then costs what the batch touches, not what the graph holds
        vectors = embedding(rows[present], self.weight, sparse=True)
        return _spread(vectors, present), torch.ones_like(present) if self.zeros else present


class EncodedVectors(nn.Module):
    """Frozen vectors of an encoder, normalised and brought to the model's size.

    The statistics are those of entities seen in train, and are saved with the weights; the vectors
    are not, they stay in the features.

    Args:
        vectors: float32 [n, d].
        owners: bool [n], which entities have one.
        seen: bool [n], which entities are seen in train.
        config: `dim`, `normalise`, `projection` and `dropout` count.
    """

    rows: Tensor
    vectors: Tensor
    mean: Tensor
    scale: Tensor
    frozen: Tensor | None

    def __init__(self, vectors: Tensor, owners: Tensor, seen: Tensor, config: ModelConfig) -> None:
        super().__init__()
        size = vectors.shape[1]
        self.normalise, self.dropout = config.normalise, config.dropout
        self.generator: torch.Generator | None = None
        self.register_buffer("rows", _rows(owners), persistent=False)
        self.register_buffer("vectors", vectors[owners], persistent=False)
        mean, scale = _statistics(vectors[owners & seen], size)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        start = _start(config.dim, size + (self.normalise == "standardise"))
        fits = config.projection == "fitting" and start.shape[0] == start.shape[1]
        self.projection = None if fits or config.projection == "frozen" else nn.Parameter(start)
        self.register_buffer("frozen", start if config.projection == "frozen" else None)

    def forward(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Projected vectors [k, dim] of entities [k] and whether they have one; zeros where not."""
        rows = self.rows[indices]
        present = rows >= 0
        return _spread(self.project(self.vectors[rows[present]]), present), present

    def project(self, raw: Tensor) -> Tensor:
        """An encoder's vectors [k, d] normalised and projected to [k, dim], of about length 1 at the start."""
        if self.normalise == "standardise":
            raw = (raw - self.mean) * self.scale
        elif self.normalise == "l2":
            raw = normalize(raw, dim=-1)
        if self.training and self.dropout:
            kept = torch.rand(raw.shape, generator=self.generator, device=raw.device) >= self.dropout
            raw = raw * (kept / (1 - self.dropout))
        if self.normalise == "standardise":
            raw = torch.cat([raw, raw.new_full((len(raw), 1), CONSTANT)], dim=1)
        matrix = self.frozen if self.projection is None else self.projection
        return raw if matrix is None else raw @ matrix.T


class EntityRepresentation(nn.Module):
    """`fuse(structural, image, text)` of an entity, as far as it has them: the real part of its vector.

    Args:
        config: modalities (resolved), fusion, dim, and which entities have a free vector.
        dataset: the graph.
        features: the encoders' vectors by modality.

    Raises:
        ExperimentError: a modality that the features do not hold.
    """

    def __init__(self, config: ModelConfig, dataset: Dataset, features: Features) -> None:
        super().__init__()
        seen = dataset.seen()
        self.modalities = nn.ModuleDict()
        for modality in config.modalities or ():
            if modality == "structural":
                self.modalities[modality] = _structural(config, dataset)
            else:
                if modality not in features:
                    has = ", ".join(sorted(features)) or "none"
                    raise ExperimentError(f"modality {modality!r} is asked for, the features hold: {has}")
                vectors, present = map(torch.from_numpy, features[modality].align(dataset.entities))
                self.modalities[modality] = EncodedVectors(vectors, present, seen, config)
        self.fusion = make_fusion(config.fusion, len(self.modalities), config.dim)
        self.dim = self.fusion.out_dim
        self._modality_dim = config.dim

    def forward(self, indices: Tensor) -> Tensor:
        """Fused vectors [k, dim] of entities [k]."""
        vectors, present = zip(*(part(indices) for part in self.modalities.values()), strict=True)
        return cast(Tensor, self.fusion(torch.stack(vectors), torch.stack(present)))

    def outside(self, raw: Mapping[Modality, Tensor]) -> Tensor:
        """Fused vectors [k, dim] of things outside the graph, from encoders' vectors [k, d] by modality.

        Raises:
            ExperimentError: the model has no such modality.
        """
        for modality in raw:
            if modality not in self.modalities or modality == STRUCTURAL:
                raise ExperimentError(f"the model has no {modality} modality; it has {', '.join(self.modalities)}")
        given: dict[str, Tensor] = dict(raw)  # type: ignore[arg-type]
        count = len(next(iter(given.values())))
        parts = {name: self.modalities[name].project(vectors) for name, vectors in given.items()}  # type: ignore[operator]
        free = dict(self.modalities.items()).get(STRUCTURAL)
        if isinstance(free, FreeVectors) and free.shared is not None:
            parts[STRUCTURAL] = free.weight[free.shared].expand(count, -1)
        absent = torch.zeros(count, self._modality_dim)
        present = torch.tensor([[name in parts] * count for name in self.modalities])
        return cast(Tensor, self.fusion(torch.stack([parts.get(name, absent) for name in self.modalities]), present))

    def has_any(self, indices: Tensor) -> Tensor:
        """Whether anything is known of entities [k] themselves; a vector that they share with others does not count."""
        own = []
        for part in self.modalities.values():
            rows = cast(FreeVectors, part).rows[indices]
            own.append((rows >= 0) & (rows != getattr(part, "shared", None)))
        return torch.stack(own).any(0)


class ImaginaryPart(nn.Module):
    """The imaginary part of complex vectors: free where an entity may have a free vector, else a map.

    Of an entity of a type with unseen members it is a linear map of the real part, so that an unseen
    one has it too. The official code's map starts as gate 0 x weights 0, whose gradients stay 0.
    """

    def __init__(self, owners: Tensor, dim: int) -> None:
        super().__init__()
        self.free = FreeVectors(owners, dim)
        self.map = nn.Parameter(torch.empty(dim, dim))
        nn.init.xavier_uniform_(self.map, gain=IMAGINARY_GAIN)

    def forward(self, indices: Tensor, real: Tensor) -> Tensor:
        """Imaginary parts [k, dim] of entities [k] with real parts [k, dim]."""
        free, present = self.free(indices)
        mapped = _spread(self.outside(real[~present]), ~present)
        return cast(Tensor, free + mapped)  # each is zero where the other is not

    def outside(self, real: Tensor) -> Tensor:
        """Imaginary parts [k, dim] of things outside the graph."""
        return real @ self.map.T


class KGEModel(nn.Module):
    """Entity vectors, relation parameters and the scorer over them.

    With reciprocal relations, row `r + relation_count` of `relations` is the inverse of row `r`.

    Args:
        config: the experiment's model, modalities resolved.
        dataset: the graph.
        features: the encoders' vectors by modality.
    """

    def __init__(self, config: ModelConfig, dataset: Dataset, features: Features) -> None:
        super().__init__()
        self.scorer = make_scorer(config.scorer)
        self.real = EntityRepresentation(config, dataset, features)
        self.imaginary: ImaginaryPart | None = None
        if self.scorer.parts == 2:
            owners = dataset.seen() & closed_types(dataset)
            if STRUCTURAL not in (config.modalities or ()):
                owners = torch.zeros_like(owners)
            self.imaginary = ImaginaryPart(owners, self.real.dim)
        self.reciprocal, self.relation_count = config.reciprocal, len(dataset.relations)
        rows = self.relation_count * (2 if self.reciprocal else 1)
        self.relations = nn.Parameter(torch.empty(rows, self.scorer.relation_size(self.real.dim)))
        self.scorer.init_relations(self.relations.data)

    def draw_from(self, generator: torch.Generator) -> None:
        """Let dropout draw from this generator, so that its state is all the randomness of training."""
        for part in self.real.modalities.values():
            if isinstance(part, EncodedVectors):
                part.generator = generator

    def represent(self, indices: Tensor) -> Tensor:
        """Vectors [k, parts * dim] of entities [k]; a zero vector for one without any modality."""
        real = self.real(indices)
        return real if self.imaginary is None else torch.cat([real, self.imaginary(indices, real)], dim=-1)

    def represent_outside(self, raw: Mapping[Modality, Tensor]) -> Tensor:
        """Vectors [k, parts * dim] of things outside the graph, from encoders' vectors [k, d] by modality."""
        real = self.real.outside(raw)
        return real if self.imaginary is None else torch.cat([real, self.imaginary.outside(real)], dim=-1)

    @torch.no_grad()
    def represent_all(self, indices: Tensor, chunk: int = 8192) -> Tensor:
        """As `represent`, without gradients and in bounded memory."""
        return torch.cat([self.represent(part) for part in torch.split(indices, chunk)])


def build_model(config: ModelConfig, dataset: Dataset, features: Features, seed: int) -> KGEModel:
    """A model at its seeded start; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KGEModel(config, dataset, features)


def _structural(config: ModelConfig, dataset: Dataset) -> FreeVectors:
    seen, closed = dataset.seen(), closed_types(dataset)
    if config.structural != "shared":
        return FreeVectors(seen, config.dim, zeros=config.structural == "masked")
    return FreeVectors(seen & closed, config.dim, sharers=~closed)


def closed_types(dataset: Dataset) -> Tensor:
    """Which entities [n] are of a type whose members are all in train by the data set's design."""
    return torch.tensor([kind != dataset.unseen_type for kind in dataset.types])


def _rows(owners: Tensor) -> Tensor:
    return torch.where(owners, owners.cumsum(0) - 1, -1)


def _spread(vectors: Tensor, present: Tensor) -> Tensor:
    if len(vectors) == len(present):
        return vectors
    empty: Tensor = vectors.new_zeros(len(present), vectors.shape[1])
    return empty.index_copy(0, present.nonzero()[:, 0], vectors)


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
