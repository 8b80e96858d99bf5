"""Splits by keyed hash: a triple's side depends on the seed and on itself, never on what else is in the graph."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mkg_builder.errors import DataError
from mkg_builder.facts import Facts
from mkg_builder.graph import SPLITS, Entity, entity_type
from mkg_builder.ordering import sorted_by
from mkg_builder.recipe import SplitRecipe
from mkg_builder.triples import NO_SPLIT, Triples
from mkg_builder.twins import by_id, by_identifier, by_title, grouped
from mkg_builder.unions import clusters

Sides = npt.NDArray[np.int8]
"""Indices into SPLITS; the larger, the more held out."""

NOWHERE = -1


def split_facts(
    facts: Facts, policy: SplitRecipe, duplicates: Mapping[str, str], sources: Sequence[str] = ()
) -> tuple[Facts, Sides]:
    """Divide the triples into train, validation and test.

    Inductive: a triple that names an entity of the `unseen` type follows that entity (the more held out of the
    two, where it names two), so that no held-out entity occurs in any training triple. All other triples are
    held out by the unordered pair of their ends, so that a fact and its mirror are on one side; those of `disjoint`
    relations by the sets that their ends belong to.

    Args:
        facts: what cleaning left.
        policy: the recipe's.
        duplicates: entity -> its cluster of pictures that are the same or nearly.
        sources: in the recipe's order; what is one takes the side of the member that the earliest of them tells of, so
            that a later source moves nothing of an earlier one.

    Returns:
        The facts without what the policy drops, and the side of each triple.

    Raises:
        DataError: the split is given, and a triple comes without one.
    """
    if policy.policy == "given":
        return facts, _given(facts.triples)
    sides = _sides(facts, policy, _keys(facts, policy, duplicates, sources))
    crossing = sides == NOWHERE
    facts = facts.without_triples(crossing, "split_crossing", "its ends belong to different splits")
    sides = sides[~crossing]
    facts, sides = _group_rest(facts, sides, policy)
    if policy.unanswerable == "drop":
        lost = _unanswerable(facts.triples, sides, policy)
        facts = facts.without_triples(lost, "unanswerable", "held out, and its tail never occurs in train")
        sides = sides[~lost]
    return facts, sides


def _given(triples: Triples) -> Sides:
    for triple in triples.where(np.flatnonzero(triples.split == NO_SPLIT)[:1]):
        raise DataError(
            f"source {triple.source} puts ({triple.head}, {triple.relation}, {triple.tail}) on no side; "
            f"with split policy 'given' it must say one of {', '.join(SPLITS)}"
        )
    return triples.split


def _sides(facts: Facts, policy: SplitRecipe, keys: Mapping[str, str]) -> Sides:
    triples = facts.triples
    unseen = triples.of_type(policy.unseen)
    side_of = np.zeros(len(triples.ids), np.int8)
    for code in np.flatnonzero(unseen).tolist():
        side_of[code] = hashed_side(keys.get(triples.ids[code], triples.ids[code]), policy)
    sides = np.maximum(side_of[triples.head], side_of[triples.tail])
    disjoint = triples.of_relation(policy.disjoint)
    for place in np.flatnonzero(~triples.naming(unseen)).tolist():
        ends = sorted((triples.ids[triples.head[place]], triples.ids[triples.tail[place]]))
        if disjoint[place]:
            one, other = (hashed_side(end, policy) for end in ends)
            sides[place] = one if one == other else NOWHERE
        else:
            sides[place] = hashed_side(" ".join(ends), policy)
    return sides


def _keys(facts: Facts, policy: SplitRecipe, duplicates: Mapping[str, str], sources: Sequence[str]) -> dict[str, str]:
    """Entity of the unseen type -> whose side it must take: the first of all that the leak checks call one."""
    members = {name: entity for name, entity in facts.entities.items() if entity_type(name) == policy.unseen}
    made = facts.triples.where(facts.triples.of_relation(policy.together))
    groups = [(cluster, name) for name, cluster in duplicates.items()] if policy.near_duplicates else []
    twins = (
        by_title(made, {name: entity.label for name, entity in members.items()}),
        by_identifier({name: entity.same_as for name, entity in members.items()}),
        by_id(members),
    )
    cluster = clusters([*groups, *(names for keys in twins for names in grouped(keys))])
    rank = {source: place for place, source in enumerate(sources)}

    def standing(name: str) -> tuple[int, str]:
        return min((rank.get(one, len(rank)) for one in members[name].sources), default=len(rank)), name

    first: dict[str, str] = {}
    for name in sorted((name for name in cluster if name in members), key=standing):
        first.setdefault(cluster[name], name)
    return {name: first[root] for name, root in cluster.items() if root in first}


def hashed_side(key: str, policy: SplitRecipe) -> int:
    """The index of train, validation or test, by blake2b(seed, key) as a fraction of one."""
    digest = hashlib.blake2b(f"{policy.seed}\0{key}".encode(), digest_size=8).digest()
    fraction = int.from_bytes(digest) / 2**64
    if fraction < policy.test:
        return SPLITS.index("test")
    return SPLITS.index("validation" if fraction < policy.test + policy.validation else "train")


def _group_rest(facts: Facts, sides: Sides, policy: SplitRecipe) -> tuple[Facts, Sides]:
    """One entity in place of all the tails of a relation that do not occur in every split."""
    if not policy.rest:
        return facts, sides
    for relation, rest in policy.rest.items():
        triples = facts.triples
        chosen = triples.of_relation({relation})
        everywhere = np.ones(len(triples.ids), bool)
        for side in range(len(SPLITS)):
            everywhere &= np.bincount(triples.tail[chosen & (sides == side)], minlength=len(triples.ids)) > 0
        masked = chosen & ~everywhere[triples.tail]
        sources = tuple(triples.sources[code] for code in np.unique(triples.source[masked]).tolist())
        kind, _, label = rest.partition(":")
        tails = dict.fromkeys(np.unique(triples.tail[masked]).tolist(), rest)
        if tails:
            made = Entity(rest, kind, label, sources=sources)
            entities = {**facts.entities, rest: facts.entities.get(rest, made).merged(made)}
            facts = replace(facts, triples=triples.restated(masked, tails), entities=entities)
    return _stated_once(facts, sides)


def _stated_once(facts: Facts, sides: Sides) -> tuple[Facts, Sides]:
    """Of equal facts the least held out stays, so that none is held out that training states."""
    keys = facts.triples.keys()
    order = sorted_by(keys, sides, facts.triples.source)
    repeated = np.zeros(len(keys), bool)
    repeated[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return facts.taking(repeated, "duplicate"), sides[~repeated]


def _unanswerable(triples: Triples, sides: Sides, policy: SplitRecipe) -> npt.NDArray[np.bool_]:
    """Held-out triples whose tail is in no training triple, though it is not of the kind that training never meets."""
    trained = triples.where(sides == 0).named() | triples.of_type(policy.unseen)
    return (sides > 0) & ~trained[triples.tail]


def sides_of(triples: Triples, sides: Sides) -> dict[str, Triples]:
    """The triples of each split, sorted by head, relation and tail."""
    parts = {split: triples.where(sides == place) for place, split in enumerate(SPLITS)}
    return {split: part.where(part.order()) for split, part in parts.items()}
