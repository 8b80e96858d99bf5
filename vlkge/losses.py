"""What a model is told of its scores: losses of positives among negatives, and regularisers of their vectors."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from vlkge.errors import ExperimentError
from vlkge.scorers import QueryScorer, Scorer

LossName = Literal["logistic", "softmax"]
RegularizerName = Literal["none", "n3", "dura"]

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(positive [q], negative [q, k], -inf where there is none) -> the sum of its terms, and how many they are."""


def logistic(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """softplus(-s) of every positive and softplus(s) of every negative (Trouillon et al., ICML 2016; VL-KGE)."""
    total = softplus(-positive).sum() + softplus(negative).sum()  # softplus(-inf) is 0
    return total, len(positive) + (negative > -torch.inf).sum()


def softmax(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """-log softmax of every positive among its negatives (1-vs-all: Lacroix et al., ICML 2018)."""
    scores = torch.cat([positive[:, None], negative], dim=1)
    first = torch.zeros(len(positive), dtype=torch.int64, device=positive.device)
    return cross_entropy(scores, first, reduction="sum"), first.new_full((), len(positive))


LOSSES: dict[LossName, Loss] = {"logistic": logistic, "softmax": softmax}


def n3(scorer: Scorer, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    """The sum of cubed moduli of h, r and t (nuclear 3-norm; Lacroix et al., ICML 2018); angles have none."""
    vectors = [head, relation, tail] if relation.shape == head.shape else [head, tail]
    return sum((_moduli(vector, scorer.parts) ** 3).sum() for vector in vectors)  # type: ignore[return-value]


def dura(scorer: Scorer, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    """|q(h, r)|^2 + |t|^2 + |q(t, r)|^2 + |h|^2 (duality-induced; Zhang et al., NeurIPS 2020)."""
    if not isinstance(scorer, QueryScorer):
        name = type(scorer).__name__
        raise ExperimentError(f"the regulariser 'dura' needs a scorer that makes queries, and {name} does not; use n3")
    queries = [scorer.tail_query(head, relation), scorer.head_query(relation, tail)]
    return sum((vector * vector).sum() for vector in (*queries, head, tail))  # type: ignore[return-value]


Regularizer = Callable[[Scorer, Tensor, Tensor, Tensor], Tensor]

REGULARIZERS: dict[RegularizerName, Regularizer | None] = {"none": None, "n3": n3, "dura": dura}


def _moduli(vector: Tensor, parts: int) -> Tensor:
    if parts == 1:
        return vector.abs()
    real, imaginary = vector.chunk(2, dim=-1)
    return (real * real + imaginary * imaginary).clamp(min=1e-30).sqrt()  # a slope of 0 at 0, not of infinity
