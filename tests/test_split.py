from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkg_builder.errors import DataError
from mkg_builder.facts import Facts
from mkg_builder.graph import SPLITS, Entity, Triple, entity_type
from mkg_builder.recipe import SplitRecipe
from mkg_builder.split import hashed_side, sides_of, split_facts
from mkg_builder.triples import Triples

INDUCTIVE = SplitRecipe(policy="inductive", unseen="artwork", seed=3, validation=0.2, test=0.2)
ids = st.sampled_from([f"{kind}:{n}" for kind in ("artwork", "artist") for n in range(12)])
triples = st.lists(st.builds(Triple, ids, st.sampled_from("rs"), ids, st.just("s"), st.none()), max_size=60)
labelled = st.lists(st.sampled_from(["Lilies", "lilies", "Haystack"]), min_size=12, max_size=12)


def facts(stated: list[Triple], labels: list[str] | None = None) -> Facts:
    names = {f"{kind}:{n}" for kind in ("artwork", "artist") for n in range(12)}
    names |= {end for t in stated for end in (t.head, t.tail)}
    title = dict(zip((f"artwork:{n}" for n in range(12)), labels or (), strict=False))
    return Facts({e: Entity(e, entity_type(e), title.get(e, e)) for e in names}, Triples.of(stated))


def divide(
    stated: list[Triple], duplicates: dict[str, str] | None = None, **changes: object
) -> dict[str, list[Triple]]:
    policy = SplitRecipe.model_validate({**INDUCTIVE.model_dump(), **changes})
    left, sides = split_facts(facts(stated), policy, duplicates or {})
    return {split: list(part) for split, part in sides_of(left.triples, sides).items()}


def ends(stated: list[Triple]) -> set[str]:
    return {end for t in stated for end in (t.head, t.tail)}


@given(triples)
def test_no_held_out_artwork_occurs_in_any_training_triple(stated: list[Triple]) -> None:
    held_out = {e for n in range(12) if hashed_side(e := f"artwork:{n}", INDUCTIVE)}
    assert not ends(divide(stated)["train"]) & held_out


@given(triples)
def test_every_triple_has_one_side(stated: list[Triple]) -> None:
    assert Counter(stated) == Counter(t for side in divide(stated).values() for t in side)


@given(triples, triples)
def test_what_is_added_moves_nothing(stated: list[Triple], more: list[Triple]) -> None:
    before, after = divide(stated), divide(stated + more)
    assert all(set(before[side]) <= set(after[side]) for side in before)


@given(ids, ids)
def test_a_fact_and_its_mirror_are_on_one_side(head: str, tail: str) -> None:
    fact, mirror = Triple(head, "isPupilOf", tail, "s"), Triple(tail, "isTeacherOf", head, "s")
    assert any({fact, mirror} == set(side) for side in divide([fact, mirror]).values())


@given(triples)
def test_disjoint_relations_share_no_entity_between_splits(stated: list[Triple]) -> None:
    artists = [t for t in stated if (entity_type(t.head), entity_type(t.tail)) == ("artist", "artist")]
    sides = divide(artists, disjoint=["r", "s"])
    for one in SPLITS:
        for other in SPLITS:
            assert one == other or not ends(sides[one]) & ends(sides[other])


def test_what_joins_two_disjoint_sets_is_dropped_with_its_reason() -> None:
    policy = INDUCTIVE.model_copy(update={"disjoint": ["r"]})
    one, other = (next(e for n in range(99) if hashed_side(e := f"artist:{n}", policy) == side) for side in (0, 2))
    left, _ = split_facts(facts([Triple(one, "r", other, "s")]), policy, {})
    assert [d.rule for d in left.dropped] == ["split_crossing"]


@given(triples, st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=6))
def test_nearly_the_same_pictures_are_on_one_side(stated: list[Triple], pairs: list[tuple[int, int]]) -> None:
    duplicates = {f"artwork:{max(p)}": f"artwork:{min(p)}" for p in pairs}
    alone = [Triple(f"artwork:{n}", "alone", "artist:0", "s") for n in range(12)]
    sides = divide([*stated, *alone], duplicates, near_duplicates=True)
    place = {t.head: side for side in SPLITS for t in sides[side] if t.relation == "alone"}
    assert all(place[one] == place[other] for one, other in duplicates.items())


def test_works_of_one_name_by_one_maker_are_on_one_side() -> None:
    stated = [Triple(f"artwork:{n}", "r", f"artist:{n % 2}", "s") for n in range(12)]
    policy = INDUCTIVE.model_copy(update={"together": ["r"]})
    left, sides = split_facts(facts(stated, ["Lilies", "Haystack"] * 6), policy, {})
    parts = sides_of(left.triples, sides)
    assert sorted(len(part) for part in parts.values()) in ([0, 0, 12], [0, 6, 6])


def sides_alone(names: list[str]) -> dict[str, str]:
    """The side of each artwork that has one fact of its own and nothing in common with the others but its id."""
    sides = divide([Triple(name, "alone", "artist:0", "s") for name in names])
    return {t.head: side for side in SPLITS for t in sides[side]}


def test_ids_that_differ_in_case_accents_or_punctuation_are_on_one_side() -> None:
    pairs = [(f"artwork:ann/étude-{n}({n})", f"artwork:Ann/e\u0301tude_{n}-{n}") for n in range(20)]
    place = sides_alone([name for pair in pairs for name in pair])
    assert all(place[one] == place[other] for one, other in pairs)


def test_ids_of_other_parts_are_divided_each_by_itself() -> None:
    names = [form.format(n) for n in range(20) for form in ("artwork:a-{}/c", "artwork:a/{}-c", "artwork:?/{}!")]
    assert sides_alone(names) == {name: SPLITS[hashed_side(name, INDUCTIVE)] for name in names}


def test_works_that_share_an_identifier_are_on_one_side() -> None:
    names = [f"artwork:{n}" for n in range(12)]
    said = facts([Triple(name, "r", "artist:0", "s") for name in names])
    entities = {n: replace(e, same_as=("inventory:7",) if n in names else ()) for n, e in said.entities.items()}
    _, sides = split_facts(replace(said, entities=entities), INDUCTIVE, {})
    assert len(set(sides.tolist())) == 1


def test_a_held_out_fact_whose_tail_is_never_trained_is_dropped() -> None:
    work = next(e for n in range(99) if hashed_side(e := f"artwork:{n}", INDUCTIVE) == 2)
    policy = INDUCTIVE.model_copy(update={"unanswerable": "drop"})
    left, _ = split_facts(facts([Triple(work, "r", "artist:0", "s")]), policy, {})
    assert (len(left.triples), [d.rule for d in left.dropped]) == (0, ["unanswerable"])


def test_tails_that_are_not_in_every_split_become_one() -> None:
    stated = [Triple(f"artwork:{n}", "r", "artist:big" if n < 40 else "artist:small", "s") for n in range(41)]
    sides = divide(stated, rest={"r": "artist:unk"})
    assert {t.tail for side in sides.values() for t in side} == {"artist:big", "artist:unk"}


def test_a_given_split_is_kept() -> None:
    stated = [Triple("artist:1", "r", f"artist:{n}", "s", split) for n, split in enumerate(SPLITS)]
    sides = divide(stated, policy="given", unseen=None)
    assert {split: len(part) for split, part in sides.items()} == {"train": 1, "validation": 1, "test": 1}


def test_a_given_split_that_a_triple_does_not_state_is_refused() -> None:
    with pytest.raises(DataError, match="it must say one of train, validation, test"):
        divide([Triple("artist:1", "r", "artist:2", "s")], policy="given", unseen=None)


def test_the_shares_are_those_of_the_recipe() -> None:
    sides = Counter(hashed_side(f"artwork:{n}", INDUCTIVE) for n in range(20_000))
    assert abs(sides[2] - 4000) < 200
    assert abs(sides[1] - 4000) < 200


def test_another_seed_is_another_split() -> None:
    other = INDUCTIVE.model_copy(update={"seed": 4})
    assert [hashed_side(str(n), INDUCTIVE) for n in range(50)] != [hashed_side(str(n), other) for n in range(50)]


def test_the_sides_of_known_keys_never_change() -> None:
    assert [SPLITS[hashed_side(f"artwork:{n}", INDUCTIVE)] for n in range(6)] == [
        "test", "train", "validation", "test", "train", "train",
    ]  # fmt: skip


def test_a_later_source_moves_nothing_of_an_earlier_one() -> None:
    works = [f"artwork:m-{n}" for n in range(40)]
    gifts = [f"artwork:a-{n}" for n in range(40)]  # the smaller ids
    titles = dict(zip([*works, *gifts], 2 * [f"Title {n}" for n in range(40)], strict=True))
    stated = [Triple(work, "isCreatedByArtist", "artist:x", "s") for work in titles]

    def sides(names: list[str]) -> dict[str, str]:
        entities = {name: Entity(name, "artwork", titles[name], sources=(name[8:9],)) for name in names}
        entities["artist:x"] = Entity("artist:x", "artist", "X", sources=("m",))
        facts = Facts(entities, Triples.of(t for t in stated if t.head in entities))
        policy = INDUCTIVE.model_copy(update={"together": ["isCreatedByArtist"]})
        left, found = split_facts(facts, policy, {}, ["m", "a"])
        return {t.head: split for split, part in sides_of(left.triples, found).items() for t in part}

    before, after = sides(works), sides([*works, *gifts])
    assert {name: after[name] for name in works} == before
    assert len({*before.values()}) == 3
    assert all(after[gift] == after[work] for gift, work in zip(gifts, works, strict=True))
