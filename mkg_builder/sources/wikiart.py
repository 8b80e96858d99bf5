"""WikiArt: all artists, each artist's works, each work's record and picture; by option pages and relations as well.

The walk is AlphabetJson -> PaintingsByArtist -> ImageJson -> picture, and needs no key. What lasts are the slugs:
`artistUrl` names an artist, `artistUrl/url` a work. The site's second system of ids, that of its keyed API, is joined
by them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from typing_extensions import override

from mkg_builder.errors import UnknownNameError
from mkg_builder.graph import Dropped, Statement, Triple
from mkg_builder.recipe import Limit
from mkg_builder.source import Answer, Source, SourceContext, SourceOptions
from mkg_builder.sources import wikiart_requests as site
from mkg_builder.sources.wikiart_artists import (
    api_statements,
    artist_entity,
    artist_label,
    artist_statements,
    other_artists,
)
from mkg_builder.sources.wikiart_artists import report as report_artist
from mkg_builder.sources.wikiart_pages import Page, link_path, read_artist_page, read_painting_page
from mkg_builder.sources.wikiart_requests import ImageSize, Record
from mkg_builder.sources.wikiart_statements import Scribe
from mkg_builder.sources.wikiart_v2 import (
    ACCESS_CODE,
    SECRET_CODE,
    fetch_api,
    kept,
    read_artists,
    read_works,
    related_artists,
    search,
)
from mkg_builder.sources.wikiart_works import NOTHING, Work, fault_of, work_path, work_statements
from mkg_builder.sources.wikiart_works import report as report_work
from mkg_builder.wording import counted


class WikiArtOptions(SourceOptions):
    """What a recipe may set.

    Attributes:
        artists: slugs; of these alone the works are walked, of all when none is given.
        image_sizes: which derivatives of a picture to ask for, the first that exists is taken;
            about a quarter of the Large and four fifths of the HD ones are missing on the site.
        artist_pages: read each artist's page: one request per artist, for nationality, field, movement, school,
            institution, places, influences, teachers and pupils.
        painting_pages: read each work's page: one request per work, for medium, location, tags one by one, and dates
            that are ranges or centuries.
        related_artworks: ask for the related works of each work: one request per work.
        api: what to ask of the keyed API, if the environment has its codes: nothing, the artists (their related
            artists; about 100 requests), or each work as well (one request per work, at 400 an hour).
        spam_words: a title or an artist's name that holds one of these, as whole words, is spam and is dropped.
    """

    artists: tuple[str, ...] = ()
    image_sizes: tuple[ImageSize, ...] = ("Large", "HD", "original")
    artist_pages: bool = False
    painting_pages: bool = False
    related_artworks: bool = False
    api: Literal["none", "artists", "artworks"] = "none"
    spam_words: tuple[str, ...] = ()

    def chosen(self, known: Iterable[str]) -> list[str]:
        """Those of the artists whose works are walked."""
        return [artist for artist in known if not self.artists or artist in self.artists]

    def spam(self) -> re.Pattern[str] | None:
        """What finds a spam word in a name; None when none is given."""
        words = "|".join(re.escape(word) for word in self.spam_words)
        return re.compile(rf"\b(?:{words})\b", re.IGNORECASE) if words else None


class WikiArt(Source):
    """The complete walk over the site's own JSON, and by option over its pages and its keyed API."""

    Options: ClassVar[type[SourceOptions]] = WikiArtOptions
    limits: ClassVar[Mapping[str, Limit]] = {  # what the page of the keyed API says; the rest of the site names none
        "www.wikiart.org": Limit(windows=[(10, 2.5)], parallel=2),
        "www.wikiart.org/*/api/2/*": Limit(windows=[(400, 3600)]),
        "www.wikiart.org/*/api/2/login*": Limit(windows=[(10, 3600)]),
        "uploads*.wikiart.org": Limit(windows=[(20, 1)], parallel=2),
    }

    @override
    def fetch(self, context: SourceContext) -> None:
        known = site.artists(context)
        for unknown in sorted({*self.options.artists} - known.keys() if known else ()):
            raise UnknownNameError("artist in the option `artists`:", unknown, known)
        with_works: dict[str, str] = {}
        for batch in site.oeuvres(context, self.options.chosen(known)):
            if self.options.artist_pages:
                site.exhaust(context.get_all([site.artist_page_request(context, artist) for artist, _ in batch]))
            entries = [(artist, item) for artist, items in batch for item in items]
            details = context.get_all([site.detail_request(context, item["contentId"]) for _, item in entries])
            records = [site.record(context, detail) or item for detail, (_, item) in zip(details, entries, strict=True)]
            self._fetch_works(context, [work_path(a, r, known) for (a, _), r in zip(entries, records, strict=True)])
            self._fetch_pictures(context, records)
            with_works |= {artist: artist_label(artist, known[artist]) for artist, items in batch if items}
        if self.options.api != "none":
            fetch_api(context, with_works, artworks=self.options.api == "artworks")

    def _fetch_works(self, context: SourceContext, paths: Sequence[str | None]) -> None:
        own = [path for path in paths if path is not None]
        if self.options.painting_pages:
            site.exhaust(context.get_all([site.painting_page_request(context, path) for path in own]))
        if self.options.related_artworks:
            site.exhaust(context.get_all([site.related_request(context, path) for path in own]))

    def _fetch_pictures(self, context: SourceContext, records: Sequence[Record]) -> None:
        """Ask for every picture in its first size, then for those that are missing or damaged in the next.

        A size that could not be had now is no reason to take another: the next run asks for it again.
        """
        images = (image for record in records if (image := site.image_address(record)) is not None)
        wanted = [image for image in images if context.may_ask(image)]
        for size in self.options.image_sizes:
            answers = context.get_all([site.image_request(image, size) for image in wanted])
            wanted = [  # one picture in memory at a time
                image for image, answer in zip(wanted, answers, strict=True)
                if answer.status and not context.is_whole_picture(answer)
            ]  # fmt: skip

    @override
    def read(self, context: SourceContext) -> Iterator[Statement]:
        return _Reading(context, self.options).statements()


class _Reading:
    """One pass over the kept answers; of what it met it remembers the ids."""

    def __init__(self, context: SourceContext, options: WikiArtOptions) -> None:
        self._context, self._options = context, options
        self._scribe = Scribe(context.name)
        self._spam = options.spam()
        self._listed = site.artists(context)
        self._artists = {name: record for name, record in self._listed.items() if not self._spam_in(name)}
        self._api = read_artists(context) if options.api != "none" else {}
        self._unlisted: dict[str, str] = {}  # artist that the API does not list -> id there, empty where unknown
        self._told: set[str] = set()
        self._walked: list[str] = []
        self._works: dict[int, str] = {}  # contentId -> id
        self._paths: dict[str, str | None] = {}  # id -> where the work's answers are
        self._short: list[str] = []

    def statements(self) -> Iterator[Statement]:
        for batch in site.oeuvres(self._context, self._options.chosen(self._listed)):
            for artist, items in batch:
                if word := self._spam_in(artist):
                    detail = f"{word!r} in the artist's name, with {len(items)} works"
                    self._context.drop(Dropped(f"artist:{artist}", "spam", detail))
                    continue
                self._walked.append(artist)
                if items and self._options.api != "none":
                    self._look_up(artist)
                yield from self._artist(artist, len(items))
                api_works = self._api_works(artist)
                for item in items:
                    yield from self._work(artist, item, api_works)
        if self._options.related_artworks:
            yield from self._related_works()
        if self._options.api != "none":
            yield from self._related_artists()
        if self._short:
            some = ", ".join(self._short[:3])
            self._context.note(
                f"{counted(len(self._short), 'list')} of fewer works than the artist's page says: {some}"
            )

    def _spam_in(self, artist: str) -> str:
        found = self._spam.search(artist_label(artist, self._listed[artist])) if self._spam else None
        return found[0] if found else ""

    def _tell(self, artist: str) -> Iterator[Statement]:
        """An artist that a triple names, wherever in the walk they stand."""
        if artist not in self._told:
            self._told.add(artist)
            yield artist_entity(artist, self._artists[artist], self._context.name)

    def _artist(self, artist: str, works: int) -> Iterator[Statement]:
        page = NOTHING
        if self._options.artist_pages:
            answer = self._context.get(site.artist_page_request(self._context, artist))
            page = self._page(read_artist_page, answer)
        elif not works and artist not in self._api:
            return
        record = self._artists[artist]
        report_artist(self._context, artist, record, page, self._api.get(artist, {}))
        yield from self._tell(artist)
        yield from artist_statements(self._scribe, artist, record, page)
        for relation, other in other_artists(self._context, artist, page, self._artists):
            yield from self._tell(other)
            yield Triple(f"artist:{artist}", relation, f"artist:{other}", self._context.name)
        if self._context.limit is None and page.works is not None and works < page.works:
            self._short.append(f"{artist} {works} of {page.works}")

    def _page(self, parse: Callable[[bytes], Page | None], answer: Answer) -> Page:
        page = parse(answer.body) if answer.ok else NOTHING
        if page is None:
            self._context.drop(Dropped(answer.key, "unreadable", "not the page that was asked for"))
        return page or NOTHING

    def _look_up(self, artist: str) -> None:
        """Find an artist with works in the API's answers: in its list, else by a search for the name."""
        if self._api and artist not in self._api:
            found = search(kept(self._context), {artist: artist_label(artist, self._artists[artist])})
            self._unlisted[artist] = found.get(artist, "")

    def _api_record(self, artist: str) -> Record:
        number = self._unlisted.get(artist)
        return {"id": number} if number else self._api.get(artist, {})

    def _api_works(self, artist: str) -> Mapping[str, Record]:
        number = self._api_record(artist).get("id")
        return read_works(self._context, str(number)) if number and self._options.api == "artworks" else {}

    def _work(self, artist: str, item: Record, api: Mapping[str, Record]) -> Iterator[Statement]:
        context = self._context
        number = item["contentId"]
        if number in self._works:  # listed under a second artist
            if not self._works[number].startswith(f"artwork:{artist}/"):
                yield from self._creator(self._works[number], artist)
            return
        record = site.record(context, context.get(site.detail_request(context, number))) or item
        path = work_path(artist, record, self._artists)
        work_id = f"artwork:{path or f'{artist}/content-{number}'}"
        if work_id in self._paths:  # two works under one slug: the later one goes by its number
            path, work_id = None, f"artwork:{artist}/content-{number}"
        if fault := fault_of(record, self._spam):
            context.drop(Dropped(work_id, *fault))
            return
        self._works[number], self._paths[work_id] = work_id, path
        page = NOTHING
        if path and self._options.painting_pages:
            page = self._page(read_painting_page, context.get(site.painting_page_request(context, path)))
        work = Work(work_id, record, page, api.get(path.partition("/")[2] if path else "", {}))
        report_work(context, work)
        yield from work_statements(self._scribe, work, self._picture(record))
        for creator in dict.fromkeys([path.partition("/")[0] if path else artist, artist]):
            yield from self._creator(work_id, creator)

    def _creator(self, work: str, artist: str) -> Iterator[Statement]:
        yield from self._tell(artist)
        yield Triple(work, "isCreatedByArtist", f"artist:{artist}", self._context.name)

    def _picture(self, record: Record) -> str | None:
        """The snapshot key of the first size that was answered with a whole picture."""
        address = site.image_address(record)
        if address is None:
            return None
        requests = [site.image_request(address, size) for size in self._options.image_sizes]
        if not (any(self._context.has(request.key) for request in requests) or self._context.may_ask(address)):
            return None
        whole = self._context.is_whole_picture
        return next((request.key for request in requests if whole(self._context.get(request))), None)

    def _related_works(self) -> Iterator[Statement]:
        context = self._context
        for work, path in self._paths.items():
            answer = context.get(site.related_request(context, path)) if path else None
            for item in site.objects(context, answer, "Paintings") if answer else ():
                tail = f"artwork:{'/'.join(link_path(item.get('paintingUrl')))}"
                if tail in self._paths:
                    yield Triple(work, "isRelatedToArtwork", tail, context.name)
                else:
                    context.drop(Dropped(f"{work} isRelatedToArtwork {tail}", "not_in_the_walk", "no such artwork"))

    def _related_artists(self) -> Iterator[Statement]:
        """What the API adds; without it, the walk is whole but for the related artists."""
        context = self._context
        if not self._api:
            context.note(f"no answers of the keyed API, so no isRelatedToArtist; set {ACCESS_CODE} and {SECRET_CODE}")
            return
        names = {str(record["id"]).lower(): artist for artist, record in self._api.items() if artist in self._artists}
        names |= {number: artist for artist, number in self._unlisted.items() if number}
        unknown = 0
        for artist in self._walked:
            record = self._api_record(artist)
            yield from api_statements(self._scribe, artist, artist_label(artist, self._artists[artist]), record)
            related, lost = related_artists(record, names)
            unknown += lost
            for other in related:
                yield from self._tell(other)
                yield Triple(f"artist:{artist}", "isRelatedToArtist", f"artist:{other}", context.name)
        if self._unlisted or unknown:
            found = sum(bool(number) for number in self._unlisted.values())
            context.note(
                f"the API's list lacks {counted(len(self._unlisted), 'artist')} with works; "
                f"a search found the ids of {found}; "
                f"unknown stay: {counted(unknown, 'related artist')}"
            )
