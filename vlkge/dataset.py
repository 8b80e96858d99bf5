"""Dataset: the vocabulary of a published graph and its triples as integers, from a folder or from the Hub."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
import torch

from mkg_builder import schema
from mkg_builder.errors import UnknownNameError, UsageError
from vlkge import hub
from vlkge.errors import DatasetError
from vlkge.files import read_sealed_json, read_tensors, write_sealed_json, write_tensors
from vlkge.tables import REBUILD, read_tie_order, read_triples, require_distinct, sorted_table

Setting = Literal["inductive", "transductive"]
VOCABULARY, TRIPLES, TIE_ORDER = "vocabulary.json", "triples.safetensors", "tie_order"
_RESTORE = "restore the folder from a copy or train again"
HUB_SCHEME = "hf://datasets/"
"""Before a name, it means the Hub even where a folder of that name lies."""


@dataclass(frozen=True)
class TypeInfo:
    """What is said of one entity type: the sentence that a text of it is put into."""

    prompt: str | None


@dataclass(frozen=True)
class RelationInfo:
    """What is said of one relation: the types it joins, the sentence that asks for its tail, its inverse.

    `functional`: a head has one tail. `evaluated` is False for relations that are learned from and never asked for.
    `disjoint`: its triples were divided by disjoint sets of entities, as the artist relations of the paper.
    """

    domain: str
    range: str
    prompt: str | None
    inverse: str | None
    functional: bool = False
    evaluated: bool = True
    disjoint: bool = False


_STATED_OF_RELATIONS = ("domain", "range", "prompt", "inverse", "functional", "evaluated")
"""Columns of the table `relations`; the rest is in the recipe."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A graph to learn from; an entity's index is the rank of its id in UTF-8 byte order.

    Attributes:
        name: the release's name.
        version: the release's version.
        content_sha256: what the release says, independent of its files.
        revision: the commit when it came from the Hub, else None.
        setting: whether some entities are never seen in training.
        unseen_type: the type of those entities, else None.
        entities: ids, sorted.
        labels: the name people read, per entity.
        types: per entity.
        texts: what a text encoder may read, per entity; None where there is none.
        relations: names, sorted.
        relation_info: by relation name.
        type_info: by type.
        triples: per split int64 [n, 3], columns head, relation, tail.
        tie_order: int64 [entities], the published index by which the official code breaks ties; None where the
            release keeps none.
        aliases: other names, of the entities that have any.
    """

    name: str
    version: str
    content_sha256: str
    revision: str | None
    setting: Setting
    unseen_type: str | None
    entities: tuple[str, ...]
    labels: tuple[str, ...]
    types: tuple[str, ...]
    texts: tuple[str | None, ...]
    relations: tuple[str, ...]
    relation_info: Mapping[str, RelationInfo]
    type_info: Mapping[str, TypeInfo]
    triples: Mapping[str, torch.Tensor]
    tie_order: torch.Tensor | None = None
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def _entity_ranks(self) -> dict[str, int]:
        return {entity: rank for rank, entity in enumerate(self.entities)}

    def entity_index(self, entity: str) -> int:
        """The index of an entity id.

        Raises:
            UnknownNameError: no entity has this id; names the nearest.
        """
        try:
            return self._entity_ranks[entity]
        except KeyError:
            raise UnknownNameError("entity", entity, self.entities) from None

    def relation_index(self, relation: str) -> int:
        """The index of a relation name.

        Raises:
            UnknownNameError: no relation has this name; names the nearest.
        """
        try:
            return self.relations.index(relation)
        except ValueError:
            raise UnknownNameError("relation", relation, self.relations) from None

    def names(self) -> list[tuple[str, ...]]:
        """What each entity is called: its label and its aliases."""
        pairs = zip(self.entities, self.labels, strict=True)
        return [(label, *self.aliases.get(entity, ())) for entity, label in pairs]

    def seen(self) -> torch.Tensor:
        """Which entities occur in a train triple: bool [entities]."""
        mask = torch.zeros(len(self.entities), dtype=torch.bool)
        mask[self.triples["train"][:, [0, 2]].reshape(-1)] = True
        return mask

    def can_evaluate(self, split: str) -> bool:
        """Whether a split has a triple of a relation that is evaluated."""
        relations = torch.unique(self.triples[split][:, 1]).tolist()
        return any(self.relation_info[self.relations[relation]].evaluated for relation in relations)

    def save(self, folder: Path) -> None:
        """Write `vocabulary.json` and `triples.safetensors` into an existing folder."""
        order = {} if self.tie_order is None else {TIE_ORDER: self.tie_order}
        digest = write_tensors(folder / TRIPLES, {**self.triples, **order})
        fields = self.__dataclass_fields__.keys() - {"triples", TIE_ORDER}
        named = {name: getattr(self, name) for name in fields}
        named["relation_info"] = {name: asdict(info) for name, info in self.relation_info.items()}
        named["type_info"] = {name: asdict(info) for name, info in self.type_info.items()}
        write_sealed_json(folder / VOCABULARY, {**named, "triples_sha256": digest})

    @classmethod
    def load(cls, folder: Path) -> "Dataset":
        """The data set that `save` wrote.

        Raises:
            DatasetError: a file is missing, altered, or says what no graph can.
        """
        values = read_sealed_json(folder / VOCABULARY, DatasetError, _RESTORE)
        triples = read_tensors(folder / TRIPLES, values.pop("triples_sha256", ""), DatasetError, _RESTORE)
        try:
            for name in ("entities", "labels", "types", "texts", "relations"):
                values[name] = tuple(values[name])
            values["relation_info"] = {name: RelationInfo(**info) for name, info in values["relation_info"].items()}
            values["type_info"] = {name: TypeInfo(**info) for name, info in values["type_info"].items()}
            found = cls(**values, tie_order=triples.pop(TIE_ORDER, None), triples=triples)
            problem = found._problem()
        except (KeyError, TypeError, AttributeError, ValueError) as fault:
            problem = repr(fault)
        if problem:
            raise DatasetError(f"{folder} holds no graph: {problem}; {_RESTORE}")
        return found

    def _problem(self) -> str | None:
        """What cannot be true of a graph, if anything."""
        sizes = {len(column) for column in (self.entities, self.labels, self.types, self.texts)}
        named = {*self.relations} <= self.relation_info.keys() and {*self.types} <= self.type_info.keys()
        if len(sizes) > 1 or not named or self.triples.keys() != {*schema.TABLES["triples"].splits}:
            return "its parts do not belong together"
        most = torch.tensor([len(self.entities), len(self.relations), len(self.entities)])
        for split, rows in self.triples.items():
            if rows.dtype != torch.int64 or rows.dim() != 2 or rows.shape[1] != 3:
                return f"the triples of {split} are {rows.dtype} {list(rows.shape)}"
            if bool(((rows < 0) | (rows >= most)).any()):
                return f"a triple of {split} names what is not there"
        return None


def load_dataset(name: str) -> Dataset:
    """The data set in a folder, or on the Hub as `ORG/NAME[@REVISION]` or `hf://datasets/ORG/NAME[@REVISION]`.

    Raises:
        UsageError: neither a folder nor a name of that form.
        DatasetError, UpstreamError: as `load_folder` and `download`.
    """
    folder, revision = find_release(name)
    return load_folder(folder, revision)


def find_release(name: str) -> tuple[Path, str | None]:
    """The folder of a release and its commit: a local folder (None), or one downloaded from the Hub.

    Raises:
        UsageError: neither a folder nor `ORG/NAME[@REVISION]`.
    """
    if not name.startswith(HUB_SCHEME) and Path(name).is_dir():
        return Path(name), None
    found = hub.NAME.fullmatch(name.removeprefix(HUB_SCHEME))
    if not found:
        raise UsageError(f"{name!r} is neither a folder nor a Hub data set; write a path or ORG/NAME[@REVISION]")
    return download(found["repo"], found["revision"])


def download(repo_id: str, revision: str | None) -> tuple[Path, str]:
    """The local copy of a data set of the Hub and the commit that the revision stands for.

    The snapshot is read as a folder, never by `datasets.load_dataset(revision=...)`, which offline
    answers with whichever revision is cached.

    Raises:
        DatasetError, UpstreamError, UsageError: as `hub.download`.
    """
    return hub.download(repo_id, revision, "dataset", DatasetError)


def load_folder(folder: Path, revision: str | None = None) -> Dataset:
    """The data set of a release folder, every byte of which is verified first.

    Args:
        folder: a release.
        revision: the commit that it was downloaded at, None for a folder of one's own.

    Raises:
        ReleaseError: the folder is not a whole, unaltered release.
        DatasetError: a null, a relation or entity that is not declared, a triple stated twice, or no
            triple to train on; names the table and the row.
    """
    manifest, splits = schema.require_whole(folder), schema.TABLES["triples"].splits
    for name in manifest["files"]:
        if name.startswith("triples/") and not name.startswith(tuple(f"triples/{split}-" for split in splits)):
            raise DatasetError(f"{folder / name} is of no known split ({', '.join(splits)}); {REBUILD}")
    entities = sorted_table(folder, "entities", "id", ["id", "type", "label", "text", "aliases"])
    relations = sorted_table(folder, "relations", "name", ["name", *_STATED_OF_RELATIONS])
    triples = {split: read_triples(folder, split, entities["id"], relations["name"]) for split in splits}
    require_distinct(triples, len(entities), len(relations))
    if not len(triples["train"]):
        raise DatasetError(f"{folder}: triples/train is empty, so there is nothing to learn; {REBUILD}")
    about = _read_about(folder, manifest)
    order = read_tie_order(folder, entities["id"])
    types = tuple(entities["type"].to_pylist())
    return Dataset(
        name=about["name"],
        version=about["version"],
        content_sha256=about["content_sha256"],
        revision=revision,
        setting=about["setting"],
        unseen_type=about["unseen"],
        entities=tuple(entities["id"].to_pylist()),
        labels=tuple(entities["label"].to_pylist()),
        types=types,
        texts=tuple(entities["text"].to_pylist()),
        relations=tuple(relations["name"].to_pylist()),
        relation_info=_relation_info(relations, about["disjoint"]),
        type_info={kind: TypeInfo(about["prompts"].get(kind)) for kind in sorted(set(types))},
        triples={name: torch.from_numpy(rows) for name, rows in triples.items()},
        tie_order=None if order is None else torch.from_numpy(order),
        aliases=_aliases(entities),
    )


def _aliases(entities: pa.Table) -> dict[str, list[str]]:
    if pc.list_flatten(entities["aliases"]).null_count:
        raise DatasetError(f"entities: an alias is null; {REBUILD}")
    named = entities.filter(pc.greater(pc.list_value_length(entities["aliases"]), 0))
    return dict(zip(named["id"].to_pylist(), named["aliases"].to_pylist(), strict=True))


def _relation_info(relations: pa.Table, disjoint: Sequence[str]) -> dict[str, RelationInfo]:
    return {
        row["name"]: RelationInfo(**{key: row[key] for key in _STATED_OF_RELATIONS}, disjoint=row["name"] in disjoint)
        for row in relations.to_pylist()
    }


def _read_about(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of the release: identity, setting, relations divided by disjoint sets, prompts."""
    try:
        split, types = manifest["recipe"]["split"], manifest["recipe"]["types"]
        about = {name: manifest[name] for name in ("name", "version", "content_sha256")}
        given = "transductive" if split["unseen"] is None else "inductive"
        about |= {"setting": given if split["policy"] == "given" else split["policy"], "unseen": split["unseen"]}
        about["disjoint"] = split.get("disjoint", [])
        about["prompts"] = {kind: info["prompt"] for kind, info in types.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder / schema.MANIFEST} does not say {error}; {REBUILD}") from None
    if about["setting"] not in get_args(Setting):
        raise DatasetError(f"{folder / schema.MANIFEST}: split policy {about['setting']!r} is not known; {REBUILD}")
    return about
