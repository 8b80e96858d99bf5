"""What a batch costs: its triples scored against negatives, through the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding

from vlkge import shapes
from vlkge.candidates import CandidateSampler, SharedCandidates
from vlkge.config import CompileMode
from vlkge.errors import RunError
from vlkge.losses import LOSSES, REGULARIZERS, LossName, RegularizerName
from vlkge.model import KGEModel
from vlkge.negatives import Negatives, NegativeSampler
from vlkge.scorers import QueryScorer

Opponents = Negatives | Sequence[SharedCandidates]
"""What the triples of a batch are scored against."""

Sampler = NegativeSampler | CandidateSampler

FEW = 4096
"""So many entities of a batch are represented quicker, repeated or not, than a GPU tells which are distinct."""


class Cost(NamedTuple):
    """What some triples cost, as sums, so that parts of a batch add up to the whole.

    Attributes:
        loss: the sum of its terms.
        terms: how many they are.
        penalty: the sum of the triples' regulariser times its weight; None where there is none.
    """

    loss: Tensor
    terms: Tensor
    penalty: Tensor | None

    def total(self, terms: Tensor, triples: int) -> Tensor:
        """What is made small, times `terms`: the mean of the loss and the mean of the penalty, of a whole batch.

        Args:
            terms: of the whole batch.
            triples: of the whole batch.
        """
        return self.loss if self.penalty is None else self.loss + self.penalty * (terms / triples)


@dataclass(frozen=True)
class Objective:
    """The loss to be made small.

    Attributes:
        loss: of positives and negatives.
        regularizer: of the vectors of the positives.
        weight: of the regulariser, per positive.
    """

    loss: LossName = "logistic"
    regularizer: RegularizerName = "none"
    weight: float = 0.0

    def __call__(self, model: KGEModel, positives: Tensor, opponents: Opponents) -> Cost:
        """What triples [b, 3] cost among their opponents."""
        batch = _Batch(model, positives, opponents)
        parts = [LOSSES[self.loss](*scores) for scores in batch.scores()]
        total, count = torch.stack([part[0] for part in parts]).sum(), torch.stack([part[1] for part in parts]).sum()
        regularizer, penalty = REGULARIZERS[self.regularizer], None
        if regularizer is not None and self.weight:
            penalty = self.weight * regularizer(model.scorer, batch.head, batch.relation, batch.tail)
        return Cost(total, count, penalty)


def compiled(objective: Objective, mode: CompileMode) -> Callable[[KGEModel, Tensor, Opponents], Cost]:
    """The objective as it is, or as `torch.compile` makes it of its first batches, which takes up to a minute.

    The result raises RunError where nothing can be compiled.
    """
    if mode == "none":
        return objective
    fast, failed = torch.compile(objective.__call__, mode=mode), _compile_error()

    def cost(model: KGEModel, positives: Tensor, opponents: Opponents) -> Cost:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            return fast(model, positives, opponents)
        except failed as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"torch.compile failed: {reason}; --set training.compile=none does without it") from None

    return cost


def _compile_error() -> type[RuntimeError]:
    from torch._dynamo.exc import BackendCompilerFailed  # noqa: PLC0415 - slow, only needed here

    return BackendCompilerFailed


class _Batch:
    """The vectors of a batch and the scores made of them; each entity is represented once, or each mention of it."""

    def __init__(self, model: KGEModel, positives: Tensor, opponents: Opponents) -> None:
        self.model, self.opponents, self.positives = model, opponents, positives
        shared = [] if isinstance(opponents, Negatives) else opponents
        drawn = [opponents.entities.flatten()] if isinstance(opponents, Negatives) else [s.entities for s in shared]
        ends = torch.cat([positives[:, 0], positives[:, 2]])
        sizes, mentioned = [len(ends), *map(len, drawn)], torch.cat([ends, *drawn])
        self.apart = shapes.fixed(mentioned) and len(mentioned) <= FEW
        if self.apart:
            of_ends, *self.drawn = torch.split(model.represent(mentioned), sizes)
        else:
            distinct, places = torch.unique(mentioned, return_inverse=True)
            self.vectors = model.represent(distinct)
            places, *self.places = torch.split(places, sizes)
            of_ends = embedding(places, self.vectors)
        self.head, self.tail = of_ends.chunk(2)
        self.relation = embedding(positives[:, 1], model.relations)

    def scores(self) -> list[tuple[Tensor, Tensor]]:
        """The scores of positives [q] and of their negatives [q, k], -inf where there is none."""
        if not isinstance(self.opponents, Negatives):
            return [self._among(one, number) for number, one in enumerate(self.opponents)]
        scorer = self.model.scorer
        if isinstance(scorer, QueryScorer):
            positive, negative = self._by_queries(scorer, self.opponents)
        else:
            positive, negative = self._by_formula(self.opponents)
        observed, (anchors, rows, answers) = self.model.observed, self.positives.unbind(1)
        if observed is not None:
            positive = positive + observed.of(rows, anchors, answers)
            negative = negative + observed.of(rows[:, None], anchors[:, None], self.opponents.entities)
        return [(positive, negative.masked_fill(~self.opponents.valid, -torch.inf))]

    def _others(self, number: int) -> Tensor:
        """The vectors [k, size] of the entities of one of the opponents."""
        return self.drawn[number] if self.apart else embedding(self.places[number], self.vectors)

    def _by_queries(self, scorer: QueryScorer, drawn: Negatives) -> tuple[Tensor, Tensor]:
        query, answer = scorer.tail_query(self.head, self.relation), self.tail
        if shapes.fixed(query) or bool(drawn.heads.any()):
            swapped = drawn.heads[:, None]
            query = torch.where(swapped, scorer.head_query(self.relation, self.tail), query)
            answer = torch.where(swapped, self.head, self.tail)
        positive = scorer.comparison.pairs(query, scorer.compared(answer))
        shape = drawn.entities.shape
        if self.apart:
            negative = scorer.comparison.pairs(query[:, None], scorer.compared(self.drawn[0]).view(*shape, -1))
        else:
            negative = scorer.comparison.sampled(query, scorer.compared(self.vectors), self.places[0].view(shape))
        return scorer.margin + positive, scorer.margin + negative

    def _by_formula(self, drawn: Negatives) -> tuple[Tensor, Tensor]:
        scorer, wide = self.model.scorer, self.relation[:, None]
        others = self._others(0).view(*drawn.entities.shape, -1)
        positive = scorer.score(self.head, self.relation, self.tail)
        negative = positive.new_empty(drawn.entities.shape)
        for chosen, swapped in ((~drawn.heads, False), (drawn.heads, True)):
            if bool(chosen.any()):
                head = others[chosen] if swapped else self.head[chosen, None]
                tail = self.tail[chosen, None] if swapped else others[chosen]
                negative[chosen] = scorer.score(head, wide[chosen], tail)
        return positive, negative

    def _among(self, shared: SharedCandidates, number: int) -> tuple[Tensor, Tensor]:
        scorer, others = self.model.scorer, self._others(number)
        head, relation, tail = (vectors[shared.rows] for vectors in (self.head, self.relation, self.tail))
        anchor, answer = (head, tail) if shared.direction == "tail" else (tail, head)
        if isinstance(scorer, QueryScorer):
            query = scorer.query(anchor, relation, shared.direction)
            positive = scorer.margin + scorer.comparison.pairs(query, scorer.compared(answer))
            negative = scorer.margin + scorer.comparison.matrix(query, scorer.compared(others))
        else:
            positive = scorer.score(head, relation, tail)
            negative = (
                scorer.score_tails(head, relation, others)
                if shared.direction == "tail"
                else scorer.score_heads(others, relation, tail)
            )
        observed, (anchors, rows, answers) = self.model.observed, self.positives[shared.rows].unbind(1)
        if observed is not None:  # and every question is one for a tail
            positive = positive + observed.of(rows, anchors, answers)
            negative = negative + observed.among(rows, anchors, shared.entities)
        negative[shared.known] = -torch.inf
        return positive, negative
