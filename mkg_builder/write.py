"""A graph becomes a release folder: Parquet, card, manifest; the same input gives the same bytes."""

import json
import platform
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import PIL
import pyarrow as pa

from mkg_builder import __version__, schema
from mkg_builder.card import Contents, render_card
from mkg_builder.compare import newest_release, require_bump
from mkg_builder.content import release_content_sha256
from mkg_builder.croissant import CROISSANT, croissant_text
from mkg_builder.durable import file_entry, naming, sync_folder, sync_tree
from mkg_builder.errors import DataError
from mkg_builder.graph import SPLITS, Entity
from mkg_builder.images import BrokenPicture, Picture, stored_pictures
from mkg_builder.knowledge_graph import KnowledgeGraph
from mkg_builder.recipe import Recipe, canonical
from mkg_builder.shards import ROW_GROUP, Rows, write_rows, write_triples, write_vectors
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Observations, Vectors
from mkg_builder.statistics import availability, entity_splits
from mkg_builder.triples import Triples

SHARD_BYTES = 500_000_000


@dataclass(frozen=True)
class Draft:
    """All that goes into a release.

    Attributes:
        version: the recipe's version, with what marks this build behind a plus sign.
        marks: how this build differs from what the recipe says, in words; empty for a publishable one.
        pictures: entity id -> its verified picture, or why there is none.
        snapshot: the answers that this is made from.
        observations: what reading brought to light: fields that nobody read, what a source could not give.
        account: what became of the triples read: `read`, `kept`, and `gone` by rule.
        vectors: the feature vectors that the sources publish, in pieces.
    """

    recipe: Recipe
    version: str
    marks: tuple[str, ...]
    graph: KnowledgeGraph
    splits: Mapping[str, Triples]
    pictures: Mapping[str, Picture | BrokenPicture]
    snapshot: Snapshot
    observations: Observations
    account: Mapping[str, Any]
    vectors: Iterable[Vectors] = ()


def write_release(draft: Draft, folder: Path) -> dict[str, Any]:
    """Write a release; the folder appears whole or not at all.

    Returns:
        The manifest.

    Raises:
        DataError: it says something else than the release of this version that is there, or its version says less
            than what changed since the newest earlier release beside it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".writing-{folder.name}-"
    _sweep(folder.parent, prefix)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=prefix))
    try:
        with naming(folder):
            manifest = _write_into(scratch, draft)
        scratch.chmod(0o755)
        if not draft.marks:
            _require_same_content(folder, manifest["content_sha256"])
        earlier = None if draft.marks else newest_release(folder.parent, draft.recipe.name, draft.version)
        if earlier is not None:
            require_bump(earlier, scratch)
        sync_tree(scratch)
        if folder.exists():  # moved away and not deleted in its place, where a crash would leave a part of it
            folder.replace(tempfile.mkdtemp(dir=folder.parent, prefix=prefix))
        scratch.replace(folder)
        sync_folder(folder.parent)
        _sweep(folder.parent, prefix)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return manifest


def _require_same_content(folder: Path, content: str) -> None:
    """Refuse to change a version, whatever made the difference: a plug-in, a file of the recipe, this program."""
    if (folder / schema.MANIFEST).exists() and (old := schema.read_manifest(folder)["content_sha256"]) != content:
        raise DataError(
            f"{folder} exists and says something else (content {old[:12]}, now {content[:12]}); a version never "
            "changes: raise `version` in the recipe, or move that folder away"
        )


def _sweep(folder: Path, prefix: str) -> None:
    """Delete what this build, or one that was killed, has no more use for."""
    for left_behind in folder.glob(f"{prefix}*"):
        shutil.rmtree(left_behind)


def _write_into(folder: Path, draft: Draft) -> dict[str, Any]:
    placed = entity_splits(draft.splits)
    counts = availability(draft.graph, draft.splits)
    tables: dict[tuple[str, str], Rows] = {
        ("entities", "full"): _entity_rows(draft.graph, placed),
        ("relations", "full"): _relation_rows(draft),
        ("literals", "full"): _sorted_rows(draft.graph.literals),
        ("modality_availability", "full"): [asdict(count) for count in counts],
        ("dropped", "full"): _sorted_rows(draft.graph.dropped),
    }
    for (table, split), rows in tables.items():
        write_rows(folder / schema.shard_path(table, split), table, [rows])
    for split in SPLITS:
        write_triples(folder / schema.shard_path("triples", split), draft.splits[split])
    works = _artworks(draft)
    _write_artworks(folder, draft, works, placed)
    write_vectors(folder, draft.vectors)
    contents = Contents(
        draft.graph.count_entities(),
        {split: draft.splits[split].count() for split in SPLITS},
        counts,
        Counter(dropped.rule for dropped in draft.graph.dropped),
        _filled(folder, draft, tables, works),
    )
    card = render_card(draft.recipe, draft.version, draft.marks, contents, draft.snapshot.describe())
    (folder / schema.CARD).write_text(card, encoding="utf-8")
    manifest = _manifest(folder, draft)
    described = folder / CROISSANT
    described.write_text(croissant_text(manifest), encoding="utf-8")
    manifest["files"][CROISSANT] = file_entry(described)
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / schema.MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def _sorted_rows(things: Iterable[Any]) -> Rows:
    return sorted(map(asdict, set(things)), key=lambda row: tuple(row.values()))


def _entity_rows(graph: KnowledgeGraph, placed: Mapping[str, str]) -> Rows:
    return [
        {
            "id": entity.id, "type": entity.type, "label": entity.label, "text": entity.text,
            "aliases": list(entity.aliases), "same_as": list(entity.same_as), "sources": list(entity.sources),
            "split": placed.get(entity.id),
            "has_image": entity.image is not None, "has_text": entity.text is not None,
        }
        for _, entity in sorted(graph.entities.items())
    ]  # fmt: skip


def _relation_rows(draft: Draft) -> Rows:
    counted = {split: draft.splits[split].count() for split in SPLITS}
    return [
        {**asdict(relation), **{split: counted[split][relation.name] for split in SPLITS}}
        for _, relation in sorted(draft.graph.relations.items())
    ]


def _filled(
    folder: Path, draft: Draft, tables: Mapping[tuple[str, str], Rows], works: Sequence[Entity]
) -> dict[str, list[str]]:
    """The splits that have rows, by table, in the order of the format."""
    sizes = {place: len(rows) for place, rows in tables.items()} | {("artworks", "full"): len(works)}
    sizes |= {("triples", split): len(draft.splits[split]) for split in SPLITS}
    vectors = schema.TABLES["vectors"]
    sizes |= {("vectors", split): len(schema.table_files(folder, "vectors", split)) for split in vectors.splits}
    filled = {t.name: [split for split in t.splits if sizes[t.name, split]] for t in schema.TABLES.values()}
    return {name: splits for name, splits in filled.items() if splits}


def _artworks(draft: Draft) -> list[Entity]:
    """Every entity that may have a picture."""
    kinds = {name for name, kind in draft.recipe.types.items() if kind.image}
    return [entity for _, entity in sorted(draft.graph.entities.items()) if entity.type in kinds]


def _write_artworks(folder: Path, draft: Draft, works: Sequence[Entity], placed: Mapping[str, str]) -> None:
    """The table with pictures, read one row group at a time, in shards that the Hub likes."""
    shards = list(_shards(works, draft.pictures))
    verified = (p for entity in works if isinstance(p := draft.pictures.get(entity.id), Picture))
    with closing(stored_pictures(draft.snapshot, verified, draft.recipe.images.longest_side)) as stored:
        for number, shard in enumerate(shards):
            groups = (
                [_artwork_row(entity, draft, placed, stored) for entity in shard[start : start + ROW_GROUP["artworks"]]]
                for start in range(0, max(len(shard), 1), ROW_GROUP["artworks"])
            )
            write_rows(folder / schema.shard_path("artworks", "full", number, len(shards)), "artworks", groups)


def _shards(works: Sequence[Entity], pictures: Mapping[str, Picture | BrokenPicture]) -> Iterator[Sequence[Entity]]:
    start, size = 0, 0
    for place, entity in enumerate(works):
        picture = pictures.get(entity.id)
        weight = picture.bytes if isinstance(picture, Picture) else 0
        if size and size + weight > SHARD_BYTES:
            yield works[start:place]
            start, size = place, 0
        size += weight
    yield works[start:]


def _artwork_row(
    entity: Entity, draft: Draft, placed: Mapping[str, str], stored: Iterator[tuple[Picture, bytes]]
) -> dict[str, Any]:
    """One row; `stored` gives the next picture as the release holds it."""
    row: dict[str, Any] = {"id": entity.id, "label": entity.label, "split": placed.get(entity.id)}
    known = draft.pictures.get(entity.id)
    if isinstance(known, Picture):
        picture, body = next(stored)
        row |= {
            "image": {"bytes": body, "path": f"{picture.sha256}.{picture.format.lower()}"},
            "image_sha256": picture.sha256, "image_phash": picture.phash, "image_format": picture.format,
            "width": picture.width, "height": picture.height, "image_address": picture.key, "image_status": "ok",
        }  # fmt: skip
    elif known is not None:
        row |= {"image_address": known.key, "image_status": f"broken: {known.reason}"}
    else:
        row["image_status"] = "none"
    return row


def _manifest(folder: Path, draft: Draft) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "format_version": schema.FORMAT_VERSION,
        "name": draft.recipe.name,
        "version": draft.version,
        "marks": list(draft.marks),
        "content_sha256": release_content_sha256(folder),
        "files": {path.relative_to(folder).as_posix(): file_entry(path) for path in files},
        "recipe": canonical(draft.recipe),
        "snapshot": draft.snapshot.describe(),
        "triples": dict(draft.account),
        "leftovers": {source: sorted(fields) for source, fields in sorted(draft.observations.leftovers.items())},
        "notes": draft.observations.notes,
        "versions": {
            "mkg_builder": __version__,
            "pillow": PIL.__version__,
            "pyarrow": pa.__version__,
            "python": platform.python_version(),
            "unicode": unicodedata.unidata_version,
        },
    }
