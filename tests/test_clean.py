from dataclasses import replace

from mkg_builder.clean import clean, drop_duplicates, drop_rare
from mkg_builder.facts import Facts
from mkg_builder.graph import Entity, Triple, entity_type, merge_entities
from mkg_builder.recipe import Recipe
from mkg_builder.triples import Triples
from tests.tiny_recipe import tiny_recipe


def facts(*triples: tuple[str, str, str], **entity: object) -> Facts:
    ends = dict.fromkeys(end for head, _, tail in triples for end in (head, tail))
    entities = {e: Entity(e, entity_type(e), e.partition(":")[2], sources=("s",), **entity) for e in ends}
    return Facts(entities, Triples.of(Triple(*t, "s") for t in triples))


def rarely(**least: int) -> Recipe:
    types = {kind: {} for kind in ("artwork", "artist", "tag")}
    return tiny_recipe(types={**tiny_recipe().model_dump()["types"], **types}, cleaning={"min_frequency": least})


def test_rare_attributes_go_until_nothing_changes() -> None:
    chain = facts(("artwork:a", "r", "tag:x"), ("artwork:b", "r", "tag:x"), ("tag:x", "r", "tag:y"))
    left = drop_rare(chain, rarely(tag=2))
    assert sorted(left.entities) == ["artwork:a", "artwork:b", "tag:x"]
    assert [(d.id, d.rule) for d in left.dropped] == [("tag:y", "min_frequency")]
    assert list(drop_rare(left, rarely(artwork=2)).triples) == []


def test_a_fact_that_two_sources_state_stands_once() -> None:
    stated = facts(("artwork:a", "r", "tag:x"))
    twice = replace(stated, triples=Triples.of([*stated.triples, Triple("artwork:a", "r", "tag:x", "other")]))
    left = drop_duplicates(twice)
    assert (list(left.triples), left.gone) == ([Triple("artwork:a", "r", "tag:x", "other")], {"duplicate": 1})


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


def test_an_empty_text_is_none_also_where_names_stay_as_they_are() -> None:
    bare = works()
    mute = {**bare.entities, "artwork:a": replace(bare.entities["artwork:a"], text="")}
    cleaned = clean(replace(bare, entities=mute), tiny_recipe(cleaning={"normalise_names": False}))
    assert cleaned.entities["artwork:a"].text is None


def test_an_alias_of_nothing_but_blanks_is_dropped_with_its_reason() -> None:
    bare = works()
    nameless = replace(bare, entities={**bare.entities, "style:s": replace(bare.entities["style:s"], label="\u200b ")})
    cleaned = clean(nameless, tiny_recipe())
    assert "style:s" not in cleaned.entities
    assert ("style:s", "normalise_names") in {(d.id, d.rule) for d in cleaned.dropped}


def test_what_no_triple_ever_named_is_listed_and_what_lost_its_triples_is_told_with_them() -> None:
    told = works()
    entities = {**told.entities, "artist:idle": Entity("artist:idle", "artist", "Idle", sources=("s",))}
    cleaned = clean(replace(told, entities=entities), tiny_recipe())
    assert {"artist:idle", "thing:z"}.isdisjoint(cleaned.entities)
    assert [(d.id, d.detail) for d in cleaned.dropped if d.rule == "unused"] == [("artist:idle", "no triple names it")]


def test_accounts_of_one_entity_complete_each_other() -> None:
    first = Entity("artist:x", "artist", "X", same_as=("a:1",), sources=("s",))
    second = Entity("artist:x", "artist", "Other", text="text", same_as=("b:2",), sources=("t",))
    assert merge_entities([first, second])["artist:x"] == Entity(
        "artist:x", "artist", "X", text="text", same_as=("a:1", "b:2"), sources=("s", "t"), aliases=("Other",)
    )
