"""KnowledgeGraph: entities, relations and triples that fit together."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mkg_builder.errors import DataError
from mkg_builder.graph import Dropped, Entity, Literal, Relation, entity_type
from mkg_builder.recipe import Recipe
from mkg_builder.triples import Mask, Triples


@dataclass(frozen=True)
class KnowledgeGraph:
    """Entities, relations and triples that fit together; refused at construction when they do not.

    Raises:
        DataError: an entity whose id says another type, or a triple with an undeclared relation, an unknown end,
            an end of the wrong type, or stated twice.
    """

    entities: Mapping[str, Entity]
    relations: Mapping[str, Relation]
    triples: Triples
    literals: tuple[Literal, ...] = ()
    dropped: tuple[Dropped, ...] = ()

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise DataError(f"not a valid graph: {problem}")

    def _problems(self) -> Iterator[str]:
        triples = self.triples
        types = [self.entities[name].type if name in self.entities else None for name in triples.ids]
        yield from misnamed({name: entity.type for name, entity in self.entities.items()})
        yield from problems(triples, types, self.relations)

    def count_entities(self) -> Counter[str]:
        """Entities per type."""
        return Counter(entity.type for entity in self.entities.values())


def relations_of(recipe: Recipe) -> dict[str, Relation]:
    """The relations that a recipe declares."""
    return {name: Relation(name, **part.model_dump()) for name, part in recipe.relations.items()}


def misnamed(types: Mapping[str, str]) -> Iterator[str]:
    """The first entity whose id does not begin with its type, by which splits and searches for leaks go."""
    for name, kind in types.items():
        if entity_type(name) != kind:
            yield f"{name!r} is of type {kind!r}, so its id must begin with {kind + ':'!r}"
            return


def problems(triples: Triples, types: list[str | None], relations: Mapping[str, Relation]) -> Iterator[str]:
    """What keeps triples from being a graph, the first of each kind in words.

    Args:
        triples: the facts.
        types: of each of `triples.ids`, its type; None for what is no entity.
        relations: what is declared.
    """
    names = sorted({kind for kind in types if kind is not None} | {r.domain for r in relations.values()}
                   | {r.range for r in relations.values()})  # fmt: skip
    code = {name: place for place, name in enumerate(names)}
    type_of = np.array([code[kind] if kind is not None else -1 for kind in types], np.int32)
    undeclared = np.array([name not in relations for name in triples.relations], bool)[triples.relation]
    yield from _first(triples, undeclared, "uses an undeclared relation")
    for side, ends in (("domain", triples.head), ("range", triples.tail)):
        unknown = type_of[ends] < 0
        for place in np.flatnonzero(unknown)[:1]:
            yield f"{_words(triples, place)} names {triples.ids[ends[place]]!r}, which is no entity"
        wanted = [code[getattr(relations[n], side)] if n in relations else -1 for n in triples.relations]
        wrong = ~unknown & ~undeclared & (type_of[ends] != np.array(wanted, np.int32)[triples.relation])
        for place in np.flatnonzero(wrong)[:1]:
            relation = relations[triples.relations[triples.relation[place]]]
            end = triples.ids[ends[place]]
            kind, right = names[type_of[ends[place]]], getattr(relation, side)
            yield f"{_words(triples, place)}: {end!r} is of type {kind!r}, {relation.name} wants {right!r}"
    keys = triples.keys()
    ordered = np.sort(keys)
    if (ordered[1:] == ordered[:-1]).any():
        repeated = np.ones(len(keys), bool)
        repeated[np.unique(keys, return_index=True)[1]] = False
        yield from _first(triples, repeated, "is stated twice")


def _first(triples: Triples, wrong: Mask, said: str) -> Iterator[str]:
    for place in np.flatnonzero(wrong)[:1]:
        yield f"{_words(triples, place)} {said}"


def _words(triples: Triples, place: np.intp) -> tuple[str, str, str]:
    return (
        triples.ids[triples.head[place]],
        triples.relations[triples.relation[place]],
        triples.ids[triples.tail[place]],
    )
