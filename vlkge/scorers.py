"""How likely a triple is, from the vectors of its head, relation and tail: TransE, DistMult, ComplEx, RotatE."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mkg_builder.registry import Registry
from vlkge.similarity import MARGIN, Dot, Euclidean, Manhattan, Similarity

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


class Scorer(ABC):
    """A formula over vectors; it holds no entity and no relation.

    An entity vector is `parts` vectors of one size behind each other on the last axis: the real
    part alone (1), or the real and the imaginary part (2). Higher scores are likelier triples.

    Attributes:
        similarity: compares `query` and `key`, where the formula is such a comparison; training is then many
            times faster. None: `score` is all there is.
    """

    parts: ClassVar[int] = 1
    similarity: ClassVar[Similarity | None] = None

    def relation_size(self, dim: int) -> int:
        """Parameters per relation when one part of an entity vector has `dim` components."""
        return dim * self.parts

    def init_relations(self, weight: Tensor) -> None:
        """Fill the relation parameters [relations, relation_size] in place."""
        nn.init.xavier_uniform_(weight)

    @abstractmethod
    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [...] of triples whose vectors [..., size] broadcast against each other."""

    def query(self, anchor: Tensor, relation: Tensor, direction: Direction) -> Tensor:  # noqa: ARG002
        """Vectors [b, d] to be compared with the keys of the asked end, of anchors and relations [b, ...]."""
        raise TypeError(f"{type(self).__name__} has no query to compare")

    def key(self, entities: Tensor) -> Tensor:
        """Vectors [n, d] of entities [n, size] to be compared with queries."""
        return entities

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Scores [b, m] of b queries (head, relation) against the same m tails."""
        return self.score(head[:, None], relation[:, None], tails[None])

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [b, m] of b queries (relation, tail) against the same m heads."""
        return self.score(heads[None], relation[:, None], tail[:, None])


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("...d,...d->...", left, right)


class TransE(Scorer):
    """`12 - |h + r - t|_1` with h, r, t of length 1.

    Bordes et al., "Translating Embeddings for Modeling Multi-relational Data", NIPS 2013; margin and
    normalisation as in VL-KGE (arXiv 2603.02435).
    """

    similarity = Manhattan()

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [...] of broadcasting triples."""
        translated = normalize(head, dim=-1) + normalize(relation, dim=-1)
        return MARGIN - (translated - normalize(tail, dim=-1)).abs().sum(-1)

    def query(self, anchor: Tensor, relation: Tensor, direction: Direction) -> Tensor:
        """The anchor moved by r: h + r, or t - r."""
        translation = normalize(relation, dim=-1)
        return normalize(anchor, dim=-1) + (translation if direction == "tail" else -translation)

    def key(self, entities: Tensor) -> Tensor:
        """Vectors of length 1."""
        return normalize(entities, dim=-1)

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Scores [b, m] by pairwise L1 distances."""
        query = normalize(head, dim=-1) + normalize(relation, dim=-1)
        return MARGIN - torch.cdist(query, normalize(tails, dim=-1), p=1.0)

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [b, m] by pairwise L1 distances: h is compared with t - r."""
        query = normalize(tail, dim=-1) - normalize(relation, dim=-1)
        return MARGIN - torch.cdist(query, normalize(heads, dim=-1), p=1.0)


class DistMult(Scorer):
    """`sum_i h_i r_i t_i`.

    Yang et al., "Embedding Entities and Relations for Learning and Inference in Knowledge Bases", ICLR 2015.
    """

    similarity = Dot()

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [...] of broadcasting triples."""
        return _dot(head * relation, tail)

    def query(self, anchor: Tensor, relation: Tensor, direction: Direction) -> Tensor:  # noqa: ARG002
        """The same in both directions."""
        return anchor * relation

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Scores [b, m] as one matrix product."""
        return (head * relation) @ tails.T

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [b, m] as one matrix product."""
        return (relation * tail) @ heads.T


class ComplEx(Scorer):
    """`Re(sum_i h_i r_i conj(t_i))` over complex vectors.

    Trouillon et al., "Complex Embeddings for Simple Link Prediction", ICML 2016.
    """

    parts = 2
    similarity = Dot()

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [...] of broadcasting triples."""
        return _dot(_multiply(head, relation), tail)

    def query(self, anchor: Tensor, relation: Tensor, direction: Direction) -> Tensor:
        """The anchor times r, or times conj(r): Re(h r conj(t)) = Re(h conj(conj(r) t)) is a dot product."""
        return _multiply(anchor, relation if direction == "tail" else _conjugate(relation))

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Scores [b, m] as one matrix product: Re(q conj(t)) is the dot product of both parts."""
        return _multiply(head, relation) @ tails.T

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [b, m] as one matrix product: Re(h r conj(t)) = Re(h conj(conj(r) t))."""
        return _multiply(tail, _conjugate(relation)) @ heads.T


class RotatE(Scorer):
    """`12 - |h e^(i theta) - t|_2` over complex vectors; the relation is its angles theta.

    Sun et al., "RotatE: Knowledge Graph Embedding by Relational Rotation in Complex Space", ICLR 2019,
    with the Euclidean norm and the margin of VL-KGE (arXiv 2603.02435).
    """

    parts = 2
    similarity = Euclidean()

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

    def query(self, anchor: Tensor, relation: Tensor, direction: Direction) -> Tensor:
        """The anchor turned by theta, or back, which leaves the distance as it is."""
        return _multiply(anchor, _rotation(relation if direction == "tail" else -relation))

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Scores [b, m] by pairwise Euclidean distances."""
        return MARGIN - _distances(_multiply(head, _rotation(relation)), tails)

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Scores [b, m]: turning t back leaves the distance as it is."""
        return MARGIN - _distances(_multiply(tail, _rotation(-relation)), heads)


def _distances(queries: Tensor, entities: Tensor) -> Tensor:
    # The product form |q|^2 - 2qe + |e|^2 loses small distances to cancellation.
    return torch.cdist(queries, entities, p=2.0, compute_mode="donot_use_mm_for_euclid_dist")


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
