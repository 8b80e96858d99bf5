"""Kills a small build at every write, fsync and rename that it does, lets it go on, and compares the result.

    python benchmarks/kill_points.py [--every 1] [--calls write,fsync,rename] [--fault KILL|ENOSPC|EIO]
    python benchmarks/kill_points.py --random 200       kills at random moments, five in a row, also while going on
    python benchmarks/kill_points.py --stop 100         SIGINT or SIGTERM, once or twice, at random moments
    python benchmarks/kill_points.py --together 100     two builds at once in one workspace, the first of them killed

For each kind of system call and each n: the build runs under strace, which kills it at its n-th call (or makes that
call fail); then the same build runs undisturbed in the same workspace. Every round must end with the manifest and the
bytes of a build that nobody disturbed and leave nothing half written behind; what stands in a release's place must
always be a whole one; a fault that is not a kill must end with exit code 5 and one line; what went into the journal
is never asked again. Prints `N of N`. Needs Linux and strace.

Every build is the real command in a process of its own, forked from one that has imported it all, so that a round
takes a fraction of a second and only the calls of the build are counted. Pictures are decoded in that same process:
the workers that decode them otherwise write no file.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd  # noqa: F401  (this and more is imported here so that no child has to)
import scipy.fftpack  # noqa: F401
import yaml
from PIL import Image

import mkg_builder.build
import mkg_builder.images
from mkg_builder import cli, picture_worker, schema, summary, terminal  # noqa: F401

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "syncfs", "rename", "unlink", "ftruncate", "mkdir", "rmdir")
STORAGE, LOCKED = 5, 6
KILLED = -signal.SIGKILL

SOURCE = '''
import io
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from mkg_builder.graph import Entity, Statement, Triple
from mkg_builder.source import Request, Source, SourceContext


class Works(Source):
    """A few works with pictures; what it asks for is noted as the name of a link, which is none of the calls tried."""

    def fetch(self, context: SourceContext) -> None:
        for number in range(WORKS):
            if not context.has(f"works:{number}"):
                Path(ASKED, f"{number} {time.time_ns()}").symlink_to("nowhere")
                time.sleep(PAUSE)
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


class OneProcess:
    """Decodes pictures without workers; stands in for `PicturePool`."""

    def __init__(self, workers: int = 1) -> None:
        """Take what a pool takes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is held."""

    def ask(self, body: bytes, longest_side: int | None = None) -> tuple[dict[str, Any], bytes]:
        """What a worker would answer."""
        return picture_worker.examine(body, longest_side)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """One after the other."""
        return map(function, items)


@dataclass
class Bench:
    """A folder with the recipe, one workspace at a time, and what an undisturbed build makes there."""

    folder: Path
    expected: dict[str, Any]

    def __post_init__(self) -> None:
        self.workspace, self.asked, self.told = (self.folder / name for name in ("work", "asked", "told"))

    def fresh(self) -> None:
        """An empty workspace."""
        for path in (self.workspace, self.asked):
            shutil.rmtree(path, ignore_errors=True)
        self.asked.mkdir()

    def start(self, stopped: bool = False, told: str = "told") -> int:
        """Fork a build and give its process id; `stopped` until it is told to go on."""
        child = os.fork()
        if child:
            return child
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(self.folder / told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        if stopped:
            os.kill(os.getpid(), signal.SIGSTOP)
        sys.argv = ["mkgb", "build", str(self.folder / "killed.yaml"), "--workspace", str(self.workspace), "--quiet"]
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # what comes when the command has just ended is none of its business
        code: object = 1
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = left.code
        finally:
            os._exit(code if isinstance(code, int) else 0)

    def build(self) -> int:
        """The exit code of an undisturbed build."""
        return ended(self.start())

    def traced(self, call: str, inject: str, number: int) -> tuple[int, bool]:
        """The exit code of a build whose n-th call is disturbed, and whether it came that far."""
        child = self.start(stopped=True)
        os.waitpid(child, os.WUNTRACED)
        trace = self.folder / "trace"
        strace = subprocess.Popen(["strace", "-f", "-qq", "-o", str(trace), "-p", str(child), "-e", f"trace={call}",
                                   "-e", f"inject={call}:{inject}:when={number}"])  # fmt: skip
        while "TracerPid:\t0" in Path(f"/proc/{child}/status").read_text():
            time.sleep(0.002)
        os.kill(child, signal.SIGCONT)
        code = ended(child)
        strace.wait()
        return code, code == KILLED or "INJECTED" in trace.read_text()

    def journal(self) -> set[str]:
        """The numbers of the works that the snapshot holds."""
        snapshots = self.workspace / "snapshots"
        folders = [path.parent for path in snapshots.rglob("journal.jsonl")] if snapshots.exists() else []
        lines = [line for folder in folders for line in (folder / "journal.jsonl").read_text().splitlines(True)]
        return {json.loads(line)["key"].split(":")[-1] for line in lines if line.endswith("\n")}

    def requests(self) -> list[str]:
        """The numbers of the works that were asked for, again and again."""
        return [path.name.split()[0] for path in self.asked.iterdir()]

    def faults(self, finished: bool = False) -> list[str]:
        """What is not as it must be: at any moment, or once a build has finished."""
        release = self.workspace / "releases" / "killed-1.0.0"
        found = []
        if release.exists():
            manifest = described(release)
            found += ["another release"] * (manifest != self.expected)
            found += [str(finding) for finding in schema.verify_files(release, manifest)] if manifest else []
        elif finished:
            found.append("no release")
        left = [*self.workspace.rglob(".new-*"), *self.workspace.rglob(".writing-*")] if finished else []
        return found + [f"{path} is left over" for path in left]


def ended(child: int) -> int:
    """Wait for a process; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def described(release: Path) -> dict[str, Any]:
    """The manifest of a release, without the times of its snapshot; empty where there is none."""
    path = release / schema.MANIFEST
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for time_of in ("first", "last"):
        found.get("snapshot", {}).pop(time_of)
    return found


def points(bench: Bench, call: str, fault: str, every: int) -> Counter[str]:
    """Disturb the n-th call for every n, until the build makes no such call any more."""
    outcomes: Counter[str] = Counter()
    inject = "signal=SIGKILL" if fault == "KILL" else f"error={fault}"
    for number in range(1, 100_000, every):
        bench.fresh()
        code, came = bench.traced(call, inject, number)
        if not came:
            break
        told = (bench.folder / "told").read_text()
        wrong = bench.faults()
        outcomes["tried"] += 1
        outcomes["said"] += fault != "KILL" and code == STORAGE and told.count("\n") == 1
        outcomes["silent"] += code == 0
        kept, before = bench.journal(), len(bench.requests())
        again = bench.build()
        wrong += [f"then exit {again}"] * (again != 0) + bench.faults(finished=True)
        repeated = len(bench.requests()) - before - (len(bench.journal()) - len(kept))
        wrong += [f"{repeated} requests repeated"] * (repeated != 0)
        outcomes["good"] += not wrong
        if wrong or (fault != "KILL" and code != STORAGE):
            print(f"  {call} {number}: exit {code}: {told[-300:]!r} {wrong}", flush=True)
    return outcomes


def at_random(bench: Bench, rounds: int) -> Counter[str]:
    """Five kills in a row at random moments of a build and of its goings on, then an undisturbed one."""
    chance = random.Random(1)
    bench.fresh()
    start = time.monotonic()
    bench.build()
    lasts = time.monotonic() - start
    outcomes: Counter[str] = Counter()
    for _ in range(rounds):
        bench.fresh()
        wrong = []
        for _ in range(5):
            kept = bench.journal()
            before = Counter(bench.requests())
            child = bench.start()
            time.sleep(chance.uniform(0, lasts))
            os.kill(child, signal.SIGKILL)
            outcomes["kills"] += ended(child) == KILLED
            wrong += bench.faults()
            wrong += [f"{number} asked again" for number in Counter(bench.requests()) - before if number in kept]
        again = bench.build()
        wrong += [f"then exit {again}"] * (again != 0) + bench.faults(finished=True)
        outcomes["extra"] += len(bench.requests()) - len(bench.journal())
        outcomes["tried"] += 1
        outcomes["good"] += not wrong
        if wrong:
            print(f"  {wrong}", flush=True)
    return outcomes


def stopped(bench: Bench, rounds: int) -> Counter[str]:
    """SIGINT or SIGTERM, once or twice, at a random moment; then an undisturbed build. `slowest` is in milliseconds."""
    chance = random.Random(2)
    bench.fresh()
    start = time.monotonic()
    bench.build()
    lasts = time.monotonic() - start
    outcomes: Counter[str] = Counter()
    for number in range(rounds):
        bench.fresh()
        sent = (signal.SIGINT, signal.SIGTERM)[number % 2]
        child = bench.start()
        while not bench.workspace.exists():  # until then it is Python that starts
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.9) * lasts)
        start = time.monotonic()
        for _ in range(1 + number // 2 % 2):
            os.kill(child, sent)
            time.sleep(0.01)
        code = ended(child)
        outcomes["slowest"] = max(outcomes["slowest"], round(1000 * (time.monotonic() - start)))
        told, wrong = (bench.folder / "told").read_text(), bench.faults()
        wrong += [f"exit {code}: {told!r}"] * (code not in (0, 128 + sent))
        wrong += [f"said {told!r}"] * (code == 128 + sent and f"mkgb: {terminal.INTERRUPTED}\n" not in told)
        outcomes["in time"] += code == 128 + sent
        wrong += [f"then exit {again}" for again in [bench.build()] if again] + bench.faults(finished=True)
        outcomes["tried"] += 1
        outcomes["good"] += not wrong
        if wrong:
            print(f"  {sent.name}: {wrong}", flush=True)
    return outcomes


def together(bench: Bench, rounds: int) -> Counter[str]:
    """Two builds started at once; the one that has the lock is killed, and the next has it at once."""
    outcomes: Counter[str] = Counter()
    for _ in range(rounds):
        bench.fresh()
        children = {bench.start(told=name): name for name in ("one", "two")}
        second, status = os.wait()
        (first,) = set(children) - {second}
        said = (bench.folder / children[second]).read_text()
        os.kill(first, signal.SIGKILL)
        outcomes["killed"] += ended(first) == KILLED
        outcomes["told"] += os.waitstatus_to_exitcode(status) == LOCKED and f"process {first} on" in said
        outcomes["free"] += bench.build() == 0 and not bench.faults(finished=True)
        outcomes["tried"] += 1
    return outcomes


def prepared(folder: Path, works: int, pause: float) -> Bench:
    """The bench with what an undisturbed build makes."""
    Image.init()
    mkg_builder.images.PicturePool = OneProcess  # type: ignore[assignment,misc]
    constants = f"WORKS, ASKED, PAUSE = {works}, {str(folder / 'asked')!r}, {pause}\n"
    (folder / "works.py").write_text(constants + SOURCE)
    (folder / "killed.yaml").write_text(yaml.safe_dump(RECIPE))
    bench = Bench(folder, {})
    bench.fresh()
    if bench.build():
        sys.exit((folder / "told").read_text())
    bench.expected = described(bench.workspace / "releases" / "killed-1.0.0")
    return bench


def main() -> None:
    """Try what was asked for and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--calls", default=None, help=f"of {','.join(CALLS)}; all, where nothing else is asked for")
    parser.add_argument("--fault", default="KILL", choices=("KILL", "ENOSPC", "EIO"))
    parser.add_argument("--works", type=int, default=6)
    parser.add_argument("--random", type=int, default=0, metavar="ROUNDS")
    parser.add_argument("--stop", type=int, default=0, metavar="ROUNDS")
    parser.add_argument("--together", type=int, default=0, metavar="ROUNDS")
    asked = parser.parse_args()
    if asked.calls is None:
        asked.calls = "" if asked.random or asked.stop or asked.together else ",".join(CALLS)
    with tempfile.TemporaryDirectory() as name:
        bench = prepared(Path(name), asked.works, 0.1 if asked.together else 0.0)
        for call in filter(None, asked.calls.split(",")):
            n = points(bench, call, asked.fault, asked.every)
            told = "" if asked.fault == "KILL" else f", {n['said']} with exit 5 and one line, {n['silent']} exit 0"
            print(f"{asked.fault} at {call}: {n['good']} of {n['tried']} as undisturbed{told}", flush=True)
        if asked.random:
            n = at_random(bench, asked.random)
            print(f"{n['good']} of {n['tried']} rounds as undisturbed; {n['kills']} kills; "
                  f"{n['extra']} requests repeated, none of them for what the journal held", flush=True)  # fmt: skip
        if asked.stop:
            n = stopped(bench, asked.stop)
            print(f"{n['good']} of {n['tried']} stopped rounds as undisturbed; {n['in time']} stopped on the way, "
                  f"the others had ended; the slowest took {n['slowest']} ms", flush=True)  # fmt: skip
        if asked.together:
            n = together(bench, asked.together)
            print(f"of {n['tried']} rounds: {n['told']} times the second was told who is at work; {n['killed']} times "
                  f"the first was killed; {n['free']} times the next build went through", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
