"""How well a model ranks the answers of a split: overall, per relation, and beside two baselines."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mkg_builder.errors import UnknownNameError
from mkg_builder.progress import watched
from vlkge.counting import Counter
from vlkge.dataset import Dataset
from vlkge.errors import RunError
from vlkge.keys import Buffer, ComparedKeys, Entities, ExactKeys, Keys
from vlkge.model import KGEModel
from vlkge.protocol import RELATION, TAIL, EvaluationProtocol, query_groups
from vlkge.queries import Asked, Batch, make_batches
from vlkge.ranking import Metrics, Ranks, expect_by_chance, summarise
from vlkge.run import Run
from vlkge.scorers import Direction, QueryScorer

SCORES_AT_ONCE = 2**22
"""How many scores are held at a time; memory stays bounded whatever the split's size."""


class CandidateScores(Protocol):
    """Whatever scores candidates: a model, a baseline."""

    def score(self, direction: Direction, relation: int, anchors: Tensor, candidates: Tensor) -> Tensor:
        """Scores [q, m] of m candidates for the asked end of q queries, a tensor that the caller may overwrite."""


class ModelScores:
    """The scores of a model, whose entity vectors are computed once.

    Args:
        model: the model; it is put into evaluation mode.
        entities: int64 [k], those that may be asked about.
        places: int64 [n], the model's index of each entity, where it counts more of them than are asked about.
    """

    def __init__(self, model: KGEModel, entities: Tensor, places: Tensor | None = None) -> None:
        self.model, self.device = model.eval(), model.relations.device
        self.entities = entities.to(self.device)
        inside = self.entities if places is None else places.to(self.device)[self.entities]
        self.vectors, self._lacking = model.represent_all(inside), ~model.real.has_any(inside)
        self._place = torch.full((int(entities.max()) + 1,), -1, device=self.device)
        self._place[self.entities] = torch.arange(len(entities), device=self.device)
        self._ready: tuple[Tensor, Entities] | None = None
        self._buffer = Buffer(self.device)

    def of(self, entities: Tensor) -> Tensor:
        """The vectors of entities [k]."""
        return self.vectors[self._place[entities.to(self.device)]]

    def score(self, direction: Direction, relation: int, anchors: Tensor, candidates: Tensor) -> Tensor:
        """Scores [q, m]; each anchor is scored once however often it is asked."""
        distinct, rows = torch.unique(anchors, return_inverse=True)
        return self.score_vectors(direction, relation, self.of(distinct), candidates)[rows]

    @torch.no_grad()
    def score_vectors(self, direction: Direction, relation: int, anchors: Tensor, candidates: Tensor) -> Tensor:
        """Scores [q, m] for anchors given as vectors [q, size], of the graph or from outside.

        A candidate that has no modality is a zero vector, whose score says nothing; it comes last.
        """
        scorer, vectors = self.model.scorer, self.of(candidates)
        parameters, as_tail = self._parameters(direction, relation)
        wide = parameters.expand(len(anchors), -1)
        scores = scorer.score_tails(anchors, wide, vectors) if as_tail else scorer.score_heads(vectors, wide, anchors)
        unknown = self._unknown(candidates)
        if bool(unknown.any()):
            scores[:, unknown] = scores.min(1, keepdim=True).values - 1
        return scores

    @torch.no_grad()
    def keys(self, asked: Sequence[Asked], candidates: Tensor) -> Keys:
        """What candidates [m] are ranked by for each of the anchors asked about; the same order as their scores."""
        scorer = self.model.scorer
        if not isinstance(scorer, QueryScorer):
            return _scored(self, asked, candidates)
        if self._ready is None or self._ready[0] is not candidates:
            all_of_them = torch.equal(candidates.to(self.device), self.entities)
            vectors = self.vectors if all_of_them else self.of(candidates)
            self._ready = candidates, Entities(scorer, vectors, self._unknown(candidates))
        queries = []
        for part in asked:
            anchors = self.of(part.anchors).double()
            parameters, as_tail = self._parameters(part.direction, part.relation)
            given = parameters.double()
            queries.append(scorer.tail_query(anchors, given) if as_tail else scorer.head_query(given, anchors))
        return ComparedKeys(torch.cat(queries), self._ready[1], self._buffer)

    def _parameters(self, direction: Direction, relation: int) -> tuple[Tensor, bool]:
        """The parameters that answer a question, and whether they ask for a tail, as an inverse relation does."""
        if direction == "head" and self.model.reciprocal:
            return self.model.relations[relation + self.model.relation_count], True
        return self.model.relations[relation], direction == "tail"

    def _unknown(self, entities: Tensor) -> Tensor:
        return self._lacking[self._place[entities.to(self.device)]]


def _keys(scores: CandidateScores, batch: Batch) -> Keys:
    if isinstance(scores, ModelScores):
        return scores.keys(batch.asked, batch.candidates)
    return _scored(scores, batch.asked, batch.candidates)


def _scored(scores: CandidateScores, asked: Sequence[Asked], candidates: Tensor) -> Keys:
    return ExactKeys(torch.cat([scores.score(p.direction, p.relation, p.anchors, candidates) for p in asked]))


class FrequencyScores:
    """The baseline that answers every query with what the relation's train triples name most often."""

    def __init__(self, dataset: Dataset) -> None:
        self._train, self._entities = dataset.triples["train"], len(dataset.entities)

    def score(self, direction: Direction, relation: int, anchors: Tensor, candidates: Tensor) -> Tensor:
        """Scores [q, m]: how often each candidate is the answer in train."""
        column = TAIL if direction == "tail" else 0
        answers = self._train[self._train[:, RELATION] == relation, column]
        frequency = torch.bincount(answers, minlength=self._entities)[candidates]
        return frequency.double().expand(len(anchors), -1)


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
        ranks = Ranks.joined([counter.rank(_keys(scores, batch), batch) for batch in watched("ranking", self._batches)])
        return ranks.split([len(group.anchors) for group in self.groups])

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


def evaluate_run(run: Run, split: str, protocol: EvaluationProtocol) -> EvaluationResult:
    """Evaluate the best weights of a run.

    Raises:
        RunError: as `evaluate`, or the run is damaged.
    """
    return evaluate(run.load_model(), run.dataset, split, protocol, run.experiment.training.seed)
