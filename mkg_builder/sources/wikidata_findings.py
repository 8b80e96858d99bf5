"""What the answers of the query service come to: the crosswalk, the facts of items, countries and names."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mkg_builder.graph import Dropped
from mkg_builder.source import SourceContext
from mkg_builder.sources.wikiart_requests import clean_slug
from mkg_builder.sources.wikidata_batches import Batches, Row, number, qid
from mkg_builder.sources.wikidata_dates import Moment, moment
from mkg_builder.sources.wikidata_queries import FIRST_SIGNS, Question, any_labels, countries, crosswalk, labels

_SLUG = re.compile(r"[^\s\x00-\x20\"<>\\^`{|}/]+(/[^\s\x00-\x20\"<>\\^`{|}/]+)?")
"""`artist` or `artist/work`, of signs that an address may hold."""


@dataclass(frozen=True)
class Crosswalk:
    """Item -> the slugs that it has on WikiArt, sorted; a slug belongs to one item."""

    artists: dict[str, list[str]]
    artworks: dict[str, list[str]]


@dataclass
class Facts:
    """What is stated of items.

    Attributes:
        values: item -> property -> values as text.
        moments: item -> property -> dates.
    """

    values: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    moments: dict[str, dict[str, set[Moment]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))

    def items(self, properties: Iterable[str]) -> set[str]:
        """The items that stand as a value of one of the properties."""
        wanted = set(properties)
        return {
            item
            for stated in self.values.values()
            for key in stated.keys() & wanted
            for value in stated[key]
            if (item := qid(value)) is not None
        }


@dataclass(frozen=True)
class Country:
    """A country as a place's candidate: its item, and its ISO 3166-1 code, empty if it has none."""

    item: str
    code: str


@dataclass(frozen=True)
class Names:
    """What an item is called: by its first label in the order of languages, and otherwise."""

    label: str
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """All that was asked: who is who, what is stated of them, where places lie, what things are called."""

    crosswalk: Crosswalk
    artists: Facts
    artworks: Facts
    countries: dict[str, list[Country]]
    names: dict[str, Names]


def ask_crosswalk(batches: Batches, context: SourceContext) -> Crosswalk:
    """Who is who; where two items claim one slug the older item has it, and the loss is written down.

    An empty crosswalk is not believed: so answers a service whose index is being loaded, or a broken replica.
    """
    holders: dict[str, set[str]] = defaultdict(set)
    unreadable: set[tuple[str, str]] = set()
    for row in batches.rows(crosswalk(), FIRST_SIGNS):
        item, slug = qid(row["item"]), _slug_of(row["slug"])
        if item is None or slug is None:
            unreadable.add((row["item"], row["slug"]))
        else:
            holders[slug].add(item)
    if not holders and not unreadable:
        batches.doubt(crosswalk(), FIRST_SIGNS, "no item at all has an identifier P6002")
    for address, slug in sorted(unreadable):
        context.drop(Dropped(address, "unreadable_identifier", repr(slug)))
    found = Crosswalk({}, {})
    for slug in sorted(holders):
        first, *others = sorted(holders[slug], key=number)
        (found.artworks if "/" in slug else found.artists).setdefault(first, []).append(slug)
        for other in others:
            context.drop(Dropped(f"wikidata:{other}", "shared_identifier", f"{slug} is {first}'s"))
    return found


def _slug_of(identifier: str) -> str | None:
    """An identifier as the site has it in its own ids, in small letters, as all are there; None for what is none."""
    slug = "/".join(clean_slug(part) or "" for part in identifier.split("/")).lower()
    return slug if _SLUG.fullmatch(slug) else None


AGAINST = {"end": "ended", "nature": "uncertain"}
"""What a row says against its statement -> the rule by which that is left out."""


def ask_facts(
    batches: Batches, context: SourceContext, question: Question, items: Iterable[str], dates: Iterable[str]
) -> Facts:
    """What is stated of items; a material that applies to a part (canvas, the support) is none of the whole.

    A statement that holds no more, or only perhaps, is left out, and the loss is written down.
    """
    found, dated, lost = Facts(), set(dates), set[tuple[str, str, str]]()
    statements: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in batches.rows(question, sorted(items, key=number)):
        item, key = qid(row["item"]), row["property"]
        if item is None or "part" in row:
            continue
        if rules := [rule for column, rule in AGAINST.items() if column in row]:
            lost.add((item, rules[0], f"{key} {qid(row['value']) or row['value']}"))
        elif key in dated:
            statements[item, key, row.get("statement", "")].append(row)
        else:
            found.values[item][key].add(row["value"])
    for (item, key, _), rows in statements.items():
        found.moments[item][key].add(moment(rows))
    for item, rule, detail in sorted(lost):
        context.drop(Dropped(f"wikidata:{item}", rule, detail))
    return found


def ask_countries(batches: Batches, places: Iterable[str]) -> dict[str, list[Country]]:
    """Place -> the countries that it lies in today, the one to take first.

    What is stated of the place itself goes before what is stated of a larger place around it; what has an end, or is
    a historical country, does not count. Of several, one with an ISO code is taken, then the older item.
    """
    stated: dict[tuple[str, str], set[Country]] = defaultdict(set)
    for row in batches.rows(countries(), sorted(places, key=number)):
        place, country = qid(row["item"]), qid(row["country"])
        if place is not None and country is not None and "end" not in row and "kind" not in row:
            stated[row["step"], place].add(Country(country, row.get("code", "")))
    found: dict[str, list[Country]] = {}
    for step in ("around", "own"):
        for (said, place), some in stated.items():
            if said == step:
                found[place] = sorted(some, key=lambda one: (not one.code, number(one.item), one.code))
    return found


def ask_names(batches: Batches, items: Iterable[str], languages: Sequence[str]) -> dict[str, Names]:
    """Labels in the first of the languages that has one, else in the first of all others by code; and aliases."""
    wanted = sorted(items, key=number)
    rank = {language: place for place, language in enumerate(languages)}
    heard = _heard(batches.rows(labels(languages), wanted), rank)
    nameless = [item for item in wanted if not any(said.kind == "label" for said in heard.get(item, ()))]
    for item, others in _heard(batches.rows(any_labels(), nameless), rank).items():
        heard[item] |= {min(others)}
    return {item: _names(said) for item, said in heard.items() if min(said).kind == "label"}


class _Said(NamedTuple):
    """A name of an item; the one to call it by sorts first."""

    kind: str
    rank: int
    language: str
    text: str


def _heard(rows: Iterable[Row], rank: Mapping[str, int]) -> dict[str, set[_Said]]:
    heard: dict[str, set[_Said]] = defaultdict(set)
    for row in rows:
        item, text, language = qid(row["item"]), row["text"].strip(), row["language"]
        if item is not None and text:
            heard[item].add(_Said(row["kind"], rank.get(language, len(rank)), language, text))
    return heard


def _names(said: set[_Said]) -> Names:
    label = min(said).text
    return Names(label, tuple(sorted({one.text for one in said} - {label})))
