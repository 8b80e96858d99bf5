"""The same input gives the same release, wherever it is built, and its content hash needs no code of ours."""

import hashlib
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mkg_builder import schema
from mkg_builder.build import Job, build, fetch
from mkg_builder.content import release_content_sha256
from tests import tiny_recipe
from tests.conftest import run_command
from tests.tiny_recipe import RECIPE, write_recipe

LEFT_OUT = {"image", "vector"}
NAMES = ["None", "", "a\nb", "10:x", "-", "\x00", "\u202eb", "e\u0301", "🎨", "[2]", "=1+1"]
ENVIRONMENTS = [
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "1", "TZ": "America/Los_Angeles", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "4294967295", "TZ": "Asia/Kolkata", "LC_ALL": "tr_TR.UTF-8"},
    {"PYTHONHASHSEED": "7", "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "OMP_NUM_THREADS": "1"},
    {"PYTHONHASHSEED": "8", "TZ": "America/St_Johns", "LC_ALL": "C", "PYTHONUTF8": "0"},
    {"PYTHONHASHSEED": "random", "TZ": "nonsense", "LC_ALL": "nonsense"},
]


def cell(value: Any) -> bytes:
    if value is None:
        return b"-"
    body = b"".join(map(cell, value)) if isinstance(value, list) else str(value).encode()
    return str(len(body)).encode() + (b"[" if isinstance(value, list) else b":") + body


def table_sha256(table: str, shards: Iterable[Path]) -> str:
    """As the format describes it: the schema line, then every row in byte order, its cells length-prefixed."""
    rows, names = [], []
    for shard in shards:
        names = [name for name in pq.read_schema(shard).names if name not in LEFT_OUT]
        rows += [b"".join(map(cell, row.values())) for row in pq.read_table(shard, columns=names).to_pylist()]
    return hashlib.sha256(f"{table}({','.join(names)})\n".encode() + b"".join(sorted(rows))).hexdigest()


def content_sha256(release: Path) -> str:
    """The content hash of a release, by nothing but its Parquet files and their names."""
    parts: dict[tuple[str, str], list[Path]] = {}
    for shard in release.glob("*/*.parquet"):
        parts.setdefault((shard.parent.name, shard.name.split("-")[0]), []).append(shard)
    lines = [f"{table}/{split} {table_sha256(table, shards)}\n" for (table, split), shards in parts.items()]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fetched snapshot, and its recipe beside its source."""
    folder = tmp_path_factory.mktemp("fetched")
    shutil.copy(str(tiny_recipe.__file__), folder / "tiny_source.py")
    write_recipe(folder, sources={"works": {"use": "tiny_source.py:Works"}})
    fetch(Job(str(folder / "tiny.yaml"), folder / "w"))
    return folder


def test_the_content_hash_is_what_an_independent_verifier_computes(folder: Path, tmp_path: Path) -> None:
    release = shutil.copytree(build(Job(str(folder / "tiny.yaml"), folder / "w")).release, tmp_path / "release")
    assert content_sha256(release) == schema.read_manifest(release)["content_sha256"]
    table = schema.read_table(release, "entities").to_pylist()
    for place, row in enumerate(table):
        row |= {"label": NAMES[place % 11], "aliases": NAMES[: place % 5], "text": NAMES[place % 7] or None}
    path = release / schema.shard_path("entities", "full")
    halves = [path.with_name(f"full-0000{n}-of-00002.parquet") for n in (0, 1)]
    for half, rows in zip(halves, (table[30:], table[:30]), strict=True):
        pq.write_table(schema.pa.Table.from_pylist(rows, schema.arrow_schema("entities")), half)
    path.unlink()
    assert content_sha256(release) == release_content_sha256(release)


def test_no_hash_seed_time_zone_or_language_changes_a_byte(folder: Path, tmp_path: Path) -> None:
    def files(number: int) -> dict[str, bytes]:
        workspace = shutil.copytree(folder / "w" / "snapshots", tmp_path / str(number) / "snapshots").parent
        done = run_command("mkgb", "build", folder / "tiny.yaml", "--offline", "--quiet", "--workspace", workspace,
                           **ENVIRONMENTS[number])  # fmt: skip
        assert done.returncode == 0, done.stderr
        release = workspace / "releases" / f"{RECIPE['name']}-{RECIPE['version']}"
        return {str(path.relative_to(release)): path.read_bytes() for path in release.rglob("*") if path.is_file()}

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(files, range(len(ENVIRONMENTS))))
    assert len(found[0]) > 10
    assert [other == found[0] for other in found] == [True] * 6
