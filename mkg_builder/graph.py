"""The knowledge graph's own words: Entity, Relation, Triple, Literal, Dropped."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

SPLITS = ("train", "validation", "test")


class Triple(NamedTuple):
    """One fact, head - relation - tail, the source that states it, and the split that a benchmark puts it in."""

    head: str
    relation: str
    tail: str
    source: str
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """One thing of the graph; a modality it does not have is None, never an empty value.

    Attributes:
        id: typed and stable, `artist:claude-monet`.
        type: the part before the first colon of the id.
        label: the name people read.
        text: what a text encoder may read; None when the entity has no text.
        image: the snapshot key of its picture; None when it has none.
        same_as: the entity elsewhere, `wikidata:Q296`, `ulan:500019484`, `viaf:24605513`.
        sources: who speaks of it.
        aliases: its other names, as people write them.
    """

    id: str
    type: str
    label: str
    text: str | None = None
    image: str | None = None
    same_as: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def merged(self, other: "Entity") -> "Entity":
        """Both accounts of one entity: the first wins where they differ, the second fills what is absent.

        What the second calls it otherwise than by capital letters is an alias.
        """
        called = {other.label} if other.label.casefold() != self.label.casefold() else set()
        return replace(
            self,
            text=self.text if self.text is not None else other.text,
            image=self.image if self.image is not None else other.image,
            same_as=tuple(sorted({*self.same_as, *other.same_as})),
            sources=tuple(sorted({*self.sources, *other.sources})),
            aliases=tuple(sorted({*self.aliases, *other.aliases, *called} - {self.label})),
        )


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as its source gave it, kept beside what cleaning makes of it: `wasBornOnDate`, "c.May 1, 1425"."""

    entity: str
    name: str
    value: str
    source: str


Statement = Entity | Triple | Literal
"""What a source says."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A kind of fact: from which entity type to which, and the sentence that asks for its tail.

    Attributes:
        inverse: the relation that says the same with head and tail exchanged.
        functional: whether a head has one tail only.
        evaluated: whether its held-out triples count in an evaluation.
    """

    name: str
    domain: str
    range: str
    prompt: str | None = None
    inverse: str | None = None
    functional: bool = False
    evaluated: bool = True


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that a rule took out of the graph, and why."""

    id: str
    rule: str
    detail: str


def entity_type(entity_id: str) -> str:
    """The type that an id carries before its first colon."""
    return entity_id.partition(":")[0]


def merge_entities(entities: Iterable[Entity]) -> dict[str, Entity]:
    """One entity per id, accounts merged in the order given."""
    merged: dict[str, Entity] = {}
    for entity in entities:
        known = merged.setdefault(entity.id, entity)
        if known is not entity and known != entity:
            merged[entity.id] = known.merged(entity)
    return merged
