"""The queries of an evaluation in batches that share their candidates; nothing here depends on scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vlkge.protocol import KnownAnswers, QueryGroup
from vlkge.scorers import Direction

COLUMNS_AT_ONCE = 2**15
"""How many candidates stand side by side in a block of keys."""


@dataclass(frozen=True)
class Asked:
    """Distinct anchors of one relation in one direction.

    Attributes:
        direction: which end is asked for.
        relation: index.
        anchors: [q], the given end.
    """

    direction: Direction
    relation: int
    anchors: Tensor


@dataclass(frozen=True)
class Batch:
    """Queries that are ranked together: what each distinct anchor scores once, its targets one by one.

    Attributes:
        asked: the distinct anchors, b in all; a row of the keys for each.
        candidates: [m], sorted.
        order: [m], the order in which candidates win a tie.
        rows: [q], the row of each query.
        targets: [q], its target's place among the candidates.
        known_rows: [k], with `known_columns`: the known answers among the candidates.
        known_columns: [k].
        competing: [q], how many candidates each query's known answers leave, its target among them.
    """

    asked: Sequence[Asked]
    candidates: Tensor
    order: Tensor
    rows: Tensor
    targets: Tensor
    known_rows: Tensor
    known_columns: Tensor
    competing: Tensor

    @property
    def height(self) -> int:
        """How many rows there are."""
        return sum(len(part.anchors) for part in self.asked)

    def to(self, device: torch.device) -> "Batch":
        """The same with its tensors on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)  # type: ignore[arg-type]


def make_batches(
    groups: Sequence[QueryGroup],
    known: Mapping[Direction, KnownAnswers],
    tie_order: Tensor | None,
    scores_at_once: int,
) -> list[Batch]:
    """The queries of all groups, in their order, in batches of about `scores_at_once` scores."""
    shared: list[list[QueryGroup]] = []
    for group in groups:
        if shared and torch.equal(group.candidates, shared[-1][0].candidates):
            shared[-1].append(group)
        else:
            shared.append([group])
    return [batch for members in shared for batch in _split(members, known, tie_order, scores_at_once)]


def _split(
    groups: Sequence[QueryGroup], known: Mapping[Direction, KnownAnswers], tie_order: Tensor | None, at_once: int
) -> Iterator[Batch]:
    candidates = groups[0].candidates
    order = torch.arange(len(candidates)) if tie_order is None else tie_order[candidates]
    size = max(1, at_once // min(len(candidates), COLUMNS_AT_ONCE))
    distinct = [torch.unique_consecutive(group.anchors, return_counts=True) for group in groups]
    anchors, counts = (torch.cat(parts) for parts in zip(*distinct, strict=True))
    owners = torch.arange(len(groups)).repeat_interleave(torch.tensor([len(found) for found, _ in distinct]))
    sizes = [int(part.sum()) for part in torch.split(counts, size)]
    targets = torch.split(torch.cat([group.targets for group in groups]), sizes)
    pieces = zip(*(torch.split(whole, size) for whole in (owners, anchors, counts)), targets, strict=True)
    for owner, anchor, count, target in pieces:
        members, lengths = torch.unique_consecutive(owner, return_counts=True)
        asked = [
            Asked(groups[member].direction, groups[member].relation, part)
            for member, part in zip(members.tolist(), torch.split(anchor, lengths.tolist()), strict=True)
        ]
        rows = torch.arange(len(anchor)).repeat_interleave(count)
        known_rows, known_columns = _known_places(asked, candidates, known)
        yield Batch(
            asked, candidates, order, rows, target, known_rows, known_columns,
            _competing(rows, target, known_rows, known_columns, len(candidates)),
        )  # fmt: skip


def _known_places(
    asked: Sequence[Asked], candidates: Tensor, known: Mapping[Direction, KnownAnswers]
) -> tuple[Tensor, Tensor]:
    """Where the known answers stand, row and column, each once."""
    places, first = [], 0
    for part in asked:
        rows, answers = known[part.direction].lookup(part.anchors, part.relation)
        columns = torch.searchsorted(candidates, answers).clamp(max=len(candidates) - 1)
        competing = candidates[columns] == answers
        places.append((rows[competing] + first) * len(candidates) + columns[competing])
        first += len(part.anchors)
    distinct = torch.unique(torch.cat(places))
    return distinct // len(candidates), distinct % len(candidates)


def _competing(rows: Tensor, targets: Tensor, known_rows: Tensor, known_columns: Tensor, width: int) -> Tensor:
    removed = torch.bincount(known_rows, minlength=int(rows.max()) + 1)[rows]
    return width - removed + torch.isin(rows * width + targets, known_rows * width + known_columns)
