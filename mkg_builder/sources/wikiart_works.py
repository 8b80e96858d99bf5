"""A work as WikiArt's three accounts have it: its JSON record, its page, and the keyed API's record."""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from mkg_builder.dates import bounds, parse_date, reach
from mkg_builder.graph import Entity, Statement
from mkg_builder.source import SourceContext
from mkg_builder.sources.wikiart_pages import TAGS, Page
from mkg_builder.sources.wikiart_requests import Record, clean_slug, hex_id, number_id, report_types
from mkg_builder.sources.wikiart_statements import Scribe, place_of_creation, tidy

SEPARATOR = ", "
NOTHING = Page({}, {})

READ_FIELDS = {
    "title": str, "contentId": int, "artistUrl": str, "url": str, "image": str, "completitionYear": (int, str),
    "style": str, "genre": str, "tags": str, "galleryName": str, "location": str, "serie": str, "period": str,
}  # fmt: skip
"""What is read of a record, and its type where it is not null."""

KNOWN_FIELDS = READ_FIELDS.keys() | {
    "artistContentId", "artistName", "width", "height", "yearAsString", "dictionaries", "sizeX", "sizeY",
    "description", "diameter", "auction", "material", "technique", "yearOfTrade", "lastPrice",
}  # fmt: skip
KNOWN_ROWS = {
    "Original Title:", "Date:", "Style:", "Genre:", "Media:", "Period:", "Series:", "Location:", "Dimensions:",
    "Share:", TAGS,
}  # fmt: skip
KNOWN_API_FIELDS = {
    "id", "title", "url", "artistUrl", "artistName", "artistId", "completitionYear", "width", "image", "height",
    "dictionaries", "location", "period", "serie", "genres", "styles", "media", "galleries", "tags", "sizeX", "sizeY",
    "diameter", "description",
}  # fmt: skip


@dataclass(frozen=True)
class Attribute:
    """A relation of a work, and where each account states it: fields of two records, a row of the page."""

    relation: str
    kind: str
    api_field: str
    row: str
    field: str
    joined: bool = True


ATTRIBUTES = (
    Attribute("hasStyle", "style", "styles", "Style:", "style"),
    Attribute("belongsToGenre", "genre", "genres", "Genre:", "genre"),
    Attribute("isAssociatedWithTag", "tag", "tags", TAGS, "tags"),
    Attribute("isCreatedWithMedium", "medium", "media", "Media:", ""),
    Attribute("isLocatedIn", "gallery", "galleries", "Location:", "galleryName", joined=False),
)


@dataclass(frozen=True)
class Work:
    """One work: its id, its JSON record or, for want of one, its entry in the artist's list, and what else is known.

    Attributes:
        record: of ImageJson or PaintingsByArtist, with a usable title and contentId.
        page: the rows of its page.
        api: its record in the keyed API; empty when that was not asked.
    """

    id: str
    record: Record
    page: Page
    api: Record


def work_path(artist: str, record: Record, known: Container[str]) -> str | None:
    """`artist/work`, by which the site's addresses name a work; None for a work without a slug.

    The artist is the record's own, unless the alphabet has none of that slug: a work may be listed under two.
    """
    own, name = clean_slug(record.get("artistUrl")), clean_slug(record.get("url"))
    return f"{own if own in known else artist}/{name}" if name else None


def fault_of(record: Record, spam: re.Pattern[str] | None) -> tuple[str, str] | None:
    """Why a record makes no artwork, as rule and detail; None when it does."""
    title = record.get("title")
    if not isinstance(title, str):
        return "required_fields", "no title" if title is None else f"title is {type(title).__name__}: {title!r}"[:120]
    if not tidy(title):
        return "required_fields", "no title"
    if number_id(record) is None:
        return "required_fields", f"contentId is {record.get('contentId')!r}"[:120]
    if spam is not None and (word := spam.search(title)):
        return "spam", f"{word[0]!r} in its title {title[:80]!r}"
    return None


def report(context: SourceContext, work: Work) -> None:
    """Tell of fields that nobody reads, and of values that are of another type than ever before."""
    unread = [*(work.record.keys() - KNOWN_FIELDS), *(work.api.keys() - KNOWN_API_FIELDS)]
    for name in (*unread, *(f"painting page row {row!r}" for row in work.page.rows.keys() - KNOWN_ROWS)):
        context.leftover(name)
    report_types(context, work.id, work.record, READ_FIELDS)


def work_statements(scribe: Scribe, work: Work, image: str | None) -> Iterator[Statement]:
    """The work itself and everything its accounts say of it, but its artist and its related works."""
    record, page = work.record, work.page
    title = tidy(record["title"])
    number = page.hex_id or hex_id(work.api.get("id"))
    same_as = (f"wikiart-content:{number_id(record)}", *([f"wikiart-id:{number}"] if number else []))
    yield Entity(
        work.id, "artwork", title, text=title, image=image, same_as=tuple(sorted(same_as)), sources=(scribe.source,)
    )
    yield from scribe.raw(work.id, "label", record["title"], title)
    for attribute in ATTRIBUTES:
        for name in _names(work, attribute):
            yield from scribe.named(work.id, attribute.relation, attribute.kind, name)
    yield from _year(scribe, work)
    place = page.properties.get("locationCreated") or record.get("location") or work.api.get("location")
    if isinstance(place, str):
        yield from scribe.raw(work.id, "wasCreatedIn", place_of_creation(place))
    yield from scribe.raw(work.id, "series", record.get("serie"))
    yield from scribe.raw(work.id, "period", record.get("period"))
    for value in page.rows.get("Original Title:", ()):
        yield from scribe.raw(work.id, "originalTitle", value.text)


def _names(work: Work, attribute: Attribute) -> Sequence[str]:
    """The first account that has any: lists come first, since in a joined string a comma may be a name's own."""
    listed = work.api.get(attribute.api_field)
    names = [name for name in listed if isinstance(name, str) and name] if isinstance(listed, list) else []
    names = names or [value.text for value in work.page.rows.get(attribute.row, ())]
    joined = work.record.get(attribute.field)
    if names or not isinstance(joined, str):
        return names
    return joined.split(SEPARATOR) if attribute.joined else [joined]


def _year(scribe: Scribe, work: Work) -> Iterator[Statement]:
    """The page's date, unless it is wider than a year and the record names one of its years; else the record's year."""
    row = work.page.rows.get("Date:", ())
    text = work.page.properties.get("dateCreated") or (row[0].text.partition(";")[0].strip() if row else "")
    stated = work.record.get("completitionYear")  # the site's spelling
    spoken = str(stated) if type(stated) in (int, str) else ""
    date, year = parse_date(text), _numbered(stated) or parse_date(spoken)
    if date is None:
        yield from scribe.raw(work.id, "isCreatedInYear", text)
        yield from scribe.dated(work.id, "isCreatedInYear", spoken, year)
    else:
        yield from scribe.dated(work.id, "isCreatedInYear", text, year if year and _narrows(year, date) else date)


def _narrows(year: str, date: str) -> bool:
    """Whether a year is one of several in which a date may lie."""
    own, wide = bounds(year), reach(date)
    if own is None or wide is None or own[0] != own[1]:
        return False
    return wide[0] < wide[1] and wide[0] <= own[0] <= wide[1]


def _numbered(year: object) -> str | None:
    """A record's year in EDTF: -31 stands for 31 BC, which astronomers, who have a year 0, call -30."""
    if type(year) is not int or year == 0 or not -9999 <= year <= 9999:
        return None
    return f"{year:04d}" if year > 0 else _before_christ(-year)


def _before_christ(year: int) -> str:
    return "0000" if year == 1 else f"-{year - 1:04d}"
