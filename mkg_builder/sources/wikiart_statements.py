"""WikiArt's words as statements: names tidied, dates in EDTF, each attribute told of once, the raw text beside it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mkg_builder.dates import parse_date
from mkg_builder.graph import Entity, Literal, Statement, Triple, entity_type
from mkg_builder.names import normalise, slug
from mkg_builder.places import unglue


def tidy(name: str) -> str:
    """A name as people would type it; the site writes a back-quote where an apostrophe belongs."""
    return re.sub(r"(?<=\w)`(?=\w)", "'", normalise(name))


def place_of_creation(text: str) -> str:
    """The place with a comma before its country, which the site's JSON glues on: `ParisFrance`."""
    return ", ".join(part for part in unglue(text) or (tidy(text),) if part)


@dataclass
class Scribe:
    """Writes statements in the name of one source; an attribute that many works share is told of once."""

    source: str
    _told: set[tuple[str, str]] = field(default_factory=set)
    _labels: dict[str, str] = field(default_factory=dict)

    def attribute(self, head: str, relation: str, tail: str, name: str) -> Iterator[Statement]:
        """A fact whose tail is a name: the tail, its raw name where that differs, the triple.

        A place keeps every spelling, `Paris France` and `Paris, France`: only some of them tell its country.
        """
        if (tail, name) not in self._told:
            self._told.add((tail, name))
            label, kind = tidy(name), entity_type(tail)
            first = self._labels.setdefault(tail, label)
            spellings = tuple(sorted({first, label})) if kind == "place" and label != first else ()
            yield Entity(tail, kind, label, text=label, sources=(self.source,), aliases=spellings)
            yield from self.raw(tail, "label", name, label)
        yield Triple(head, relation, tail, self.source)

    def named(self, head: str, relation: str, kind: str, name: str) -> Iterator[Statement]:
        """A fact whose tail has no id but its name; nothing where nothing is left of the name."""
        if slug(name):
            yield from self.attribute(head, relation, f"{kind}:{slug(name)}", name)

    def dated(self, head: str, relation: str, text: str, edtf: str | None = None) -> Iterator[Statement]:
        """A fact whose tail is a date, read from the text unless it is given; the text itself where it says more."""
        date = edtf or parse_date(text)
        if date is not None:
            yield from self.attribute(head, relation, f"date:{date}", date)
        yield from self.raw(head, relation, text, date or "")

    def raw(self, entity: str, name: str, text: object, unless: str = "") -> Iterator[Literal]:
        """A value as the site gave it; nothing for what is empty or no text, or equal to what is known already."""
        if isinstance(text, str) and text.strip() and text != unless:
            yield Literal(entity, name, text, self.source)
