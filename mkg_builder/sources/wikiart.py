"""WikiArt's site JSON: all artists, each artist's works, each work's record, each work's picture.

The walk is AlphabetJson -> PaintingsByArtist -> ImageJson -> picture, and needs no key. What lasts are the slugs:
`artistUrl` names an artist, `artistUrl/url` a work.
"""

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from typing_extensions import override

from mkg_builder.graph import Dropped, Entity, Triple
from mkg_builder.names import slug
from mkg_builder.source import Answer, Request, Source, SourceContext, SourceOptions
from mkg_builder.strict import parse_json

Record = dict[str, Any]
ImageSize = Literal["original", "HD", "Large", "HalfHD", "Blog", "Portrait", "PinterestLarge", "PinterestSmall"]

ARTISTS_AT_A_TIME = 50
PLACEHOLDER = "FRAME-600x480"
SEPARATOR = ", "
BROKEN_NAME = "\uffff"  # a tenth of the records carry it in artistName

READ_FIELDS = frozenset(
    {
        "title",
        "contentId",
        "artistUrl",
        "url",
        "image",
        "completitionYear",
        "style",
        "genre",
        "tags",
        "galleryName",
    }
)
KNOWN_FIELDS = READ_FIELDS | {
    "artistContentId", "artistName", "width", "height", "yearAsString", "dictionaries", "location", "sizeX", "sizeY",
    "serie", "period", "description", "diameter", "auction", "material", "technique", "yearOfTrade", "lastPrice",
}  # fmt: skip

LISTS = {
    "style": ("hasStyle", "style"),
    "genre": ("belongsToGenre", "genre"),
    "tags": ("isAssociatedWithTag", "tag"),
}
"""Fields that hold several names in one string -> their relation and the type of its tail."""


class WikiArtOptions(SourceOptions):
    """What a recipe may set.

    Attributes:
        image_sizes: which derivatives of a picture to ask for, the first that exists is taken;
            about a quarter of the Large and four fifths of the HD ones are missing on the site.
    """

    image_sizes: tuple[ImageSize, ...] = ("Large", "HD", "original")


class WikiArt(Source):
    """The complete walk over the site's own JSON."""

    Options: ClassVar[type[SourceOptions]] = WikiArtOptions

    @override
    def fetch(self, context: SourceContext) -> None:
        artists = _artists(context)
        works = 0
        for start in range(0, len(artists), ARTISTS_AT_A_TIME):
            context.progress(start, len(artists))
            listings = context.get_all(
                [_listing_request(context, a) for a in artists[start : start + ARTISTS_AT_A_TIME]]
            )
            items = [item for listing in listings for item in _records(listing)]
            if context.limit is not None:
                items = items[: context.limit - works]
            works += len(items)
            details = list(context.get_all([_detail_request(context, item) for item in items]))
            self._fetch_pictures(context, [_record(d) or i for d, i in zip(details, items, strict=True)])
            if context.limit is not None and works >= context.limit:
                break
        context.progress(len(artists), len(artists))

    def _fetch_pictures(self, context: SourceContext, records: Sequence[Record]) -> None:
        """Ask for every picture in its first size, then for those that are missing in the next."""
        wanted = [image for record in records if (image := _image_address(record)) is not None]
        for size in self.options.image_sizes:
            answers = context.get_all([_image_request(image, size) for image in wanted])
            wanted = [image for image, answer in zip(wanted, answers, strict=True) if not answer.ok]

    @override
    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        works = 0
        for artist in _artists(context):
            items = _records(context.get(_listing_request(context, artist)))
            if items and (context.limit is None or works < context.limit):
                yield _artist_entity(artist, context.name)
            for item in items:
                if context.limit is not None and works >= context.limit:
                    return
                works += 1
                record = _record(context.get(_detail_request(context, item)))
                yield from self._read_work(context, artist["url"], record or item)

    def _read_work(self, context: SourceContext, artist: str, record: Record) -> Iterator[Entity | Triple]:
        for name in record.keys() - KNOWN_FIELDS:
            context.leftover(name)
        title, content_id = record.get("title"), record.get("contentId")
        if not isinstance(title, str) or not title.strip():
            context.drop(Dropped(f"artwork:{artist}/{content_id}", "required_fields", "no title"))
            return
        # one work in 223,095 has no record of its own, only its entry in the artist's list, without a slug
        work = f"artwork:{artist}/{record.get('url') or f'content-{content_id}'}"
        yield Entity(
            work, "artwork", title, text=title, image=self._picture(context, record),
            same_as=(f"wikiart-content:{content_id}",), sources=(context.name,),
        )  # fmt: skip
        yield Triple(work, "isCreatedByArtist", f"artist:{artist}", context.name)
        for relation, tail, label in _attributes(record):
            kind = tail.partition(":")[0]
            yield Entity(tail, kind, label, text=label, sources=(context.name,))
            yield Triple(work, relation, tail, context.name)

    def _picture(self, context: SourceContext, record: Record) -> str | None:
        """The snapshot key of the first size that was answered."""
        address = _image_address(record)
        if address is None:
            return None
        for size in self.options.image_sizes:
            request = _image_request(address, size)
            if context.get(request).ok:
                return request.key
        return None


def _request(context: SourceContext, path: str, follow: bool = True) -> Request:
    url = context.endpoint("wikiart") + path
    return Request(f"wikiart:{path}", url, follow=follow, accept="application/json")


def _listing_request(context: SourceContext, artist: Record) -> Request:
    slug_in_query = urllib.parse.quote(artist["url"])
    return _request(context, f"/en/App/Painting/PaintingsByArtist?artistUrl={slug_in_query}&json=2")


def _detail_request(context: SourceContext, item: Record) -> Request:
    # a work without a record redirects to an error page: the redirect is the answer, and final
    return _request(context, f"/en/App/Painting/ImageJson/{item['contentId']}", follow=False)


def _artists(context: SourceContext) -> list[Record]:
    """All artists by slug; `v=new` is required, `inPublicDomain` hardly filters."""
    answer = context.get(_request(context, "/en/App/Artist/AlphabetJson?v=new&inPublicDomain=false"))
    artists = [a for a in _records(answer) if isinstance(a.get("url"), str) and a["url"]]
    return sorted(artists, key=lambda artist: str(artist["url"]))


def _artist_entity(artist: Record, source: str) -> Entity:
    name = str(artist.get("artistName") or "").replace(BROKEN_NAME, "").strip()
    label = name or artist["url"].replace("-", " ").title()
    return Entity(f"artist:{artist['url']}", "artist", label, text=label, sources=(source,))


def _records(answer: Answer) -> list[Record]:
    """The objects of a list answer that carry an id or a slug."""
    if not answer.ok:
        return []
    data = parse_json(answer.body)
    return [item for item in data if isinstance(item, dict) and item.get("contentId")] if isinstance(data, list) else []


def _record(answer: Answer) -> Record | None:
    if not answer.ok:
        return None
    data = parse_json(answer.body)
    return data if isinstance(data, dict) else None


def _attributes(record: Record) -> Iterator[tuple[str, str, str]]:
    """Relation, tail id and tail label of everything the record says of its work."""
    for name, (relation, kind) in LISTS.items():
        value = record.get(name)
        for label in value.split(SEPARATOR) if isinstance(value, str) else ():
            if slug(label):
                yield relation, f"{kind}:{slug(label)}", label
    year = record.get("completitionYear")  # the site's spelling
    if isinstance(year, int) and not isinstance(year, bool):
        yield "isCreatedInYear", f"date:{year:04d}", str(year)
    gallery = record.get("galleryName")
    if isinstance(gallery, str) and slug(gallery):
        yield "isLocatedIn", f"gallery:{slug(gallery)}", gallery


def _image_address(record: Record) -> str | None:
    """The picture's address without its size token; None for the site's placeholder frame."""
    address = record.get("image")
    if not isinstance(address, str) or not address or PLACEHOLDER in address:
        return None
    return address.rpartition("!")[0] or address


def _image_request(address: str, size: str) -> Request:
    """Any numbered host serves any file, so the key leaves the host out."""
    if size != "original":
        address = f"{address}!{size}.{address.rpartition('.')[2]}"
    parts = urllib.parse.urlsplit(address)
    path = urllib.parse.quote(urllib.parse.unquote(parts.path), safe="/!()',")
    url = urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    kept = re.search(r"(/\d{5})?/(images|temp)/.*", path)
    return Request(f"images:{kept[0] if kept else path}", url, accept="image/")
