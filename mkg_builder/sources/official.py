"""The published VL-KGE files: triples with their split, definitions, and feature vectors, each pinned by its sha256."""

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from mkg_builder.durable import file_sha256
from mkg_builder.errors import DataError, UsageError
from mkg_builder.graph import Entity, Statement, Triple, entity_type
from mkg_builder.graph import Literal as Value
from mkg_builder.source import Source, SourceContext, SourceOptions, Vectors
from mkg_builder.sources.official_features import read_vectors
from mkg_builder.strict import Strict

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Modality = Literal["image", "text"]
Cells = tuple[str, ...]

SPLIT_OF_MODE = {"train": "train", "val": "validation", "test": "test"}
TRIPLE_FIELDS = ("head", "relation", "tail", "mode")
DEFINITION_FIELDS = ("entity", "ss_type", "lemmas", "definition", "examples")
REFERENCE_INDEX = "referenceIndex"
"""The literal that keeps an entity's index in the official code: by it that code breaks ties."""

_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"


class Ends(Strict):
    """The entity types that a published relation joins, and its name in the graph where that is another."""

    head: str
    tail: str
    name: str | None = None


class FeatureFile(Strict):
    """A pickle of feature vectors, and the encoder that made them."""

    file: str
    encoder: str


class OfficialOptions(SourceOptions):
    """What a recipe sets.

    Attributes:
        triples: the CSV file with the columns head, relation, tail, mode.
        relations: every relation of that file; an entity's id is its type, a colon, and its published name.
        definitions: a TSV file with the columns entity, ss_type, lemmas, definition, examples; None where a name
            is all there is.
        features: modality -> a pickle of feature vectors by published name, and what encoded them.
        sha256: of each file named above; another content is refused.
    """

    triples: str
    relations: dict[str, Ends] = Field(min_length=1)
    definitions: str | None = None
    features: dict[Modality, FeatureFile] = {}
    sha256: dict[str, Sha256]

    @model_validator(mode="after")
    def _every_file_is_pinned(self) -> "OfficialOptions":
        for name in self.files():
            if name not in self.sha256:
                raise ValueError(f"sha256 says nothing of {name}; a published file is only read with its sha256")
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name} should be a path inside the folder of the published files")
        return self

    def files(self) -> list[str]:
        """Every file that the options name."""
        named = [self.triples, self.definitions, *(feature.file for feature in self.features.values())]
        return [name for name in named if name is not None]


@dataclass
class _Names:
    """Every name in the order of its first appearance, as the official code numbers them: all heads, then all tails."""

    heads: dict[str, None]
    tails: dict[str, None]
    ids: dict[str, str]

    def place(self, name: str, kind: str) -> str:
        """The entity id of a name, one string object for all its triples.

        Raises:
            DataError: the name already stands for an entity of another type.
        """
        wanted = f"{kind}:{name}"
        known = self.ids.setdefault(name, wanted)
        if known != wanted:
            raise DataError(
                f"{name!r} is one published entity, but of type {entity_type(known)} in one relation and {kind} in "
                "another; give both ends one type in the source's `relations`"
            )
        return known

    def in_order(self) -> list[str]:
        """All names, the first with index 0."""
        return list(self.heads | self.tails)


class Official(Source):
    """The published triples as they are: every row, its split, and the order of its entities."""

    Options: ClassVar[type[SourceOptions]] = OfficialOptions
    wants_files: ClassVar[bool] = True

    @override
    def fetch(self, context: SourceContext) -> None:
        names = self.options.files()
        for done, name in enumerate(names):
            context.progress(done, len(names))
            kept = context.file(_key(name))
            if kept is None or file_sha256(kept) != self.options.sha256[name]:
                context.put_file(_key(name), self._published(context, name), "application/octet-stream")
        context.progress(len(names), len(names))

    def _published(self, context: SourceContext, name: str) -> Path:
        """The user's copy of a file, under its whole path or the last parts of it, if its content is the published."""
        folder = context.files or context.folder
        parts = PurePosixPath(name).parts
        places = [folder.joinpath(*parts[start:]) for start in range(len(parts))]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            looked = ", ".join(map(str, places))
            raise UsageError(f"no file {name} (looked for {looked}); say where it lies: --files FOLDER")
        got, wanted = file_sha256(path), self.options.sha256[name]
        if got == wanted:
            return path
        with path.open("rb") as file:
            pointer = file.read(len(_LFS_POINTER)) == _LFS_POINTER
        if pointer:
            raise DataError(f"{path} is a Git LFS pointer, not the file itself; in its repository run: git lfs pull")
        raise DataError(f"{path}: its sha256 is {got}, the published file's is {wanted}; download it again")

    def _kept(self, context: SourceContext, name: str) -> Path:
        """The file in the snapshot."""
        path = context.file(_key(name))
        if path is None or file_sha256(path) != self.options.sha256[name]:
            raise DataError(f"the snapshot does not hold {name} as the recipe names it: mkgb fetch with --files FOLDER")
        return path

    @override
    def read(self, context: SourceContext) -> Iterator[Statement]:
        names = _Names({}, {}, {})
        for row in self._rows(context, self.options.triples, TRIPLE_FIELDS):
            if context.limit is None or row[0] in names.heads or len(names.heads) < context.limit:
                yield self._triple(row, names, context.name)
        defined: dict[str, Cells] = {}
        if self.options.definitions is not None:
            defined = {row[0]: row for row in self._rows(context, self.options.definitions, DEFINITION_FIELDS)}
        for index, name in enumerate(names.in_order()):
            entity = _entity(names.ids[name], defined.get(name), context.name)
            yield entity
            yield Value(entity.id, REFERENCE_INDEX, str(index), context.name)

    def _triple(self, row: Cells, names: _Names, source: str) -> Triple:
        head, relation, tail, mode = row
        ends, split = self.options.relations.get(relation), SPLIT_OF_MODE.get(mode)
        if ends is None or split is None or not head or not tail:
            known = ", ".join(self.options.relations)
            raise DataError(
                f"{self.options.triples}: {head!r}, {relation!r}, {tail!r}, {mode!r} is no triple of this graph; "
                f"relations: {known}; modes: {', '.join(SPLIT_OF_MODE)}"
            )
        names.heads[head] = names.tails[tail] = None
        return Triple(names.place(head, ends.head), ends.name or relation, names.place(tail, ends.tail), source, split)

    def _rows(self, context: SourceContext, name: str, fields: tuple[str, ...]) -> Iterator[Cells]:
        """The rows of a CSV file, or of a TSV file without quoting; every cell is the string that stands there.

        Raises:
            DataError: not UTF-8, a column is missing, or a row has another number of cells than the header.
        """
        quoted = fields is TRIPLE_FIELDS
        form = {"strict": True} if quoted else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
        with self._kept(context, name).open(encoding="utf-8", newline="") as file:
            try:
                reader = csv.reader(file, **form)
                header = next(reader, [])
                absent = [field for field in fields if field not in header]
                if absent:
                    raise DataError(f"{name}: no column {absent[0]!r}; it has {', '.join(header) or 'none'}")
                for surplus in sorted(set(header) - set(fields)):
                    context.leftover(surplus)
                chosen, width = itemgetter(*map(header.index, fields)), len(header)
                for cells in reader:
                    if len(cells) != width:
                        raise DataError(f"{name}, line {reader.line_num}: {len(cells)} cells, {width} columns")
                    yield chosen(cells)
            except (csv.Error, UnicodeDecodeError) as error:
                raise DataError(f"{name}: not readable as a table ({error})") from None

    @override
    def vectors(self, context: SourceContext, entities: Collection[str]) -> Iterator[Vectors]:
        kinds = {kind for ends in self.options.relations.values() for kind in (ends.head, ends.tail)}
        named = (entity.partition(":") for entity in entities)
        published = {name: f"{kind}:{name}" for kind, _, name in named if kind in kinds}
        for modality, feature in self.options.features.items():
            for names, values in read_vectors(self._kept(context, feature.file), feature.file):
                # a name that the triples do not have is no entity; zeros stand for what could not be encoded
                known = [row for row, name in enumerate(names) if name in published and values[row].any()]
                if known:
                    ids = [published[names[row]] for row in known]
                    yield Vectors(modality, feature.encoder, ids, values[known])


def _key(name: str) -> str:
    return f"file:{name}"


def _entity(entity_id: str, defined: Cells | None, source: str) -> Entity:
    """An entity by its name alone, or by its first lemma, its definition and its other lemmas."""
    kind, _, name = entity_id.partition(":")
    _, _, lemmas, definition, _ = defined or ("", "", "", "", "")
    label, *aliases = [lemma.replace("_", " ") for lemma in lemmas.split("|") if lemma] or [name]
    return Entity(entity_id, kind, label, text=definition or None, sources=(source,), aliases=tuple(aliases))
