"""Who is who when the upstream is careless: ids that last, names that look like missing values."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from mkg_builder.build import Job, build
from mkg_builder.graph import Entity, Triple
from tests.site import answer
from tests.test_official import FAMILIAR
from tests.tiny_recipe import write_recipe
from tests.wikiart_site import ALPHABET, ARTISTS, ITEM, JSON, WORK, listing, read_all, site

VINCENT = "vincent-van-gogh"
SOURCE = f"""
from collections.abc import Iterator

from mkg_builder.graph import Entity, Triple
from mkg_builder.source import Source, SourceContext


class Works(Source):
    def fetch(self, context: SourceContext) -> None:
        context.put("works:0", b"x", "text/plain")

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        for place, name in enumerate({FAMILIAR!r}):
            yield Entity(f"artwork:{{name}}", "artwork", name, text=name,
                         aliases=({FAMILIAR!r}[place - 1],), sources=(context.name,))
            yield Entity(f"style:{{name}}", "style", name, sources=(context.name,))
            yield Triple(f"artwork:{{name}}", "hasStyle", f"style:{{name}}", context.name)
"""


def test_names_that_look_like_missing_values_go_through_a_whole_build(tmp_path: Path) -> None:
    (tmp_path / "works.py").write_text(SOURCE)
    recipe = write_recipe(tmp_path, sources={"works": {"use": "works.py:Works"}})
    release = build(Job(str(recipe), tmp_path / "w")).release
    rows = {row["id"]: row for row in pq.read_table(release / "entities").to_pylist()}
    facts = {(row["head"], row["tail"]) for row in pq.read_table(release / "triples").to_pylist()}
    kept = 0
    for place, name in enumerate(FAMILIAR):
        work, style = rows[f"artwork:{name}"], rows[f"style:{name}"]
        kept += (work["label"], work["text"], work["aliases"], style["label"]) == (
            name, name, [FAMILIAR[place - 1]], name,
        ) and (work["id"], style["id"]) in facts  # fmt: skip
    assert (kept, len(rows), len(facts)) == (12, 24, 12)


def test_a_work_is_its_number_whatever_the_slugs_and_whoever_lists_it(tmp_path: Path) -> None:
    artists = [ARTISTS[0], {"contentId": 3, "artistName": "Other", "url": "other"}]
    listed = {VINCENT: [207190, 2, 207190], "other": [207190, 3]}
    changed = {2: {"contentId": 2, "title": "Slug used again"},
               3: {"contentId": 3, "title": "Artist merged away", "artistUrl": "gone", "url": "three"}}  # fmt: skip
    transport = site()
    transport.answers[ALPHABET] = answer(json.dumps(artists).encode(), **JSON)
    for artist, numbers in listed.items():
        items = json.dumps([ITEM | {"contentId": number} for number in numbers]).encode()
        transport.answers[listing(artist)] = answer(items, **JSON)
    for number, fields in changed.items():
        record = json.dumps(WORK | fields).encode()
        transport.answers[f"/en/App/Painting/ImageJson/{number}"] = answer(record, **JSON)
    things, _ = read_all(tmp_path, transport)
    works = Counter(thing.id for thing in things if isinstance(thing, Entity) and thing.type == "artwork")
    first, second, third = (
        f"artwork:{VINCENT}/the-starry-night-1889",
        f"artwork:{VINCENT}/content-2",
        "artwork:other/three",
    )
    assert works == Counter([first, second, third])
    makers = {(t.head, t.tail) for t in things if isinstance(t, Triple) and t.relation == "isCreatedByArtist"}
    other = "artist:other"
    assert makers == {(first, f"artist:{VINCENT}"), (first, other), (second, f"artist:{VINCENT}"), (third, other)}
