"""Leaks: what training could know of a held-out fact, by id, by mirror, by picture, by name, by text."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mkg_builder import schema
from mkg_builder.findings import Finding, Level, summed_up
from mkg_builder.graph import SPLITS
from mkg_builder.names import label_key
from mkg_builder.progress import watched
from mkg_builder.recipe import Recipe
from mkg_builder.triples import Mask, Triples, read_triples
from mkg_builder.twins import by_id, by_identifier, by_picture, by_title, grouped

TRAIN = SPLITS.index("train")
HELD_OUT = tuple(place for place in range(len(SPLITS)) if place != TRAIN)
HELD = "held out"
"""The side of what is in validation or test, it is not said in which."""

MIRRORED = 0.5
"""Two relations say the same where so many of the held-out facts of one stand in train under the other."""
ENOUGH = 10
"""Fewer facts prove nothing of a relation."""
SHORTEST_ANSWER = 4
"""A shorter name occurs in other words by chance."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """A release, opened for the search.

    Attributes:
        recipe: what the release promises.
        triples: all facts, each with its split.
        entities: the rows of the table `entities`, by id.
        pictures: the rows of `artworks` without the pictures themselves, by id.
    """

    recipe: Recipe
    triples: Triples
    entities: Mapping[str, Mapping[str, Any]]
    pictures: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, release: Path, recipe: Recipe) -> "Evidence":
        """Read what the search needs."""
        columns = ["id", "split", "image_sha256", "image_phash", "image_status"]
        return cls(
            recipe,
            read_triples({split: schema.read_table(release, "triples", split) for split in SPLITS}),
            {row["id"]: row for row in schema.read_table(release, "entities").to_pylist()},
            {row["id"]: row for row in schema.read_table(release, "artworks", columns=columns).to_pylist()},
        )

    @cached_property
    def sides(self) -> npt.NDArray[np.bool_]:
        """Which ids occur in which split; bool [splits, ids]."""
        return np.array([self.triples.where(self.triples.split == place).named() for place in range(len(SPLITS))])

    @cached_property
    def unseen(self) -> Mask:
        """Which ids are of the type whose held-out members training never meets."""
        return self.triples.of_type(self.recipe.split.unseen)

    def split_of(self, name: str) -> str | None:
        """The split of an entity of the unseen type, as its triples have it."""
        return self._splits.get(name)

    @cached_property
    def _splits(self) -> dict[str, str]:
        codes = np.flatnonzero(self.unseen)
        places = {int(code): np.flatnonzero(self.sides[:, code]) for code in codes}
        return {self.triples.ids[code]: SPLITS[found[0]] for code, found in places.items() if len(found)}

    @cached_property
    def beside(self) -> frozenset[str]:
        """Held-out entities that stand only beside another of their type: such a fact is in the split of either."""
        facts = self.triples
        apart = ~(self.unseen[facts.head] & self.unseen[facts.tail]) | (facts.split == TRAIN)
        return frozenset(facts.ids[code] for code in np.flatnonzero(self.unseen & ~facts.where(apart).named()).tolist())

    @cached_property
    def members(self) -> Mapping[str, Mapping[str, Any]]:
        """The rows of the entities of the unseen type that some fact names."""
        return {name: row for name, row in self.entities.items() if name in self._splits}

    def facts(self, split: int) -> Triples:
        """The facts of one split."""
        return self.triples.where(self.triples.split == split)


def find_leaks(evidence: Evidence) -> Iterator[Finding]:
    """Every leak, the first of each kind in words and how many there are."""
    searches: Sequence[Callable[[Evidence], Iterator[Finding]]] = (
        unseen_in_two_splits, repeated_facts, mirrored_facts, relations_that_say_the_same, disjoint_sets_that_meet,
        shared_pictures, shared_identifiers, twin_ids, shared_titles, texts_that_tell, unanswerable_facts,
        misplaced_rows,
    )  # fmt: skip
    published = evidence.recipe.split.policy == "given"  # a benchmark's own leaks are told, and are not ours to stop
    for search in watched("searches for leaks", searches):
        for finding in search(evidence):
            yield replace(finding, level="warning") if published else finding


def _found(level: Level, said: Sequence[str]) -> Iterator[Finding]:
    return summed_up(level, "leakage", said)


def _words(triples: Triples) -> list[str]:
    return [f"({t.head}, {t.relation}, {t.tail})" for t in triples]


def unseen_in_two_splits(evidence: Evidence) -> Iterator[Finding]:
    """A held-out entity in a training triple, as head or as tail, or in validation and test alike.

    A fact between two held-out entities belongs to the more held-out one, so a validation entity may stand in test
    beside a test entity.
    """
    ids, unseen, facts = evidence.triples.ids, evidence.unseen, evidence.triples
    alone = facts.where(~(unseen[facts.head] & unseen[facts.tail]))
    for place in HELD_OUT:
        held_out = unseen & alone.where(alone.split == place).named()
        for column, side in (("head", facts.head), ("tail", facts.tail)):
            trained = np.zeros(len(ids), bool)
            trained[side[facts.split == TRAIN]] = True
            names = [ids[code] for code in np.flatnonzero(held_out & trained).tolist()]
            yield from _found("error", [f"{n} is held out for {SPLITS[place]} but a {column} in train" for n in names])
    both = unseen & np.logical_and.reduce([alone.where(alone.split == place).named() for place in HELD_OUT])
    yield from _found("error", [f"{ids[code]} is in validation and in test" for code in np.flatnonzero(both).tolist()])


def repeated_facts(evidence: Evidence) -> Iterator[Finding]:
    """A held-out fact that is a training fact too."""
    known = np.unique(evidence.facts(TRAIN).keys())
    for place in HELD_OUT:
        facts = evidence.facts(place)
        again = facts.where(np.isin(facts.keys(), known))
        yield from _found("error", [f"{SPLITS[place]}: {fact} is in train too" for fact in _words(again)])


def mirrored_facts(evidence: Evidence) -> Iterator[Finding]:
    """A held-out fact whose declared inverse is in train, or itself with head and tail exchanged."""
    known = np.unique(evidence.facts(TRAIN).keys())
    relations = evidence.triples.relations
    code = {name: place for place, name in enumerate(relations)}
    declared = [evidence.recipe.relations[n].inverse if n in evidence.recipe.relations else None for n in relations]
    inverse = np.array([code.get(name or "", -1) for name in declared], np.int32)
    for mirrors, said in ((inverse, "the mirror"), (np.arange(len(relations), dtype=np.int32), "the reverse")):
        for place in HELD_OUT:
            facts = evidence.facts(place)
            facts = facts.where(mirrors[facts.relation] >= 0)
            turned = replace(facts, head=facts.tail, relation=mirrors[facts.relation], tail=facts.head)
            leaked = facts.where(np.isin(turned.keys(), known) & (facts.head != facts.tail))
            yield from _found("error", [f"{SPLITS[place]}: {said} of {fact} is in train" for fact in _words(leaked)])


def relations_that_say_the_same(evidence: Evidence) -> Iterator[Finding]:
    """Half of a relation's held-out pairs stand in train under another relation, straight or reversed."""
    train, size = evidence.facts(TRAIN), len(evidence.triples.ids)
    pairs = train.head.astype(np.int64) * size + train.tail
    held_out = evidence.triples.where(evidence.triples.split != TRAIN)
    for code in np.unique(held_out.relation).tolist():
        facts = held_out.where(held_out.relation == code)
        for other in np.unique(train.relation).tolist():
            known = pairs[train.relation == other]
            for turned, ends in ((False, (facts.head, facts.tail)), (True, (facts.tail, facts.head))):
                share = np.isin(ends[0].astype(np.int64) * size + ends[1], known).mean()
                if code != other and len(facts) >= ENOUGH and share >= MIRRORED:
                    one, another = (evidence.triples.relations[c] for c in (code, other))
                    way = "reversed" if turned else "as it is"
                    yield Finding(
                        "error", "leakage", f"{share:.0%} of held-out {one} stand {way} in train as {another}"
                    )


def disjoint_sets_that_meet(evidence: Evidence) -> Iterator[Finding]:
    """An entity of a relation that is divided by disjoint sets, in two splits of it."""
    triples = evidence.triples.where(evidence.triples.of_relation(evidence.recipe.split.disjoint))
    inside = np.array([triples.where(triples.split == place).named() for place in range(len(SPLITS))])
    shared = np.flatnonzero(inside.sum(0) > 1).tolist()
    yield from _found("error", [f"{triples.ids[c]} is in two splits of relations divided by sets" for c in shared])


def _across(evidence: Evidence, groups: Iterable[Sequence[str]], level: Level, said: str) -> Iterator[Finding]:
    """Groups of unseen entities that are one thing and yet in different splits."""
    leaked = []
    for names in groups:
        placed = [(name, split) for name in sorted(names) if (split := evidence.split_of(name)) is not None]
        sides = {HELD if name in evidence.beside else split for name, split in placed}
        if len(sides) > 1 and sides not in ({HELD, "validation"}, {HELD, "test"}):
            leaked.append(f"{said}: " + ", ".join(f"{name} ({split})" for name, split in placed[:4]))
    yield from _found(level, leaked)


def shared_pictures(evidence: Evidence) -> Iterator[Finding]:
    """The same picture, or nearly the same, on two sides of the split.

    Of pictures that were made smaller only the hashes count: any two of one colour have become the same file.
    """
    level: Level = "error" if evidence.recipe.split.near_duplicates else "warning"
    images, rows = evidence.recipe.images, evidence.pictures
    files = {name: row["image_sha256"] for name, row in rows.items() if row["image_sha256"] is not None}
    hashes = {name: row["image_phash"] for name, row in rows.items() if row["image_phash"] is not None}
    found = by_picture(files if images.longest_side is None else {}, hashes, images.near_duplicate_distance)
    groups = grouped((cluster, name) for name, cluster in found.items())
    for said, same in (("one", True), ("nearly one", False)):
        alike = [names for names in groups if (len({files[name] for name in names}) == 1) is same]
        yield from _across(evidence, alike, level, f"{said} picture on two sides of the split")


def shared_identifiers(evidence: Evidence) -> Iterator[Finding]:
    """One thing under two ids: an identifier of elsewhere that two entities claim."""
    keys = by_identifier({name: row["same_as"] for name, row in evidence.members.items()})
    yield from _across(evidence, grouped(keys), "error", "one identifier on two sides of the split")


def twin_ids(evidence: Evidence) -> Iterator[Finding]:
    """Ids that differ in nothing but case, accents, punctuation or the way their letters are composed."""
    yield from _across(evidence, grouped(by_id(evidence.members)), "error", "twin ids on two sides of the split")


def shared_titles(evidence: Evidence) -> Iterator[Finding]:
    """Works of one name by one maker on two sides, where the recipe keeps them together.

    The entity that stands for all rare makers is nobody in particular.
    """
    triples, split = evidence.triples, evidence.recipe.split
    made = (t for t in triples.where(triples.of_relation(split.together)) if t.tail != split.rest.get(t.relation))
    keys = by_title(made, {name: row["label"] for name, row in evidence.members.items()})
    yield from _across(evidence, grouped(keys), "error", "one title by one maker on two sides of the split")


def texts_that_tell(evidence: Evidence) -> Iterator[Finding]:
    """A held-out head whose text names the answer, by its label or by another of its names."""
    triples = evidence.triples
    texts = {name: row["text"] for name, row in evidence.entities.items() if row["text"] is not None}
    asked = {name for name, relation in evidence.recipe.relations.items() if relation.evaluated}
    told = triples.mark(texts.__contains__)[triples.head] & triples.of_relation(asked) & (triples.split != TRAIN)
    for what, names_of in (("the answer", lambda row: [row["label"]]), ("another name of the answer", _aliases)):
        leaked = [
            f"the text of {triple.head} tells {what}, {triple.relation} {triple.tail}"
            for triple in triples.where(told)
            if triple.tail in evidence.entities and _tells(texts[triple.head], names_of(evidence.entities[triple.tail]))
        ]
        yield from _found("warning", leaked)


def _aliases(row: Mapping[str, Any]) -> list[str]:
    return list(row["aliases"])


def _tells(text: str, names: Sequence[str]) -> bool:
    words = f" {label_key(text)} "
    keys = (label_key(name) for name in names)
    return any(len(key) >= SHORTEST_ANSWER and f" {key} " in words for key in keys)


def unanswerable_facts(evidence: Evidence) -> Iterator[Finding]:
    """Held-out facts whose tail training never meets, where the recipe drops them."""
    if evidence.recipe.split.unanswerable != "drop":
        return
    facts, trained = evidence.triples, evidence.sides[TRAIN] | evidence.unseen
    lost = facts.where((facts.split != TRAIN) & ~trained[facts.tail])
    yield from _found("error", [f"the tail of {fact} never occurs in train" for fact in _words(lost)])


def misplaced_rows(evidence: Evidence) -> Iterator[Finding]:
    """Entities or pictures that their own table puts into another split than their triples do."""
    for table, rows in (("entities", evidence.entities), ("artworks", evidence.pictures)):
        wrong = [
            f"{table}: {name} is said to be of {row['split']}, its triples say {split}"
            for name, row in rows.items()
            if (split := evidence.split_of(name)) is not None and row["split"] != split
        ]
        yield from _found("error", wrong)
