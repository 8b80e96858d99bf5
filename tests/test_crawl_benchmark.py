import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def crawl() -> dict:
    """A small simulated crawl with faults, killed five times."""
    command = [sys.executable, ROOT / "benchmarks" / "crawl.py", "--artworks", "200", "--artists", "12", "--kills", "5"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, env=environment, timeout=250, check=False
    )
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout)


def test_a_crawl_that_is_killed_and_disturbed_ends_as_an_undisturbed_one(crawl: dict) -> None:
    assert crawl["kills"] == 5
    assert crawl["faults"] > 10
    assert crawl["answers"] > 500
    assert [name for name, kept in crawl["promises"].items() if not kept] == []
