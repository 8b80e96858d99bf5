"""Related entities of a release or a run: whole lists judged by what the graph states, or the nearest of one entity."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mkg_builder.errors import DataError, UnknownNameError, UsageError
from vlkge.dataset import Dataset
from vlkge.entity_vectors import EntityVectors
from vlkge.evaluate import describe_dataset
from vlkge.named_numbers import MOSTLY, label_numbers
from vlkge.protocol import all_triples
from vlkge.run import Run
from vlkge.scores import ModelScores
from vlkge.tasks.retrieval import Attribute, ListMetrics, best, judge, nearest, nearest_approximately

COMMON = 0.5
"""The share of the entities that an attribute is stated of, when none is named."""

PERIOD = 50
"""Years that count as one period."""

Pool = Literal["split", "all"]


@dataclass(frozen=True, eq=False)
class Retriever:
    """What makes lists.

    Attributes:
        name: for people to read.
        present: bool [entities], those it can find.
        find: of entities asked about [q] and a sorted pool [n] that may hold them, the best k but for themselves:
            entities [q, k] and their scores.
    """

    name: str
    present: Tensor
    find: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Request:
    """Whose lists: of a type, asked from a split, among the split or all, so long; the seed of the random order."""

    kind: str
    split: str = "test"
    pool: Pool = "split"
    top: int = 50
    seed: int = 0


@dataclass(frozen=True)
class Related:
    """One entity of a list; `shares` names the attributes in which it agrees with the one asked about."""

    rank: int
    entity: str
    label: str
    score: float
    shares: tuple[str, ...]


@dataclass(frozen=True)
class RetrievalResult:
    """Lists judged by shared attributes, beside lists in random order.

    Attributes:
        metrics, random: of the retriever and of a random order.
        about: retriever, type, split, pool, k, counts, data set, seed.
    """

    metrics: ListMetrics
    random: ListMetrics
    about: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return {**self.about, **asdict(self.metrics), "baselines": {"random": asdict(self.random)}}

    def rows(self) -> list[tuple[str, str, float | None, float | None]]:
        """A row per attribute and metric, then those over all."""
        ours, other, k = self.metrics, self.random, self.about["k"]
        rows: list[tuple[str, str, float | None, float | None]] = [
            (name, f"AP@{k}", value, other.precision_average[name]) for name, value in ours.precision_average.items()
        ]
        rows += [(name, f"P@{k}", value, other.precision[name]) for name, value in ours.precision.items()]
        rows.append(("all", f"mAP@{k}", ours.mean_precision_average, other.mean_precision_average))
        rows.append(("all", "diversity by attributes", ours.attribute_diversity, other.attribute_diversity))
        return [*rows, ("all", "diversity by cosine", ours.cosine_diversity, other.cosine_diversity)]


def by_cosine(vectors: EntityVectors, approximate: bool = False) -> Retriever:
    """Entities whose vectors have the largest cosine."""
    search = nearest_approximately if approximate else nearest

    def find(asked: Tensor, pool: Tensor, k: int) -> tuple[Tensor, Tensor]:
        places, scores = search(vectors.vectors[asked], vectors.vectors[pool], k, _own_places(asked, pool))
        return pool[places], scores

    return Retriever(f"cosine of {vectors.source}{' (approximate search)' * approximate}", vectors.present, find)


def by_relation(run: Run, relation: str) -> Retriever:
    """The likeliest tails of a relation by a run's scorer.

    Raises:
        UsageError: the relation joins entities of different types.
    """
    index = run.dataset.relation_index(relation)
    info = run.dataset.relation_info[relation]
    if info.domain != info.range:
        alike = [name for name, one in run.dataset.relation_info.items() if one.domain == one.range]
        raise UsageError(f"{relation} does not lead from a type to itself; those that do: {', '.join(alike) or 'none'}")

    model = run.load_model()

    def find(asked: Tensor, pool: Tensor, k: int) -> tuple[Tensor, Tensor]:
        scores = ModelScores(model, torch.unique(torch.cat([asked, pool])))

        def similarity(rows: slice, columns: slice) -> Tensor:
            return scores.score("tail", index, asked[rows], pool[columns])

        places, values = best(similarity, (len(asked), len(pool)), k, _own_places(asked, pool))
        return pool[places], values

    present = model.real.has_any(torch.arange(len(run.dataset.entities)))
    return Retriever(f"{relation} by the scorer of {run.folder}", present, find)


def choose_type(dataset: Dataset, kind: str | None) -> str:
    """The type that is retrieved: the one named, or the one with unseen members, or the most numerous.

    Raises:
        UnknownNameError: no entity is of this type; names the nearest.
    """
    if kind is None:
        return dataset.unseen_type or max(sorted(set(dataset.types)), key=dataset.types.count)
    if kind not in dataset.types:
        raise UnknownNameError("type", kind, set(dataset.types))
    return kind


def choose_attributes(dataset: Dataset, kind: str, names: list[str] | None = None) -> list[Attribute]:
    """What relevance is judged by: the relations from a type to another, or those named.

    A relation whose tails are numbers or spans of numbers is one of periods of `PERIOD` years.

    Raises:
        UnknownNameError: no relation has a name that is given.
        UsageError: a relation that is named starts at another type.
    """
    chosen = [name for name, info in sorted(dataset.relation_info.items()) if info.domain == kind != info.range]
    for name in names or ():
        dataset.relation_index(name)
        if dataset.relation_info[name].domain != kind:
            raise UsageError(f"{name} starts at {dataset.relation_info[name].domain}, not at {kind}")
    triples = all_triples(dataset)
    return [
        _attribute(dataset, triples[triples[:, 1] == dataset.relation_index(name)], name)
        for name in dict.fromkeys(names or chosen)
    ]


def common_attributes(
    dataset: Dataset, retriever: Retriever, attributes: list[Attribute], kind: str
) -> list[Attribute]:
    """The attributes that at least half of what can be found has; a rarer one would leave few to be judged.

    Raises:
        UsageError: there are some, and none of them is so common.
    """
    found = _known(dataset, retriever.present, [], kind)
    common = [one for one in attributes if one.stated_of(found).double().mean() >= COMMON]
    if attributes and not common:
        names = ", ".join(one.name for one in attributes)
        raise UsageError(f"none of {names} is stated of {COMMON:.0%} of what can be found; name one with --attribute")
    return common


def retrieve(
    dataset: Dataset, retriever: Retriever, space: EntityVectors, attributes: list[Attribute], request: Request
) -> RetrievalResult:
    """Judge the lists of all queries of a split, and lists in random order.

    Queries and pool are the entities of the type that the retriever can find and that have every attribute: of
    others it is not known whether they are relevant.

    Args:
        dataset: the graph.
        retriever: what makes the lists.
        space: the vectors of the cosine diversity; things without one do not count there.
        attributes: what relevance is judged by.
        request: whose lists (those whose attributes the split states), of what, how long.

    Raises:
        UnknownNameError: no such split.
        UsageError: there are no attributes.
        DataError: fewer than three entities, or none of the split, can be judged.
    """
    if not attributes:
        raise UsageError(f"no relation leads from {request.kind} to another type, so nothing says what is relevant")
    if request.split not in dataset.triples:
        raise UnknownNameError("split", request.split, dataset.triples)
    everything = _known(dataset, retriever.present, attributes, request.kind)
    of_split = torch.isin(everything, _heads(dataset, request.split, attributes))
    asked, pool = everything[of_split], everything[of_split] if request.pool == "split" else everything
    k = min(request.top, len(pool) - 1)
    if not len(asked) or k < 2:
        raise DataError(
            f"{len(pool):,} entities of type {request.kind} of the {request.split} split have a vector and all of "
            f"{', '.join(attribute.name for attribute in attributes)}; name fewer with --attribute, or --pool all"
        )
    lists, _ = retriever.find(asked, pool, k)
    random = _random_lists(asked, pool, k, request.seed)
    about = {**asdict(request), "k": k, "queries": len(asked), "candidates": len(pool), "retriever": retriever.name,
             "diversity_by": space.source, "dataset": describe_dataset(dataset)}  # fmt: skip
    metrics, by_chance = (judge(asked, found, attributes, space.vectors) for found in (lists, random))
    return RetrievalResult(metrics, by_chance, about)


def related(
    dataset: Dataset, retriever: Retriever, attributes: list[Attribute], entity: str, top: int
) -> list[Related]:
    """The entities of its type that are most like one.

    Raises:
        UnknownNameError: no such entity; names the nearest.
        DataError: it has no vector.
    """
    index = dataset.entity_index(entity)
    if not bool(retriever.present[index]):
        raise DataError(f"{entity} has no vector ({retriever.name}), so nothing is near it")
    asked, pool = torch.tensor([index]), _known(dataset, retriever.present, [], dataset.types[index])
    lists, scores = retriever.find(asked, pool, min(top, len(pool) - 1))
    row = torch.cat([asked, lists[0]])[None]
    shared = {attribute.name: attribute.shared(row)[0, 0, 1:].tolist() for attribute in attributes}
    return [
        Related(rank, dataset.entities[found], dataset.labels[found], score,
                tuple(name for name, agrees in shared.items() if agrees[rank - 1]))
        for rank, (found, score) in enumerate(zip(lists[0].tolist(), scores[0].tolist(), strict=True), 1)
    ]  # fmt: skip


def _heads(dataset: Dataset, split: str, attributes: list[Attribute]) -> Tensor:
    """Whose attributes a split states; an entity of train may stand in a held-out triple that relates it to another."""
    stated = torch.tensor([dataset.relation_index(attribute.name) for attribute in attributes])
    triples = dataset.triples[split]
    heads: Tensor = torch.unique(triples[torch.isin(triples[:, 1], stated), 0])
    return heads


def _known(dataset: Dataset, present: Tensor, attributes: list[Attribute], kind: str) -> Tensor:
    """The entities of a type that are present and have every attribute, sorted."""
    mine = torch.tensor([one == kind for one in dataset.types]) & present
    found = mine.nonzero()[:, 0]
    for attribute in attributes:
        found = found[attribute.stated_of(found)]
    return found


def _attribute(dataset: Dataset, triples: Tensor, name: str) -> Attribute:
    heads, tails = triples[triples[:, 0].argsort(stable=True)][:, [0, 2]].unbind(1)
    numbers, _ = label_numbers(dataset.labels, tails)
    if numbers.isfinite().double().mean() >= MOSTLY:
        read = numbers.isfinite()
        return Attribute(name, heads[read].contiguous(), (numbers[read] / PERIOD).floor().long())
    return Attribute(name, heads.contiguous(), tails)


def _own_places(asked: Tensor, pool: Tensor) -> Tensor:
    """Where those asked about stand in a sorted pool; -1 where they do not."""
    places = torch.searchsorted(pool, asked).clamp(max=len(pool) - 1)
    return places.where(pool[places] == asked, -1)


def _random_lists(asked: Tensor, pool: Tensor, k: int, seed: int) -> Tensor:
    """For each [q] some k of the pool in random order, itself not among them, [q, k]."""
    generator, size = np.random.default_rng(seed), len(pool) - 1
    own = _own_places(asked, pool)[:, None]
    drawn = torch.from_numpy(np.stack([generator.choice(size, k, replace=False) for _ in asked]))
    return pool[drawn + (drawn >= own.where(own >= 0, size))]
