"""The pictures of entities: decoded, handed on to what an entity was joined to, gathered where they are alike."""

from collections.abc import Mapping
from dataclasses import replace

from mkg_builder.facts import Facts
from mkg_builder.images import BrokenPicture, Picture, inspect_all
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Progress
from mkg_builder.twins import by_picture


def verify_pictures(
    facts: Facts, snapshot: Snapshot, advance: Progress | None
) -> tuple[Facts, dict[str, Picture], dict[str, BrokenPicture]]:
    """Decode every picture; an entity whose picture is broken has none.

    Returns:
        The facts; the whole pictures by their own keys, whosever they will be; the broken ones by their entities.
    """
    pictured = [(entity, entity.image) for entity in facts.entities.values() if entity.image is not None]
    whole: dict[str, Picture] = {}
    broken: dict[str, BrokenPicture] = {}
    entities = dict(facts.entities)
    verdicts = inspect_all(snapshot, [key for _, key in pictured])
    for done, ((entity, key), verdict) in enumerate(zip(pictured, verdicts, strict=True), 1):
        if isinstance(verdict, BrokenPicture):
            broken[entity.id] = verdict
            entities[entity.id] = replace(entity, image=None)
        else:
            whole[key] = verdict
        if advance is not None:
            advance("pictures", done, len(pictured), len(broken))
    return replace(facts, entities=entities), whole, broken


def pictures_of(
    facts: Facts, whole: Mapping[str, Picture], broken: Mapping[str, BrokenPicture]
) -> dict[str, Picture | BrokenPicture]:
    """Entity -> its picture, or why it has none; what was joined to an entity brought its own along."""
    pictures: dict[str, Picture | BrokenPicture] = {}
    for name, entity in facts.entities.items():
        joined = (name, *(other for other in entity.same_as if other not in facts.entities))
        if entity.image is not None:
            pictures[name] = whole[entity.image]
        elif (first := next((other for other in joined if other in broken), None)) is not None:
            pictures[name] = broken[first]
    return pictures


def clusters_of(pictures: Mapping[str, Picture | BrokenPicture], distance: int) -> dict[str, str]:
    """Entity -> its cluster of pictures that are the same, or differ by so many bits of their hashes at most."""
    whole = {name: picture for name, picture in pictures.items() if isinstance(picture, Picture)}
    files = {name: picture.sha256 for name, picture in whole.items()}
    hashes = {name: picture.phash for name, picture in whole.items() if picture.phash is not None}
    return by_picture(files, hashes, distance)
