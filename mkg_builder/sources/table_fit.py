"""Whether tables fit the recipe that they stand in: its endpoints, its types, its relations."""

from collections.abc import Iterable, Iterator, Mapping

from mkg_builder.errors import UnknownNameError
from mkg_builder.recipe import Recipe
from mkg_builder.source import Misfit
from mkg_builder.sources.table_options import Fact, Rows, Table


def misfits(tables: Mapping[str, Table], recipe: Recipe, source: str) -> Iterator[Misfit]:
    """What the options name that the recipe does not have or has no use for, and facts that its relations cannot hold.

    Args:
        tables: the options' tables, by name.
        recipe: the whole recipe.
        source: by which name the tables stand among its sources.
    """
    endpoints = recipe.sources[source].endpoints
    for name, table in tables.items():
        row = table.entity
        yield from _unknown("endpoint", table.endpoint, endpoints, "tables", name, "endpoint")
        if row.image is not None:
            place = ("tables", name, "entity", "image", "endpoint")
            yield from _unknown("endpoint", row.image.endpoint, endpoints, *place)
        yield from _unknown("type", row.type, recipe.types, "tables", name, "entity", "type")
        yield from ((("tables", name, "entity", part), why) for part, why in _unused(row, recipe))
        for number, fact in enumerate(table.facts):
            at = ("tables", name, "facts", number)
            yield from _unknown("relation", fact.relation, {*recipe.relations, *recipe.cleaning.bins}, *at, "relation")
            yield from _unknown("type", fact.type, {*recipe.types, *_passing(fact, recipe)}, *at, "type")
            tail = tables[fact.table].entity.type if fact.table is not None else fact.type
            yield from ((at, why) for why in _unfitting(fact, row.type, tail, recipe))


def _unused(row: Rows, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What is mapped of rows and their type has no use for: the part, and what to say instead."""
    kind, where = recipe.types[row.type], f"types.{row.type}"
    if row.image is not None and not kind.image:
        yield "image", f"type {row.type!r} has no `image: true`: say `{where}.image: true`, or map no image"
    if row.text is not None and kind.text != "source":
        yield "text", f"type {row.type!r} has `text: {kind.text}`: say `{where}.text: source`, or map no text"


def _passing(fact: Fact, recipe: Recipe) -> list[str]:
    """Types that cleaning makes others of, and no recipe needs to declare."""
    return ["place"] if fact.relation in recipe.cleaning.countries else []


def _unknown(kind: str, name: str | None, known: Iterable[str], *place: int | str) -> Iterator[Misfit]:
    if name is not None and name not in known:
        yield place, str(UnknownNameError(kind, name, known))


def _unfitting(fact: Fact, head: str, tail: str | None, recipe: Recipe) -> Iterator[str]:
    """Why a fact could not stand in the graph: its ends are not what its relation joins."""
    binned = recipe.cleaning.bins.get(fact.relation)
    relation = recipe.relations.get(binned.into if binned else fact.relation)
    if relation is None:
        return
    if head != relation.domain:
        yield f"{fact.relation} is said of type {relation.domain!r}, and the rows are of type {head!r}"
    if fact.parse == "date":
        if binned is None:
            yield f"{fact.relation} leads to dates: say under `cleaning.bins` which periods they become"
    elif (found := tail or fact.parse) not in {relation.range, *_passing(fact, recipe)}:
        yield f"{fact.relation} leads to type {relation.range!r}, and the values are of type {found!r}"
