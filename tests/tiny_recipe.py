"""A recipe and a source of a few lines, for tests of the builder."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from mkg_builder.graph import Entity, Triple
from mkg_builder.recipe import Recipe
from mkg_builder.source import Request, Source, SourceContext

RECIPE = {
    "name": "tiny", "title": "Tiny | <b>graph</b>", "version": "1.2.3", "license": "cc0-1.0", "description": "A test.",
    "sources": {"works": {"use": "tests.tiny_recipe:Works"}},
    "types": {
        "artwork": {"image": True, "text": "source"}, "artist": {"prompt": "a painting by {}"},
        "style": {"text": "none"}, "timeframe": {},
    },
    "relations": {
        "isCreatedByArtist": {"domain": "artwork", "range": "artist"},
        "hasStyle": {"domain": "artwork", "range": "style"},
        "belongsToTimeframe": {"domain": "artwork", "range": "timeframe"},
        "isPupilOf": {"domain": "artist", "range": "artist", "inverse": "isTeacherOf"},
        "isTeacherOf": {"domain": "artist", "range": "artist", "inverse": "isPupilOf"},
    },
    "cleaning": {"bins": {"isCreatedInYear": {"into": "belongsToTimeframe", "years": 50}}},
    "split": {"policy": "inductive", "unseen": "artwork", "seed": 1, "validation": 0.1, "test": 0.2},
}  # fmt: skip


def tiny_recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({**RECIPE, **changes})


def write_recipe(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}, sort_keys=False))
    return path


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


class Works(Source):
    """Sixty works by three artists; every third has no picture, one picture is cut off, one work is untitled."""

    def fetch(self, context: SourceContext) -> None:
        for number in range(0 if context.has("works:0") else 60):
            body = jpeg(number) if number != 7 else jpeg(7)[:200]
            context.put(f"works:{number}", body, "image/jpeg")

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        works = [n for n in range(60) if context.get(Request(f"works:{n}", "")).ok][: context.limit]
        for name in ("ann", "bob", "cat"):
            yield Entity(f"artist:{name}", "artist", name.title(), sources=(context.name,))
        yield Triple("artist:ann", "isPupilOf", "artist:bob", context.name)
        yield Triple("artist:bob", "isTeacherOf", "artist:ann", context.name)
        for number in works:
            work = f"artwork:w{number:02d}"
            image = f"works:{number}" if number % 3 else None
            text = f"Picture {number}" if number != 5 else None
            yield Entity(work, "artwork", f"Picture {number}", text=text, image=image, sources=(context.name,))
            for relation, tail in (
                ("isCreatedByArtist", f"artist:{('ann', 'bob', 'cat')[number % 3]}"),
                ("hasStyle", f"style:{'new' if number % 2 else 'old'}"), ("isCreatedInYear", f"date:{1800 + number}"),
            ):  # fmt: skip
                kind, _, label = tail.partition(":")
                yield Entity(tail, kind, label, sources=(context.name,))
                yield Triple(work, relation, tail, context.name)
