"""Where sources disagree or speak loosely: one entity under two names, places, dates, conflicts, contradictions."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from mkg_builder.dates import bounds, period, reach
from mkg_builder.facts import Facts
from mkg_builder.graph import SPLITS, Dropped, Entity, Triple, entity_type, merge_entities
from mkg_builder.names import slug
from mkg_builder.ordering import sorted_by
from mkg_builder.places import country_id, country_name, country_of, is_country_code, refusal
from mkg_builder.recipe import BinRule, CleaningRecipe, Recipe
from mkg_builder.triples import Triples
from mkg_builder.unions import Pair, clusters

Span = tuple[int, int]
"""The first and the last year."""
IN_COUNTRY = "isInCountry"
"""What a source says of a place that it knows the country of."""


def merge_aliases(facts: Facts, rules: CleaningRecipe, apart: Collection[Pair] = ()) -> Facts:
    """One entity where the recipe, or an identifier that may belong to only one thing, says that two are the same.

    The smallest id stands for all; the others become its aliases, by id among its `same_as`, each with a line.

    Args:
        facts: of all sources.
        rules: `merge` and `merge_by`.
        apart: entities that people decided are not one, by the ids that their sources gave them.
    """
    named = [(name, *others) for name, others in rules.merge.items()]
    groups = [(tuple(name for name in names if name in facts.entities), "by the recipe") for names in named]
    holders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, entity in facts.entities.items():
        for identifier in entity.same_as:
            if identifier.partition(":")[0] in rules.merge_by:
                holders[entity.type, identifier].append(name)
    groups += [(tuple(sorted(names)), f"both are {key[1]}") for key, names in sorted(holders.items()) if names[1:]]
    first = clusters((names for names, _ in groups), _as_they_are(apart, facts.entities))
    renamed = {name: one for name, one in first.items() if name != one}
    why = {name: said for names, said in reversed(groups) for name in names}
    losses = tuple(Dropped(name, "merged", f"{one}: {why[name]}") for name, one in sorted(renamed.items()))
    merged = merge(facts, renamed)
    return replace(merged, dropped=merged.dropped + losses)


def _as_they_are(pairs: Collection[Pair], entities: Mapping[str, Entity]) -> set[Pair]:
    """Pairs of ids as pairs of the entities that they have become; the smaller id first."""
    ids = {name for pair in pairs for name in pair}
    became = {one: name for name, entity in entities.items() for one in ids.intersection(entity.same_as)}
    became |= {name: name for name in ids & entities.keys()}
    known = (sorted((became[one], became[other])) for one, other in pairs if {one, other} <= became.keys())
    return {(one, other) for one, other in known if one != other}


def merge(facts: Facts, renamed: Mapping[str, str]) -> Facts:
    """The facts with some entities joined to others, which stand for both: old id -> the one that stays."""
    if not renamed:
        return facts
    kept = (entity for name, entity in facts.entities.items() if name not in renamed)
    moved = (_as(facts.entities[name], first) for name, first in sorted(renamed.items()))
    return replace(
        facts,
        entities=merge_entities((*kept, *moved)),
        triples=facts.triples.renamed(renamed),
        literals=tuple(replace(said, entity=renamed.get(said.entity, said.entity)) for said in facts.literals),
    )


def _as(entity: Entity, canonical: str) -> Entity:
    same_as = tuple(sorted({*entity.same_as, entity.id}))
    return replace(entity, id=canonical, same_as=same_as, aliases=(*entity.aliases, entity.label))


def to_countries(facts: Facts, rules: CleaningRecipe) -> Facts:
    """Places become the countries that they lie in today: by what a source says of the place, else by its name."""
    triples = facts.triples
    chosen = triples.of_relation(rules.countries) & triples.of_type("place")[triples.tail]
    stated = _countries_stated(facts)
    countries, tails = {}, {}
    for code in np.unique(triples.tail[chosen]).tolist():
        place = facts.entities[triples.ids[code]]
        country = stated.get(place.id) or country_of(_spelled(place))
        if country is not None:
            tails[code], name = country_id(country), country_name(country)
            known = (f"iso3166:{country}",)
            countries[place.id] = Entity(tails[code], "country", name, name, same_as=known, sources=place.sources)
    lost = chosen & ~np.isin(triples.tail, list(tails))
    named = replace(
        facts, triples=triples.restated(chosen & ~lost, tails), entities=_with(facts.entities, countries.values())
    )
    return named.without_triples(lost, "countries", lambda t: _no_country(_spelled(facts.entities[t.tail])))


def _spelled(place: Entity) -> str:
    """The spelling of a place's name that tells its country or else why it has none, whichever was read first.

    Of its other names only those count that make its id, as `Paris, France` does `place:paris-france`: an old name may
    be another country's today.
    """
    own = place.id.partition(":")[2]
    spellings = {place.label, *(alias for alias in place.aliases if slug(alias) == own)}
    return min(spellings, key=lambda name: (country_of(name) is None, refusal(name) is None, name))


def _no_country(place: str) -> str:
    return refusal(place) or f"no country is known for {place}"


def _with(entities: Mapping[str, Entity], more: Iterable[Entity]) -> dict[str, Entity]:
    return merge_entities((*entities.values(), *more))


def _countries_stated(facts: Facts) -> dict[str, str]:
    """Place -> the ISO code of its country, where a source names one of today; the smallest code where several do."""
    codes: dict[str, str] = {}
    for name, entity in facts.entities.items():
        stated_of = [found[2] for one in entity.same_as if (found := one.partition(":"))[0] == "iso3166"]
        if known := [code for code in stated_of if is_country_code(code)]:
            codes[name] = min(known)
    stated: dict[str, str] = {}
    for triple in facts.triples.where(facts.triples.of_relation({IN_COUNTRY})):
        code = codes.get(triple.tail)
        if code is not None:
            stated[triple.head] = min(code, stated.get(triple.head, code))
    return stated


def resolve_conflicts(facts: Facts, recipe: Recipe) -> Facts:
    """Where sources differ on what can be only one thing, the recipe's preferred source is right; each loss is listed.

    Where that source says several things itself, the one is taken that most other sources agree with, then the one that
    allows the fewest years, then the most exact. Dates agree when both may name the same year. Of those that agree with
    the one taken the one that allows the fewest years stands; what agrees with that is a duplicate.
    """
    functional = [name for name, relation in recipe.relations.items() if relation.functional]
    functional += [name for name, rule in recipe.cleaning.bins.items() if rule.into in functional]
    triples, prefer = facts.triples, recipe.cleaning.prefer
    rank = np.array([prefer.index(name) if name in prefer else len(prefer) for name in triples.sources], np.int32)
    places = np.flatnonzero(triples.of_relation(functional))
    some = triples.where(places)
    places = places[sorted_by(some.head, some.relation, rank[some.source], some.source, some.tail)]
    doomed, agreeing, against = np.zeros(len(triples), bool), np.zeros(len(triples), bool), {}
    for about, together in groupby(places.tolist(), lambda place: (triples.head[place], triples.relation[place])):
        said = [
            _Said(triples.ids[triples.tail[place]], place, triples.source[place], rank[triples.source[place]])
            for place in together
        ]
        if len(said) == 1:
            continue
        stands, first, *_ = _standing(said, recipe.cleaning.circa_years)
        for tail, place, *_ in said:
            agreeing[place] = tail != stands and _agree(tail, stands, recipe.cleaning.circa_years)
            doomed[place] = tail != stands and not agreeing[place]
        key = (triples.ids[about[0]], triples.relations[about[1]])
        against[key] = f"{triples.sources[triples.source[first]]} says {stands}"
    resolved = facts.without_triples(doomed, "conflict", lambda t: f"{t.source}; {against[t.head, t.relation]}")
    return resolved.taking(agreeing[~doomed], "duplicate")


class _Said(NamedTuple):
    """A tail, the place of its triple, its source, and how little that is trusted."""

    tail: str
    place: int
    source: int
    rank: int


def _standing(said: Sequence[_Said], circa: int) -> _Said:
    """Of what is said, the most trusted first, what stands."""

    def alike(one: _Said, other: _Said) -> bool:
        return one.tail == other.tail or _agree(one.tail, other.tail, circa)

    def worth(one: _Said) -> tuple[int, float, int]:
        backing = {other.source for other in said if other.source != one.source and alike(one, other)}
        return -len(backing), _width(one.tail, circa), -one.tail.count("-")

    taken = min((one for one in said if one.rank == said[0].rank), key=worth)
    return min((taken, *(one for one in said if alike(one, taken))), key=lambda one: _width(one.tail, circa))


def _width(tail: str, circa: int) -> float:
    first, last = _reach(tail, circa) or (0, 0)
    return last - first


def _agree(one: str, other: str, circa: int) -> bool:
    first, second = _reach(one, circa), _reach(other, circa)
    return first is not None and second is not None and first[0] <= second[1] and second[0] <= first[1]


def _reach(tail: str, circa: int) -> tuple[float, float] | None:
    return reach(tail.partition(":")[2], circa) if entity_type(tail) == "date" else None


def drop_contradictions(facts: Facts, rules: CleaningRecipe) -> Facts:
    """Nobody dies before he is born: both dates go, since either may be the wrong one."""
    triples, doomed = facts.triples, np.zeros(len(facts.triples), bool)
    for earlier, later in rules.in_order.items():
        begun, ended = (spans(triples, name, rules.circa_years) for name in (earlier, later))
        wrong = {
            head for head in begun.keys() & ended.keys()
            if min(first for first, _ in begun[head]) > max(last for _, last in ended[head])
        }  # fmt: skip
        doomed |= triples.of_relation({earlier, later}) & np.isin(triples.head, list(wrong))
    return facts.without_triples(doomed, "contradiction", lambda t: f"{t.relation} contradicts its counterpart")


def spans(triples: Triples, relation: str, circa: int) -> dict[int, list[Span]]:
    """Head -> the first and last year of each of its dates under a relation."""
    found: dict[int, list[Span]] = defaultdict(list)
    for place in np.flatnonzero(triples.of_relation({relation})).tolist():
        span = bounds(triples.ids[triples.tail[place]].partition(":")[2], circa)
        if span is not None and entity_type(triples.ids[triples.tail[place]]) == "date":
            found[int(triples.head[place])].append(span)
    return found


def drop_cycles(facts: Facts, recipe: Recipe) -> Facts:
    """Nobody is his own teacher's teacher: where a relation runs in a circle, all of the circle goes.

    What a relation's mirrors state counts as if the relation stated it: nobody is the pupil of his pupil's pupil.
    """
    triples, doomed = facts.triples, np.zeros(len(facts.triples), bool)
    for relation in recipe.cleaning.acyclic:
        mirrors = {name for name, other in recipe.relations.items() if other.inverse == relation}
        mirrors |= {inverse} if (inverse := recipe.relations[relation].inverse) else set()
        forth, back = triples.of_relation({relation}), triples.of_relation(mirrors)
        starts = np.concatenate([triples.head[forth], triples.tail[back]])
        ends = np.concatenate([triples.tail[forth], triples.head[back]])
        size = len(triples.ids)
        graph = csr_array((np.ones(len(starts), np.int8), (starts, ends)), shape=(size, size))
        circle = connected_components(graph, connection="strong")[1]
        doomed |= (forth | back) & (circle[triples.head] == circle[triples.tail])
    return facts.without_triples(doomed, "cycle", lambda t: f"{t.relation} runs in a circle")


def bin_dates(facts: Facts, rules: CleaningRecipe) -> Facts:
    """Dates become years or longer periods, half open: 1850 belongs to 1850-1900, 1900 does not.

    A date that does not lie wholly in one period (a century in half-century bins, "c. 1850") is dropped.
    """
    for relation, rule in rules.bins.items():
        facts = _bin(facts, relation, rule, rules.circa_years)
    return facts


def _bin(facts: Facts, relation: str, rule: BinRule, circa: int) -> Facts:
    triples = facts.triples
    chosen = triples.of_relation({relation}) & triples.of_type("date")[triples.tail]
    periods, tails = {}, {}
    for code in np.unique(triples.tail[chosen]).tolist():
        date = triples.ids[code]
        start = period(date.partition(":")[2], rule.years, circa)
        if start is not None:
            label = str(start) if rule.years == 1 else f"{start}-{start + rule.years}"
            tails[code] = f"{rule.type}:{label}"
            periods[date] = Entity(tails[code], rule.type, label, label, sources=facts.entities[date].sources)
    vague = chosen & ~np.isin(triples.tail, list(tails))
    binned = replace(
        facts,
        triples=triples.restated(chosen & ~vague, tails, rule.into),
        entities=_with(facts.entities, periods.values()),
    )
    return binned.without_triples(vague, "bins", f"not wholly in one period of {rule.years} years")


def mirror(facts: Facts, recipe: Recipe) -> Facts:
    """State the inverse of every fact whose relation has one, in the same split and by the same source."""
    inverses = {name: relation.inverse for name, relation in recipe.relations.items() if relation.inverse}
    chosen = facts.triples.where(facts.triples.of_relation({*inverses, *inverses.values()}))
    known = {(t.head, t.relation, t.tail) for t in chosen}
    more: dict[tuple[str, str, str], Triple] = {}
    for triple in chosen:
        if inverse := inverses.get(triple.relation):
            mirrored = triple._replace(head=triple.tail, relation=inverse, tail=triple.head)
            fact = mirrored[:3]
            if fact not in known and (fact not in more or standing(mirrored) < standing(more[fact])):
                more[fact] = mirrored
    new = Triples.of(more.values())
    gone = Counter(facts.gone)
    gone["mirrored"] -= len(new)  # what is added is gone the other way round, so that the sums hold
    return replace(facts, triples=facts.triples.joined(new), gone=gone)


def standing(triple: Triple) -> tuple[str, int]:
    """By what one of equal facts is chosen, the smallest: its source, then its split, which is stated if it can be."""
    return triple.source, SPLITS.index(triple.split) if triple.split else len(SPLITS)
