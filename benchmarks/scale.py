"""Builds a graph of the size of WikiArt-MKG-v2 from clean records, and says how long it took and in how much memory.

    python benchmarks/scale.py [--triples 8300000] [--workspace /tmp/scale]

The graph is made up from a seed: 216,564 artworks without pictures, 4,000 artists, 3,602 attributes; most of the
triples are isRelatedToArtwork, as in the published data. Time and peak memory are those of `mkgb build` alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from mkg_builder.graph import Entity, Statement, Triple
from mkg_builder.source import Request, Source, SourceContext, SourceOptions

ARTWORKS, ARTISTS = 216_564, 4_000
ATTRIBUTES = {"style": ("hasStyle", 200), "genre": ("belongsToGenre", 70), "tag": ("isAssociatedWithTag", 2_900),
              "year": ("isCreatedInYear", 432)}  # fmt: skip


class RecordsOptions(SourceOptions):
    """How many triples, and thrown by which seed."""

    triples: int = 8_300_000
    seed: int = 0


class Records(Source):
    """Clean records of a made-up collection."""

    Options = RecordsOptions

    def fetch(self, context: SourceContext) -> None:
        """Keep the seed; the records follow from it."""
        context.put("records:seed", str(self.options.seed).encode(), "text/plain")

    def read(self, context: SourceContext) -> Iterator[Statement]:
        """Every artwork, artist and attribute, and so many triples."""
        dice = np.random.default_rng(int(context.get(Request("records:seed", "")).body))
        works = [f"artwork:artist-{n % ARTISTS}/work-{n}" for n in range(ARTWORKS)]
        artists = [f"artist:artist-{n}" for n in range(ARTISTS)]
        yield from (Entity(w, "artwork", f"Work {n}", sources=("records",)) for n, w in enumerate(works))
        yield from (Entity(a, "artist", f"Artist {n}", sources=("records",)) for n, a in enumerate(artists))
        yield from (Triple(w, "isCreatedByArtist", artists[n % ARTISTS], "records") for n, w in enumerate(works))
        for kind, (relation, count) in ATTRIBUTES.items():
            names = [f"{kind}:{kind}-{n}" for n in range(count)]
            yield from (Entity(name, kind, name, sources=("records",)) for name in names)
            tails = dice.integers(0, count, ARTWORKS).tolist()
            yield from (Triple(w, relation, names[t], "records") for w, t in zip(works, tails, strict=True))
        left = self.options.triples - ARTWORKS * (1 + len(ATTRIBUTES))
        each = left // ARTWORKS
        for start in range(0, ARTWORKS, 1_000):
            near = dice.integers(1, ARTWORKS, (min(1_000, ARTWORKS - start), each)).tolist()
            for place, row in enumerate(near, start):
                for step in row:
                    yield Triple(works[place], "isRelatedToArtwork", works[(place + step) % ARTWORKS], "records")


RECIPE = {
    "name": "scale", "title": "Scale", "version": "1.0.0", "license": "cc0-1.0", "description": "Made up.",
    "types": {"artwork": {"image": True, "text": "none"}, "artist": {}, **{kind: {} for kind in ATTRIBUTES}},
    "relations": {
        "isCreatedByArtist": {"domain": "artwork", "range": "artist", "functional": True},
        "isRelatedToArtwork": {"domain": "artwork", "range": "artwork", "evaluated": False},
        **{relation: {"domain": "artwork", "range": kind} for kind, (relation, _) in ATTRIBUTES.items()},
    },
    "cleaning": {"require": ["isCreatedByArtist"], "min_frequency": dict.fromkeys(ATTRIBUTES, 10)},
    "split": {"policy": "inductive", "unseen": "artwork", "seed": 42, "validation": 0.1, "test": 0.05,
              "unanswerable": "drop"},
}  # fmt: skip


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--triples", type=int, default=8_300_000)
    parser.add_argument("--workspace", type=Path, default=None)
    asked = parser.parse_args()
    workspace = asked.workspace or Path(tempfile.mkdtemp())
    workspace.mkdir(parents=True, exist_ok=True)
    source = {"records": {"use": f"{Path(__file__).resolve()}:Records", "options": {"triples": asked.triples}}}
    recipe = workspace / "scale.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "sources": source}, sort_keys=False))
    command = [sys.executable, "-m", "mkg_builder", "build", recipe, "--workspace", workspace, "--json", "--quiet"]
    started = time.monotonic()
    built = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert built.stdout is not None
    found = json.loads(built.stdout.read())
    usage = os.wait4(built.pid, 0)[2]
    seconds = time.monotonic() - started
    print(f"{sum(found['entities'].values()):,} entities, {asked.triples:,} triples read")
    print(f"{seconds:.0f} s, {usage.ru_utime + usage.ru_stime:.0f} s of computing, {usage.ru_maxrss / 1024:.0f} MiB")
    print(f"content {found['content_sha256']}")


if __name__ == "__main__":
    main()
