"""A small stand-in of WikiArt and of Wikidata's query service on loopback: true painters, invented works.

    python -m tests.small_wikiart few.yaml few-museum.yaml

serves until Ctrl-C, and writes its addresses at the end of these recipes, which end with `sources: wikiart: options:`.
The painters and what is said of them are the demo graph's; the works and their pictures are the demo's inventions, in
the shapes of the site's answers.
"""

import csv
import html
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pyoxigraph
import yaml

from mkg_builder.layers import recipe_folder
from mkg_builder.names import slug as slug_of
from mkg_builder.registry import Registry
from tests.faultd import Fault, Handler, ok, serving
from tests.query_service import PREFIXES, dated, named, stated

RECIPES = recipe_folder()
FILES = Registry("file", "tests.none", {})
Painter, invent, paint = (
    FILES.resolve(f"demo/{name}", RECIPES)
    for name in ("paintings.py:Painter", "paintings.py:_invent_work", "brush.py:paint")
)
WORKS, SEED = 24, 2026
BLAKE = {
    "label": "William Blake", "wikidata": "Q41513", "movements": ["romanticism", "symbolism"],
    "nationality": ["British"], "born": {"year": 1757, "place": "london"}, "died": {"year": 1827, "place": "london"},
    "working": [1780, 1827], "genres": ["religious-painting", "mythological-painting", "portrait"],
}  # fmt: skip
"""Of the museum's painters the one whom the demo does not have."""

ULAN = {"Q296": "500019484", "Q173223": "500012368", "Q23380": "500028037", "Q41513": "500012489"}
COUNTRIES = {
    "vinci": "Italy", "amboise": "France", "delft": "Netherlands", "le-mesnil-theribus": "France",
    "argenteuil": "France", "paris": "France", "london": "United Kingdom",
}  # fmt: skip
HTML = "text/html; charset=utf-8"


class Site:
    """The answers of the stand-in, whose own address is `base`."""

    def __init__(self, base: str) -> None:
        facts = yaml.safe_load((RECIPES / "demo" / "painters.yaml").read_text("utf-8"))
        self._base, self._movements, self._places = base, facts["movements"], facts["places"]
        painters = {**facts["painters"], "william-blake": BLAKE}
        self._painters = {name: Painter.model_validate(painters[name]) for name in sorted(painters)}
        self._store = pyoxigraph.Store()
        self._store.load("\n".join((PREFIXES, *self._triples())).encode(), format=pyoxigraph.RdfFormat.TURTLE)

    def answers(self) -> dict[str, Fault]:
        """What each address answers."""
        found: dict[str, Fault] = {"/robots.txt": ok(b"User-agent: *\nAllow: /\n", Content_Type="text/plain")}
        alphabet = [self._artist(number, name) for number, name in enumerate(self._painters, start=1)]
        found["/en/App/Artist/AlphabetJson"] = as_json(alphabet)
        found["/sparql"] = self._query
        found |= museum()
        for number, (name, painter) in enumerate(self._painters.items(), start=1):
            found[f"/en/{name}"] = ok(self._artist_page(painter).encode(), Content_Type=HTML)
            works = [invent(name, painter, place, SEED) for place in range(1, WORKS + 1)]
            records = [self._record(number, name, painter, work) for work in works]
            found[f"/en/App/Painting/PaintingsByArtist?artistUrl={name}&json=2"] = as_json(records)
            for work, record, after in zip(works, records, [*records[1:], records[0]], strict=True):
                found[f"/en/App/Painting/ImageJson/{record['contentId']}"] = as_json(record)
                address = f"/en/{name}/{work.slug}"
                found[address] = ok(self._work_page(record).encode(), Content_Type=HTML)
                found[f"{address}?json=2"] = as_json({"Paintings": [{"paintingUrl": f"/en/{name}/{after['url']}"}]})
                found[f"/00001/images/{name}/{work.slug}.png!Large.png"] = self._picture(name, work)
        return found

    def _artist(self, number: int, name: str) -> dict[str, Any]:
        painter = self._painters[name]
        return {
            "contentId": number, "artistName": painter.label, "url": name, "lastNameFirst": painter.label,
            "birthDay": None, "deathDay": None, "birthDayAsString": str(painter.born.year or ""),
            "deathDayAsString": str(painter.died.year or ""), "image": None, "wikipediaUrl": None, "dictonaries": [],
        }  # fmt: skip

    def _record(self, number: int, name: str, painter: Any, work: Any) -> dict[str, Any]:
        picture = f"{self._base}/00001/images/{name}/{work.slug}.png!Large.png"
        style = "baroque" if work.style == "dutch-golden-age" else work.style  # which the site does not know
        title = work.title or "Untitled"
        return {
            "title": title, "contentId": 1000 * number + work.number, "artistContentId": number,
            "artistName": painter.label, "completitionYear": work.year, "yearAsString": str(work.year), "width": 112,
            "image": picture if work.has_picture else f"{self._base}/Content/images/FRAME-600x480.jpg", "height": 84,
            "artistUrl": name, "url": work.slug, "style": self._movements[style]["label"],
            "genre": work.genre.replace("-", " "), "tags": title.split()[0].lower() if work.title else None,
            "galleryName": None, "location": None, "serie": None, "period": None,
        }  # fmt: skip

    def _picture(self, name: str, work: Any) -> Fault:
        """Painted when it is asked for."""

        def give(handler: Handler) -> None:
            body = paint(name, work.style, work.genre, work.year, f"site/{name}/{work.slug}")
            ok(body, Content_Type="image/png")(handler)

        return give

    def _artist_page(self, painter: Any) -> str:
        rows = [
            *(f"<s>{word}:</s> {self._moment(event, verb)}" for word, verb, event in
              (("Born", "birth", painter.born), ("Died", "death", painter.died))),
            row("Nationality", "artists-by-nation", painter.nationality),
            row("Art Movement", "artists-by-art-movement", [self._movements[m]["label"] for m in painter.movements]),
            row("Field", "artists-by-field", ["painting"]),
            row("Teachers", "", painter.teachers), row("Influenced by", "", painter.influenced_by),
        ]  # fmt: skip
        return page("wiki-layout-artist-info", "", painter.label, rows)

    def _moment(self, event: Any, verb: str) -> str:
        parts = [f'<span itemprop="{verb}Date">{event.year}</span>' if event.year else ""]
        if event.place in COUNTRIES:
            place = f"{self._places.get(event.place, {}).get('label', 'London')}, {COUNTRIES[event.place]}"
            parts.append(f'<span itemprop="{verb}Place">{html.escape(place)}</span>')
        return " ".join(parts)

    def _work_page(self, record: dict[str, Any]) -> str:
        rows = [
            f'<s>Date:</s> <span itemprop="dateCreated">{record["yearAsString"]}</span>',
            row("Style", "paintings-by-style", [record["style"]]),
            row("Genre", "paintings-by-genre", [record["genre"]]),
            row("Media", "paintings-by-media", ["oil", "canvas"]),
        ]  # fmt: skip
        return page("wiki-layout-artwork-info", ' itemtype="https://schema.org/Painting"', record["title"], rows)

    def _triples(self) -> Iterator[str]:
        """What the query service knows: the painters' names, years, movements and identifiers."""
        for name, painter in self._painters.items():
            item = painter.wikidata
            yield named(item, f'"{painter.label}"@mul')
            yield stated(item, "P6002", f'"{name}"')
            if item in ULAN:
                yield stated(item, "P245", f'"{ULAN[item]}"')
            for key, event in (("P569", painter.born), ("P570", painter.died)):
                if event.year:
                    yield dated(item, key, f"{event.year}-01-01", 9)
            for movement in painter.movements:
                if known := self._movements[movement].get("wikidata"):
                    yield named(known, f'"{self._movements[movement]["label"]}"@en')
                    yield stated(item, "P135", f"wd:{known}")

    def _query(self, handler: Handler) -> None:
        solutions = self._store.query(parse_qs(handler.body.decode())["query"][0])
        body = solutions.serialize(format=pyoxigraph.QueryResultsFormat.JSON)
        ok(body, Content_Type="application/sparql-results+json")(handler)


def museum() -> dict[str, Fault]:
    """The invented museum's tables and pictures, as the National Gallery of Art publishes its own."""
    folder, found = RECIPES / "museum", dict[str, Fault]()
    for path in sorted(folder.glob("*.csv")):
        body = path.read_bytes().replace(b"https://museum.example/", b"https://api.nga.gov/")
        found[f"/NationalGalleryOfArt/opendata/main/data/{path.name}"] = ok(body, Content_Type="text/plain")
    with (folder / "published_images.csv").open(newline="") as file:
        for image in csv.DictReader(file):
            body = (folder / "pictures" / f"{image['depictstmsobjectid']}.jpg").read_bytes()
            found[f"/iiif/{image['uuid']}/full/!600,600/0/default.jpg"] = ok(body, Content_Type="image/jpeg")
    return found


def as_json(value: Any) -> Fault:
    return ok(json.dumps(value).encode(), Content_Type="application/json; charset=utf-8")


def row(label: str, facet: str, values: Any) -> str:
    """A row whose values are links: to words of the site's vocabulary, or to artists by their slugs."""
    links = [
        f'<a href="/en/{f"{facet}/{slug_of(value)}" if facet else value}">{html.escape(value)}</a>' for value in values
    ]
    return f"<s>{label}:</s> {', '.join(links)}"


def page(kind: str, more: str, title: str, rows: list[str]) -> str:
    items = "".join(f"<li>{part}</li>" for part in rows if "</a>" in part or "<span" in part)
    return (
        f'<!DOCTYPE html><html><body><div class="{kind}"{more}><article><h3>{html.escape(title)}</h3>'
        f"<ul>{items}</ul></article></div></body></html>"
    )


@contextmanager
def small_wikiart() -> Iterator[dict[str, str]]:
    """The addresses of a running stand-in, by the names of the recipe's endpoints."""
    answers: dict[str, Any] = {}
    with serving(answers) as (base, _):
        answers.update(Site(base).answers())
        yield {"wikiart": base, "wdqs": f"{base}/sparql"}


def move(recipe: Path, endpoints: dict[str, str]) -> None:
    """Let a recipe that ends with the options of `sources: wikiart:` ask a stand-in."""
    with recipe.open("a", encoding="utf-8") as file:
        file.write(f"    endpoints: {{wikiart: '{endpoints['wikiart']}'}}\n")
        file.write(f"  wikidata: {{endpoints: {{wdqs: '{endpoints['wdqs']}'}}}}\n")


if __name__ == "__main__":
    with small_wikiart() as addresses:
        for path in map(Path, sys.argv[1:]):
            move(path, addresses)
        sys.stdout.write(f"WikiArt's stand-in is at {addresses['wikiart']} until Ctrl-C\n")
        sys.stdout.flush()
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
