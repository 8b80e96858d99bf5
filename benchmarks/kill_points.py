"""Kills a small build at every write, fsync and rename that it does, lets it go on, and compares the result.

    python benchmarks/kill_points.py [--every 1] [--calls write,fsync,rename] [--fault KILL|ENOSPC|EIO]

For each kind of system call and each n: the build runs under strace, which kills it at its n-th call (or makes that
call fail); then the same build runs undisturbed in the same workspace. The release must have the content hash and the
manifest of a build that nobody disturbed. Prints `N of N` per kind of call. Needs strace.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "syncfs", "rename", "unlink", "ftruncate", "mkdir", "rmdir")

SOURCE = '''
import io
from collections.abc import Iterator

from PIL import Image

from mkg_builder.graph import Entity, Statement, Triple
from mkg_builder.source import Request, Source, SourceContext


class Works(Source):
    """A few works with pictures of one colour each."""

    def fetch(self, context: SourceContext) -> None:
        for number in range(WORKS):
            if not context.has(f"works:{number}"):
                buffer = io.BytesIO()
                Image.linear_gradient("L").rotate(number * 7).save(buffer, "PNG")
                context.put(f"works:{number}", buffer.getvalue(), "image/png")

    def read(self, context: SourceContext) -> Iterator[Statement]:
        yield Entity("artist:a", "artist", "A", sources=(context.name,))
        for number in range(WORKS):
            image = f"works:{number}" if context.get(Request(f"works:{number}", "")).ok else None
            work = f"artwork:{number}"
            yield Entity(work, "artwork", f"Work {number}", image=image, sources=(context.name,))
            yield Triple(work, "isCreatedByArtist", "artist:a", context.name)
'''

RECIPE = {
    "name": "killed", "title": "Killed", "version": "1.0.0", "license": "cc0-1.0", "description": "Made up.",
    "sources": {"works": {"use": "works.py:Works"}},
    "types": {"artwork": {"image": True}, "artist": {}},
    "relations": {"isCreatedByArtist": {"domain": "artwork", "range": "artist"}},
    "split": {"policy": "inductive", "unseen": "artwork", "validation": 0.2, "test": 0.2},
}  # fmt: skip


def build(folder: Path, workspace: Path, *tracing: str) -> subprocess.CompletedProcess[str]:
    """Run the build, traced or not."""
    command = [*tracing, sys.executable, "-m", "mkg_builder", "build", str(folder / "killed.yaml"),
               "--workspace", str(workspace), "--json", "--quiet"]  # fmt: skip
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def manifest(workspace: Path) -> bytes:
    """The manifest of the finished release, without the times of the snapshot."""
    found = json.loads((workspace / "releases" / "killed-1.0.0" / "manifest.json").read_text())
    found["snapshot"].pop("first")
    found["snapshot"].pop("last")
    found["files"].pop("README.md", None)
    found["files"].pop("croissant.json", None)
    return json.dumps(found, sort_keys=True).encode()


def attempts(folder: Path, call: str, fault: str, every: int, expected: bytes) -> Counter[str]:
    """Disturb the n-th call for every n, until the build makes no such call any more."""
    outcomes: Counter[str] = Counter()
    inject = "signal=SIGKILL" if fault == "KILL" else f"error={fault}"
    for number in range(1, 100_000, every):
        workspace = folder / "work"
        shutil.rmtree(workspace, ignore_errors=True)
        traced = build(folder, workspace, "strace", "-f", "-qq", "-o", str(folder / "trace"),
                       "-e", f"trace={call}", "-e", f"inject={call}:{inject}:when={number}")  # fmt: skip
        if not any(sign in (folder / "trace").read_text() for sign in ("INJECTED", "killed by SIGKILL")):
            return outcomes
        silent = fault != "KILL" and traced.returncode == 0
        again = build(folder, workspace)
        good = again.returncode == 0 and manifest(workspace) == expected and not silent
        outcomes["tried"] += 1
        outcomes["good"] += good
        if not good:
            print(f"{call} {number}: first exit {traced.returncode}, then {again.returncode}: {again.stderr[-300:]}")
    return outcomes


def main() -> None:
    """Try every call and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--calls", default=",".join(CALLS))
    parser.add_argument("--fault", default="KILL", choices=("KILL", "ENOSPC", "EIO"))
    parser.add_argument("--works", type=int, default=6)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    (folder / "works.py").write_text(f"WORKS = {asked.works}\n{SOURCE}")
    (folder / "killed.yaml").write_text(yaml.safe_dump(RECIPE))
    undisturbed = build(folder, folder / "whole")
    if undisturbed.returncode:
        sys.exit(undisturbed.stderr)
    expected = manifest(folder / "whole")
    for call in asked.calls.split(","):
        found = attempts(folder, call, asked.fault, asked.every, expected)
        print(f"{asked.fault} at {call}: {found['good']} of {found['tried']} as undisturbed", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
