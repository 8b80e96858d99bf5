"""Counts by country: every head once in each country that it has, and nothing lost."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkg_builder.countries import LOOKED_AT, ByCountry, Home, Stray, count_by_country, home
from mkg_builder.report import take_census
from tests.planting import rewrite, rows
from tests.tiny_release import Fact, write_tiny_release


def counted(folder: Path, facts: list[Fact], **same_as: list[str]) -> list[ByCountry]:
    release = write_tiny_release(folder, {"train": facts[::2], "validation": facts[1::2], "test": []})
    if same_as:
        changed = [row | {"same_as": same_as.get(row["label"], [])} for row in rows(release, "entities", "full")]
        rewrite(release, "entities", "full", changed)
    return count_by_country(release, take_census(release).tails)


def born(*places: str) -> list[Fact]:
    return [(f"artist:a-{i}", "wasBornIn", place) for i, place in enumerate(places)]


@pytest.mark.parametrize(
    ("entity", "label", "same_as", "expected"),
    [
        ("country:x", "Nowhere", ["iso3166:PE", "wikidata:Q419"], Home("PE")),
        ("country:x", "Nowhere", ["iso3166:SU", "iso3166:SE", "iso3166:NO"], Home("NO")),
        ("country:x", "Nowhere", ["wikidata:Q34266"], Home("RU")),
        ("country:x", "The Netherlands", [], Home("NL")),
        ("country:x", "Prussia", [], Home("DE")),
        ("gallery:x", "Louvre, Paris, France", [], Home("FR")),
        ("nationality:x", "Flemish", [], Home("BE")),
        ("country:south-korea", "대한민국", [], Home("KR")),
        ("nationality:dutch", "Nederlands", [], Home("NL")),
        ("country:x", "Czechoslovakia", [], Home("", "Czechia and Slovakia")),
        ("place:x", "Brno, Czechoslovakia", [], Home("", "Czechoslovakia: Czechia and Slovakia")),
        ("nationality:x", "Jewish", [], Home("", "a people of many countries")),
        ("place:paris", "Paris", [], Home("")),
    ],
)
def test_where_a_tail_is(entity: str, label: str, same_as: list[str], expected: Home) -> None:
    assert home(entity, label, same_as) == expected


def test_heads_are_counted_by_country_and_the_rest_by_tail(tmp_path: Path) -> None:
    facts = born("country:peru", "country:prussia", "country:germany", "country:soviet-union", "country:atlantis")
    assert counted(tmp_path, facts) == [
        ByCountry("wasBornIn", 3, {"DE": 2, "PE": 1}, [
            Stray("Atlantis", 1), Stray("Soviet Union", 1, "fifteen countries of today"),
        ])
    ]  # fmt: skip


def test_a_head_counts_once_in_a_country_and_in_each_that_it_has(tmp_path: Path) -> None:
    facts = [("artist:a", "hasNationality", f"nationality:{name}") for name in ("scottish", "british", "french")]
    assert counted(tmp_path, facts) == [ByCountry("hasNationality", 1, {"FR": 1, "GB": 1}, [])]


def test_an_identifier_says_more_than_a_name(tmp_path: Path) -> None:
    facts = born("country:peru", "country:chad")
    assert counted(tmp_path, facts, Peru=["iso3166:BO"])[0].countries == {"BO": 1, "TD": 1}


@pytest.mark.parametrize(
    "facts",
    [
        [("artist:a", "hasStyle", f"style:{name}") for name in ("cubism", "rococo", "peru", "chad", "pop-art")],
        born("country:peru", "country:peru"),
        born("country:peru", "country:atlantis"),
        born("place:paris"),
    ],
)
def test_what_does_not_lead_to_several_countries_has_no_map(facts: list[Fact], tmp_path: Path) -> None:
    assert counted(tmp_path, facts) == []


def test_a_relation_is_told_by_its_frequent_tails_and_counted_by_all(tmp_path: Path) -> None:
    rare = [(f"artist:b-{i}", "wasBornIn", f"country:atlantis-{i}") for i in range(300)]
    often = [(f"artist:a-{i}", "wasBornIn", f"country:{name}") for i in range(3) for name in
             ("peru", "chad", "mali", "iran", "fiji", "iraq", "cuba", "oman", "togo", "laos")]  # fmt: skip
    assert counted(tmp_path / "few", [*often, *rare]) == []
    [found] = counted(tmp_path / "many", [*often, *rare[:8]])
    assert (sum(found.countries.values()), len(found.strays)) == (30, 8)
    halls = [(f"artwork:{i}", "isIn", f"hall:{i}, {('peru', 'chad')[i % 2]}") for i in range(LOOKED_AT + 50)]
    [found] = counted(tmp_path / "halls", halls)
    assert found.countries == {"PE": LOOKED_AT // 2 + 25, "TD": LOOKED_AT // 2 + 25}


TAILS = ("country:peru", "country:chad", "country:prussia", "country:germany", "country:soviet-union", "country:utopia")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(TAILS)), min_size=1, max_size=30))
def test_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, facts: list[tuple[int, str]]) -> None:
    facts = [*facts, (9, "country:peru"), (9, "country:chad"), (9, "country:germany")]
    same = {"country:prussia": "country:germany"}
    expected = {(head, same.get(tail, tail)) for head, tail in facts}
    [found] = counted(tmp_path_factory.mktemp("release"), [(f"artist:{h}", "wasBornIn", tail) for h, tail in facts])
    assert sum(found.countries.values()) + sum(stray.number for stray in found.strays) == len(expected)
    assert found.heads == len({h for h, tail in expected if tail not in ("country:soviet-union", "country:utopia")})
