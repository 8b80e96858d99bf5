"""Ranks by counting what is over a target and what ties with it; known answers do not compete."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlkge.keys import Buffer, ExactKeys, Keys, Pairs
from vlkge.queries import COLUMNS_AT_ONCE, Batch
from vlkge.ranking import Ranks


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
    """Counts in buffers that are used again.

    The outcomes of a comparison are written as floats and summed by a product with ones: with bool
    values and sums of integers, counting takes about as long as scoring.

    Args:
        device: where the keys are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._over, self._band = Buffer(device), Buffer(device)

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
                values = block if batch.height == len(exact) else block[batch.rows[places]]
                part = targets.at(places)
                totals[:, places] += self._count(values, part, keys, batch.order, start)
        over, tied, earlier = totals.cpu()
        return Ranks(over + 1, over + tied + 1, over + earlier + 1, batch.competing.cpu())

    def _count(self, values: Tensor, targets: _Targets, keys: Keys, order: Tensor, start: int) -> Tensor:
        """How many candidates [3, q] are over the targets, tie with them, and do so standing before them."""
        over, band = (buffer.shaped(*values.shape) for buffer in (self._over, self._band))
        torch.gt(values, targets.high[:, None], out=over)
        torch.ge(values, targets.low[:, None], out=band)
        own = ((targets.columns >= start) & (targets.columns < start + values.shape[1])).nonzero()[:, 0]
        over[own, targets.columns[own] - start] = 0.0
        band[own, targets.columns[own] - start] = 0.0
        ones = over.new_ones(values.shape[1])
        counts = torch.zeros(3, len(values), dtype=torch.int64, device=values.device)
        counts[0] = torch.mv(over, ones)
        near = (torch.mv(band, ones) > counts[0]).nonzero()[:, 0]
        if not len(near):
            return counts
        between = band.sub_(over) if len(near) == len(values) else band[near].sub_(over[near])
        if isinstance(keys, ExactKeys):
            earlier = order[start : start + values.shape[1]] < order[targets.columns[near], None]
            counts[1, near] = torch.mv(between, ones).long()
            counts[2, near] = torch.mv(between.mul_(earlier), ones).long()
            return counts
        rows, columns = between.nonzero().unbind(1)
        rows = near[rows]
        found = values[rows, columns]
        mine, columns = targets.at(rows), columns + start
        signs = keys.settle(Pairs(mine.rows, columns, found, mine.columns, mine.keys))
        earlier = (signs == 0) & (order[columns] < order[mine.columns])
        for count, true in zip(counts, (signs > 0, signs == 0, earlier), strict=True):
            count.index_add_(0, rows, true.long())
        return counts
