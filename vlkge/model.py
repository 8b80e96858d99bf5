"""Entities as vectors of their modalities, relations as parameters, triples as scores."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from vlkge.config import ModelConfig
from vlkge.dataset import Dataset
from vlkge.encoders import Modality
from vlkge.errors import ExperimentError
from vlkge.features import ModalityFeatures
from vlkge.fusion import make_fusion
from vlkge.observed import ObservedFeatures
from vlkge.scorers import make_scorer
from vlkge.vectors import EncodedVectors, FreeVectors, where

STRUCTURAL = "structural"
SEEN = "observed"
"""What is withheld like a modality where nothing is to be observed."""

Features = Mapping[Modality, ModalityFeatures]
"""The encoders' vectors by modality."""

IMAGINARY_GAIN = 0.1
"""Start of the map from the real to the imaginary part: small, but not zero, which would never learn."""


class EntityRepresentation(nn.Module):
    """`fuse(structural, image, text)` of an entity, as far as it has them: the real part of its vector.

    Args:
        config: modalities (resolved), fusion, dim, and which entities have a free vector.
        dataset: the graph.
        features: the encoders' vectors by modality.
        learned: bool [entities], which were learned from.
        parts: each modality's vector is so many of `dim` components, which are fused one by one.

    Raises:
        ExperimentError: a modality that the features do not hold.
    """

    def __init__(
        self, config: ModelConfig, dataset: Dataset, features: Features, learned: Tensor, parts: int = 1
    ) -> None:
        super().__init__()
        size = config.dim * parts
        self.modalities = nn.ModuleDict()
        for modality in config.modalities or ():
            if modality == "structural":
                self.modalities[modality] = _structural(config, closed_types(dataset), learned, size)
            else:
                if modality not in features:
                    has = ", ".join(sorted(features)) or "none"
                    raise ExperimentError(f"modality {modality!r} is asked for, the features hold: {has}")
                vectors, present = map(torch.from_numpy, features[modality].align(dataset.entities))
                self.modalities[modality] = EncodedVectors(vectors, present, learned, config, size)
        self.dropout, self.generator = config.modality_dropout, cast(torch.Generator | None, None)
        self.withheld: dict[str, Tensor] = {}
        self.fusion = make_fusion(config.fusion, len(self.modalities), config.dim)
        self.dim, self.parts = self.fusion.out_dim, parts
        self._size = size

    def forward(self, indices: Tensor) -> Tensor:
        """Fused vectors [k, parts * dim] of entities [k]."""
        vectors, present = zip(*(part(indices) for part in self.modalities.values()), strict=True)
        there = torch.stack(present)
        for place, name in enumerate(self.modalities):
            if name in self.withheld:
                there[place] &= ~self.withheld[name][indices]
        if self.training and self.dropout:
            there = self._without_some(there)
        return self._fuse(torch.stack(vectors) if len(vectors) > 1 else vectors[0][None], there)

    @contextmanager
    def without(self, modalities: Collection[str], entities: Tensor) -> Iterator[None]:
        """While the block runs, these modalities are absent from these entities, bool [n] or one for all."""
        rows = cast(FreeVectors, next(iter(self.modalities.values()))).rows
        self.withheld = dict.fromkeys(modalities, entities.to(rows.device).expand(rows.shape))
        try:
            yield
        finally:
            self.withheld = {}

    def _fuse(self, vectors: Tensor, present: Tensor) -> Tensor:
        if self.parts == 1:
            return cast(Tensor, self.fusion(vectors, present))
        return torch.cat([self.fusion(part, present) for part in vectors.chunk(self.parts, dim=-1)], dim=-1)

    def _without_some(self, present: Tensor) -> Tensor:
        """Some of what is present [m, n], at least one modality of every entity that has any."""
        drawn = torch.rand(present.shape, generator=self.generator, device=present.device)
        # the largest draw stays, whatever it is
        largest = drawn.masked_fill(~present, -1.0).max(0, keepdim=True).values
        return present & ((drawn >= self.dropout) | (drawn == largest))

    def outside(self, raw: Mapping[Modality, Tensor], unseen: bool) -> Tensor:
        """Fused vectors [k, parts * dim] of things outside the graph, as an entity that was not learned from has them.

        Args:
            raw: encoders' vectors [k, d] by modality.
            unseen: whether they are of the type that has unseen members, which may share a vector.

        Raises:
            ExperimentError: the model has no such modality.
        """
        for modality in raw:
            if modality not in self.modalities or modality == STRUCTURAL:
                raise ExperimentError(f"the model has no {modality} modality; it has {', '.join(self.modalities)}")
        given: dict[str, Tensor] = dict(raw)  # type: ignore[arg-type]
        count = max(map(len, given.values()), default=1)
        parts = {name: self.modalities[name].project(vectors) for name, vectors in given.items()}  # type: ignore[operator]
        free = dict(self.modalities.items()).get(STRUCTURAL)
        absent = torch.zeros(count, self._size)
        if isinstance(free, FreeVectors) and STRUCTURAL not in self.withheld:
            if free.shared is not None and unseen:
                parts[STRUCTURAL] = free.weight[free.shared].expand(count, -1)
            elif free.zeros:
                parts[STRUCTURAL] = absent
        present = torch.tensor([[name in parts] * count for name in self.modalities])
        return self._fuse(torch.stack([parts.get(name, absent) for name in self.modalities]), present)

    def has_any(self, indices: Tensor) -> Tensor:
        """Whether anything is known of entities [k] themselves; a vector that they share with others does not count."""
        return self.has(indices).any(0)

    def has(self, indices: Tensor) -> Tensor:
        """Which modalities [m, k] entities [k] have themselves, in the order of `modalities`."""
        own = []
        for name, part in self.modalities.items():
            rows = cast(FreeVectors, part).rows[indices]
            has = (rows >= 0) & (rows != getattr(part, "shared", None))
            own.append(has & ~self.withheld[name][indices] if name in self.withheld else has)
        return torch.stack(own)


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

    def forward(self, indices: Tensor, real: Tensor, free: bool = True) -> Tensor:
        """Imaginary parts [k, dim] of entities [k] with real parts [k, dim]; zeros for the free ones on demand."""
        own, present = self.free(indices)
        mapped = where(~present, self.outside, real)
        if not free:
            return mapped
        return cast(Tensor, own + mapped)  # each is zero where the other is not

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
        learned: bool [entities], which were learned from and may have a vector of their own; None for those in train.
    """

    def __init__(
        self, config: ModelConfig, dataset: Dataset, features: Features, learned: Tensor | None = None
    ) -> None:
        super().__init__()
        self.scorer = make_scorer(config.scorer)
        fused = self.scorer.parts if config.imaginary == "fused" else 1
        learned = dataset.seen() if learned is None else learned
        self.real = EntityRepresentation(config, dataset, features, learned, fused)
        self.imaginary: ImaginaryPart | None = None
        if self.scorer.parts > fused:
            owners = learned & closed_types(dataset)
            if STRUCTURAL not in (config.modalities or ()):
                owners = torch.zeros_like(owners)
            self.imaginary = ImaginaryPart(owners, self.real.dim)
        self.reciprocal, self.relation_count = config.reciprocal, len(dataset.relations)
        rows = self.relation_count * (2 if self.reciprocal else 1)
        self.relations = nn.Parameter(torch.empty(rows, self.scorer.relation_size(self.real.dim)))
        self.scorer.init_relations(self.relations.data)
        self.observed = ObservedFeatures(config.observed, dataset) if config.observed else None

    def observe(self, rows: Tensor, anchors: Tensor, candidates: Tensor) -> Tensor:
        """What scores [q, m] gain by what is seen of candidates [m]: nothing, or as `ObservedFeatures` says.

        Where text is withheld from any entity, nothing is read of texts.
        """
        if self.observed is None or SEEN in self.real.withheld:
            return torch.zeros((), device=rows.device)
        return self.observed.among(rows, anchors, candidates, read="text" not in self.real.withheld)

    def draw_from(self, generator: torch.Generator) -> None:
        """Let dropout draw from this generator, so that its state is all the randomness of training."""
        self.real.generator = generator
        for part in self.real.modalities.values():
            if isinstance(part, EncodedVectors):
                part.generator = generator

    def represent(self, indices: Tensor) -> Tensor:
        """Vectors [k, parts * dim] of entities [k]; a zero vector for one without any modality."""
        real: Tensor = self.real(indices)
        if self.imaginary is None:
            return real
        free = STRUCTURAL not in self.real.withheld  # a free imaginary part goes with the structural vector
        return torch.cat([real, self.imaginary(indices, real, free)], dim=-1)

    def represent_outside(self, raw: Mapping[Modality, Tensor], unseen: bool) -> Tensor:
        """Vectors [k, parts * dim] of things outside the graph; as `EntityRepresentation.outside`."""
        real = self.real.outside(raw, unseen)
        return real if self.imaginary is None else torch.cat([real, self.imaginary.outside(real)], dim=-1)

    @torch.no_grad()
    def represent_all(self, indices: Tensor, chunk: int = 8192) -> Tensor:
        """As `represent`, without gradients and in bounded memory."""
        return torch.cat([self.represent(part) for part in torch.split(indices, chunk)])


def build_model(
    config: ModelConfig, dataset: Dataset, features: Features, seed: int, learned: Tensor | None = None
) -> KGEModel:
    """A model at its seeded start; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KGEModel(config, dataset, features, learned)


def _structural(config: ModelConfig, closed: Tensor, learned: Tensor, size: int) -> FreeVectors:
    if config.structural != "shared":
        return FreeVectors(learned, size, zeros=config.structural == "masked")
    return FreeVectors(learned & closed, size, sharers=~closed)


def closed_types(dataset: Dataset) -> Tensor:
    """Which entities [n] are of a type whose members are all in train by the data set's design."""
    return torch.tensor([kind != dataset.unseen_type for kind in dataset.types])
