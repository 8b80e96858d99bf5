"""A few rounds of `benchmarks/kill_points.py`, which does them all."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_build_that_is_killed_or_stopped_ends_as_an_undisturbed_one() -> None:
    asked = ["--works", "2", "--calls", "rename", "--random", "1", "--stop", "2", "--together", "1"]
    command = [sys.executable, ROOT / "benchmarks" / "kill_points.py", *asked]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
                          timeout=250, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(\d+) of (\d+) (?:rounds|stopped|as)", done.stdout) == [
        ("4", "4"),
        ("1", "1"),
        ("1", "1"),
        ("4", "4"),
    ]
    assert (
        "of 1 rounds: 1 times the second was told who is at work; 1 times the first was killed; 1 times" in done.stdout
    )
