"""The training loop: batch, negatives, scores, loss, step; validation by the code that evaluates."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, softplus

from vlkge.config import Experiment
from vlkge.dataset import Dataset, load_dataset
from vlkge.errors import ExperimentError, RunError
from vlkge.evaluate import Evaluator, ModelScores
from vlkge.features import load_features
from vlkge.fusion import REGISTRY as FUSIONS
from vlkge.model import STRUCTURAL, KGEModel
from vlkge.negatives import Corrupt, Negatives, NegativeSampler, TripleSet
from vlkge.protocol import all_triples, make_protocol
from vlkge.run import Run, create_run, load_weights
from vlkge.scorers import REGISTRY as SCORERS

Advance = Callable[[str, int, int | None], None]
"""Told of progress: what is being done, how many are done, of how many."""


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to.

    Attributes:
        epoch: 1 is the first.
        loss: mean over the epoch's positives and negatives.
        validation_mrr: under the experiment's protocol; None where there is no validation split.
        best: whether these weights are kept.
        seconds: training and validation together.
    """

    epoch: int
    loss: float
    validation_mrr: float | None
    best: bool
    seconds: float


def start(experiment: Experiment, out: Path | None = None, overwrite: bool = False) -> Run:
    """A run folder for an experiment; nothing is trained yet.

    Args:
        experiment: names its data set, and its features where it uses any.
        out: the run folder; default `runs/<dataset>-<scorer>-<fusion>`.
        overwrite: replace a run that is there.

    Raises:
        ExperimentError: no data set is named, or the experiment does not fit it.
        UnknownNameError: an unknown scorer, fusion or protocol.
        UsageError: the folder exists.
    """
    check_names(experiment)
    if not experiment.dataset:
        raise ExperimentError("no data set: name a release folder (--dataset) or one of the Hub (--hf-dataset)")
    dataset = load_dataset(experiment.dataset)
    resolved = resolve(experiment, dataset)
    model = resolved.model
    default = Path("runs") / "-".join(part.replace(":", "_") for part in (dataset.name, model.scorer, model.fusion))
    return create_run(out or default, resolved, dataset, overwrite)


def check_names(experiment: Experiment) -> None:
    """Refuse an unknown scorer, fusion, protocol or device before anything is read.

    Raises:
        UnknownNameError: names what exists and the nearest.
        ExperimentError: torch knows no such device, or this machine has none.
    """
    SCORERS.resolve(experiment.model.scorer)
    FUSIONS.resolve(experiment.model.fusion)
    make_protocol(experiment.protocol)
    try:
        torch.zeros(1, device=experiment.training.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ExperimentError(f"training.device is {experiment.training.device!r}: {reason}") from None


def resolve(experiment: Experiment, dataset: Dataset) -> Experiment:
    """The experiment with every value that depends on the data filled in.

    Raises:
        ExperimentError: a modality that the features do not hold.
    """
    held = sorted(load_features(Path(experiment.features))) if experiment.features else []
    modalities = experiment.model.modalities or ["structural", *held]
    missing = [modality for modality in modalities if modality not in (STRUCTURAL, *held)]
    if missing:
        hint = "the features hold: " + (", ".join(held) or "none; name a features folder (--features)")
        raise ExperimentError(f"model.modalities asks for {missing[0]!r}; {hint}")
    corrupt = experiment.training.corrupt
    if corrupt == "auto":
        corrupt = "tail" if dataset.setting == "inductive" else "both"
    model = experiment.model.model_copy(update={"modalities": modalities})
    training = experiment.training.model_copy(update={"corrupt": corrupt})
    return experiment.model_copy(update={"model": model, "training": training})


def fit(run: Run, epochs: int | None = None, progress: Advance | None = None) -> Iterator[EpochRecord]:
    """Train a run from where it stands, an epoch at a time; each is saved before it is yielded.

    Args:
        run: new, or stopped after any epoch; going on gives bit for bit what an unbroken training gives (CPU).
        epochs: in all; default the experiment's.
        progress: told of every batch.

    Raises:
        RunError: the loss is not finite, or the checkpoint is damaged.
    """
    trainer = _Trainer(run)
    last = epochs or run.experiment.training.epochs
    while trainer.epoch < last and trainer.since_best < run.experiment.training.patience:
        yield trainer.run_epoch(progress or _ignore, last)


def _ignore(stage: str, done: int, total: int | None) -> None:
    """Nobody wants to know."""


class _Trainer:
    """The state of one training: model, optimiser, generator, and what is best so far."""

    def __init__(self, run: Run) -> None:
        self.run, self.settings = run, run.experiment.training
        dataset = run.dataset
        self.train = dataset.triples["train"]
        self.model = run.new_model()
        self.device = torch.device(self.settings.device)
        self.generator = torch.Generator().manual_seed(self.settings.seed)
        self.epoch, self.since_best, self.best_mrr = 0, 0, -1.0
        self.history: list[dict[str, Any]] = []
        self.sampler = _make_sampler(run)
        self.evaluator = None
        if len(dataset.triples["validation"]):
            self.evaluator = Evaluator(dataset, "validation", make_protocol(run.experiment.protocol))
            self.evaluated = self.evaluator.entities()
        checkpoint = run.load_checkpoint() if run.progress else {}
        if checkpoint:
            load_weights(self.model, _under("model.", checkpoint), str(run.folder))
        self.model.to(self.device)
        self.model.draw_from(self.generator)
        self.optimizer = torch.optim.Adagrad(self.model.parameters(), lr=self.settings.learning_rate)
        if checkpoint:
            self._restore(checkpoint, run.progress)

    def run_epoch(self, progress: Advance, last: int) -> EpochRecord:
        """Train one epoch, validate, save."""
        began = time.perf_counter()
        self.epoch += 1
        loss = self._train_epoch(progress, f"epoch {self.epoch} of {last}")
        mrr = None
        if self.evaluator:
            ranks = self.evaluator.rank(ModelScores(self.model, self.evaluated))
            mrr = self.evaluator.summarise(ranks).overall.mrr
        best = mrr is None or mrr > self.best_mrr
        self.since_best = 0 if best else self.since_best + 1
        self.best_mrr = mrr if best and mrr is not None else self.best_mrr
        record = EpochRecord(self.epoch, loss, mrr, best, round(time.perf_counter() - began, 3))
        self.history.append(asdict(record))
        self._save(best)
        return record

    def _train_epoch(self, progress: Advance, stage: str) -> float:
        self.model.train()
        order = torch.randperm(len(self.train), generator=self.generator)
        batches = torch.split(order, self.settings.batch_size)
        total = 0.0
        for done, batch in enumerate(batches, 1):
            positives = self.train[batch]
            loss = batch_loss(self.model, positives, self.sampler.sample(positives, self.generator))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            with torch.sparse.check_sparse_tensor_invariants(False):  # type: ignore[no-untyped-call]  # said, or it warns
                self.optimizer.step()
            total += loss.item() * len(batch)
            progress(stage, done, len(batches))
        mean = total / len(self.train)
        if not mean < float("inf"):
            raise RunError(f"the loss is {mean} in epoch {self.epoch}; try a smaller training.learning_rate")
        return mean

    def _save(self, best: bool) -> None:
        weights = {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}
        checkpoint = {f"model.{name}": tensor for name, tensor in weights.items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                checkpoint[f"optimizer.{name}.{key}"] = value.cpu()
        checkpoint["generator"] = self.generator.get_state()
        state = {
            "epoch": self.epoch, "since_best": self.since_best, "best_mrr": self.best_mrr, "history": self.history
        }  # fmt: skip
        self.run.save_epoch(state, checkpoint, weights if best else None)

    def _restore(self, checkpoint: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                value.copy_(checkpoint[f"optimizer.{name}.{key}"])
        self.generator.set_state(checkpoint["generator"])
        self.epoch, self.since_best, self.best_mrr = state["epoch"], state["since_best"], state["best_mrr"]
        self.history = list(state["history"])


def batch_loss(model: KGEModel, positives: Tensor, negatives: Negatives) -> Tensor:
    """The logistic loss: mean of softplus(-s) over positives and softplus(s) over their negatives.

    Args:
        model: what scores.
        positives: int64 [b, 3].
        negatives: theirs; what is not valid does not count.
    """
    batch = len(positives)
    involved = torch.cat([positives[:, 0], positives[:, 2], negatives.entities.flatten()])
    distinct, places = torch.unique(involved, return_inverse=True)
    device = model.relations.device
    vectors = model.represent(distinct.to(device))
    parts = torch.split(places.to(device), [batch, batch, negatives.entities.numel()])
    head, tail, other = (embedding(part, vectors) for part in parts)
    relation = model.relations[positives[:, 1].to(device)]
    positive = model.scorer.score(head, relation, tail)
    other = other.view(*negatives.entities.shape, -1)
    swapped, valid = negatives.heads.to(device), negatives.valid.to(device)
    wide = relation[:, None]
    if not bool(swapped.any()):
        negative = model.scorer.score(head[:, None], wide, other)
    else:
        kept = ~swapped
        negative = torch.empty(other.shape[:2], device=device)
        negative[kept] = model.scorer.score(head[kept, None], wide[kept], other[kept])
        negative[swapped] = model.scorer.score(other[swapped], wide[swapped], tail[swapped, None])
    total = softplus(-positive).sum() + torch.where(valid, softplus(negative), 0.0).sum()
    return total / (batch + valid.sum())


def _make_sampler(run: Run) -> NegativeSampler:
    settings, dataset = run.experiment.training, run.dataset
    facts = all_triples(dataset) if settings.known == "all" else dataset.triples["train"]
    known = TripleSet(facts, len(dataset.entities), len(dataset.relations))
    corrupt: Corrupt = "tail" if settings.corrupt == "tail" else "both"
    train = dataset.triples["train"]
    return NegativeSampler(train, known, len(dataset.relations), settings.negatives, settings.negative_pool, corrupt)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
