"""The run folder: whole after any crash, verified when it is read, never a pickle."""

import os
import pickle
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mkg_builder.errors import LockedError, MkgError, UsageError
from tests.vlkge_contracts import make_dataset, make_features
from vlkge import files
from vlkge import run as run_module
from vlkge.config import load_experiment
from vlkge.errors import RunError
from vlkge.features import save_features
from vlkge.files import read_tensors, whole_folder, write_tensors
from vlkge.new_run import create_run
from vlkge.run import Run, load_run
from vlkge.train import fit, resolve

ART = [f"artwork:{i:02d}" for i in range(30)]
FACTS = [(art, "by", f"artist:{i % 3}") for i, art in enumerate(ART)]
DATASET = make_dataset({"train": FACTS[:20], "validation": FACTS[20:25], "test": FACTS[25:]})


def new_run(folder: Path, *settings: str, name: str = "run", overwrite: bool = False) -> Run:
    if not (folder / "features").exists():
        save_features(folder / "features", [make_features(DATASET, "image", ART, 6)])
    plan = load_experiment(None, [f"features={folder / 'features'}", "model.dim=4", "training.batch_size=8", *settings])
    return create_run(folder / name, resolve(plan, DATASET), DATASET, overwrite)


def trained(folder: Path, epochs: int = 2, **options) -> Run:
    run = new_run(folder, f"training.epochs={epochs}", **options)
    list(fit(run))
    return run


def test_a_run_read_back_is_the_run_that_was_trained(tmp_path: Path) -> None:
    run = trained(tmp_path)
    again = load_run(run.folder)
    assert (again.experiment, again.record) == (run.experiment, run.record)
    indices = torch.arange(len(DATASET.entities))
    assert torch.equal(again.load_model().represent(indices), run.load_model().represent(indices))


def test_a_second_process_that_would_train_it_is_refused(tmp_path: Path) -> None:
    run = new_run(tmp_path, "training.epochs=3")
    training = fit(run)
    next(training)
    with pytest.raises(LockedError, match="is in use by process"):
        next(fit(load_run(run.folder)))
    assert len(list(training)) == 2
    assert list(fit(load_run(run.folder), 4))


def test_it_is_read_while_it_is_trained(tmp_path: Path) -> None:
    """What was read of it names weights that the next epoch has replaced."""
    run = new_run(tmp_path, "training.epochs=30", "training.learning_rate=0.5")
    training = fit(run)
    next(training)
    read = load_run(run.folder)
    assert any(epoch.best for epoch in training)
    assert not (run.folder / read.record["weights"]["file"]).exists()
    indices = torch.arange(len(DATASET.entities))
    assert torch.equal(read.load_model().represent(indices), run.load_model().represent(indices))


def test_a_folder_that_cannot_take_its_place_leaves_the_one_that_was_there(tmp_path: Path, monkeypatch) -> None:
    place, moves = tmp_path / "place", []
    (place / "former").mkdir(parents=True)
    rename = Path.rename

    def refuse_the_second(path: Path, target: Path) -> Path:
        moves.append(path)
        if len(moves) == 2:
            raise OSError("Directory not empty")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_the_second)
    with pytest.raises(OSError, match="not empty"), whole_folder(place) as new:
        (new / "newer").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert [path.name for path in place.iterdir()] == ["former"]


def test_validation_of_relations_that_are_not_evaluated_is_none(tmp_path: Path) -> None:
    info = {name: replace(one, evaluated=False) for name, one in DATASET.relation_info.items()}
    silent = replace(DATASET, relation_info=info)
    plan = load_experiment(None, ["model.dim=4", "model.modalities=[structural]"])
    run = create_run(tmp_path / "run", resolve(plan, silent), silent)
    assert [(record.validation_mrr, record.best) for record in fit(run, 2)] == [(None, True)] * 2


def test_it_needs_nothing_but_its_own_folder(tmp_path: Path) -> None:
    run = trained(tmp_path)
    (tmp_path / "features").rename(tmp_path / "gone")
    assert load_run(run.folder).load_model() is not None


def test_it_keeps_the_weights_of_the_best_epoch_alone_beside_the_last_checkpoint(tmp_path: Path) -> None:
    run = trained(tmp_path, epochs=4)
    best = max(run.progress["history"], key=lambda epoch: epoch["validation_mrr"])["epoch"]
    names = sorted(path.name for path in run.folder.glob("*.safetensors"))
    assert names == ["checkpoint-0004.safetensors", f"weights-{best:04d}.safetensors"]
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 4


def test_what_a_killed_training_had_begun_to_write_is_cleared_away(tmp_path: Path) -> None:
    run = trained(tmp_path, epochs=1)
    begun = run.folder / ".checkpoint-0002.safetensors.99999.tmp"
    begun.write_bytes(b"half")
    list(fit(load_run(run.folder), 2))
    assert not begun.exists()


def test_every_altered_byte_is_noticed(tmp_path: Path) -> None:
    run = trained(tmp_path)
    unsealed = ("metrics.jsonl", "lock")
    for path in sorted(path for path in run.folder.rglob("*") if path.is_file() and path.name not in unsealed):
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 7)):
            path.unlink()  # features are hard links: never write through them
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(MkgError) as caught:
                read_all(run.folder)
            assert caught.value.exit_code == 4, path
        path.unlink()
        with pytest.raises(MkgError):
            read_all(run.folder)
        path.write_bytes(whole)
    read_all(run.folder)


def read_all(folder: Path) -> None:
    run = load_run(folder)
    run.load_model()
    run.load_checkpoint()


@pytest.mark.parametrize("name", ["weights", "run"])
def test_a_pickle_is_refused_and_never_opened(tmp_path: Path, name: str) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "opened",))

    run = trained(tmp_path)
    place = run.folder / run.record["weights"]["file"] if name == "weights" else tmp_path / "model.pt"
    place.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RunError, match="refused, not opened"):
        read_all(run.folder if name == "weights" else place)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights | {"relations": weights["relations"] * float("nan")}, "not finite"),
        (lambda weights: weights | {"relations": weights["relations"][:, :3]}, r"relations is \[1, 3\]"),
        (lambda weights: weights | {"surprise": torch.ones(1)}, "surprise"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change, said: str) -> None:
    run = trained(tmp_path)
    entry = run.record["weights"]
    digest = write_tensors(run.folder / entry["file"], change(load_file(run.folder / entry["file"])))
    forged = replace(run, record=run.record | {"weights": entry | {"sha256": digest}})
    with pytest.raises(RunError, match=said):
        forged.load_model()


@pytest.mark.parametrize("stop_at", range(6))
def test_a_crash_at_any_write_of_an_epoch_leaves_the_run_before_or_after_it(
    tmp_path: Path, monkeypatch, stop_at: int
) -> None:
    run = trained(tmp_path, epochs=1)
    before, steps = load_run(run.folder).progress["epoch"], iter(range(100))

    def fragile(function):
        def step(*args, **kwargs):
            if next(steps) >= stop_at:
                raise OSError(28, "No space left on device")
            return function(*args, **kwargs)

        return step

    for name in ("write_tensors", "write_sealed_json", "write_durably"):
        monkeypatch.setattr(run_module, name, fragile(getattr(run_module, name)))
    with suppress(OSError):
        list(fit(run, 2))
    monkeypatch.undo()
    read_all(run.folder)
    assert load_run(run.folder).progress["epoch"] in (before, before + 1)
    list(fit(load_run(run.folder), 2))
    straight = trained(tmp_path, epochs=2, name="straight")
    assert load_run(run.folder).record["checkpoint"]["sha256"] == straight.record["checkpoint"]["sha256"]


def test_a_run_that_is_there_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(UsageError, match="--overwrite"):
        new_run(tmp_path)
    assert new_run(tmp_path, overwrite=True).progress == {}


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is no run"):
        new_run(tmp_path, overwrite=True)
    assert (tmp_path / "run" / "thesis.tex").exists()


def test_a_folder_that_is_no_run_and_a_run_without_an_epoch_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        load_run(tmp_path / "nothing")
    with pytest.raises(RunError, match="vlkge resume"):
        new_run(tmp_path).load_model()


def test_a_full_disk_is_told_as_one_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch; from pathlib import Path; from vlkge.files import write_tensors\n"
        "from mkg_builder.errors import StorageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: write_tensors(Path(sys.argv[1]) / 'x.safetensors', {'a': torch.zeros(100_000)})\n"
        "except StorageError as error: print(error.exit_code, error)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("5 ")
    assert "make room" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_being_trained_is_not_replaced(tmp_path: Path) -> None:
    run = new_run(tmp_path, "training.epochs=3")
    training = fit(run)
    next(training)
    with pytest.raises(LockedError, match="is in use by process"):
        new_run(tmp_path, "model.dim=2", overwrite=True)
    assert len(list(training)) == 2
    assert load_run(run.folder).progress["epoch"] == 3
    assert new_run(tmp_path, "model.dim=2", overwrite=True).progress == {}


def test_of_two_that_make_one_folder_the_later_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with pytest.raises(UsageError, match="made by another process"), whole_folder(place, replace=False) as later:
        (later / "later").touch()
        with whole_folder(place, replace=False) as first:
            (first / "first").touch()
            first.rename(tmp_path / "aside")  # both are of this process, and would share the place beside
            (tmp_path / "aside").rename(place)
            first.mkdir()
    assert [path.name for path in place.iterdir()] == ["first"]


def test_a_run_that_others_went_on_with_goes_on_from_there(tmp_path: Path) -> None:
    run = new_run(tmp_path, "training.epochs=4")
    stale = load_run(run.folder)
    list(fit(run, 3))
    assert [epoch.epoch for epoch in fit(stale)] == [4]
    straight = new_run(tmp_path, "training.epochs=4", name="straight")
    list(fit(straight))
    assert stale.record["checkpoint"] == straight.record["checkpoint"]


def test_a_run_in_whose_place_another_lies_is_not_trained(tmp_path: Path) -> None:
    stale = new_run(tmp_path)
    new_run(tmp_path, "model.dim=2", overwrite=True)
    with pytest.raises(RunError, match="holds another run by now"):
        next(fit(stale))


DEAD = 2**22 + 7  # no process has such a number


@pytest.mark.parametrize("how", ["read", "made"])
def test_what_was_moved_aside_by_a_process_that_was_killed_takes_its_place_again(tmp_path: Path, how: str) -> None:
    run = trained(tmp_path)
    aside, begun = (tmp_path / f".run.{DEAD}@{socket.gethostname()}.{kind}" for kind in ("old", "tmp"))
    run.folder.rename(aside)
    begun.mkdir()
    if how == "read":
        assert load_run(run.folder).progress["epoch"] == 2
    else:
        with suppress(ZeroDivisionError), whole_folder(run.folder):
            1 / 0  # noqa: B018
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features", "run"]
    assert load_run(run.folder).load_model() is not None


def test_what_another_process_is_making_is_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / f".place.{os.getppid()}@{socket.gethostname()}.tmp", tmp_path / f".place.{DEAD}@elsewhere.tmp"]
    for other in others:
        other.mkdir()
    with whole_folder(tmp_path / "place") as new:
        (new / "made").touch()
    assert all(other.is_dir() for other in others)


def test_a_link_to_a_run_stays_a_link(tmp_path: Path) -> None:
    new_run(tmp_path, name="far")
    (tmp_path / "near").symlink_to("far")
    new_run(tmp_path, "model.dim=2", name="near", overwrite=True)
    assert (tmp_path / "near").is_symlink()
    assert load_run(tmp_path / "far").experiment.model.dim == 2


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_the_folder_that_one_is_in_is_no_place_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is the folder that you are in, or holds it"), whole_folder(Path(place)):
        pass


def test_a_file_that_goes_while_it_is_read_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    digest = write_tensors(path, {"a": torch.ones(3)})

    def gone(opened: Path) -> str:
        opened.unlink()
        return digest

    monkeypatch.setattr(files, "file_sha256", gone)
    with pytest.raises(RunError, match="is missing; again"):
        read_tensors(path, digest, RunError, "again")
    with pytest.raises(RunError, match="is missing; again"):
        read_tensors(path, digest, RunError, "again")


def test_lines_that_a_kill_left_out_are_made_up_for(tmp_path: Path) -> None:
    run = trained(tmp_path, epochs=2)
    (run.folder / "metrics.jsonl").unlink()
    assert list(fit(load_run(run.folder), 2)) == []
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"files": {"../../evil.txt": "0" * 64}}, r"it names '\.\./\.\./evil\.txt'"),
        ({"files": {"/etc/passwd": "0" * 64}}, "it names '/etc/passwd'"),
        ({"weights": {"file": "../w.safetensors", "sha256": ""}}, "it names '../w.safetensors'"),
        ({"weights": None, "progress": "none"}, "is no record of a run"),
        ({"files": None}, "is no record of a run"),
    ],
)
def test_a_record_that_names_what_no_training_writes_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    run = trained(tmp_path, epochs=1)
    files.write_sealed_json(run.folder / "run.json", {**run.record, **change})
    with pytest.raises(RunError, match=said):
        load_run(run.folder)


def test_a_record_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    run = trained(tmp_path, epochs=1)
    files.write_sealed_json(run.folder / "run.json", {k: v for k, v in run.record.items() if k != "weights"})
    with pytest.raises(RunError, match="is no record of a run"):
        load_run(run.folder)
