"""`check` finds what is planted: each test spoils one thing of a sound release."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mkg_builder import schema
from mkg_builder.build import Job, build
from mkg_builder.checks import check_release
from mkg_builder.findings import Finding
from mkg_builder.graph import Entity, Triple
from mkg_builder.source import SourceContext
from tests.planting import Row, rewrite, rows
from tests.tiny_recipe import Works, write_recipe


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


def edits(release: Path, number: int) -> Iterator[Callable[[], object]]:
    """So many ways, each done and undone in its turn: a bit, a byte more or less, a file gone, new, or another's."""
    rng = random.Random(0)
    files = sorted(path for path in release.rglob("*") if path.is_file() and path.name != schema.MANIFEST)
    for _ in range(number):
        path, other = rng.sample(files, 2)
        whole, kind = path.read_bytes(), rng.randrange(6)
        place, new = rng.randrange(len(whole)), path.with_name(f"extra{rng.randrange(9)}{path.suffix}")
        bit = bytes([whole[place] ^ 1 << rng.randrange(8)])
        if kind == 0:
            yield lambda p=path, w=whole, at=place, b=bit: p.write_bytes(w[:at] + b + w[at + 1 :])
        elif kind == 1:
            yield lambda p=path, w=whole, at=place, b=bit: p.write_bytes(w[:at] + b + w[at:])
        elif kind == 2:
            yield lambda p=path, w=whole, at=place: p.write_bytes(w[:at])
        elif kind == 3:
            yield path.unlink
        elif kind == 4:
            yield lambda n=new, w=whole: n.write_bytes(w)
        else:
            yield lambda p=path, o=other: p.write_bytes(o.read_bytes())
        path.write_bytes(whole)
        new.unlink(missing_ok=True)


def test_five_hundred_edits_of_a_release_are_each_found(release: Path) -> None:
    manifest, found = schema.read_manifest(release), 0
    for edit in edits(release, 500):
        edit()
        found += len(schema.verify_files(release, manifest)) == 1
    assert (found, schema.verify_files(release, manifest)) == (500, [])


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


def test_an_entity_whose_id_says_another_type(release: Path) -> None:
    entities = rows(release, "entities", "full")
    rewrite(release, "entities", "full", [*entities, {**entities[-1], "id": "work:1", "type": "artwork"}])
    assert found(release) == {("error", "invariants")}


@pytest.mark.parametrize(("table", "change"), [
    ("entities", {"has_image": False}), ("artworks", {"image": None, "image_status": "none"}), ("artworks", None),
])  # fmt: skip
def test_tables_that_disagree_about_a_picture(release: Path, table: str, change: Row | None) -> None:
    known = rows(release, table, "full")
    changed = [row | (change or {}) if row["id"] == "artwork:w01" else row for row in known]
    rewrite(release, table, "full", [row for row in changed if change or row["id"] != "artwork:w01"])
    assert found(release) == {("error", "pictures")}


class LookAlikes(Works):
    """Ann has a namesake whose first letter is Cyrillic, and a pupil whose name has one within."""

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        yield from super().read(context)
        for name, label in (("ann-2", "\u0410nn"), ("mrkvicka", "Ivan Mrkvi\u0441ka"), ("repin", "Репин")):
            yield Entity(f"artist:{name}", "artist", label, sources=(context.name,))
            yield Triple(f"artist:{name}", "isPupilOf", "artist:ann", context.name)


def test_names_whose_letters_deceive_are_told_and_not_merged(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sources={"works": {"use": "tests.test_checks:LookAlikes"}})
    report = build(Job(str(recipe), tmp_path / "w"))
    warnings = [
        Finding("warning", "names", r"artist: 'Ivan Mrkvi\u0441ka' mixes two alphabets in a word (and 1 more)"),
        Finding("warning", "names", r"artist: 'Ann' looks like '\u0410nn'"),
    ]
    assert list(report.findings) == check_release(report.release) == warnings
    assert {"artist:ann", "artist:ann-2"} <= {row["id"] for row in rows(report.release, "entities", "full")}


def test_a_release_without_a_manifest_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(schema.ReleaseError, match="mkgb build"):
        check_release(tmp_path)


def test_a_release_of_another_format_version(release: Path) -> None:
    manifest = schema.read_manifest(release)
    (release / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(schema.ReleaseError, match="format version 99, this program reads 2"):
        check_release(release)


@pytest.mark.parametrize("lost", ["name", "version", "marks", "content_sha256", "files", "recipe"])
def test_a_manifest_that_lacks_what_every_one_has(release: Path, lost: str) -> None:
    manifest = schema.read_manifest(release)
    for fault in ({}, {lost: None}, {"files": {"x": {"bytes": 1}}}):
        rest = {name: value for name, value in manifest.items() if name != lost}
        (release / "manifest.json").write_text(json.dumps({**rest, **fault}))
        with pytest.raises(schema.ReleaseError, match=f"manifest.json: no ('{lost}'|bytes and sha256)"):
            check_release(release)


def test_a_picture_that_is_another(release: Path) -> None:
    changed = rows(release, "artworks", "full")
    pictured = [row for row in changed if row["image"] is not None]
    pictured[0]["image"] = pictured[1]["image"]
    rewrite(release, "artworks", "full", changed)
    findings = check_release(release)
    assert [(f.level, f.check) for f in findings if f.level == "error"] == [("error", "pictures")]
    assert f"{pictured[0]['id']}: its picture is not the one of its image_sha256" in [f.message for f in findings]
