"""Checks of a release: that it is whole, that it keeps its format's promises, that nothing leaks, what was expected."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mkg_builder import schema
from mkg_builder.content import release_content_sha256
from mkg_builder.errors import RecipeError
from mkg_builder.findings import Finding, Level, summed_up
from mkg_builder.graph import SPLITS
from mkg_builder.knowledge_graph import misnamed, problems, relations_of
from mkg_builder.leaks import Evidence, find_leaks
from mkg_builder.names import look_alikes, mixed_scripts
from mkg_builder.recipe import Bounds, Recipe
from mkg_builder.strict import validate
from mkg_builder.triples import Triples


def expectation_findings(
    recipe: Recipe, entities: Mapping[str, int], relations: Mapping[str, int], splits: Mapping[str, int], strict: bool
) -> list[Finding]:
    """Where counts of entities by type and of triples by relation and split leave the recipe's bounds.

    Errors when strict, else warnings.
    """
    level: Level = "error" if strict else "warning"
    expected = recipe.expectations
    misses = [
        *_misses("entities", expected.entities, entities),
        *_misses("triples", expected.relations, relations),
        *_misses("triples", expected.splits, splits),
    ]
    return [Finding(level, "expectations", miss) for miss in misses]


def _misses(what: str, expected: Mapping[str, Bounds], counts: Mapping[str, int]) -> Iterator[str]:
    for name, bounds in expected.items():
        count = counts.get(name, 0)
        if bounds.min is not None and count < bounds.min:
            yield f"{name}: {count:,} {what}, at least {bounds.min:,} expected"
        if bounds.max is not None and count > bounds.max:
            yield f"{name}: {count:,} {what}, at most {bounds.max:,} expected"


def name_findings(named: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Names whose letters deceive people: for them to look at, and never merged.

    Args:
        named: the type and the label of each entity.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for kind, label in named:
        labels[kind].add(label)
    mixed = [f"{kind}: {name!a} mixes two alphabets in a word" for kind, names in sorted(labels.items())
             for name in sorted(filter(mixed_scripts, names))]  # fmt: skip
    alike = [f"{kind}: {' looks like '.join(map(ascii, names))}" for kind, known in sorted(labels.items())
             for names in look_alikes(known)]  # fmt: skip
    yield from summed_up("warning", "names", mixed)
    yield from summed_up("warning", "names", alike)


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
    evidence = Evidence.of(release, recipe)
    types, triples = {name: row["type"] for name, row in evidence.entities.items()}, evidence.triples
    sizes = dict(zip(SPLITS, np.bincount(triples.split, minlength=len(SPLITS)).tolist(), strict=True))
    return [
        *_content(release, manifest),
        *_invariants(recipe, types, triples),
        *_pictures(evidence),
        *_picture_bytes(release),
        *find_leaks(evidence),
        *name_findings((row["type"], row["label"]) for row in evidence.entities.values()),
        *expectation_findings(recipe, Counter(types.values()), triples.count(), sizes, not manifest["marks"]),
    ]


def _content(release: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    if release_content_sha256(release) != manifest["content_sha256"]:
        yield Finding("error", "content", "the tables do not say what the manifest's content hash says")


def _invariants(recipe: Recipe, types: Mapping[str, str], triples: Triples) -> Iterator[Finding]:
    ends = [types.get(name) for name in triples.ids]
    for problem in (*misnamed(types), *problems(triples, ends, relations_of(recipe))):
        yield Finding("error", "invariants", problem)


def _pictures(evidence: Evidence) -> Iterator[Finding]:
    """Where one table says that there is a picture and another that there is none."""
    pictured = {name for name, kind in evidence.recipe.types.items() if kind.image}
    status = {name: row["image_status"] for name, row in evidence.pictures.items()}
    differing = [
        f"{name}: has_image is {row['has_image']}, its image_status {status.get(name, 'none')!r}"
        for name, row in evidence.entities.items()
        if row["type"] in pictured and row["has_image"] != (status.get(name) == "ok")
    ]
    yield from summed_up("error", "pictures", differing)


def _picture_bytes(release: Path) -> Iterator[Finding]:
    """Pictures that are not those of which the tables speak; the content hash goes by what the tables say."""
    others = [
        f"{row['id']}: its picture is not the one of its image_sha256"
        for batch in schema.iter_batches(release, "artworks", columns=["id", "image", "image_sha256"], rows=64)
        for row in batch.to_pylist()
        if row["image"] is not None and hashlib.sha256(row["image"]["bytes"]).hexdigest() != row["image_sha256"]
    ]
    yield from summed_up("error", "pictures", others)
