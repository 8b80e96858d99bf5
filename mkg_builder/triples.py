"""Triples in columns: integers into sorted names, so that millions of facts are sorted and counted at once."""

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mkg_builder.graph import SPLITS, Triple, entity_type
from mkg_builder.ordering import sorted_by

Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

NO_SPLIT = -1
_SPLIT_CODES: dict[str | None, int] = {None: NO_SPLIT, **{split: place for place, split in enumerate(SPLITS)}}
AT_ONCE = 10_000


@dataclass(frozen=True, eq=False)
class Triples:
    """Many facts, in columns.

    Attributes:
        ids: every entity id that a column may name, in byte order; a selection keeps them all.
        relations: relation names, in byte order.
        sources: source names, in byte order.
        head, relation, tail, source: one code per fact, the rank of its name; int32 [n].
        split: the split that a benchmark gives each fact, an index into `SPLITS`, `NO_SPLIT` for none; int8 [n].
    """

    ids: tuple[str, ...]
    relations: tuple[str, ...]
    sources: tuple[str, ...]
    head: Codes
    relation: Codes
    tail: Codes
    source: Codes
    split: npt.NDArray[np.int8]

    @classmethod
    def of(cls, triples: Iterable[Triple]) -> "Triples":
        """The columns of facts given one by one."""
        builder = TriplesBuilder()
        for triple in triples:
            builder.add(triple)
        return builder.triples()

    def __len__(self) -> int:
        return len(self.head)

    def __iter__(self) -> Iterator[Triple]:
        columns = (column.tolist() for column in (self.head, self.relation, self.tail, self.source, self.split))
        for head, relation, tail, source, split in zip(*columns, strict=True):
            yield Triple(
                self.ids[head], self.relations[relation], self.ids[tail], self.sources[source],
                SPLITS[split] if split != NO_SPLIT else None,
            )  # fmt: skip

    def where(self, chosen: npt.NDArray[Any]) -> "Triples":
        """The facts that a mask or indices choose."""
        return replace(
            self, head=self.head[chosen], relation=self.relation[chosen], tail=self.tail[chosen],
            source=self.source[chosen], split=self.split[chosen],
        )  # fmt: skip

    def of_relation(self, names: Collection[str]) -> Mask:
        """Which facts have one of these relations."""
        return np.array([name in names for name in self.relations], bool)[self.relation]

    def naming(self, ids: Mask) -> Mask:
        """Which facts name one of the marked ids, at either end."""
        return ids[self.head] | ids[self.tail]

    def mark(self, test: Callable[[str], bool]) -> Mask:
        """Which ids pass a test; bool [ids]."""
        return np.fromiter((test(name) for name in self.ids), bool, len(self.ids))

    def of_type(self, kind: str | None) -> Mask:
        """Which ids are of a type; bool [ids]."""
        return self.mark(lambda name: entity_type(name) == kind)

    def named(self) -> Mask:
        """Which ids some fact names; bool [ids]."""
        seen = np.zeros(len(self.ids), bool)
        seen[self.head] = True
        seen[self.tail] = True
        return seen

    def occurrences(self) -> npt.NDArray[np.int64]:
        """How many ends of facts each id is; int64 [ids]."""
        size = len(self.ids)
        return np.bincount(self.head, minlength=size) + np.bincount(self.tail, minlength=size)

    def count(self) -> Counter[str]:
        """Facts per relation, of the relations that occur."""
        counts = np.bincount(self.relation, minlength=len(self.relations)).tolist()
        return Counter({name: number for name, number in zip(self.relations, counts, strict=True) if number})

    def order(self, *last: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """The indices that sort the facts by head, relation, tail, source, and last by what else is given."""
        return sorted_by(self.head, self.relation, self.tail, self.source, *last)

    def keys(self) -> npt.NDArray[np.int64]:
        """One integer per fact, equal where head, relation and tail are; ordered as they are."""
        relations, ids = len(self.relations) or 1, len(self.ids) or 1
        keys = self.head.astype(np.int64)
        keys *= relations  # in place: each copy of millions counts
        keys += self.relation
        keys *= ids
        keys += self.tail
        return keys

    def renamed(self, names: Mapping[str, str]) -> "Triples":
        """The facts with some entities under other names."""
        return self.recoded(tuple(names.get(name, name) for name in self.ids), self.relations)

    def recoded(self, ids: Sequence[str], relations: Sequence[str]) -> "Triples":
        """The facts with every code's name replaced; names may now repeat or be out of order."""
        new_ids, id_ranks = _ranked(ids)
        new_relations, relation_ranks = _ranked(relations)
        return replace(
            self, ids=new_ids, relations=new_relations, head=id_ranks[self.head], tail=id_ranks[self.tail],
            relation=relation_ranks[self.relation],
        )  # fmt: skip

    def restated(self, facts: Mask, tails: Mapping[int, str], relation: str | None = None) -> "Triples":
        """The facts, of which the masked ones get new tails, by the old one's code, and another relation if given."""
        new = sorted(set(tails.values()))
        codes = {name: len(self.ids) + place for place, name in enumerate(new)}
        replaced = np.arange(len(self.ids), dtype=np.int32)
        for old, name in tails.items():
            replaced[old] = codes[name]
        tail = np.where(facts, replaced[self.tail], self.tail).astype(np.int32)
        if relation is None:
            return replace(self, tail=tail).recoded((*self.ids, *new), self.relations)
        code = np.where(facts, len(self.relations), self.relation).astype(np.int32)
        return replace(self, tail=tail, relation=code).recoded((*self.ids, *new), (*self.relations, relation))

    def joined(self, other: "Triples") -> "Triples":
        """The facts of both."""
        ids, ranks = _ranked((*self.ids, *other.ids))
        relations, relation_ranks = _ranked((*self.relations, *other.relations))
        sources, source_ranks = _ranked((*self.sources, *other.sources))

        def column(name: str, rank: Codes, first: int) -> Codes:
            return np.concatenate([rank[getattr(self, name)], rank[getattr(other, name) + first]])

        return Triples(
            ids, relations, sources,
            column("head", ranks, len(self.ids)), column("relation", relation_ranks, len(self.relations)),
            column("tail", ranks, len(self.ids)), column("source", source_ranks, len(self.sources)),
            np.concatenate([self.split, other.split]),
        )  # fmt: skip

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The facts as Arrow batches of head, relation, tail and source, so many rows at a time."""
        ids, relations, sources = (pa.array(n, pa.string()) for n in (self.ids, self.relations, self.sources))
        columns = ((self.head, ids), (self.relation, relations), (self.tail, ids), (self.source, sources))
        for start in range(0, len(self), rows):
            yield pa.record_batch(
                [names.take(pa.array(codes[start : start + rows])) for codes, names in columns],
                ["head", "relation", "tail", "source"],
            )


class TriplesBuilder:
    """Collects facts one by one, in 17 bytes each."""

    def __init__(self) -> None:
        self._ids, self._relations, self._sources = _Numbering(), _Numbering(), _Numbering()
        self._head, self._relation, self._tail, self._source = (array("i") for _ in range(4))
        self._split = array("b")
        self._waiting: list[Triple] = []

    def add(self, triple: Triple) -> None:
        """Take one fact in."""
        self._waiting.append(triple)
        if len(self._waiting) == AT_ONCE:
            self._take()

    def _take(self) -> None:
        """Number the facts that wait, column by column, which is several times quicker than one by one."""
        ids, relations, sources, waiting = self._ids, self._relations, self._sources, self._waiting
        if not waiting:
            return
        head, relation, tail, source, split = zip(*waiting, strict=True)
        self._head.extend(map(ids.__getitem__, head))
        self._relation.extend(map(relations.__getitem__, relation))
        self._tail.extend(map(ids.__getitem__, tail))
        self._source.extend(map(sources.__getitem__, source))
        self._split.extend(map(_SPLIT_CODES.__getitem__, split))
        waiting.clear()

    def triples(self) -> Triples:
        """All facts taken in."""
        self._take()
        (ids, rank), (relations, relation_rank), (sources, source_rank) = (
            _ranked(tuple(names)) for names in (self._ids, self._relations, self._sources)
        )
        columns = (self._head, self._relation, self._tail, self._source)
        head, relation, tail, source = (np.frombuffer(column, np.int32) for column in columns)
        return Triples(
            ids, relations, sources, rank[head], relation_rank[relation], rank[tail], source_rank[source],
            np.frombuffer(self._split, np.int8),
        )  # fmt: skip


class _Numbering(dict[str, int]):
    """Numbers names in the order in which they are asked for."""

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        return number


def read_triples(tables: Mapping[str, pa.Table]) -> Triples:
    """The facts of tables with the columns head, relation, tail and source, by split."""
    parts = [_of_table(table, SPLITS.index(split)) for split, table in tables.items()]
    whole = Triples.of(())
    for part in parts:
        whole = whole.joined(part)
    return whole


def _of_table(table: pa.Table, split: int) -> Triples:
    (head, heads), (relation, relations), (tail, tails), (source, sources) = (
        _encoded(table[name]) for name in ("head", "relation", "tail", "source")
    )
    ids, ranks = _ranked((*heads, *tails))
    relation_names, relation_ranks = _ranked(relations)
    source_names, source_ranks = _ranked(sources)
    return Triples(
        ids, relation_names, source_names,
        ranks[head], relation_ranks[relation], ranks[tail + len(heads)], source_ranks[source],
        np.full(len(table), split, np.int8),
    )  # fmt: skip


def _encoded(column: pa.ChunkedArray) -> tuple[Codes, list[str]]:
    """A text column as codes and the names that they stand for."""
    chunks = column.dictionary_encode().unify_dictionaries().chunks
    codes = [chunk.indices.to_numpy() for chunk in chunks]
    names = chunks[0].dictionary.to_pylist() if chunks else []
    return np.concatenate([np.empty(0, np.int32), *codes]), names


def _ranked(names: Sequence[str]) -> tuple[tuple[str, ...], Codes]:
    """The distinct names in byte order, and each given name's rank among them."""
    ordered = sorted(set(names))  # code points, which is the order of UTF-8 bytes
    place = {name: rank for rank, name in enumerate(ordered)}
    return tuple(ordered), np.fromiter((place[name] for name in names), np.int32, len(names))
