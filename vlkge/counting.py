"""Ranks by counting what is over a target and what ties with it; known answers do not compete."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlkge.compiled import Array, Part, array, compiled, in_threads
from vlkge.keys import ExactKeys, Keys, Pairs
from vlkge.queries import COLUMNS_AT_ONCE, Batch
from vlkge.ranking import Ranks

WORTH_COMPILING = 2**20
"""From so many keys in a block on they are counted by a compiled loop, which takes 0.2 to 0.7 s to compile."""


@dataclass(frozen=True)
class _Targets:
    """The targets of some queries [q]: row and column among the keys, exact key, what is surely under and over it."""

    rows: Tensor
    columns: Tensor
    keys: Tensor
    low: Tensor
    high: Tensor

    def at(self, places: Tensor) -> "_Targets":
        return _Targets(*(getattr(self, name)[places] for name in self.__dataclass_fields__))


class Counter:
    """Counts block by block.

    Args:
        device: where the keys are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def rank(self, keys: Keys, batch: Batch) -> Ranks:
        """The rank of each target of a batch, whose rows are those of the keys.

        Raises:
            RunError: a key is not finite; such a model has no ranking.
        """
        batch = batch.to(self.device)
        exact = keys.exact(batch.rows, batch.targets)
        targets = _Targets(batch.rows, batch.targets, exact, *keys.thresholds(batch.rows, exact))
        floor = targets.low.new_full((batch.height,), torch.inf).scatter_reduce_(0, batch.rows, targets.low, "amin")
        totals = torch.zeros(3, len(exact), dtype=torch.int64, device=self.device)
        for start in range(0, keys.candidates, COLUMNS_AT_ONCE):
            block = keys.block(start, min(start + COLUMNS_AT_ONCE, keys.candidates), floor)
            here = (batch.known_columns >= start) & (batch.known_columns < start + COLUMNS_AT_ONCE)
            # NaN is neither over nor under anything
            block[batch.known_rows[here], batch.known_columns[here] - start] = torch.nan
            for places in torch.split(torch.arange(len(exact), device=self.device), batch.height):
                totals[:, places] += _count(block, targets.at(places), keys, batch.order, start)
        over, tied, earlier = totals.cpu()
        return Ranks(over + 1, over + tied + 1, over + earlier + 1, batch.competing.cpu())


def _count(block: Tensor, targets: _Targets, keys: Keys, order: Tensor, start: int) -> Tensor:
    """How many candidates [3, q] of a block are over the targets, tie with them, and do so standing before them."""
    width = block.shape[1]
    over, within = _compare(block, targets)
    counts = torch.stack([over, torch.zeros_like(over), torch.zeros_like(over)])
    near = (within > over).nonzero()[:, 0]
    if not len(near):
        return counts
    mine = targets.at(near)
    values = block[mine.rows]
    between = (values >= mine.low[:, None]) & (values <= mine.high[:, None])
    # a target is no rival of its own, whether or not it is among the known answers
    between &= mine.columns[:, None] != torch.arange(start, start + width, device=block.device)
    if isinstance(keys, ExactKeys):
        counts[1, near] = _sum(between)
        counts[2, near] = _sum(between & (order[start : start + width] < order[mine.columns, None]))
        return counts
    rows, columns = between.nonzero().unbind(1)
    found, columns = values[rows, columns], columns + start
    mine = mine.at(rows)
    signs = keys.settle(Pairs(mine.rows, columns, found, mine.columns, mine.keys))
    earlier = (signs == 0) & (order[columns] < order[mine.columns])
    for count, true in zip(counts, (signs > 0, signs == 0, earlier), strict=True):
        count.index_add_(0, near[rows], true.long())
    return counts


def _compare(block: Tensor, targets: _Targets) -> tuple[Tensor, Tensor]:
    """How many values of its row are over each target [q], and how many are not under it."""
    if block.is_cpu and block.numel() >= WORTH_COMPILING:
        counts = block.new_empty(2, len(targets.rows))
        operands = block, targets.rows, targets.low, targets.high, counts
        in_threads(_compare_rows, len(targets.rows), *map(array, operands))
        over, within = counts.long()
        return over, within
    values = block[targets.rows]
    return _sum(values > targets.high[:, None]), _sum(values >= targets.low[:, None])


def _sum(true: Tensor) -> Tensor:
    """How many of each row are true; torch sums integers an order of magnitude slower than it multiplies floats."""
    return torch.mv(true.float(), torch.ones(true.shape[1], device=true.device)).long()


@compiled
def _compare_rows(part: Part, block: Array, rows: Array, low: Array, high: Array, counts: Array) -> None:
    one, zero = block.dtype.type(1), block.dtype.type(0)  # of one type, so that the loop is vectorised
    for place in range(part[1], part[2]):
        row, under, above = rows[place], low[place], high[place]
        over = within = zero
        for column in range(block.shape[1]):
            value = block[row, column]
            over += one if value > above else zero
            within += one if value >= under else zero
        counts[0, place], counts[1, place] = over, within
