"""A release in a few tables, for people: what is in it, which modalities, samples."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mkg_builder import schema
from mkg_builder.errors import UnknownNameError
from mkg_builder.graph import SPLITS


def summarise(release: Path, samples: int = 5) -> dict[str, Any]:
    """Counts, modality availability and sample artworks of a release, as plain values.

    Raises:
        ReleaseError: it cannot be read.
    """
    manifest = schema.read_manifest(release)
    entities = schema.read_table(release, "entities", columns=["type"])
    return {
        "release": str(release),
        "name": manifest["name"],
        "version": manifest["version"],
        "marks": manifest["marks"],
        "content_sha256": manifest["content_sha256"],
        "entities": dict(sorted(Counter(entities["type"].to_pylist()).items())),
        "relations": schema.read_table(release, "relations").to_pylist(),
        "modality_availability": schema.read_table(release, "modality_availability").to_pylist(),
        "dropped": dict(sorted(Counter(schema.read_table(release, "dropped")["rule"].to_pylist()).items())),
        "samples": _samples(release, samples),
    }


def _samples(release: Path, count: int) -> list[dict[str, Any]]:
    """Some artworks, evenly spread, with their picture's size and their facts."""
    columns = ["id", "label", "width", "height", "image_status", "split"]
    works = schema.read_table(release, "artworks", columns=columns)
    step = max(len(works) // max(count, 1), 1)
    chosen = works.take(pa.array(range(0, len(works), step)[:count], pa.int64())).to_pylist()
    return _with_facts(release, chosen)


def _with_facts(release: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with what the graph states of each, as `relation tail`."""
    wanted: dict[str, dict[str, Any]] = {row["id"]: {**row, "facts": []} for row in rows}
    for split in schema.TABLES["triples"].splits:
        for batch in schema.iter_batches(release, "triples", split, ["head", "relation", "tail"]):
            for fact in batch.filter(pc.is_in(batch["head"], pa.array(wanted, pa.string()))).to_pylist():
                wanted[fact["head"]]["facts"].append(f"{fact['relation']} {fact['tail']}")
    return list(wanted.values())


def why_no_pictures(release: Path) -> str | None:
    """Why a release holds none of the pictures that its tables tell of; None where it holds them."""
    absent = schema.read_manifest(release).get("without_pictures")
    if absent is None:
        return None
    return "published without its pictures" + (f"; they are in {absent['whole']}" if absent["whole"] else "")


def find_picture(release: Path, entity: str | None, split: str) -> tuple[dict[str, Any], bytes]:
    """An artwork with its facts, and its picture's bytes; without an id the first of the split that has a picture.

    Raises:
        UnknownNameError: no artwork of this id has a picture, or no such split.
        ReleaseError: no artwork of the split has a picture, or the release was published without any.
    """
    if (why := why_no_pictures(release)) is not None:
        raise schema.ReleaseError(f"{release} was {why}")
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    works = schema.read_table(release, "artworks", columns=["id", "label", "split", "image_status"]).to_pylist()
    pictured = {row["id"]: row for row in works if row["image_status"] == "ok"}
    if entity is not None and entity not in pictured:
        raise UnknownNameError("artwork with a picture", entity, pictured)
    first = next((name for name, row in pictured.items() if row["split"] == split), None)
    chosen = entity or first
    if chosen is None:
        raise schema.ReleaseError(f"{release}: no artwork of {split} has a picture")
    data = next(data for name, data in schema.iter_pictures(release) if name == chosen)
    return _with_facts(release, [pictured[chosen]])[0], data
