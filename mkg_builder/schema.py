"""The published format of a release: its tables, columns and types, and how they are read and verified.

A release is a Hugging Face dataset folder. Format version 2:

    README.md                    the data card; its YAML names the configs below
    manifest.json                sha256 of every other file, content hash, recipe, snapshot, versions
    <table>/<split>-00000-of-0000N.parquet
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mkg_builder.durable import file_sha256
from mkg_builder.errors import DataError
from mkg_builder.graph import SPLITS
from mkg_builder.progress import watched

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
_MANIFEST_HOLDS = {"name": str, "version": str, "marks": list, "content_sha256": str, "files": dict, "recipe": dict}
CARD = "README.md"

_text, _texts = pa.string(), pa.list_(pa.field("element", pa.string()))
_vector = pa.list_(pa.field("element", pa.float32()))
_image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


_ABSENT = {
    "text", "prompt", "inverse", "split", "image", "image_sha256", "image_phash", "image_format", "width", "height",
    "image_address",
}  # fmt: skip
"""The columns that may be null, because the thing itself may be absent."""

HASHED = frozenset({"image", "vector"})
"""Columns that a sha256 beside them stands for, where rows are compared or hashed."""


@dataclass(frozen=True)
class TableFormat:
    """One table of the format: its splits and its columns; `full` is the one split of an unsplit table.

    Of an optional table a release has the splits that have rows; of any other, all.
    """

    name: str
    splits: tuple[str, ...]
    columns: pa.Schema
    description: str

    @property
    def optional(self) -> bool:
        """Whether a release may lack a split of it."""
        return self.name == "vectors"


def _table(name: str, splits: tuple[str, ...], description: str, /, **columns: pa.DataType) -> TableFormat:
    fields = [pa.field(column, kind, nullable=column in _ABSENT) for column, kind in columns.items()]
    return TableFormat(name, splits, pa.schema(fields), description)


_count = pa.int64()
TABLES = {
    table.name: table
    for table in (
        _table("triples", SPLITS, "One fact a row.",
               head=_text, relation=_text, tail=_text, source=_text),
        _table("entities", ("full",), "Every entity: its name, its text if it has one, where else it is known.",
               id=_text, type=_text, label=_text, text=_text, aliases=_texts, same_as=_texts, sources=_texts,
               split=_text, has_image=pa.bool_(), has_text=pa.bool_()),
        _table("relations", ("full",), "Every relation, the types it joins, its prompt and its triples per split.",
               name=_text, domain=_text, range=_text, prompt=_text, inverse=_text,
               functional=pa.bool_(), evaluated=pa.bool_(),
               train=_count, validation=_count, test=_count),
        _table("artworks", ("full",), "Every entity that may have a picture; null where there is none.",
               id=_text, label=_text, image=_image, image_sha256=_text, image_phash=_text, image_format=_text,
               width=pa.int32(), height=pa.int32(), image_address=_text, image_status=_text, split=_text),
        _table("literals", ("full",), "Values as the sources gave them, beside what cleaning made of them.",
               entity=_text, name=_text, value=_text, source=_text),
        _table("modality_availability", ("full",), "How many entities and triples have which modality.",
               scope=_text, name=_text, split=_text, modality=_text, count=_count, total=_count),
        _table("vectors", ("image", "text"), "Feature vectors that a source publishes; most publish none.",
               id=_text, encoder=_text, vector=_vector, vector_sha256=_text),
        _table("dropped", ("full",), "What a cleaning rule took out, and why.",
               id=_text, rule=_text, detail=_text),
    )
}  # fmt: skip


class ReleaseError(DataError):
    """A folder that is not a whole, unaltered release of this format."""


def shard_path(table: str, split: str, shard: int = 0, shards: int = 1) -> str:
    """Where a shard lies in the release, by the Hub's naming."""
    return f"{table}/{split}-{shard:05d}-of-{shards:05d}.parquet"


def arrow_schema(table: str) -> pa.Schema:
    """The table's schema with the `huggingface` metadata that makes `datasets` read its features."""
    columns = TABLES[table].columns
    features = {field.name: _feature(field.type) for field in columns}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)}
    return columns.with_metadata(metadata)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == _image:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    name = {pa.bool_(): "bool", pa.float32(): "float32"}.get(kind, str(kind))
    return {"_type": "Value", "dtype": name}


def features(table: str) -> list[dict[str, Any]]:
    """The table's features as `dataset_info` in a card writes them."""
    listed: list[dict[str, Any]] = []
    for field in TABLES[table].columns:
        kind = _feature(field.type)
        if kind["_type"] == "Image":
            listed.append({"name": field.name, "dtype": "image"})
        elif kind["_type"] == "List":
            listed.append({"name": field.name, "list": kind["feature"]["dtype"]})
        else:
            listed.append({"name": field.name, "dtype": kind["dtype"]})
    return listed


def read_manifest(release: Path) -> dict[str, Any]:
    """The release's manifest.

    Raises:
        ReleaseError: there is none, it is not JSON, its format version is not ours, or it lacks what every one has.
    """
    path = release / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        missing = f"it has no {MANIFEST}" if release.is_dir() else "there is no such folder"
        raise ReleaseError(f"{release} is no release: {missing}; make one with: mkgb build") from None
    except (ValueError, RecursionError) as error:
        raise ReleaseError(f"{path} is not JSON ({error}); build or download the release again") from None
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise ReleaseError(f"{path}: format version {version!r}, this program reads {FORMAT_VERSION}")
    for name, kind in _MANIFEST_HOLDS.items():
        if not isinstance(manifest.get(name), kind):
            raise ReleaseError(f"{path}: no {name!r} as every manifest has it; build or download the release again")
    for name, entry in manifest["files"].items():
        if not isinstance(entry, dict) or not {"bytes", "sha256"} <= entry.keys():
            raise ReleaseError(f"{path}: no bytes and sha256 of {name}; build or download the release again")
    return manifest  # type: ignore[no-any-return]


def verify_files(release: Path, manifest: dict[str, Any]) -> list[str]:
    """What is missing, altered or extra in the release, one line each; empty when it is whole."""
    problems = []
    listed = manifest["files"]
    for name, entry in watched("files", sorted(listed.items())):
        path = release / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
            problems.append(f"{name} is altered: its sha256 is not the manifest's")
    present = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    hidden = {name for name in present if name.startswith(".")}  # .gitattributes, .cache of the Hub client
    problems += [f"{name} is not in the manifest" for name in sorted(present - hidden - set(listed) - {MANIFEST})]
    return problems


def require_whole(release: Path) -> dict[str, Any]:
    """The manifest of a release whose every byte is as it was written.

    Raises:
        ReleaseError: any file is missing, altered or extra.
    """
    manifest = read_manifest(release)
    problems = verify_files(release, manifest)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ReleaseError(f"{release}: {problems[0]}{more}; build or download it again")
    return manifest


def table_files(release: Path, table: str, split: str) -> list[Path]:
    """The shards of one split of a table, in order."""
    return sorted((release / table).glob(f"{split}-*-of-*.parquet"))


def read_table(release: Path, table: str, split: str = "full", columns: list[str] | None = None) -> pa.Table:
    """One split of a table, page checksums verified, columns and types as the format says.

    Raises:
        ReleaseError: a shard is missing or unreadable, or a column is missing or of another type.
    """
    if TABLES[table].optional and not table_files(release, table, split):
        wanted = TABLES[table].columns
        return pa.schema([wanted.field(name) for name in columns or wanted.names]).empty_table()
    return pa.concat_tables([_read_shard(path, table, columns) for path in _require_files(release, table, split)])


def iter_batches(
    release: Path, table: str, split: str = "full", columns: list[str] | None = None, rows: int = 250_000
) -> Iterator[pa.RecordBatch]:
    """A split of a table a piece at a time, in bounded memory.

    Raises:
        ReleaseError: as `read_table`.
    """
    for path in _require_files(release, table, split):
        parquet = _open_as(path, table)
        with _reading(path):
            yield from parquet.iter_batches(batch_size=rows, columns=columns or TABLES[table].columns.names)


def iter_pictures(release: Path) -> Iterator[tuple[str, bytes]]:
    """Entity id and picture bytes of every artwork that has a picture, in bounded memory."""
    for batch in iter_batches(release, "artworks", columns=["id", "image"], rows=64):
        for entity, image in zip(batch["id"].to_pylist(), batch["image"].to_pylist(), strict=True):
            if image is not None:
                yield entity, image["bytes"]


def find_rows(release: Path, table: str) -> Iterator[tuple[int, int, pa.Array]]:
    """Where the rows of an unsplit table lie: shard, row group, and the ids in it."""
    for shard, path in enumerate(_require_files(release, table, "full")):
        parquet = _open_as(path, table)
        for group in range(parquet.num_row_groups):
            with _reading(path):
                yield shard, group, parquet.read_row_group(group, columns=["id"])["id"].combine_chunks()


def read_picture(release: Path, shard: int, group: int, entity: str) -> bytes | None:
    """One artwork's picture, of whose row group `find_rows` told; None where it has none."""
    path = _require_files(release, "artworks", "full")[shard]
    with _reading(path):
        rows = _open_as(path, "artworks").read_row_group(group, columns=["id", "image"])
    place = pc.index(rows["id"], entity).as_py()
    image = rows["image"][place].as_py() if place >= 0 else None
    return None if image is None else image["bytes"]


def _require_files(release: Path, table: str, split: str) -> list[Path]:
    files = table_files(release, table, split)
    if not files:
        raise ReleaseError(f"{release} has no {shard_path(table, split)}; build or download it again")
    return files


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise ReleaseError(f"{path} is not readable Parquet ({str(error).splitlines()[0]})") from None


def _open_as(path: Path, table: str) -> pq.ParquetFile:
    """A shard whose columns and types are the format's."""
    parquet = _open(path)
    found = parquet.schema_arrow
    for field in TABLES[table].columns:
        if field.name not in found.names:
            raise ReleaseError(f"{path}: no column {field.name!r}; it has {', '.join(found.names)}")
        if found.field(field.name).type != field.type:
            raise ReleaseError(f"{path}: column {field.name!r} is {found.field(field.name).type}, not {field.type}")
    return parquet


def _read_shard(path: Path, table: str, columns: list[str] | None) -> pa.Table:
    parquet = _open_as(path, table)
    with _reading(path):
        return parquet.read(columns=columns or TABLES[table].columns.names).replace_schema_metadata(None)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ReleaseError(f"{path} is damaged ({str(error).splitlines()[0]})") from None


def describe() -> str:
    """The format as a Markdown page, for data_cards/SCHEMA.md."""
    lines = [
        f"# The release format, version {FORMAT_VERSION}",
        "",
        "Generated from `mkg_builder/schema.py` by `schema.describe()`; a test keeps it current.",
        "",
        "A release is a folder that is a Hugging Face dataset: `README.md` (the card), `manifest.json` and",
        "`<table>/<split>-00000-of-0000N.parquet`. A null means that there is none; there are no empty stand-ins.",
    ]
    for table in TABLES.values():
        lines += ["", f"## {table.name}", "", f"{table.description} Splits: {', '.join(table.splits)}.", ""]
        lines += ["| column | type | null |", "|---|---|---|"]
        lines += [f"| `{f.name}` | {f.type} | {'yes' if f.nullable else 'no'} |" for f in table.columns]
    return "\n".join(lines) + "\n"
