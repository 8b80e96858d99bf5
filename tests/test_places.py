import gzip
import json
import time
from collections import Counter

import pycountry
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkg_builder import places
from mkg_builder.errors import UnknownNameError
from mkg_builder.names import label_key
from mkg_builder.places import (
    country_id,
    country_name,
    country_of,
    country_of_people,
    country_of_qid,
    refusal,
    unglue,
)
from tests.conftest import SHARED


@pytest.mark.parametrize(
    ("place", "country"),
    [
        ("Paris, France", "FR"), ("Vinci, Florence, Italy", "IT"), ("New York City, NY, US", "US"),
        ("London, UK", "GB"),
        ("Edo, Japan", "JP"), ("St. Petersburg, Russia", "RU"), ("Moscow, Russian Federation", "RU"), ("U.S.", "US"),
        ("USA", "US"), ("England", "GB"), ("Scotland", "GB"), ("The Netherlands", "NL"), ("Holland", "NL"),
        ("Czech Republic", "CZ"), ("Istanbul, Turkey", "TR"), ("İzmir, Türkiye", "TR"), ("Vietnam", "VN"),
        ("Seoul, Korea, Republic of", "KR"), ("Tehran, Iran, Islamic Republic of", "IR"),
        ("Lima, Peru, Republic of", "PE"),
        ("Hebron, Palestinian Territory", "PS"), ("Skopje, Macedonia", "MK"), ("Tbilisi, Georgia", "GE"),
        ("Museum of Modern Art (MoMA), New York City, NY, US", "US"), ("  paris ,\xa0FRANCE ", "FR"),
        ("Louvre, Paris, France, Private Collection", None), ("Paris", None), ("Los Angeles, CA", None),
        ("Nowhere", None),
        ("Private Collection", None), ("New Jersey", None), ("", None), (",", None),
    ],
)  # fmt: skip
def test_the_country_of_a_place_is_what_it_ends_with(place: str, country: str | None) -> None:
    assert country_of(place) == country


@pytest.mark.parametrize(
    ("glued", "city", "country", "code"),
    [
        ("ParisFrance", "Paris", "France", "FR"),
        ("Nunen / NuenenNetherlands", "Nunen / Nuenen", "Netherlands", "NL"),
        ("Arles, Bouches-du-RhôneFrance", "Arles, Bouches-du-Rhône", "France", "FR"),
        ("LondonUnited Kingdom", "London", "United Kingdom", "GB"),
        ("Washington, D.C.United States", "Washington, D.C.", "United States", "US"),
        ("Nieuw-amsterdamNetherlands", "Nieuw-amsterdam", "Netherlands", "NL"),
        ("Rouen, France", "Rouen", "France", "FR"),
        ("Sweden", "", "Sweden", "SE"),
    ],
)
def test_a_country_is_cut_off_its_city(glued: str, city: str, country: str, code: str) -> None:
    assert unglue(glued) == (city, country)
    assert country_of(glued) == code


@pytest.mark.parametrize("text", ["Vinci", "NewFrancePort", "France Nouvelle", "McLean", "PARISFRANCE"])
def test_what_ends_with_no_country_is_left_whole(text: str) -> None:
    assert unglue(text) is None


@pytest.mark.parametrize(
    ("state", "item", "country"),
    [
        ("Russian Empire", "Q34266", "RU"), ("Kingdom of the Netherlands", "Q29999", "NL"), ("Prussia", "Q38872", "DE"),
        ("Dutch Republic", "Q170072", "NL"), ("Republic of Venice", "Q4948", "IT"), ("Papal States", "Q170174", "IT"),
        ("Qing dynasty", "Q8733", "CN"), ("Great Britain", "Q23666", "GB"), ("Flanders", "Q234", "BE"),
        ("Kingdom of Bavaria", "Q154195", "DE"), ("German Empire", "Q43287", "DE"),
        ("Kingdom of Prussia", "Q27306", "DE"),
        ("United Kingdom of Great Britain and Ireland", "Q174193", "GB"), ("Soviet Union", "Q15180", None),
        ("Austria-Hungary", "Q28513", None), ("Czechoslovakia", "Q33946", None), ("Yugoslavia", "Q36704", None),
        ("Ottoman Empire", "Q12560", None), ("Byzantine Empire", "Q12544", None), ("Austrian Empire", "Q131964", None),
    ],
)  # fmt: skip
def test_a_state_of_the_past_is_one_country_of_today_or_refused(state: str, item: str, country: str | None) -> None:
    assert country_of(f"Somewhere, {state}") == country_of_qid(item) == country
    assert (refusal(f"Somewhere, {state}") is None) == (country is not None)


def test_a_refusal_names_the_state_and_the_reason() -> None:
    assert refusal("Brno, Czechoslovakia") == "Czechoslovakia: Czechia and Slovakia"
    assert refusal("Seoul, Korea") == "Korea: North Korea and South Korea"
    assert refusal("Brno") is refusal("Paris, France") is country_of_qid("Q142") is country_of_qid("") is None


@pytest.mark.parametrize("place", ["Atlanta, Georgia", "Athens, georgia", "AtlantaGeorgia"])
def test_a_name_that_a_country_and_a_part_of_another_have_is_refused_after_a_place(place: str) -> None:
    assert country_of(place) is None
    assert refusal(place) == f"{place[-7:]}: a country, and a state of the United States"


@pytest.mark.parametrize(
    ("place", "country"),
    [
        ("Georgia", "GE"), ("State Academy of Arts, Tbilisi, Georgia", "GE"), ("Russian Empire, Georgia", "GE"),
        ("Savannah, Georgia, United States", "US"), ("Tbilisi, Georgian SSR", "GE"),
    ],
)  # fmt: skip
def test_such_a_name_is_read_alone_and_where_its_place_tells(place: str, country: str) -> None:
    assert country_of(place) == country
    assert refusal(place) is None


@pytest.mark.parametrize(
    ("code", "name", "identifier"),
    [
        ("NL", "Netherlands", "country:netherlands"), ("RU", "Russia", "country:russia"),
        ("CZ", "Czechia", "country:czechia"),
        ("KR", "South Korea", "country:south-korea"), ("CI", "Côte d'Ivoire", "country:cote-d-ivoire"),
        ("TR", "Turkey", "country:turkey"), ("US", "United States", "country:united-states"),
    ],
)  # fmt: skip
def test_a_country_has_the_name_that_people_use(code: str, name: str, identifier: str) -> None:
    assert (country_name(code), country_id(code), country_of(name)) == (name, identifier, code)


@pytest.mark.parametrize("code", ["XX", "", "nl", "NLD"])
def test_an_unknown_code_is_an_error(code: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown country code '{code}'"):
        country_id(code)


def test_every_country_has_an_id_of_its_own_and_is_found_by_its_name() -> None:
    codes = [country.alpha_2 for country in pycountry.countries]
    assert len({country_id(code) for code in codes}) == len(codes)
    assert [country_of(country_name(code)) for code in codes] == codes
    assert [code for code in codes if country_of(f"Somewhere, {country_name(code)}") != code] == ["GE"]


@pytest.mark.parametrize(
    ("word", "country"),
    [
        ("Dutch", "NL"), ("french", "FR"), ("Danes", "DK"), ("Americans", "US"), ("South Koreans", "KR"),
        ("Flemish", "BE"), ("Scottish", "GB"), ("Québécois", "CA"), ("Swiss", "CH"), ("Laos", "LA"),
        ("Jewish", None), ("Koreans", None), ("Dominican", None), ("Soviet", None), ("Cubist", None), ("s", None),
        ("", None), ("Franco-Dutch", None), ("France", None), ("Dutch" * 100_000, None),
    ],
)  # fmt: skip
def test_a_people_is_of_one_country_or_of_none(word: str, country: str | None) -> None:
    assert country_of_people(word) == country


def test_a_people_of_several_countries_is_refused_with_the_reason() -> None:
    assert refusal("Koreans") == "Korean: North Korea or South Korea"
    assert refusal("Dutch") is refusal("Cubist") is None


def test_no_people_is_read_as_the_plural_of_another() -> None:
    keys = {label_key(row["name"]) for row in places._table("nationalities.csv")}
    assert {key for key in keys if key.endswith("s") and key.removesuffix("s") in keys} == set()


@pytest.mark.parametrize("table", ["country_aliases.csv", "historic_states.csv", "nationalities.csv"])
def test_the_tables_name_each_state_once_with_a_code_that_exists_and_a_reason(table: str) -> None:
    rows = places._table(table)
    allowed = {country.alpha_2 for country in pycountry.countries} | ({""} if table != "country_aliases.csv" else set())
    assert {row["country"] for row in rows} <= allowed
    assert all(row["note"] and None not in row for row in rows)
    for column in ("name", "wikidata"):
        assert [name for name, count in Counter(row.get(column) for row in rows).items() if name and count > 1] == []


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from(["France", "Paris", ", ", ",", "Korea", "of", " ", "("])).map("".join))
def test_any_text_has_a_country_or_none(text: str) -> None:
    code, parts = country_of(text), unglue(text)
    assert code is None or country_name(code)
    assert parts is None or country_of(parts[1]) == code


@pytest.mark.parametrize("text", ["aB" * 149, "aB" * 50_000, "," * 300, "," * 100_000, "France, " * 12_500])
def test_a_hostile_place_takes_no_time(text: str) -> None:
    start = time.process_time()
    assert country_of(text) is None
    assert time.process_time() - start < 0.05


@pytest.mark.shared
def test_every_place_of_birth_and_death_of_the_stand_in_source_has_a_country() -> None:
    with gzip.open(SHARED / "world" / "data" / "artists.jsonl.gz", "rt") as lines:
        artists = [json.loads(line) for line in lines]
    texts = [artist[place] for artist in artists for place in ("birthPlace", "deathPlace") if artist[place]]
    assert (len(texts), [text for text in texts if country_of(text) is None]) == (4749, [])
