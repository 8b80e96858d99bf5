"""Negatives that the queries of a batch share: all of a pool, or some drawn from it once."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vlkge.negatives import Draw, EndPools
from vlkge.protocol import KnownAnswers
from vlkge.scorers import Direction


@dataclass(frozen=True)
class SharedCandidates:
    """Some triples of a batch, one end of which is asked for, and the entities that all of them are scored with.

    Attributes:
        direction: which end is asked for.
        rows: int64 [q], the triples' places in the batch.
        entities: int64 [m], distinct and sorted.
        known: (int64 [k], int64 [k]), which (query, candidate) are true and therefore no negatives.
    """

    direction: Direction
    rows: Tensor
    entities: Tensor
    known: tuple[Tensor, Tensor]

    def part(self, batch: slice) -> "SharedCandidates":
        """Those of some of the batch's triples."""
        ends = torch.tensor([batch.start, batch.stop], device=self.rows.device)
        first, last = torch.searchsorted(self.rows, ends).tolist()
        queries, columns = self.known
        mine = (queries >= first) & (queries < last)
        rows = self.rows[first:last] - batch.start
        return SharedCandidates(self.direction, rows, self.entities, (queries[mine] - first, columns[mine]))


class CandidateSampler:
    """Draws the candidates of each batch: for each relation from the ends that it has in train, or from all of train.

    Args:
        triples: the train triples [n, 3].
        known: by direction, the answers that are no negatives.
        relations: how many relations there are.
        draw: `count` candidates per pool, without replacement; 0: the whole pool.
    """

    def __init__(self, triples: Tensor, known: dict[Direction, KnownAnswers], relations: int, draw: Draw) -> None:
        self.how, self._known = draw, known
        directions: tuple[Direction, ...] = ("tail",) if draw.corrupt == "tail" else ("tail", "head")
        self._pools = {name: EndPools(triples, 2 if name == "tail" else 0, relations, draw.pool) for name in directions}

    def sample(self, positives: Tensor, generator: torch.Generator) -> list[SharedCandidates]:
        """The candidates for positives [b, 3], one element per direction and pool."""
        return [
            self._share(direction, pool, rows, positives, generator)
            for direction, pool in self._pools.items()
            for rows in self._groups(positives)
        ]

    def _groups(self, positives: Tensor) -> Iterator[Tensor]:
        if self.how.pool == "entities":
            yield torch.arange(len(positives), device=positives.device)
            return
        for relation in torch.unique(positives[:, 1]).tolist():
            yield (positives[:, 1] == relation).nonzero()[:, 0]

    def _share(
        self, direction: Direction, pool: EndPools, rows: Tensor, positives: Tensor, generator: torch.Generator
    ) -> SharedCandidates:
        members = pool.of(int(positives[rows[0], 1]))
        if 0 < self.how.count < len(members):
            chosen = torch.randperm(len(members), generator=generator, device=positives.device)[: self.how.count]
            members = members[chosen].sort().values
        asked = positives[rows]
        anchors = asked[:, 0 if direction == "tail" else 2]
        queries, answers = self._known[direction].lookup(anchors, asked[:, 1])
        columns = torch.searchsorted(members, answers).clamp(max=len(members) - 1)
        among = members[columns] == answers
        return SharedCandidates(direction, rows, members, (queries[among], columns[among]))
