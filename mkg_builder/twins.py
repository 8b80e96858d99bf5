"""Twins: entities that are one thing, or nearly, by picture, identifier, id or title, and so belong on one side."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping

from mkg_builder.graph import Triple
from mkg_builder.names import slug
from mkg_builder.near_duplicates import near_duplicates
from mkg_builder.unions import clusters

Keys = Iterator[tuple[Hashable, str]]
"""What an entity shares with its twins, and the entity."""


def grouped(keys: Iterable[tuple[Hashable, str]]) -> list[list[str]]:
    """The entities of each key that several have."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for key, name in keys:
        groups[key].append(name)
    return [names for names in groups.values() if len(names) > 1]


def by_picture(files: Mapping[str, str], hashes: Mapping[str, str], distance: int) -> dict[str, str]:
    """Entity -> its cluster, named by the smallest id, of pictures that are the same or nearly; who is alone has none.

    Args:
        files: entity -> the sha256 of its picture.
        hashes: entity -> the perceptual hash of its picture, where it has one.
        distance: bits that two hashes of one picture may differ in.
    """
    near = near_duplicates(hashes, distance)
    pairs = ((digest, name) for name, digest in files.items())
    return clusters([*grouped(pairs), *((cluster, name) for name, cluster in near.items())])


def by_identifier(same_as: Mapping[str, Iterable[str]]) -> Keys:
    """Entities of one type that claim one identifier of elsewhere."""
    yield from ((identifier, name) for name, known in same_as.items() for identifier in known)


def by_id(names: Iterable[str]) -> Keys:
    """Entities of one type whose ids differ in nothing but case, accents, punctuation or how letters are composed.

    The parts between slashes are compared each by itself; one without a letter or a figure as it is.
    """
    for name in names:
        yield tuple(slug(part) or part for part in name.partition(":")[2].split("/")), name


def by_title(made: Iterable[Triple], titles: Mapping[str, str]) -> Keys:
    """Works of one title by one maker, each of its makers; a title without a letter or a figure says nothing."""
    for triple in made:
        if title := slug(titles.get(triple.head, "")):
            yield (triple.tail, title), triple.head
