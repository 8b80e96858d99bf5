"""A Hub on this machine, for tests that upload and download; data sets and models."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
SERVER = ROOT.parent / "shared" / "hub" / "serve.py"

# the stand-in knows data sets only; a model is served from the data set of the same name
_SERVE = """
import runpy, sys
port, place = sys.argv[1:]
hub = runpy.run_path(place, run_name="hub")
class Both(hub["H"]):
    def route(self, path, query, data):
        path = path.replace("/api/models/", "/api/datasets/")
        known = path.startswith(("/api/", "/datasets/", "/lfs-put/"))
        return super().route(path if known else "/datasets" + path, query, data)
server = hub["ThreadingHTTPServer"](("127.0.0.1", int(port)), Both)
server.serve_forever()
"""


@contextmanager
def local_hub(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which huggingface_hub talks to a Hub of our own, empty; its cache lies in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", _SERVE, str(port), str(SERVER)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield {
            "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(folder), "HF_TOKEN": "hf_test",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("the stand-in Hub does not answer")


def run_python(script: str, environment: dict[str, str]) -> str:
    """What a script prints, run in a process of its own: huggingface_hub reads its environment at import."""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **environment},
        cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout
