"""This library measured as its users run it: `start`, `fit`, and the evaluator that validation uses."""

import json
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from task import FEATURES, Task, answer, feature_vectors, peak_mib, read_task, timed

from mkg_builder.errors import MkgError
from vlkge.config import Experiment, load_experiment
from vlkge.dataset import Dataset, load_dataset
from vlkge.encoders import EncoderInfo
from vlkge.evaluate import Evaluator
from vlkge.features import DatasetIdentity, ModalityFeatures, save_features
from vlkge.process import prepare_process
from vlkge.protocol import make_protocol
from vlkge.run import Run
from vlkge.scores import ModelScores
from vlkge.train import fit, start

PUBLISHED = (
    "training.negative_pool=entities", "training.corrupt=both", "training.known=reference", "training.distinct=true",
    "training.learning_rate=0.1", "model.structural=masked", "model.normalise=none", "model.projection=fitting",
    "model.dropout=0.0", "model.fusion=average", "protocol=reference",
)  # fmt: skip
"""What the official code does, said in our options."""

ROWS = 512
REPEATS = 5


def experiment(task: Task, folder: Path) -> Experiment:
    """The task as our experiment."""
    modalities = ["structural", *(FEATURES if task.features else ())]
    chosen = {
        "dataset": task.release, "model.scorer": task.scorer, "model.dim": task.dim, "model.modalities": modalities,
        "features": str(save_seeded_features(task, folder)) if task.features else None,
        "training.batch_size": task.batch_size, "training.negatives": task.negatives, "training.seed": task.seed,
        "training.epochs": task.epochs + 1, "training.patience": task.epochs + 1,
    }  # fmt: skip
    given = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
    return load_experiment(None, [*PUBLISHED, *given, *task.settings])


def save_seeded_features(task: Task, folder: Path) -> Path:
    """A features folder of the seeded vectors."""
    dataset = load_dataset(task.release)
    identity, found = DatasetIdentity.of(dataset), []
    for modality in FEATURES:
        vectors = feature_vectors(list(dataset.entities), modality, task.seed)
        info = EncoderInfo("seeded", "seeded", "1", modality, vectors.shape[1], "none")
        found.append(ModalityFeatures(info, identity, dataset.entities, vectors.numpy()))
    save_features(folder / "features", found)
    return folder / "features"


def measure(task: Task, run: Run) -> dict[str, Any]:
    """Epochs, validation and the share of the machine's rate that it reaches."""
    records = list(fit(run))[1:]
    training_peak = peak_mib()
    evaluator = Evaluator(run.dataset, "validation", make_protocol(run.experiment.protocol))
    asked, model = evaluator.entities(), run.load_model()
    seconds = [timed(lambda: evaluator.rank(ModelScores(model, asked)))[0] for _ in range(REPEATS)]
    validation = median(seconds)
    size = task.dim * model.scorer.parts
    work = distinct_products(evaluator) * 2 * size
    return {
        "epoch_seconds": median(record.training_seconds for record in records),
        "validation_seconds": validation, "timed_queries": 2 * len(run.dataset.triples["validation"]),
        "timed_triples": len(run.dataset.triples["train"]), "training_peak_mib": training_peak,
        "evaluation_gflops": work / validation / 1e9, "machine_gflops": machine_rate(run.dataset, size) / 1e9,
    }  # fmt: skip


def distinct_products(evaluator: Evaluator) -> int:
    """How many scores are needed: pairs of a distinct query and a candidate."""
    return sum(len(torch.unique(group.anchors)) * len(group.candidates) for group in evaluator.groups)


def machine_rate(dataset: Dataset, size: int) -> float:
    """Floating-point operations per second of a product [512, size] x [size, entities], the best of some."""
    queries, entities = torch.rand(ROWS, size), torch.rand(len(dataset.entities), size)
    best = min(timed(lambda: queries @ entities.T)[0] for _ in range(REPEATS))
    return 2 * ROWS * size * len(entities) / best


def race(task: Task, run: Run) -> dict[str, Any]:
    """Epochs and seconds, validation and saving included, until the target is reached."""
    began, best, epochs = time.perf_counter(), 0.0, 0
    for record in islice(fit(run), task.epochs):
        best, epochs = max(best, record.validation_mrr or 0.0), epochs + 1
        if best >= task.target:
            break
    return {"best_mrr": best, "race_epochs": epochs, "race_seconds": time.perf_counter() - began}


def main() -> None:
    """Measure and answer; what this version cannot do is answered with its reason."""
    prepare_process()  # as the command `vlkge` does
    task = read_task()
    with tempfile.TemporaryDirectory(dir=task.workspace) as place:
        folder = Path(place)
        try:
            run = start(experiment(task, folder), folder / "run")
        except MkgError as error:
            answer(refused=str(error))
            return
        answer(**(race if task.target else measure)(task, run))


main()
