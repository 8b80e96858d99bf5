"""What is seen of a question and a candidate, beside what is learned of each: how often, linked by what, named where.

Vectors neither count nor read. That a synset has its hypernym already, or that a definition names another synset, is
written down in the graph; here it gets a weight per relation, learned with the vectors. (Observed features beside
latent ones: Toutanova & Chen, "Observed Versus Latent Features for Knowledge Base and Text Inference", CVSC 2015.)
"""

from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from vlkge.config import ObservedName
from vlkge.dataset import Dataset
from vlkge.mentions import find_mentions

OBSERVED: tuple[ObservedName, ...] = get_args(ObservedName)

DEGREES = 4
"""Degrees are told apart as 0, 1, 2, and 3 or more."""


class _Entries(NamedTuple):
    """What is seen of some pairs, one entry for each thing seen [e]: whose row, of which candidate, what."""

    rows: Tensor
    candidates: Tensor
    kinds: Tensor


class ObservedFeatures(nn.Module):
    """What a question's score gains by what is seen of its candidate; a question asks for a relation's tail.

    With R relations and their inverses, question row `r + R` asks for the head of relation `r`. Of candidate c to
    question (a, r) are seen

        degree      of how many train triples of row r it is the tail, (a, r, c) itself left out
        links       by which other rows of train a leads to it
        mentions    whether a's text has one of its names in it, whether its text has one of a's

    and each has a weight per row. As (a, r, c) itself is never looked at, train triples are seen as new ones are.

    Args:
        names: which of the three.
        dataset: the graph.
    """

    degree: Tensor
    links: Tensor
    mentions: Tensor
    counts: Tensor
    keys: Tensor
    kinds: Tensor

    def __init__(self, names: Sequence[ObservedName], dataset: Dataset) -> None:
        super().__init__()
        self.entities, relations = len(dataset.entities), len(dataset.relations)
        self.rows = rows = 2 * relations
        for name, size in (("degree", DEGREES), ("links", rows), ("mentions", 2)):
            start = torch.zeros(rows, size)
            if name in names:
                self.register_parameter(name, nn.Parameter(start))
            else:  # nothing is gained by it, and nothing learned
                self.register_buffer(name, start, persistent=False)
        head, relation, tail = dataset.triples["train"].unbind(1)
        ends = torch.cat([head, tail]), torch.cat([relation, relation + relations]), torch.cat([tail, head])
        counts = torch.bincount(ends[1] * self.entities + ends[2], minlength=rows * self.entities)
        # one more than the last degree that is told apart: the asked triple may have to be left out
        self.register_buffer("counts", counts.clamp(max=DEGREES).view(rows, -1).to(torch.uint8), persistent=False)
        keys, kinds = ends[0] * self.entities + ends[2], ends[1]
        if "mentions" in names:
            who, named = find_mentions(dataset.names(), dataset.texts).unbind(1)
            keys = torch.cat([keys, who * self.entities + named, named * self.entities + who])
            kinds = torch.cat([kinds, torch.full_like(who, rows), torch.full_like(who, rows + 1)])
        order = keys.argsort(stable=True)
        self.register_buffer("keys", keys[order], persistent=False)
        self.register_buffer("kinds", kinds[order], persistent=False)

    def among(self, rows: Tensor, anchors: Tensor, candidates: Tensor, read: bool = True) -> Tensor:
        """What the scores [q, m] of distinct candidates [m] gain.

        Args:
            rows: [q], the row that each question asks for.
            anchors: [q], its given end; -1 for one outside the graph, of which no pair is seen.
            candidates: [m].
            read: whether texts may be seen.
        """
        distinct, which = torch.unique(rows, return_inverse=True)
        gains = embedding(which, self._degrees(distinct[:, None], self.counts[distinct][:, candidates]))
        seen = self._seen_among(anchors, candidates)
        place = torch.zeros(self.entities, dtype=torch.int64, device=candidates.device)
        place[candidates] = torch.arange(len(candidates), device=candidates.device)
        where = seen.rows * len(candidates) + place[seen.candidates]
        return gains.flatten().index_add(0, where, self._worth(rows, anchors, seen, read)).view(gains.shape)

    def of(self, rows: Tensor, anchors: Tensor, candidates: Tensor) -> Tensor:
        """What the scores of questions and candidates gain, pair by pair; shapes broadcast against each other."""
        shape = torch.broadcast_shapes(rows.shape, anchors.shape, candidates.shape)  # type: ignore[no-untyped-call]
        rows, anchors, candidates = (part.expand(shape).reshape(-1) for part in (rows, anchors, candidates))
        gains = self._degrees(rows, self.counts[rows, candidates])
        keys = anchors * self.entities + candidates
        seen = self._seen(keys, keys + 1)
        return gains.index_add(0, seen.rows, self._worth(rows, anchors, seen, read=True)).view(shape)

    def _seen(self, first: Tensor, end: Tensor) -> _Entries:
        """Everything seen whose key lies from `first` up to `end`, range by range."""
        start, stop = torch.searchsorted(self.keys, first), torch.searchsorted(self.keys, end)
        rows, places = _ranges(start, stop - start)
        return _Entries(rows, self.keys[places] % self.entities, self.kinds[places])

    def _seen_among(self, anchors: Tensor, candidates: Tensor) -> _Entries:
        """Everything seen of candidates; an anchor that many questions share, with all its links, is read once."""
        distinct, which = torch.unique(anchors, return_inverse=True)
        seen = self._seen(distinct * self.entities, (distinct + 1) * self.entities)
        asked = torch.zeros(self.entities, dtype=torch.bool, device=candidates.device)
        asked[candidates] = True
        owners, others, kinds = (part[asked[seen.candidates]] for part in seen)
        counts = torch.bincount(owners, minlength=len(distinct))
        rows, places = _ranges((counts.cumsum(0) - counts)[which], counts[which])
        return _Entries(rows, others[places], kinds[places])

    def _worth(self, rows: Tensor, anchors: Tensor, seen: _Entries, read: bool) -> Tensor:
        """The weight of each thing seen: of the asked triple itself, that it does not count among the degrees."""
        asked = rows[seen.rows]
        # the asked triple the other way round, where it leads back to where it began
        again = (anchors[seen.rows] == seen.candidates) & (seen.kinds == (asked + self.rows // 2) % self.rows)
        mentions = self.mentions if read else torch.zeros_like(self.mentions)
        weights = _chosen(torch.cat([self.links, mentions], dim=1), asked, seen.kinds)
        count = self.counts[asked, seen.candidates]
        less = self._degrees(asked, count.clamp(min=1) - 1) - self._degrees(asked, count)
        return torch.where(seen.kinds == asked, less, weights.masked_fill(again, 0.0))

    def _degrees(self, rows: Tensor, counts: Tensor) -> Tensor:
        return _chosen(self.degree, rows, counts.clamp(max=DEGREES - 1).long())


def _ranges(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The places of ranges one after another, and which range each is of; both [sum of counts]."""
    rows = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    before = (counts.cumsum(0) - counts)[rows]
    return rows, starts[rows] + torch.arange(len(rows), device=counts.device) - before


def _chosen(weights: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`weights[rows, columns]`; on a CPU the gradient is summed in one order, whereas that of an index has none."""
    return embedding(rows * weights.shape[1] + columns, weights.reshape(-1, 1)).squeeze(-1)
