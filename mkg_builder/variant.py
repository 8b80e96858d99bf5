"""A release without its pictures: the same graph, the same content hash, addresses and sha256 in their place."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mkg_builder import schema
from mkg_builder.croissant import CROISSANT, croissant_text
from mkg_builder.durable import file_entry
from mkg_builder.shards import parquet_writer

PICTURES = "artworks"
"""The table that holds them."""


def has_pictures(release: Path) -> bool:
    """Whether any picture's bytes lie in the release."""
    return next(schema.iter_pictures(release), None) is not None


def write_without_pictures(release: Path, folder: Path, whole: str | None = None) -> dict[str, Any]:
    """Write a release's variant without pictures into an empty folder; the same release gives the same bytes.

    The manifest says that it is one, and the card where the pictures are. Memory is bounded by a row group
    without its pictures; nothing of the release is changed.

    Args:
        release: a whole release.
        folder: an empty folder.
        whole: where the release with its pictures is published, `org/name@v1.0.0`; None when nowhere.

    Returns:
        The variant's manifest.
    """
    manifest = schema.read_manifest(release)
    for name in manifest["files"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.startswith(f"{PICTURES}/"):
            _blank_pictures(release / name, folder / name)
        elif name == schema.CARD:
            card = (release / name).read_text(encoding="utf-8")
            (folder / name).write_text(_say_so(card, whole), encoding="utf-8")
        else:
            shutil.copyfile(release / name, folder / name)
    names = set(manifest["files"]) - {CROISSANT}
    files = {name: file_entry(folder / name) for name in sorted(names)}
    manifest |= {"files": files, "without_pictures": {"whole": whole}}
    (folder / CROISSANT).write_text(croissant_text(manifest), encoding="utf-8")
    manifest["files"][CROISSANT] = file_entry(folder / CROISSANT)
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / schema.MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def _blank_pictures(source: Path, target: Path) -> None:
    """A shard with a null in the place of each picture; the pictures are not even read."""
    wanted = schema.arrow_schema(PICTURES)
    kept = [name for name in wanted.names if name != "image"]
    parquet = pq.ParquetFile(source, page_checksum_verification=True)
    with parquet_writer(target, wanted) as writer:
        for number in range(parquet.num_row_groups):
            rows = parquet.read_row_group(number, columns=kept)
            columns = {name: rows[name] for name in kept} | {"image": pa.nulls(len(rows), wanted.field("image").type)}
            writer.write_table(pa.table([columns[name] for name in wanted.names], schema=wanted))


def _say_so(card: str, whole: str | None) -> str:
    """The card with a note under its title."""
    note = (
        f"\n> **Without pictures.** In `{PICTURES}` the column `image` is null; `image_address` and `image_sha256` say "
        "which picture it was.\n"
    )
    if whole is not None:
        name = whole.partition("@")[0]
        note += f"> The release with its pictures is the data set [{name}](https://huggingface.co/datasets/{name}).\n"
    noted, titles = re.subn(r"^# .*\n", lambda title: title[0] + note, card, count=1, flags=re.MULTILINE)
    return noted if titles else card + note
