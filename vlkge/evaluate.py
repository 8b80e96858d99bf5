"""How well a model ranks the answers of a split: overall, per relation, and beside two baselines."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mkg_builder.errors import UnknownNameError
from mkg_builder.progress import watched
from vlkge.counting import Counter
from vlkge.dataset import Dataset
from vlkge.errors import RunError
from vlkge.model import KGEModel
from vlkge.protocol import EvaluationProtocol, query_groups
from vlkge.queries import make_batches
from vlkge.ranking import Metrics, Ranks, expect_by_chance, summarise
from vlkge.run import Run
from vlkge.scores import CandidateScores, FrequencyScores, ModelScores, make_keys

SCORES_AT_ONCE = 2**22
"""How many scores are held at a time; memory stays bounded whatever the split's size."""


@dataclass(frozen=True)
class Breakdown:
    """Metrics over all queries and per relation."""

    overall: Metrics
    relations: Mapping[str, Metrics]

    def of(self, relation: str | None) -> Metrics:
        """The metrics of one relation, or of all queries."""
        return self.overall if relation is None else self.relations[relation]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return {
            "overall": self.overall.to_json(),
            "relations": {name: metrics.to_json() for name, metrics in self.relations.items()},
        }


class Evaluator:
    """The queries of one split under one protocol, prepared once and asked of any scores.

    Args:
        dataset: the graph.
        split: which triples are asked.
        protocol: how.
        scores_at_once: bound on the scores held at a time; the result does not depend on it.

    Raises:
        UnknownNameError: no such split.
        RunError: the split has no triples, or none of a relation that is evaluated.
    """

    def __init__(
        self, dataset: Dataset, split: str, protocol: EvaluationProtocol, scores_at_once: int = SCORES_AT_ONCE
    ) -> None:
        if split not in dataset.triples:
            raise UnknownNameError("split", split, dataset.triples)
        if not len(dataset.triples[split]):
            raise RunError(f"{dataset.name} has no {split} triples, so there is nothing to evaluate")
        self.dataset, self.split, self.protocol = dataset, split, protocol
        self.groups = query_groups(protocol, dataset, split)
        if not self.groups:
            raise RunError(f"no {split} triple of {dataset.name} is of a relation that is evaluated")
        known = {d: protocol.known(dataset, d) for d in protocol.directions(dataset)}
        asked = [tensor for group in self.groups for tensor in (group.anchors, group.candidates)]
        self._entities: Tensor = torch.unique(torch.cat(asked))
        self._batches = make_batches(self.groups, known, dataset.tie_order, scores_at_once)

    def entities(self) -> Tensor:
        """Every entity that is asked about or competes, sorted."""
        return self._entities

    def rank(self, scores: CandidateScores) -> list[Ranks]:
        """The ranks of each group's targets."""
        counter = Counter(scores.device if isinstance(scores, ModelScores) else torch.device("cpu"))
        ranks = [counter.rank(make_keys(scores, batch), batch) for batch in watched("ranking", self._batches)]
        return Ranks.joined(ranks).split([len(group.anchors) for group in self.groups])

    def summarise(self, ranks: list[Ranks]) -> Breakdown:
        """The metrics of `rank`'s answer under the protocol's rule for ties."""
        by_relation = self.by_relation(ranks)
        per = {name: summarise(part.by(self.protocol.ties), part.candidates) for name, part in by_relation.items()}
        whole = Ranks.joined(ranks)
        return Breakdown(summarise(whole.by(self.protocol.ties), whole.candidates), per)

    def chance(self, ranks: list[Ranks]) -> Breakdown:
        """What a uniformly random order of the same candidates is expected to reach."""
        per = {name: expect_by_chance(part.candidates) for name, part in self.by_relation(ranks).items()}
        return Breakdown(expect_by_chance(Ranks.joined(ranks).candidates), per)

    def by_relation(self, ranks: list[Ranks]) -> dict[str, Ranks]:
        """The ranks of each relation, of both directions."""
        parts = defaultdict(list)
        for group, part in zip(self.groups, ranks, strict=True):
            parts[self.dataset.relations[group.relation]].append(part)
        return {name: Ranks.joined(parts[name]) for name in sorted(parts)}


@dataclass(frozen=True)
class EvaluationResult:
    """A model's metrics with all that they depend on.

    Attributes:
        model: under the protocol.
        baselines: `chance` and `most_frequent`, over the same queries and candidates.
        about: protocol and version, split, data set, version and content hash, seed.
    """

    model: Breakdown
    baselines: Mapping[str, Breakdown]
    about: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        baselines = {name: breakdown.to_json() for name, breakdown in self.baselines.items()}
        return {**self.about, **self.model.to_json(), "baselines": baselines}

    def rows(self) -> list[tuple[str | int | float, ...]]:
        """A row over all queries and one per relation: counts, the model's metrics, the baselines' MRR."""
        names: list[str | None] = [None, *self.model.relations]
        return [
            _row(name or "all", *(part.of(name) for part in (self.model, *self.baselines.values()))) for name in names
        ]


def _row(name: str, model: Metrics, *baselines: Metrics) -> tuple[str | int | float, ...]:
    hits = (model.hits_at_1, model.hits_at_3, model.hits_at_10)
    return (name, model.queries, round(model.candidates), model.mrr, *hits, *(baseline.mrr for baseline in baselines))


def evaluate(
    model: KGEModel, dataset: Dataset, split: str, protocol: EvaluationProtocol, seed: int | None = None
) -> EvaluationResult:
    """Rank a split's answers by a model and by the baselines, through the same code.

    Raises:
        RunError: the split is empty, or the model's scores are not finite.
    """
    evaluator = Evaluator(dataset, split, protocol)
    return evaluate_scores(evaluator, ModelScores(model, evaluator.entities()), seed)


def evaluate_scores(evaluator: Evaluator, scores: CandidateScores, seed: int | None = None) -> EvaluationResult:
    """Rank the answers of an evaluator's queries by any scores and by the baselines, through the same code.

    Raises:
        RunError: a score is not finite.
    """
    return describe(evaluator, evaluator.rank(scores), seed)


def describe(evaluator: Evaluator, ranks: list[Ranks], seed: int | None) -> EvaluationResult:
    """What an evaluator's ranks come to, beside the baselines over the same queries."""
    dataset, protocol = evaluator.dataset, evaluator.protocol
    baselines = {
        "chance": evaluator.chance(ranks),
        "most_frequent": evaluator.summarise(evaluator.rank(FrequencyScores(dataset))),
    }
    about = {
        "protocol": {"name": protocol.name, "version": protocol.version, "ties": _ties(protocol, dataset)},
        "split": evaluator.split,
        "dataset": describe_dataset(dataset),
        "seed": seed,
    }
    return EvaluationResult(evaluator.summarise(ranks), baselines, about)


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """What a result names its data set by."""
    return {
        field: getattr(dataset, field) for field in ("name", "version", "revision", "content_sha256", "setting")
    }  # fmt: skip


def _ties(protocol: EvaluationProtocol, dataset: Dataset) -> str:
    if protocol.ties != "first":
        return protocol.ties
    return "first (entity order)" if dataset.tie_order is None else "first (published order)"


def evaluate_run(
    run: Run, split: str, protocol: EvaluationProtocol, device: torch.device | str = "cpu"
) -> EvaluationResult:
    """Evaluate the best weights of a run, on a torch device.

    Raises:
        RunError: as `evaluate`, or the run is damaged.
    """
    return evaluate(run.load_model().to(device), run.dataset, split, protocol, run.experiment.training.seed)
