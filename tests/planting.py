"""Tables of a release, read and written anew, so that a fault can be planted and nothing else is wrong."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mkg_builder import schema
from mkg_builder.content import release_content_sha256
from mkg_builder.durable import file_sha256

Row = dict[str, Any]


def rows(release: Path, table: str, split: str) -> list[Row]:
    return schema.read_table(release, table, split).to_pylist()


def rewrite(release: Path, table: str, split: str, changed: list[Row]) -> None:
    """Write a table anew and make the manifest agree, so that only the fault that was planted is left."""
    path = release / schema.shard_path(table, split)
    pq.write_table(pa.Table.from_pylist(changed, schema.arrow_schema(table)), path, write_page_checksum=True)
    manifest = schema.read_manifest(release)
    name = schema.shard_path(table, split)
    manifest["files"][name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    manifest["content_sha256"] = release_content_sha256(release)
    (release / "manifest.json").write_text(json.dumps(manifest))
