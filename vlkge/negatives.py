"""False triples to learn from: positives with one end replaced, drawn for a whole batch at once."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Corrupt = Literal["tail", "both"]
Pool = Literal["relation", "entities"]

REDRAWS = 8
"""How often a draw that is a known triple is drawn again; what is known even then is masked."""


@dataclass(frozen=True)
class Negatives:
    """The replacements for a batch of b positives.

    Attributes:
        entities: int64 [b, k], what replaces the end.
        heads: bool [b], whether it replaces the head (else the tail).
        valid: bool [b, k]; False where only known triples could be drawn.
    """

    entities: Tensor
    heads: Tensor
    valid: Tensor

    def part(self, rows: slice) -> "Negatives":
        """Those of some of the positives."""
        return Negatives(self.entities[rows], self.heads[rows], self.valid[rows])


class TripleSet:
    """Which triples are known: sorted int64 keys, membership by binary search.

    Raises:
        ValueError: so many entities and relations that a triple does not fit 63 bits.
    """

    def __init__(self, triples: Tensor, entities: int, relations: int) -> None:
        if entities * entities * relations >= 2**63:
            raise ValueError(f"{entities} entities and {relations} relations do not fit a 64-bit key")
        self._entities, self._relations = entities, relations
        self._keys = torch.unique(self._key(*triples.unbind(1)))

    def _key(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return (head * self._relations + relation) * self._entities + tail

    def contains(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Whether each triple of broadcasting index tensors is known: bool [...]."""
        keys = self._key(head, relation, tail)
        if not len(self._keys):
            return torch.zeros_like(keys, dtype=torch.bool)
        place = torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)
        return torch.eq(self._keys[place], keys)


@dataclass(frozen=True)
class Draw:
    """How negatives are drawn.

    Attributes:
        count: per positive (k).
        pool: `relation`, the ends that the relation has in train, or `entities`, every one in train.
        corrupt: `tail`, or `both`: head or tail by a fair coin per positive.
        distinct: whether a positive may not have one negative twice, as in the paper on its smaller graphs.
    """

    count: int
    pool: Pool
    corrupt: Corrupt
    distinct: bool = False


class EndPools:
    """For each relation the entities that one end may be replaced with, as one array with offsets."""

    def __init__(self, triples: Tensor, end: int, relations: int, pool: Pool) -> None:
        if pool == "relation":
            pairs = torch.unique(triples[:, [1, end]], dim=0)
            self.members = pairs[:, 1].contiguous()
            self.size = torch.bincount(pairs[:, 0].contiguous(), minlength=relations)
            self.start = self.size.cumsum(0) - self.size
        else:
            self.members = torch.unique(triples[:, [0, 2]])
            self.size = torch.full((relations,), len(self.members), device=triples.device)
            self.start = torch.zeros_like(self.size)

    def of(self, relation: int) -> Tensor:
        """The entities of one relation, sorted."""
        start = int(self.start[relation])
        members: Tensor = self.members[start : start + int(self.size[relation])]
        return members

    def draw(self, relation: Tensor, uniform: Tensor) -> Tensor:
        """An entity for each relation and each number of [0, 1), both [...]."""
        size = self.size[relation]
        offset = (uniform * size).long().minimum(size - 1)
        members: Tensor = self.members[self.start[relation] + offset]
        return members


class NegativeSampler:
    """Draws ends uniformly from a pool, and rejects known triples.

    Args:
        triples: the train triples [n, 3]; the pools are what occurs in them, so that an entity that
            training must not see is never drawn.
        known: what a negative must not be; train alone, or every split to follow the paper's code,
            which thereby lets test triples touch training.
        relations: how many relations there are.
        draw: how.

    Everything is drawn where the triples lie, so the generator must be of that device.
    """

    def __init__(self, triples: Tensor, known: TripleSet, relations: int, draw: Draw) -> None:
        self.known, self.how = known, draw
        self._tails = EndPools(triples, 2, relations, draw.pool)
        self._heads = EndPools(triples, 0, relations, draw.pool)

    def sample(self, positives: Tensor, generator: torch.Generator) -> Negatives:
        """Negatives for positives [b, 3]; the same generator state gives the same negatives."""
        batch = len(positives)
        heads = torch.zeros(batch, dtype=torch.bool, device=positives.device)
        if self.how.corrupt == "both":
            heads = torch.rand(batch, generator=generator, device=positives.device) < 0.5
        rows = torch.arange(batch, device=positives.device).repeat_interleave(self.how.count)
        entities = self._draw(positives[rows], heads[rows], generator)
        refused = self._refused(positives[rows], heads[rows], entities)
        for _ in range(REDRAWS):
            again = refused.nonzero()[:, 0]
            if not len(again):
                break
            entities[again] = self._draw(positives[rows[again]], heads[rows[again]], generator)
            refused = self._refused(positives[rows], heads[rows], entities)
        return Negatives(entities.view(batch, -1), heads, ~refused.view(batch, -1))

    def _draw(self, positives: Tensor, heads: Tensor, generator: torch.Generator) -> Tensor:
        # float64: float32 has too few steps below 1 to reach every member of a large pool
        uniform = torch.rand(len(positives), generator=generator, dtype=torch.float64, device=positives.device)
        relation = positives[:, 1]
        tails = self._tails.draw(relation, uniform)
        return torch.where(heads, self._heads.draw(relation, uniform), tails) if self.how.corrupt == "both" else tails

    def _refused(self, positives: Tensor, heads: Tensor, entities: Tensor) -> Tensor:
        known = self._is_known(positives, heads, entities)
        return known | _repeated(entities.view(-1, self.how.count)).view(-1) if self.how.distinct else known

    def _is_known(self, positives: Tensor, heads: Tensor, entities: Tensor) -> Tensor:
        head, relation, tail = positives.unbind(1)
        return self.known.contains(torch.where(heads, entities, head), relation, torch.where(heads, tail, entities))


def _repeated(entities: Tensor) -> Tensor:
    """Which entries of [b, k] stand earlier in their row too."""
    ordered, order = entities.sort(dim=1, stable=True)
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return torch.empty_like(again).scatter_(1, order, again)
