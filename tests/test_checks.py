"""`check` finds what is planted: each test spoils one thing of a sound release."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mkg_builder import schema
from mkg_builder.build import Job, build
from mkg_builder.checks import Finding, check_release
from mkg_builder.durable import file_sha256
from tests.tiny_recipe import write_recipe

Fact = dict[str, str]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return build(Job(str(write_recipe(tmp_path)), tmp_path / "w")).release


def rows(release: Path, table: str, split: str) -> list[Fact]:
    return schema.read_table(release, table, split).to_pylist()


def rewrite(release: Path, table: str, split: str, changed: list[Fact]) -> None:
    """Write a table anew and make the manifest agree, so that only the fault that was planted is left."""
    path = release / schema.shard_path(table, split)
    pq.write_table(pa.Table.from_pylist(changed, schema.arrow_schema(table)), path, write_page_checksum=True)
    manifest = schema.read_manifest(release)
    name = schema.shard_path(table, split)
    manifest["files"][name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    manifest["content_sha256"] = schema.release_content_sha256(release)
    (release / "manifest.json").write_text(json.dumps(manifest))


def found(release: Path) -> set[tuple[str, str]]:
    return {(finding.level, finding.check) for finding in check_release(release)}


def test_an_altered_byte(release: Path) -> None:
    path = release / schema.shard_path("entities", "full")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert check_release(release) == [
        Finding("error", "files", "entities/full-00000-of-00001.parquet is altered: its sha256 is not the manifest's")
    ]


def test_a_missing_and_an_extra_file(release: Path) -> None:
    (release / "README.md").rename(release / "extra.md")
    assert [finding.message for finding in check_release(release)] == [
        "README.md is missing", "extra.md is not in the manifest",
    ]  # fmt: skip


def test_tables_that_do_not_say_what_the_content_hash_says(release: Path) -> None:
    manifest = schema.read_manifest(release)
    (release / "manifest.json").write_text(json.dumps({**manifest, "content_sha256": "0" * 64}))
    assert found(release) == {("error", "content")}


def test_a_held_out_artwork_in_train(release: Path) -> None:
    train, test = rows(release, "triples", "train"), rows(release, "triples", "test")
    style = next(row for row in test if row["relation"] == "hasStyle")
    rewrite(release, "triples", "test", [row for row in test if row != style])
    rewrite(release, "triples", "train", [*train, style])
    assert ("error", "leakage") in found(release)


def test_the_mirror_of_a_held_out_fact_in_train(release: Path) -> None:
    for split in ("train", "validation", "test"):
        left = [row for row in rows(release, "triples", split) if row["relation"] != "isPupilOf"]
        rewrite(release, "triples", split, left)
    fact = {"head": "artist:ann", "relation": "isPupilOf", "tail": "artist:bob", "source": "s"}
    mirror_in_train = any(row["relation"] == "isTeacherOf" for row in rows(release, "triples", "train"))
    target = "test" if mirror_in_train else "train"
    rewrite(release, "triples", target, [*rows(release, "triples", target), fact])
    assert found(release) == ({("error", "leakage")} if mirror_in_train else set())
    assert mirror_in_train


def test_one_picture_on_two_sides_of_the_split(release: Path) -> None:
    works = rows(release, "artworks", "full")
    pictured = [work for work in works if work["image_sha256"]]
    train = next(work for work in pictured if work["split"] == "train")
    other = next(work for work in pictured if work["split"] == "test")
    other["image_sha256"] = train["image_sha256"]
    rewrite(release, "artworks", "full", works)
    assert found(release) == {("warning", "leakage")}


@pytest.mark.parametrize(
    "change",
    [{"relation": "invented"}, {"head": "artist:ann"}, {"tail": "style:never-seen"}],
)
def test_a_triple_that_breaks_the_graph(release: Path, change: Fact) -> None:
    train = rows(release, "triples", "train")
    place = next(i for i, row in enumerate(train) if row["relation"] == "hasStyle")
    train[place] |= change
    rewrite(release, "triples", "train", train)
    assert ("error", "invariants") in found(release)


def test_a_triple_that_is_stated_twice(release: Path) -> None:
    train = rows(release, "triples", "train")
    rewrite(release, "triples", "train", [*train, train[0]])
    assert found(release) == {("error", "invariants")}


def test_a_release_without_a_manifest_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(schema.ReleaseError, match="mkgb build"):
        check_release(tmp_path)


def test_a_release_of_another_format_version(release: Path) -> None:
    manifest = schema.read_manifest(release)
    (release / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(schema.ReleaseError, match="format version 99, this program reads 2"):
        check_release(release)
