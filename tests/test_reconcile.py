"""What sources disagree on, each rule on a handful of facts."""

import pytest

from mkg_builder.facts import Facts
from mkg_builder.graph import Entity, Literal, Triple, entity_type
from mkg_builder.names import slug
from mkg_builder.recipe import CleaningRecipe
from mkg_builder.reconcile import (
    bin_dates,
    drop_contradictions,
    drop_cycles,
    merge_aliases,
    mirror,
    resolve_conflicts,
    to_countries,
)
from mkg_builder.triples import Triples
from tests.tiny_recipe import tiny_recipe

Stated = tuple[str, str, str] | tuple[str, str, str, str]


def facts(*stated: Stated, **known: Entity) -> Facts:
    triples = [Triple(*s, *(["s"] if len(s) == 3 else [])) for s in stated]
    ends = dict.fromkeys(end for t in triples for end in (t.head, t.tail))
    entities = {e: Entity(e, entity_type(e), e.partition(":")[2], sources=("s",)) for e in ends}
    return Facts(entities | {entity.id: entity for entity in known.values()}, Triples.of(triples))


def left(outcome: Facts) -> list[tuple[str, str, str]]:
    return sorted((t.head, t.relation, t.tail) for t in outcome.triples)


def losses(outcome: Facts) -> list[tuple[str, str]]:
    return [(d.rule, d.detail) for d in outcome.dropped]


def test_two_slugs_of_one_item_are_one_artist_under_the_smaller_id() -> None:
    one = Entity("artist:b-monet", "artist", "B. Monet", same_as=("wikidata:Q296",))
    two = Entity("artist:a-monet", "artist", "Monet", same_as=("wikidata:Q296",))
    stated = facts(("artwork:x", "by", "artist:b-monet"), one=one, two=two)
    merged = merge_aliases(stated, CleaningRecipe(merge_by=["wikidata"]))
    assert left(merged) == [("artwork:x", "by", "artist:a-monet")]
    kept = merged.entities["artist:a-monet"]
    assert (kept.label, kept.aliases, kept.same_as) == ("Monet", ("B. Monet",), ("artist:b-monet", "wikidata:Q296"))


def test_aliases_of_the_recipe_are_merged_and_literals_follow() -> None:
    stated = facts(("a:x", "hasStyle", "style:impressionisme"), ("a:y", "hasStyle", "style:impressionism"))
    said = Literal("style:impressionisme", "note", "n", "s")
    stated = Facts(stated.entities, stated.triples, (said,))
    merged = merge_aliases(stated, CleaningRecipe(merge={"style:impressionism": ["style:impressionisme"]}))
    assert {t.tail for t in merged.triples} == {"style:impressionism"}
    assert merged.literals[0].entity == "style:impressionism"


def test_an_identifier_that_is_not_named_merges_nothing() -> None:
    one, two = (Entity(f"artist:{n}", "artist", n, same_as=("ulan:5",)) for n in "ab")
    assert merge_aliases(facts(one=one, two=two), CleaningRecipe(merge_by=["wikidata"])).entities.keys() == {
        "artist:a", "artist:b",
    }  # fmt: skip


BORN = CleaningRecipe(countries=["wasBornIn"])


def place(name: str) -> Entity:
    return Entity(f"place:{name.lower()}", "place", name, sources=("s",))


def test_a_place_becomes_the_country_that_its_name_ends_with() -> None:
    outcome = to_countries(
        facts(("artist:a", "wasBornIn", "place:p"), p=Entity("place:p", "place", "Vinci, Italy")), BORN
    )
    assert left(outcome) == [("artist:a", "wasBornIn", "country:italy")]
    assert (outcome.entities["country:italy"].label, outcome.entities["country:italy"].same_as) == (
        "Italy", ("iso3166:IT",),
    )  # fmt: skip


def test_what_a_source_says_of_a_place_goes_before_its_name() -> None:
    delft = Entity("place:q690", "place", "Delft")
    netherlands = Entity("country:kingdom-of-the-netherlands", "country", "K.", same_as=("iso3166:NL",))
    stated = facts(
        ("artist:a", "wasBornIn", "place:q690"), ("place:q690", "isInCountry", netherlands.id), p=delft, c=netherlands
    )
    assert ("artist:a", "wasBornIn", "country:netherlands") in left(to_countries(stated, BORN))


@pytest.mark.parametrize(
    ("spellings", "country", "reasons"),
    [
        (("Paris, France", "Paris France"), ["country:france"], []),
        (("Prague, Czechoslovakia", "Prague Czechoslovakia"), [], ["Czechoslovakia: Czechia and Slovakia"]),
        (("Paris, Texas", "Paris Texas"), [], ["no country is known for Paris Texas"]),
    ],
)
def test_whichever_spelling_of_a_place_was_read_first_it_has_the_same_country(
    spellings: tuple[str, str], country: list[str], reasons: list[str]
) -> None:
    for label, other in (spellings, spellings[::-1]):
        name = f"place:{slug(spellings[0])}"
        known = Entity(name, "place", label, sources=("s",), aliases=(other,))
        outcome = to_countries(facts(("artist:a", "wasBornIn", name), p=known), BORN)
        assert ([tail for *_, tail in left(outcome)], [reason for _, reason in losses(outcome)]) == (country, reasons)


def test_an_old_name_of_a_place_does_not_tell_its_country() -> None:
    lviv = Entity("place:lviv", "place", "Lviv", aliases=("Lemberg, Austria", "Poland"), sources=("s",))
    outcome = to_countries(facts(("artist:a", "wasBornIn", "place:lviv"), p=lviv), BORN)
    assert losses(outcome) == [("countries", "no country is known for Lviv")]


def test_a_place_without_a_country_is_dropped_with_its_reason() -> None:
    outcome = to_countries(facts(("artist:a", "wasBornIn", "place:x"), p=Entity("place:x", "place", "Nowhere")), BORN)
    assert (left(outcome), losses(outcome)) == ([], [("countries", "no country is known for Nowhere")])


FUNCTIONAL = {"relations": {**tiny_recipe().model_dump()["relations"], "r": {"domain": "artist", "range": "artist",
              "functional": True}}}  # fmt: skip
TRUSTED = {"works": {"use": "x:y"}, "wikidata": {"use": "x:y"}, "wikiart": {"use": "x:y"}}


def resolved(*stated: Stated) -> Facts:
    recipe = tiny_recipe(**FUNCTIONAL, sources=TRUSTED, cleaning={"prefer": ["wikidata"]})
    return resolve_conflicts(facts(*stated), recipe)


def test_the_preferred_source_is_right_and_the_other_is_listed() -> None:
    outcome = resolved(("artist:a", "r", "artist:x", "a-first"), ("artist:a", "r", "artist:y", "wikidata"))
    assert left(outcome) == [("artist:a", "r", "artist:y")]
    assert losses(outcome) == [("conflict", "a-first; wikidata says artist:y")]


def test_dates_that_may_be_one_agree() -> None:
    outcome = resolved(("artist:a", "r", "date:1840", "wikiart"), ("artist:a", "r", "date:1840-11-14", "wikidata"))
    assert (left(outcome), losses(outcome)) == ([("artist:a", "r", "date:1840-11-14")], [])
    assert outcome.gone == {"duplicate": 1}


@pytest.mark.parametrize("vague", ["18XX", "1840~", "1830/1850", "../1860", "1800/"])
def test_of_dates_that_agree_the_narrowest_stands_whoever_says_it(vague: str) -> None:
    outcome = resolved(("artist:a", "r", "date:1840-05-01", "wikiart"), ("artist:a", "r", f"date:{vague}", "wikidata"))
    assert (left(outcome), outcome.gone) == ([("artist:a", "r", "date:1840-05-01")], {"duplicate": 1})


def test_dates_that_agree_with_the_trusted_one_may_contradict_each_other() -> None:
    outcome = resolved(
        ("artist:a", "r", "date:1840", "wikiart"), ("artist:a", "r", "date:1810", "works"),
        ("artist:a", "r", "date:18XX", "wikidata"), ("artist:a", "r", "date:17XX", "a-first"),
    )  # fmt: skip
    assert left(outcome) == [("artist:a", "r", "date:1840")]
    assert losses(outcome) == [
        ("conflict", "works; wikiart says date:1840"),
        ("conflict", "a-first; wikiart says date:1840"),
    ]


def test_dates_that_cannot_be_one_are_a_conflict() -> None:
    outcome = resolved(("artist:a", "r", "date:1841", "wikiart"), ("artist:a", "r", "date:1840-11-14", "wikidata"))
    assert losses(outcome) == [("conflict", "wikiart; wikidata says date:1840-11-14")]


def test_a_relation_with_many_tails_has_no_conflicts() -> None:
    outcome = resolved(("artist:a", "isPupilOf", "artist:x", "b"), ("artist:a", "isPupilOf", "artist:y", "a"))
    assert len(outcome.triples) == 2


def test_who_dies_before_being_born_loses_both_dates() -> None:
    rules = CleaningRecipe(in_order={"born": "died"})
    wrong = facts(
        ("artist:a", "born", "date:1900"), ("artist:a", "died", "date:1850"), ("artist:b", "born", "date:1900")
    )
    outcome = drop_contradictions(wrong, rules)
    assert left(outcome) == [("artist:b", "born", "date:1900")]
    assert [rule for rule, _ in losses(outcome)] == ["contradiction", "contradiction"]
    fine = facts(("artist:a", "born", "date:1850~"), ("artist:a", "died", "date:1849"))
    assert drop_contradictions(fine, rules) is fine


def test_a_circle_of_teachers_goes_whole_and_nothing_else() -> None:
    circle = [(f"artist:{a}", "isPupilOf", f"artist:{b}") for a, b in ("ab", "bc", "ca", "cd", "ed")]
    outcome = drop_cycles(facts(*circle), tiny_recipe(cleaning={"acyclic": ["isPupilOf"]}))
    assert left(outcome) == [("artist:c", "isPupilOf", "artist:d"), ("artist:e", "isPupilOf", "artist:d")]
    assert len(outcome.dropped) == outcome.gone["cycle"] == 3


@pytest.mark.parametrize(
    ("date", "tail"),
    [("1849", "timeframe:1800-1850"), ("1850", "timeframe:1850-1900"), ("1840-11-14", "timeframe:1800-1850"),
     ("187X", "timeframe:1850-1900"), ("18XX", None), ("1850~", None), ("1849/1851", None),
     ("-0030", "timeframe:-50-0")],
)  # fmt: skip
def test_a_date_becomes_a_half_century_or_is_dropped(date: str, tail: str | None) -> None:
    rules = CleaningRecipe.model_validate({"bins": {"year_of": {"into": "in"}}})
    outcome = bin_dates(facts(("artwork:a", "year_of", f"date:{date}")), rules)
    assert left(outcome) == ([("artwork:a", "in", tail)] if tail else [])
    assert losses(outcome) == ([] if tail else [("bins", "not wholly in one period of 50 years")])


def test_a_period_of_one_year_is_a_year() -> None:
    rules = CleaningRecipe.model_validate({"bins": {"r": {"into": "r", "years": 1, "type": "year"}}})
    outcome = bin_dates(facts(("artwork:a", "r", "date:1889-07"), ("artwork:b", "r", "date:1827/1828")), rules)
    assert (left(outcome), outcome.entities["year:1889"].label) == ([("artwork:a", "r", "year:1889")], "1889")


def test_every_fact_gets_its_mirror_once() -> None:
    outcome = mirror(facts(("artist:a", "isPupilOf", "artist:b"), ("artist:d", "isTeacherOf", "artist:c"),
                           ("artist:b", "isTeacherOf", "artist:a")), tiny_recipe())  # fmt: skip
    assert left(outcome) == [
        ("artist:a", "isPupilOf", "artist:b"), ("artist:b", "isTeacherOf", "artist:a"),
        ("artist:c", "isPupilOf", "artist:d"), ("artist:d", "isTeacherOf", "artist:c"),
    ]  # fmt: skip
    assert outcome.gone == {"mirrored": -1}


def test_who_is_merged_is_listed_and_who_was_decided_to_be_another_is_not_merged() -> None:
    people = {n: Entity(f"artist:{n}", "artist", n, same_as=("wikidata:Q296",), sources=("s",)) for n in "abc"}
    rules = CleaningRecipe(merge_by=["wikidata"])
    assert losses(merge_aliases(facts(**people), rules)) == [("merged", "artist:a: both are wikidata:Q296")] * 2
    outcome = merge_aliases(facts(**people), rules, [("artist:a", "artist:c")])
    assert outcome.entities.keys() == {"artist:a", "artist:c"}
    by_hand = CleaningRecipe(merge={"artist:a": ["artist:c"]})
    assert losses(merge_aliases(facts(**people), by_hand)) == [("merged", "artist:a: by the recipe")]
    assert losses(merge_aliases(facts(**people), by_hand, [("artist:a", "artist:c")])) == []


def test_a_decision_against_holds_also_for_what_alignment_has_renamed() -> None:
    joined = Entity("artist:a", "artist", "A", same_as=("artist:x", "wikidata:Q1"), sources=("s",))
    other = Entity("artist:b", "artist", "B", same_as=("wikidata:Q1",), sources=("s",))
    rules = CleaningRecipe(merge_by=["wikidata"])
    outcome = merge_aliases(facts(a=joined, b=other), rules, [("artist:b", "artist:x")])
    assert outcome.entities.keys() == {"artist:a", "artist:b"}


@pytest.mark.parametrize(
    ("wikidata", "wikiart", "stands"),
    [
        (("1773", "1774-08-31"), ("1774",), ["1774-08-31"]),  # the one that another source bears out
        (("1924", "1925"), ("1925",), ["1925"]),
        (("1876", "1911-07-25"), (), ["1911-07-25"]),  # else the most exact
        (("18XX", "1911"), (), ["1911"]),  # before it the narrowest
        (("1773",), ("1774-08-31",), ["1773"]),  # the preferred source against any other
    ],
)
def test_of_several_values_of_the_preferred_source_the_best_borne_out_stands(
    wikidata: tuple[str, ...], wikiart: tuple[str, ...], stands: list[str]
) -> None:
    stated = [
        ("artist:a", "r", f"date:{year}", source)
        for source, years in (("wikidata", wikidata), ("wikiart", wikiart))
        for year in years
    ]
    assert sorted({tail.partition(":")[2] for *_, tail in left(resolved(*stated))}) == stands
