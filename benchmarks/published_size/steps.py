"""What is measured on the graph, each step in a process of its own: loading, training, evaluating."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vlkge.config import Experiment, load_experiment
from vlkge.dataset import load_dataset
from vlkge.evaluate import Evaluator, evaluate_run
from vlkge.features import load_features
from vlkge.negatives import TripleSet
from vlkge.protocol import all_triples, make_protocol
from vlkge.run import load_run
from vlkge.train import fit, start

SAMPLE = "training.sample={isRelatedToArtwork: 0.001}"
PUBLISHED = (
    "training.negatives=1", "training.batch_size=512", "training.negative_pool=relation", "training.corrupt=tail",
    SAMPLE, "training.known=reference", "training.learning_rate=0.1", "model.structural=masked", "model.normalise=none",
    "model.projection=fitting", "model.dropout=0.0", "model.fusion=average", "protocol=reference",
)  # fmt: skip
"""The official code's configuration of WikiArt-MKG-v2, said in our options."""
COPIED = 2**28
REPEATS = 5
Found = dict[str, Any]


def experiment(release: Path, features: Path, settings: list[str]) -> Experiment:
    """The published experiment on this graph."""
    return load_experiment(None, [*PUBLISHED, f"dataset={release}", f"features={features}", *settings])


def load(release: Path, features: Path, protocol: str) -> Found:
    """From the files to everything that training and evaluating look up."""
    before, began = peak_mib(), time.perf_counter()
    dataset = load_dataset(str(release))
    loaded = time.perf_counter()
    known = TripleSet(all_triples(dataset), len(dataset.entities), len(dataset.relations))
    evaluators = [Evaluator(dataset, split, make_protocol(protocol)) for split in ("validation", "test")]
    filtered, peak = time.perf_counter(), peak_mib()
    held = load_features(features)
    vectors = sum(modality.vectors.nbytes for modality in held.values()) / 2**20
    ended = time.perf_counter()
    return {
        "entities": len(dataset.entities), "triples": sum(map(len, dataset.triples.values())),
        "load_seconds": loaded - began, "filter_seconds": filtered - loaded, "feature_seconds": ended - filtered,
        "graph_mib": peak - before, "features_mib": vectors, "imports_mib": before,
        "beyond_features_mib": peak_mib() - before - vectors, "kept": len(evaluators) + (known is not None),
    }  # fmt: skip


def train(plan: Experiment, folder: Path) -> Found:
    """The epochs, from the files to the weights."""
    began = time.perf_counter()
    run = start(plan, folder, overwrite=True)
    records = list(fit(run))
    seconds = time.perf_counter() - began
    epochs = [record.training_seconds for record in records]
    steps = -(-epoch_triples(plan, run.dataset.triples["train"], run.dataset.relations) // plan.training.batch_size)
    bandwidth = copy_bandwidth(plan.training.device)
    return {
        "seconds": seconds, "epochs": epochs,
        "steps": steps, "step_seconds": min(epochs) / steps, "validation_mrr": records[-1].validation_mrr,
        "floor_seconds": step_bytes(plan) / bandwidth,
        "copy_gb_per_second": bandwidth / 1e9, "step_mib": step_bytes(plan) / 2**20,
    }  # fmt: skip


def epoch_triples(plan: Experiment, triples: torch.Tensor, relations: tuple[str, ...]) -> int:
    """How many positives an epoch has, after sampling."""
    shares = plan.training.sample
    counts = torch.bincount(triples[:, 1], minlength=len(relations)).tolist()
    return sum(round(n * shares.get(name, 1.0)) for name, n in zip(relations, counts, strict=True))


def step_bytes(plan: Experiment) -> float:
    """The least that a step moves: each entity of the batch once through every stage, all in float32.

    Per entity its feature row is read and its free row read, its gradient written and read, and by Adagrad its state
    and its free row read and written: 1 row of features and 7 of the model's size.
    """
    rows = plan.training.batch_size * (2 + int(plan.training.negatives))
    return 4.0 * rows * (plan.model.dim + 7 * plan.model.dim)


def copy_bandwidth(device: str) -> float:
    """Bytes per second read and written by the copy of a large tensor, the best of some."""
    source = torch.zeros(COPIED // 4, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * COPIED / min(_synchronised(lambda: target.copy_(source), device) for _ in range(REPEATS))


def _synchronised(work: Callable[[], Any], device: str) -> float:
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def evaluate(folder: Path, protocol: str, device: str) -> Found:
    """A full evaluation of the test split by the best weights, from the run folder to the table."""
    began = time.perf_counter()
    run = load_run(folder)
    loaded = time.perf_counter()
    result = evaluate_run(run, "test", make_protocol(protocol), device)
    ended = time.perf_counter()
    return {"load_seconds": loaded - began, "seconds": ended - loaded, "table": result.rows()}


def peak_mib() -> float:
    """The most memory that this process has held so far, in MiB; getrusage would count what its parent held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
