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
    rounds = re.findall(r"(\d+) of (\d+) (?:as|rounds|stopped)", done.stdout)
    assert (len(rounds), [good for good, tried in rounds if good != tried]) == (3, []), done.stdout
    assert re.search("of 1 rounds: 1 times .*; 1 times .*; 1 times", done.stdout)
