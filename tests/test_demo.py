"""The demo graph: its facts hold together, its pictures come from their seed, its modalities are uneven."""

import hashlib
import io
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkg_builder.context import SnapshotContext
from mkg_builder.errors import DataError, RecipeError, UnknownNameError
from mkg_builder.graph import Entity
from mkg_builder.layers import recipe_folder
from mkg_builder.registry import Registry
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Source
from mkg_builder.testing import SourceContract

RECIPES = recipe_folder()
FILES = Registry("file", "tests.none", {})
Paintings = FILES.resolve("demo/paintings.py:Paintings", RECIPES)
Facts = FILES.resolve("demo/paintings.py:Facts", RECIPES)
paint = FILES.resolve("demo/brush.py:paint", RECIPES)
LIMIT = 60


@pytest.fixture(scope="module")
def facts() -> Any:
    return Facts.model_validate(yaml.safe_load((RECIPES / "demo" / "painters.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def artworks(demo_release: Path) -> list[dict[str, Any]]:
    table = {row["id"]: row for row in pq.read_table(demo_release / "artworks").to_pylist()}
    texts = {row["id"]: row["text"] for row in pq.read_table(demo_release / "entities").to_pylist()}
    return [{**row, "text": texts[name]} for name, row in table.items()]


class TestPaintings(SourceContract):
    folder = RECIPES

    def source(self) -> Source:
        return Paintings(Paintings.Options())

    def fetching(self, snapshot: Snapshot) -> SnapshotContext:
        return SnapshotContext(self.name, self.folder, snapshot, {}, LIMIT)

    def reading(self, snapshot: Snapshot) -> SnapshotContext:
        return self.fetching(snapshot)

    def spoil(self, snapshot: Snapshot) -> None:
        key = f"{self.name}:catalogue/claude-monet?seed=1&works=15"
        body = snapshot.get(key).body.replace(b'"number"', b'"surprise": 1, "number"', 1)
        self.fetching(snapshot).put(key, body, "application/json")

    def test_a_limit_leaves_every_painter_some_works(self, snapshot: Snapshot) -> None:
        things = list(self.source().read(self.reading(snapshot)))
        works = [thing.id for thing in things if isinstance(thing, Entity) and thing.type == "artwork"]
        assert len(works) == LIMIT
        assert len({work.partition("/")[0] for work in works}) == 50

    def test_what_has_a_picture_has_it_in_the_snapshot(self, snapshot: Snapshot) -> None:
        context = self.reading(snapshot)
        pictures = [thing.image for thing in self.source().read(context) if isinstance(thing, Entity) and thing.image]
        assert pictures
        assert all(context.has(key) for key in pictures)

    def test_reads_nothing_where_nothing_was_fetched(self, tmp_path: Path) -> None:
        assert list(self.source().read(self.reading(Snapshot(tmp_path)))) == []

    def test_other_options_find_no_works_and_say_so(self, snapshot: Snapshot) -> None:
        context = self.reading(snapshot)
        things = list(Paintings(Paintings.Options(seed=2)).read(context))
        assert not [thing for thing in things if isinstance(thing, Entity) and thing.type == "artwork"]
        assert {dropped.rule for dropped in context.observations.dropped} == {"not_fetched"}

    def test_a_missing_facts_file_is_named(self, tmp_path: Path) -> None:
        source = Paintings(Paintings.Options(facts="nowhere.yaml"))
        with pytest.raises(RecipeError, match=r"nowhere\.yaml"):
            source.fetch(SnapshotContext("tested", tmp_path, Snapshot(tmp_path), {}))

    def test_facts_that_name_an_unknown_teacher_are_refused(self, tmp_path: Path) -> None:
        text = (RECIPES / "demo" / "painters.yaml").read_text(encoding="utf-8")
        spoilt = text.replace("teachers: [eugene-boudin]", "teachers: [eugene-bodin]")
        (tmp_path / "facts.yaml").write_text(spoilt, encoding="utf-8")
        snapshot = Snapshot(tmp_path / "snapshot")
        source = Paintings(Paintings.Options(facts="facts.yaml"))
        with snapshot.writing(), pytest.raises(DataError, match="eugene-bodin"):
            source.fetch(SnapshotContext("tested", tmp_path, snapshot, {}))


def test_there_are_enough_painters_teachers_and_influences(facts: Any) -> None:
    painters = facts.painters.values()
    assert len(painters) >= 40
    assert sum(len(painter.teachers) for painter in painters) >= 20
    assert sum(len(painter.influenced_by) for painter in painters) >= 50


def test_no_wikidata_id_stands_for_two_things(facts: Any) -> None:
    named = [*facts.painters.values(), *facts.movements.values(), *facts.places.values()]
    ids = [thing.wikidata for thing in named if thing.wikidata]
    assert len(ids) == len(set(ids))


def test_painters_are_born_then_work_then_die(facts: Any) -> None:
    for slug, painter in facts.painters.items():
        years = [painter.born.year or 0, *painter.working, painter.died.year]
        assert all(earlier <= later for earlier, later in pairwise(years)), slug
        assert painter.working[0] - (painter.born.year or painter.working[0] - 20) >= 14, slug


def test_no_painter_teaches_another_before_being_grown_or_after_death(facts: Any) -> None:
    for slug, pupil in facts.painters.items():
        for teacher in (facts.painters[name] for name in pupil.teachers):
            assert (teacher.born.year or 0) < (pupil.born.year or 9999), slug
            assert teacher.died.year > (pupil.born.year or pupil.working[0]) + 6, slug


def test_nobody_is_influenced_by_the_unborn(facts: Any) -> None:
    for slug, painter in facts.painters.items():
        for other in painter.influenced_by:
            assert facts.painters[other].working[0] < painter.died.year, (slug, other)


def test_movements_have_two_painters_at_least_but_for_a_few(facts: Any) -> None:
    members = [name for painter in facts.painters.values() for name in painter.movements]
    assert sum(members.count(movement) >= 2 for movement in facts.movements) >= 10


def test_titles_tell_neither_painter_nor_style_nor_place_nor_year(facts: Any, artworks: list[dict[str, Any]]) -> None:
    named = [*facts.painters.values(), *facts.movements.values(), *facts.places.values()]
    telling = {word for thing in named for word in thing.label.lower().split() if len(word) > 3}
    titles = {artwork["text"] for artwork in artworks if artwork["text"]}
    assert not {word for title in titles for word in title.lower().split()} & telling
    assert not any(character.isdigit() for title in titles for character in title)


def test_every_combination_of_picture_and_text_occurs(artworks: list[dict[str, Any]]) -> None:
    kinds = {(artwork["image"] is not None, artwork["text"] is not None) for artwork in artworks}
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}
    assert 0.06 < np.mean([artwork["image"] is None for artwork in artworks]) < 0.18
    assert 0.22 < np.mean([artwork["text"] is None for artwork in artworks]) < 0.38


def test_pictures_are_the_same_in_every_process() -> None:
    code = (
        "import hashlib; from pathlib import Path; from mkg_builder.registry import Registry\n"
        f"paint = Registry('', '', {{}}).resolve('demo/brush.py:paint', Path({str(RECIPES)!r}))\n"
        "print(hashlib.sha256(paint('somebody', 'cubism', 'portrait', 1912, 'a') +"
        " paint('somebody', 'rococo', 'landscape', 1750, 'b')).hexdigest())"
    )
    digests = {_run(code, seed) for seed in ("1", "2")}
    here = paint("somebody", "cubism", "portrait", 1912, "a") + paint("somebody", "rococo", "landscape", 1750, "b")
    assert digests == {hashlib.sha256(here).hexdigest()}


def _run(code: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


def test_a_picture_is_a_small_whole_png_that_says_it_is_generated() -> None:
    data = paint("somebody", "impressionism", "marina", 1874, "a")
    picture = Image.open(io.BytesIO(data), formats=["PNG"])
    picture.load()
    assert picture.size == (112, 84)
    assert len(data) < 15_000
    assert "Generated" in picture.info["Comment"]


@pytest.mark.parametrize(("style", "genre"), [("cubismo", "portrait"), ("cubism", "portraits")])
def test_an_unknown_style_or_genre_is_refused_by_name(style: str, genre: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean"):
        paint("somebody", style, genre, 1900, "a")


def test_colours_and_texture_betray_the_painter_far_above_chance_but_not_always(
    artworks: list[dict[str, Any]],
) -> None:
    shown = [artwork for artwork in artworks if artwork["image"] is not None]
    vectors = np.array([_statistics(artwork["image"]["bytes"]) for artwork in shown])
    painters = np.array([artwork["id"].partition("/")[0] for artwork in shown])
    known = np.array([artwork["split"] == "train" for artwork in shown])
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=30.0))
    accuracy = model.fit(vectors[known], painters[known]).score(vectors[~known], painters[~known])
    assert 10 / 50 < accuracy < 0.9


def _statistics(data: bytes) -> np.ndarray:
    """Colours of a four by four grid, their histogram, and how much neighbours differ."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    pixels = np.asarray(picture, float)
    steps = [np.abs(np.diff(pixels.mean(axis=2), axis=axis)).mean() for axis in (0, 1)]
    histogram = [np.histogram(pixels[..., channel], 8, (0, 256), density=True)[0] * 100 for channel in range(3)]
    grid = np.asarray(picture.resize((4, 4), Image.Resampling.BOX), float).ravel()
    return np.concatenate([grid, *histogram, steps, pixels.std(axis=(0, 1))])


def test_every_built_in_source_and_every_shipped_recipes_source_has_a_contract_test() -> None:
    from mkg_builder.layers import shipped_recipes
    from mkg_builder.recipe import load_recipe
    from mkg_builder.workshop import SOURCES
    from tests import test_official, test_table, test_wikiart, test_wikidata  # noqa: F401  (found below as subclasses)

    tested = {type(contract().source()).__name__ for contract in SourceContract.__subclasses__()}
    parts = [part for path in shipped_recipes().values() for part in load_recipe(path).sources.values()]
    used = {*SOURCES.names(), *(part.use for part in parts)}
    assert {SOURCES.resolve(name, RECIPES).__name__ for name in used} <= tested


def test_the_card_that_is_shown_beside_the_recipe_is_the_releases_own(demo_release: Path) -> None:
    shown = RECIPES.parent / "data_cards" / "demo.md"
    assert timeless(shown.read_text(encoding="utf-8")) == timeless((demo_release / "README.md").read_text("utf-8"))


def timeless(card: str) -> str:
    """Without the day of the build and the snapshot's hash, which the image library's version decides."""
    return re.sub(r"\d{4}-\d{2}-\d{2}|`[0-9a-f]{64}`", "…", card)
