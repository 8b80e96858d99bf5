"""WikiArt's addresses: what is asked for each kind of answer, and the JSON answers as records."""

import re
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from mkg_builder.graph import Dropped
from mkg_builder.source import Answer, Request, SourceContext
from mkg_builder.strict import parse_json

Record = dict[str, Any]
ImageSize = Literal["original", "HD", "Large", "HalfHD", "Blog", "Portrait", "PinterestLarge", "PinterestSmall"]

ARTISTS_AT_A_TIME = 50
PLACEHOLDER = "FRAME-600x480"
_HEX_ID = re.compile(r"[0-9a-fA-F]{24}")
_SIZE_TOKEN = re.compile(
    r"!(?:PinterestSmall|PinterestLarge|PortraitSmall|Portrait|Blog|Large|HalfHD|HD|Square|ArtistImage)\.\w{1,8}$"
)
_NO_SLUG = re.compile(r"[\s/\x00-\x1f\x7f\ufffe\uffff]|^$")


def json_request(context: SourceContext, path: str, holds: str = "", needed: bool = False) -> Request:
    """A request for one of the site's JSON answers; what it `holds`, an error in JSON does not."""
    url = context.endpoint("wikiart") + path
    return Request(f"wikiart:{path}", url, accept="application/json", holds=holds, needed=needed)


def artists_request(context: SourceContext) -> Request:
    """All artists; `v=new` is required, `inPublicDomain` hardly filters."""
    path = "/en/App/Artist/AlphabetJson?v=new&inPublicDomain=false"
    return json_request(context, path, holds='"url"', needed=True)


def listing_request(context: SourceContext, artist: str) -> Request:
    """The whole oeuvre of an artist, as short entries."""
    path = f"/en/App/Painting/PaintingsByArtist?artistUrl={urllib.parse.quote(artist)}&json=2"
    return json_request(context, path, holds="[", needed=True)


def detail_request(context: SourceContext, number: int) -> Request:
    """The full record of a work; one without a record redirects to the site's error page, and that is final."""
    path = f"/en/App/Painting/ImageJson/{number}"
    return replace(json_request(context, path, holds='"contentId"'), dead_end="/Home/Error/")


def related_request(context: SourceContext, path: str) -> Request:
    """The works that the site calls related to a work, given as `artist/work`."""
    return json_request(context, f"/en/{urllib.parse.quote(path)}?json=2")


def artist_page_request(context: SourceContext, artist: str) -> Request:
    """The page of an artist."""
    return _page_request(context, artist, "wiki-layout-artist-info")


def painting_page_request(context: SourceContext, path: str) -> Request:
    """The page of a work, given as `artist/work`."""
    return _page_request(context, path, "wiki-layout-artwork-info")


def _page_request(context: SourceContext, path: str, holds: str) -> Request:
    address = f"/en/{urllib.parse.quote(path)}"
    url = context.endpoint("wikiart") + address
    return Request(f"wikiart:{address}", url, accept="text/html", holds=holds)


def image_request(address: str, size: str) -> Request:
    """One size of a picture; any numbered host serves any file, so the key leaves the host out."""
    if size != "original":
        address = f"{address}!{size}.{address.rpartition('.')[2]}"
    parts = urllib.parse.urlsplit(address)
    path = urllib.parse.quote(urllib.parse.unquote(parts.path), safe="/!()',")
    url = urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    kept = re.search(r"(/\d{5})?/(images|temp)/.*", path)
    return Request(f"images:{kept[0] if kept else path}", url, accept="image/")


def image_address(record: Record) -> str | None:
    """The picture's address without its size token; None for the site's placeholder frame, and for what is none."""
    address = record.get("image")
    if not isinstance(address, str) or PLACEHOLDER in address:
        return None
    bare = _SIZE_TOKEN.sub("", address)  # another `!` is the name's own
    try:
        parts = urllib.parse.urlsplit(bare)
    except ValueError:
        return None
    return bare if parts.scheme in ("http", "https") and parts.netloc and parts.path else None


def clean_slug(value: object) -> str | None:
    """A slug as ids hold it: percent-encoding undone, one Unicode form; None for what can be no slug."""
    if not isinstance(value, str):
        return None
    bare = unicodedata.normalize("NFC", urllib.parse.unquote(value, errors="replace"))
    return None if _NO_SLUG.search(bare) else bare


def number_id(record: Record) -> int | None:
    """The `contentId` of an artist or a work: 64 bits, so no float ever holds it."""
    number = record.get("contentId")
    return number if type(number) is int and 0 < number < 2**63 else None


def hex_id(value: object) -> str | None:
    """An id of the second system, 24 hexadecimal figures, always in small letters."""
    return value.lower() if isinstance(value, str) and _HEX_ID.fullmatch(value) else None


def document(context: SourceContext, answer: Answer) -> Any:
    """The JSON of an answer, or None; what cannot be read is written down as dropped."""
    if not answer.ok:
        return None
    try:
        return parse_json(answer.body)
    except ValueError as fault:
        context.drop(Dropped(answer.key, "unreadable", str(fault)[:120]))
        return None


def record(context: SourceContext, answer: Answer) -> Record | None:
    """The one object of an answer, or None."""
    data = document(context, answer)
    if data is None or isinstance(data, dict):
        return data
    context.drop(Dropped(answer.key, "wrong_type", f"the answer is {type(data).__name__}, not an object"))
    return None


def objects(context: SourceContext, answer: Answer, field: str = "") -> list[Record]:
    """The objects of a list answer, or of the list that a field of it holds."""
    data = document(context, answer)
    if field and isinstance(data, dict):
        data = data.get(field)
    if data is None:
        return []
    found = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    if not isinstance(data, list) or len(found) < len(data):
        context.drop(Dropped(answer.key, "wrong_type", f"{field or 'the answer'} is no list of objects"))
    return found


def report_types(context: SourceContext, entity: str, record: Record, fields: Mapping[str, Any]) -> None:
    """Write down each value that is left out because it is of another type than ever before."""
    for name, kind in fields.items():
        value = record.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            context.drop(Dropped(entity, "wrong_type", f"{name} is {type(value).__name__}: {value!r}"[:120]))


def artists(context: SourceContext) -> dict[str, Record]:
    """All artists by slug, in the slugs' order."""
    known: dict[str, Record] = {}
    for artist in objects(context, context.get(artists_request(context))):
        name = clean_slug(artist.get("url"))
        if name is None:
            context.drop(Dropped(f"artist:{artist.get('contentId')}", "required_fields", "no slug in the alphabet"))
        else:
            known.setdefault(name, artist)
    return dict(sorted(known.items()))


def oeuvres(context: SourceContext, known: Iterable[str]) -> Iterator[list[tuple[str, list[Record]]]]:
    """Every artist with the entries of their works, so many artists at a time, until the limit is reached."""
    everyone, left = list(known), context.limit
    for start in range(0, len(everyone), ARTISTS_AT_A_TIME):
        context.progress(start, len(everyone))
        batch = everyone[start : start + ARTISTS_AT_A_TIME]
        listings = list(context.get_all([listing_request(context, artist) for artist in batch]))
        found: list[tuple[str, list[Record]]] = []
        for artist, listing in zip(batch, listings, strict=True):
            items = _entries(context, artist, listing)[:left]
            left = None if left is None else left - len(items)
            found.append((artist, items))
            if left == 0:
                break
        yield found
        if left == 0:
            break
    context.progress(len(everyone), len(everyone))


def _entries(context: SourceContext, artist: str, listing: Answer) -> list[Record]:
    """An artist's entries that carry an id, each work once."""
    entries: dict[int, Record] = {}
    for item in objects(context, listing):
        number = number_id(item)
        if number is None:
            title, got = str(item.get("title"))[:80], item.get("contentId")
            context.drop(Dropped(f"artwork:{artist}/?", "required_fields", f"{title!r} has contentId {got!r}"))
        else:
            entries.setdefault(number, item)
    return list(entries.values())


def exhaust(answers: Iterator[Answer]) -> None:
    """Wait for every answer; the snapshot keeps them."""
    for _ in answers:
        pass
