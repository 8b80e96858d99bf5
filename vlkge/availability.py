"""Metrics by the modalities that the asked entities have, and by those that are withheld from them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, cast

import torch
from torch import Tensor

from vlkge.errors import RunError
from vlkge.evaluate import Evaluator
from vlkge.model import STRUCTURAL, KGEModel
from vlkge.ranking import Metrics, Ranks, summarise
from vlkge.scores import FrequencyScores, ModelScores
from vlkge.vectors import EncodedVectors

EVERY = ""
"""In place of a relation's name: all of them."""

Row = tuple[str | int | float | None, ...]


@dataclass(frozen=True)
class ByModality:
    """How well queries are answered, by what is known of the entity that is asked about.

    Attributes:
        available: by the modalities that it has ("image + text", "image", "none"): the model, and the baseline
            of the most frequent answer over the same queries.
        withheld: of all queries, when the entities of the type with unseen members, or all where there is none,
            are left without some of their modalities ("nothing", "image", "image + text").
        relations: as `available`, the model alone, by relation.
    """

    available: Mapping[str, tuple[Metrics, Metrics]]
    withheld: Mapping[str, Metrics]
    relations: Mapping[str, Mapping[str, Metrics]]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return {
            "available": {
                name: {"model": model.to_json(), "most_frequent": frequent.to_json()}
                for name, (model, frequent) in self.available.items()
            },
            "withheld": {name: metrics.to_json() for name, metrics in self.withheld.items()},
            "relations": {
                name: {kind: metrics.to_json() for kind, metrics in kinds.items()}
                for name, kinds in self.relations.items()
            },
        }

    def rows(self) -> list[Row]:
        """A row per set of modalities that entities have: queries, MRR, Hits@1, 3, 10, the baseline's MRR."""
        return [(name, *_numbers(model), frequent.mrr) for name, (model, frequent) in self.available.items()]

    def withheld_rows(self) -> list[Row]:
        """A row per set of modalities that is withheld: queries, MRR, Hits@1, 3, 10, the difference in MRR."""
        whole = next(iter(self.withheld.values()))
        return [(name, *_numbers(m), f"{m.mrr - whole.mrr:+.3f}") for name, m in self.withheld.items()]


def _numbers(metrics: Metrics) -> Row:
    return (metrics.queries, metrics.mrr, metrics.hits_at_1, metrics.hits_at_3, metrics.hits_at_10)


def evaluate_by_modality(model: KGEModel, evaluator: Evaluator) -> ByModality:
    """Rank an evaluator's queries, told apart by the modalities of the entity that is asked about.

    Raises:
        RunError: the model has no modality but structural vectors.
    """
    encoded = [name for name in model.real.modalities if name != STRUCTURAL]
    if not encoded:
        raise RunError("the run has structural vectors alone: no modality can be told apart; train one with features")
    kinds, entities = _kinds(model, encoded), evaluator.entities()
    ranks = evaluator.rank(ModelScores(model, entities))
    of_model = _by_kind(evaluator, ranks, kinds)
    of_frequent = _by_kind(evaluator, evaluator.rank(FrequencyScores(evaluator.dataset)), kinds)
    available = {kind: (of_model[EVERY, kind], of_frequent[EVERY, kind]) for kind in kinds.names[::-1]
                 if (EVERY, kind) in of_model}  # fmt: skip
    withheld = {"nothing": _metrics(evaluator, ranks)}
    for names in _subsets(encoded):
        with model.real.without(names, _withheld_from(evaluator)):
            withheld[" + ".join(names)] = _metrics(evaluator, evaluator.rank(ModelScores(model, entities)))
    relations: dict[str, dict[str, Metrics]] = defaultdict(dict)
    for (relation, kind), metrics in of_model.items():
        if relation != EVERY:
            relations[relation][kind] = metrics
    return ByModality(available, withheld, relations)


def _metrics(evaluator: Evaluator, parts: Sequence[Ranks]) -> Metrics:
    ranks = Ranks.joined(parts)
    return summarise(ranks.by(evaluator.protocol.ties), ranks.candidates)


def _subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty set of the names, small ones first."""
    return [chosen for size in range(1, len(names) + 1) for chosen in combinations(names, size)]


@dataclass(frozen=True)
class _Kinds:
    """Which set of modalities each entity has: a number, int64 [n], whose bits say which; and the sets' names."""

    numbers: Tensor
    names: Sequence[str]


def _kinds(model: KGEModel, encoded: Sequence[str]) -> _Kinds:
    has = torch.stack([cast(EncodedVectors, model.real.modalities[name]).rows >= 0 for name in encoded]).cpu()
    names = [
        " + ".join(name for bit, name in enumerate(encoded) if number >> bit & 1) or "none"
        for number in range(2 ** len(encoded))
    ]
    return _Kinds((has * 2 ** torch.arange(len(encoded))[:, None]).sum(0), names)


def _by_kind(evaluator: Evaluator, ranks: Sequence[Ranks], kinds: _Kinds) -> dict[tuple[str, str], Metrics]:
    """The metrics of each relation's queries, and of all, by what kind of anchor they ask about."""
    parts: dict[tuple[str, str], list[Ranks]] = defaultdict(list)
    for group, found in zip(evaluator.groups, ranks, strict=True):
        of_anchors = kinds.numbers[group.anchors]
        for number in torch.unique(of_anchors).tolist():
            part = found.where(of_anchors == number)
            for relation in (EVERY, evaluator.dataset.relations[group.relation]):
                parts[relation, kinds.names[number]].append(part)
    return {key: _metrics(evaluator, found) for key, found in sorted(parts.items())}


def _withheld_from(evaluator: Evaluator) -> Tensor:
    """The entities that modalities are withheld from: those of the type with unseen members, or all."""
    dataset = evaluator.dataset
    return torch.tensor([dataset.unseen_type in (None, kind) for kind in dataset.types])
