"""WikiArt's HTML pages of artists and of paintings, as labelled rows of values and links."""

import re
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mkg_builder.sources.wikiart_requests import clean_slug, hex_id

TAGS = "Tags:"
"""The label under which a painting page's tags stand among its rows."""

_PAINTING = '.wiki-layout-artwork-info[itemtype*="Painting"]'  # a promoted film has the class, but is no painting
_PAINTING_ID = re.compile(rb"paintingId = (?:'|&#39;|&#x27;)([0-9a-fA-F]{24})")
_WORKS = re.compile(r"View all ([0-9]{1,7}) artworks?")

MAX_BYTES = 5 * 2**20
MAX_DEPTH = 500
_TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_NO_TAGS = re.compile(
    rb"<script\b.*?</script|<style\b.*?</style|<!--.*?-->|<[a-zA-Z][^<>]*/>", re.DOTALL | re.IGNORECASE
)
"""Where no tag is opened that lies in another: what is read as text, and what is closed at once."""

_CLOSE_BY_THEMSELVES = frozenset(
    b"area base br col dd dt embed hr img input li link meta option p param source tbody td th tr track wbr".split()
)


@dataclass(frozen=True)
class Value:
    """One value of a row: its text, and where it leads (the path of a link, in parts after `/en`)."""

    text: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """What a page says in its rows.

    Attributes:
        rows: label with its colon -> values.
        properties: schema.org property -> text: birthDate, deathPlace, dateCreated.
        hex_id: the 24 figures of a painting; None on an artist's page.
        collection: whether the site files this "artist" under Collections.
        works: how many works an artist's page announces.
    """

    rows: Mapping[str, tuple[Value, ...]]
    properties: Mapping[str, str]
    hex_id: str | None = None
    collection: bool = False
    works: int | None = None


def read_artist_page(body: bytes) -> Page | None:
    """The rows of an artist's page; None when the answer is no such page."""
    tree = _tree(body)
    info = tree.css_first(".wiki-layout-artist-info")
    if info is None:
        return None
    crumbs = [_text(link) for link in tree.css(".wiki-breadcrumbs-links a")]
    announced = _WORKS.search(" ".join(_text(link) for link in tree.css("a.btn-view-all")))
    return Page(
        dict(_rows(info)), _properties(info),
        collection=crumbs[1:2] == ["Collections"],
        works=int(announced[1]) if announced else None,
    )  # fmt: skip


def read_painting_page(body: bytes) -> Page | None:
    """The rows and tags of a painting's page; None when the answer is no such page."""
    tree = _tree(body)
    info = tree.css_first(f"{_PAINTING} article") or tree.css_first(_PAINTING)
    if info is None:
        return None
    rows = dict(_rows(info))
    tags = tuple(Value(_text(link)) for link in tree.css(".tags-cheaps__item__ref"))
    marked = tree.css_first("[data-painting-id]")
    spoken = _PAINTING_ID.search(body)
    number = hex_id(marked.attributes.get("data-painting-id")) if marked else None
    return Page(rows | {TAGS: tags}, _properties(info), number or hex_id(spoken[1].decode() if spoken else None))


def _tree(body: bytes) -> LexborHTMLParser:
    """The parsed page; an empty one where parsing would take minutes, since its time grows with size times depth."""
    harmless = len(body) <= MAX_BYTES and _depth(body) <= MAX_DEPTH
    return LexborHTMLParser(body.decode("utf-8", "replace") if harmless else "")


def _depth(body: bytes) -> int:
    """How deep the page nests its tags, at most; those that close by themselves are not counted."""
    opened: Counter[bytes] = Counter()
    depth = deepest = 0
    for closing, tag in _TAG.findall(_NO_TAGS.sub(b"", body)):
        name = tag.lower()
        if name in _CLOSE_BY_THEMSELVES:
            continue
        if not closing:
            opened[name] += 1
            depth += 1
            deepest = max(deepest, depth)
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
    return deepest


def _text(node: LexborNode) -> str:
    return " ".join(node.text().split())


def _rows(info: LexborNode) -> Iterator[tuple[str, tuple[Value, ...]]]:
    for row in info.css("li"):
        label = row.css_first("s")
        if label is not None:
            name = _text(label)
            label.decompose()
            yield name, tuple(_values(row))


def _values(row: LexborNode) -> Iterator[Value]:
    """A row's links; without links its spans; without spans its text."""
    links = [(_text(link), link.attributes.get("href") or "") for link in row.css("a")]
    if links:
        yield from (Value(text, link_path(href)) for text, href in links)
        return
    spans = [_text(span) for span in row.css("span")]
    for text in spans or [_text(row)]:
        if text:
            yield Value(text)


def link_path(href: object) -> tuple[str, ...]:
    """The parts of a link into the site's English pages, `/en/a/b` -> (a, b); empty for any other link."""
    try:
        parts = urllib.parse.urlsplit(href if isinstance(href, str) else "")
    except ValueError:
        return ()
    pieces = [clean_slug(piece) for piece in parts.path.split("/") if piece]
    if parts.netloc not in ("", "www.wikiart.org") or pieces[:1] != ["en"]:
        return ()
    return tuple(piece for piece in pieces[1:] if piece)


def _properties(info: LexborNode) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in info.css("[itemprop]"):
        found.setdefault(node.attributes.get("itemprop") or "", _text(node))
    return found
