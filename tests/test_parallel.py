"""Two processes train as one: the same batches, the same negatives, the same steps, up to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import painted
from tests.test_trainer import features
from vlkge.encode import encode_release
from vlkge.parallel import Group
from vlkge.run import load_run

__all__ = ["features"]

ROOT = Path(__file__).parent.parent
TRAIN = """
import sys
from pathlib import Path
from tests.test_trainer import DATASET
from vlkge.config import load_experiment
from vlkge.parallel import Group
from vlkge.new_run import create_run
from vlkge.run import load_run
from vlkge.train import fit, resolve
folder, features, *settings = sys.argv[1:]
group = Group.join()
if group.rank == 0:
    plan = load_experiment(None, [f"features={features}", "model.dim=4", "training.batch_size=7", *settings])
    create_run(Path(folder), resolve(plan, DATASET), DATASET)
group.wait()
list(fit(load_run(Path(folder)), 3))
group.leave()
tasks = Path("/proc/self/task")
if tasks.is_dir():
    # a thread of the group that is still there when Python ends may end the process with SIGABRT
    assert not [name for path in tasks.glob("*/comm") if "gloo" in (name := path.read_text())]
"""


def trained(folder: Path, features: Path, processes: int, *settings: str) -> list[dict]:
    script = folder.with_suffix(".py")
    script.write_text(TRAIN)
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *many, str(script), str(folder), str(features), *settings]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "settings",
    [
        ("model.dropout=0.0", "model.structural=own", "training.corrupt=both", "training.negative_pool=entities"),
        ("model.dropout=0.0", "training.loss=softmax", "training.negatives=all", "model.reciprocal=true"),
        ("model.dropout=0.0", "training.loss=softmax", "model.reciprocal=true", "model.observed=[degree,links]"),
        # the last batch is of one triple, so that one process has nothing of it
        ("model.dropout=0.0", "training.regularizer=n3", "training.regularizer_weight=0.1", "training.batch_size=19"),
    ],
)
def test_two_processes_give_the_metrics_of_one(settings: tuple[str, ...], features: Path, tmp_path: Path) -> None:
    alone = trained(tmp_path / "alone", features, 1, *settings)
    together = trained(tmp_path / "together", features, 2, *settings)
    for one, two in zip(alone, together, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["validation_mrr"] == pytest.approx(one["validation_mrr"], abs=1e-3)


def test_parts_of_a_batch_cover_it_once() -> None:
    parts = [list(range(10))[Group(rank, 3).part(10)] for rank in range(3)]
    assert [row for part in parts for row in part] == list(range(10))


def test_torchrun_runs_the_commands_to_a_clean_end(tmp_path: Path) -> None:
    release = painted.write_release(tmp_path / "release", "1.0.0", whole=True)
    encode_release(release, painted.ENCODERS, tmp_path / "alone")
    encoders = [word for spec in painted.ENCODERS for word in ("--encoder", spec)]
    many = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vlkge"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for command in (
        ["encode", release, *encoders, "--out", "together"],
        ["train", "--dataset", release, "--features", "together", "--epochs", "2", "--dim", "8", "--out", "run"],
    ):
        words = [*many, *command, "--json", "--quiet"]
        ended = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stderr
        told = json.loads(ended.stdout)  # one of them speaks
        assert [modality["resumed"] for modality in told.get("modalities", ())] == [0] * len(told.get("modalities", ()))
    alone, together = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
                       for name in ("alone", "together"))  # fmt: skip
    assert alone == together
    assert load_run(tmp_path / "run").progress["epoch"] == 2
