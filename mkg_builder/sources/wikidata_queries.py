"""The questions put to the query service: SPARQL 1.1 that every engine understands, things named by QID alone."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

PREFIXES = """\
PREFIX wd: <http://www.wikidata.org/entity/>
PREFIX wdt: <http://www.wikidata.org/prop/direct/>
PREFIX p: <http://www.wikidata.org/prop/>
PREFIX ps: <http://www.wikidata.org/prop/statement/>
PREFIX psv: <http://www.wikidata.org/prop/statement/value/>
PREFIX pq: <http://www.wikidata.org/prop/qualifier/>
PREFIX wikibase: <http://wikiba.se/ontology#>
PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
PREFIX skos: <http://www.w3.org/2004/02/skos/core#>
PREFIX schema: <http://schema.org/>
"""
QID = re.compile(r"Q[1-9][0-9]{0,11}")
HISTORICAL_COUNTRY = "Q3024240"
ENGLISH_ARTICLE = "enwiki"
"""Stands among the properties for the article in the English Wikipedia."""
QUALIFIED = frozenset({"P170", "P195", "P276"})
"""Properties of whose statements some hold no more, and some only perhaps: former owners, supposed makers."""

OTHER_SIGN = ""
FIRST_SIGNS = (*"0123456789abcdefghijklmnopqrstuvwxyz", OTHER_SIGN)
"""What an identifier may begin with; the whole crosswalk is asked at once, and by these where that is too much."""


@dataclass(frozen=True)
class Question:
    """One question about many things, which can be asked of any part of them.

    Attributes:
        name: its part of the snapshot key, `artists/facts`.
        always: what each of its rows holds.
        sometimes: what a row may hold besides.
        text: the query about some of the things.
    """

    name: str
    always: frozenset[str]
    sometimes: frozenset[str]
    text: Callable[[Sequence[str]], str]


def crosswalk() -> Question:
    """Every item with a WikiArt identifier; the things are the signs that an identifier begins with."""
    first = "LCASE(SUBSTR(?slug, 1, 1))"

    def text(signs: Sequence[str]) -> str:
        if OTHER_SIGN in signs:
            absent = [sign for sign in FIRST_SIGNS if sign not in signs]
            restriction = f"\n  FILTER({first} NOT IN ({_quoted(absent)}))" if absent else ""
        else:
            restriction = f"\n  FILTER({first} IN ({_quoted(signs)}))"
        return f"{PREFIXES}SELECT ?item ?slug WHERE {{\n  ?item wdt:P6002 ?slug .{restriction}\n}}\n"

    return Question("crosswalk", frozenset({"item", "slug"}), frozenset(), text)


def facts(name: str, properties: Sequence[str], dates: Iterable[str]) -> Question:
    """What is stated of items: the best-ranked values of properties, one branch each.

    A date comes with its statement, its precision and what qualifies it; a material with the part it applies to; an
    owner, a place or a maker with what speaks against it: an end date, or the nature of the statement ("possibly").
    An unknown value is a blank node or, on some services, an address under `/.well-known/genid/`.
    """
    branches = [_dated(key) if key in set(dates) else _BRANCHES.get(key, _direct)(key) for key in properties]
    against = " end nature" if QUALIFIED.intersection(properties) else ""  # else it would change the keys of artists
    sometimes = f"statement precision calendar circumstance earliest latest part{against}"
    return _question(name, "item property value", sometimes, branches)


def countries() -> Question:
    """The countries that places lie in: stated of the place itself (`own`), or of a larger place around it (`around`).

    The whole way up is one step, so several may be found around a place; each row says what speaks against it:
    an end date of the statement, or that the country is a historical one.
    """
    stated = (
        "p:P17 ?statement . ?statement a wikibase:BestRank ; ps:P17 ?country .\n"
        "    OPTIONAL { ?statement pq:P582 ?end }\n"
        "    OPTIONAL { ?country wdt:P297 ?code }\n"
        f"    OPTIONAL {{ ?country wdt:P31 ?kind . FILTER(?kind = wd:{HISTORICAL_COUNTRY}) }}"
    )
    own = f'?item {stated} BIND("own" AS ?step)'
    around = f'?item wdt:P131+ ?larger . ?larger {stated} BIND("around" AS ?step)'
    return _question("places/countries", "item step country", "code end kind", [own, around])


def labels(languages: Sequence[str]) -> Question:
    """Labels of items in some languages, and their other names in these."""
    chosen = f"FILTER(LANG(?text) IN ({_quoted(languages)}))"
    return _question(
        "labels",
        "item kind text language",
        "",
        [
            f'?item rdfs:label ?text . {chosen} BIND("label" AS ?kind) BIND(LANG(?text) AS ?language)',
            f'?item skos:altLabel ?text . {chosen} BIND("other" AS ?kind) BIND(LANG(?text) AS ?language)',
        ],
    )


def any_labels() -> Question:
    """Labels of items in every language that has one."""
    branch = '?item rdfs:label ?text . BIND("label" AS ?kind) BIND(LANG(?text) AS ?language)'
    return _question("labels/any", "item kind text language", "", [branch])


def _question(name: str, always: str, sometimes: str, branches: Sequence[str]) -> Question:
    """A question whose branches are each tied to the items.

    Tied once, outside the union, they come last in some engines: measured, 48 s instead of 0.04 s for 200 of them.
    """
    head = " ".join(f"?{variable}" for variable in (always + " " + sometimes).split())

    def text(things: Sequence[str]) -> str:
        tied = [f"  {{ {_values(things)}\n    {branch} }}" for branch in branches]
        return f"{PREFIXES}SELECT {head} WHERE {{\n" + "\n  UNION\n".join(tied) + "\n}\n"

    return Question(name, frozenset(always.split()), frozenset(sometimes.split()), text)


def _values(things: Sequence[str]) -> str:
    """The only way for a thing from outside into a query.

    Raises:
        ValueError: not a QID.
    """
    for thing in things:
        if not QID.fullmatch(thing):
            raise ValueError(f"{thing!r} is no QID")
    return f"VALUES ?item {{ {' '.join(f'wd:{thing}' for thing in things)} }}"


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _direct(key: str) -> str:
    return f'?item wdt:{key} ?value . BIND("{key}" AS ?property)'


def _dated(key: str) -> str:
    return (
        f"?item p:{key} ?statement . ?statement a wikibase:BestRank ; ps:{key} ?value .\n"
        f"    OPTIONAL {{ ?statement psv:{key} ?time . ?time wikibase:timePrecision ?precision ;"
        " wikibase:timeCalendarModel ?calendar }\n"
        "    OPTIONAL { ?statement pq:P1480 ?circumstance }\n"
        "    OPTIONAL { ?statement pq:P1319 ?earliest }\n"
        f'    OPTIONAL {{ ?statement pq:P1326 ?latest }} BIND("{key}" AS ?property)'
    )


def _material(key: str) -> str:
    return (
        f"?item p:{key} ?statement . ?statement a wikibase:BestRank ; ps:{key} ?value .\n"
        f'    OPTIONAL {{ ?statement pq:P518 ?part }} BIND("{key}" AS ?property)'
    )


def _qualified(key: str) -> str:
    return (
        f"?item p:{key} ?statement . ?statement a wikibase:BestRank ; ps:{key} ?value .\n"
        "    OPTIONAL { ?statement pq:P582 ?end }\n"
        f'    OPTIONAL {{ ?statement pq:P5102 ?nature }} BIND("{key}" AS ?property)'
    )


def _article(key: str) -> str:
    return (
        "?value schema:about ?item ; schema:isPartOf <https://en.wikipedia.org/> . "
        f'BIND("{key}" AS ?property)'
    )  # fmt: skip


_BRANCHES: dict[str, Callable[[str], str]] = {
    "P186": _material, ENGLISH_ARTICLE: _article, **dict.fromkeys(QUALIFIED, _qualified),
}  # fmt: skip
"""Properties that are asked for in a way of their own."""
