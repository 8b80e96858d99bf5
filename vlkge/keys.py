"""What candidates are ranked by: keys, in quick blocks with a bound on their error, and exact where that matters."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from vlkge.comparisons import PAIR_VALUES, Comparison
from vlkge.errors import RunError
from vlkge.scorers import QueryScorer

SAFE = 1e37
"""Sums of magnitudes below it cannot overflow float32."""


class Buffer:
    """Memory for float32 numbers that is used again, and given up for more when it is too small."""

    def __init__(self, device: torch.device) -> None:
        self._memory = torch.empty(0, device=device)

    def shaped(self, rows: int, columns: int) -> Tensor:
        """A tensor [rows, columns] of whatever the memory holds."""
        if self._memory.numel() < rows * columns:
            self._memory = self._memory.new_empty(rows * columns)
        return self._memory[: rows * columns].view(rows, columns)


class Keys(ABC):
    """The keys [b, m] of m candidates for b queries; larger ones rank first."""

    candidates: int

    @abstractmethod
    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The keys of some pairs [p], before any block was asked for."""

    @abstractmethod
    def thresholds(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """For exact keys [p], two values [p]: what a block has under the one is less, over the other it is more."""

    @abstractmethod
    def block(self, start: int, stop: int, floor: Tensor) -> Tensor:
        """Values [b, stop - start] of some candidates, which the caller may overwrite.

        Under `floor` [b], the least that is asked about, they need not be right, only under it.
        """

    @abstractmethod
    def settle(self, pairs: "Pairs") -> Tensor:
        """Whether the exact keys of pairs are over (1), under (-1) or as good as (0) their targets'."""


class Pairs(NamedTuple):
    """Candidates that a block cannot tell from their query's target, and that target; all [p].

    Attributes:
        rows: the keys' row.
        columns: the candidate.
        values: what the block said of it.
        targets: the target.
        keys: the target's exact key.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor
    targets: Tensor
    keys: Tensor


def require_finite(values: Tensor) -> None:
    """Refuse keys that no ranking can be made of.

    Raises:
        RunError: a value is not finite.
    """
    if not bool(values.isfinite().all()):
        raise RunError("the model gives scores that are not finite (NaN or infinite); its training diverged")


class ExactKeys(Keys):
    """Scores that were all computed; equal ones tie.

    Raises:
        RunError: a score is not finite; such a model has no ranking.
    """

    def __init__(self, scores: Tensor) -> None:
        require_finite(scores)
        self.scores, self.candidates = scores, scores.shape[1]

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The scores themselves."""
        return self.scores[rows, columns]

    def thresholds(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """There is no error."""
        return keys, keys

    def block(self, start: int, stop: int, floor: Tensor) -> Tensor:  # noqa: ARG002
        """The scores themselves."""
        return self.scores[:, start:stop]

    def settle(self, pairs: Pairs) -> Tensor:
        """By the scores themselves."""
        return _signs(pairs.values, pairs.keys, torch.zeros_like(pairs.keys))


class Entities:
    """Candidates made ready to be compared with any query.

    Args:
        scorer: whose comparison.
        vectors: float32 [m, size].
        unknown: bool [m], of which nothing is known: they come last.
    """

    def __init__(self, scorer: QueryScorer, vectors: Tensor, unknown: Tensor) -> None:
        self.scorer, self.vectors = scorer, vectors
        self.compared = scorer.compared(vectors)
        self.offsets = scorer.comparison.offsets(self.compared)
        self.sizes = torch.where(unknown, 0.0, scorer.comparison.size(self.compared))
        self.largest = self.sizes.max()
        self.unknown = unknown if bool(unknown.any()) else None


class ComparedKeys(Keys):
    """Keys from vectors: float32 for all, float64 for those that float32 cannot tell from the target.

    So ranks depend on the vectors alone, not on how a product is split into blocks, on the number of
    threads or on the device; keys that float64 cannot tell apart tie.

    Args:
        queries: float64 [b, k].
        entities: the candidates.
        buffer: where blocks are written.
    """

    def __init__(self, queries: Tensor, entities: Entities, buffer: Buffer) -> None:
        self.entities, self.candidates = entities, len(entities.vectors)
        self.comparison: Comparison = entities.scorer.comparison
        self._buffer, self._queries = buffer, queries
        self._rounded, self._terms = queries.float(), queries.shape[1]
        self._sizes, self._shift = self.comparison.size(queries), self.comparison.shift(queries)

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Keys in float64, from the vectors as they are."""
        scorer, vectors = self.entities.scorer, self.entities.vectors
        step = max(1, PAIR_VALUES // vectors.shape[1])
        keys = [
            self.comparison.exact(self._queries[row], scorer.compared(vectors[column].double()))
            for row, column in zip(torch.split(rows, step), torch.split(columns, step), strict=True)
        ]
        exact = torch.cat(keys)
        if self.entities.unknown is not None:
            exact = torch.where(self.entities.unknown[columns], -torch.inf, exact)
        return exact

    def thresholds(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides of the exact keys, at the distance of the largest error."""
        slack = self.comparison.error_bound(self._sizes[rows], self.entities.largest, self._terms)
        shifted = keys + self._shift[rows]
        return (shifted - slack).float(), (shifted + slack).float()

    def block(self, start: int, stop: int, floor: Tensor) -> Tensor:
        """Approximate keys."""
        rows, here = len(self._rounded), slice(start, stop)
        values = self.comparison.approximate(
            self._rounded, self.entities.compared[here], self.entities.offsets[here], floor,
            self._buffer.shaped(rows, stop - start),
        )  # fmt: skip
        if not bool((self._sizes.max() * self.entities.largest + self.entities.largest.square()) < SAFE):
            require_finite(values)
        if self.entities.unknown is not None:
            values.masked_fill_(self.entities.unknown[here], -torch.inf)
        return values

    def settle(self, pairs: Pairs) -> Tensor:
        """By float64 keys where the candidate's own error leaves it open; what these cannot tell apart ties."""
        rows, columns, keys = pairs.rows, pairs.columns, pairs.keys
        signs = _signs(pairs.values.double(), keys + self._shift[rows], torch.zeros_like(keys))
        size = self._sizes[rows]
        error = self.comparison.error_bound(size, self.entities.sizes[columns], self._terms)
        apart = (pairs.values.double() - (keys + self._shift[rows])).abs()
        open_ = (apart <= error).nonzero()[:, 0]
        rows, columns, keys, size = rows[open_], columns[open_], keys[open_], size[open_]
        found = self.exact(rows, columns)
        blur = self.comparison.blur(found, size, self.entities.sizes[columns], self._terms)
        blur += self.comparison.blur(keys, size, self.entities.sizes[pairs.targets[open_]], self._terms)
        signs[open_] = _signs(found, keys, blur)
        return signs


def _signs(keys: Tensor, targets: Tensor, blur: Tensor) -> Tensor:
    difference = torch.where(keys == targets, 0.0, keys - targets)  # two infinities have no difference
    return torch.where(difference.abs() <= blur, 0.0, difference).sign()
