"""`check` finds what is planted: each test spoils one thing of a sound release."""

import json
from pathlib import Path

import pytest

from mkg_builder import schema
from mkg_builder.build import Job, build
from mkg_builder.checks import check_release
from mkg_builder.findings import Finding
from tests.planting import Row, rewrite, rows
from tests.tiny_recipe import write_recipe


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return build(Job(str(write_recipe(tmp_path)), tmp_path / "w")).release


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


@pytest.mark.parametrize(
    "change",
    [{"relation": "invented"}, {"head": "artist:ann"}, {"tail": "style:never-seen"}],
)
def test_a_triple_that_breaks_the_graph(release: Path, change: Row) -> None:
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
