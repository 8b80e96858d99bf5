"""The README's figures for the real input: build, encode, train, evaluate, each with wall time and peak memory.

    python ../shared/world/serve.py --port 8765 --ready-file /tmp/ready.json &
    python benchmarks/real_input.py --endpoint http://127.0.0.1:8765/wikiart --workspace /tmp/real [-- train options]

Everything behind `--` goes to `vlkge train`. Prints Markdown. The commands run one after another; figures of a busy
machine are worth little.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
ASYMMETRY = "cleaning.require_image=false"


def measured(*command: str | Path) -> tuple[dict[str, Any], float, float]:
    """A command's JSON, its wall time in seconds and its peak resident memory in MiB."""
    began = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed with {os.waitstatus_to_exitcode(status)}")
    return json.loads(output), time.monotonic() - began, usage.ru_maxrss / 1024


def main() -> None:
    """Run the four commands and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True, help="the stand-in site")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="further recipe overrides")
    parser.add_argument("train", nargs="*", help="options of vlkge train, behind --")
    asked = parser.parse_args()
    overrides = [part for override in (ASYMMETRY, *asked.overrides) for part in ("--set", override)]
    steps = []
    built, *cost = measured(
        BIN / "mkgb", "build", "wikiart-v1", "--workspace", asked.workspace, "--json", "--quiet",
        "--endpoint", f"wikiart={asked.endpoint}", *overrides,
    )  # fmt: skip
    steps.append(("mkgb build", *cost))
    release, features, run = built["release"], asked.workspace / "features", asked.workspace / "run"
    for name, command in (
        ("vlkge encode", ["encode", release, "--out", features]),
        ("vlkge train", ["train", "--dataset", release, "--features", features, "--out", run, "--overwrite",
                         *asked.train]),
        ("vlkge evaluate", ["evaluate", run, "--split", "test"]),
    ):  # fmt: skip
        told, *cost = measured(BIN / "vlkge", *command, "--json", "--quiet")
        steps.append((name, *cost))
    show("step", ("wall time, s", "peak memory, MiB"), [(name, f"{s:.0f}", f"{m:.0f}") for name, s, m in steps])
    show_release(built)
    show_metrics(told)


def show_release(built: dict[str, Any]) -> None:
    """Triples per relation and artworks by modality."""
    counts = [(r["name"], *(f"{r[s]:,}" for s in ("train", "validation", "test"))) for r in built["relations"]]
    show("relation", ("train", "validation", "test"), counts)
    works = [row for row in built["modality_availability"] if (row["scope"], row["name"]) == ("entity_type", "artwork")]
    show(
        "artworks",
        ("split", "modality", "of"),
        [(f"{w['count']:,}", w["split"], w["modality"], w["total"]) for w in works],
    )


def show_metrics(told: dict[str, Any]) -> None:
    """MRR and Hits per relation, beside the baselines."""
    parts = {"all": told["overall"], **told["relations"]}
    rows = []
    for name, metrics in parts.items():
        others = [told["baselines"][b] for b in ("most_frequent", "chance")]
        baseline = [(o["overall"] if name == "all" else o["relations"][name])["mrr"] for o in others]
        hits = [metrics[f"hits_at_{k}"] for k in (1, 3, 10)]
        rows.append(
            (name, f"{metrics['queries']:,}", *(f"{value:.3f}" for value in (metrics["mrr"], *hits, *baseline)))
        )
    show("relation", ("queries", "MRR", "Hits@1", "Hits@3", "Hits@10", "MRR most frequent", "MRR chance"), rows)


def show(first: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """A Markdown table."""
    print(f"\n| {first} | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
