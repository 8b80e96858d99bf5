"""Fixtures: the demo release, the stand-in sources of ../shared where they are, a site made of a dictionary."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["COLUMNS"] = "200"  # before rich is loaded: a test's process has no terminal whose width would count
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as vlkge sets it, before torch is loaded
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))  # the commands that tests start share the cores too

import hypothesis
import pytest
import torch

from mkg_builder.build import Job, build
from tests.local_hub import TOKEN, Hub, local_hub

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

torch.set_num_threads(THREADS)
hypothesis.settings.register_profile("house", deadline=None)  # timing never decides a test
hypothesis.settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shared", action="store_true", help="Also run the tests that need ../shared; fail without it.")
    parser.addoption("--whole", action="store_true", help="Tests that try a part of what FAULTS.md counts try it all.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--shared"):
        if not SHARED.is_dir():
            raise pytest.UsageError(f"--shared: there is no {SHARED}")
        return
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason="needs the stand-in sources of ../shared: make test-shared"))


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether a test that may try few cases or many tries many."""
    return bool(request.config.getoption("--whole"))


@pytest.fixture(scope="session")
def demo_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole demo graph, built once."""
    return build(Job("demo", tmp_path_factory.mktemp("demo"))).release


@pytest.fixture
def two_threads() -> Iterator[None]:
    """What is summed in parallel is summed by two threads, whatever this process was given."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty Hub; huggingface_hub in this process talks to it, with a cache of its own."""
    import huggingface_hub
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    with local_hub() as server:
        for name, value in (
            ("ENDPOINT", server.url), ("HF_HUB_CACHE", str(tmp_path / "hub-cache")), ("HF_HUB_DISABLE_XET", True),
            ("HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"),
        ):  # fmt: skip
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        disable_progress_bars()
        yield server
        enable_progress_bars()
        huggingface_hub.close_session()


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """A world of two artists with pictures and some without."""
    yield from _serve(tmp_path_factory.mktemp("world"), "--only", "claude-monet,vincent-van-gogh,hilma-af-klint",
                      "--max-works", "12")  # fmt: skip


def _serve(folder: Path, *options: str) -> Iterator[dict]:
    ready, log = folder / "ready.json", folder / "requests.jsonl"
    command = [sys.executable, str(SHARED / "world" / "serve.py"), "--port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen([*command, "--log", str(log), *options], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield {**json.loads(ready.read_text()), "log": log}
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """A world for one test alone."""
    yield from _serve(tmp_path_factory.mktemp("world"), "--only", "claude-monet,hilma-af-klint", "--max-works", "30")


def run_command(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run mkgb or vlkge as its users do, in a process of its own."""
    command = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
    env = {**os.environ, "COLUMNS": "200", "HF_HUB_OFFLINE": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)
