from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkg_builder.errors import DataError
from mkg_builder.graph import Triple
from mkg_builder.recipe import SplitRecipe
from mkg_builder.split import hashed_side, side_of, split_triples

INDUCTIVE = SplitRecipe(policy="inductive", unseen="artwork", seed=3, validation=0.2, test=0.2)
ids = st.sampled_from([f"{kind}:{n}" for kind in ("artwork", "artist") for n in range(12)])
triples = st.lists(st.builds(Triple, ids, st.sampled_from("rs"), ids, st.just("s")), max_size=60)


@given(triples)
def test_no_held_out_artwork_occurs_in_any_training_triple(graph: list[Triple]) -> None:
    sides = split_triples(graph, INDUCTIVE)
    trained = {end for t in sides["train"] for end in (t.head, t.tail)}
    held_out = {e for n in range(12) if hashed_side(e := f"artwork:{n}", INDUCTIVE) != "train"}
    assert not trained & held_out


@given(triples)
def test_every_triple_has_one_side(graph: list[Triple]) -> None:
    sides = split_triples(graph, INDUCTIVE)
    assert Counter(graph) == Counter(t for side in sides.values() for t in side)


@given(triples, triples)
def test_what_is_added_moves_nothing(graph: list[Triple], more: list[Triple]) -> None:
    before, after = (split_triples(g, INDUCTIVE) for g in (graph, graph + more))
    assert all(set(before[side]) <= set(after[side]) for side in before)


@given(ids, ids)
def test_a_fact_and_its_mirror_are_on_one_side(head: str, tail: str) -> None:
    fact, mirror = Triple(head, "isPupilOf", tail, "s"), Triple(tail, "isTeacherOf", head, "s")
    assert side_of(fact, INDUCTIVE) == side_of(mirror, INDUCTIVE)


def test_the_shares_are_those_of_the_recipe() -> None:
    sides = Counter(hashed_side(f"artwork:{n}", INDUCTIVE) for n in range(20_000))
    assert abs(sides["test"] - 4000) < 200
    assert abs(sides["validation"] - 4000) < 200


def test_another_seed_is_another_split() -> None:
    other = INDUCTIVE.model_copy(update={"seed": 4})
    assert [hashed_side(str(n), INDUCTIVE) for n in range(50)] != [hashed_side(str(n), other) for n in range(50)]


def test_the_sides_of_known_keys_never_change() -> None:
    assert [hashed_side(f"artwork:{n}", INDUCTIVE) for n in range(6)] == [
        "test", "train", "validation", "test", "train", "train",
    ]  # fmt: skip


GIVEN = SplitRecipe(policy="given")


def test_a_given_split_is_the_one_that_the_source_states() -> None:
    stated = {side: Triple(f"a:{side}", "r", "b:1", "s", side) for side in ("train", "validation", "test")}
    assert split_triples(stated.values(), GIVEN) == {side: (triple,) for side, triple in stated.items()}


@pytest.mark.parametrize("side", [None, "val"])
def test_a_given_split_that_a_triple_does_not_state_is_refused(side: str | None) -> None:
    with pytest.raises(DataError, match="it must say one of train, validation, test"):
        side_of(Triple("a:1", "r", "b:1", "s", side), GIVEN)
