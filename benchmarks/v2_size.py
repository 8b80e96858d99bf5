"""A graph of the size of WikiArt-MKG-v2 with 768-d features: loading, an epoch, a full evaluation.

    python benchmarks/v2_size.py [--workspace workspace/v2-size]                  an epoch and an evaluation
    python benchmarks/v2_size.py --device cuda                                    20 epochs and an evaluation, --ways
    python benchmarks/v2_size.py --ways              also trained by other precisions, and compiled: what each one pays
    python benchmarks/v2_size.py --triples 100000 --set model.dim=64              smaller

The graph is made up from a seed, once: 224,166 entities, 22 relations, 8,294,101 triples, most of them
isRelatedToArtwork, of which an epoch takes one in a thousand. The experiment is the official code's: DistMult, average
of structure, picture and text, one negative, per-relation candidates. Each step runs in a process of its own; the
table of the test split and the time of a step beside the time that its memory traffic alone would take are printed.
`--ways` adds whole trainings in TensorFloat32 (on a GPU) and bfloat16, to see how far the MRR moves, and a few epochs
under each mode of torch.compile; what fails there is told and does not end the rest.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command `vlkge` sets it, before torch is loaded

import torch
from published_size import graph, steps

STEPS = ("load", "train", "evaluate")
COMPILED_EPOCHS = 3
"""The first of them compiles; a step's time is that of the fastest."""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("workspace/v2-size"))
    parser.add_argument("--triples", type=int, default=graph.TRIPLES, help="in all; entities in proportion")
    parser.add_argument("--scorer", default="distmult")
    parser.add_argument("--epochs", type=int, help="default: 20 on a GPU, else 1")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--protocol", default="reference")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--ways", action="store_true", help="other precisions and torch.compile too; always on a GPU")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser.parse_args()


def main() -> None:
    """Make the graph, run the steps, print."""
    asked = parse()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    place = asked.workspace.resolve() / f"{asked.triples}-{asked.seed}"
    if asked.step:
        print(json.dumps(run_step(asked, place)))
        return
    make(asked, place)
    began = time.monotonic()
    found = {step: in_its_process(step) for step in STEPS}
    seconds = time.monotonic() - began
    ways = [try_way(*way) for way in ways_of(asked)] if asked.ways or on_gpu(asked) else []
    report = {"device": name_of(asked.device), "cores": os.cpu_count(), "torch": torch.__version__,
              "load_average": os.getloadavg()[0], "seconds": seconds, **found, "ways": ways}  # fmt: skip
    print(json.dumps(report, indent=2) if asked.json else markdown(report))


def make(asked: argparse.Namespace, place: Path) -> None:
    """Release and features, unless they are there."""
    if (place / "features").is_dir():
        return
    shutil.rmtree(place, ignore_errors=True)
    print("making the graph", file=sys.stderr)
    graph.write_graph(graph.draw_graph(asked.triples, asked.seed), place / "release")
    graph.write_features(place / "release", place / "features", asked.seed)


def ways_of(asked: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Precision, mode of torch.compile and epochs of what the training is compared with."""
    whole = asked.epochs or (20 if on_gpu(asked) else 1)
    precisions = ["tf32", "bfloat16"] if on_gpu(asked) else ["bfloat16"]
    return [(precision, "none", whole) for precision in precisions] + [
        ("float32", mode, COMPILED_EPOCHS) for mode in ("default", "reduce-overhead")
    ]


def try_way(precision: str, mode: str, epochs: int) -> dict[str, Any]:
    """What a training by other settings comes to, or that it failed."""
    settings = [f"training.precision={precision}", f"training.compile={mode}"]
    named = {"precision": precision, "compile": mode}
    try:
        more = ["--epochs", str(epochs), *(part for setting in settings for part in ("--set", setting))]
        return {**named, **in_its_process("train", more)}
    except SystemExit as failed:
        return {**named, "failed": str(failed)}


def on_gpu(asked: argparse.Namespace) -> bool:
    """Whether the training is to run on one."""
    return bool(asked.device.startswith("cuda"))


def in_its_process(step: str, more: Sequence[str] = ()) -> dict[str, Any]:
    """The answer of a step, and the most memory that its process held."""
    print(step, *more, file=sys.stderr)
    process = subprocess.Popen([sys.executable, *sys.argv, "--step", step, *more], stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the step {step} failed; see above")
    return {**json.loads(output), "peak_mib": usage.ru_maxrss / 1024}


def run_step(asked: argparse.Namespace, place: Path) -> dict[str, Any]:
    """One step, inside its process."""
    if asked.step == "load":
        return steps.load(place / "release", place / "features", asked.protocol)
    if asked.step == "evaluate":
        return steps.evaluate(place / "run", asked.protocol, asked.device)
    epochs = asked.epochs or (20 if on_gpu(asked) else 1)
    settings = [f"model.scorer={asked.scorer}", "model.dim=768", f"training.epochs={epochs}",
                f"training.patience={epochs}", f"training.device={asked.device}", f"protocol={asked.protocol}",
                f"training.seed={asked.seed}", *asked.settings]  # fmt: skip
    return steps.train(steps.experiment(place / "release", place / "features", settings), place / "run")


def name_of(device: str) -> str:
    """What the device calls itself."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def markdown(report: dict[str, Any]) -> str:
    """Times, memory, the floor, the table of the test split."""
    load, train, evaluate = (report[step] for step in STEPS)
    rows = [
        ("load the graph", load["load_seconds"], load["peak_mib"]),
        ("build filters and queries", load["filter_seconds"], ""),
        ("load the features", load["feature_seconds"], ""),
        (f"an epoch ({train['steps']:,} steps), the fastest of {len(train['epochs'])}", min(train["epochs"]), ""),
        ("training, from Parquet to weights, with validations", train["seconds"], train["peak_mib"]),
        ("evaluation of test, from the run to the table", evaluate["load_seconds"] + evaluate["seconds"],
         evaluate["peak_mib"]),
        ("all", report["seconds"], ""),
    ]  # fmt: skip
    lines = ["| step | seconds | peak MiB |", "|---|---:|---:|"]
    lines += [f"| {name} | {seconds:,.1f} | {peak and format(peak, ',.0f')} |" for name, seconds, peak in rows]
    return "\n".join([
        f"{load['entities']:,} entities, {load['triples']:,} triples; {report['device']}, {report['cores']} cores, "
        f"torch {report['torch']}, load average {report['load_average']:.1f}", "", *lines, "",
        f"Graph and filters: {load['load_seconds'] + load['filter_seconds']:.1f} s; beyond the features "
        f"({load['features_mib']:,.0f} MiB): {load['beyond_features_mib']:,.0f} MiB.",
        f"A step: {train['step_seconds'] * 1e6:,.0f} µs; its {train['step_mib']:.1f} MiB at the measured "
        f"{train['copy_gb_per_second']:,.0f} GB/s of a copy: {train['floor_seconds'] * 1e6:,.0f} µs; "
        f"{train['step_seconds'] / train['floor_seconds']:.1f} times the floor.", "",
        "| relation | queries | candidates | MRR | Hits@1 | Hits@3 | Hits@10 |", "|---|---:|---:|---:|---:|---:|---:|",
        *(f"| {name} | {n:,} | {m:,} | {' | '.join(f'{value:.3f}' for value in rest[:4])} |"
          for name, n, m, *rest in evaluate["table"]),
        *table_of_ways(train, report["ways"]),
    ])  # fmt: skip


def table_of_ways(train: dict[str, Any], ways: Sequence[dict[str, Any]]) -> list[str]:
    """A row for each training, where others were tried; the first is the yardstick."""
    if not ways:
        return []
    rows = ["", "| precision | torch.compile | epochs | a step, µs | the first epoch, s | validation MRR |",
            "|---|---|---:|---:|---:|---:|"]  # fmt: skip
    for way in ({"precision": "float32", "compile": "none", **train}, *ways):
        numbers = (f"{len(way['epochs'])} | {way['step_seconds'] * 1e6:,.0f} | {way['epochs'][0]:,.1f} | "
                   f"{way['validation_mrr']:.4f}") if "epochs" in way else way["failed"]  # fmt: skip
        rows.append(f"| {way['precision']} | {way['compile']} | {numbers} |")
    return rows


if __name__ == "__main__":
    main()
