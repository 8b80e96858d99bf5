"""A release in a few tables, for people: what is in it, which modalities, samples."""

from collections import Counter
from pathlib import Path
from typing import Any

from mkg_builder import schema


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
    chosen: dict[str, dict[str, Any]] = {
        row["id"]: {**row, "facts": []} for row in works.take(list(range(0, len(works), step))[:count]).to_pylist()
    }
    for split in schema.TABLES["triples"].splits:
        for row in schema.read_table(release, "triples", split).to_pylist():
            if row["head"] in chosen:
                chosen[row["head"]]["facts"].append(f"{row['relation']} {row['tail']}")
    return list(chosen.values())
