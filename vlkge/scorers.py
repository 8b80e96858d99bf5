"""How likely a triple is, from the vectors of its head, relation and tail: TransE, DistMult, ComplEx, RotatE."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mkg_builder.registry import Registry
from vlkge.comparisons import Comparison, Euclidean, Manhattan, Product

REGISTRY = Registry(
    "model",
    "vlkge.scorers",
    {
        "transe": "vlkge.scorers:TransE",
        "distmult": "vlkge.scorers:DistMult",
        "complex": "vlkge.scorers:ComplEx",
        "rotate": "vlkge.scorers:RotatE",
    },
)

Direction = Literal["tail", "head"]
"""Which end is asked for; the other end of the triple is the query's anchor."""

MARGIN = 12.0
"""What the distance scorers subtract the distance from (the paper's gamma)."""


SHORTEST = 1e-12
"""What is shorter is not brought to length 1."""


FORMULA_VALUES = 2**24
"""So many components of queries and candidates side by side are given to a formula at once."""


def _bounded(candidates: Tensor, queries: int) -> tuple[Tensor, ...]:
    """Candidates [m, size] in parts."""
    return torch.split(candidates, max(1, FORMULA_VALUES // max(1, queries * candidates.shape[-1])))


class Scorer(ABC):
    """A formula over vectors; it holds no entity and no relation.

    An entity vector is `parts` vectors of one size behind each other on the last axis: the real
    part alone (1), or the real and the imaginary part (2). Higher scores are likelier triples.
    """

    parts: ClassVar[int] = 1

    def relation_size(self, dim: int) -> int:
        """Parameters per relation when one part of an entity vector has `dim` components."""
        return dim * self.parts

    def init_relations(self, weight: Tensor) -> None:
        """Fill the relation parameters [relations, relation_size] in place."""
        nn.init.xavier_uniform_(weight)

    @abstractmethod
    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [...] of triples whose vectors [..., size] broadcast against each other."""

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Scores [b, m] of b queries (head, relation) against the same m tails."""
        parts = _bounded(tails, len(head))
        return torch.cat([self.score(head[:, None], relation[:, None], part[None]) for part in parts], dim=1)

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [b, m] of b queries (relation, tail) against the same m heads."""
        parts = _bounded(heads, len(tail))
        return torch.cat([self.score(part[None], relation[:, None], tail[:, None]) for part in parts], dim=1)


class QueryScorer(Scorer):
    """A scorer that makes one vector of all but the asked entity, and compares it with each entity's.

    Attributes:
        comparison: how; what is more alike scores higher, so that ranks follow from it alone.
        margin: what is added to the likeness.
    """

    comparison: ClassVar[Comparison]
    margin: ClassVar[float] = 0.0

    @abstractmethod
    def tail_query(self, head: Tensor, relation: Tensor) -> Tensor:
        """The vectors [..., k] that tails are compared with."""

    @abstractmethod
    def head_query(self, relation: Tensor, tail: Tensor) -> Tensor:
        """The vectors [..., k] that heads are compared with."""

    def query(self, anchor: Tensor, relation: Tensor, direction: Direction) -> Tensor:
        """The vectors [..., k] that the asked end is compared with, of the other end and the relation."""
        return self.tail_query(anchor, relation) if direction == "tail" else self.head_query(relation, anchor)

    def compared(self, entities: Tensor) -> Tensor:
        """What of entity vectors [..., size] is compared, [..., k]."""
        return entities

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Scores [b, m] of b queries (head, relation) against the same m tails."""
        return self._scores(self.tail_query(head, relation), tails)

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [b, m] of b queries (relation, tail) against the same m heads."""
        return self._scores(self.head_query(relation, tail), heads)

    def _scores(self, queries: Tensor, entities: Tensor) -> Tensor:
        similarities = self.comparison.similarities(queries, self.compared(entities))
        return similarities + self.margin if self.margin else similarities


def _dot(left: Tensor, right: Tensor) -> Tensor:
    products: Tensor = torch.linalg.vecdot(left, right)  # einsum's gradient is five times as slow
    return products


class TransE(QueryScorer):
    """`12 - |h + r - t|_1` with h, r, t of length 1.

    Bordes et al., "Translating Embeddings for Modeling Multi-relational Data", NIPS 2013; margin and
    normalisation as in VL-KGE (arXiv 2603.02435).
    """

    comparison, margin = Manhattan(), MARGIN

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [...] of broadcasting triples."""
        translated = _unit(head) + _unit(relation)
        return MARGIN - (translated - _unit(tail)).abs().sum(-1)

    def tail_query(self, head: Tensor, relation: Tensor) -> Tensor:
        """`h + r`."""
        return _unit(head) + _unit(relation)

    def head_query(self, relation: Tensor, tail: Tensor) -> Tensor:
        """`t - r`."""
        return _unit(tail) - _unit(relation)

    def compared(self, entities: Tensor) -> Tensor:
        """Entities at length 1."""
        return _unit(entities)


class DistMult(QueryScorer):
    """`sum_i h_i r_i t_i`.

    Yang et al., "Embedding Entities and Relations for Learning and Inference in Knowledge Bases", ICLR 2015.
    """

    comparison = Product()

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [...] of broadcasting triples."""
        return _dot(head * relation, tail)

    def tail_query(self, head: Tensor, relation: Tensor) -> Tensor:
        """`h r`."""
        return head * relation

    def head_query(self, relation: Tensor, tail: Tensor) -> Tensor:
        """`r t`."""
        return relation * tail


class ComplEx(QueryScorer):
    """`Re(sum_i h_i r_i conj(t_i))` over complex vectors.

    Trouillon et al., "Complex Embeddings for Simple Link Prediction", ICML 2016.
    """

    parts, comparison = 2, Product()

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [...] of broadcasting triples."""
        return _dot(_multiply(head, relation), tail)

    def tail_query(self, head: Tensor, relation: Tensor) -> Tensor:
        """`h r`: Re(q conj(t)) is the dot product of both parts."""
        return _multiply(head, relation)

    def head_query(self, relation: Tensor, tail: Tensor) -> Tensor:
        """`conj(r) t`: Re(h r conj(t)) = Re(h conj(conj(r) t))."""
        return _multiply(tail, _conjugate(relation))


class RotatE(QueryScorer):
    """`12 - |h e^(i theta) - t|_2` over complex vectors; the relation is its angles theta.

    Sun et al., "RotatE: Knowledge Graph Embedding by Relational Rotation in Complex Space", ICLR 2019,
    with the Euclidean norm and the margin of VL-KGE (arXiv 2603.02435).
    """

    parts, comparison, margin = 2, Euclidean(), MARGIN

    def relation_size(self, dim: int) -> int:
        """One angle per complex component."""
        return dim

    def init_relations(self, weight: Tensor) -> None:
        """Angles uniform in [0, 2 pi)."""
        nn.init.uniform_(weight, 0.0, 2 * torch.pi)

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [...] of broadcasting triples."""
        difference: Tensor = _multiply(head, _rotation(relation)) - tail
        distance: Tensor = torch.linalg.vector_norm(difference, dim=-1)
        return MARGIN - distance

    def tail_query(self, head: Tensor, relation: Tensor) -> Tensor:
        """The head turned by the relation."""
        return _multiply(head, _rotation(relation))

    def head_query(self, relation: Tensor, tail: Tensor) -> Tensor:
        """The tail turned back, which leaves the distance as it is."""
        return _multiply(tail, _rotation(-relation))


class _Unit(torch.autograd.Function):
    """Vectors [..., d] at length 1, zeros as they are; torch's own gradient passes over them three times as often."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp(min=SHORTEST)
        unit: Tensor = vectors / lengths
        ctx.save_for_backward(unit, lengths)
        return unit

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        unit, lengths = ctx.saved_tensors
        along = (unit * upstream[0]).sum(-1, keepdim=True)
        slopes: Tensor = torch.addcmul(upstream[0], unit, along, value=-1)
        return slopes.div_(lengths)


def _unit(vectors: Tensor) -> Tensor:
    unit: Tensor = _Unit.apply(vectors)  # type: ignore[no-untyped-call]
    return unit


def _rotation(angles: Tensor) -> Tensor:
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    a, b = left.chunk(2, dim=-1)
    c, d = right.chunk(2, dim=-1)
    return torch.cat([a * c - b * d, a * d + b * c], dim=-1)


def _conjugate(vector: Tensor) -> Tensor:
    real, imaginary = vector.chunk(2, dim=-1)
    return torch.cat([real, -imaginary], dim=-1)


def make_scorer(name: str) -> Scorer:
    """The scorer of this name.

    Raises:
        UnknownNameError: no scorer has this name.
    """
    scorer: Scorer = REGISTRY.resolve(name)()
    return scorer
