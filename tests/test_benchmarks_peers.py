import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_release import write_tiny_release

ROOT = Path(__file__).parent.parent
TINY = [
    "--dim",
    "8",
    "--batch-size",
    "32",
    "--negatives",
    "4",
    "--epochs",
    "1",
    "--configurations",
    "distmult+features",
]


def benchmark(release: Path, workspace: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The benchmark of peers without any peer, which would have to be installed."""
    command = [sys.executable, ROOT / "benchmarks" / "peers.py", "--data", release, "--workspace", workspace]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, "--no-pykeen", *options], capture_output=True, text=True, env=environment, timeout=250, check=False
    )


def release(folder: Path, policy: str) -> Path:
    dice = random.Random(0)
    facts = sorted({(f"word:{dice.randrange(40)}", "r", f"word:{dice.randrange(40)}") for _ in range(300)})
    splits = {"train": facts[:200], "validation": facts[200:220], "test": facts[220:]}
    return write_tiny_release(folder, splits, policy=policy)


def test_the_peers_table_says_what_was_measured_and_what_was_not(tmp_path: Path) -> None:
    ended = benchmark(release(tmp_path / "release", "transductive"), tmp_path, *TINY, "--target-mrr", "0.01")
    assert ended.returncode == 0, ended.stderr
    ratios, seconds = (next(line for line in ended.stdout.splitlines() if line.startswith(f"| {name} |"))
                       for name in ("times as long", "seconds"))  # fmt: skip
    assert "epoch: official / ours" in ratios
    assert "validation: PyKEEN" in seconds
    row = next(line.split(" | ") for line in ended.stdout.split(seconds)[1].splitlines() if "distmult+features" in line)
    assert [float(row[1]) > 0, *row[2:4]] == [True, "–", "–"]
    assert "official: not measured; git clone https://github.com/thefth/vl-kge" in ended.stdout
    assert "| ours | 1 |" in ended.stdout


@pytest.mark.parametrize("policy", ["inductive"])
def test_peers_are_not_compared_on_what_they_cannot_do(tmp_path: Path, policy: str) -> None:
    ended = benchmark(release(tmp_path / "release", policy), tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "is inductive; the peers are compared on a transductive graph" in ended.stderr
