"""The vectors that entities have of their own: carried over to a larger graph, or learned while all else stays."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from vlkge.config import TrainingConfig
from vlkge.dataset import Dataset
from vlkge.errors import RunError
from vlkge.model import KGEModel
from vlkge.negatives import EndPools, Negatives, TripleSet
from vlkge.objective import Objective
from vlkge.optimizer import RowAdagrad
from vlkge.trainer import Advance, EpochRecord, Material
from vlkge.vectors import FreeVectors


def tables(model: KGEModel) -> dict[str, FreeVectors]:
    """Every table of free vectors, by the name of its weight."""
    return {f"{name}.weight": part for name, part in model.named_modules() if isinstance(part, FreeVectors)}


def carry_over(
    former: KGEModel, model: KGEModel, places: Tensor, values: Mapping[str, Tensor], start: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Values of a model's weights, brought to a model of a larger graph.

    Args:
        former: the model that they are of.
        model: the model of the larger graph; each row of the former's tables has a place in it.
        places: int64 [former entities], the index that each has in the larger graph.
        values: by name; a table of free vectors has a row for each entity that owns one, all else is taken as it is.
        start: by name, the values of rows that the former model has not.
    """
    now, carried = tables(model), dict(values)
    for name, was in tables(former).items():
        owners = was.rows >= 0
        carried[name] = start[name].clone()
        carried[name][now[name].rows[places[owners]]] = values[name][was.rows[owners]]
    return carried


def learn_rows(
    model: KGEModel, dataset: Dataset, settings: TrainingConfig, new: Tensor, epochs: int, progress: Advance
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Train the free vectors of new entities on the train triples that name them; nothing else moves by a bit.

    Args:
        model: changed in place.
        dataset: the graph.
        settings: loss, negatives, rate and batches are the experiment's.
        new: bool [entities].
        epochs: over those triples.
        progress: told of every batch.

    Returns:
        What each epoch came to, and the optimiser's sums by weight; nothing where there is no vector to learn.

    Raises:
        RunError: the loss is not finite.
    """
    learner = _Learner(model, dataset, settings, new)
    if not learner.rows:
        return [], {}
    history = []
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        loss = learner.run_epoch(
            epoch, lambda done, total, epoch=epoch: progress(f"epoch {epoch} of {epochs}", done, total)
        )
        seconds = round(time.perf_counter() - began, 3)
        history.append(asdict(EpochRecord(epoch, loss, None, False, seconds, seconds)))
    model.eval()
    return history, learner.sums()


class _Rivals:
    """New entities as wrong answers for what others are right for, as often as a whole training would draw them.

    Without them a vector learns from its own triples alone, and soon answers every question.

    Args:
        triples: all of train [n, 3].
        owners: bool [entities], which learn.
        known: what is no wrong answer.
        settings: how many negatives, of which pool, and which end they replace.
    """

    def __init__(
        self, triples: Tensor, owners: Tensor, known: TripleSet, relations: int, settings: TrainingConfig, both: bool
    ) -> None:
        self.known = known
        others = triples[~(owners[triples[:, 0]] | owners[triples[:, 2]])]
        self.parts: list[tuple[Tensor, Tensor, int, bool]] = []
        for heads in (False, True) if both else (False,):
            pools = EndPools(triples, 0 if heads else 2, relations, settings.negative_pool)
            for relation in range(relations):
                pool, rows = pools.of(relation), others[others[:, 1] == relation]
                new = pool[owners[pool]]
                drawn = len(pool) if settings.negatives == "all" else settings.negatives / (2 if both else 1)
                asked = round(min(1.0, drawn * len(new) / max(len(pool), 1)) * len(rows))
                if asked:
                    self.parts.append((rows, new, asked, heads))

    def draw(self, generator: torch.Generator, count: int) -> list[tuple[Tensor, Negatives]]:
        """The pairs of one epoch in a random order, in `count` parts; none where nobody is anybody's rival."""
        drawn = []
        for rows, new, asked, heads in self.parts:
            positives = rows[torch.randperm(len(rows), generator=generator)[:asked]]
            rival = new[torch.randint(len(new), (asked,), generator=generator)]
            drawn.append((positives, rival, torch.full((asked,), heads)))
        if not drawn:
            return []
        positives, rival, swapped = (torch.cat(part) for part in zip(*drawn, strict=True))
        order = torch.randperm(len(positives), generator=generator)
        positives, rival, swapped = positives[order], rival[order], swapped[order]
        head, relation, tail = positives.unbind(1)
        valid = ~self.known.contains(torch.where(swapped, rival, head), relation, torch.where(swapped, tail, rival))
        parts = torch.tensor_split(torch.arange(len(positives)), count)
        return [(positives[p], Negatives(rival[p, None], swapped[p], valid[p, None])) for p in parts if len(p)]


class _Learner:
    """The state of one such training."""

    def __init__(self, model: KGEModel, dataset: Dataset, settings: TrainingConfig, new: Tensor) -> None:
        self.model, self.settings = model, settings
        model.requires_grad_(False)
        self.rows: dict[str, Tensor] = {}
        owners = torch.zeros_like(new)
        for name, table in tables(model).items():
            own = new & (table.rows >= 0) & (table.rows != (-1 if table.shared is None else table.shared))
            if own.any():
                chosen = torch.zeros(len(table.weight), dtype=torch.bool)
                chosen[table.rows[own]] = True
                self.rows[name], owners = chosen, owners | own
                table.weight.requires_grad_(True)
        self.weights = {name: tables(model)[name].weight for name in self.rows}
        if not self.rows:
            return
        self.material = Material(dataset, settings, model.reciprocal, torch.device("cpu"))
        triples, relations = self.material.triples, len(model.relations)
        known = TripleSet(triples, len(dataset.entities), relations)
        both = settings.corrupt == "both" and not model.reciprocal
        self.rivals = _Rivals(triples, owners, known, relations, settings, both)
        self.material.narrow(owners)
        self.objective = Objective(settings.loss, settings.regularizer, settings.regularizer_weight)
        self.optimizer = RowAdagrad(self.weights.values(), settings.learning_rate)
        self.generator, self.noise = torch.Generator().manual_seed(settings.seed), torch.Generator()
        model.draw_from(self.noise)

    def run_epoch(self, epoch: int, told: Any) -> float:
        self.model.train()
        self.noise.manual_seed((self.settings.seed + 1_000_003 * epoch) % 2**63)
        batches, steps = self.material.batches(self.generator), self.material.steps
        total, terms = 0.0, 0
        rivals = self.rivals.draw(self.generator, steps)
        for done, (own, others) in enumerate(zip_longest(batches, rivals), 1):
            batch = [own, *([] if others is None else [others])]
            costs = [self.objective(self.model, *part) for part in batch]
            count, triples = torch.stack([cost.terms for cost in costs]).sum(), sum(len(part[0]) for part in batch)
            loss = torch.stack([cost.total(count, triples) for cost in costs]).sum()
            self.optimizer.zero_grad()
            (loss / count).backward()  # type: ignore[no-untyped-call]
            self._step()
            total, terms = total + float(loss.detach()), terms + int(count)
            told(done, steps)
        if not total / terms < float("inf"):
            raise RunError(f"the loss is {total / terms} in epoch {epoch}; nothing was kept")
        return total / terms

    def _step(self) -> None:
        """Update the new rows, by their part of the gradient."""
        with torch.sparse.check_sparse_tensor_invariants(False):  # type: ignore[no-untyped-call]  # said, or it warns
            for name, weight in self.weights.items():
                if weight.grad is not None:
                    rows, values = weight.grad._indices(), weight.grad._values()
                    mine = self.rows[name][rows[0]]
                    weight.grad = torch.sparse_coo_tensor(rows[:, mine], values[mine], weight.shape)
            self.optimizer.step()

    def sums(self) -> dict[str, Tensor]:
        """The optimiser's sums by weight."""
        return {name: self.optimizer.state[weight]["sum"] for name, weight in self.weights.items()}
