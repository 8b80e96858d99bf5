"""An artist as WikiArt's three accounts have it: the alphabet's record, the page, and the keyed API's record."""

from collections.abc import Container, Iterator

from mkg_builder.dates import from_aspnet, parse_date
from mkg_builder.graph import Dropped, Entity, Statement
from mkg_builder.names import slug
from mkg_builder.source import SourceContext
from mkg_builder.sources.wikiart_pages import Page, Value
from mkg_builder.sources.wikiart_requests import Record, hex_id, number_id, report_types
from mkg_builder.sources.wikiart_statements import Scribe, tidy

READ_FIELDS = {
    "contentId": int, "artistName": str, "url": str, "lastNameFirst": str, "birthDay": str, "deathDay": str,
    "birthDayAsString": str, "deathDayAsString": str, "wikipediaUrl": str,
}  # fmt: skip
KNOWN_FIELDS = READ_FIELDS.keys() | {"image", "dictonaries"}
FACETS = {
    "Nationality:": ("hasNationality", "nationality"),
    "Field:": ("isAssociatedWithField", "field"),
    "Art Movement:": ("isAssociatedWithArtMovement", "movement"),
    "Painting School:": ("isMemberOfPaintingSchool", "school"),
    "Art institution:": ("isAffiliatedWithArtInstitution", "institution"),
}
"""Rows that lead to a word of the site's vocabulary, `/en/artists-by-<facet>/<slug>`."""

ARTISTS = {
    "Influenced by:": "isInfluencedBy",
    "Influenced on:": "isInfluencedOn",
    "Teachers:": "isPupilOf",
    "Pupils:": "isTeacherOf",
}
"""Rows that lead to other artists, `/en/<slug>`."""

LITERALS = {"Active Years:": "activeYears", "Official site:": "officialSite"}
KNOWN_API_FIELDS = {
    "id", "artistName", "url", "image", "lastNameFirst", "birthDay", "deathDay", "birthDayAsString",
    "deathDayAsString", "wikipediaUrl", "dictionaries", "periods", "series", "activeYearsStart",
    "activeYearsCompletion", "biography", "gender", "originalArtistName", "relatedArtists",
}  # fmt: skip
KNOWN_ROWS = {
    *FACETS, *ARTISTS, *LITERALS, "Born:", "Died:", "Genre:", "Friends and Co-workers:", "Family and Relatives:",
    "Wikipedia:", "Share:",
}  # fmt: skip
LIFE = (
    ("wasBornOnDate", "wasBornIn", "birthDayAsString", "birthDay", "birthDate", "birthPlace"),
    ("diedOnDate", "diedIn", "deathDayAsString", "deathDay", "deathDate", "deathPlace"),
)
API_LITERALS = {
    "gender": "gender",
    "originalArtistName": "originalName",
    "activeYearsStart": "activeYearsStart",
    "activeYearsCompletion": "activeYearsCompletion",
}


def report(context: SourceContext, name: str, record: Record, page: Page, api: Record) -> None:
    """Tell of fields that nobody reads, and of values that are of another type than ever before."""
    rows = (f"artist page row {row!r}" for row in page.rows.keys() - KNOWN_ROWS)
    for field in (*(record.keys() - KNOWN_FIELDS), *(api.keys() - KNOWN_API_FIELDS), *rows):
        context.leftover(field)
    report_types(context, f"artist:{name}", record, READ_FIELDS)


def artist_entity(name: str, record: Record, source: str) -> Entity:
    """An artist by what every account of them shares."""
    label = artist_label(name, record)
    number = number_id(record)
    same_as = (f"wikiart:{name}", *([f"wikiart-content:{number}"] if number else []))
    return Entity(f"artist:{name}", "artist", label, text=label, same_as=tuple(sorted(same_as)), sources=(source,))


def artist_label(name: str, record: Record) -> str:
    """The name as the alphabet has it; a work's record is not asked, since a tenth of those hold a broken one."""
    given = record.get("artistName")
    return (tidy(given) if isinstance(given, str) else "") or name.replace("-", " ").title()


def artist_statements(scribe: Scribe, name: str, record: Record, page: Page) -> Iterator[Statement]:
    """Everything the alphabet and the page say of an artist, but what leads to other artists."""
    artist = f"artist:{name}"
    yield from scribe.raw(artist, "label", record.get("artistName"), artist_label(name, record))
    yield from scribe.raw(artist, "lastNameFirst", record.get("lastNameFirst"))
    yield from scribe.raw(artist, "wikipediaUrl", record.get("wikipediaUrl"))
    yield from scribe.raw(artist, "kind", "collection" if page.collection else None)
    for label, literal in LITERALS.items():
        for value in page.rows.get(label, ()):
            yield from scribe.raw(artist, literal, value.text)
    yield from _life(scribe, artist, record, page)
    for label, (relation, kind) in FACETS.items():
        for value in page.rows.get(label, ()):
            tail = value.path[-1] if len(value.path) == 2 else slug(value.text)
            if tail:
                yield from scribe.attribute(artist, relation, f"{kind}:{tail}", value.text or tail)


def _life(scribe: Scribe, artist: str, record: Record, page: Page) -> Iterator[Statement]:
    """Birth and death: the text first, since the machine's date is at times off by centuries (Aivazovsky's is)."""
    for date, place, text, number, page_date, page_place in LIFE:
        spoken = record.get(text) or page.properties.get(page_date) or ""
        machine = record.get(number)
        edtf = parse_date(spoken) if isinstance(spoken, str) else None
        if edtf is None and isinstance(machine, str) and not spoken:
            edtf = from_aspnet(machine)
        yield from scribe.dated(artist, date, spoken if isinstance(spoken, str) else "", edtf)
        where = page.properties.get(page_place)
        if where:
            yield from scribe.named(artist, place, "place", where)
            yield from scribe.raw(artist, place, where)


def other_artists(context: SourceContext, artist: str, page: Page, known: Container[str]) -> Iterator[tuple[str, str]]:
    """Relation and slug of every known artist that the page's rows lead to; the other links are dropped."""
    for label, relation in ARTISTS.items():
        for value in page.rows.get(label, ()):
            if len(value.path) == 1 and value.path[0] in known:
                yield relation, value.path[0]
            else:
                fact = f"artist:{artist} {relation} {'/'.join(value.path) or value.text}"
                context.drop(Dropped(fact, "not_an_artist", _target(value)))


def _target(value: Value) -> str:
    what = value.path[0].removeprefix("artists-by-") if len(value.path) == 2 else "no artist of the alphabet"
    return f"{value.text!r} is {'of the facet ' if len(value.path) == 2 else ''}{what}"


def api_statements(scribe: Scribe, name: str, label: str, record: Record) -> Iterator[Statement]:
    """What only the keyed API knows of an artist, but the related artists."""
    artist = f"artist:{name}"
    number = hex_id(record.get("id"))
    if number is not None:
        same_as = (f"wikiart-id:{number}",)
        yield Entity(artist, "artist", label, text=label, same_as=same_as, sources=(scribe.source,))
    for field, literal in API_LITERALS.items():
        value = record.get(field)
        yield from scribe.raw(artist, literal, str(value) if type(value) in (int, str) else None)
    series = record.get("series")
    for item in series if isinstance(series, list) else ():
        yield from scribe.raw(artist, "series", item.get("title") if isinstance(item, dict) else None)
