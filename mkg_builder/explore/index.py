"""An index of a release, made once: its entities by any of their words, and the facts at each of them."""

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mkg_builder import schema
from mkg_builder.durable import file_sha256, move_durably
from mkg_builder.errors import UnknownNameError
from mkg_builder.graph import SPLITS
from mkg_builder.names import label_key
from mkg_builder.ordering import sorted_by
from mkg_builder.progress import watched
from mkg_builder.summary import why_no_pictures

VERSION = 2
"""Of the tables below; an index of another one is not opened."""
AT_ONCE = 100_000
WORDS = 8
"""Of a search; what is typed after them is not looked at."""

TABLES = """
CREATE TABLE entity (n INTEGER PRIMARY KEY, id TEXT UNIQUE, type TEXT, label TEXT, text TEXT, aliases TEXT,
    same_as TEXT, sources TEXT, split TEXT, key TEXT, degree INTEGER);
CREATE VIRTUAL TABLE search USING fts5(words, type, content='', prefix='1 2 3');
CREATE TABLE name (n INTEGER PRIMARY KEY, kind TEXT, name TEXT);
CREATE TABLE fact (head INTEGER, relation INTEGER, tail INTEGER, source INTEGER, split INTEGER,
    PRIMARY KEY (head, relation, tail)) WITHOUT ROWID;
CREATE TABLE picture (id TEXT PRIMARY KEY, status TEXT, shard INTEGER, row_group INTEGER, width INTEGER,
    height INTEGER) WITHOUT ROWID;
CREATE TABLE literal (entity TEXT, name TEXT, value TEXT, source TEXT);
"""
AFTERWARDS = """
CREATE INDEX by_key ON entity (key);
CREATE INDEX by_type ON entity (type);
CREATE INDEX by_tail ON fact (tail, relation, head, source, split);
CREATE INDEX by_entity ON literal (entity);
ANALYZE;
"""

Codes = npt.NDArray[Any]


@dataclass(frozen=True)
class Group:
    """The facts of one entity under one relation, from its side.

    Attributes:
        relation: its name.
        outgoing: whether the entity is the head.
        total: how many there are.
        rows: some of them: the other end's `id`, `label`, `type`, `pictured`, and the fact's `source` and `split`.
    """

    relation: str
    outgoing: bool
    total: int
    rows: Sequence[dict[str, Any]]


class Index:
    """A finished index, read from any thread."""

    def __init__(self, path: Path) -> None:
        self._address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"

    def _rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self._address, uri=True)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query, values)]

    def search(self, words: str, kind: str = "", limit: int = 30) -> list[dict[str, Any]]:
        """The entities that have every word, the last letters of each free; exact names first, then by degree.

        Case, accents and punctuation do not matter. Rows have `id`, `label`, `type`, `degree`, `pictured`.
        """
        key = label_key(words)
        tokens = [f'"{word}"*' for word in key.split()[:WORDS]]
        if not tokens:
            return []
        asked = f"words : ({' AND '.join(tokens)})" + (f' AND type : "{label_key(kind)}"' if kind else "")
        exact = self._rows(f"{_HIT} WHERE (key = ? OR id = ?) AND (? = '' OR type = ?) ORDER BY n LIMIT ?",
                           key, words.strip(), kind, kind, limit)  # fmt: skip
        found = self._rows(
            f"{_HIT} WHERE n IN (SELECT rowid FROM search WHERE search MATCH ? ORDER BY rowid LIMIT ?) ORDER BY n",  # noqa: S608
            asked, limit,
        )  # fmt: skip
        return list({row["id"]: row for row in (*exact, *found)}.values())[:limit]

    def of_type(self, kind: str, limit: int) -> list[dict[str, Any]]:
        """The entities of a type, those with most facts first."""
        return self._rows(f"{_HIT} WHERE type = ? ORDER BY n LIMIT ?", kind, limit)

    def entity(self, name: str) -> dict[str, Any]:
        """All that the release says of an entity itself.

        Raises:
            UnknownNameError: there is none of this id.
        """
        found = self._rows("SELECT * FROM entity WHERE id = ?", name)
        if not found:
            raise UnknownNameError("entity", name, (row["id"] for row in self.search(name.rpartition(":")[2])))
        lists = {field: json.loads(found[0][field]) for field in ("aliases", "same_as", "sources")}
        literals = self._rows("SELECT name, value, source FROM literal WHERE entity = ? LIMIT 100", name)
        return {**found[0], **lists, "picture": self.picture(name), "literals": literals}

    def picture(self, name: str) -> dict[str, Any] | None:
        """Where an entity's picture lies; None for what can have none."""
        return next(iter(self._rows("SELECT * FROM picture WHERE id = ?", name)), None)

    def groups(self, name: str, limit: int) -> list[Group]:
        """The facts at an entity by relation, first those it is the head of, at most so many of each."""
        found = []
        for end in _ENDS:
            counted = self._rows(
                f"SELECT name.name AS relation, count(*) AS total FROM fact JOIN name ON name.n = relation "  # noqa: S608
                f"WHERE {end} = (SELECT n FROM entity WHERE id = ?) GROUP BY relation ORDER BY name.name", name,
            )  # fmt: skip
            found += [
                Group(row["relation"], end == "head", row["total"],
                      self.facts(name, row["relation"], end == "head", limit))
                for row in counted
            ]  # fmt: skip
        return found

    def facts(self, name: str, relation: str, outgoing: bool, limit: int, start: int = 0) -> list[dict[str, Any]]:
        """The other ends of an entity's facts under one relation, those with most facts first."""
        end, other = ("head", "tail") if outgoing else ("tail", "head")
        found = self._rows(
            "SELECT e.id, e.label, e.type, p.shard IS NOT NULL AS pictured, s.name AS source, fact.split AS split "  # noqa: S608
            f"FROM fact JOIN entity e ON e.n = fact.{other} JOIN name s ON s.n = fact.source "
            "LEFT JOIN picture p ON p.id = e.id "
            f"WHERE fact.{end} = (SELECT n FROM entity WHERE id = ?) "
            "AND fact.relation = (SELECT n FROM name WHERE kind = 'relation' AND name = ?) "
            f"ORDER BY fact.{other} LIMIT ? OFFSET ?", name, relation, limit, start,
        )  # fmt: skip
        return [{**row, "split": SPLITS[row["split"]]} for row in found]

    def types(self) -> dict[str, int]:
        """How many entities there are of each type, the most frequent first."""
        found = self._rows("SELECT type, count(*) AS number FROM entity GROUP BY type ORDER BY number DESC, type")
        return {row["type"]: row["number"] for row in found}

    def relations(self) -> list[str]:
        """The relations that some fact has."""
        return [row["name"] for row in self._rows("SELECT name FROM name WHERE kind = 'relation' ORDER BY name")]

    def pictured(self, limit: int) -> list[dict[str, Any]]:
        """Some entities that have a picture, spread over all."""
        step = "max(1, (SELECT count(*) FROM picture WHERE shard IS NOT NULL) / ?)"
        return self._rows(
            "SELECT e.id, e.label, e.type, 1 AS pictured FROM (SELECT id, row_number() OVER () AS place FROM picture "  # noqa: S608
            f"WHERE shard IS NOT NULL) p JOIN entity e ON e.id = p.id WHERE p.place % {step} = 0 LIMIT ?",
            limit, limit,
        )  # fmt: skip


_HIT = (
    "SELECT id, label, type, degree, EXISTS (SELECT 1 FROM picture p WHERE p.id = entity.id AND p.shard IS NOT NULL) "
    "AS pictured FROM entity"
)


def default_cache() -> Path:
    """Where indexes are kept when it is not said."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mkgb"


def open_index(release: Path, cache: Path, tell: Callable[[str], None] | None = None) -> Index:
    """The index of a release, made in the cache folder when it is not there yet.

    Raises:
        ReleaseError: the release cannot be read.
    """
    schema.read_manifest(release)
    path = cache / f"{file_sha256(release / schema.MANIFEST)}-{VERSION}.sqlite"
    if not path.is_file():
        if tell:
            tell(f"making an index of {release}, once: {path}")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            unfinished = Path(folder) / path.name
            with closing(sqlite3.connect(unfinished)) as database:
                database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + TABLES)
                _fill(database, release)
                database.commit()
                database.executescript(AFTERWARDS)
            move_durably(unfinished, path)
    return Index(path)


def _fill(database: sqlite3.Connection, release: Path) -> None:
    ids = schema.read_table(release, "entities", columns=["id"])["id"].combine_chunks()
    names: dict[tuple[str, str], int] = {}
    head, relation, tail, source, split = _columns(release, ids, names)
    degrees = np.bincount(head, minlength=len(ids)) + np.bincount(tail, minlength=len(ids))
    numbers = np.empty(len(ids), np.int64)
    numbers[np.argsort(-degrees, kind="stable")] = np.arange(len(ids))  # the lower, the more facts
    for rows in _entities(release, numbers, degrees):
        _insert(database, "entity", [row[:-1] for row in rows])
        _insert(database, "search (rowid, words, type)", [(row[0], row[-1], label_key(row[2])) for row in rows])
    head, tail = numbers[head], numbers[tail]
    order = sorted_by(head, relation, tail)
    for start in watched("facts", range(0, len(order), AT_ONCE)):
        part = order[start : start + AT_ONCE]
        columns = (column[part].tolist() for column in (head, relation, tail, source, split))
        _insert(database, "fact", list(zip(*columns, strict=True)))
    _insert(database, "name", [(number, *name) for name, number in names.items()])
    _insert(database, "picture", list(_pictures(release)))
    for batch in schema.iter_batches(release, "literals"):
        _insert(database, "literal", [tuple(row.values()) for row in batch.to_pylist()])


def _insert(database: sqlite3.Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        database.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)  # noqa: S608


def _columns(release: Path, ids: pa.Array, names: dict[tuple[str, str], int]) -> list[Codes]:
    """Head, relation, tail, source and split of every triple as numbers; what is named by none is left out."""
    pieces: list[list[Codes]] = []
    for place, split in enumerate(SPLITS):
        for batch in schema.iter_batches(release, "triples", split):
            ends = [pc.index_in(batch[end], ids).fill_null(-1).to_numpy(zero_copy_only=False) for end in _ENDS]
            known = (ends[0] >= 0) & (ends[1] >= 0)
            named = [_named(batch[kind], kind, names) for kind in ("relation", "source")]
            columns = (ends[0], named[0], ends[1], named[1], np.full(len(known), place))
            pieces.append([column[known].astype(np.int32) for column in columns])
    return [np.concatenate(column) for column in zip(*pieces, strict=True)] or [np.empty(0, np.int32)] * 5


_ENDS = ("head", "tail")


def _named(column: pa.Array, kind: str, names: dict[tuple[str, str], int]) -> Codes:
    coded = column.dictionary_encode()
    numbers = [names.setdefault((kind, name), len(names)) for name in coded.dictionary.to_pylist()]
    found: Codes = np.array(numbers, np.int32)[coded.indices.to_numpy(zero_copy_only=False)]
    return found


def _entities(release: Path, numbers: Codes, degrees: Codes) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of the table `entity`, each with the words that it is found by behind it."""
    start, fields = 0, ["id", "type", "label", "text", "aliases", "same_as", "sources", "split"]
    for batch in schema.iter_batches(release, "entities", columns=fields, rows=AT_ONCE):
        found = []
        for place, row in enumerate(batch.to_pylist(), start):
            lists = [json.dumps(row[field]) for field in ("aliases", "same_as", "sources")]
            key = label_key(row["label"])
            words = " ".join([key, *(label_key(name) for name in (*row["aliases"], row["id"].partition(":")[2]))])
            found.append((int(numbers[place]), row["id"], row["type"], row["label"], row["text"], *lists, row["split"],
                          key, int(degrees[place]), words))  # fmt: skip
        start += len(found)
        yield found


def _pictures(release: Path) -> Iterator[tuple[Any, ...]]:
    """Rows of the table `picture`; shard and row group only where there is one, else why not."""
    columns = ["id", "image_status", "width", "height"]
    works = schema.read_table(release, "artworks", columns=columns).to_pylist()
    lie = ((shard, group) for shard, group, ids in schema.find_rows(release, "artworks") for _ in range(len(ids)))
    withheld = why_no_pictures(release)
    for row, place in zip(works, lie, strict=True):
        shown = row["image_status"] == "ok" and withheld is None
        shard, group = place if shown else (None, None)
        status = withheld if row["image_status"] == "ok" and withheld else row["image_status"]
        yield row["id"], status, shard, group, row["width"], row["height"]
