"""Tables of new entities and of new triples as people keep them, each row checked against the graph that it joins."""

import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from mkg_builder.errors import DataError, UnknownNameError, UsageError
from mkg_builder.names import normalise
from mkg_builder.rows import KINDS, RowFile, read_rows
from vlkge.dataset import Dataset
from vlkge.negatives import TripleSet
from vlkge.protocol import all_triples

ENTITY_COLUMNS = {"id": ("id",), "label": ("label", "title"), "text": ("text",), "image": ("image",)}
TRIPLE_COLUMNS = {"head": ("head",), "relation": ("relation",), "tail": ("tail",), "split": ("split", "mode")}
"""Our name of a column -> what it may be called, in letters of any case."""

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}

MOST_NAMED = 5
"""So many further wrong rows are named."""

Cells = Mapping[str, str | None]
Problem = Callable[[], object]
"""What is wrong with a row, said when it is asked for: the nearest of many names takes its time."""


class EntityRow(NamedTuple):
    """A row that tells of an entity: where it stands, and its cells as they are; None where there is nothing."""

    place: str
    entity: str
    label: str | None
    text: str | None
    image: str | None


class TripleRow(NamedTuple):
    """A row that states a fact, and where it stands."""

    place: str
    head: str
    relation: str
    tail: str
    split: str


class TableReader:
    """Reads tables; remembers which columns nobody read.

    Args:
        dataset: the graph that is joined.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.known = dataset, frozenset(dataset.entities)
        self.unread: dict[str, list[str]] = {}

    def entities(self, path: Path) -> list[EntityRow]:
        """The rows of a table with the column `id` and, as far as they are there, `label` or `title`, `text`, `image`.

        Raises:
            UsageError: no such file, or not of a format that is read.
            DataError: not readable, no column `id`, or an id that cannot be one; names file and line.
        """
        rows, wrong = [], []
        for place, cells in self._rows(path, ENTITY_COLUMNS, ("id",)):
            entity = _as_known(cells["id"] or "", self.known)
            problem = None if entity in self.known else id_problem(entity, self.dataset)
            if problem is not None:
                wrong.append((place, problem))
            label, text = (normalise(cells[name] or "") or None for name in ("label", "text"))
            rows.append(EntityRow(place, entity, label, text, cells["image"]))
        _refuse(wrong)
        return rows

    def triples(self, paths: Sequence[Path], types: Mapping[str, str]) -> tuple[list[TripleRow], int]:
        """The rows of tables with the columns `head`, `relation`, `tail` and, where it is there, `split` or `mode`.

        Args:
            paths: the tables.
            types: of every entity that may stand in a triple.

        Returns:
            Those that the graph does not state, each once; how many were left out because they are stated.

        Raises:
            UsageError: as `entities`.
            DataError: not readable, a column is missing, or a row does not fit the graph; names file and line.
        """
        rows, wrong = [], []
        for path in paths:
            for place, cells in self._rows(path, TRIPLE_COLUMNS, ("head", "relation", "tail")):
                problem = _triple_problem(cells, self.dataset, types)
                if problem is not None:
                    wrong.append((place, problem))
                else:
                    head, tail = (_as_known(cells[end] or "", types) for end in ("head", "tail"))
                    split = SPLITS[(cells["split"] or "train").lower()]
                    rows.append(TripleRow(place, head, cells["relation"] or "", tail, split))
        _refuse(wrong)
        fresh: dict[tuple[str, ...], TripleRow] = {}
        for row in _not_stated(rows, self.dataset):
            first = fresh.setdefault(row[1:4], row)
            if first.split != row.split:
                said = f"stated for {row.split}, and in {first.place} for {first.split}"
                wrong.append((row.place, partial(str, said)))
        _refuse(wrong)
        _refuse(list(_clashes(list(fresh.values()), self.dataset, types)))
        return list(fresh.values()), len(rows) - len(fresh)

    def _rows(
        self, path: Path, columns: Mapping[str, Sequence[str]], needed: Sequence[str]
    ) -> Iterator[tuple[str, Cells]]:
        """The place of each row and its cells by our names for their columns."""
        file = _row_file(path)
        called = {alias: ours for ours, aliases in columns.items() for alias in aliases}
        seen = set[str]()
        for number, row in read_rows(file):
            seen |= row.keys()
            found: dict[str, str | None] = dict.fromkeys(columns)
            for name, texts in row.items():
                ours = called.get(name.strip().lower())
                if ours is not None and len(texts) > (found[ours] is None):
                    raise DataError(f"{file.place(number)}: more than one {ours}")
                if ours is not None and texts:
                    found[ours] = _whole(texts[0], file.place(number))
            absent = [name for name in needed if found[name] is None]
            if absent:
                there = {called.get(name.strip().lower()) for name in row}
                said = f"{absent[0]} is empty" if absent[0] in there else f"no column {absent[0]!r}"
                raise DataError(f"{file.place(number)}: {said}; the columns are {', '.join(row)}")
            yield file.place(number), found
        left = sorted(name for name in seen if name.strip().lower() not in called)
        if left:
            self.unread[file.name] = left


def _whole(text: str, place: str) -> str:
    """A text that can be written as UTF-8; half a character, which JSON can hold, cannot.

    Raises:
        DataError: it cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{place}: {text!r} holds half a character") from None
    return text


def _row_file(path: Path) -> RowFile:
    kind = path.suffix.lower().removeprefix(".")
    if not path.is_file():
        raise UsageError(f"no file {path}")
    if kind not in KINDS:
        raise UsageError(f"what is {path}? a table is a file of {', '.join(KINDS)}, called so")
    if kind != "csv":
        return RowFile(path, str(path), kind)
    with path.open("rb") as file:
        header = file.readline(2**16).decode(errors="replace")
    return RowFile(path, str(path), kind, max(",;\t", key=header.count))  # a spreadsheet writes what its country does


def id_problem(entity: str, dataset: Dataset) -> Problem | None:
    """What keeps a text from being the id of a new entity: `TYPE:NAME`, printable, of a type that the graph has."""
    kind, colon, name = entity.partition(":")
    types = sorted(dataset.type_info)
    if not colon or not name.strip():
        example = f"{dataset.unseen_type or types[0]}:{name or kind}"
        return partial(str, f"{entity!r} says no type; an id is TYPE:NAME, as {example}; types: {', '.join(types)}")
    if not entity.isprintable():
        return partial(str, f"{entity!r} holds characters that cannot be seen, which no id may")
    if kind not in types:
        return partial(UnknownNameError, "type", kind, types, "nothing is learned of a new one")
    return None


def _as_known(entity: str, types: Collection[str]) -> str:
    return entity if entity in types else unicodedata.normalize("NFC", entity)


def _triple_problem(cells: Cells, dataset: Dataset, types: Mapping[str, str]) -> Problem | None:
    """What keeps a row from being a triple of this graph."""
    relation, split = cells["relation"] or "", (cells["split"] or "train").lower()
    info = dataset.relation_info.get(relation)
    if info is None:
        return partial(UnknownNameError, "relation", relation, dataset.relations, "nothing is learned of a new one")
    if split not in SPLITS:
        return partial(UnknownNameError, "split", split, sorted(set(SPLITS.values())))
    for end, kind in (("head", info.domain), ("tail", info.range)):
        entity = _as_known(cells[end] or "", types)
        if entity not in types:
            problem = id_problem(entity, dataset)
            new = f"a new one needs a picture, a row in --entities, or: --new {entity}"
            return problem or partial(UnknownNameError, "entity", entity, types, new)
        if types[entity] != kind:
            return partial(str, f"the {end} of {relation} is of type {kind!r}, {entity} of type {types[entity]!r}")
    return None


def _not_stated(rows: list[TripleRow], dataset: Dataset) -> list[TripleRow]:
    """The rows that no split of the graph states."""
    place = {entity: rank for rank, entity in enumerate(dataset.entities)}
    names = {relation: rank for rank, relation in enumerate(dataset.relations)}
    codes = torch.tensor([[place.get(r.head, -1), names[r.relation], place.get(r.tail, -1)] for r in rows])
    if not rows:
        return []
    known = TripleSet(all_triples(dataset), len(dataset.entities), len(names)).contains(*codes.unbind(1))
    known &= (codes >= 0).all(1)
    return [row for row, stated in zip(rows, known.tolist(), strict=True) if not stated]


def _clashes(rows: Sequence[TripleRow], dataset: Dataset, types: Mapping[str, str]) -> Iterator[tuple[str, Problem]]:
    """Rows by which an entity of the type with unseen members would be learned from and asked about."""
    side: dict[str, str] = {}
    for split in ("test", "validation", "train"):
        triples = dataset.triples[split]
        ends = torch.unique(triples[:, [0, 2]] if split == "train" else triples[:, 0])
        side.update((dataset.entities[end], split) for end in ends.tolist())
    for row in rows:
        ends = [row.head, row.tail] if row.split == "train" else [row.head]
        ends = [end for end in ends if types[end] == dataset.unseen_type]
        there = next((end for end in ends if side.get(end, row.split) != row.split), None)
        if there is not None:
            yield row.place, partial(_clash, there, side[there], row.split)
        else:
            side.update(dict.fromkeys(ends, row.split))


def _clash(entity: str, there: str, here: str) -> str:
    seen = "is learned from" if there == "train" else "is held out"
    return f"{entity} {seen} (split {there}), and this row is of split {here}; write {there} in a column split"


def _refuse(wrong: Sequence[tuple[str, Problem]]) -> None:
    """Nothing joins while a row is wrong: the first is explained, the others are named.

    Raises:
        DataError: a row is wrong.
    """
    if not wrong:
        return
    (first, problem), others = wrong[0], [place for place, _ in wrong[1:]]
    said = f"{first}: {problem()}"
    if others:
        same_file = first.rpartition(", ")[0] + ", "
        listed = [place.removeprefix(same_file) for place in others[:MOST_NAMED]]
        more = ", …" if len(others) > MOST_NAMED else ""
        said += f"; {len(others):,} more do not fit: {', '.join(listed)}{more}"
    raise DataError(said)
