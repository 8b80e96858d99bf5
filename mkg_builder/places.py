"""Places as people write them, taken to the countries of today, by exact names and two tables; never by likeness."""

import csv
from functools import lru_cache
from importlib import resources

import pycountry

from mkg_builder.errors import UnknownNameError
from mkg_builder.names import label_key, normalise, slug

LONGEST = 300
"""A longer text is no place."""

_SHORT = {
    "BN": "Brunei", "CD": "DR Congo", "CG": "Republic of the Congo", "CV": "Cape Verde", "FK": "Falkland Islands", "FM": "Micronesia",
    "PS": "Palestine", "RU": "Russia", "TR": "Turkey", "VA": "Vatican City", "VG": "British Virgin Islands",
    "VI": "US Virgin Islands",
}  # fmt: skip
"""What people call a country where the ISO standard has another name."""


def country_of(text: str) -> str | None:
    """The ISO 3166-1 alpha-2 code of the country that a place ends with, `Vinci, Florence, Italy`, or None.

    The last part between commas is looked up, together with the one before for `Korea, Republic of`; a country glued
    to its city, `ParisFrance`, is found too. A state of the past counts as the country its table gives it.
    None for a state that is several countries today (`refusal` tells), and for a place that names no country.
    """
    found = unglue(text)
    return _countries().get(label_key(found[1])) or None if found else None


@lru_cache(maxsize=100_000)  # the same cities come by the thousand
def unglue(text: str) -> tuple[str, str] | None:
    """The place and the country or state it ends with, as written; the place is empty where the country stands alone.

    `Arles, Bouches-du-RhôneFrance` gives `Arles, Bouches-du-Rhône` and `France`.
    """
    tidy = normalise(text[: LONGEST + 1])
    if len(tidy) > LONGEST:
        return None
    parts = [part.strip() for part in tidy.split(",")]
    for length in (2, 1):
        country = ", ".join(parts[-length:])
        if len(parts) >= length and label_key(country) in _countries():
            return ", ".join(parts[:-length]), country
    last = parts[-1]
    for cut in range(1, len(last)):
        if (
            last[cut].isupper()
            and (last[cut - 1].islower() or last[cut - 1] in ").")
            and label_key(last[cut:]) in _countries()
        ):
            return ", ".join([*parts[:-1], last[:cut]]), last[cut:]
    return None


def refusal(text: str) -> str | None:
    """Why a place has no country though it names a state: `Soviet Union: fifteen countries of today`; else None."""
    found = unglue(text)
    return f"{found[1]}: {_ambiguous()[label_key(found[1])]}" if found and country_of(text) is None else None


def country_of_qid(qid: str) -> str | None:
    """The country of today for the Wikidata item of a state of the past; None where it is several, or no such state."""
    return _by_qid().get(qid) or None


def country_name(code: str) -> str:
    """The short English name that people use: Netherlands, Russia, South Korea, Czechia.

    Raises:
        UnknownNameError: ISO 3166-1 has no such code.
    """
    country = pycountry.countries.get(alpha_2=code)
    if country is None:
        raise UnknownNameError("country code", code, (known.alpha_2 for known in pycountry.countries))
    return _SHORT.get(code) or getattr(country, "common_name", None) or str(country.name)


def country_id(code: str) -> str:
    """The id of a country in the graph, `country:south-korea`."""
    return f"country:{slug(country_name(code))}"


def _table(name: str) -> list[dict[str, str]]:
    text = resources.files("mkg_builder").joinpath("tables", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@lru_cache(maxsize=1)
def _countries() -> dict[str, str]:
    """The code of each known name, by the name's key; empty for a state that is several countries today."""
    codes = {}
    for country in pycountry.countries:
        for name in (country.name, *(getattr(country, more, "") for more in ("official_name", "common_name"))):
            codes[label_key(name)] = country.alpha_2
    codes |= {label_key(name): code for code, name in _SHORT.items()}
    for table in ("country_aliases.csv", "historic_states.csv"):
        codes |= {label_key(row["name"]): row["country"] for row in _table(table)}
    codes.pop("", None)
    return codes


@lru_cache(maxsize=1)
def _ambiguous() -> dict[str, str]:
    return {label_key(row["name"]): row["note"] for row in _table("historic_states.csv") if not row["country"]}


@lru_cache(maxsize=1)
def _by_qid() -> dict[str, str]:
    return {row["wikidata"]: row["country"] for row in _table("historic_states.csv") if row["wikidata"]}
