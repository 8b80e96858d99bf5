"""One training in memory: model, optimiser, generators, what is best so far; an epoch at a time."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vlkge import shapes
from vlkge.candidates import CandidateSampler
from vlkge.config import TrainingConfig
from vlkge.dataset import Dataset
from vlkge.errors import ExperimentError, RunError
from vlkge.evaluate import Evaluator
from vlkge.negatives import Corrupt, Draw, Negatives, NegativeSampler, TripleSet
from vlkge.objective import Objective, Opponents, Sampler, compiled
from vlkge.optimizer import EPSILON, SEEN_EPSILON, RowAdagrad
from vlkge.parallel import Group
from vlkge.protocol import KnownAnswers, all_triples, make_protocol
from vlkge.run import Run, load_weights
from vlkge.scorers import Direction
from vlkge.scores import ModelScores

Advance = Callable[[str, int, int | None], None]
"""Told of progress: what is being done, how many are done, of how many."""

AHEAD = 64
"""For so many batches at once negatives are drawn on a GPU, which is waited for whenever one has to be drawn again."""


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to.

    Attributes:
        epoch: 1 is the first.
        loss: mean over the epoch's positives and negatives.
        validation_mrr: under the experiment's protocol; None where nothing was validated.
        best: whether these weights are kept.
        seconds: training and validation together.
        training_seconds: training alone.
    """

    epoch: int
    loss: float
    validation_mrr: float | None
    best: bool
    seconds: float
    training_seconds: float


class Trainer:
    """The state of one training; made anew from its run, it goes on bit for bit (CPU).

    Args:
        run: new, or stopped after any epoch.
        group: the processes that train it together.
    """

    def __init__(self, run: Run, group: Group) -> None:
        self.run, self.group, self.settings = run, group, run.experiment.training
        self.device = torch.device(self.settings.device)
        self.model = run.new_model()
        self.generator = torch.Generator(self.device).manual_seed(self.settings.seed)
        self.noise = torch.Generator(self.device)
        self.epoch, self.since_best, self.best_mrr = 0, 0, -1.0
        self.history: list[dict[str, Any]] = []
        self.material = Material(run.dataset, self.settings, self.model.reciprocal, self.device)
        objective = Objective(self.settings.loss, self.settings.regularizer, self.settings.regularizer_weight)
        self.cost = compiled(objective, self.settings.compile)
        self.evaluator = None
        if run.dataset.can_evaluate("validation"):
            self.evaluator = Evaluator(run.dataset, "validation", make_protocol(run.experiment.protocol))
        checkpoint = run.load_checkpoint() if run.progress else {}
        if checkpoint:
            load_weights(self.model, _under("model.", checkpoint), str(run.folder))
        self.model.to(self.device)
        self.model.draw_from(self.noise)
        self.optimizer = make_optimizer(self.model, self.settings.learning_rate)
        if checkpoint:
            self._restore(checkpoint, run.progress)

    @property
    def finished(self) -> bool:
        """Whether the last validations have not become better for as long as the experiment waits."""
        asked = self.epoch % self.settings.validate_every == 0
        return asked and self.since_best >= self.settings.patience

    def run_epoch(self, progress: Advance, last: int) -> EpochRecord:
        """Train one epoch, validate, save.

        Raises:
            RunError: the loss or a score is not finite.
        """
        began = time.perf_counter()
        self.epoch += 1
        loss = self._train_epoch(progress, f"epoch {self.epoch} of {last}")
        trained = time.perf_counter()
        asked = self.epoch % self.settings.validate_every == 0 or self.epoch == last
        mrr = self._validate() if asked else None
        best = mrr > self.best_mrr if mrr is not None else self.evaluator is None
        self.since_best = 0 if best else self.since_best + 1
        self.best_mrr = mrr if best and mrr is not None else self.best_mrr
        seconds = round(time.perf_counter() - began, 3)
        record = EpochRecord(self.epoch, loss, mrr, best, seconds, round(trained - began, 3))
        self.history.append(asdict(record))
        if self.group.rank == 0:
            self._save(best)
        self.group.wait()
        return record

    def _train_epoch(self, progress: Advance, stage: str) -> float:
        self.model.train()
        self.noise.manual_seed((self.settings.seed + 1_000_003 * self.epoch + self.group.rank) % 2**63)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        count, steps = torch.zeros_like(total), self.material.steps
        for done, (positives, opponents) in enumerate(self.material.batches(self.generator), 1):
            of_batch, terms = self._step(positives, opponents)
            total, count = total + of_batch, count + terms
            progress(stage, done, steps)
        mean = float(total / count)
        if not mean < float("inf"):
            raise RunError(f"the loss is {mean} in epoch {self.epoch}; try a smaller learning rate (--lr, --overwrite)")
        return mean

    def _step(self, positives: Tensor, opponents: Opponents) -> tuple[Tensor, Tensor]:
        whole, mine = len(positives), self.group.part(len(positives))
        if self.group.size > 1:
            positives, opponents = positives[mine], _parts(opponents, mine)
        with self._precision():
            cost = self.cost(self.model, positives, opponents)
        count = self.group.sum(cost.terms)
        total = cost.total(count, whole)
        self.optimizer.zero_grad()
        (total / count).backward()  # type: ignore[no-untyped-call]
        self.group.sum_gradients(self.model.parameters())
        with torch.sparse.check_sparse_tensor_invariants(False):  # type: ignore[no-untyped-call]  # said, or it warns
            self.optimizer.step()
        return self.group.sum(total.detach().double()), count

    def _precision(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        torch.set_float32_matmul_precision("high" if self.settings.precision == "tf32" else "highest")
        return nullcontext()

    def _validate(self) -> float | None:
        if self.evaluator is None:
            return None
        mrr = 0.0
        if self.group.rank == 0:
            ranks = self.evaluator.rank(ModelScores(self.model, self.evaluator.entities()))
            mrr = self.evaluator.summarise(ranks).overall.mrr
        return self.group.of_first(mrr)

    def _save(self, best: bool) -> None:
        weights = {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}
        checkpoint = {f"model.{name}": tensor for name, tensor in weights.items()}
        for name, parameter in self.model.named_parameters():
            checkpoint[f"optimizer.{name}.sum"] = self.optimizer.state[parameter]["sum"].cpu()
        checkpoint["generator"] = self.generator.get_state()
        state = {
            "epoch": self.epoch, "since_best": self.since_best, "best_mrr": self.best_mrr, "history": self.history
        }  # fmt: skip
        self.run.save_epoch(state, checkpoint, weights if best else None)

    def _restore(self, checkpoint: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        for name, parameter in self.model.named_parameters():
            self.optimizer.state[parameter]["sum"].copy_(checkpoint[f"optimizer.{name}.sum"])
        self.epoch, self.since_best, self.best_mrr = state["epoch"], state["since_best"], state["best_mrr"]
        drawn = checkpoint["generator"]
        if drawn.shape == self.generator.get_state().shape:
            self.generator.set_state(drawn)
        else:  # that of another kind of device, which draws other numbers
            self.generator.manual_seed((self.settings.seed + self.epoch) % 2**63)
        self.history = list(state["history"])


class Material:
    """What is learned from: the train triples, with their inverses where these are relations too, and a sampler.

    Args:
        dataset: the graph.
        settings: how to draw.
        reciprocal: whether every triple is learned from in both directions.
        device: where everything lies.

    Raises:
        ExperimentError: so little is sampled that nothing is left.
    """

    def __init__(self, dataset: Dataset, settings: TrainingConfig, reciprocal: bool, device: torch.device) -> None:
        self.settings, self.relations = settings, len(dataset.relations) * (2 if reciprocal else 1)
        shares = {dataset.relation_index(name): share for name, share in settings.sample.items()}
        if reciprocal:
            shares |= {relation + len(dataset.relations): share for relation, share in shares.items()}
        train, known = dataset.triples["train"], _known(dataset, settings)
        if reciprocal:
            train, known = (_both_ways(triples, len(dataset.relations)) for triples in (train, known))
        self.triples = train.to(device)
        self.sampled = [((self.triples[:, 1] == relation).nonzero()[:, 0], share) for relation, share in shares.items()]
        taken = torch.isin(self.triples[:, 1], torch.tensor(list(shares), dtype=torch.int64, device=device))
        self.whole = (~taken).nonzero()[:, 0] if shares else None
        if bool(taken.all()) and not any(round(share * len(rows)) for rows, share in self.sampled):
            raise ExperimentError("training.sample leaves no triple to learn from; take larger shares")
        corrupt: Corrupt = "tail" if reciprocal or settings.corrupt == "tail" else "both"
        count = 0 if settings.negatives == "all" else settings.negatives
        draw = Draw(count, settings.negative_pool, corrupt, settings.distinct)
        self.sampler = self._sampler(known.to(device), len(dataset.entities), draw)

    def _sampler(self, known: Tensor, entities: int, draw: Draw) -> Sampler:
        if draw.count and not self.settings.share_negatives:
            return NegativeSampler(self.triples, TripleSet(known, entities, self.relations), self.relations, draw)
        head, relation, tail = known.unbind(1)
        answers: dict[Direction, KnownAnswers] = {
            "tail": KnownAnswers(head, relation, tail, self.relations),
            "head": KnownAnswers(tail, relation, head, self.relations),
        }
        return CandidateSampler(self.triples, answers, self.relations, draw)

    def narrow(self, entities: Tensor) -> None:
        """Learn from the triples of some entities alone, all of them in every epoch; negatives stay as they are.

        Args:
            entities: bool [entities].
        """
        head, _, tail = self.triples.unbind(1)
        self.triples = self.triples[entities[head] | entities[tail]]
        self.whole, self.sampled = None, []

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""
        rows = len(self.triples) if self.whole is None else len(self.whole)
        return -(-(rows + sum(round(share * len(rows)) for rows, share in self.sampled)) // self.settings.batch_size)

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Opponents]]:
        """The triples of one epoch in a random order, [b, 3] each, and what they are scored against."""
        return self._against(self._order(generator), generator)

    def _against(self, order: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Opponents]]:
        size, ahead = self.settings.batch_size, 1
        if isinstance(self.sampler, NegativeSampler) and shapes.fixed(self.triples):
            ahead = AHEAD
        for chosen in torch.split(order, size * ahead):
            triples = self.triples[chosen]
            opponents = self.sampler.sample(triples, generator)
            if not isinstance(opponents, Negatives):
                yield triples, opponents
                continue
            for start in range(0, len(triples), size):
                batch = slice(start, start + size)
                yield triples[batch], opponents.part(batch)

    def _order(self, generator: torch.Generator) -> Tensor:
        device = self.triples.device
        if self.whole is None:
            return torch.randperm(len(self.triples), generator=generator, device=device)
        parts = [self.whole]
        for rows, share in self.sampled:
            order = torch.randperm(len(rows), generator=generator, device=device)
            parts.append(rows[order[: round(share * len(rows))]])
        rows = torch.cat(parts)
        return rows[torch.randperm(len(rows), generator=generator, device=device)]


def _known(dataset: Dataset, settings: TrainingConfig) -> Tensor:
    """The triples that are no negatives; the official code also takes them for known the other way round."""
    triples = dataset.triples["train"] if settings.known == "train" else all_triples(dataset)
    return torch.cat([triples, triples[:, [2, 1, 0]]]) if settings.known == "reference" else triples


def _both_ways(triples: Tensor, relations: int) -> Tensor:
    inverse = torch.stack([triples[:, 2], triples[:, 1] + relations, triples[:, 0]], dim=1)
    return torch.cat([triples, inverse])


def _parts(opponents: Any, mine: slice) -> Any:
    return [one.part(mine) for one in opponents] if isinstance(opponents, list) else opponents.part(mine)


def make_optimizer(model: nn.Module, rate: float) -> RowAdagrad:
    """Adagrad of all of a model."""
    groups = {EPSILON: list[nn.Parameter](), SEEN_EPSILON: list[nn.Parameter]()}
    for name, parameter in model.named_parameters():
        groups[SEEN_EPSILON if name.startswith("observed.") else EPSILON].append(parameter)
    return RowAdagrad([{"params": held, "eps": epsilon} for epsilon, held in groups.items() if held], rate)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
