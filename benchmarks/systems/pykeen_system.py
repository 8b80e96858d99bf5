"""PyKEEN measured from within: its sLCWA training loop, filtered negatives and rank-based evaluator.

Runs in an environment of its own.
"""

import contextlib
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from pykeen.evaluation import RankBasedEvaluator
from pykeen.losses import SoftplusLoss
from pykeen.models import ERModel
from pykeen.nn.combination import Combination
from pykeen.nn.init import PretrainedInitializer, init_phases, xavier_uniform_
from pykeen.nn.representation import CombinedRepresentation, Embedding
from pykeen.training import SLCWATrainingLoop, TrainingCallback
from pykeen.triples import TriplesFactory
from pykeen.utils import complex_normalize
from task import FEATURE_SIZE, FEATURES, Task, answer, feature_vectors, peak_mib, read_rows, read_task, timed
from torch.nn.functional import normalize

INTERACTIONS = {
    "transe": ("TransE", {"p": 1}), "distmult": ("DistMult", {}), "complex": ("ComplEx", {}), "rotate": ("RotatE", {})
}  # fmt: skip
COMPLEX_VALUED = ("complex", "rotate")
FILTERER = "bloom"
OPTIMIZER = {"lr": 0.1}


class EnoughError(Exception):
    """So many batches as were to be timed are done."""


class Clock(TrainingCallback):
    """The time at the end of each batch."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.batches, self.ends = batches, list[float]()

    def post_batch(self, **_: Any) -> None:
        """Stop when enough are timed, after one that is not."""
        self.ends.append(time.perf_counter())
        if self.batches and len(self.ends) > self.batches:
            raise EnoughError


class Average(Combination):
    """The mean of several representations, as the paper's fusion `average`."""

    def forward(self, xs: Any) -> torch.Tensor:
        """[..., d] of several [..., d]."""
        return torch.stack(tuple(xs)).mean(0)


def entities(task: Task, names: list[str]) -> CombinedRepresentation | Embedding:
    """Free vectors, alone or averaged with frozen ones of a picture and a text."""
    dtype = torch.cfloat if task.scorer in COMPLEX_VALUED else torch.float
    constrainer = normalize if task.scorer == "transe" else None
    free = Embedding(
        max_id=len(names), shape=task.dim, initializer=xavier_uniform_, constrainer=constrainer, dtype=dtype
    )
    if not task.features:
        return free
    starts = [PretrainedInitializer(feature_vectors(names, modality, task.seed)) for modality in FEATURES]
    frozen = [Embedding(len(names), shape=FEATURE_SIZE, initializer=start, trainable=False) for start in starts]
    return CombinedRepresentation(max_id=None, shape=task.dim, base=[free, *frozen], combination=Average())


def relations(task: Task) -> dict[str, Any]:
    """The parameters of a relation, as PyKEEN's own model of that name makes them, without a penalty."""
    if task.scorer == "rotate":
        given = {"initializer": init_phases, "constrainer": complex_normalize, "dtype": torch.cfloat}
    else:
        given = {"initializer": xavier_uniform_, "dtype": torch.cfloat if task.scorer == "complex" else torch.float}
    return {"shape": task.dim, **given}


def factories(task: Task) -> list[TriplesFactory]:
    """Train, validation and test, in one vocabulary."""
    rows = read_rows(task.triples)
    whole = TriplesFactory.from_labeled_triples(np.array([row for part in rows.values() for row in part]))
    shared = {"entity_to_id": whole.entity_to_id, "relation_to_id": whole.relation_to_id}
    return [TriplesFactory.from_labeled_triples(np.array(part), **shared) for part in rows.values()]


def epoch_seconds(task: Task, model: ERModel, train: TriplesFactory) -> tuple[float, int]:
    """Seconds of an epoch, and how many batches they are counted from."""
    sampler = {"num_negs_per_pos": task.negatives, "filtered": True, "filterer": FILTERER}
    loop = SLCWATrainingLoop(
        model=model, triples_factory=train, optimizer="adagrad", optimizer_kwargs=OPTIMIZER,
        negative_sampler="basic", negative_sampler_kwargs=sampler, automatic_memory_optimization=False,
    )  # fmt: skip
    clock = Clock(task.batches)
    with contextlib.suppress(EnoughError):
        loop.train(train, num_epochs=1, batch_size=task.batch_size, use_tqdm=False, callbacks=clock)
    batches = len(clock.ends) - 1
    per_batch = (clock.ends[-1] - clock.ends[0]) / batches
    return per_batch * train.num_triples / task.batch_size, batches


def evaluate(model: ERModel, triples: torch.Tensor, known: list[torch.Tensor]) -> None:
    """Filtered ranks, both ways, with the batch size that PyKEEN chooses."""
    evaluator = RankBasedEvaluator(filtered=True)
    evaluator.evaluate(model, triples, batch_size=None, additional_filter_triples=known, use_tqdm=False)


def main() -> None:
    """Measure; what PyKEEN prints goes to stderr."""
    task = read_task()
    with contextlib.redirect_stdout(sys.stderr):
        train, validation, test = factories(task)
        names = sorted(train.entity_to_id, key=train.entity_to_id.__getitem__)
        interaction, settings = INTERACTIONS[task.scorer]
        model = ERModel(
            triples_factory=train, interaction=interaction, interaction_kwargs=settings, loss=SoftplusLoss(),
            random_seed=task.seed,
            entity_representations=entities(task, names), relation_representations=Embedding,
            relation_representations_kwargs=relations(task),
        )  # fmt: skip
        seconds, batches = epoch_seconds(task, model, train)
        training_peak = peak_mib()
        asked = validation.mapped_triples[torch.randperm(validation.num_triples)]
        asked = asked[: task.queries // 2 or len(asked)]
        known = [factory.mapped_triples for factory in (train, validation, test)]
        evaluate(model, asked[:1], known)
        validating, _ = timed(lambda: evaluate(model, asked, known))
    answer(
        epoch_seconds=seconds, timed_triples=batches * task.batch_size, training_peak_mib=training_peak,
        validation_seconds=validating * validation.num_triples / len(asked), timed_queries=2 * len(asked),
        version=version("pykeen"),
    )  # fmt: skip


main()
