"""Modality availability: which entities have an image or a text, and what that leaves for each triple."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mkg_builder.graph import SPLITS, Entity
from mkg_builder.knowledge_graph import KnowledgeGraph
from mkg_builder.triples import Triples

MODALITIES = ("image", "text", "image+text", "none")
"""What an entity has: an image only, a text only, both, or neither."""


@dataclass(frozen=True)
class Availability:
    """One count: of `total` in this scope, name and split, `count` have this modality.

    Attributes:
        scope: `entity_type` or `relation`.
        name: the entity type or the relation.
        split: train, validation or test; an entity counts in the first of these that it occurs in.
        modality: for entities one of `MODALITIES`; for relations head -> tail, `image→text`.
    """

    scope: str
    name: str
    split: str
    modality: str
    count: int
    total: int


def entity_splits(splits: Mapping[str, Triples]) -> dict[str, str]:
    """Each entity's split: the first of train, validation and test that names it."""
    first: dict[str, str] = {}
    for split in SPLITS:
        triples = splits[split]
        for code in np.flatnonzero(triples.named()).tolist():
            first.setdefault(triples.ids[code], split)
    return first


def modality(entity: Entity) -> str:
    """Which of `MODALITIES` an entity has."""
    has = [name for name, value in (("image", entity.image), ("text", entity.text)) if value is not None]
    return "+".join(has) or "none"


def availability(graph: KnowledgeGraph, splits: Mapping[str, Triples]) -> list[Availability]:
    """All counts: entity type x modality x split, and relation x (head -> tail modality) x split.

    An entity that no triple names is counted under the split `none`.
    """
    has = {name: modality(entity) for name, entity in graph.entities.items()}
    placed = entity_splits(splits)
    groups: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for name, entity in graph.entities.items():
        groups["entity_type", entity.type, placed.get(name, "none")][has[name]] += 1
    for split in SPLITS:
        for relation, head, tail, count in _joined(splits[split], has):
            groups["relation", relation, split][f"{head}→{tail}"] += count
    return [
        Availability(*group, kind, count, sum(counts.values()))
        for group, counts in sorted(groups.items())
        for kind, count in sorted(counts.items())
    ]


def _joined(triples: Triples, has: Mapping[str, str]) -> Iterator[tuple[str, str, str, int]]:
    """Relation, head modality, tail modality, and how many triples join them so."""
    kinds = len(MODALITIES)
    codes = np.array([MODALITIES.index(has.get(name, "none")) for name in triples.ids], np.int64)
    keys = (triples.relation * kinds + codes[triples.head]) * kinds + codes[triples.tail]
    for key, count in zip(*(values.tolist() for values in np.unique(keys, return_counts=True)), strict=True):
        rest, tail = divmod(key, kinds)
        relation, head = divmod(rest, kinds)
        yield triples.relations[relation], MODALITIES[head], MODALITIES[tail], count


def pivot(counts: Sequence[Availability], scope: str) -> tuple[list[str], list[tuple[str, str, list[int], int]]]:
    """Counts as a table: the modalities that occur, and a row (name, split, count per modality, total)."""
    chosen = [count for count in counts if count.scope == scope]
    columns = sorted({count.modality for count in chosen})
    rows: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for count in chosen:
        rows[count.name, count.split][count.modality] = count.count
    order = {split: place for place, split in enumerate((*SPLITS, "none", "all"))}
    return columns, [
        (name, split, [row.get(column, 0) for column in columns], sum(row.values()))
        for (name, split), row in sorted(rows.items(), key=lambda item: (item[0][0], order[item[0][1]]))
    ]


def over_splits(counts: Sequence[Availability]) -> list[Availability]:
    """The same counts with the splits added up, under the split `all`."""
    sums: dict[tuple[str, str, str], int] = defaultdict(int)
    totals: dict[tuple[str, str], int] = defaultdict(int)
    for count in counts:
        sums[count.scope, count.name, count.modality] += count.count
        totals[count.scope, count.name] += count.count
    return [
        Availability(scope, name, "all", kind, number, totals[scope, name])
        for (scope, name, kind), number in sorted(sums.items())
    ]
