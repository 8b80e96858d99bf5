"""The rows in which one table differs between two releases, by columns of numbers, so that millions fit in memory."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mkg_builder import schema

KEYS = {"triples": ("head", "relation", "tail"), "entities": ("id",), "relations": ("name",), "artworks": ("id",)}
"""What makes a row the same row; in every other table a row is only itself."""
GROUPS = {"triples": "relation", "entities": "type"}

Kind = Literal["added", "removed", "changed", "moved"]
Rows = np.ndarray[Any, np.dtype[np.int64]]
Pair = tuple[Path, Path]


@dataclass(frozen=True)
class Change:
    """One way in which a table differs.

    Attributes:
        kind: `moved` is a change of split.
        column: the column that changed or moved; None for whole rows.
        rows: how many rows.
        groups: rows per relation or per entity type, where the table has such.
        samples: the first rows, each its key, and of a changed one the `old` and the `new` value.
    """

    table: str
    kind: Kind
    column: str | None
    rows: int
    groups: Mapping[str, int]
    samples: tuple[Mapping[str, Any], ...]

    @property
    def what(self) -> str:
        """What happened, in words."""
        return f"{self.kind} {self.column}" if self.kind == "changed" else self.kind


def differences(old: Path, new: Path, table: schema.TableFormat, samples: int) -> Iterator[Change]:
    """Match the rows of both releases by their key, then compare the other columns, one at a time.

    Raises:
        ReleaseError: a table cannot be read.
    """
    pair = (old, new)
    names = [name for name in table.columns.names if name not in schema.HASHED]
    keys = {name: _encode(pair, table, name) for name in KEYS.get(table.name, names)}
    rows, left, right = _match(list(keys.values()))
    group = GROUPS.get(table.name)
    report = _Report(
        table.name, keys, None if group is None else keys.get(group) or _encode(pair, table, group), samples
    )
    yield from report.rows("removed", _others(left, 0, rows[0]))
    yield from report.rows("added", _others(right, rows[0], sum(rows)))
    if len(table.splits) > 1:
        yield from report.values("split", _places(pair, table), left, right)
    for name in names:
        if name not in keys:
            yield from report.values(name, _encode(pair, table, name), left, right)


@dataclass(frozen=True)
class _Column:
    """A column of both releases as numbers of one dictionary: the old rows, then the new; 0 is null."""

    codes: np.ndarray[Any, np.dtype[np.int32]]
    words: Sequence[Any]
    rows: tuple[int, int]

    def value(self, row: int) -> Any:
        """The value itself."""
        return self.words[self.codes[row] - 1] if self.codes[row] else None


class _Words(Sequence[Any]):
    """An Arrow array that gives plain values."""

    def __init__(self, array: pa.Array) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, place: Any) -> Any:
        return self.array[int(place)].as_py()


def _encode(pair: Pair, table: schema.TableFormat, name: str) -> _Column:
    """One column of both releases; the strings of a split are let go as soon as it is encoded."""
    coded = [[_coded(schema.read_table(release, table.name, split, [name])[name]) for split in table.splits]
             for release in pair]  # fmt: skip
    chunks = [chunk for splits in coded for column in splits for chunk in column.chunks]
    sizes = [sum(map(len, splits)) for splits in coded]
    unified = pa.chunked_array(chunks).unify_dictionaries().chunks if chunks else []
    codes = [pc.fill_null(chunk.indices, -1).to_numpy(zero_copy_only=False) for chunk in unified]
    words = _Words(unified[0].dictionary) if unified else ()
    return _Column(np.concatenate([np.empty(0, np.int32), *codes]) + np.int32(1), words, (sizes[0], sizes[1]))


def _coded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()]
        column = pa.chunked_array([pa.array(texts, pa.string())])
    return column.dictionary_encode()


def _places(pair: Pair, table: schema.TableFormat) -> _Column:
    """Which split each row lies in."""
    name = table.columns.names[0]
    sizes = [[len(schema.read_table(release, table.name, split, [name])) for split in table.splits] for release in pair]
    numbers = np.tile(np.arange(1, len(table.splits) + 1, dtype=np.int32), 2)
    return _Column(np.repeat(numbers, np.ravel(sizes)), table.splits, (sum(sizes[0]), sum(sizes[1])))


def _match(columns: Sequence[_Column]) -> tuple[tuple[int, int], Rows, Rows]:
    """How many rows each release has, and the rows of the old and of the new one that have the same key."""
    rows = columns[0].rows
    key = _distinct(_combine(columns), rows[0])
    _, left, right = np.intersect1d(key[: rows[0]], key[rows[0] :], assume_unique=True, return_indices=True)
    in_order = np.argsort(left)
    return rows, left[in_order], right[in_order] + rows[0]


def _combine(columns: Sequence[_Column]) -> Rows:
    """Several columns as one exact number a row; renumbered where the product would not fit."""
    key, size = np.zeros(len(columns[0].codes), np.int64), 1
    for column in columns:
        width = len(column.words) + 1
        if size * width >= 2**63:
            key, size = np.unique(key, return_inverse=True)[1], len(key)
        key = key * width + column.codes
        size *= width
    return key


def _distinct(key: Rows, old_rows: int) -> Rows:
    """The key with a row's repetition within its release, so that a row that stands twice counts twice."""
    number = np.zeros(len(key), np.int64)
    for start, stop in ((0, old_rows), (old_rows, len(key))):
        order = np.argsort(key[start:stop], kind="stable")
        ordered = key[start:stop][order]
        first = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
        number[start:stop][order] = np.arange(stop - start) - np.repeat(first, np.diff(first, append=stop - start))
    repeats = int(number.max(initial=0))
    return np.unique(key, return_inverse=True)[1] * (repeats + 1) + number if repeats else key


def _others(taken: Rows, start: int, stop: int) -> Rows:
    """The rows from start to stop that are not taken."""
    free = np.ones(stop - start, dtype=bool)
    free[taken - start] = False
    return np.flatnonzero(free) + start


@dataclass(frozen=True)
class _Report:
    """Turns the numbers of rows into changes that people can read."""

    table: str
    keys: Mapping[str, _Column]
    group: _Column | None
    samples: int

    def rows(self, kind: Kind, rows: Rows) -> Iterator[Change]:
        """Whole rows that only one release has."""
        if len(rows):
            shown = tuple(self._key(row) for row in rows[: self.samples])
            yield Change(self.table, kind, None, len(rows), self._groups(rows), shown)

    def values(self, name: str, column: _Column, left: Rows, right: Rows) -> Iterator[Change]:
        """The matched rows whose value in one column is not the same."""
        places = np.flatnonzero(column.codes[left] != column.codes[right])
        if len(places):
            shown = tuple(
                {**self._key(left[i]), "old": column.value(left[i]), "new": column.value(right[i])}
                for i in places[: self.samples]
            )
            kind: Kind = "moved" if name == "split" else "changed"
            yield Change(self.table, kind, name, len(places), self._groups(left[places]), shown)

    def _key(self, row: int) -> dict[str, Any]:
        return {name: column.value(row) for name, column in self.keys.items()}

    def _groups(self, rows: Rows) -> dict[str, int]:
        if self.group is None:
            return {}
        codes, counts = np.unique(self.group.codes[rows], return_counts=True)
        named = {str(self.group.words[code - 1]): int(count) for code, count in zip(codes, counts, strict=True)}
        return dict(sorted(named.items()))
