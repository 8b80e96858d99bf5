"""Two releases side by side: what was added, removed, changed or moved, and the version that follows.

Versions follow Croissant's reading of semantic versioning: anything removed, changed or moved to another split is a
major change, what only adds is a minor one, the same content in other files is a patch.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mkg_builder import schema
from mkg_builder.differences import Change, differences
from mkg_builder.errors import DataError
from mkg_builder.progress import watched

Bump = Literal["none", "patch", "minor", "major"]
BUMPS: tuple[Bump, ...] = ("none", "patch", "minor", "major")

FOLLOWING = {"modality_availability", "dropped"}
"""Tables about the build: they follow from the graph, which alone decides what is a major change."""
COUNTS = {("relations", split) for split in schema.TABLES["triples"].splits}
"""Columns that count the triples of a split."""

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """All that differs between two releases.

    Attributes:
        recipe: dotted key -> its old and its new value, of what differs in the recipes besides the version.
        same_files: whether both consist of the same bytes.
    """

    changes: tuple[Change, ...]
    recipe: Mapping[str, tuple[Any, Any]]
    same_files: bool

    @property
    def bump(self) -> Bump:
        """The smallest step of the version that is true."""
        steps: list[Bump] = ["none" if self.same_files else "patch", *map(bump_of, self.changes)]
        return max(steps, key=BUMPS.index)

    def required_version(self, old_version: str) -> str:
        """The smallest version that may follow the old one."""
        major, minor, patch = version_numbers(old_version)
        following = {
            "none": (major, minor, patch), "patch": (major, minor, patch + 1),
            "minor": (major, minor + 1, 0), "major": (major + 1, 0, 0),
        }  # fmt: skip
        return ".".join(map(str, following[self.bump]))


def bump_of(change: Change) -> Bump:
    """The step that one change asks for; counts, like the tables about the build, only follow what is counted."""
    follows = change.table in FOLLOWING or (change.table, change.column) in COUNTS
    return "minor" if change.kind == "added" or follows else "major"


def version_numbers(version: str) -> tuple[int, int, int]:
    """Major, minor and patch of a version, without what marks a build."""
    major, minor, patch = version.partition("+")[0].split(".")
    return int(major), int(minor), int(patch)


def compare(old: Path, new: Path, samples: int = 3) -> Comparison:
    """What turns one release into another; the order of rows and the way of writing them count for nothing.

    Raises:
        ReleaseError: one of them is not whole, or of another format version.
    """
    return _compare(old, new, (schema.require_whole(old), schema.require_whole(new)), samples)


def require_bump(old: Path, new: Path) -> None:
    """Refuse a release whose version says less than what it changes.

    Neither is hashed again: the new one was written a moment ago, and of the old one the manifest counts.

    Raises:
        DataError: the version is too small; the message names the smallest one and what changed.
        ReleaseError: they cannot be compared.
    """
    try:
        manifests = schema.read_manifest(old), schema.read_manifest(new)
        comparison = _compare(old, new, manifests, samples=0)
    except schema.ReleaseError as error:
        raise schema.ReleaseError(
            f"{error}; an earlier version must be readable, to be compared with: move {old} away to go on without it"
        ) from None
    was, now = (manifest["version"] for manifest in manifests)
    required = comparison.required_version(was)
    if version_numbers(now) < version_numbers(required):
        raise DataError(
            f"version {now} says less than what changed since {was}: {_causes(comparison)}; "
            f"that is a {comparison.bump} change: set `version` in the recipe to {required} or higher"
        )


def _causes(comparison: Comparison) -> str:
    causes = [
        f"{change.table}: {change.rows:,} {change.what}"
        for change in comparison.changes
        if bump_of(change) == comparison.bump
    ]
    more = f" and {len(causes) - 3} more" if len(causes) > 3 else ""
    return (", ".join(causes[:3]) or "the same content in other files") + more


def newest_release(folder: Path, name: str, before: str) -> Path | None:
    """The newest publishable release of this name and of an earlier version in a folder of releases."""
    pattern = re.compile(rf"{re.escape(name)}-(\d+\.\d+\.\d+)")
    found = {
        version_numbers(match[1]): path
        for path in folder.glob("*")
        if (match := pattern.fullmatch(path.name)) and (path / schema.MANIFEST).is_file()
    }
    earlier = [version for version in found if version < version_numbers(before)]
    return found[max(earlier)] if earlier else None


def _compare(old: Path, new: Path, manifests: tuple[Manifest, Manifest], samples: int) -> Comparison:
    was, now = (manifest["files"] for manifest in manifests)
    changes = [
        change
        for table in watched("tables", list(schema.TABLES.values()))
        if _shards(was, table.name) != _shards(now, table.name)
        for change in differences(old, new, table, samples)
    ]
    recipes = [dict(_flat(manifest["recipe"])) for manifest in manifests]
    return Comparison(tuple(changes), dict(_differing(*recipes)), was == now)


def _shards(files: Manifest, table: str) -> Manifest:
    return {name: entry for name, entry in files.items() if name.startswith(f"{table}/")}


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for key in sorted({*old, *new} - {"version"}):
        if old.get(key) != new.get(key):
            yield key, (old.get(key), new.get(key))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested settings under its dotted key."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
