"""The knowledge graph's own words: Entity, Relation, Triple, KnowledgeGraph."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mkg_builder.errors import DataError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Triple:
    """One fact, head - relation - tail, and the source that states it.

    `split` is the side that a published benchmark puts it on; None where the recipe decides.
    """

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
        """Both accounts of one entity: the first wins where they differ, the second fills what is absent."""
        return replace(
            self,
            text=self.text if self.text is not None else other.text,
            image=self.image if self.image is not None else other.image,
            same_as=tuple(sorted({*self.same_as, *other.same_as})),
            sources=tuple(sorted({*self.sources, *other.sources})),
            aliases=tuple(sorted({*self.aliases, *other.aliases} - {self.label})),
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
    """A kind of fact: from which entity type to which, and the sentence that asks for its tail."""

    name: str
    domain: str
    range: str
    prompt: str | None = None
    inverse: str | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that a rule took out of the graph, and why."""

    id: str
    rule: str
    detail: str


@dataclass(frozen=True)
class KnowledgeGraph:
    """Entities, relations and triples that fit together; refused at construction when they do not.

    Raises:
        DataError: a triple with an undeclared relation, an unknown end, an end of the wrong type,
            or a triple stated twice.
    """

    entities: Mapping[str, Entity]
    relations: Mapping[str, Relation]
    triples: tuple[Triple, ...]
    dropped: tuple[Dropped, ...] = field(default=())

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise DataError(f"not a valid graph: {problem}")

    def _problems(self) -> Iterator[str]:
        seen: set[tuple[str, str, str]] = set()
        for triple in self.triples:
            fact = (triple.head, triple.relation, triple.tail)
            relation = self.relations.get(triple.relation)
            if relation is None:
                yield f"{fact} uses an undeclared relation"
                continue
            for end, expected in ((triple.head, relation.domain), (triple.tail, relation.range)):
                entity = self.entities.get(end)
                if entity is None:
                    yield f"{fact} names {end!r}, which is no entity"
                elif entity.type != expected:
                    yield f"{fact}: {end!r} is of type {entity.type!r}, {relation.name} wants {expected!r}"
            if fact in seen:
                yield f"{fact} is stated twice"
            seen.add(fact)

    def count_entities(self) -> Counter[str]:
        """Entities per type."""
        return Counter(entity.type for entity in self.entities.values())

    def count_triples(self) -> Counter[str]:
        """Triples per relation."""
        return count_relations(self.triples)


def count_relations(triples: Iterable[Triple]) -> Counter[str]:
    """Triples per relation."""
    return Counter(triple.relation for triple in triples)


def entity_type(entity_id: str) -> str:
    """The type that an id carries before its first colon."""
    return entity_id.partition(":")[0]


def merge_entities(entities: Iterable[Entity]) -> dict[str, Entity]:
    """One entity per id, accounts merged in the order given."""
    merged: dict[str, Entity] = {}
    for entity in entities:
        known = merged.get(entity.id)
        merged[entity.id] = entity if known is None else known.merged(entity)
    return merged
