"""Two protocols side by side, and what of their gap comes from the filter, the candidates and the ties."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from vlkge.dataset import Dataset
from vlkge.errors import ExperimentError
from vlkge.evaluate import EvaluationResult, Evaluator, describe
from vlkge.model import KGEModel
from vlkge.protocol import EvaluationProtocol, Mixture
from vlkge.run import Run
from vlkge.scores import ModelScores

CAUSES = ("filter", "candidates", "ties")
"""In the order in which the second protocol's replace the first one's."""


@dataclass(frozen=True)
class Step:
    """What one cause changes, when those before it are changed already; the steps add up to the gap.

    Attributes:
        cause: `filter` (which known answers do not compete), `candidates` or `ties`.
        ranks_changed: of how many queries.
        better: of these, how many rank better than before.
        mrr_change: of all queries.
    """

    cause: str
    ranks_changed: int
    better: int
    mrr_change: float


@dataclass(frozen=True)
class SideBySide:
    """The same scores under two protocols.

    Attributes:
        first, second: the results.
        steps: from the first to the second, over all queries.
        relations: the same by relation.
    """

    first: EvaluationResult
    second: EvaluationResult
    steps: tuple[Step, ...]
    relations: dict[str, tuple[Step, ...]]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        gap = self.second.model.overall.mrr - self.first.model.overall.mrr
        return {
            "protocols": [self.first.to_json(), self.second.to_json()],
            "gap": {
                "mrr": gap,
                "steps": [asdict(step) for step in self.steps],
                "relations": {name: [asdict(step) for step in steps] for name, steps in self.relations.items()},
            },
        }

    def rows(self) -> list[tuple[str | int | float, ...]]:
        """A row over all queries and one per relation: MRR and Hits@10 under both protocols and the gap in MRR."""
        rows: list[tuple[str | int | float, ...]] = []
        for name in (None, *self.first.model.relations):
            a, b = self.first.model.of(name), self.second.model.of(name)
            rows.append((name or "all", a.queries, a.mrr, b.mrr, b.mrr - a.mrr, a.hits_at_10, b.hits_at_10))
        return rows

    def causes(self) -> list[tuple[str | int | float, ...]]:
        """A row for each cause over all queries, and for each relation in which it changes a rank."""
        rows: list[tuple[str | int | float, ...]] = [_row("all", step) for step in self.steps]
        for name, steps in self.relations.items():
            rows += [_row(name, step) for step in steps if step.ranks_changed]
        return rows


def _row(name: str, step: Step) -> tuple[str | int | float, ...]:
    return (name, step.cause, step.ranks_changed, step.better, f"{step.mrr_change:+.5f}")


def compare_protocols(
    model: KGEModel,
    dataset: Dataset,
    split: str,
    protocols: tuple[EvaluationProtocol, EvaluationProtocol],
    seed: int | None = None,
) -> SideBySide:
    """Rank a split's answers under two protocols and under what lies between them.

    Raises:
        RunError: the split is empty, or the model's scores are not finite.
        ExperimentError: the protocols ask different questions.
    """
    first, second = protocols
    if first.directions(dataset) != second.directions(dataset):
        raise ExperimentError(f"{first.name} and {second.name} ask for different ends; evaluate each by itself")
    path = [first, Mixture(second, first, first), Mixture(second, second, first), second]
    evaluators = [Evaluator(dataset, split, protocol) for protocol in path]
    scores = ModelScores(model, torch.unique(torch.cat([evaluator.entities() for evaluator in evaluators])))
    ranks = [evaluator.rank(scores) for evaluator in evaluators[:3]]
    ranks.append(ranks[2])  # ties change no count
    by = [
        {name: part.by(evaluator.protocol.ties) for name, part in evaluator.by_relation(found).items()}
        for evaluator, found in zip(evaluators, ranks, strict=True)
    ]
    relations = {name: _steps([values[name] for values in by]) for name in by[0]}
    steps = _steps([torch.cat(list(values.values())) for values in by])
    results = [describe(evaluators[place], ranks[place], seed) for place in (0, -1)]
    return SideBySide(results[0], results[1], steps, relations)


def compare_run(
    run: Run, split: str, protocols: tuple[EvaluationProtocol, EvaluationProtocol], device: torch.device | str = "cpu"
) -> SideBySide:
    """Compare two protocols on the best weights of a run, on a torch device.

    Raises:
        RunError: as `compare_protocols`, or the run is damaged.
    """
    return compare_protocols(run.load_model().to(device), run.dataset, split, protocols, run.experiment.training.seed)


def _steps(ranks: list[torch.Tensor]) -> tuple[Step, ...]:
    """Between one entry of ranks [q] and the next."""
    return tuple(
        Step(cause, int((before != after).sum()), int((after < before).sum()),
             (after.reciprocal().mean() - before.reciprocal().mean()).item())
        for cause, before, after in zip(CAUSES, ranks, ranks[1:], strict=False)
    )  # fmt: skip
