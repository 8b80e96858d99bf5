"""A WikiArt of one artist and one work, made of a dictionary, and how to read it."""

import json
from pathlib import Path
from typing import Any

from mkg_builder.context import SnapshotContext
from mkg_builder.graph import Literal, Statement, Triple
from mkg_builder.http import Client, Patience
from mkg_builder.picture_pool import PicturePool
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer, Request
from mkg_builder.sources.wikiart import WikiArt, WikiArtOptions
from tests.site import Site, answer
from tests.tiny_recipe import jpeg

BASE = "http://127.0.0.1:1"
JSON = {"Content_Type": "application/json"}
WORK: dict[str, Any] = {
    "title": "The Starry Night", "contentId": 207190, "artistContentId": 204915, "artistName": "van Gogh Vincent ",
    "completitionYear": 1889, "yearAsString": "1889", "width": 5000, "height": 3959, "artistUrl": "vincent-van-gogh",
    "image": f"{BASE}/uploads/4/00142/images/vincent-van-gogh/caf\u00e9(1).jpg!Large.jpg",
    "url": "the-starry-night-1889",
    "style": "Post-Impressionism, Realism", "genre": "cloudscape", "tags": "stars-and-planets, Tree",
    "galleryName": "Museum of Modern Art (MoMA), New York City, NY, US", "location": None,
}  # fmt: skip
ITEM = {key: WORK[key] for key in ("title", "contentId", "image", "completitionYear", "artistName")}
ARTISTS = [
    {"contentId": 2, "artistName": "Vincent van Gogh", "url": "vincent-van-gogh"},
    {"contentId": 1, "artistName": "Nobody\uffff", "url": "a-nobody"},
]
ALPHABET = "/en/App/Artist/AlphabetJson?v=new&inPublicDomain=false"
PICTURE = "/uploads/4/00142/images/vincent-van-gogh/caf%C3%A9(1).jpg"


def listing(artist: str) -> str:
    return f"/en/App/Painting/PaintingsByArtist?artistUrl={artist}&json=2"


def site(**work: object) -> Site:
    """The site, its one work's record changed."""
    return Site({
        ALPHABET: answer(json.dumps(ARTISTS).encode(), **JSON),
        listing("a-nobody"): answer(b"[]", **JSON),
        listing("vincent-van-gogh"): answer(json.dumps([ITEM]).encode(), **JSON),
        "/en/App/Painting/ImageJson/207190": answer(json.dumps(WORK | work).encode(), **JSON),
        PICTURE: answer(jpeg(1), Content_Type="image/jpeg"),
    })  # fmt: skip


def context(snapshot: Snapshot, transport: Site | None, limit: int | None = None) -> SnapshotContext:
    client = Client(None, ["127.0.0.1:1"], {}, Patience(attempts=2), transport) if transport else None
    made = SnapshotContext("wikiart", Path(), snapshot, {"wikiart": BASE}, limit, client)
    made.hosts = ["127.0.0.1:1"]
    return made


def read_all(tmp_path: Path, transport: Site, **options: Any) -> tuple[list[Statement], SnapshotContext]:
    """Everything that the source says, and the context that it said it to."""
    snapshot, source = Snapshot(tmp_path), WikiArt(WikiArtOptions(**options))
    with snapshot.writing(), PicturePool(1) as pool:
        asking = context(snapshot, transport)
        asking.pictures = pool
        source.fetch(asking)
    reading = context(snapshot, None)
    return list(source.read(reading)), reading


def read(tmp_path: Path, transport: Site, **options: Any) -> list[Statement]:
    return read_all(tmp_path, transport, **options)[0]


class Changed(SnapshotContext):
    """A reading context over a kept snapshot in which some answers are others."""

    def __init__(self, snapshot: Snapshot, changes: Site) -> None:
        super().__init__("wikiart", Path(), snapshot, {"wikiart": BASE})
        self._changes = changes.answers

    def get(self, request: Request) -> Answer:
        if change := self._changes.get(request.key.removeprefix("wikiart:")):
            status, headers, body = change()
            return Answer(request.key, status, body, headers.get("Content-Type", ""))
        return super().get(request)


def reread(snapshot: Snapshot, changes: Site, **options: Any) -> tuple[list[Statement], SnapshotContext]:
    """The same as `read_all`, without the network, from a site that is kept already but for the changes."""
    reading = Changed(snapshot, changes)
    return list(WikiArt(WikiArtOptions(**options)).read(reading)), reading


def facts(things: list[Statement], relation: str) -> list[str]:
    return [thing.tail for thing in things if isinstance(thing, Triple) and thing.relation == relation]


def literals(things: list[Statement], name: str) -> list[str]:
    return [thing.value for thing in things if isinstance(thing, Literal) and thing.name == name]
