"""Cleaning rules: pure functions from a table of facts to a smaller or tidier one, each loss written down."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mkg_builder.graph import Dropped, Entity, Triple, entity_type
from mkg_builder.names import normalise
from mkg_builder.names import slug as slug  # noqa: PLC0414 -- its users may still import it from here
from mkg_builder.recipe import BinRule, Recipe


@dataclass(frozen=True)
class Facts:
    """Entities and triples on their way to a graph, with what was dropped so far."""

    entities: Mapping[str, Entity]
    triples: tuple[Triple, ...]
    dropped: tuple[Dropped, ...] = ()

    def without_triples(self, doomed: Mapping[Triple, str], rule: str) -> "Facts":
        """The facts without some triples; their detail is the reason given."""
        losses = tuple(Dropped(f"{t.head} {t.relation} {t.tail}", rule, why) for t, why in doomed.items())
        kept = tuple(triple for triple in self.triples if triple not in doomed)
        return replace(self, triples=kept, dropped=self.dropped + losses)

    def without_entities(self, doomed: Mapping[str, str], rule: str) -> "Facts":
        """The facts without some entities and every triple that names one."""
        losses = tuple(Dropped(name, rule, why) for name, why in doomed.items())
        return replace(
            self,
            entities={name: entity for name, entity in self.entities.items() if name not in doomed},
            triples=tuple(t for t in self.triples if t.head not in doomed and t.tail not in doomed),
            dropped=self.dropped + losses,
        )


def clean(facts: Facts, recipe: Recipe) -> Facts:
    """Apply the recipe's rules, in the order in which each can rely on those before it."""
    rules = recipe.cleaning
    steps: list[Callable[[Facts], Facts]] = [
        lambda f: bin_years(f, rules.bins),
        lambda f: select_relations(f, recipe),
        lambda f: normalise_names(f) if rules.normalise_names else f,
        drop_self_references,
        drop_duplicates,
        lambda f: require(f, recipe),
        lambda f: drop_rare(f, rules.min_frequency),
        lambda f: drop_unused(f, recipe),
        lambda f: apply_text_policy(f, recipe),
    ]
    for step in steps:
        facts = step(facts)
    return facts


def select_relations(facts: Facts, recipe: Recipe) -> Facts:
    """Keep the relations that the recipe declares; the others are its choice, not a loss."""
    kept = tuple(triple for triple in facts.triples if triple.relation in recipe.relations)
    return replace(facts, triples=kept)


def normalise_names(facts: Facts) -> Facts:
    """Every label and text by `normalise`; an entity whose label is then empty is dropped."""
    entities, nameless = {}, {}
    for name, entity in facts.entities.items():
        label = normalise(entity.label)
        text = normalise(entity.text) if entity.text is not None else None
        entities[name] = replace(entity, label=label, text=text or None)
        if not label:
            nameless[name] = "nothing is left of its name"
    return replace(facts, entities=entities).without_entities(nameless, "normalise_names")


def bin_years(facts: Facts, bins: Mapping[str, BinRule]) -> Facts:
    """Turn `year:1889` tails into periods, `timeframe:1850-1900`, half open: 1850 belongs, 1900 does not.

    The relation becomes the rule's `into`; the period's type is `timeframe`.
    """
    entities, triples = dict(facts.entities), []
    for triple in facts.triples:
        rule = bins.get(triple.relation)
        if rule is None or entity_type(triple.tail) != "year":
            triples.append(triple)
            continue
        period = timeframe(int(triple.tail.partition(":")[2]), rule.years)
        sources = {*entities[period].sources} if period in entities else set()
        label = period.partition(":")[2]
        entities[period] = Entity(
            period, "timeframe", label, text=label, sources=tuple(sorted(sources | {triple.source}))
        )
        triples.append(replace(triple, relation=rule.into, tail=period))
    return replace(facts, entities=entities, triples=tuple(triples))


def timeframe(year: int, years: int) -> str:
    """The id of the period of so many years that holds a year; years before Christ are negative."""
    start = year // years * years
    return f"timeframe:{start}-{start + years}"


def drop_self_references(facts: Facts) -> Facts:
    """Nobody is his own pupil."""
    doomed = {triple: "head and tail are one" for triple in facts.triples if triple.head == triple.tail}
    return facts.without_triples(doomed, "self_reference")


def drop_duplicates(facts: Facts) -> Facts:
    """State each fact once; where several sources agree, the first by name keeps it."""
    first: dict[tuple[str, str, str], Triple] = {}
    for triple in sorted(facts.triples, key=lambda t: (t.head, t.relation, t.tail, t.source)):
        first.setdefault((triple.head, triple.relation, triple.tail), triple)
    return replace(facts, triples=tuple(first.values()))


def require(facts: Facts, recipe: Recipe) -> Facts:
    """Drop what lacks a required picture or a required relation, by the relation's domain."""
    rules = recipe.cleaning
    if rules.require_image:
        pictured = {name for name, kind in recipe.types.items() if kind.image}
        doomed = {name: "no picture" for name, e in facts.entities.items() if e.type in pictured and e.image is None}
        facts = facts.without_entities(doomed, "require_image")
    for relation in rules.require:
        stated = {triple.head for triple in facts.triples if triple.relation == relation}
        domain = recipe.relations[relation].domain
        doomed = {
            name: f"no {relation}" for name, e in facts.entities.items() if e.type == domain and name not in stated
        }
        facts = facts.without_entities(doomed, "require")
    return facts


def drop_rare(facts: Facts, least: Mapping[str, int]) -> Facts:
    """Drop entities that too few triples name, until nothing changes."""
    while True:
        seen = Counter(end for triple in facts.triples for end in (triple.head, triple.tail))
        doomed = {
            name: f"in {seen[name]} triples, fewer than {least[entity.type]}"
            for name, entity in facts.entities.items()
            if seen[name] < least.get(entity.type, 0)
        }
        if not doomed:
            return facts
        facts = facts.without_entities(doomed, "min_frequency")


def drop_unused(facts: Facts, recipe: Recipe) -> Facts:
    """Leave out attributes that no triple names any more; what may have a picture stays, even alone."""
    named = {end for triple in facts.triples for end in (triple.head, triple.tail)}
    kept = {
        name: entity
        for name, entity in facts.entities.items()
        if name in named or (entity.type in recipe.types and recipe.types[entity.type].image)
    }
    return replace(facts, entities=kept)


def apply_text_policy(facts: Facts, recipe: Recipe) -> Facts:
    """Give each entity the text that its type's policy allows: its label, what its source gave, or none."""
    entities = {}
    for name, entity in facts.entities.items():
        policy = recipe.types[entity.type].text if entity.type in recipe.types else "none"
        text = entity.label if policy == "label" else entity.text if policy == "source" else None
        entities[name] = replace(entity, text=text)
    return replace(facts, entities=entities)
