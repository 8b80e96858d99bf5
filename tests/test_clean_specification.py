"""Cleaning and splitting against plain specifications, on small worlds that Hypothesis makes up.

`benchmarks/clean_specification.py` compares them on ten thousand; what it and these tests have found stands below
as the smallest example of each.
"""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkg_builder.clean import clean
from mkg_builder.facts import Facts
from mkg_builder.graph import SPLITS, Entity, Literal, Triple, entity_type
from mkg_builder.names import normalise, slug
from mkg_builder.recipe import Recipe, SplitRecipe
from mkg_builder.split import sides_of, split_facts
from mkg_builder.triples import Triples
from tests.clean_specification import specified_clean
from tests.nasty_worlds import ARTISTS, ARTWORKS, SOURCES, facts_of, pictures, recipe_of, recipes, splits, worlds
from tests.split_specification import specified_split

SPLIT = {"policy": "transductive"}


def cleaned(facts: Facts, recipe: Recipe) -> tuple[object, ...]:
    """What the library makes of the facts, in plain Python."""
    fast = clean(facts, recipe)
    gone = {rule: number for rule, number in fast.gone.items() if number}
    lines = Counter((line.rule, line.id) for line in fast.dropped)
    return dict(fast.entities), Counter(fast.triples), Counter(fast.literals), lines, gone


def specified(facts: Facts, recipe: Recipe) -> tuple[object, ...]:
    slow = specified_clean(facts, recipe)
    gone = {rule: number for rule, number in slow.gone.items() if number}
    return slow.entities, Counter(slow.triples), Counter(slow.literals), Counter(slow.dropped), gone


@settings(max_examples=300)
@given(worlds, recipes)
def test_cleaning_does_what_its_specification_says(facts: Facts, recipe: Recipe) -> None:
    assert cleaned(facts, recipe) == specified(facts, recipe)


@settings(max_examples=50)
@given(worlds, recipes)
def test_cleaning_again_changes_nothing_and_no_triple_is_unaccounted_for(facts: Facts, recipe: Recipe) -> None:
    once = clean(facts, recipe)
    again = clean(Facts(once.entities, once.triples, once.literals), recipe)
    assert dict(again.entities) == dict(once.entities)
    assert (Counter(again.triples), again.literals) == (Counter(once.triples), once.literals)
    assert len(facts.triples) == len(once.triples) + sum(once.gone.values())


@settings(max_examples=50)
@given(worlds, recipes, st.randoms())
def test_neither_order_nor_repetition_of_the_facts_matters(facts: Facts, recipe: Recipe, random: Random) -> None:
    def shuffled(things: object, extra: bool = True) -> list:
        many = list(things)  # type: ignore[call-overload]
        many += random.sample(many, len(many) // 2) if extra else []
        random.shuffle(many)
        return many

    entities = dict(shuffled(facts.entities.items(), extra=False))
    other = Facts(entities, Triples.of(shuffled(facts.triples)), tuple(shuffled(facts.literals)))
    one, two = clean(facts, recipe), clean(other, recipe)
    assert (dict(one.entities), Counter(one.triples)) == (dict(two.entities), Counter(two.triples))
    assert (set(one.literals), set(one.dropped)) == (set(two.literals), set(two.dropped))


@settings(max_examples=50)
@given(worlds, recipes)
def test_a_record_that_has_nothing_to_do_with_others_changes_none_of_them(facts: Facts, recipe: Recipe) -> None:
    rules = recipe.cleaning.model_copy(update={"min_frequency": {}})  # which counts what others say too
    recipe = recipe.model_copy(update={"cleaning": rules})
    new, style = "artwork:0-new", "style:0-new"
    entities = {**facts.entities, new: Entity(new, "artwork", "Apart"), style: Entity(style, "style", "Apart too")}
    more = Facts(entities, Triples.of([*facts.triples, Triple(new, "hasStyle", style, "a")]), facts.literals)
    before, after = clean(facts, recipe), clean(more, recipe)
    assert {n: e for n, e in after.entities.items() if n not in (new, style)} == dict(before.entities)
    assert Counter(t for t in after.triples if t.head != new) == Counter(before.triples)
    assert set(after.literals) == set(before.literals)


def divided(facts: Facts, policy: SplitRecipe, near: dict[str, str] | None = None) -> dict[tuple[str, ...], str]:
    """Each fact that is left and where."""
    left, sides = split_facts(facts, policy, near or {})
    return {triple[:3]: split for split, part in sides_of(left.triples, sides).items() for triple in part}


@settings(max_examples=100)
@given(worlds, recipes, pictures, st.permutations(SOURCES))
def test_splitting_does_what_its_specification_says(
    facts: Facts, recipe: Recipe, near: dict[str, str], sources: list[str]
) -> None:
    facts = clean(facts, recipe)
    facts = Facts(facts.entities, Triples.of(t._replace(split=t.split or "test") for t in facts.triples))
    known = sources[:2]  # of the third nobody says when it came
    fast, sides = split_facts(facts, recipe.split, near, known)
    slow, expected = specified_split(facts, recipe.split, near, known)
    parts = {split: sorted(t[:4] for t in part) for split, part in sides_of(fast.triples, sides).items()}
    assert parts == {split: sorted(t[:4] for t in expected if expected[t] == split) for split in SPLITS}
    assert Counter((line.rule, line.id) for line in fast.dropped) == Counter(slow.dropped)
    assert (dict(fast.entities), fast.gone) == (slow.entities, slow.gone)
    assert len(facts.triples) == len(fast.triples) + sum(fast.gone.values())


inductive = splits.map(
    lambda split: SplitRecipe.model_validate({**split, "policy": "inductive", "unseen": "artwork", "rest": {}})
)
WHOLE = recipe_of({"normalise_names": False}, SPLIT)


def with_own_facts(facts: Facts) -> Facts:
    """The facts cleaned, and one more of each artwork, which names no other."""
    clean_facts = clean(facts, WHOLE)
    own = [Triple(name, "isAlone", "style:x", "a") for name in ARTWORKS]
    entities = {**clean_facts.entities, "style:x": facts.entities["style:x"]}
    return Facts(entities, Triples.of([*clean_facts.triples, *own]))


@settings(max_examples=50)
@given(worlds, inductive, pictures)
def test_no_held_out_artwork_is_in_any_training_triple(facts: Facts, policy: SplitRecipe, near: dict[str, str]) -> None:
    facts, policy = with_own_facts(facts), policy.model_copy(update={"unanswerable": "keep"})
    where = divided(facts, policy, near)
    place = {work: where[work, "isAlone", "style:x"] for work in ARTWORKS}
    held_out = {work for work, split in place.items() if split != "train"}
    assert not any({*fact} & held_out for fact, split in where.items() if split == "train")
    if policy.near_duplicates:
        assert all(place[one] == place[other] for one in near.keys() & place for other in place if near[one] == other)
    works = {relation: {} for relation in policy.together}
    for work, relation, maker in where:
        name = slug(facts.entities[work].label)
        if relation in works and name:
            assert place[work] == place[works[relation].setdefault((maker, name), work)]
    assert place["artwork:x/y"] == place["artwork:X/y"]
    identified = {identifier: work for work in ARTWORKS for identifier in facts.entities[work].same_as}
    assert all(place[work] == place[identified[i]] for work in ARTWORKS for i in facts.entities[work].same_as)


@settings(max_examples=50)
@given(worlds, inductive)
def test_artists_are_divided_with_their_mirrored_facts(facts: Facts, policy: SplitRecipe) -> None:
    policy = policy.model_copy(update={"disjoint": ["isPupilOf", "isTeacherOf"], "unanswerable": "keep"})
    facts = clean(facts, recipe_of({"inverses": "complete"}, SPLIT))
    where = divided(facts, policy)
    sets = {split: set() for split in SPLITS}
    for (head, relation, tail), split in where.items():
        if relation in policy.disjoint:
            sets[split] |= {head, tail}
            mirror = "isTeacherOf" if relation == "isPupilOf" else "isPupilOf"
            assert where[tail, mirror, head] == split
    assert len(set.union(*sets.values())) == sum(map(len, sets.values()))
    crossing = sum(t.relation in policy.disjoint for t in facts.triples) - sum(f[1] in policy.disjoint for f in where)
    assert split_facts(facts, policy, {})[0].gone["split_crossing"] == crossing


@settings(max_examples=50)
@given(worlds, inductive)
def test_each_held_out_tail_is_trained_where_the_policy_asks_it(facts: Facts, policy: SplitRecipe) -> None:
    policy = policy.model_copy(update={"unanswerable": "drop"})
    where = divided(clean(facts, WHOLE), policy)
    trained = {end for (head, _, tail), split in where.items() if split == "train" for end in (head, tail)}
    asked = {tail for (_, _, tail), split in where.items() if split != "train"}
    assert {tail for tail in asked - trained if entity_type(tail) != "artwork"} == set()


@settings(max_examples=50)
@given(worlds, inductive, st.sampled_from(["artist:a", "artist:null"]))
def test_another_artwork_moves_nobody_else(facts: Facts, policy: SplitRecipe, maker: str) -> None:
    facts, policy = with_own_facts(facts), policy.model_copy(update={"unanswerable": "keep"})
    new = "artwork:0-new"
    entities = {maker: Entity(maker, "artist", maker), **facts.entities, new: Entity(new, "artwork", "Quite another")}
    more = [Triple(new, "isCreatedByArtist", maker, "a"), Triple(new, "hasStyle", "style:x", "a")]
    before = divided(facts, policy)
    after = divided(Facts(entities, Triples.of([*facts.triples, *more])), policy)
    assert {fact: split for fact, split in after.items() if fact[0] != new} == before


def test_the_shares_of_a_split_are_within_four_standard_deviations() -> None:
    works = {name: Entity(name, "artwork", name) for name in (f"artwork:{n}" for n in range(4000))}
    style = Entity("style:x", "style", "x")
    facts = Facts({**works, "style:x": style}, Triples.of(Triple(name, "hasStyle", "style:x", "a") for name in works))
    policy = SplitRecipe(policy="inductive", unseen="artwork", validation=0.1, test=0.2)
    found = Counter(divided(facts, policy).values())
    for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        assert abs(found[split] - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5


# The smallest example of each fault that the comparison has found.

PUPIL = Triple("artist:a", "isPupilOf", "artist:B", "a", "test")


def stated(*triples: Triple, odd: tuple = (), rules: dict | None = None, functional: list | None = None) -> Facts:
    return clean(facts_of(odd, triples, ()), recipe_of(rules or {}, SPLIT, functional or []))


def test_mirrored_facts_stay_counted_when_a_later_rule_takes_something() -> None:
    left = stated(PUPIL, rules={"inverses": "complete", "min_frequency": {"style": 1}})
    assert (len(left.triples), left.gone["mirrored"]) == (2, -1)


def test_a_mirrored_fact_is_in_the_split_of_its_original() -> None:
    left = stated(PUPIL, rules={"inverses": "complete"})
    assert {triple.split for triple in left.triples} == {"test"}


@pytest.mark.parametrize(
    "second", [PUPIL._replace(relation="isStudentOf"), Triple("artist:B", "isTeacherOf", "artist:a", "b")]
)
def test_a_mirrored_fact_is_stated_once(second: Triple) -> None:
    one_sided = {"isPupilOf": "isTeacherOf", "isStudentOf": "isTeacherOf"}
    recipe = recipe_of({"inverses": "complete"}, SPLIT, inverses=one_sided)
    left = clean(facts_of((), [PUPIL, second], ()), recipe)
    assert Counter(triple.relation for triple in left.triples)["isTeacherOf"] == 1


def test_nobody_teaches_his_teacher_by_way_of_the_mirror() -> None:
    left = stated(PUPIL, PUPIL._replace(relation="isTeacherOf"), rules={"acyclic": ["isPupilOf"]})
    assert (len(left.triples), left.gone) == (0, {"cycle": 2})


def test_a_fact_that_one_source_puts_in_two_splits_is_in_the_least_held_out() -> None:
    for splits_ in (("test", "train", None), (None, "train", "test")):
        assert [t.split for t in stated(*(PUPIL._replace(split=split) for split in splits_)).triples] == ["train"]


def test_entities_named_together_are_one_though_the_first_is_not_there() -> None:
    left = stated(PUPIL, rules={"merge": {"artist:0": ["artist:B", "artist:null"]}})
    assert left.entities["artist:B"].same_as == ("artist:null",)


def test_who_shares_an_identifier_is_one_unless_of_another_type() -> None:
    odd = [(name, ("same_as", ("wikidata:Q1",))) for name in ("artist:B", "artist:a", "artwork:1")]
    work = Triple("artwork:1", "isCreatedByArtist", "artist:a", "a")
    facts = facts_of(odd, [work, PUPIL], [Literal("artist:a", "born", "1840", "a")])
    left = clean(facts, recipe_of({"merge_by": ["wikidata"]}, SPLIT))
    assert [triple[:3] for triple in left.triples] == [("artwork:1", "isCreatedByArtist", "artist:B")]
    assert left.entities["artist:B"].aliases == ("a",)
    assert left.literals == (Literal("artist:B", "born", "1840", "a"),)


def test_of_several_country_codes_the_smallest_known_counts() -> None:
    born = Triple("artist:a", "wasBornIn", "place:nowhere", "a")
    for country, expected in (("country:two", ["country:belgium"]), ("country:kosovo", [])):
        left = stated(born, Triple("place:nowhere", "isInCountry", country, "a"), rules={"countries": ["wasBornIn"]})
        assert [t.tail for t in left.triples if t.relation == "wasBornIn"] == expected


def test_what_sources_say_of_a_place_counts_more_than_its_name() -> None:
    odd = [("country:none", ("same_as", ("iso3166:AT",)))]
    said = [Triple("place:vinci", "isInCountry", country, "a") for country in ("country:none", "country:two")]
    left = stated(
        Triple("artist:a", "wasBornIn", "place:vinci", "a"), *said, odd=odd, rules={"countries": ["wasBornIn"]}
    )
    assert [t.tail for t in left.triples if t.relation == "wasBornIn"] == ["country:austria"]


def test_dates_that_meet_in_one_year_agree_where_one_period_is_wanted() -> None:
    years = [
        Triple("artwork:1", "isCreatedInYear", date, source)
        for date, source in (("date:1852~", "b"), ("date:1850", "a"))
    ]
    rules = {
        "circa_years": 2,
        "prefer": ["b"],
        "bins": {"isCreatedInYear": {"into": "belongsToTimeframe", "years": 50}},
    }
    left = stated(*years, rules=rules, functional=["belongsToTimeframe"])
    assert ([triple.source for triple in left.triples], left.gone) == (["a"], {"duplicate": 1})


def lived(*deaths: str) -> Facts:
    bins = {name: {"into": name, "years": 50} for name in ("wasBornOnDate", "diedOnDate")}
    born = Triple("artist:a", "wasBornOnDate", "date:1900", "a")
    rules = {"in_order": {"wasBornOnDate": "diedOnDate"}, "bins": bins}
    return stated(born, *(Triple("artist:a", "diedOnDate", date, "a") for date in deaths), rules=rules)


def test_who_may_have_died_after_birth_is_contradicted_by_no_other_date() -> None:
    assert lived("date:1849").gone == {"contradiction": 2}
    assert lived("date:1849", "date:9999~").gone == lived("date:9999~", "date:1849").gone == {"bins": 1}


def test_a_period_stated_and_one_made_of_a_date_cannot_both_stand() -> None:
    period = Triple("artwork:1", "belongsToTimeframe", "timeframe:1849", "b")
    date = Triple("artwork:1", "isCreatedInYear", "date:1850", "a")
    bins = {"isCreatedInYear": {"into": "belongsToTimeframe", "years": 1}}
    left = stated(period, date, rules={"bins": bins}, functional=["belongsToTimeframe"])
    assert ([t.tail for t in left.triples], left.gone) == (["timeframe:1850"], {"conflict": 1})


@pytest.mark.parametrize("name", ["Tom &amp;amp; Eve", "&am\u200bp;lt;", "&l&#116;;", "a &" + "amp;" * 20])
def test_a_tidy_name_stays_as_it_is(name: str) -> None:
    assert normalise(normalise(name)) == normalise(name)


def test_the_raw_name_is_kept_beside_the_tidy_one() -> None:
    odd = [("artist:a", ("label", "Caf\u0065\u0301")), ("artist:a", ("sources", ("a", "b")))]
    assert stated(PUPIL, odd=odd).literals == (Literal("artist:a", "label", "Cafe\u0301", "a"),)


def test_what_the_rest_makes_equal_stands_once_and_not_held_out() -> None:
    stay = [Triple("artwork:1", "hasStyle", f"style:{n}", "a") for n in range(40)]
    facts = facts_of((), [], ())
    styles = {t.tail: Entity(t.tail, "style", t.tail) for t in stay}
    known = replace(facts, entities={**facts.entities, **styles}, triples=Triples.of(stay))
    policy = SplitRecipe(policy="transductive", validation=0.3, test=0.3, rest={"hasStyle": "style:x"})
    left, sides = split_facts(known, policy, {})
    assert ([t.tail for t in left.triples], sides.tolist(), left.gone) == (["style:x"], [0], {"duplicate": 39})
    assert left.entities["style:x"] == replace(facts.entities["style:x"], sources=("a",))


@pytest.mark.parametrize(("label", "makers"), [("***", ARTISTS[:1] * 5), ("Lilies", ARTISTS)])
def test_works_without_a_letter_in_their_names_or_of_other_makers_are_no_namesakes(label: str, makers: tuple) -> None:
    shares = {"validation": 0.3, "test": 0.3}
    policy = SplitRecipe(policy="inductive", unseen="artwork", together=["isCreatedByArtist"], **shares)
    facts = facts_of([(work, ("label", label)) for work in ARTWORKS], [], ())
    apart = [work for work in ARTWORKS if work != "artwork:X/y"]  # which is the twin of another
    works = [Triple(work, "isCreatedByArtist", maker, "a") for work, maker in zip(apart, makers, strict=True)]
    alone = [divided(replace(facts, triples=Triples.of([work])), policy)[work[:3]] for work in works]
    together = divided(replace(facts, triples=Triples.of(works)), policy)
    assert [together[work[:3]] for work in works] == alone
    assert len(set(alone)) > 1
