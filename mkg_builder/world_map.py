"""A map of the world for a page: countries coloured by how many of something they have, with all that lies off it."""

import csv
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import zip_longest

from mkg_builder.countries import ByCountry, Stray
from mkg_builder.places import country_name

Box = tuple[int, int, int, int]
WORLD: Box = (120, 0, 3860, 1730)
EUROPE: Box = (1765, 60, 475, 415)
"""Left, top, width and height of what is shown, in the units of `tables/world_map.csv`."""
CROWDED = 3
"""Countries of Europe that call for a larger map of it, since most of the small ones lie there."""
SHADES = 6
"""Steps of colour that the style sheet knows, from few to many."""
STEPS = ((1, 2, 5), (1, 3), (1,))
"""Where classes of counts may begin, in each power of ten."""
NAMED = 5
"""Countries that the map names to those who do not see it."""
STRAYS = 100
"""What is not on the map, one by one; the rest is counted together."""


@dataclass(frozen=True)
class Outline:
    """A country's shape, or where its dot stands when it is too small; an area without a code is drawn all the same."""

    country: str
    path: str
    dot: tuple[int, int] | None

    def in_europe(self) -> bool:
        """Whether it lies, or begins, on the map of Europe."""
        x, y = self.dot or map(int, self.path[1:].partition("l")[0].split())
        left, top, width, height = EUROPE
        return left < x < left + width and top < y < top + height


@dataclass(frozen=True)
class Land:
    """A country on one map: its colour, 0 for none at all, and what it says."""

    outline: Outline
    shade: int
    text: str


@dataclass(frozen=True)
class Class:
    """Counts that share a colour."""

    shade: int
    text: str


@dataclass(frozen=True)
class WorldMap:
    """A relation's map, ready to be drawn.

    Attributes:
        said: the map in a sentence, for those who do not see it.
        europe: what a second, larger map shows, if there is one.
        rows: every country that has any, the most frequent first.
        strays: what is counted and is not on the map, the most frequent first.
    """

    counted: ByCountry
    said: str
    europe: Box | None
    lands: Sequence[Land]
    classes: Sequence[Class]
    rows: Sequence[tuple[str, int]]
    strays: Sequence[Stray]
    world: Box = WORLD


@cache
def outlines() -> tuple[Outline, ...]:
    """The countries of `tables/world_map.csv`, which mkg_builder/tables/outlines.py made."""
    text = resources.files("mkg_builder").joinpath("tables", "world_map.csv").read_text(encoding="utf-8")
    return tuple(Outline(row["country"], row["outline"], _dot(row["dot"])) for row in csv.DictReader(text.splitlines()))


def _dot(text: str) -> tuple[int, int] | None:
    x, blank, y = text.partition(" ")
    return (int(x), int(y)) if blank else None


def draw(counted: ByCountry) -> WorldMap:
    """The map of a relation."""
    edges = class_edges(counted.countries.values())
    on_map = {outline.country for outline in outlines()}
    unseen = [code for code in counted.countries if code not in on_map]
    off = [Stray(country_name(code), counted.countries[code], "no outline on this map") for code in unseen]
    rows = sorted(((country_name(code), n) for code, n in counted.countries.items()), key=lambda row: (-row[1], row[0]))
    crowded = sum(outline.in_europe() for outline in outlines() if outline.country in counted.countries)
    most = ", ".join(f"{name} {number:,}" for name, number in rows[:NAMED])
    return WorldMap(
        counted,
        f"{counted.relation}: {counted.heads:,} heads in {len(rows)} countries; most in {most}",
        EUROPE if crowded >= CROWDED else None,
        list(_lands(counted.countries, edges)),
        list(_classes(counted.countries, edges)),
        rows,
        _cut(sorted([*counted.strays, *off], key=lambda stray: (-stray.number, stray.name))),
    )


def _cut(strays: Sequence[Stray]) -> Sequence[Stray]:
    rest = strays[STRAYS:]
    return [*strays[:STRAYS], *([Stray(f"{len(rest):,} more", sum(s.number for s in rest))] if rest else [])]


def class_edges(counts: Iterable[int]) -> list[int]:
    """Where at most `SHADES` classes begin: round numbers, evenly apart in logarithms, from the least count on."""
    low, high = min(counts := list(counts), default=1), max(counts, default=1)
    kept: list[int] = []
    for steps in STEPS:
        marks = [step * 10**power for power in range(len(str(high))) for step in steps]
        kept = [mark for mark, after in zip_longest(marks, marks[1:]) if mark <= high and (after or high + 1) > low]
        if len(kept) <= SHADES:
            return kept
    return [kept[0], *kept[1 - SHADES :]]


def shade_of(count: int, edges: Sequence[int]) -> int:
    """The colour of a count: 0 for none, the strongest for the last class."""
    place = bisect_right(edges, count)
    return place and round(SHADES - (len(edges) - place) * (SHADES - 1) / max(len(edges) - 1, 1))


def _lands(countries: Mapping[str, int], edges: Sequence[int]) -> Iterator[Land]:
    for outline in outlines():
        number = countries.get(outline.country, 0)
        text = f"{country_name(outline.country)}: {number:,}" if outline.country else ""
        yield Land(outline, shade_of(number, edges), text)


def _classes(countries: Mapping[str, int], edges: Sequence[int]) -> Iterator[Class]:
    for first, after in zip_longest(edges, edges[1:]):
        last = after - 1 if after else max(countries.values(), default=first)
        yield Class(shade_of(first, edges), f"{first:,}–{last:,}" if last > first else f"{first:,}")
