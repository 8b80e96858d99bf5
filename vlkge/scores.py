"""Whatever scores candidates: a model, whose entities are represented once, or a baseline; and what they rank by."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from vlkge.dataset import Dataset
from vlkge.keys import Buffer, ComparedKeys, Entities, ExactKeys, Keys
from vlkge.model import KGEModel
from vlkge.protocol import RELATION, TAIL
from vlkge.queries import Asked, Batch
from vlkge.scorers import Direction, QueryScorer


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
        return self.score_vectors(direction, relation, self.of(distinct), candidates, distinct)[rows]

    @torch.no_grad()
    def score_vectors(
        self, direction: Direction, relation: int, anchors: Tensor, candidates: Tensor, who: Tensor | None = None
    ) -> Tensor:
        """Scores [q, m] for anchors given as vectors [q, size], of the graph or from outside.

        A candidate that has no modality is a zero vector, whose score says nothing; it comes last.

        Args:
            direction: which end is asked for.
            relation: index.
            anchors: the given ends.
            candidates: [m], distinct.
            who: [q], the entities that the anchors are, -1 for one outside the graph; None: all are outside.
        """
        scorer, vectors = self.model.scorer, self.of(candidates)
        parameters, as_tail = self._parameters(direction, relation)
        wide = parameters.expand(len(anchors), -1)
        if self.model.observed is not None:  # ranked as they are: float64, rounded, says what is alike
            anchors, wide, vectors = anchors.double(), wide.double(), vectors.double()
        scores = scorer.score_tails(anchors, wide, vectors) if as_tail else scorer.score_heads(vectors, wide, anchors)
        if self.model.observed is not None:
            who = torch.full((len(anchors),), -1) if who is None else who
            scores = (scores + self._observe(direction, relation, who, candidates)).float()
        unknown = self._unknown(candidates)
        if bool(unknown.any()):
            least = scores.min(1, keepdim=True).values
            scores[:, unknown] = least - (least.abs() * 1e-6).clamp(min=1.0)  # one alone vanishes in a large number
        return scores

    @torch.no_grad()
    def keys(self, asked: Sequence[Asked], candidates: Tensor) -> Keys:
        """What candidates [m] are ranked by for each of the anchors asked about; the same order as their scores."""
        scorer = self.model.scorer
        if not isinstance(scorer, QueryScorer) or self.model.observed is not None:
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

    def _observe(self, direction: Direction, relation: int, who: Tensor, candidates: Tensor) -> Tensor:
        row = relation if direction == "tail" else relation + self.model.relation_count
        rows = torch.full((len(who),), row, device=self.device)
        return self.model.observe(rows, who.to(self.device), candidates.to(self.device))

    def _unknown(self, entities: Tensor) -> Tensor:
        return self._lacking[self._place[entities.to(self.device)]]


def make_keys(scores: CandidateScores, batch: Batch) -> Keys:
    """What the candidates of a batch are ranked by."""
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
