"""The page of runs: curves, metrics and confusions as they are, and inert."""

import json
from pathlib import Path

import pytest
import torch
from selectolax.lexbor import LexborHTMLParser as HTMLParser

from mkg_builder.errors import UsageError
from mkg_builder.page import curves
from tests.test_vlkge_cli import ART, FAST, RUN, told, vlkge
from tests.tiny_release import picture_bytes, write_tiny_release
from vlkge import report
from vlkge.protocol import make_protocol
from vlkge.run import Run, find_run

HOSTILE = "artist:<img src=x onerror=alert(1)>{{7*7}}"
PAINTERS = (HOSTILE, "artist:painter-1", "artist:painter-2")
BY = [(art, "isCreatedByArtist", PAINTERS[i % 3]) for i, art in enumerate(ART)]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("room")
    splits = {"train": BY[:12], "validation": BY[12:15], "test": BY[15:]}
    write_tiny_release(place / "release", splits, {art: picture_bytes(i) for i, art in enumerate(ART)})
    told("encode", "release", cwd=place)
    told("train", "--dataset", "release", *FAST[:-1], cwd=place)
    return place


@pytest.fixture(scope="module")
def run(room: Path) -> Run:
    return find_run(room / RUN)


@pytest.fixture(scope="module")
def text(room: Path, run: Run) -> str:
    return report.render_run_report([run], "test", make_protocol("strict"), room / "release")


def test_a_curve_has_a_point_for_each_epoch(run: Run) -> None:
    mrr, loss = report.learning_curves({"a": run})
    assert [len(chart.curves[0].path.split()) for chart in (mrr, loss)] == [3, 3]


def test_a_curve_falls_where_its_values_fall() -> None:
    path = curves("x", {"a": [(0, 1.0), (1, float("nan")), (2, 0.0)]}).curves[0].path.split()
    (_, high), (_, low) = (point.split(",") for point in path)
    assert float(high) < float(low)


def test_confusions_add_up_to_the_queries_that_are_answered_wrongly(run: Run) -> None:
    found = report.confusions(run, "test", make_protocol("strict"))["isCreatedByArtist"]
    from vlkge.evaluate import evaluate_run

    overall = evaluate_run(run, "test", make_protocol("strict")).model.overall
    assert sum(c.times for c in found) == round(overall.queries * (1 - overall.hits_at_1))
    assert [c.times for c in found] == sorted((c.times for c in found), reverse=True)
    assert all(c.expected != c.answered for c in found)


def test_a_relation_of_several_answers_has_no_confusions(run: Run, monkeypatch) -> None:
    again = torch.cat([run.dataset.triples["train"], run.dataset.triples["test"][:1]])
    again[-1, 2] = (again[-1, 2] + 1) % 3
    monkeypatch.setitem(run.dataset.triples, "train", again)
    assert report.confusions(run, "test", make_protocol("strict")) == {}


def test_the_page_shows_the_mistaken_pictures_and_asks_for_nothing(text: str) -> None:
    tree = HTMLParser(text)
    assert tree.css("#confusions img")
    assert tree.css("script, [onerror], img:not([src^='data:image/jpeg;base64,'])") == []
    assert "7*7" in tree.body.text()


def test_every_number_stands_under_its_protocol_and_data(text: str, run: Run) -> None:
    words = HTMLParser(text).css_first("header").text()
    assert "tiny 1.0.0 (inductive), test split, protocol strict 1" in words
    assert run.dataset.content_sha256 in text


def test_runs_stand_side_by_side(run: Run) -> None:
    text = report.render_run_report([run, run], "test", make_protocol("strict"))
    table = next(t for t in HTMLParser(text).css("table") if "MRR per relation" in t.css_first("caption").text())
    assert len(table.css("thead th")) == 4
    assert HTMLParser(text).css("#confusions img") == []


def test_pictures_of_another_release_are_refused(room: Path, run: Run, tmp_path: Path) -> None:
    other = write_tiny_release(tmp_path / "other", {"train": BY[:2]})
    with pytest.raises(UsageError, match="of other content than the run's tiny"):
        report.render_run_report([run], "test", make_protocol("strict"), other)


def test_the_command_writes_the_page(room: Path) -> None:
    found = json.loads(vlkge("report", RUN, "--out", "page.html", "--json", cwd=room).stdout)
    assert (room / found["file"]).read_bytes().startswith(b"<!doctype html>")
    assert (room / found["file"]).stat().st_size == found["bytes"]
