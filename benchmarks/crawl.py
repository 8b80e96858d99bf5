"""A whole crawl of WikiArt, simulated: killed, resumed, disturbed by faults, and compared with an undisturbed one.

    python benchmarks/crawl.py [--artworks 216564] [--artists 4000] [--kills 20] [--faults 0.05] [--seed 0]
                               [--workspace DIR] [--json]

The recipe is wikiart-v1 with its limits; the records are also limited as by the site's keyed API (10 in 2.5 s, 400 an
hour), so that they alone take 23 virtual days. The site is made up from the seed and answers inside the process; the
clock jumps instead of waiting. The crawl runs in a process of its own, which is killed with SIGKILL at random moments,
every fourth time while it resumes, and is started again at once. Then `mkgb build --offline` builds both snapshots.
Exit code 1 where a promise is not kept. Linux only.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from simulation.checks import Asked, asked_too_soon, read_log, repeats, worst_windows

from mkg_builder.context import WORKERS
from mkg_builder.layers import find_recipe
from mkg_builder.snapshot import Snapshot
from mkg_builder.workshop import Job, Workshop

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
API_LIMITS = {"www.wikiart.org/en/App/Painting/ImageJson/*": {"windows": [[10, 2.5], [400, 3600]]}}
EXPECTED_FROM = 160_000
"""So many artworks are needed for the recipe's expectations."""

MEMORY = 400.0
"""MiB that a crawl may take."""

MOST_RUNS = 100
POLL = 0.01


class Crawl:
    """One crawl, from the first request to the last: what was seen of its runs."""

    def __init__(self, folder: Path, options: argparse.Namespace, faults: float) -> None:
        self.folder, self.faults = folder, faults
        self._options = options
        self.snapshot = folder / "snapshots" / "wikiart-v1"
        self.begins = [0.0]
        self.ends: list[int] = []
        self.codes: list[int] = []
        self.killed = self.killed_resuming = self.requests = 0
        self.seconds = self.peak = 0.0
        self.resume = 1.0
        self.memory: dict[int, list[tuple[int, float]]] = {}
        folder.mkdir(parents=True)
        self.recipe = write_recipe(folder, options.artworks)

    def finish(self, kills: list[float | None]) -> None:
        """Run until all is fetched; killed at so many requests, or for None while it resumes."""
        left = list(kills)
        rng = random.Random(f"{self._options.seed}:kills")
        for _ in range(MOST_RUNS):
            kill = left[0] if left else float("inf")
            code = self.run(kill, rng.uniform(0, self.resume) if kill is None else None)
            if code == -9:
                left.pop(0)
            elif code == 0:
                return
            elif code != 3:
                sys.exit(f"the crawl ended with exit code {code}")
        sys.exit(f"the crawl is not finished after {MOST_RUNS} runs")

    def run(self, kill_at: float | None, kill_after: float | None) -> int:
        """One run; its exit code."""
        number, began = len(self.codes), time.monotonic()
        log = self.folder / f"asked-{number}.log"
        fields = vars(self._options) | {"workspace": str(self.folder), "recipe": str(self.recipe), "run": number,
                                        "faults": self.faults, "begin": self.begins[-1]}  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "simulation.child", json.dumps(fields)], stdout=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{FOLDER}{os.pathsep}{ROOT}"},
        )  # fmt: skip
        seen = asked = 0
        while process.poll() is None:
            time.sleep(POLL)
            passed = time.monotonic() - began
            more = newlines(log, seen)
            if more and not asked and number:
                self.resume = passed
            seen, asked = seen + len(more), asked + more.count(b"\n")
            self.peak = max(self.peak, resident(process.pid, "VmHWM"))
            self._remember(number, self.requests + asked, resident(process.pid, "VmRSS"))
            if passed > kill_after if kill_after is not None else self.requests + asked >= (kill_at or 0):
                process.kill()
                process.wait()
                self.killed += 1
                self.killed_resuming += asked == 0
                break
        self.requests += asked + newlines(log, seen).count(b"\n")
        self.seconds += time.monotonic() - began
        self.ends.append((self.snapshot / "journal.jsonl").stat().st_size if self.snapshot.exists() else 0)
        self.begins.append(max([self.begins[-1], *(one.arrived for one in read_log(log, number))]))
        self.codes.append(process.returncode)
        return process.returncode

    def _remember(self, run: int, asked: int, mib: float) -> None:
        samples = self.memory.setdefault(run, [])
        if mib and asked > (samples[-1][0] if samples else self.requests) + 500:
            samples.append((asked, mib))

    def asked(self) -> list[Asked]:
        """Every request of every run."""
        return [one for run in range(len(self.codes)) for one in read_log(self.folder / f"asked-{run}.log", run)]

    def syncs(self) -> list[float]:
        """The seconds of every fsync."""
        logs = self.folder.glob("syncs-*.log")
        return [float(line) for log in logs for line in log.read_text().split("\n")[:-1]]

    def growth(self) -> float:
        """Bytes of memory that each request adds, in the longest run of the crawl's last half."""
        late = [[one for one in samples if one[0] > self.requests / 2] for samples in self.memory.values()]
        longest = max(late, key=len, default=[])
        if len(longest) < 2:
            return 0.0
        (first, before), (last, after) = longest[0], longest[-1]
        return (after - before) * 2**20 / (last - first)


def newlines(log: Path, seen: int) -> bytes:
    """What a log has got since so many bytes of it were seen."""
    if not log.exists():
        return b""
    with log.open("rb") as file:
        file.seek(seen)
        return file.read()


def resident(process: int, field: str) -> float:
    """MiB of memory that a process has (VmRSS), or had at most (VmHWM); 0 when it is gone."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(field)), 0.0)


def write_recipe(folder: Path, artworks: int) -> Path:
    """wikiart-v1 with the keyed API's limits; without its expectations where the site is small."""
    recipe = yaml.safe_load(find_recipe("wikiart-v1").read_text())
    recipe["sources"]["wikiart"]["limits"] |= API_LIMITS
    if artworks < EXPECTED_FROM:
        del recipe["expectations"]
        recipe["cleaning"]["min_frequency"] = {}
    path = folder / "wikiart-v1.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def build(crawl: Crawl) -> dict[str, Any]:
    """Build the snapshot offline: its content hash, seconds, peak memory."""
    command = [sys.executable, "-m", "mkg_builder", "build", str(crawl.recipe), "--workspace", str(crawl.folder)]
    began, peak = time.monotonic(), 0.0
    with (crawl.folder / "build.json").open("w+b") as output:
        process = subprocess.Popen([*command, "--offline", "--json", "--quiet"], stdout=output, cwd=ROOT)
        while process.poll() is None:
            time.sleep(POLL * 5)
            peak = max(peak, resident(process.pid, "VmHWM"))
        output.seek(0)
        told = json.loads(output.read() or b"{}")
    return {"content_sha256": told.get("content_sha256"), "seconds": time.monotonic() - began, "peak_mib": peak,
            "entities": told.get("entities"), "triples": told.get("triples")}  # fmt: skip


def moments(kills: int, requests: float, seed: int) -> list[float | None]:
    """When to kill: so often at a random number of requests, and after every third of these while it resumes."""
    rng = random.Random(f"{seed}:moments")
    resuming = kills // 4
    places = sorted(rng.uniform(0.01, 0.98) * requests for _ in range(kills - resuming))
    followed = set(rng.sample(range(len(places)), resuming))
    return [when for i, place in enumerate(places) for when in ((place, None) if i in followed else (place,))]


def report(disturbed: Crawl, undisturbed: Crawl) -> dict[str, Any]:
    """Everything that is measured and proved, as one document."""
    asked = disturbed.asked()
    shop = Workshop(Job(str(disturbed.recipe), disturbed.folder))
    limits = {**shop.sources["wikiart"].limits, **shop.recipe.sources["wikiart"].limits}
    twice = repeats(asked, disturbed.snapshot / "journal.jsonl", disturbed.ends)
    hashes = [Snapshot(crawl.snapshot).describe()["sha256"] for crawl in (disturbed, undisturbed)]
    syncs = disturbed.syncs()
    requests, virtual, resumed = disturbed.requests, disturbed.begins[-1] / 86400, time.monotonic()
    disturbed.run(float("inf"), None)
    resumed = time.monotonic() - resumed
    builds = [build(crawl) for crawl in (disturbed, undisturbed)]
    windows = worst_windows(asked, limits)
    promises = {
        "equal content hash": builds[0]["content_sha256"] == builds[1]["content_sha256"] is not None,
        "equal snapshot hash": hashes[0] == hashes[1],
        "no limit exceeded": all(most <= allowed for _, _, allowed, most in windows),
        "nothing asked inside a Retry-After": asked_too_soon(asked) == 0,
        "nothing kept asked again": twice.committed == 0,
        "a kill repeats what was in flight": twice.most_in_flight <= WORKERS,
        "a finished crawl asks nothing": disturbed.requests == requests,
        f"peak below {MEMORY:.0f} MiB": disturbed.peak <= MEMORY,
    }
    return {
        "load": os.getloadavg()[1], "answers": len(Snapshot(disturbed.snapshot)), "requests": requests,
        "faults": sum(one.outcome != "answered" for one in asked),
        "runs": len(disturbed.codes), "kills": disturbed.killed, "kills_while_resuming": disturbed.killed_resuming,
        "wall_seconds": disturbed.seconds, "wall_seconds_undisturbed": undisturbed.seconds,
        "virtual_days": virtual, "peak_mib": disturbed.peak, "growth_bytes_a_request": disturbed.growth(),
        "asked_again_kept": twice.committed, "asked_again_in_flight": twice.in_flight,
        "asked_too_soon": asked_too_soon(asked), "windows": windows, "syncs": len(syncs), "sync_seconds": sum(syncs),
        "resume_seconds": resumed, "builds": builds, "snapshot_sha256": hashes, "promises": promises,
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """The report as Markdown."""
    for name, value in found.items():
        if isinstance(value, int | float):
            print(
                f"| {name.replace('_', ' ')} | {value:,.1f} |"
                if isinstance(value, float)
                else f"| {name} | {value:,} |"
            )
    for pattern, seconds, allowed, most in found["windows"]:
        print(
            f"| {pattern}: most in {seconds:g} s | {most} of {allowed} |"
            if seconds
            else f"| at once | {most} of {allowed} |"
        )
    for name, one in zip(("disturbed", "undisturbed"), found["builds"], strict=True):
        print(f"| build, {name} | {one['seconds']:,.0f} s, {one['peak_mib']:,.0f} MiB, {one['content_sha256']} |")
    for promise, kept in found["promises"].items():
        print(f"{'kept' if kept else 'BROKEN'}: {promise}")


def main() -> None:
    """Crawl twice, build twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artworks", type=int, default=216_564)
    parser.add_argument("--artists", type=int, default=4_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--faults", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, help="A new folder, which is kept; else one that is removed.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = options.workspace or Path(tempfile.mkdtemp(prefix="crawl-"))
    temporary = options.workspace is None
    options.workspace = str(folder)
    try:
        undisturbed = Crawl(folder / "undisturbed", options, 0.0)
        undisturbed.finish([])
        disturbed = Crawl(folder / "disturbed", options, options.faults)
        expected = len(Snapshot(undisturbed.snapshot)) * (1 + options.faults)
        disturbed.finish(moments(options.kills, expected, options.seed))
        found = report(disturbed, undisturbed)
    finally:
        if temporary:
            shutil.rmtree(folder)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    sys.exit(0 if all(found["promises"].values()) else 1)


if __name__ == "__main__":
    main()
