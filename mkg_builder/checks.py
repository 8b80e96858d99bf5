"""Checks of a release: that it is whole, that it keeps its format's promises, that nothing leaks, what was expected."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mkg_builder import schema
from mkg_builder.errors import DataError, RecipeError
from mkg_builder.graph import SPLITS, entity_type
from mkg_builder.recipe import Bounds, Recipe
from mkg_builder.strict import validate


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
    entities = schema.read_table(release, "entities").to_pylist()
    splits = {split: _facts(release, split) for split in SPLITS}
    counts = Counter(relation for facts in splits.values() for _, relation, _ in facts)
    return [
        *_content(release, manifest),
        *_invariants(recipe, {row["id"]: row["type"] for row in entities}, splits),
        *_leaks(recipe, splits),
        *_shared_pictures(release),
        *expectation_findings(recipe, Counter(row["type"] for row in entities), counts, not manifest["marks"]),
    ]


Fact = tuple[str, str, str]


def _facts(release: Path, split: str) -> list[Fact]:
    table = schema.read_table(release, "triples", split)
    columns = (table[name].to_pylist() for name in ("head", "relation", "tail"))
    return list(zip(*columns, strict=True))


def _content(release: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    if schema.release_content_sha256(release) != manifest["content_sha256"]:
        yield Finding("error", "content", "the tables do not say what the manifest's content hash says")


def _invariants(recipe: Recipe, types: Mapping[str, str], splits: Mapping[str, list[Fact]]) -> Iterator[Finding]:
    seen: set[Fact] = set()
    for split, facts in splits.items():
        for fact in facts:
            head, name, tail = fact
            relation = recipe.relations.get(name)
            if fact in seen:
                yield Finding("error", "invariants", f"{split}: {fact} is stated twice")
            elif relation is None:
                yield Finding("error", "invariants", f"{split}: {fact} uses an undeclared relation")
            elif (types.get(head), types.get(tail)) != (relation.domain, relation.range):
                yield Finding("error", "invariants", f"{split}: {fact} does not join {relation.domain} and its range")
            seen.add(fact)


def _leaks(recipe: Recipe, splits: Mapping[str, list[Fact]]) -> Iterator[Finding]:
    """Held-out entities in training triples, and training facts whose mirror is held out."""
    trained = {end for head, _, tail in splits["train"] for end in (head, tail)}
    training = set(splits["train"])
    for split in ("validation", "test"):
        held_out = {head for head, _, _ in splits[split] if entity_type(head) == recipe.split.unseen}
        for name in sorted(held_out & trained):
            yield Finding("error", "leakage", f"{name} is held out for {split} but occurs in train")
        for head, name, tail in splits[split]:
            inverse = recipe.relations[name].inverse if name in recipe.relations else None
            if inverse is not None and (tail, inverse, head) in training:
                yield Finding("error", "leakage", f"{split}: the mirror of ({head}, {name}, {tail}) is in train")


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
