"""The WikiArt source: its quirks on a site made of a dictionary, and the whole walk on the stand-in site."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mkg_builder import schema
from mkg_builder.build import Job, build
from mkg_builder.checks import check_release
from mkg_builder.context import SnapshotContext
from mkg_builder.errors import UnknownNameError, UpstreamError
from mkg_builder.graph import Entity, Triple
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer
from mkg_builder.sources.wikiart import WikiArt, WikiArtOptions
from mkg_builder.testing import SourceContract
from tests.site import answer
from tests.wikiart_site import ALPHABET, BASE, ITEM, JSON, PICTURE, WORK, context, listing, read, read_all, site


class TestWikiArtContract(SourceContract):
    name = "wikiart"

    def source(self) -> WikiArt:
        return WikiArt(WikiArtOptions())

    def fetching(self, snapshot: Snapshot) -> SnapshotContext:
        return context(snapshot, site())

    def spoil(self, snapshot: Snapshot) -> None:
        body = json.dumps(WORK | {"surprise": 1}).encode()
        snapshot.put(Answer("wikiart:/en/App/Painting/ImageJson/207190", 200, body, "application/json"))


def test_a_record_becomes_an_artwork_and_its_facts(tmp_path: Path) -> None:
    things = read(tmp_path, site())
    work = next(t for t in things if isinstance(t, Entity) and t.type == "artwork")
    assert (work.id, work.label) == ("artwork:vincent-van-gogh/the-starry-night-1889", "The Starry Night")
    assert work.image == "images:/00142/images/vincent-van-gogh/caf%C3%A9(1).jpg"
    assert sorted((t.relation, t.tail) for t in things if isinstance(t, Triple)) == [
        ("belongsToGenre", "genre:cloudscape"),
        ("hasStyle", "style:post-impressionism"),
        ("hasStyle", "style:realism"),
        ("isAssociatedWithTag", "tag:stars-and-planets"),
        ("isAssociatedWithTag", "tag:tree"),
        ("isCreatedByArtist", "artist:vincent-van-gogh"),
        ("isCreatedInYear", "date:1889"),
        ("isLocatedIn", "gallery:museum-of-modern-art-moma-new-york-city-ny-us"),
    ]


def test_the_artists_that_a_recipe_names_are_walked_and_no_others(tmp_path: Path) -> None:
    transport = site()
    things = read(tmp_path / "one", transport, artists=["vincent-van-gogh"])
    assert [path for path in transport.asked if "PaintingsByArtist" in path] == [listing("vincent-van-gogh")]
    assert things == read(tmp_path / "all", site())  # the other has no works
    assert not any(isinstance(t, Entity) and t.type == "artwork" for t in read(
        tmp_path / "other", site(), artists=["a-nobody"]))  # fmt: skip
    with pytest.raises(UnknownNameError, match="did you mean 'vincent-van-gogh'"):
        read(tmp_path / "none", site(), artists=["vincent-vangogh"])


def test_a_missing_size_falls_through_to_the_next(tmp_path: Path) -> None:
    transport = site()
    read(tmp_path, transport)
    pictures = [path.rpartition("/")[2] for path in transport.asked if "uploads" in path]
    assert pictures == ["caf%C3%A9(1).jpg!Large.jpg", "caf%C3%A9(1).jpg!HD.jpg", "caf%C3%A9(1).jpg"]


def test_a_picture_cut_short_at_its_source_falls_through_to_the_next_size(tmp_path: Path) -> None:
    transport = site()
    whole = transport.answers[PICTURE]()[2]
    transport.answers[f"{PICTURE}!Large.jpg"] = answer(whole[: len(whole) // 2], Content_Type="image/jpeg")
    work = next(t for t in read(tmp_path, transport) if isinstance(t, Entity) and t.type == "artwork")
    assert work.image == f"images:{PICTURE.removeprefix('/uploads/4')}"


def test_a_picture_that_looks_whole_and_does_not_decode_falls_through_to_the_next_size(tmp_path: Path) -> None:
    transport = site()
    hollow = transport.answers[PICTURE]()[2][:200] + b"\xff\xd9"
    transport.answers[f"{PICTURE}!Large.jpg"] = answer(hollow, Content_Type="image/jpeg")
    for _ in ("asked", "from what was kept"):
        work = next(t for t in read(tmp_path, transport) if isinstance(t, Entity) and t.type == "artwork")
        assert work.image == f"images:{PICTURE.removeprefix('/uploads/4')}"
    pictures = [path.rpartition("/")[2] for path in transport.asked if "uploads" in path]
    assert pictures == ["caf%C3%A9(1).jpg!Large.jpg", "caf%C3%A9(1).jpg!HD.jpg", "caf%C3%A9(1).jpg"]


def test_a_size_that_could_not_be_had_now_is_not_replaced_by_another(tmp_path: Path) -> None:
    transport = site()
    transport.answers[f"{PICTURE}!Large.jpg"] = answer(b"", 500)
    read(tmp_path, transport)
    pictures = {path.rpartition("/")[2] for path in transport.asked if "uploads" in path}
    assert pictures == {"caf%C3%A9(1).jpg!Large.jpg"}


def test_a_picture_of_a_host_that_may_not_be_asked_is_told_and_stops_nothing(tmp_path: Path) -> None:
    transport = site(image="https://uploads1.elsewhere.example/a.jpg")
    things, reading = read_all(tmp_path, transport)
    assert next(t for t in things if isinstance(t, Entity) and t.type == "artwork").image is None
    assert reading.gaps() == [
        "hosts that the source may not ask are left out; to ask them: hosts: [uploads1.elsewhere.example]"
    ]
    assert not [path for path in transport.asked if "a.jpg" in path]


def test_a_work_that_is_listed_twice_is_asked_for_once(tmp_path: Path) -> None:
    transport = site()
    transport.answers[listing("vincent-van-gogh")] = answer(json.dumps([ITEM, ITEM]).encode(), **JSON)
    things = read(tmp_path, transport)
    assert sum(isinstance(t, Entity) and t.type == "artwork" for t in things) == 1
    assert sum("ImageJson" in path for path in transport.asked) == 1


def test_the_placeholder_frame_is_no_picture(tmp_path: Path) -> None:
    transport = site(image=f"{BASE}/uploads/Content/images/FRAME-600x480.jpg")
    work = next(t for t in read(tmp_path, transport) if isinstance(t, Entity) and t.type == "artwork")
    assert work.image is None
    assert not [path for path in transport.asked if "uploads" in path]


def test_a_work_without_a_record_is_kept_from_its_artists_list(tmp_path: Path) -> None:
    transport = site()
    transport.answers["/en/App/Painting/ImageJson/207190"] = answer(b"", 302, Location="/en/App/Home/Error/0123")
    things = read(tmp_path, transport)
    assert ("isCreatedInYear", "date:1889") in {(t.relation, t.tail) for t in things if isinstance(t, Triple)}
    assert "artwork:vincent-van-gogh/content-207190" in {t.id for t in things if isinstance(t, Entity)}
    assert "/en/App/Home/Error/0123" not in transport.asked


@pytest.mark.parametrize(
    ("path", "fault"),
    [(ALPHABET, answer(b"", 404)),
     (listing("vincent-van-gogh"), answer(b"", 404)),
     ("/en/App/Painting/ImageJson/207190", answer(b"", 302, Location="/maintenance.html")),
     (ALPHABET, answer(b"[]", **JSON)), (ALPHABET, answer(b'{"Message": "The service is being updated."}', **JSON)),
     (listing("vincent-van-gogh"), answer(b'{"Message": "An error has occurred."}', **JSON)),
     ("/en/App/Painting/ImageJson/207190", answer(b'{"Message": "An error has occurred."}', **JSON))],
)  # fmt: skip
def test_a_fault_that_passes_is_told_and_asked_again(tmp_path: Path, path: str, fault: object) -> None:
    transport, snapshot = site(), Snapshot(tmp_path)
    whole, transport.answers[path] = transport.answers[path], fault
    with snapshot.writing():
        snapshot.put(Answer("kept", 200, b"", ""))
        for failures, answered in ((1, fault), (0, whole)):
            transport.answers[path] = answered
            fetching = context(snapshot, transport)
            WikiArt(WikiArtOptions()).fetch(fetching)
            assert (len(fetching.failures), f"wikiart:{path}" in snapshot) == (failures, not failures)


def test_a_work_without_a_title_is_dropped_with_its_reason(tmp_path: Path) -> None:
    things, reading = read_all(tmp_path, site(title=" "))
    assert [t for t in things if isinstance(t, Triple)] == []
    assert [(d.rule, d.detail) for d in reading.observations.dropped] == [("required_fields", "no title")]


def job(world: dict, workspace: Path, *overrides: str, **options: Any) -> Job:
    endpoints = {"wikiart": world["wikiart"]}
    return Job("wikiart-v1", workspace, endpoints=endpoints, overrides=("cleaning.require_image=false", *overrides),
               **options)  # fmt: skip


def asked(world: dict) -> int:
    return sum(1 for line in world["log"].read_text().splitlines() if "_world" not in line)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.shared
def test_the_walk_brings_every_work_and_every_picture_that_exists(small_world: dict, tmp_path: Path) -> None:
    report = build(job(small_world, tmp_path))
    entities = schema.read_table(report.release, "entities").to_pylist()
    works = [entity for entity in entities if entity["type"] == "artwork"]
    assert len(works) == small_world["artworks"] == 36
    assert sum(work["has_image"] for work in works) == small_world["pictures"]
    assert [f for f in check_release(report.release) if f.level == "error"] == []
    assert all(mark.startswith(("set", "endpoint")) for mark in report.manifest["marks"])


@pytest.mark.shared
def test_a_second_build_asks_nothing_and_offline_needs_no_server(world: dict, tmp_path: Path) -> None:
    first = build(job(world, tmp_path))
    before = asked(world)
    second = build(job(world, tmp_path))
    offline = build(Job("wikiart-v1", tmp_path, offline=True, overrides=("cleaning.require_image=false",)))
    assert asked(world) == before
    assert first.manifest == second.manifest == offline.manifest


@pytest.mark.shared
def test_the_papers_rule_drops_artworks_without_a_picture(small_world: dict, tmp_path: Path) -> None:
    endpoints = {"wikiart": small_world["wikiart"]}
    overrides = ("cleaning.min_frequency={}",)
    report = build(Job("wikiart-v1", tmp_path, endpoints=endpoints, overrides=overrides))
    works = schema.read_table(report.release, "artworks", columns=["image_status"])["image_status"].to_pylist()
    assert set(works) == {"ok"}


@pytest.mark.shared
@pytest.mark.parametrize("answers", [1, 25, 60, 95])
def test_a_killed_fetch_resumes_to_the_same_content(world: dict, tmp_path: Path, answers: int) -> None:
    command = [
        sys.executable, "-m", "mkg_builder", "build", "wikiart-v1", "--endpoint", f"wikiart={world['wikiart']}",
        "--set", "cleaning.require_image=false", "--quiet", "--json", "--workspace",
    ]  # fmt: skip
    whole = json.loads(subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True).stdout)
    journal = tmp_path / "killed" / "snapshots" / "wikiart-v1" / "journal.jsonl"
    killed = subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while killed.poll() is None and lines(journal) < answers:
        time.sleep(0.002)
    killed.kill()
    killed.wait()
    had = lines(journal)
    assert answers <= had < whole["fetched"]
    again = json.loads(subprocess.run([*command, tmp_path / "killed"], check=True, capture_output=True).stdout)
    assert again["content_sha256"] == whole["content_sha256"]
    assert again["fetched"] == whole["fetched"] - had


@pytest.mark.shared
def test_random_faults_of_the_site_do_not_change_the_result(world: dict, tmp_path: Path) -> None:
    import requests

    plain = build(job(world, tmp_path / "plain"))
    plan = {"random": {"rate": 0.1, "kinds": ["http_500", "reset", "truncated", "wrong_type", "bad_json:truncated"],
                       "match": "wikiart|uploads|en/App", "max_per_url": 2}}  # fmt: skip
    requests.post(f"{world['control']}/faults", json=plan, timeout=10).raise_for_status()
    faulty = build(job(world, tmp_path / "faulty"))
    assert faulty.manifest["content_sha256"] == plain.manifest["content_sha256"]


@pytest.mark.shared
def test_what_never_answers_is_told_and_asked_again_next_time(world: dict, tmp_path: Path) -> None:
    import requests

    plan = {"PaintingsByArtist.*hilma": {"sequence": ["http_500"], "then": "repeat"}}
    requests.post(f"{world['control']}/faults", json=plan, timeout=10).raise_for_status()
    with pytest.raises(UpstreamError, match=r"1 answer could not be had, the first: .*hilma-af-klint.*HTTP 500"):
        build(job(world, tmp_path))
    requests.post(f"{world['control']}/faults", json={}, timeout=10).raise_for_status()
    assert (
        build(job(world, tmp_path)).manifest["content_sha256"]
        == (build(job(world, tmp_path / "fresh")).manifest["content_sha256"])
    )
