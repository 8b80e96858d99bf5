"""Scores become ranks, ranks become MRR and Hits@k; ties are explicit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

Ties = Literal["realistic", "optimistic", "pessimistic", "first"]
"""Which rank a target has among candidates of equal score.

`realistic`: the mean of the best and the worst; `first`: as a stable sort by score, the entity that stands first wins.
"""

HITS_AT = (1, 3, 10)


@dataclass(frozen=True)
class Ranks:
    """The rank of each query's target among its candidates, 1 is best; int64 tensors [q].

    Attributes:
        optimistic: every tie is won.
        pessimistic: every tie is lost.
        first: ties are won by the entity that stands first in the data set's tie order.
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

    def where(self, chosen: Tensor) -> "Ranks":
        """Those of some queries, bool [q]."""
        return Ranks(*(part[chosen] for part in (self.optimistic, self.pessimistic, self.first, self.candidates)))

    @staticmethod
    def joined(parts: Sequence["Ranks"]) -> "Ranks":
        """The ranks of several batches, in order."""
        fields = ("optimistic", "pessimistic", "first", "candidates")
        return Ranks(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))

    def split(self, sizes: Sequence[int]) -> list["Ranks"]:
        """The parts of these sizes, in order: the inverse of `joined`."""
        fields = (self.optimistic, self.pessimistic, self.first, self.candidates)
        return [Ranks(*parts) for parts in zip(*(torch.split(field, list(sizes)) for field in fields), strict=True)]


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
