"""Linear probes on a release or a run: which relations are read off the vectors, by how far better than without."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mkg_builder import schema
from mkg_builder.errors import UnknownNameError, UsageError
from vlkge.dataset import Dataset
from vlkge.entity_vectors import EntityVectors
from vlkge.errors import DatasetError, FeaturesError
from vlkge.evaluate import describe_dataset
from vlkge.named_numbers import MOSTLY, label_numbers, read_numbers
from vlkge.tasks.linear_probe import Examples, ProbeProtocol, measure, train_probe
from vlkge.tasks.targets import Classes, Labels, Number, Target

Progress = Callable[[str, int, int | None], None]
Splits = Mapping[str, Examples]


@dataclass(frozen=True)
class ProbeResult:
    """What one probe reached.

    Attributes:
        target: the relation or literal.
        kind: `class`, `labels` or `number`.
        answers: how many classes or labels there are; 1 for a number.
        examples: per split; of a test example whose answer train does not have, a class counts as wrong and a label
            is left out.
        epoch: the one that was kept.
        metrics: on the test split.
        baseline: the same of the majority class, of the labels' frequencies, of the median.
    """

    target: str
    kind: str
    answers: int
    examples: Mapping[str, int]
    epoch: int
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return asdict(self)

    def rows(self) -> list[tuple[str | int | float, ...]]:
        """A row per metric."""
        counts = (self.kind, self.answers, self.examples["train"], self.examples["test"])
        return [(self.target, *counts, name, value, self.baseline[name]) for name, value in self.metrics.items()]


@dataclass(frozen=True)
class Task:
    """What is read off the vectors, and the examples of each split."""

    name: str
    target: Target
    splits: Splits


def choose_relations(dataset: Dataset) -> list[str]:
    """The relations that a probe is for: from the type with unseen members to what train can name.

    Raises:
        UsageError: there is none; names the option.
    """
    if dataset.unseen_type is None:
        raise UsageError(f"{dataset.name} has no type with unseen members; name what to read: --of RELATION")
    chosen = [
        name
        for name, info in sorted(dataset.relation_info.items())
        if info.domain == dataset.unseen_type != info.range and info.evaluated
    ]
    if not chosen:
        raise UsageError(f"no relation leads from {dataset.unseen_type} to another type; name one: --of RELATION")
    return chosen


def relation_task(dataset: Dataset, present: Tensor, relation: str, protocol: ProbeProtocol) -> Task:
    """The task of one relation: a number where its tails are numbers, a class where a head has one tail, else labels.

    What holds of `MOSTLY` of it decides: a head with two classes is an example of each.

    Args:
        dataset: the graph.
        present: bool [entities], those with a vector; the others are left out.
        relation: its name.
        protocol: how a number is scaled.

    Raises:
        UnknownNameError: no such relation.
        FeaturesError: train or test has no example with a vector.
    """
    index = dataset.relation_index(relation)
    pairs = {split: triples[triples[:, 1] == index][:, [0, 2]] for split, triples in dataset.triples.items()}
    pairs = {split: found[present[found[:, 0]]] for split, found in pairs.items()}
    _require(pairs, relation)
    numbers, spans = label_numbers(dataset.labels, pairs["train"][:, 1])
    if (numbers.isfinite() & ~spans).double().mean() >= MOSTLY:
        return number_task(dataset, pairs, relation, protocol)
    heads, tails = pairs["train"].unbind(1)
    known, classes = torch.unique(tails, return_inverse=True)
    if dataset.relation_info[relation].functional or len(torch.unique(heads)) >= MOSTLY * len(heads):
        splits = {split: Examples(found[:, 0], _places(known, found[:, 1])) for split, found in pairs.items()}
        splits["train"] = Examples(heads, classes)
        splits["validation"] = _answerable(splits["validation"])
        return Task(relation, Classes(len(known)), splits)
    labelled = {split: _labelled(found, known) for split, found in pairs.items()}
    _require({split: part.rows for split, part in labelled.items()}, f"{relation} with a tail that train knows")
    return Task(relation, Labels(len(known)), labelled)


def number_task(dataset: Dataset, pairs: Mapping[str, Tensor], name: str, protocol: ProbeProtocol) -> Task:
    """The task of a number: (head, tail) [n, 2] per split, the tails' labels naming it; what is no number is left out.

    Raises:
        FeaturesError: train or test has no number.
    """
    splits = {}
    for split, found in pairs.items():
        numbers, _ = label_numbers(dataset.labels, found[:, 1])
        splits[split] = Examples(found[numbers.isfinite(), 0], numbers[numbers.isfinite()].float())
    _require({split: part.rows for split, part in splits.items()}, name)
    return Task(name, Number(splits["train"].answers, protocol.scaling), splits)


def literal_task(dataset: Dataset, release: Path, present: Tensor, name: str, protocol: ProbeProtocol) -> Task:
    """The task of a number that the release states as a literal of the type with unseen members.

    Raises:
        UnknownNameError: the release has no such literal.
        FeaturesError: train or test has no number with a vector.
        DatasetError: a literal is of an unknown entity.
    """
    table = schema.read_table(release, "literals", columns=["entity", "name", "value"])
    rows = [row for row in table.to_pylist() if row["name"] == name]
    if not rows:
        known = {*table["name"].unique().to_pylist(), *dataset.relations}
        raise UnknownNameError("relation or literal", name, known)
    try:
        entities = torch.tensor([dataset.entity_index(row["entity"]) for row in rows])
    except UnknownNameError as error:
        raise DatasetError(f"literals of {release}: {error}") from None
    numbers, _ = read_numbers([row["value"] for row in rows])
    usable = numbers.isfinite() & present[entities]
    splits = {
        split: Examples(entities[usable & mine[entities]], numbers[usable & mine[entities]].float())
        for split, mine in _members(dataset).items()
    }
    _require({split: part.rows for split, part in splits.items()}, name)
    return Task(name, Number(splits["train"].answers, protocol.scaling), splits)


def run_task(task: Task, vectors: Tensor, protocol: ProbeProtocol, seed: int, progress: Progress) -> ProbeResult:
    """Train one probe and measure it on the test split beside its baseline."""
    parts = task.splits["train"], task.splits["validation"]
    probe = train_probe(task.target, vectors, parts, protocol, seed, lambda *done: progress(task.name, *done))
    test = task.splits["test"]
    metrics = measure(task.target, probe, vectors, test)
    baseline = task.target.measure(task.target.baseline(parts[0].answers, len(test)), test.answers)
    counts = {split: len(examples) for split, examples in task.splits.items()}
    return ProbeResult(task.name, task.target.kind, task.target.width, counts, probe.epoch, metrics, baseline)


def describe(dataset: Dataset, vectors: EntityVectors, protocol: ProbeProtocol, seed: int) -> dict[str, Any]:
    """All that probes' numbers depend on."""
    return {
        "protocol": asdict(protocol),
        "dataset": describe_dataset(dataset),
        "vectors": vectors.source,
        "seed": seed,
    }


def _require(parts: Mapping[str, Tensor], name: str) -> None:
    for split in ("train", "test"):
        if not len(parts[split]):
            raise FeaturesError(
                f"no {split} example of {name} has a vector to read it off; another --modality may have"
            )


def _places(known: Tensor, tails: Tensor) -> Tensor:
    """Where tails stand among the known ones; -1 where they do not."""
    places = torch.searchsorted(known, tails.contiguous()).clamp(max=len(known) - 1)
    return places.where(known[places] == tails, -1)


def _answerable(examples: Examples) -> Examples:
    answered = examples.answers >= 0
    return Examples(examples.rows[answered], examples.answers[answered])


def _labelled(pairs: Tensor, known: Tensor) -> Examples:
    places = _places(known, pairs[:, 1])
    heads, rows = torch.unique(pairs[places >= 0, 0], return_inverse=True)
    answers = torch.zeros(len(heads), len(known), dtype=torch.bool)
    answers[rows, places[places >= 0]] = True
    return Examples(heads, answers)


def _members(dataset: Dataset) -> dict[str, Tensor]:
    """Which entities [n] are of each split: the first that has a triple of theirs as a head."""
    taken = torch.zeros(len(dataset.entities), dtype=torch.bool)
    members = {}
    for split, triples in dataset.triples.items():
        mine = torch.zeros_like(taken)
        mine[triples[:, 0]] = True
        members[split], taken = mine & ~taken, taken | mine
    return members
