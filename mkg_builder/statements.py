"""Statements as sources yield them, each looked at once, so that what is none is told with the name of its source."""

import re
from collections.abc import Iterable, Iterator

from mkg_builder.errors import DataError
from mkg_builder.graph import SPLITS, Entity, Literal, Statement, Triple, entity_type
from mkg_builder.names import normalise, slug
from mkg_builder.wording import counted

SHOWN = 100
"""So many signs of what is no statement are shown to find it by."""
_ALLOWED = "read() must yield an Entity, a Triple or a Literal at a time"
_TEXT = "a str of whole characters"
_HALF = re.compile("[\ud800-\udfff]")
_SIDES = (None, *SPLITS)


def accepted(said: Iterable[object], source: str) -> Iterator[Statement]:
    """What a source says, as it comes.

    Raises:
        DataError: something that is no statement, or one whose parts are not what they should be.
    """
    if not isinstance(said, Iterable):
        raise DataError(f"source {source!r} returned {_shown(said)}: {_ALLOWED}")
    for thing in said:
        if isinstance(thing, Triple):
            head, relation, tail, name, split = thing
            # in line, as there are millions; words only where it fails
            if not (isinstance(head, str) and isinstance(relation, str) and isinstance(tail, str)
                    and isinstance(name, str) and split in _SIDES):  # fmt: skip
                raise DataError(f"source {source!r} yielded {_shown(thing)}: {_fault_of_triple(thing)}")
        elif isinstance(thing, Entity):
            if fault := _fault_of_entity(thing):
                raise DataError(f"source {source!r} yielded an Entity {_shown(thing.id)}: {fault}")
        elif not isinstance(thing, Literal):
            raise DataError(f"source {source!r} yielded {_shown(thing)}: {_ALLOWED}")
        elif fault := _no_text(thing, "entity", "name", "value", "source"):
            raise DataError(f"source {source!r} yielded {_shown(thing)}: {fault}")
        yield thing


class Namesakes:
    """Names of one build that differ and yet make one id, as `C++` and `C#` do, so that two things become one."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], str] = {}

    def meet(self, known: Entity, other: Entity) -> None:
        """Compare two accounts of one id; other names that its sources know it by are none of our business."""
        if known.label != other.label and slug(known.label) == slug(other.label):
            one, another = (normalise(label).casefold() for label in (known.label, other.label))
            if one != another:
                self._pairs.setdefault((other.id, another), f"{known.label!r} and {other.label!r} are both {other.id}")

    def notes(self) -> list[str]:
        """How many names there are whose id another one has, and which came first."""
        first = next(iter(self._pairs.values()), "")
        return [f"{counted(len(self._pairs), 'name')} with the id of another, the first: {first}"] if first else []


def _fault_of_triple(triple: Triple) -> str:
    sides = ", ".join(map(repr, _SIDES))
    texts = _no_text(triple, "head", "relation", "tail", "source")
    return texts or f"its split is {_shown(triple.split)}; it must be one of {sides}"


def _fault_of_entity(entity: Entity) -> str | None:
    if fault := _no_text(entity, "id", "type", "label"):
        return fault
    if entity_type(entity.id) != entity.type:
        return f"its type is {entity.type!r}, so its id must begin with {entity.type + ':'!r}"
    for name in ("text", "image"):
        if (value := getattr(entity, name)) is not None and not _is_text(value):
            return f"its {name} is {_shown(value)}; it must be {_TEXT}, or None where there is none"
    for name in ("same_as", "sources", "aliases"):
        value = getattr(entity, name)
        if not isinstance(value, tuple | list) or not all(map(_is_text, value)):
            return f"its {name} is {_shown(value)}; it must be a tuple, each part {_TEXT}"
    return None


def _no_text(thing: object, *names: str) -> str | None:
    wrong = ((name, value) for name in names if not _is_text(value := getattr(thing, name)))
    return next((f"its {name} is {_shown(value)}; it must be {_TEXT}" for name, value in wrong), None)


def _is_text(value: object) -> bool:
    """Whether a file can hold it: half of a pair of surrogates, which JSON can spell, is no character."""
    if not isinstance(value, str):
        return False
    return value.isascii() or _HALF.search(value) is None


def _shown(thing: object) -> str:
    shown = " ".join(repr(thing).split())
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
