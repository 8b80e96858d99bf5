"""The command line from a release to a prediction, and every mistake as one line with its exit code."""

import io
import json
import pickle
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tiny_release import picture_bytes, write_tiny_release
from vlkge.cli import main
from vlkge.config import load_experiment
from vlkge.train import fit, start

ROOT = Path(__file__).parent.parent

ART = [f"artwork:work-{i:02d}" for i in range(24)]
BY = [(art, "isCreatedByArtist", f"artist:painter-{i % 3}") for i, art in enumerate(ART)]
INFLUENCE = [("artist:painter-0", "isInfluencedBy", "artist:painter-1")]
SPLITS = {"train": BY[:16] + INFLUENCE, "validation": BY[16:20], "test": BY[20:]}
FAST = ("--dim", "8", "--epochs", "3", "--batch-size", "8", "--quiet")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def vlkge(*arguments: object, cwd: Path) -> Done:
    """Run the command line in this process: importing torch anew for each line would take minutes."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["vlkge", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
            sys.exit(0)
    return Done(int(left.value.code or 0), out.getvalue(), err.getvalue())


def told(*arguments: object, cwd: Path) -> dict | list:
    done = vlkge(*arguments, "--json", "--quiet", cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """A folder with a release, its features and a run, all made by the command line."""
    place = tmp_path_factory.mktemp("room")
    pictures = {art: picture_bytes(i) for i, art in enumerate(ART)}
    texts = {f"artist:painter-{i}": f"Painter {i}" for i in range(3)}
    write_tiny_release(place / "release", SPLITS, pictures, texts)
    assert told("encode", "release", cwd=place)["folder"] == "features/tiny-1.0.0"
    assert told("train", "--dataset", "release", *FAST[:-1], cwd=place)["run"] == "runs/tiny-complex-average"
    return place


RUN = "runs/tiny-complex-average"


def test_scores_that_see_the_graph_are_an_option_and_the_outside_is_still_asked_about(room: Path) -> None:
    seen = ("--reciprocal", "--observed", "degree,links", "--out", "runs/seen")
    told("train", "--dataset", "release", *FAST[:-1], *seen, cwd=room)
    assert "observed:\n  - degree\n  - links" in (room / "runs/seen/experiment.yaml").read_text()
    assert told("evaluate", "runs/seen", cwd=room)["overall"]["queries"] == 4
    (room / "new.png").write_bytes(picture_bytes(99))
    why = told("predict", "runs/seen", "--image", "new.png", "--explain", cwd=room)["things"][0]["explanation"]
    assert set(why["without"]["isCreatedByArtist"]) == {"image", "observed"}
    refused = vlkge("train", "--dataset", "release", *FAST, "--observed", "degree", cwd=room)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--reciprocal" in refused.stderr


def test_evaluation_prints_the_model_beside_the_baselines(room: Path) -> None:
    done = vlkge("evaluate", RUN, cwd=room)
    assert done.returncode == 0
    for word in ("isCreatedByArtist", "candidates", "Hits@10", "chance MRR", "frequent MRR"):
        assert word in done.stdout
    assert "protocol strict 1" in done.stderr


def test_evaluation_by_modality_adds_two_tables(room: Path) -> None:
    done = vlkge("evaluate", RUN, "--by-modality", cwd=room)
    assert "By the modalities of the entity that is asked about" in done.stdout
    found = told("evaluate", RUN, "--by-modality", cwd=room)
    assert sum(kind["model"]["queries"] for kind in found["by_modality"]["available"].values()) == 4


def test_a_run_is_compared_with_itself(room: Path) -> None:
    assert "MRR to the first" in vlkge("compare", RUN, RUN, cwd=room).stdout
    first, second = told("compare", RUN, RUN, cwd=room)
    assert (first["difference_to_first"], second["difference_to_first"]["mrr"]) == (None, 0.0)


@pytest.mark.parametrize("protocol", ["strict", "reference"])
def test_evaluation_as_json_says_what_it_depends_on(room: Path, protocol: str) -> None:
    result = told("evaluate", RUN, "--split", "test", "--protocol", protocol, cwd=room)
    assert result["protocol"]["name"] == protocol
    assert result["relations"]["isCreatedByArtist"]["queries"] == 4
    assert set(result["baselines"]) == {"chance", "most_frequent"}


def test_two_protocols_are_printed_with_their_gap_and_its_causes(room: Path) -> None:
    both = ("evaluate", RUN, "--protocol", "strict", "--protocol", "reference")
    done = vlkge(*both, cwd=room)
    assert done.returncode == 0
    for word in ("MRR strict", "MRR reference", "gap", "From strict to reference", "filter", "candidates", "ties"):
        assert word in done.stdout
    assert "protocol reference 2: ties first (entity order)" in done.stderr
    found = told(*both, cwd=room)
    assert [result["protocol"]["name"] for result in found["protocols"]] == ["strict", "reference"]
    assert [step["cause"] for step in found["gap"]["steps"]] == ["filter", "candidates", "ties"]


def test_a_picture_outside_the_graph_is_given_painters(room: Path) -> None:
    (room / "painting.png").write_bytes(picture_bytes(99))
    found = told("predict", RUN, "--image", "painting.png", "--relation", "isCreatedByArtist", "--top", 2, cwd=room)
    (thing,) = found["things"]
    answers = thing["answers"]["isCreatedByArtist"]
    assert [row["rank"] for row in answers] == [1, 2]
    assert answers[0]["label"].startswith("Painter")
    assert sum(row["probability"] for row in answers) < 1 < 2 * answers[0]["probability"] + 1
    assert (found["protocol"]["name"], found["dataset"]["version"], thing["type"]) == ("strict", "1.0.0", "artwork")


def test_a_text_outside_the_graph_is_given_painters(room: Path) -> None:
    found = told("predict", RUN, "--text", "Painter 1", "--relation", "isCreatedByArtist", cwd=room)
    assert len(found["things"][0]["answers"]["isCreatedByArtist"]) == 3


def test_without_a_relation_all_of_the_type_are_answered(room: Path) -> None:
    found = told("predict", RUN, "--text", "Painter 1", "--type", "artist", cwd=room)
    assert list(found["things"][0]["answers"]) == ["isInfluencedBy"]
    done = vlkge("predict", RUN, "--text", "Water lilies", cwd=room)
    assert "'Water lilies' – isCreatedByArtist" in done.stdout
    assert "probability by softmax, fitted on 4 validation queries; expected calibration error" in done.stderr


def test_a_folder_of_pictures_is_answered_in_order_and_a_broken_one_costs_no_other(room: Path) -> None:
    folder = room / "collection"
    (folder / "b").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a\x1b[31m.png").write_bytes(picture_bytes(1))
    (folder / "b" / "half.png").write_bytes(picture_bytes(2)[:900])
    (folder / "b" / "link.png").symlink_to(folder / "a\x1b[31m.png")
    (folder / ".hidden" / "c.png").write_bytes(picture_bytes(3))
    (folder / "b" / ".DS_Store").write_bytes(b"of the file manager")
    found = told("predict", RUN, "--image", "collection", cwd=room)["things"]
    names = ["collection/a\x1b[31m.png", "collection/b/half.png", "collection/b/link.png"]
    assert [thing["name"] for thing in found] == names
    assert found[1] == {"name": "collection/b/half.png", "error": "truncated, the end of the PNG file is missing"}
    assert found[0]["answers"] == found[2]["answers"]
    done = vlkge("predict", RUN, "--image", "collection", cwd=room)
    assert done.returncode == 0
    assert "collection/b/half.png: truncated, the end of the PNG file is missing\n" in done.stdout
    assert "collection/a\\x1b[31m.png – isCreatedByArtist" in done.stdout
    assert done.stderr.endswith("2 pictures answered, 1 broken\n")


def test_a_folder_without_a_whole_picture_is_an_error_after_every_file_was_told(room: Path) -> None:
    (room / "broken").mkdir(exist_ok=True)
    (room / "broken" / "half.png").write_bytes(picture_bytes(0)[:900])
    done = vlkge("predict", RUN, "--image", "broken", cwd=room)
    assert (done.returncode, done.stdout.startswith("broken/half.png: truncated")) == (4, True)
    assert done.stderr == "vlkge: no whole picture among 1 file in broken\n"


def test_an_explanation_tells_neighbours_and_what_each_modality_contributes(room: Path) -> None:
    both = ("predict", RUN, "--image", "painting.png", "--text", "Painter 1", "--explain", "--top", 2)
    (room / "painting.png").write_bytes(picture_bytes(99))
    why = told(*both, cwd=room)["things"][0]["explanation"]
    assert why["modalities"] == ["image", "text"]
    assert len(why["without"]["isCreatedByArtist"]["image"]) == 2
    assert why["nearest"][0]["entity"].startswith("artwork:work-")
    assert "without image" in vlkge(*both, cwd=room).stdout
    alone = vlkge("predict", RUN, "--image", "painting.png", "--explain", cwd=room)
    assert "image is all that is known of painting.png" in alone.stdout


def test_an_artist_of_the_graph_is_given_influences(room: Path) -> None:
    done = vlkge("predict", RUN, "--head", "artist:painter-0", "--relation", "isInfluencedBy", cwd=room)
    assert done.returncode == 0
    assert "Painter 1" in done.stdout
    assert "train" in done.stdout


def test_a_resume_goes_on_from_the_last_epoch(room: Path) -> None:
    shutil.copytree(room / RUN, room / "copy")
    assert told("resume", "copy", "--epochs", 5, cwd=room)["epochs"] == 5
    again = vlkge("resume", "copy", "--epochs", 5, cwd=room)
    assert (again.returncode, again.stderr) == (0, "nothing was trained: it has 5 epochs, as many as asked for\n")


def test_a_training_without_features_says_what_it_lacks(room: Path, tmp_path: Path) -> None:
    command = ("train", "--dataset", room / "release", "--epochs", 1, "--model", "distmult")
    said = vlkge(*command, "--out", tmp_path / "a", cwd=tmp_path).stderr
    assert "structural vectors alone are trained; for pictures and texts: vlkge encode" in said
    asked = vlkge(*command, "--modalities", "structural", "--out", tmp_path / "b", cwd=tmp_path)
    assert "structural vectors alone" not in asked.stderr


@pytest.mark.parametrize("name", ["wn9-img-complex-structural", "wn9-img-complex-clip"])
def test_an_experiment_whose_data_are_not_here_says_what_to_type(tmp_path: Path, name: str) -> None:
    done = vlkge("train", "--experiment", name, cwd=tmp_path)
    assert done.returncode == 2
    assert "wn9-img-1.0.0 is not here; type: mkgb build wn9-img --files FOLDER" in done.stderr


def test_a_run_of_which_no_epoch_was_validated_says_so(room: Path) -> None:
    settings = [f"dataset={room / 'release'}", "model.dim=4", "training.validate_every=5", "training.epochs=9"]
    run = start(load_experiment(None, settings), room / "young")
    next(fit(run))
    for command, more in (("resume", ("--epochs", 1)), ("evaluate", ())):
        done = vlkge(command, "young", *more, "--quiet", cwd=room)
        assert (done.returncode, "no epoch of young was validated" in done.stderr) == (4 - 2 * bool(more), True)


INTERRUPTED = """
import os, signal, sys
import vlkge.train
from vlkge.cli import main
vlkge.train.fit = lambda *_: os.kill(os.getpid(), signal.SIGINT)
sys.argv = ["vlkge", "resume", "stopped", "--quiet"]
main()
"""


def test_an_interrupted_training_is_told_to_go_on_by_resume(room: Path) -> None:
    shutil.copytree(room / RUN, room / "stopped")
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=room, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "vlkge: interrupted; go on with: vlkge resume stopped\n")


def test_a_picture_is_of_what_there_are_pictures_of(room: Path) -> None:
    (room / "new.png").write_bytes(picture_bytes(99))
    done = vlkge("predict", RUN, "--image", "new.png", "--relation", "isInfluencedBy", cwd=room)
    assert done.returncode == 2
    assert "isInfluencedBy starts at entities of type 'artist', new.png is of type 'artwork'" in done.stderr


def test_a_resume_goes_on_where_there_is_a_device(room: Path) -> None:
    shutil.copytree(room / RUN, room / "elsewhere")
    assert told("resume", "elsewhere", "--epochs", 4, "--device", "cpu", cwd=room)["epochs"] == 4
    refused = vlkge("resume", "elsewhere", "--epochs", 5, "--device", "gpu", cwd=room)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "training.device is 'gpu'" in refused.stderr


def test_a_run_that_is_the_working_folder_has_its_name_all_the_same(room: Path) -> None:
    assert told("report", ".", cwd=room / RUN)["file"] == "tiny-complex-average.html"
    assert told("export", ".", cwd=room / RUN)["folder"] == "exports/tiny-complex-average"
    for left in ("exports", "tiny-complex-average.html"):
        path = room / RUN / left
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_an_experiment_file_is_overridden_by_options_and_by_dotted_paths(room: Path) -> None:
    (room / "plan.yaml").write_text("dataset: release\nmodel: {scorer: transe, dim: 4}\ntraining: {epochs: 1}\n")
    told("train", "--experiment", "plan.yaml", "--model", "distmult", "--set", "model.dim=6", "--out", "x", cwd=room)
    written = (room / "x" / "experiment.yaml").read_text()
    assert "scorer: distmult" in written
    assert "dim: 6" in written


def test_progress_is_one_line_an_epoch_with_the_validation_mrr(room: Path) -> None:
    done = vlkge("train", "--dataset", "release", *FAST[:-1], "--out", "talkative", cwd=room)
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert "validation MRR" in lines[0]
    assert done.stdout.strip().endswith("run: talkative")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("predict", RUN, "--head", "artist:painter-0", "--relation", "isInfluencedBye"), 2, "'isInfluencedBy'?"),
        (("predict", RUN, "--head", "artist:paintre-0", "--relation", "isInfluencedBy"), 2, "'artist:painter-0'?"),
        (("predict", RUN, "--relation", "isInfluencedBy"), 2, "give either --head"),
        (("predict", RUN, "--image", "half.png", "--relation", "isCreatedByArtist"), 4, "half.png"),
        (("predict", RUN, "--image", "none.png", "--relation", "isCreatedByArtist"), 4, "no picture none.png"),
        (("predict", RUN, "--image", "broken", "--text", "x"), 2, "--text belongs to one picture"),
        (("predict", RUN, "--text", " "), 2, "the text is blank"),
        (("predict", RUN, "--text", "x", "--new-only"), 2, "--new-only leaves out"),
        (("query", RUN, ""), 2, ""),
        (("query", RUN, "?x: a(b, ?x)", "--tails-only"), 2, "belong to --benchmark"),
        (("retrieve", "--run", RUN, "--of", ART[0], "--relation", "isInfluencedBy"), 2, "starts at entities of type"),
        (("retrieve", "--run", RUN, "--of", ART[0], "--type", "artist"), 2, "--type is said already"),
        (("encode", "release", "--device", "gpu"), 2, "device 'gpu' is not here"),
        (("train", "--dataset", "release", "--regularizer", "n3", "--out", "y"), 2, "does nothing without the other"),
        (("train", "--dataset", "release", "--device", "meta", "--out", "y"), 2, "training.device is 'meta'"),
        (("train", "--dataset", "release", "--modalities", "", "--out", "y"), 2, "model.modalities"),
        (("train", "--dataset", "release", "--set", "training.sample={isCreatedBy: 0.5}", "--out", "y"), 2,
         "'isCreatedByArtist'?"),
        (("predict", RUN, "--text", "x", "--type", "artwrok"), 2, "'artwork'?"),
        (("predict", RUN, "--head", "artist:painter-0", "--type", "artist"), 2, "--type is of something outside"),
        (("evaluate", RUN, "--protocol", "strickt"), 2, "'strict'?"),
        (("evaluate", RUN, *["--protocol", "strict"] * 3), 2, "name one, or two"),
        (("evaluate", RUN, "--split", "tset"), 2, "'test'?"),
        (("evaluate", "nowhere"), 4, "is no run"),
        (("evaluate", "model.pt"), 4, "refused, not opened"),
        (("encode", "release", "--encoder", "colour-texture"), 2, "'color-texture'?"),
        (("train", "--dataset", "release", "--model", "complx"), 2, "'complex'?"),
        (("train", "--dataset", "release", "--fusion", "averag"), 2, "'average'?"),
        (("train", "--dataset", "release", "--set", "model.dimm=3"), 2, "'dim'?"),
        (("train", "--dataset", "release", "--features", "pickled", "--out", "y"), 4, "refused, not opened"),
        (("train", "--dataset", "release", "--hf-dataset", "a/b"), 2, "exclude each other"),
        (("train", "--dataset", "altered", "--out", "y"), 4, "is altered"),
        (("train", "--dataset", "release"), 2, "--overwrite"),
        (("train",), 2, "--dataset"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_exit_code(room: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    (room / "half.png").write_bytes(picture_bytes(0)[:900])
    (room / "broken").mkdir(exist_ok=True)
    (room / "broken" / "half.png").write_bytes(picture_bytes(0)[:900])
    (room / "model.pt").write_bytes(pickle.dumps({"weights": [1.0]}))
    (room / "pickled").mkdir(exist_ok=True)
    (room / "pickled" / "image.pkl").write_bytes(pickle.dumps([1.0]))
    if not (room / "altered").exists():
        shutil.copytree(room / "release", room / "altered")
        path = next((room / "altered" / "triples").iterdir())
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    done = vlkge(*arguments, cwd=room)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("vlkge: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['vlkge', '--help']\n"
        "from vlkge.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'datasets', 'open_clip', 'numpy') if m in sys.modules])"
    )
    output = subprocess.check_output([sys.executable, "-W", "error", "-c", script], text=True, cwd=ROOT)
    assert "encode" in output
    assert output.splitlines()[-1] == "[]"


def test_it_runs_as_a_module_and_tells_its_version() -> None:
    output = subprocess.check_output([sys.executable, "-m", "vlkge", "--version"], text=True, cwd=ROOT)
    assert output.startswith("vlkge 0.")


def test_relations_of_two_types_are_not_probed_by_one_kind_of_vectors(room: Path) -> None:
    for order in (("isCreatedByArtist", "isInfluencedBy"), ("isInfluencedBy", "isCreatedByArtist")):
        done = vlkge("probe", "release", "--of", order[0], "--of", order[1], cwd=room)
        assert (done.returncode, "have vectors of their own; ask for one type at a time" in done.stderr) == (2, True)
