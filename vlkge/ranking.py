"""Scores become ranks, ranks become MRR and Hits@k; ties are explicit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from vlkge.errors import RunError

Ties = Literal["realistic", "optimistic", "pessimistic", "first"]
"""Which rank a target has among candidates of equal score.

`realistic`: the mean of the best and the worst; `first`: as a stable sort, the lower entity index wins.
"""

HITS_AT = (1, 3, 10)


@dataclass(frozen=True)
class Ranks:
    """The rank of each query's target among its candidates, 1 is best; int64 tensors [q].

    Attributes:
        optimistic: every tie is won.
        pessimistic: every tie is lost.
        first: ties are won by the lower entity index.
        candidates: how many candidates were left after filtering, the target among them.
    """

    optimistic: Tensor
    pessimistic: Tensor
    first: Tensor
    candidates: Tensor

    @property
    def realistic(self) -> Tensor:
        """The mean of the optimistic and the pessimistic rank, float64."""
        return (self.optimistic + self.pessimistic).double() / 2

    def by(self, ties: Ties) -> Tensor:
        """The ranks under one rule for ties, float64."""
        rank: Tensor = getattr(self, ties)
        return rank.double()

    @staticmethod
    def joined(parts: Sequence["Ranks"]) -> "Ranks":
        """The ranks of several batches, in order."""
        fields = ("optimistic", "pessimistic", "first", "candidates")
        return Ranks(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


def rank_targets(scores: Tensor, targets: Tensor, known_rows: Tensor, known_columns: Tensor) -> Ranks:
    """Rank each row's target among the columns that are not otherwise known to be true.

    Args:
        scores: [q, m], a row per query, a column per candidate in entity order; overwritten.
        targets: [q], the target's column.
        known_rows: [k], with `known_columns`: positions of known answers; they do not compete. A target
            may be among them.
        known_columns: [k].

    Raises:
        RunError: a score is not finite; such a model has no ranking.
    """
    if not bool(scores.isfinite().all()):
        raise RunError("the model gives scores that are not finite (NaN or infinite); its training diverged")
    target = scores.gather(1, targets[:, None])
    scores[known_rows, known_columns] = -torch.inf
    scores.scatter_(1, targets[:, None], -torch.inf)
    better = (scores > target).sum(1)
    tied = scores == target
    earlier = (tied & (torch.arange(scores.shape[1], device=scores.device) < targets[:, None])).sum(1)
    removed = (scores == -torch.inf).sum(1)
    return Ranks(
        optimistic=(better + 1).cpu(),
        pessimistic=(better + tied.sum(1) + 1).cpu(),
        first=(better + earlier + 1).cpu(),
        candidates=(scores.shape[1] - removed + 1).cpu(),
    )


@dataclass(frozen=True)
class Metrics:
    """What a set of ranks comes to.

    Attributes:
        queries: how many targets were ranked.
        candidates: mean number of candidates per query, after filtering.
        mrr: mean of 1 / rank.
        hits_at_1, hits_at_3, hits_at_10: share of ranks up to 1, 3, 10.
        mean_rank: mean rank.
    """

    queries: int
    candidates: float
    mrr: float
    hits_at_1: float
    hits_at_3: float
    hits_at_10: float
    mean_rank: float

    def to_json(self) -> dict[str, float]:
        """The same as a JSON object."""
        return asdict(self)


def summarise(ranks: Tensor, candidates: Tensor) -> Metrics:
    """The metrics of ranks [q] among `candidates` [q] candidates, in float64."""
    rank = ranks.double()
    hits = {f"hits_at_{k}": (rank <= k).double().mean().item() for k in HITS_AT}
    mrr, mean_rank = rank.reciprocal().mean().item(), rank.mean().item()
    return Metrics(len(rank), candidates.double().mean().item(), mrr, mean_rank=mean_rank, **hits)


def expect_by_chance(candidates: Tensor) -> Metrics:
    """The expected metrics of a uniformly random order of `candidates` [q] candidates.

    With n candidates the rank is uniform on 1..n: MRR is H_n / n, Hits@k is min(k, n) / n.
    """
    harmonic = torch.arange(1, int(candidates.max()) + 1, dtype=torch.float64).reciprocal().cumsum(0)
    n = candidates.double()
    hits = {f"hits_at_{k}": (n.clamp(max=k) / n).mean().item() for k in HITS_AT}
    mrr = (harmonic[candidates - 1] / n).mean().item()
    return Metrics(len(n), n.mean().item(), mrr, mean_rank=((n + 1) / 2).mean().item(), **hits)
