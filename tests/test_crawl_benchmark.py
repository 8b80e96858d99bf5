import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import requests

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


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark's made-up WikiArt with its clock."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("simulation.site")


def test_no_virtual_time_passes_between_being_allowed_to_ask_and_asking(site: ModuleType) -> None:
    """A thread may lack a core then; if the clock went on, it would ask inside a Retry-After that came meanwhile."""
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


def test_an_answer_is_back_when_the_log_says_so_however_slow_the_log(
    site: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the clock went on while a line is written, a Retry-After would reach the crawl after the logged time."""
    clock, log, writing, back = site.VirtualClock(0.0), tmp_path / "log", threading.Event(), list[float]()
    transport = site.Transport(site.Site(0, 3, 9), clock, 1.0, "0", log)
    write: Callable[[int, bytes], int] = os.write

    def write_slowly(handle: int, line: bytes) -> int:
        writing.set()
        time.sleep(0.2)
        return write(handle, line)

    def ask() -> None:
        transport.send(requests.Request("GET", "https://www.wikiart.org/robots.txt").prepare())
        back.append(clock.now())
        clock.sleep(1)

    monkeypatch.setattr(site.os, "write", write_slowly)
    asking = threading.Thread(target=ask)
    asking.start()
    writing.wait()
    clock.sleep(20)
    asking.join()

    assert back == [pytest.approx(float(log.read_text().split()[2]), abs=1e-5)]
