"""An invented salon: so many works by three painters, listed in one JSON answer."""

import json
from collections.abc import Iterator

from mkg_builder.graph import Entity, Statement, Triple
from mkg_builder.source import Request, Source, SourceContext, SourceOptions


class SalonOptions(SourceOptions):
    """What a recipe may set.

    Attributes:
        works: how many works hang there.
    """

    works: int = 30


class Salon(Source):
    """Keeps the list of works, and reads artworks and their painters from it."""

    Options = SalonOptions

    def fetch(self, context: SourceContext) -> None:
        listed = [{"number": n, "painter": ("Ann", "Bob", "Cat")[n % 3]} for n in range(self.options.works)]
        context.put("salon:list", json.dumps(listed).encode(), "application/json")

    def read(self, context: SourceContext) -> Iterator[Statement]:
        for work in json.loads(context.get(Request("salon:list", "")).body)[: context.limit]:
            for unread in work.keys() - {"number", "painter"}:
                context.leftover(unread)
            artwork, painter = f"artwork:salon/{work['number']}", f"artist:{work['painter'].lower()}"
            yield Entity(artwork, "artwork", f"Work {work['number']}", sources=(context.name,))
            yield Entity(painter, "artist", work["painter"], sources=(context.name,))
            yield Triple(artwork, "isCreatedByArtist", painter, context.name)
