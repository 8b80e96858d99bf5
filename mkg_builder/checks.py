"""Checks of a release: that it is whole, that it keeps its format's promises, that nothing leaks, what was expected."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mkg_builder import schema
from mkg_builder.errors import DataError, RecipeError
from mkg_builder.graph import SPLITS, Triple
from mkg_builder.knowledge_graph import problems, relations_of
from mkg_builder.recipe import Bounds, Recipe
from mkg_builder.strict import validate
from mkg_builder.triples import Mask, Triples, read_triples


@dataclass(frozen=True)
class Finding:
    """One thing that a check found; an error means that the release must not be used."""

    level: Literal["error", "warning"]
    check: str
    message: str


class ExpectationError(DataError):
    """A graph that is not what its recipe expects."""


def expectation_findings(
    recipe: Recipe, entities: Mapping[str, int], triples: Mapping[str, int], strict: bool
) -> list[Finding]:
    """Where counts leave the recipe's bounds: errors when strict, else warnings."""
    level: Literal["error", "warning"] = "error" if strict else "warning"
    expected = recipe.expectations
    misses = [*_misses("entities", expected.entities, entities), *_misses("triples", expected.relations, triples)]
    return [Finding(level, "expectations", miss) for miss in misses]


def _misses(what: str, expected: Mapping[str, Bounds], counts: Mapping[str, int]) -> Iterator[str]:
    for name, bounds in expected.items():
        count = counts.get(name, 0)
        if bounds.min is not None and count < bounds.min:
            yield f"{name}: {count:,} {what}, at least {bounds.min:,} expected"
        if bounds.max is not None and count > bounds.max:
            yield f"{name}: {count:,} {what}, at most {bounds.max:,} expected"


def check_release(release: Path) -> list[Finding]:
    """Everything that is wrong with a release folder; empty when it is whole, sound and free of leaks.

    Raises:
        ReleaseError: it has no readable manifest, or a table cannot be read at all.
    """
    manifest = schema.read_manifest(release)
    altered = [Finding("error", "files", problem) for problem in schema.verify_files(release, manifest)]
    if altered:
        return altered
    try:
        recipe = validate(Recipe, manifest["recipe"], str(release / schema.MANIFEST))
    except RecipeError as error:
        return [Finding("error", "recipe", str(error))]
    entities = schema.read_table(release, "entities", columns=["id", "type"])
    types = dict(zip(entities["id"].to_pylist(), entities["type"].to_pylist(), strict=True))
    triples = read_triples({split: schema.read_table(release, "triples", split) for split in SPLITS})
    return [
        *_content(release, manifest),
        *_invariants(recipe, types, triples),
        *_leaks(recipe, triples),
        *_shared_pictures(release),
        *expectation_findings(recipe, Counter(types.values()), triples.count(), not manifest["marks"]),
    ]


def _content(release: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    if schema.release_content_sha256(release) != manifest["content_sha256"]:
        yield Finding("error", "content", "the tables do not say what the manifest's content hash says")


def _invariants(recipe: Recipe, types: Mapping[str, str], triples: Triples) -> Iterator[Finding]:
    for problem in problems(triples, [types.get(name) for name in triples.ids], relations_of(recipe)):
        yield Finding("error", "invariants", problem)


def _leaks(recipe: Recipe, triples: Triples) -> Iterator[Finding]:
    """Held-out entities in training triples, and training facts whose mirror is held out."""
    train = triples.split == SPLITS.index("train")
    trained, unseen = triples.where(train).named(), triples.of_type(recipe.split.unseen)
    for split in ("validation", "test"):
        side = triples.split == SPLITS.index(split)
        held_out = np.zeros(len(triples.ids), bool)
        held_out[triples.head[side]] = True
        for code in np.flatnonzero(held_out & trained & unseen).tolist():
            yield Finding("error", "leakage", f"{triples.ids[code]} is held out for {split} but occurs in train")
        for triple in _mirrored(recipe, triples, side, train):
            yield Finding(
                "error",
                "leakage",
                f"{split}: the mirror of ({triple.head}, {triple.relation}, {triple.tail}) is in train",
            )


def _mirrored(recipe: Recipe, triples: Triples, side: Mask, train: Mask) -> Iterator[Triple]:
    """The facts of one side whose mirror is among the training facts."""
    inverse = {name: relation.inverse for name, relation in recipe.relations.items()}
    known = np.unique(triples.where(train).keys())
    code = {name: place for place, name in enumerate(triples.relations)}
    mirrors = np.array([code.get(inverse.get(name) or "", -1) for name in triples.relations], np.int32)
    chosen = triples.where(side)
    chosen = chosen.where(mirrors[chosen.relation] >= 0)
    turned = replace(chosen, head=chosen.tail, relation=mirrors[chosen.relation], tail=chosen.head)
    yield from chosen.where(np.isin(turned.keys(), known))


def _shared_pictures(release: Path) -> Iterator[Finding]:
    """Byte-identical pictures of artworks on different sides of the split."""
    table = schema.read_table(release, "artworks", columns=["id", "image_sha256", "split"])
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for row in table.to_pylist():
        if row["image_sha256"] is not None and row["split"] is not None:
            sides[row["image_sha256"]][row["id"]] = row["split"]
    for works in sides.values():
        if len(set(works.values())) > 1:
            named = ", ".join(f"{name} ({split})" for name, split in sorted(works.items()))
            yield Finding("warning", "leakage", f"one picture on two sides of the split: {named}")


def raise_on_errors(findings: Iterable[Finding]) -> None:
    """Stop at the first error.

    Raises:
        ExpectationError: with the first error and how many there are.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ExpectationError(f"{errors[0].check}: {errors[0].message}{more}")
