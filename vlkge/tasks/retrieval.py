"""Retrieval: what is most like something, and how well such lists agree with what the graph states."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mkg_builder.errors import UsageError
from mkg_builder.progress import watched
from vlkge.tasks.metrics import average_precision

QUERIES_AT_ONCE, POOL_AT_ONCE = 1024, 16384
"""A block of similarities: 64 MiB, whatever the sizes."""

PAIRS_AT_ONCE = 2**20
"""Of things in lists, attribute by attribute."""

POINTS_PER_CLUSTER = 39
"""As few as faiss takes for a cluster without a warning."""

Similarity = Callable[[slice, slice], Tensor]
"""How like some queries [q] and some of the pool [n] are: [q, n], which the caller may overwrite."""


def nearest(queries: Tensor, pool: Tensor, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k of the pool with the largest cosine to each query, exactly and in bounded memory.

    Args:
        queries: float32 [q, d].
        pool: float32 [n, d].
        k: how many; fewer where the pool holds fewer.
        exclude: int64 [q], the place in the pool that a query must not find, as itself; -1: none.

    Returns:
        Places in the pool int64 [q, k], the nearest first and of equal ones the lower place (of more
        equal ones than there is room for, any may be missing); cosines [q, k]. Where fewer than k are left, the place
        is -1, the cosine -inf.
    """
    unit = normalize(pool, dim=1)
    return best(
        lambda rows, columns: normalize(queries[rows], dim=1) @ unit[columns].T,
        (len(queries), len(pool)), k, exclude,
    )  # fmt: skip


def best(
    similarity: Similarity, sizes: tuple[int, int], k: int, exclude: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As `nearest`, by any similarity of `sizes` = (queries, pool)."""
    found = [
        _best_of(similarity, slice(start, min(start + QUERIES_AT_ONCE, sizes[0])), sizes[1], k, exclude)
        for start in watched("queries", range(0, sizes[0], QUERIES_AT_ONCE))
    ]
    if not found:
        return torch.empty(0, min(k, sizes[1]), dtype=torch.int64), torch.empty(0, min(k, sizes[1]))
    places, values = zip(*found, strict=True)
    return torch.cat(places), torch.cat(values)


def _best_of(similarity: Similarity, rows: slice, pool: int, k: int, exclude: Tensor | None) -> tuple[Tensor, Tensor]:
    places, values = torch.empty(0), torch.empty(0)
    for start in range(0, pool, POOL_AT_ONCE):
        stop = min(start + POOL_AT_ONCE, pool)
        block = similarity(rows, slice(start, stop))
        if exclude is not None:
            own = exclude[rows]
            here = ((own >= start) & (own < stop)).nonzero()[:, 0]
            block[here, own[here] - start] = -torch.inf
        top, column = block.topk(min(k, stop - start), dim=1)
        column += start
        if start:
            top, column = torch.cat([values, top], 1), torch.cat([places, column], 1)
        # by place, then stably by value: of equal ones the lower place stands first
        order = column.argsort(1)
        column, top = column.gather(1, order), top.gather(1, order)
        order = top.argsort(dim=1, descending=True, stable=True)[:, :k]
        places, values = column.gather(1, order), top.gather(1, order)
    return places.masked_fill(values == -torch.inf, -1), values


def nearest_approximately(
    queries: Tensor, pool: Tensor, k: int, exclude: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As `nearest`, in a sixteenth of the pool's clusters (faiss, IVF): faster for many queries, and not all are found.

    Raises:
        UsageError: faiss is not installed.
    """
    try:
        import faiss  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError("an approximate search needs faiss; type: pip install 'vlkge[faiss]'") from None
    unit = normalize(pool, dim=1).numpy()
    clusters = max(1, min(4 * math.isqrt(len(pool)), len(pool) // POINTS_PER_CLUSTER))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(pool.shape[1]), pool.shape[1], clusters, faiss.METRIC_INNER_PRODUCT)
    index.train(unit)
    index.add(unit)
    index.nprobe = max(8, clusters // 16)
    found, places = (torch.from_numpy(part) for part in index.search(normalize(queries, dim=1).numpy(), k + 1))
    if exclude is not None:
        found = found.masked_fill(places == exclude[:, None], -torch.inf)
    values, order = found.masked_fill(places < 0, -torch.inf).sort(dim=1, descending=True, stable=True)
    places, values = places.gather(1, order)[:, : min(k, len(pool))], values[:, : min(k, len(pool))]
    short = (values == -torch.inf).any(1)
    if bool(short.any()):  # the clusters that were looked into hold too few
        places[short], values[short] = nearest(queries[short], pool, k, None if exclude is None else exclude[short])
    return places, values


@dataclass(frozen=True, eq=False)
class Attribute:
    """What is stated of things: pairs of a thing and a value, of which a thing may have several.

    Args:
        name: for people to read.
        things: int64 [p], any numbers, sorted.
        values: int64 [p].
    """

    name: str
    things: Tensor
    values: Tensor

    def shared(self, lists: Tensor) -> Tensor:
        """Whether the things [q, j] of each list share a value with one another: bool [q, j, j]."""
        start = torch.searchsorted(self.things, lists.flatten())
        counts = torch.searchsorted(self.things, lists.flatten(), right=True) - start
        rows = torch.arange(len(counts)).repeat_interleave(counts)
        within = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
        distinct, columns = torch.unique(self.values[start[rows] + within], return_inverse=True)
        stated = torch.zeros(len(counts), len(distinct))
        stated[rows, columns] = 1
        stated = stated.view(*lists.shape, -1)
        return stated @ stated.mT > 0

    def stated_of(self, things: Tensor) -> Tensor:
        """Which of some things [n] have a value."""
        return torch.isin(things, self.things)


@dataclass(frozen=True)
class ListMetrics:
    """What lists of k come to, averaged over the queries.

    Attributes:
        precision_average: per attribute, the mean of AP@k: the precision at the places that share the query's value,
            averaged over these; 0 where there is none.
        precision: per attribute, the mean share of the list that shares the query's value.
        mean_precision_average: of the attributes' `precision_average`.
        attribute_diversity: the mean share of attributes in which two things of a list share nothing.
        cosine_diversity: the mean of 1 - cosine of two things of a list; None where no list has two with a vector.
    """

    precision_average: dict[str, float]
    precision: dict[str, float]
    mean_precision_average: float
    attribute_diversity: float
    cosine_diversity: float | None


def judge(queries: Tensor, lists: Tensor, attributes: Sequence[Attribute], vectors: Tensor) -> ListMetrics:
    """The metrics of lists, whose things and queries have all attributes.

    Args:
        queries: int64 [q], things.
        lists: int64 [q, k], things, best first; k is at least 2.
        attributes: what relevance is judged by.
        vectors: float32 [things, d], for the cosine diversity; a zero vector does not count.
    """
    at_once = max(1, PAIRS_AT_ONCE // max(1, len(attributes) * (lists.shape[1] + 1) ** 2))
    found = [
        _judge_some(torch.cat([query[:, None], listed], 1), attributes, vectors)
        for query, listed in zip(torch.split(queries, at_once), torch.split(lists, at_once), strict=True)
    ]
    precisions, shares, differing, cosine = (
        torch.cat(parts, -1).double().nanmean(-1) for parts in zip(*found, strict=True)
    )
    names = [attribute.name for attribute in attributes]
    return ListMetrics(
        dict(zip(names, precisions.tolist(), strict=True)), dict(zip(names, shares.tolist(), strict=True)),
        precisions.mean().item(), differing.item(), None if cosine.isnan() else cosine.item(),
    )  # fmt: skip


def _judge_some(
    lists: Tensor, attributes: Sequence[Attribute], vectors: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """AP and precision [attributes, q], both diversities [q], of lists [q, 1 + k] that begin with their query."""
    shared = torch.stack([attribute.shared(lists) for attribute in attributes])
    relevant, among = shared[:, :, 0, 1:], shared[:, :, 1:, 1:]
    size = relevant.shape[-1]
    alike = (among.sum((-1, -2)) - size) / (size * (size - 1))
    unit = normalize(vectors[lists[:, 1:]], dim=-1)
    there = unit.any(-1).sum(-1)
    cosine = (unit.sum(1).square().sum(-1) - there) / (there * (there - 1)).where(there > 1, torch.nan)
    return average_precision(relevant), relevant.float().mean(-1), 1 - alike.mean(0), 1 - cosine
