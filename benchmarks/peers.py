"""This library, the official VL-KGE code and PyKEEN at the same work, side by side in one run.

    python benchmarks/peers.py [--data FOLDER] [--official CLONE] [--no-pykeen] [--workspace workspace/bench] [--json]

FOLDER is a release folder of a transductive graph, or holds the files of `mkgb build wn9-img --files FOLDER`. CLONE is
a clone of github.com/thefth/vl-kge, which is not part of this project; its own data serve where no FOLDER is named.
Each peer is installed by pip into an environment of its own under the workspace, once. All get the same graph, batches,
filtered negatives per triple, loss, optimiser and threads; ours is measured before and after the peers, so that a
machine whose speed drifts shows.

The peers are timed on some batches of an epoch and some validation queries, and scaled: the cost of a batch and of a
query is constant by construction. Each is measured in several processes, of which the median counts: how much of its
time the official code spends on getting memory from the kernel is settled anew in each. `--full --peer-runs 1` times
all batches and queries, and races the official code for real, which takes hours.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from systems import environments
from systems.environments import System
from systems.tables import PEERS, markdown
from systems.task import FEATURE_SIZE, Task

from mkg_builder.schema import MANIFEST
from vlkge.dataset import Dataset, load_dataset

CONFIGURATIONS = ("distmult", "complex", "rotate", "transe", "distmult+features")
MODES = {"train": "train", "validation": "val", "test": "test"}
RACER = "distmult"
REPLICA = "our replica of its configuration"
SECONDS = ("epoch_seconds", "validation_seconds")
MEDIANS = (*SECONDS, "evaluation_gflops", "machine_gflops")
PEAKS = ("training_peak_mib", "peak_mib")
WIDE = 1.5
"""Runs of a peer that differ by more are told."""
Found = dict[str, Any]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a release, or the folder of the WN9-IMG files; default: the clone's")
    parser.add_argument("--official", type=Path, help="a clone of the official code; without it, its rows are empty")
    parser.add_argument("--pykeen", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--workspace", type=Path, default=Path("workspace/bench"))
    parser.add_argument("--configurations", default=",".join(CONFIGURATIONS), help="of scorers, +features or not")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--negatives", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--epochs", type=int, default=2, help="of ours, timed before the peers and again after")
    parser.add_argument("--peer-runs", type=int, default=3, help="how often each peer is measured, in a new process")
    parser.add_argument("--batches", type=int, default=4, help="of an epoch of the peers, timed")
    parser.add_argument("--validation-queries", type=int, default=128, help="of the peers, timed")
    parser.add_argument("--full", action="store_true", help="time all batches and queries; race the official code")
    parser.add_argument("--target-mrr", type=float, default=0.9, help="validation MRR to race to; 0: no race")
    parser.add_argument("--race-epochs", type=int, default=60, help="at most")
    parser.add_argument("--race-settings", nargs="*", metavar="KEY=VALUE",
                        default=["training.loss=softmax", 'training.negatives="all"'], help="of ours")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    asked = parser.parse_args()
    if not asked.data and not asked.official:
        parser.error("give --data FOLDER, or --official CLONE, in which `git lfs pull` has fetched the data")
    asked.data = asked.data or asked.official / "vlkge" / "data"
    return asked


def main() -> None:
    """Prepare, measure, print."""
    asked = parse()
    asked.workspace.mkdir(parents=True, exist_ok=True)
    release = find_release(asked.data.resolve(), asked.workspace.resolve())
    dataset = load_dataset(str(release))
    if dataset.setting != "transductive":
        sys.exit(f"{release} is {dataset.setting}; the peers are compared on a transductive graph, such as wn9-img")
    if asked.official and 2 * asked.negatives > len(dataset.entities):
        sys.exit(f"{asked.negatives} negatives of {len(dataset.entities)} entities: the official code may not end")
    task = first_task(asked, release, dataset)
    peers = {"official": environments.official(asked.official, asked.workspace) if asked.official else None,
             "PyKEEN": environments.pykeen(asked.workspace) if asked.pykeen else None}  # fmt: skip
    before = os.getloadavg()[0]
    rows = {name: measure(name, task, peers, asked) for name in asked.configurations.split(",")}
    raced = race(task, asked, rows, peers["official"]) if asked.target_mrr else []
    about = describe(dataset, asked, rows) | {"load_before": before, "load_after": os.getloadavg()[0]}
    report = {"about": about, "configurations": rows, "race": raced, "notes": notes(asked, rows)}
    print(json.dumps(report, indent=2) if asked.json else markdown(report))


def find_release(data: Path, workspace: Path) -> Path:
    """The release folder itself, or what `mkgb build wn9-img` makes of the published files."""
    if (data / MANIFEST).is_file():
        return data
    command = [sys.executable, "-m", "mkg_builder", "build", "wn9-img", "--files", str(data), "--json", "--quiet",
               "--workspace", str(workspace)]  # fmt: skip
    if not any(data.rglob("definitions.tsv")):
        command += ["--set", "sources.published.options.definitions=null"]  # no system reads texts here
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        sys.exit(f"{data} is no release, and wn9-img could not be built from it; see above")
    return Path(json.loads(built.stdout)["release"]).resolve()


def first_task(asked: argparse.Namespace, release: Path, dataset: Dataset) -> Task:
    """What every configuration has in common; the graph is also written as the official code reads it."""
    place = asked.workspace.resolve() / "triples.csv"
    with place.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("head", "relation", "tail", "mode"))
        for split, mode in MODES.items():
            for head, relation, tail in dataset.triples[split].tolist():
                names = dataset.entities[head], dataset.relations[relation], dataset.entities[tail]
                if any("," in name or '"' in name for name in names):
                    sys.exit(f"{names}: a comma or a quotation mark, which not every peer reads")
                writer.writerow((*names, mode))
    given = {name: getattr(asked, name) for name in ("dim", "batch_size", "negatives", "epochs", "threads", "seed")}
    part = {} if asked.full else {"batches": asked.batches, "queries": asked.validation_queries}
    return Task(str(place), str(release), str(asked.workspace.resolve()), **given, **part)


def measure(name: str, common: Task, peers: dict[str, System | None], asked: argparse.Namespace) -> Found:
    """One configuration: ours, the peers, ours again."""
    scorer, _, features = name.partition("+")
    task = replace(common, scorer=scorer, features=bool(features))
    found: Found = {}
    say(f"{name}: ours")
    before = environments.ours().measure(task)
    for peer in PEERS:
        system = peers[peer]
        say(f"{name}: {peer}" + (", all of it" if asked.full else ""))
        found[peer] = median_of([system.measure(task) for _ in range(asked.peer_runs)]) if system else {}
    say(f"{name}: ours again")
    after = environments.ours().measure(task)
    ours = median_of([before, after])
    if "refused" not in ours:
        ours["drift"] = after["epoch_seconds"] / before["epoch_seconds"]
    return {"ours": ours, **found}


def median_of(runs: list[Found]) -> Found:
    """All runs of one system as one; `spread` has the least and the largest of their seconds."""
    if refused := [run for run in runs if "refused" in run]:
        return refused[0]
    middle = {key: median([run[key] for run in runs]) for key in MEDIANS if key in runs[0]}
    peaks = {key: max(run[key] for run in runs) for key in PEAKS}
    spread = {key: [min(run[key] for run in runs), max(run[key] for run in runs)] for key in SECONDS}
    return {**runs[0], **middle, **peaks, "spread": spread}


def race(task: Task, asked: argparse.Namespace, rows: dict[str, Found], official: System | None) -> list[Found]:
    """The way to one validation MRR: ours at its fastest, our replica of the official one, the official code."""
    task = replace(task, scorer=RACER, features=False, target=asked.target_mrr, epochs=asked.race_epochs)
    say(f"race to {task.target:g}: ours")
    fast = environments.ours().measure(replace(task, settings=tuple(asked.race_settings)))
    say(f"race to {task.target:g}: {REPLICA}")
    replica = environments.ours().measure(task)
    ways = [{"name": "ours", "how": f"measured; {' '.join(asked.race_settings)}", **fast},
            {"name": "ours", "how": f"measured; {REPLICA}", **replica}]  # fmt: skip
    theirs = rows.get(RACER, {}).get("official", {})
    if asked.full and official:
        say(f"race to {task.target:g}: official")
        ways.append({"name": "official", "how": "measured", **official.measure(task)})
    elif "epoch_seconds" in theirs and "race_epochs" in replica:
        epoch = theirs["epoch_seconds"] + theirs["validation_seconds"]
        how = f"its seconds of an epoch and a validation x the epochs of {REPLICA}"
        ways.append({**replica, "name": "official", "how": how, "race_seconds": epoch * replica["race_epochs"]})
    for way in ways:
        way |= {"target": task.target, "reached": way.get("best_mrr", 0) >= task.target}
        if not way["reached"]:
            way["how"] += f"; best after {way.get('race_epochs')} epochs: {way.get('best_mrr', 0):.3f}"
        elif ways[0]["reached"]:
            way["times"] = way["race_seconds"] / ways[0]["race_seconds"]
    return ways


def describe(dataset: Dataset, asked: argparse.Namespace, rows: dict[str, Found]) -> Found:
    """Graph, work, machine, date, versions."""
    counts = " / ".join(f"{len(triples):,}" for triples in dataset.triples.values())
    versions = {"vlkge": version("vlkge"), "torch": version("torch")}
    for found in rows.values():
        versions |= {"PyKEEN": found["PyKEEN"]["version"]} if "version" in found["PyKEEN"] else {}
    cpu = next((line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), "")
    return {
        "graph": f"{dataset.name} {dataset.version}: {len(dataset.entities):,} entities, {counts} triples",
        "work": f"dim {asked.dim}, batch {asked.batch_size}, {asked.negatives} filtered negatives per triple, "
                "logistic loss, Adagrad 0.1",
        "machine": f"{cpu or platform.machine()}, {os.cpu_count()} cores", "threads": asked.threads,
        "date": datetime.now(UTC).date().isoformat(), "versions": versions,
    }  # fmt: skip


def _cpu_lines() -> list[str]:
    place = Path("/proc/cpuinfo")
    return place.read_text().splitlines() if place.is_file() else []


def notes(asked: argparse.Namespace, rows: dict[str, Found]) -> list[str]:
    """What a reader has to know, and what is missing."""
    said = [
        "Seconds of ours: median of an epoch (its validation apart) and of a validation, before and after the peers. "
        "A validation ranks every validation triple both ways among all entities, filtered.",
        f"+features: seeded vectors of {FEATURE_SIZE} components for a picture and a text of every entity, the same in "
        "each system, given as its own feature tensors; frozen, averaged with the structural vector.",
        "PyKEEN: sLCWA loop, basic sampler with its bloom filter over train, rank-based evaluator with the batch size "
        "that it chooses; its lean ERModel without penalties. Official: its own training loop, sampler, evaluation.",
    ]
    if not asked.full:
        said.append(
            f"Peers: {asked.batches} batches of an epoch and {asked.validation_queries} queries timed, after a "
            "warm-up, and scaled linearly to the epoch and the validation."
        )
    said.append(f"Each peer was measured in {asked.peer_runs} processes one after another; the medians are shown.")
    said += [
        f"{name}, {system}: {what.removesuffix('_seconds')} {least:.3g} to {most:.3g} s"
        for name, found in rows.items() for system in PEERS
        for what, (least, most) in found[system].get("spread", {}).items() if most > WIDE * least
    ]  # fmt: skip
    if not asked.official:
        said.append("official: not measured; git clone https://github.com/thefth/vl-kge, then --official FOLDER")
    if not asked.pykeen:
        said.append("PyKEEN: not measured (--no-pykeen)")
    return said + [
        f"{name}, {system}: {answer['refused']}"
        for name, found in rows.items() for system, answer in found.items() if "refused" in answer
    ]  # fmt: skip


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
