"""One release through five readers: pyarrow, our own, datasets, DuckDB and mlcroissant give the same rows."""

import io
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import duckdb
import mlcroissant
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mkg_builder import schema
from mkg_builder.build import Job, build
from mkg_builder.croissant import CROISSANT, croissant, croissant_text
from tests.tiny_recipe import write_recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning:rdflib"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index is deprecated"),
]

HOSTILE = (
    "None", "NA", "N/A", "null", "NaN", "nan", "<NA>", "", " ", "1e5", "01", "1850", "true", "-0", "=1+1", '"', "'",
    "\\", "a,b\tc", "two\nlines", "\r\n", "nul\x00nul", "\x1e", "\u2028", "\u00e9", "e\u0301", "日本", "🎨",
    "\u202egnp", "---\nlicense: x",
)  # fmt: skip
"""Names that readers of text formats are known to change."""

Row = dict[str, Any]
TABLES = {name: table for name, table in schema.TABLES.items() if not table.optional}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built release whose labels, texts and tails are hostile, some texts null."""
    folder = tmp_path_factory.mktemp("tiny")
    recipe = write_recipe(folder, images={"license": "x-terms"}, biases=["Small."], homepage="https://example.org/tiny")
    built = build(Job(str(recipe), folder / "w")).release
    entities = schema.shard_path("entities", "full")
    rows = pq.read_table(built / entities).to_pylist()
    for place, row in enumerate(rows):
        row |= {"label": HOSTILE[place % len(HOSTILE)], "same_as": list(HOSTILE[: place % 3])}
        row["text"] = HOSTILE[-place % len(HOSTILE)] if place % 4 else None
    write(built / entities, "entities", rows)
    facts = schema.shard_path("triples", "test")
    write(built / facts, "triples", [{"head": "h", "relation": "r", "tail": t, "source": "s"} for t in HOSTILE])
    write(built / schema.shard_path("dropped", "full"), "dropped", [{"id": "1", "rule": "r", "detail": "NA"}])
    said = [{"entity": "e", "name": "n", "value": value, "source": "s"} for value in HOSTILE]
    write(built / schema.shard_path("literals", "full"), "literals", said)
    return built


def write(path: Path, table: str, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema.arrow_schema(table)), path, write_page_checksum=True)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a reader of a local folder asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def expected(release: Path, table: str) -> list[Row]:
    """All rows, pictures as their size, and the split of a table that has several."""
    splits = schema.TABLES[table].splits
    return [
        plain({**row, **({"split": split} if len(splits) > 1 else {})})
        for split in sorted(splits)
        for row in schema.read_table(release, table, split).to_pylist()
    ]


def plain(row: Row) -> Row:
    image = row.get("image")
    if isinstance(image, dict):
        return {**row, "image": Image.open(io.BytesIO(image["bytes"])).size}
    return {**row, "image": image.size} if isinstance(image, Image.Image) else row


def by_mlcroissant(release: Path, table: str) -> Iterator[Row]:
    for record in mlcroissant.Dataset(str(release / CROISSANT)).records(table):
        yield plain({name.partition("/")[2]: text(value) for name, value in record.items()})


def text(value: Any) -> Any:
    """mlcroissant gives texts as bytes, lists of them as lists, numbers as NumPy's."""
    if isinstance(value, list):
        return [text(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("table", sorted(TABLES))
@pytest.mark.usefixtures("offline")
def test_mlcroissant_reads_the_rows_that_were_written(release: Path, table: str) -> None:
    assert list(by_mlcroissant(release, table)) == expected(release, table)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_duckdb_reads_the_rows_that_were_written(release: Path, table: str) -> None:
    columns = ", ".join(schema.TABLES[table].columns.names)
    split = ", parse_filename(filename).split('-')[1] as split" if len(schema.TABLES[table].splits) > 1 else ""
    files = f"read_parquet('{release}/{table}/*.parquet', filename=true, file_row_number=true)"
    read = duckdb.sql(f"select {columns}{split} from {files} order by filename, file_row_number")
    rows = [dict(zip(read.columns, row, strict=True)) for row in read.fetchall()]
    assert [plain(row) for row in rows] == expected(release, table)


@pytest.mark.parametrize("table", sorted(TABLES))
@pytest.mark.usefixtures("offline")
def test_datasets_reads_the_rows_that_were_written(release: Path, table: str, tmp_path: Path) -> None:
    splits = sorted(schema.TABLES[table].splits)
    files = {split: str(release / table / f"{split}-*.parquet") for split in splits}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))
    rows = [{**row, **({"split": split} if len(splits) > 1 else {})} for split in splits for row in loaded[split]]
    assert [plain(row) for row in rows] == expected(release, table)


def test_the_description_is_valid_and_says_what_the_recipe_says(release: Path) -> None:
    described = mlcroissant.Dataset(str(release / CROISSANT)).metadata
    assert (described.ctx.issues.errors, described.ctx.issues.warnings) == (set(), set())
    assert (described.name, described.version, described.url) == (
        "Tiny | <b>graph</b>", "1.2.3", "https://example.org/tiny",
    )  # fmt: skip
    assert described.license == ["cc0-1.0"]
    fields = [field for table in described.record_sets for field in table.fields]
    lists = [f"{t.name}/{c.name}" for t in TABLES.values() for c in t.columns if pa.types.is_list(c.type)]
    assert [field.id for field in fields if field.is_array] == lists
    assert described.data_biases == ["Small."]
    assert described.cite_as == "Tiny | <b>graph</b>, version 1.2.3"


def test_every_shard_is_listed_with_its_sha256(release: Path) -> None:
    manifest = json.loads((release / "manifest.json").read_text())
    assert (release / CROISSANT).read_text(encoding="utf-8") == croissant_text(manifest)
    assert CROISSANT in manifest["files"]
    listed = {
        entry["contentUrl"]: entry["sha256"] for entry in croissant(manifest)["distribution"] if "sha256" in entry
    }
    assert listed == {
        name: entry["sha256"] for name, entry in manifest["files"].items() if name.endswith(".parquet")
    }  # fmt: skip
    pictured = [entry for entry in croissant(manifest)["distribution"] if "license" in entry]
    assert [(entry["@id"], entry["license"]) for entry in pictured] == [("artworks-files", "x-terms")]


def test_the_date_is_the_snapshots(release: Path) -> None:
    manifest = json.loads((release / "manifest.json").read_text())
    manifest["snapshot"]["last"] = 1_795_305_599
    assert croissant(manifest)["datePublished"] == "2026-11-21"
    manifest["snapshot"]["last"] += 1
    assert croissant(manifest)["datePublished"] == "2026-11-22"


@pytest.mark.usefixtures("offline")
def test_a_table_in_several_shards_is_read_whole(release: Path, tmp_path: Path) -> None:
    shutil.copytree(release, tmp_path / "r")
    folder = tmp_path / "r" / "artworks"
    rows = pq.read_table(folder).to_pylist()
    for path in folder.iterdir():
        path.unlink()
    for number, part in enumerate((rows[:10], rows[10:])):
        write(tmp_path / "r" / schema.shard_path("artworks", "full", number, 2), "artworks", part)
    assert [row["id"] for row in by_mlcroissant(tmp_path / "r", "artworks")] == [row["id"] for row in rows]
