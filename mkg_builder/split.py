"""Splits: a triple's side depends on the seed and on itself, or is given; never on what else is in the graph."""

import hashlib
from collections.abc import Iterable

from mkg_builder.errors import DataError
from mkg_builder.graph import SPLITS, Triple, entity_type
from mkg_builder.recipe import SplitRecipe

_HELD_OUT = {"train": 0, "validation": 1, "test": 2}


def split_triples(triples: Iterable[Triple], policy: SplitRecipe) -> dict[str, tuple[Triple, ...]]:
    """Divide triples into train, validation and test.

    Inductive: a triple that names an entity of the `unseen` type follows that entity (the more held out of the
    two, where it names two), so that no held-out entity occurs in any training triple. All other triples are
    held out by the unordered pair of their ends, so that a fact and its mirror are on one side.
    Given: as the source states.

    Raises:
        DataError: the split is given, and a triple comes without one.
    """
    sides: dict[str, list[Triple]] = {split: [] for split in SPLITS}
    for triple in triples:
        sides[side_of(triple, policy)].append(triple)
    return {split: tuple(sides[split]) for split in SPLITS}


def side_of(triple: Triple, policy: SplitRecipe) -> str:
    """The split of one triple."""
    if policy.policy == "given":
        return _given_side(triple)
    unseen = [end for end in (triple.head, triple.tail) if entity_type(end) == policy.unseen]
    if unseen:
        return max((hashed_side(end, policy) for end in unseen), key=_HELD_OUT.__getitem__)
    return hashed_side(" ".join(sorted((triple.head, triple.tail))), policy)


def _given_side(triple: Triple) -> str:
    if triple.split not in SPLITS:
        raise DataError(
            f"source {triple.source} puts ({triple.head}, {triple.relation}, {triple.tail}) on the side "
            f"{triple.split!r}; with split policy 'given' it must say one of {', '.join(SPLITS)}"
        )
    return triple.split


def hashed_side(key: str, policy: SplitRecipe) -> str:
    """train, validation or test, by blake2b(seed, key) as a fraction of one."""
    digest = hashlib.blake2b(f"{policy.seed}\0{key}".encode(), digest_size=8).digest()
    fraction = int.from_bytes(digest) / 2**64
    if fraction < policy.test:
        return "test"
    return "validation" if fraction < policy.test + policy.validation else "train"
