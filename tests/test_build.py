"""The spine, from a small recipe to a release folder."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import yaml

from mkg_builder import schema
from mkg_builder.build import BuildReport, Job, build, fetch
from mkg_builder.checks import check_release
from mkg_builder.content import release_content_sha256
from mkg_builder.errors import DataError, UnknownNameError
from mkg_builder.findings import ExpectationError
from mkg_builder.graph import Entity, Literal, Triple
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import SourceContext
from tests.tiny_recipe import RECIPE, Works, jpeg, write_recipe

EMPTY = {"dropped", "literals", "vectors"}
"""Tables that have no rows here, so that the card offers none."""


def built(folder: Path, *overrides: str, limit: int | None = None, **changes: object) -> BuildReport:
    recipe = write_recipe(folder, **changes)
    return build(Job(str(recipe), folder / "w", limit, overrides=overrides))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    return built(tmp_path_factory.mktemp("tiny"))


def test_a_release_is_whole_and_sound(report: BuildReport) -> None:
    assert check_release(report.release) == []
    assert report.manifest["marks"] == []
    assert report.release.name == "tiny-1.2.3"


def test_the_tables_hold_what_the_source_said(report: BuildReport) -> None:
    entities = {row["id"]: row for row in schema.read_table(report.release, "entities").to_pylist()}
    assert entities["artwork:w01"]["text"] == "Picture 1"
    assert (entities["artwork:w01"]["has_image"], entities["artwork:w05"]["has_text"]) == (True, False)
    triples = [
        tuple(row.values()) for split in schema.TABLES["triples"].splits
        for row in schema.read_table(report.release, "triples", split).to_pylist()
    ]  # fmt: skip
    assert ("artwork:w01", "belongsToTimeframe", "timeframe:1800-1850", "works") in triples
    assert len(triples) == 60 * 3 + 2


def test_pictures_are_byte_for_byte_and_null_where_there_is_none(report: BuildReport) -> None:
    rows = {row["id"]: row for row in schema.read_table(report.release, "artworks").to_pylist()}
    assert rows["artwork:w01"]["image"]["bytes"] == jpeg(1)
    assert (rows["artwork:w03"]["image"], rows["artwork:w03"]["image_status"]) == (None, "none")
    assert rows["artwork:w07"]["image"] is None
    assert rows["artwork:w07"]["image_status"].startswith("broken: ")


def test_the_hugging_face_library_loads_every_table_that_has_rows(report: BuildReport, tmp_path: Path) -> None:
    filled = {table.name: table.splits for table in schema.TABLES.values() if table.name not in EMPTY}
    for table, splits in filled.items():
        assert sorted(datasets.load_dataset(str(report.release), table, cache_dir=str(tmp_path))) == sorted(splits)
    assert datasets.get_dataset_config_names(str(report.release)) == list(filled)
    works = datasets.load_dataset(str(report.release), "artworks", split="full", cache_dir=str(tmp_path))
    assert works.features["image"] == datasets.Image()
    assert works[1]["image"].size == (32, 24)
    assert works[0]["image"] is None


def test_two_builds_from_one_snapshot_are_byte_identical(report: BuildReport, tmp_path: Path) -> None:
    workspace = report.release.parent.parent
    shutil.copytree(workspace / "snapshots", tmp_path / "w" / "snapshots")
    again = built(tmp_path)
    assert again.fetched == 0
    for path in sorted(p for p in report.release.rglob("*") if p.is_file()):
        assert (again.release / path.relative_to(report.release)).read_bytes() == path.read_bytes()


def test_an_endpoint_that_the_recipe_gave_up_is_known_of_the_snapshot_alone(tmp_path: Path) -> None:
    two = {"one": "https://one.example", "two": "https://two.example"}
    built(tmp_path, sources={"works": {**RECIPE["sources"]["works"], "endpoints": two}})
    sources = {"works": {**RECIPE["sources"]["works"], "endpoints": {"one": "https://one.example"}}}
    assert built(tmp_path, sources=sources, version="1.2.4").manifest["marks"] == []
    assert Snapshot(tmp_path / "w" / "snapshots" / "tiny").origin() == two


def test_an_offline_build_tells_of_a_damaged_answer(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    folder = fetch(Job(str(recipe), tmp_path / "w")).snapshot
    path = Snapshot(folder).file("works:5")
    assert path is not None
    path.write_bytes(b"x" + path.read_bytes()[1:])
    report = build(Job(str(recipe), tmp_path / "w", offline=True))
    (told,) = report.manifest["notes"]
    assert told.startswith("works: 1 request with a damaged answer in the snapshot")
    assert told in [finding.message for finding in report.findings]


def test_a_second_build_fetches_nothing_and_changes_nothing(tmp_path: Path) -> None:
    first, second = built(tmp_path), built(tmp_path)
    assert (first.fetched, second.fetched) == (60, 0)
    assert first.manifest == second.manifest


def test_every_byte_is_in_the_manifest_and_the_content_hash_is_of_the_tables(report: BuildReport) -> None:
    assert schema.verify_files(report.release, dict(report.manifest)) == []
    assert release_content_sha256(report.release) == report.manifest["content_sha256"]


def test_a_marked_build_says_so_in_manifest_version_and_card(tmp_path: Path) -> None:
    marked = built(tmp_path, "split.seed=2", limit=30)
    assert marked.manifest["marks"] == ["limited to 30 artworks of each source", "set split.seed=2"]
    assert marked.manifest["version"].startswith("1.2.3+limit-30.set-")
    assert "Not a published build" in (marked.release / "README.md").read_text()
    assert marked.release.name == f"tiny-{marked.manifest['version']}"


def test_two_overrides_of_one_key_are_another_version_in_another_order(tmp_path: Path) -> None:
    seeds = ("split.seed=2", "split.seed=3")
    one, other = built(tmp_path, *seeds).manifest, built(tmp_path, *reversed(seeds)).manifest
    assert (one["recipe"]["split"]["seed"], other["recipe"]["split"]["seed"]) == (3, 2)
    assert one["version"] != other["version"]


def test_a_missed_expectation_stops_an_unmarked_build_and_warns_in_a_marked_one(tmp_path: Path) -> None:
    expectations = {"entities": {"artwork": {"min": 61}}, "relations": {"hasStyle": {"max": 59}}}
    with pytest.raises(ExpectationError, match=r"artwork: 60 entities, at least 61 expected \(and 1 more\)"):
        built(tmp_path, expectations=expectations)
    assert not (tmp_path / "w" / "releases").exists()
    marked = built(tmp_path, "title=Other", expectations=expectations)
    assert [finding.level for finding in marked.findings] == ["warning", "warning"]


def test_a_version_never_changes(tmp_path: Path) -> None:
    built(tmp_path)
    with pytest.raises(DataError, match="raise `version` in the recipe"):
        built(tmp_path, description="Another.")


class Edited(Works):
    """A plug-in that is edited between two builds."""

    label = "Own"

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        yield from super().read(context)
        yield Entity("style:own", "style", self.label, sources=(context.name,))
        yield Triple("artwork:w01", "hasStyle", "style:own", context.name)


def test_a_version_never_changes_though_a_plug_in_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {"works": {"use": "tests.test_build:Edited"}}
    first, marked = built(tmp_path, sources=sources), built(tmp_path, sources=sources, limit=9)
    monkeypatch.setattr(Edited, "label", "Another")
    with pytest.raises(DataError, match=r"says something else .*: raise `version` in the recipe, or move that folder"):
        built(tmp_path, sources=sources)
    assert schema.read_manifest(first.release) == first.manifest
    again = built(tmp_path, sources=sources, limit=9)
    assert again.release == marked.release
    assert again.manifest["content_sha256"] != marked.manifest["content_sha256"]
    assert built(tmp_path, sources=sources, version="2.0.0").release.name == "tiny-2.0.0"


def test_a_version_that_says_less_than_what_changed_is_refused(tmp_path: Path) -> None:
    built(tmp_path)
    rarer = {"relations": {n: r for n, r in RECIPE["relations"].items() if n != "hasStyle"}}
    with pytest.raises(DataError, match=r"that is a major change: set `version` in the recipe to 2\.0\.0"):
        built(tmp_path, version="1.3.0", **rarer)
    assert built(tmp_path, version="2.0.0", **rarer).release.name == "tiny-2.0.0"


def test_the_card_states_every_config_and_survives_a_hostile_title(report: BuildReport) -> None:
    card = (report.release / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert [config["config_name"] for config in front["configs"]] == [
        name for name in schema.TABLES if name not in EMPTY
    ]
    assert front["pretty_name"] == "Tiny | <b>graph</b>"
    assert "| artwork | train |" in card


def test_fetch_alone_fills_the_snapshot_and_offline_builds_from_it(tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path))
    assert fetch(Job(recipe, tmp_path / "w")).answers == 60
    assert build(Job(recipe, tmp_path / "w", offline=True)).manifest["marks"] == []


def test_offline_without_a_snapshot_says_what_to_type(tmp_path: Path) -> None:
    remote = {"works": {**RECIPE["sources"]["works"], "endpoints": {"one": "https://one.example"}}}
    with pytest.raises(DataError, match="mkgb fetch"):
        build(Job(str(write_recipe(tmp_path, sources=remote)), tmp_path / "w", offline=True))


def test_a_source_that_asks_nobody_needs_no_network_from_the_first_build_on(tmp_path: Path) -> None:
    assert build(Job(str(write_recipe(tmp_path)), tmp_path / "w", offline=True)).fetched == 60


def test_an_unknown_endpoint_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'wikiart'"):
        build(Job("wikiart-v1", tmp_path, endpoints={"wikart": "http://127.0.0.1:1"}))


def test_a_build_that_is_cut_off_leaves_no_half_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(tmp_path)
    monkeypatch.setattr("mkg_builder.write._manifest", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        built(tmp_path)
    assert sorted(p.name for p in first.release.parent.iterdir()) == ["tiny-1.2.3"]
    assert check_release(first.release) == []


def test_what_a_killed_build_left_behind_is_swept_away(tmp_path: Path) -> None:
    left = tmp_path / "w" / "releases" / ".writing-tiny-1.2.3-abc"
    left.mkdir(parents=True)
    (left / "half.parquet").write_text("")
    assert [path.name for path in built(tmp_path).release.parent.iterdir()] == ["tiny-1.2.3"]


def test_every_file_is_forced_to_the_disk_before_the_release_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced, real = set(), os.fsync

    def fsync(handle: int) -> None:
        forced.add(str(Path(f"/proc/self/fd/{handle}").readlink()).partition("/.writing-")[2].partition("/")[2])
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    release = built(tmp_path).release
    paths = [path.relative_to(release).as_posix() for path in release.rglob("*")]
    assert len(paths) > 15
    assert set(paths) - forced == set()


def test_a_release_is_never_deleted_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, deleted, real = built(tmp_path), [], shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **how: (deleted.append(Path(path).name), real(path, **how)))
    assert built(tmp_path).manifest == first.manifest
    assert [name[:14] for name in deleted] == [".writing-tiny-"]


def test_pages_carry_checksums(report: BuildReport) -> None:
    path = report.release / schema.shard_path("triples", "train")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.with_suffix(".flipped").write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(path.with_suffix(".flipped"), page_checksum_verification=True).read()
    path.with_suffix(".flipped").unlink()


def test_the_manifest_names_recipe_snapshot_and_versions(report: BuildReport) -> None:
    manifest = json.loads((report.release / "manifest.json").read_text())
    assert manifest["recipe"]["name"] == "tiny"
    assert manifest["snapshot"]["answers"] == 60
    assert set(manifest["versions"]) == {"mkg_builder", "pillow", "pyarrow", "python", "unicode"}


class Doubles(Works):
    """It knows two works twice, each without a picture the first time; the picture of the second is cut off."""

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        doubles = {"artwork:w00": "Q5", "artwork:w01": "Q5", "artwork:w03": "Q6", "artwork:w07": "Q6"}
        for said in super().read(context):
            known = isinstance(said, Entity) and doubles.get(said.id)
            yield replace(said, same_as=(f"wikidata:{known}",)) if known else said


def test_works_that_are_joined_bring_their_pictures_along(tmp_path: Path) -> None:
    sources = {"works": {"use": "tests.test_build:Doubles"}}
    cleaning = {**RECIPE["cleaning"], "merge_by": ["wikidata"]}
    release = built(tmp_path, sources=sources, cleaning=cleaning).release
    rows = {row["id"]: row for row in schema.read_table(release, "artworks").to_pylist()}
    has_image = {row["id"]: row["has_image"] for row in schema.read_table(release, "entities").to_pylist()}
    assert rows["artwork:w00"]["image"]["bytes"] == jpeg(1)
    assert has_image["artwork:w00"]
    assert rows["artwork:w03"]["image_status"].startswith("broken: ")
    assert not has_image["artwork:w03"]
    assert check_release(release) == []


class Forgetful(Works):
    """It states who made the first work, and never says that this is an artist."""

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        yield from super().read(context)
        yield Triple("artwork:w01", "isCreatedByArtist", "artist:nobody", context.name)


def test_a_triple_of_something_that_no_source_describes_names_it(tmp_path: Path) -> None:
    sources = {"works": {**RECIPE["sources"]["works"], "use": "tests.test_build:Forgetful"}}
    with pytest.raises(
        DataError, match=r"'works' states artwork:w01 isCreatedByArtist artist:nobody, and no source says"
    ):
        built(tmp_path, sources=sources)


class Astray(Works):
    """It calls an artwork a work, as a museum would."""

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        yield from super().read(context)
        yield Entity("work:1", "artwork", "Work 1", sources=(context.name,))


def test_an_entity_whose_id_says_another_type_is_told_with_its_source(tmp_path: Path) -> None:
    sources = {"works": {**RECIPE["sources"]["works"], "use": "tests.test_build:Astray"}}
    said = "source 'works' yielded an Entity 'work:1': its type is 'artwork', so its id must begin with 'artwork:'"
    with pytest.raises(DataError, match=said):
        built(tmp_path, sources=sources)


class Portrayed(Works):
    """It has a picture of an artist, whose type may have none."""

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        yield from super().read(context)
        yield Entity("artist:ann", "artist", "Ann", image="works:1", sources=(context.name,))


def test_a_picture_of_a_type_that_may_have_none_is_listed_and_counted_nowhere(tmp_path: Path) -> None:
    sources = {"works": {**RECIPE["sources"]["works"], "use": "tests.test_build:Portrayed"}}
    release = built(tmp_path, sources=sources).release
    assert {"id": "artist:ann", "rule": "no_pictures", "detail": "type 'artist' has no `image: true`: works:1"} in (
        schema.read_table(release, "dropped").to_pylist()
    )
    ann = next(row for row in schema.read_table(release, "entities").to_pylist() if row["id"] == "artist:ann")
    assert not ann["has_image"]


class Talkative(Works):
    """It has a value of something that it never tells of."""

    def read(self, context: SourceContext) -> Iterator[Entity | Triple | Literal]:  # type: ignore[override]
        yield from super().read(context)
        yield Literal("artist:ghost", "wasBornOnDate", "about 1900", context.name)


def test_a_value_of_something_that_no_source_tells_of_is_listed(tmp_path: Path) -> None:
    sources = {"works": {**RECIPE["sources"]["works"], "use": "tests.test_build:Talkative"}}
    lost = schema.read_table(built(tmp_path, sources=sources).release, "dropped").to_pylist()
    assert [(row["id"], row["rule"]) for row in lost] == [("artist:ghost wasBornOnDate", "unknown_id")]
