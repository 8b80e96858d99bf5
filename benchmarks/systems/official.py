"""The official VL-KGE code measured from within: its own data loader, training loop and evaluation, unchanged.

Runs in an environment of its own, with the folder of the clone on PYTHONPATH.
"""

import contextlib
import sys
import time
from typing import Any

import pandas
import torch
from task import FEATURES, Task, answer, entity_names, feature_vectors, peak_mib, read_task, timed
from torch.utils.data import DataLoader

from vlkge import helpers
from vlkge.dataloader import KGDataset, KnowledgeGraphDataLoader

MODELS = {"transe": "TransE", "distmult": "DistMult", "complex": "ComplEx", "rotate": "RotatE"}
NEVER = 10**9


class Official:
    """Its objects, made as its scripts/train.py makes them for WN9-IMG."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.data = KnowledgeGraphDataLoader(task.triples, "wn9_img", bidirectional_eval=True)
        self.entities, self.relations = self.data.get_entities_and_relations()
        self.train, self.validation, _ = self.data.split_data()
        self.known = self.data.compute_filter_map()
        self.generator = torch.Generator().manual_seed(task.seed)
        self.model, self.optimizer, self.scheduler = helpers.get_model(
            MODELS[task.scorer], len(self.entities), len(self.relations), embedding_dim=task.dim, **self.features()
        )

    def features(self) -> dict[str, Any]:
        """The tensors that its load_features would make of a pickle."""
        if not self.task.features:
            return {}
        names = entity_names(self.task.triples)
        rows = {self.entities[name]: row for row, name in enumerate(names)}
        visual, textual = (feature_vectors(names, modality, self.task.seed) for modality in FEATURES)
        return {
            "visual_features": visual, "textual_features": textual, "visual_entity_to_index": rows,
            "textual_entity_to_index": rows, "use_visual": True, "use_textual": True,
        }  # fmt: skip

    def loader(self, rows: pandas.DataFrame, shuffle: bool) -> DataLoader:
        """Its data loader over some triples."""
        triples = KGDataset(rows, self.entities, self.relations)
        return DataLoader(triples, self.task.batch_size, shuffle, generator=self.generator)

    def fit(self, rows: pandas.DataFrame) -> None:
        """One epoch of its training loop over these triples, without validation."""
        loader = self.loader(rows, shuffle=True)
        helpers.train(
            self.model, loader, None, None, None, self.optimizer, self.scheduler, self.known,
            self.data.compute_relation_probs(), num_epochs=1, num_neg_samples=self.task.negatives,
            batch_size=self.task.batch_size, generator=self.generator, evaluate_every=NEVER,
        )  # fmt: skip

    def validate(self, rows: pandas.DataFrame) -> float:
        """The MRR of its evaluation, filtered, both ways."""
        loader = self.loader(rows, shuffle=False)
        return float(helpers.evaluate_kge(self.model, loader, self.known, bidirectional=True)[0])


def measure(official: Official, task: Task) -> dict[str, Any]:
    """Some batches and some queries; what is constant per batch and per query by construction is scaled to all."""
    shuffled = official.train.sample(frac=1, random_state=task.seed)
    rows = shuffled.head(task.batches * task.batch_size) if task.batches else shuffled
    official.fit(shuffled.tail(task.batch_size))
    training, _ = timed(lambda: official.fit(rows))
    training_peak = peak_mib()
    asked = official.validation
    if task.queries and task.queries // 2 < len(asked):
        asked = asked.sample(task.queries // 2, random_state=task.seed)
    official.validate(asked.head(1))
    validation, _ = timed(lambda: official.validate(asked))
    return {
        "epoch_seconds": training * len(official.train) / len(rows), "timed_triples": len(rows),
        "validation_seconds": validation * len(official.validation) / len(asked), "timed_queries": 2 * len(asked),
        "training_peak_mib": training_peak,
    }  # fmt: skip


def race(official: Official, task: Task) -> dict[str, Any]:
    """Epochs and seconds, validation included, until the target is reached."""
    began, best, epochs = time.perf_counter(), 0.0, 0
    while best < task.target and epochs < task.epochs:
        official.fit(official.train)
        best, epochs = max(best, official.validate(official.validation)), epochs + 1
    return {"best_mrr": best, "race_epochs": epochs, "race_seconds": time.perf_counter() - began}


def main() -> None:
    """Measure; what the code prints goes to stderr."""
    task = read_task()
    with contextlib.redirect_stdout(sys.stderr):
        found = (race if task.target else measure)(Official(task), task)
    answer(**found)


main()
