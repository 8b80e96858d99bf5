"""Who joins a graph from outside a release: named by tables, by pictures, or outright."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mkg_builder.durable import file_sha256
from mkg_builder.errors import DataError, UsageError
from vlkge.dataset import Dataset
from vlkge.loose_tables import EntityRow, TableReader, id_problem
from vlkge.pictures import Broken, find_pictures


@dataclass(frozen=True)
class Loose:
    """What is to join and lies in no release.

    Attributes:
        triples: tables of facts, by ids of the graph and of what is new.
        entities: tables of what is new: its id and, as far as it has them, its label, text and picture.
        pictures: files, and folders of them; one that no table names is a new entity, called after its path.
        kind: the type of those; None for the type that has unseen members.
        new: ids that are new though no table and no picture tells of them.
    """

    triples: Sequence[Path] = ()
    entities: Sequence[Path] = ()
    pictures: Sequence[Path] = ()
    kind: str | None = None
    new: Sequence[str] = ()


@dataclass
class Account:
    """What came of what was handed in.

    Attributes:
        pictures: how many were encoded.
        broken: pictures that were not, and why; they cost nothing else.
        known_entities: how many that tables, pictures and ids tell of are in the graph; they stay as they are.
        known_triples: how many rows state what the graph, or another row, states.
        unread: by table, the columns that have no meaning here.
        tables: by a table's name its sha256.
    """

    pictures: int = 0
    broken: list[Broken] = field(default_factory=list)
    known_entities: int = 0
    known_triples: int = 0
    unread: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Newcomer:
    """An entity that joins.

    Attributes:
        label: the name people read, None where nobody gives one.
        text: what a text encoder may read.
        picture: its file.
        told: whether anything but a picture tells of it.
    """

    label: str | None = None
    text: str | None = None
    picture: Path | None = None
    told: bool = True


class Newcomers:
    """Who is new, and which triples are; found at once, before any picture is opened.

    Attributes:
        new: by id.
        rows: the triples that the graph does not state.
        account: what was found.

    Args:
        dataset: the graph that they join.
        loose: what was handed in.

    Raises:
        UsageError: a file is missing, or it is not said what the pictures show.
        DataError: a row does not fit the graph; names file and line.
    """

    def __init__(self, dataset: Dataset, loose: Loose) -> None:
        self.account, self.new = Account(), dict[str, Newcomer]()
        self._dataset, self._loose, self._known = dataset, loose, set[str]()
        self._types = dict(zip(dataset.entities, dataset.types, strict=True))
        self._labels_are_read = _kinds_that_read_labels(dataset)
        for entity in loose.new:
            self._welcome(_named(entity, dataset, "--new "))
        reader, named = TableReader(dataset), dict[str, str]()
        for table in loose.entities:
            for row in reader.entities(table):
                if named.setdefault(row.entity, row.place) != row.place:
                    raise DataError(f"{row.place}: {row.entity} stands twice, first in {named[row.entity]}")
                self._tell(row, table.parent)
        tables = [*loose.entities, *loose.triples]
        pictures = (one.picture for one in self.new.values() if one.picture)
        taken = {os.path.realpath(path) for path in (*tables, *pictures)}
        for given in loose.pictures:
            self._show(given, taken)
        types = self._types | {entity: entity.partition(":")[0] for entity in self.new}
        self.rows, self.account.known_triples = reader.triples(loose.triples, types)
        for end in {end for row in self.rows for end in (row.head, row.tail)} & self.new.keys():
            self.new[end].told = True
        self.account.unread = reader.unread
        self.account.tables = {table.name: file_sha256(table) for table in tables}

    def _welcome(self, entity: str, told: bool = True) -> Newcomer | None:
        """An entity as a new one; None where the graph has it."""
        if entity in self._types:
            self._known.add(entity)
            self.account.known_entities = len(self._known)
            return None
        return self.new.setdefault(entity, Newcomer(told=told))

    def _tell(self, row: EntityRow, folder: Path) -> None:
        """What a row of a table says of a new entity."""
        newcomer = self._welcome(row.entity)
        if newcomer is None:
            return
        newcomer.label, newcomer.text = row.label, row.text
        if row.text is None and row.entity.partition(":")[0] in self._labels_are_read:
            newcomer.text = row.label
        if row.image is not None:
            places = [folder, *(path for path in self._loose.pictures if path.is_dir())]
            newcomer.picture = next((found for place in places if (found := _inside(place, row.image))), None)
            if newcomer.picture is None:
                self.set_aside(f"{row.place}: {row.image}", f"no such file in {' or '.join(map(str, places))}")

    def _show(self, given: Path, taken: set[str]) -> None:
        """The pictures of a folder, or one; each is of an entity that is called after it."""
        kind = self._loose.kind or self._dataset.unseen_type
        if kind is None:
            types = ", ".join(sorted(self._dataset.type_info))
            raise UsageError(f"say what the pictures in {given} show with --type: {types}")
        _named(f"{kind}:x", self._dataset, "--type ")
        if not given.exists():
            raise UsageError(f"no picture and no folder {given}")
        for path in find_pictures(given) if given.is_dir() else [given]:
            if os.path.realpath(path) in taken:  # which follows no circle of links for ever
                continue
            taken.add(os.path.realpath(path))
            name = path.relative_to(given) if given.is_dir() else Path(path.name)
            entity = unicodedata.normalize("NFC", f"{kind}:{name.with_suffix('').as_posix()}")
            problem = id_problem(entity, self._dataset)
            newcomer = None if problem else self._welcome(entity, told=False)
            if problem is not None:
                self.set_aside(str(path), str(problem()))
            elif newcomer is not None and newcomer.picture is not None:
                self.set_aside(str(path), f"{entity} has another picture, {newcomer.picture}")
            elif newcomer is not None:
                newcomer.picture = path

    def set_aside(self, name: str, reason: str) -> None:
        """A picture that cannot be used, and why."""
        self.account.broken.append(Broken(name, reason))


def _named(entity: str, dataset: Dataset, option: str) -> str:
    """An id that a person typed.

    Raises:
        UsageError: it cannot be one.
    """
    problem = None if entity in dataset.entities else id_problem(entity, dataset)
    if problem is not None:
        raise UsageError(f"{option}{problem()}")
    return unicodedata.normalize("NFC", entity)


def _kinds_that_read_labels(dataset: Dataset) -> set[str]:
    """The types of which a text encoder reads the label, and nothing else, wherever it reads anything."""
    rows = zip(dataset.types, dataset.texts, dataset.labels, strict=True)
    found = {(kind, text == label) for kind, text, label in rows if text is not None}
    return {kind for kind, same in found if same and (kind, False) not in found}


def _inside(folder: Path, name: str) -> Path | None:
    """A file in a folder; None where there is none, or it leads out of that folder."""
    try:
        path = (folder / name).resolve()
        return folder / name if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name that no file system takes, links in a circle
        return None
