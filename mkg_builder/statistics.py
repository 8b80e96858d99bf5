"""Modality availability: which entities have an image or a text, and what that leaves for each triple."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mkg_builder.graph import SPLITS, Entity, KnowledgeGraph, Triple

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


def entity_splits(splits: Mapping[str, Iterable[Triple]]) -> dict[str, str]:
    """Each entity's split: the first of train, validation and test that names it."""
    first: dict[str, str] = {}
    for split in SPLITS:
        for triple in splits[split]:
            first.setdefault(triple.head, split)
            first.setdefault(triple.tail, split)
    return first


def modality(entity: Entity) -> str:
    """Which of `MODALITIES` an entity has."""
    has = [name for name, value in (("image", entity.image), ("text", entity.text)) if value is not None]
    return "+".join(has) or "none"


def availability(graph: KnowledgeGraph, splits: Mapping[str, tuple[Triple, ...]]) -> list[Availability]:
    """All counts: entity type x modality x split, and relation x (head -> tail modality) x split.

    An entity that no triple names is counted under the split `none`.
    """
    has = {name: modality(entity) for name, entity in graph.entities.items()}
    placed = entity_splits(splits)
    groups: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for name, entity in graph.entities.items():
        groups["entity_type", entity.type, placed.get(name, "none")][has[name]] += 1
    for split in SPLITS:
        for triple in splits[split]:
            groups["relation", triple.relation, split][f"{has[triple.head]}→{has[triple.tail]}"] += 1
    return [
        Availability(*group, kind, count, sum(counts.values()))
        for group, counts in sorted(groups.items())
        for kind, count in sorted(counts.items())
    ]
