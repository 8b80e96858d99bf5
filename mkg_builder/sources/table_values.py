"""The values of a cell, step by step as the recipe says, and why one is left out."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from mkg_builder.dates import parse_date
from mkg_builder.errors import DataError
from mkg_builder.names import composed
from mkg_builder.places import country_of, refusal
from mkg_builder.rows import Row
from mkg_builder.sources.table_options import Column

OTHERS = "*"


class Value(NamedTuple):
    """One value of a cell.

    Attributes:
        raw: as it stands there.
        text: what the steps made of it; empty when it is left out.
        why: the reason why it is left out.
    """

    raw: str
    text: str
    why: str = ""


Lookups = Mapping[str, Mapping[str, str | None]]
"""File -> what stands for each value in it."""


def read_values(row: Row, column: Column, lookups: Lookups) -> Iterator[Value]:
    """The values of a row's cell, in their order."""
    table = lookups[column.lookup] if isinstance(column.lookup, str) else column.lookup
    for cell in row.get(column.column, ()):
        parts = [part.strip() for part in cell.split(column.split)] if column.split is not None else [cell]
        yield from (_value(part, column, table) for part in parts if part)


def _value(raw: str, column: Column, lookup: Mapping[str, str | None]) -> Value:
    text: str | None = raw
    if column.match is not None:
        found = re.fullmatch(column.match, raw, re.DOTALL)
        if not found:
            return Value(raw, "", f"{column.column}: {short(raw)} does not match {column.match}")
        text = (found[1] if found.re.groups else found[0]) or ""
    text = lookup.get(composed(text or ""), lookup.get(OTHERS, text))
    if not text:
        return Value(raw, "", f"{column.column}: {short(raw)} stands for nothing")
    text = column.template.replace("{}", text) if column.template is not None else text
    parsed = {"text": _same, "date": parse_date, "country": country_of}[column.parse](text)
    if parsed is None:
        why = refusal(text) if column.parse == "country" else None
        return Value(raw, "", f"{column.column}: {why or f'no {column.parse} can be read in {short(text)}'}")
    return Value(raw, parsed)


def _same(text: str) -> str:
    return text


def short(text: str) -> str:
    """A text as a line shows it, cut where it is long."""
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


@lru_cache(maxsize=64)
def read_lookup(body: bytes, name: str) -> dict[str, str | None]:
    """A lookup file: CSV with the columns `from` and `to`; an empty `to` stands for nothing.

    Raises:
        DataError: not such a file, or a value that stands for two things.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{name}: not readable as csv in UTF-8 ({error})") from None
    found: dict[str, str | None] = {}
    for row in rows:
        if row.keys() != {"from", "to"} or None in row.values():
            raise DataError(f"{name}: should have the columns from and to, and no others, in every line")
        known = found.setdefault(composed(row["from"].strip()), row["to"].strip() or None)
        if known != (row["to"].strip() or None):
            raise DataError(f"{name}: {row['from']!r} stands for both {known!r} and {row['to']!r}")
    return found
