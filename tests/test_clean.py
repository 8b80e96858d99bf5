from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkg_builder.clean import Facts, bin_years, clean, drop_duplicates, drop_rare, normalise, slug, timeframe
from mkg_builder.graph import Entity, Triple, entity_type, merge_entities
from mkg_builder.recipe import BinRule
from tests.tiny_recipe import tiny_recipe


def facts(*triples: tuple[str, str, str], **entity: object) -> Facts:
    ends = dict.fromkeys(end for head, _, tail in triples for end in (head, tail))
    entities = {e: Entity(e, entity_type(e), e.partition(":")[2], sources=("s",), **entity) for e in ends}
    return Facts(entities, tuple(Triple(*t, "s") for t in triples))


@pytest.mark.parametrize(
    ("raw", "tidy"),
    [
        ("Caf&#233; at  Night", "Café at Night"),
        ("Japan's\xa0(Camille)", "Japan's (Camille)"),
        ("Monet\uffff Claude", "Monet Claude"),
        ("van Gogh Vincent ", "van Gogh Vincent"),
        ("e\u0301tude\u200b", "étude"),
        ("\u202eevil\x1b[31m", "evil [31m"),
        ("None", "None"),
    ],
)
def test_names_are_tidied(raw: str, tidy: str) -> None:
    assert normalise(raw) == tidy


@given(st.text())
def test_tidying_twice_changes_nothing_unless_it_decodes_more(text: str) -> None:
    once = normalise(text.replace("&", ""))
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Rosa × centifolia", "rosa-centifolia"), ("Naïve Art (Primitivism)", "naive-art-primitivism"),
     ("  ", ""), ("Ар-деко", "ар-деко"), ("female_portraits", "female-portraits")],
)  # fmt: skip
def test_slugs(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize(
    ("year", "period"),
    [(1849, "1800-1850"), (1850, "1850-1900"), (0, "0-50"), (-1, "-50-0"), (-3050, "-3050--3000"), (2025, "2000-2050")],
)
def test_periods_are_half_open(year: int, period: str) -> None:
    assert timeframe(year, 50) == f"timeframe:{period}"


def test_years_become_periods_under_the_rules_relation() -> None:
    binned = bin_years(facts(("artwork:a", "year_of", "year:1889")), {"year_of": BinRule(into="in", years=50)})
    assert binned.triples == (Triple("artwork:a", "in", "timeframe:1850-1900", "s"),)
    assert binned.entities["timeframe:1850-1900"].label == "1850-1900"


def test_rare_attributes_go_until_nothing_changes() -> None:
    chain = facts(("artwork:a", "r", "tag:x"), ("artwork:b", "r", "tag:x"), ("tag:x", "r", "tag:y"))
    left = drop_rare(chain, {"tag": 2})
    assert sorted(left.entities) == ["artwork:a", "artwork:b", "tag:x"]
    assert [(d.id, d.rule) for d in left.dropped] == [("tag:y", "min_frequency")]
    assert drop_rare(left, {"artwork": 2}).triples == ()


def test_a_fact_that_two_sources_state_stands_once() -> None:
    stated = facts(("artwork:a", "r", "tag:x"))
    twice = replace(stated, triples=(*stated.triples, Triple("artwork:a", "r", "tag:x", "other")))
    assert drop_duplicates(twice).triples == (Triple("artwork:a", "r", "tag:x", "other"),)


def works() -> Facts:
    return facts(
        ("artwork:a", "isCreatedByArtist", "artist:x"), ("artwork:a", "hasStyle", "style:s"),
        ("artwork:b", "hasStyle", "style:t"), ("artwork:a", "unwanted", "thing:z"),
        ("artist:x", "isPupilOf", "artist:x"),
    )  # fmt: skip


def test_the_rules_together_keep_what_the_recipe_declares() -> None:
    cleaned = clean(works(), tiny_recipe(cleaning={"require": ["isCreatedByArtist"]}))
    assert {t.relation for t in cleaned.triples} == {"isCreatedByArtist", "hasStyle"}
    assert sorted(cleaned.entities) == ["artist:x", "artwork:a", "style:s"]
    assert {d.rule for d in cleaned.dropped} == {"require", "self_reference"}


def test_self_references_stay_where_the_recipe_says_so() -> None:
    cleaned = clean(works(), tiny_recipe(cleaning={"drop_self_references": False}))
    assert Triple("artist:x", "isPupilOf", "artist:x", "s") in cleaned.triples


def test_no_picture_no_artwork_is_a_rule_of_the_recipe() -> None:
    assert "artwork:a" in clean(works(), tiny_recipe(cleaning={"require_image": False})).entities
    assert "artwork:a" not in clean(works(), tiny_recipe(cleaning={"require_image": True})).entities


def test_a_type_has_the_text_that_its_policy_allows() -> None:
    cleaned = clean(works(), tiny_recipe(types={**tiny_recipe().model_dump()["types"], "artist": {"text": "label"}}))
    assert cleaned.entities["artist:x"].text == "x"
    assert cleaned.entities["style:s"].text is None


def test_an_alias_of_nothing_but_blanks_is_dropped_with_its_reason() -> None:
    bare = works()
    nameless = replace(bare, entities={**bare.entities, "style:s": replace(bare.entities["style:s"], label="\u200b ")})
    cleaned = clean(nameless, tiny_recipe())
    assert "style:s" not in cleaned.entities
    assert ("style:s", "normalise_names") in {(d.id, d.rule) for d in cleaned.dropped}


def test_accounts_of_one_entity_complete_each_other() -> None:
    first = Entity("artist:x", "artist", "X", same_as=("a:1",), sources=("s",))
    second = Entity("artist:x", "artist", "Other", text="text", same_as=("b:2",), sources=("t",))
    assert merge_entities([first, second])["artist:x"] == Entity(
        "artist:x", "artist", "X", text="text", same_as=("a:1", "b:2"), sources=("s", "t")
    )
