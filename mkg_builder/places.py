"""Places as people write them, taken to the countries of today by exact names and tables, never by likeness.

`tables/country_aliases.csv` holds other names of countries; `tables/historic_states.csv` states of the past and parts
of states, `tables/nationalities.csv` peoples, each with the one country of today that it counts as and why, or with
none where it is several.
"""

import csv
from functools import lru_cache
from importlib import resources

import pycountry

from mkg_builder.errors import UnknownNameError
from mkg_builder.names import label_key, normalise, slug

_LONGEST = 300
"""A longer text is no place."""

_SHORT = {
    "BN": "Brunei", "CD": "DR Congo", "CG": "Republic of the Congo", "CV": "Cape Verde", "FK": "Falkland Islands",
    "FM": "Micronesia", "PS": "Palestine", "RU": "Russia", "TR": "Turkey", "VA": "Vatican City",
    "VG": "British Virgin Islands", "VI": "US Virgin Islands",
}  # fmt: skip
"""What people call a country that the ISO standard calls otherwise."""

_SHARED = {"georgia": "a country, and a state of the United States"}
"""Names of countries, by key, that a part of another country has too: after a place they name neither."""


def country_of(text: str) -> str | None:
    """The ISO 3166-1 alpha-2 code of the country that a place ends with, `Vinci, Florence, Italy`, or None.

    The last part between commas is looked up, or the last two for `Korea, Republic of`; a country glued to its city,
    `ParisFrance`, is found too. A state of the past counts as the country that its table gives it.
    None for a state that is several countries today (`refusal` tells), for a place that names no country, and for
    `Atlanta, Georgia`: that is the country only after a place that the table of aliases names with it.
    """
    ending = _ending(text)
    return (ending[2] or None) if ending else None


def unglue(text: str) -> tuple[str, str] | None:
    """The place and the country or state it ends with, as written; None when it ends with neither.

    `Arles, Bouches-du-RhôneFrance` gives `Arles, Bouches-du-Rhône` and `France`; the place is empty where the
    country stands alone.
    """
    ending = _ending(text)
    return ending[:2] if ending else None


def refusal(text: str) -> str | None:
    """Why a place that names a state or a people has no country, `Czechoslovakia: Czechia and Slovakia`; else None."""
    ending = _ending(text)
    if ending is not None:
        return None if ending[2] else f"{ending[1]}: {_notes()[label_key(ending[1])]}"
    people = _people(text)
    return f"{people['name']}: {people['note']}" if people and not people["country"] else None


def country_of_people(word: str) -> str | None:
    """The country of today of the people that a word names, `Dutch`, `Danes`; None for a people of several countries.

    A plural is found by its singular.
    """
    found = _people(word)
    return (found["country"] or None) if found else None


def country_of_qid(qid: str) -> str | None:
    """The country of today for the Wikidata item of a state of the past or a part of a state, else None.

    A country of today needs no table: its item states its own code (P297).
    """
    return _items().get(qid) or None


def country_name(code: str) -> str:
    """The short English name that people use: Netherlands, Russia, South Korea, Czechia.

    Raises:
        UnknownNameError: ISO 3166-1 has no such alpha-2 code.
    """
    country = pycountry.countries.get(alpha_2=code)
    if country is None or not is_country_code(code):
        raise UnknownNameError("country code", code, (known.alpha_2 for known in pycountry.countries))
    return _SHORT.get(code) or getattr(country, "common_name", None) or str(country.name)


def is_country_code(code: str) -> bool:
    """Whether ISO 3166-1 has such an alpha-2 code today: `NL`; neither `SU`, the Soviet Union's, nor `XK`."""
    country = pycountry.countries.get(alpha_2=code)
    return country is not None and country.alpha_2 == code


def country_id(code: str) -> str:
    """The id of a country in the graph, `country:south-korea`.

    Raises:
        UnknownNameError: ISO 3166-1 has no such alpha-2 code.
    """
    return f"country:{slug(country_name(code))}"


@lru_cache(maxsize=100_000)  # the same cities come by the thousand
def _ending(text: str) -> tuple[str, str, str] | None:
    """The place, the country or state it ends with, and its code, empty for a state that is several countries."""
    tidy = normalise(text) if len(text) <= _LONGEST else ""
    parts = [part.strip() for part in tidy.split(",")]
    for place, country in ((parts[:-2], ", ".join(parts[-2:])), (parts[:-1], parts[-1])):
        if (code := _code(country, after=bool(place))) is not None:
            return ", ".join(place), country, code
    last = parts[-1]
    for cut in range(1, len(last)):
        glued = last[cut].isupper() and (last[cut - 1].islower() or last[cut - 1] in ").")
        if glued and (code := _code(last[cut:], after=True)) is not None:
            return ", ".join([*parts[:-1], last[:cut]]), last[cut:], code
    return None


def _code(country: str, *, after: bool) -> str | None:
    """The code of a country or state, empty where it is none or several; whether it stands after a place matters."""
    key = label_key(country)
    return "" if after and key in _SHARED else _codes().get(key)


def _people(word: str) -> dict[str, str] | None:
    key = label_key(word) if len(word) <= _LONGEST else ""
    return _peoples().get(key) or _peoples().get(key.removesuffix("s"))


def _table(name: str) -> list[dict[str, str]]:
    text = resources.files("mkg_builder").joinpath("tables", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@lru_cache(maxsize=1)
def _codes() -> dict[str, str]:
    """The code of each known name, by the name's key; empty for a state that is several countries today."""
    codes = {}
    for country in pycountry.countries:
        for name in (country.name, getattr(country, "official_name", ""), getattr(country, "common_name", "")):
            codes[label_key(name)] = country.alpha_2
    codes |= {label_key(name): code for code, name in _SHORT.items()}
    for table in ("country_aliases.csv", "historic_states.csv"):
        codes |= {label_key(row["name"]): row["country"] for row in _table(table)}
    codes.pop("", None)
    return codes


@lru_cache(maxsize=1)
def _notes() -> dict[str, str]:
    return _SHARED | {label_key(row["name"]): row["note"] for row in _table("historic_states.csv")}


@lru_cache(maxsize=1)
def _items() -> dict[str, str]:
    return {row["wikidata"]: row["country"] for row in _table("historic_states.csv") if row["wikidata"]}


@lru_cache(maxsize=1)
def _peoples() -> dict[str, dict[str, str]]:
    return {label_key(row["name"]): row for row in _table("nationalities.csv")}
