"""What a run says of a picture at once: the same answers as predict, with shares, and what is nearest."""

import json
from pathlib import Path

import pytest

from mkg_builder.errors import DataError
from tests.test_vlkge_cli import ART, FAST, RUN, SPLITS, told, vlkge
from tests.tiny_release import picture_bytes, write_tiny_release
from vlkge.describe import describe_picture
from vlkge.errors import RunError
from vlkge.predict import Outside, Predictor
from vlkge.run import Run, find_run


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("room")
    texts = {f"artist:painter-{i}": f"Painter {i}" for i in range(3)}
    write_tiny_release(place / "release", SPLITS, {art: picture_bytes(i) for i, art in enumerate(ART)}, texts)
    told("encode", "release", cwd=place)
    told("train", "--dataset", "release", *FAST[:-1], cwd=place)
    (place / "known.png").write_bytes(picture_bytes(7))
    return place


@pytest.fixture(scope="module")
def run(room: Path) -> Run:
    return find_run(room / RUN)


def test_every_relation_of_pictured_things_is_answered_as_predict_answers(room: Path, run: Run) -> None:
    found = describe_picture(run, room / "known.png", top=2)
    assert list(found.relations) == ["isCreatedByArtist"]
    said = Predictor(run).tails_of_outside(Outside(room / "known.png"), "isCreatedByArtist", 2)
    assert [answer.entity for answer in found.relations["isCreatedByArtist"]] == [one.entity for one in said]


def test_the_shares_of_all_answers_are_one(room: Path, run: Run) -> None:
    shares = [a.probability for a in describe_picture(run, room / "known.png", top=99).relations["isCreatedByArtist"]]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1.0)
    assert shares == sorted(shares, reverse=True)


def test_a_picture_of_the_graph_is_nearest_to_itself(room: Path, run: Run) -> None:
    first, second = describe_picture(run, room / "known.png", nearest=2).nearest
    assert first.entity == ART[7]
    assert first.similarity == pytest.approx(1.0, abs=1e-4)
    assert second.similarity < first.similarity


def test_a_picture_that_is_not_there_is_named(room: Path, run: Run) -> None:
    with pytest.raises(DataError, match="no picture"):
        describe_picture(run, room / "nothing.png")


def test_a_run_without_pictures_says_so(room: Path) -> None:
    told("train", "--dataset", "release", "--modalities", "structural,text", "--out", "blind", *FAST[:-1], cwd=room)
    with pytest.raises(RunError, match="was trained without image"):
        describe_picture(find_run(room / "blind"), room / "known.png")


def test_the_command_prints_tables_or_json(room: Path) -> None:
    assert "Nearest by picture" in vlkge("describe", RUN, "--image", "known.png", cwd=room).stdout
    found = json.loads(vlkge("describe", RUN, "--image", "known.png", "--top", "1", "--json", cwd=room).stdout)
    assert found["dataset"] == "tiny 1.0.0"
    assert len(found["relations"]["isCreatedByArtist"]) == 1
