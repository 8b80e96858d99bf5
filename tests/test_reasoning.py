"""Questions over several facts on the command line: answers with what they rest on, a benchmark, refusals."""

from pathlib import Path

import pytest

from tests.test_vlkge_cli import ART, BY, told, vlkge
from tests.tiny_release import picture_bytes, write_tiny_release

PUPILS = [(f"artist:painter-{i}", "isPupilOf", f"artist:painter-{(i + 1) % 3}") for i in range(3)]
SPLITS = {"train": BY[:16] + PUPILS[:2], "validation": BY[16:20], "test": BY[20:] + PUPILS[2:]}
RUN = "runs/tiny-complex-average"
ASKED = "?x: isCreatedByArtist(?x, ?y), isPupilOf(?y, artist:painter-1)"


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """A folder with a run on a release where some painters are pupils of others."""
    place = tmp_path_factory.mktemp("reasoning")
    texts = {f"artist:painter-{i}": f"Painter {i}" for i in range(3)}
    write_tiny_release(place / "release", SPLITS, {art: picture_bytes(i) for i, art in enumerate(ART)}, texts)
    told("encode", "release", cwd=place)
    told("train", "--dataset", "release", "--dim", "8", "--epochs", "3", "--batch-size", "8", cwd=place)
    return place


def test_a_question_is_answered_with_what_the_answer_rests_on(room: Path) -> None:
    found = told("query", RUN, ASKED, "--top", 30, cwd=room)
    assert (found["question"], len(found["answers"])) == (ASKED, 24)
    assert (found["dataset"]["version"], found["norm"], found["beam"], found["known"]) == ("1.0.0", "product", 64, True)
    best = found["answers"][0]
    assert (best["rank"], best["score"], best["through"]) == (1, 1.0, {"?y": "artist:painter-0"})
    assert [(fact["truth"], fact["stated"]) for fact in best["evidence"]] == [(1.0, "train"), (1.0, "train")]
    certain = {one["entity"] for one in found["answers"] if one["score"] == 1.0}
    assert certain >= {head for head, _, tail in BY[:16] if tail == "artist:painter-0"}


def test_the_model_alone_does_not_take_what_train_states_for_true(room: Path) -> None:
    found = told("query", RUN, ASKED, "--model-only", "--norm", "min", cwd=room)
    assert found["known"] is False
    assert all(one["score"] < 1 for one in found["answers"])


def test_answers_are_printed_with_the_way_to_them(room: Path) -> None:
    done = vlkge("query", RUN, ASKED, cwd=room)
    assert done.returncode == 0
    for word in ("through", "?y = artist:painter-0", "2 of 2"):
        assert word in done.stdout


def test_the_benchmark_tells_each_shape_beside_chance_and_repeats_itself(room: Path) -> None:
    asked = ("query", RUN, "--benchmark", "--per-shape", 5, "--shape", "1p", "--shape", "2p", "--shape", "2i")
    found = told(*asked, cwd=room)
    assert [one["shape"] for one in found["shapes"]] == ["1p", "2p", "2i"]
    assert found == told(*asked, cwd=room)
    assert 0 < found["shapes"][0]["model"]["mrr"] <= 1
    assert 0 < found["shapes"][0]["chance"]["mrr"] < 1


def test_a_shape_that_cannot_be_asked_is_told(tmp_path: Path) -> None:
    splits = {"train": BY[:16], "validation": BY[16:20], "test": BY[20:]}
    write_tiny_release(tmp_path / "release", splits, {art: picture_bytes(i) for i, art in enumerate(ART)})
    told("train", "--dataset", "release", "--dim", "8", "--epochs", "1", cwd=tmp_path)
    done = vlkge("query", RUN, "--benchmark", "--per-shape", 2, "--tails-only", cwd=tmp_path)
    assert "chance MRR" in done.stdout
    assert "2p: no relations of the graph can be joined so" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give either a question or --benchmark"),
        ((ASKED, "--benchmark"), "give either a question or --benchmark"),
        ((ASKED, "--norm", "sum"), "write product or min"),
        (("?x: isPupilOf(?x ?y)",), "question, column 18: expected a comma, got '?y'"),
        (("?x: isPupilOff(?x, artist:painter-1)",), "'isPupilOf'?"),
        (("--benchmark", "--shape", "2q"), "unknown shape '2q'"),
        (("--benchmark", "--top", "3"), "--top belongs to a question"),
        ((ASKED, "--seed", "3"), "--tails-only and --seed belong to --benchmark"),
    ],
)
def test_a_mistake_is_one_line(room: Path, arguments: tuple[str, ...], said: str) -> None:
    done = vlkge("query", RUN, *arguments, cwd=room)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_a_run_is_a_classifier_beside_baselines(room: Path) -> None:
    found = told("classify", RUN, "--seed", 7, cwd=room)
    assert found == told("classify", RUN, "--seed", 7, cwd=room)
    assert (found["split"], found["negatives_seed"], found["protocol"]["name"]) == ("test", 7, "classification")
    assert found["triples"]["isCreatedByArtist"]["triples"] == 4
    assert found["entities"]["isCreatedByArtist"]["classes"] == 3
    done = vlkge("classify", RUN, cwd=room)
    for word in ("AUC", "frequent accuracy", "macro F1", "majority accuracy"):
        assert word in done.stdout
    assert vlkge("classify", RUN, "--split", "validation", cwd=room).returncode == 2
