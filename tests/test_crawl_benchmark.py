import importlib
import json
import os
import subprocess
import sys
import threading
import time
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


def test_no_virtual_time_passes_between_being_allowed_to_ask_and_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may lack a core then; if the clock went on, it would ask inside a Retry-After that came meanwhile."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    site = importlib.import_module("simulation.site")
    clock, allowed, asked = site.VirtualClock(0.0), threading.Event(), list[float]()

    def ask() -> None:
        clock.sleep(0)  # as the throttle, when it lets a request through
        allowed.set()
        time.sleep(0.2)
        asked.append(clock.now())
        clock.sleep(1)

    asking = threading.Thread(target=ask)
    asking.start()
    allowed.wait()
    clock.sleep(0.5)
    asking.join()

    assert asked == [0.0]
