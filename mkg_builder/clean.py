"""Cleaning: the recipe's rules in the order in which each can rely on those before it; no loss without a line."""

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np

from mkg_builder.facts import Facts
from mkg_builder.graph import Dropped, Literal
from mkg_builder.names import normalise
from mkg_builder.recipe import Recipe
from mkg_builder.reconcile import (
    bin_dates,
    drop_contradictions,
    drop_cycles,
    merge_aliases,
    mirror,
    resolve_conflicts,
    to_countries,
)
from mkg_builder.unions import Pair


def clean(facts: Facts, recipe: Recipe, apart: Collection[Pair] = ()) -> Facts:
    """Apply the recipe's rules; `apart` are the pairs of entities that people decided are not one.

    Pure and free of order: the same facts, in any order and stated any number of times, give the same result,
    and cleaning the result again changes nothing.
    """
    rules = recipe.cleaning
    facts = merge_aliases(facts, rules, apart)
    idle = _unnamed(facts)
    steps: list[Callable[[Facts], Facts]] = [
        lambda f: to_countries(f, rules),
        lambda f: resolve_conflicts(f, recipe),
        lambda f: drop_contradictions(f, rules),
        lambda f: bin_dates(f, rules),
        lambda f: resolve_conflicts(f, recipe),  # two relations may have been binned into one
        lambda f: select_relations(f, recipe),
        lambda f: normalise_names(f) if rules.normalise_names else f,
        lambda f: drop_self_references(f) if rules.drop_self_references else f,
        drop_duplicates,
        lambda f: drop_cycles(f, recipe),
        lambda f: mirror(f, recipe) if rules.inverses == "complete" else f,
        lambda f: settle(f, recipe),
        lambda f: drop_unused(f, recipe, idle),
        lambda f: apply_text_policy(f, recipe),
    ]
    for step in steps:
        facts = step(facts)
    return facts


def drop_pictures(facts: Facts, recipe: Recipe) -> Facts:
    """Leave out, each listed, the pictures of a declared type that may have none: no table would hold them."""
    without = {name for name, kind in recipe.types.items() if not kind.image}
    lost = [entity for entity in facts.entities.values() if entity.image is not None and entity.type in without]
    lines = (Dropped(e.id, "no_pictures", f"type {e.type!r} has no `image: true`: {e.image}") for e in lost)
    bare = {entity.id: replace(entity, image=None) for entity in lost}
    return replace(facts, entities={**facts.entities, **bare}, dropped=(*facts.dropped, *lines))


def select_relations(facts: Facts, recipe: Recipe) -> Facts:
    """Keep the relations that the recipe declares; the others are its choice, and only counted."""
    return facts.taking(~facts.triples.of_relation(recipe.relations), "not_declared")


def normalise_names(facts: Facts) -> Facts:
    """Every label, text and alias by `normalise`, the raw label kept; an entity without a label left is dropped."""
    entities, nameless, raw = {}, {}, []
    for name, entity in facts.entities.items():
        label = normalise(entity.label)
        text = normalise(entity.text) if entity.text is not None else None
        aliases = sorted({tidy for alias in entity.aliases if (tidy := normalise(alias))} - {label})
        tidied = (label, text or None, tuple(aliases))
        same = tidied == (entity.label, entity.text, entity.aliases)
        entities[name] = entity if same else replace(entity, label=label, text=tidied[1], aliases=tidied[2])
        if not label:
            nameless[name] = "nothing is left of its name"
        elif label != entity.label:
            raw += [Literal(name, "label", entity.label, source) for source in entity.sources[:1]]
    facts = replace(facts, entities=entities, literals=facts.literals + tuple(raw))
    return facts.without_entities(nameless, "normalise_names")


def drop_self_references(facts: Facts) -> Facts:
    """Nobody is his own pupil."""
    triples = facts.triples
    return facts.without_triples(triples.head == triples.tail, "self_reference", "head and tail are one")


def drop_duplicates(facts: Facts) -> Facts:
    """State each fact once; where several sources agree, the first by name keeps it."""
    triples = facts.triples
    splits = triples.split.view(np.uint8)  # no split: 255, after every split
    ordered = replace(facts, triples=triples.where(triples.order(splits)))
    keys = ordered.triples.keys()
    repeated = np.concatenate([np.zeros(min(len(keys), 1), bool), keys[1:] == keys[:-1]])
    return ordered.taking(repeated, "duplicate")


def settle(facts: Facts, recipe: Recipe) -> Facts:
    """Requirements and frequencies, again and again until neither takes anything more."""
    while True:
        before = len(facts.entities)
        facts = drop_rare(require(facts, recipe), recipe)
        if len(facts.entities) == before:
            return facts


def require(facts: Facts, recipe: Recipe) -> Facts:
    """Drop what lacks a required picture or a required relation, by the relation's domain."""
    rules = recipe.cleaning
    if rules.require_image:
        pictured = {name for name, kind in recipe.types.items() if kind.image}
        doomed = {name: "no picture" for name, e in facts.entities.items() if e.type in pictured and e.image is None}
        facts = facts.without_entities(doomed, "require_image")
    for relation in rules.require:
        triples = facts.triples
        heads = np.unique(triples.head[triples.of_relation({relation})])
        stated = {triples.ids[head] for head in heads.tolist()}
        domain = recipe.relations[relation].domain
        doomed = {
            name: f"no {relation}" for name, e in facts.entities.items() if e.type == domain and name not in stated
        }
        facts = facts.without_entities(doomed, "require")
    return facts


def drop_rare(facts: Facts, recipe: Recipe) -> Facts:
    """Drop entities that too few triples name, until nothing changes; a triple of an exempt relation keeps its ends."""
    least, exempt = recipe.cleaning.min_frequency, recipe.cleaning.frequency_exempt
    while True:
        triples = facts.triples
        seen = triples.occurrences()
        kept = triples.where(triples.of_relation(exempt)).named()
        counted = {name: int(seen[code]) for code, name in enumerate(triples.ids) if not kept[code]}
        spared = {name for code, name in enumerate(triples.ids) if kept[code]}
        doomed = {
            name: f"in {counted.get(name, 0)} triples, fewer than {least[entity.type]}"
            for name, entity in facts.entities.items()
            if counted.get(name, 0) < least.get(entity.type, 0) and name not in spared
        }
        if not doomed:
            return facts
        facts = facts.without_entities(doomed, "min_frequency")


def drop_unused(facts: Facts, recipe: Recipe, idle: Collection[str] = ()) -> Facts:
    """Leave out attributes that no triple names any more; what may have a picture stays, even alone.

    Those of `idle`, which no triple ever named, are listed; the others' triples have been listed or counted.
    """
    pictured = {name for name, kind in recipe.types.items() if kind.image}
    unused = {name for name in _unnamed(facts) if facts.entities[name].type not in pictured}
    facts = facts.without_entities(dict.fromkeys(unused.intersection(idle), "no triple names it"), "unused")
    return replace(
        facts,
        entities={name: entity for name, entity in facts.entities.items() if name not in unused},
        literals=tuple(said for said in facts.literals if said.entity in facts.entities and said.entity not in unused),
    )


def _unnamed(facts: Facts) -> set[str]:
    """The entities that no triple names."""
    triples = facts.triples
    named = triples.named()
    return facts.entities.keys() - {triples.ids[code] for code in np.flatnonzero(named).tolist()}


def apply_text_policy(facts: Facts, recipe: Recipe) -> Facts:
    """Give each entity the text that its type's policy allows: its label, what its source gave, or none."""
    entities = {}
    for name, entity in facts.entities.items():
        policy = recipe.types[entity.type].text if entity.type in recipe.types else "none"
        text = (entity.label if policy == "label" else entity.text if policy == "source" else None) or None
        entities[name] = entity if text == entity.text else replace(entity, text=text)
    return replace(facts, entities=entities)
