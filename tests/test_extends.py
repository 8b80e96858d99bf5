"""A recipe that extends another: what it inherits, what it may not, and which file a fault is told of."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from mkg_builder.build import Job, build
from mkg_builder.errors import RecipeError, UnknownNameError, UsageError
from mkg_builder.layers import recipe_folder
from mkg_builder.recipe import load_recipe
from mkg_builder.snapshot import Snapshot
from tests.tiny_recipe import RECIPE, jpeg, write_recipe

FILE_SOURCE = """
from tests.tiny_recipe import Works

class Beside(Works):
    def fetch(self, context):
        context.put("beside", (context.folder / "beside.txt").read_bytes(), "text/plain")
        super().fetch(context)
"""


def extending(folder: Path, base: str = "tiny.yaml", file: str = "own.yaml", **stated: Any) -> Path:
    path = folder / file
    path.write_text(yaml.safe_dump({"extends": base, "name": "own", "version": "2.0.0", **stated}, sort_keys=False))
    return path


def test_what_is_not_stated_is_inherited(tmp_path: Path) -> None:
    base = load_recipe(write_recipe(tmp_path))
    own = load_recipe(extending(tmp_path))
    assert own == base.model_copy(update={"name": "own", "version": "2.0.0"})


def test_keys_are_joined_own_values_win_and_a_list_replaces(tmp_path: Path) -> None:
    write_recipe(tmp_path, tags=["a", "b"])
    own = load_recipe(
        extending(tmp_path, tags=["c"], types={"genre": {}, "style": {"text": "label"}}, split={"seed": 9})
    )
    assert (own.tags, own.split.seed, own.split.test) == (["c"], 9, 0.2)
    assert (own.types["genre"].text, own.types["style"].text, own.types["artwork"].image) == ("label", "label", True)
    assert list(own.types) == [*RECIPE["types"], "genre"]


def test_null_takes_away_what_is_inherited(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    own = load_recipe(extending(tmp_path, relations={"isPupilOf": None, "isTeacherOf": None}))
    assert list(own.relations) == ["isCreatedByArtist", "hasStyle", "belongsToTimeframe"]


def test_a_shipped_recipe_is_extended_by_its_name_from_any_folder(tmp_path: Path) -> None:
    own = load_recipe(extending(tmp_path, "wikiart-v2"))
    assert own.sources.keys() == load_recipe(recipe_folder() / "wikiart-v2.yaml").sources.keys()


def test_recipes_extend_in_a_row_the_nearest_last(tmp_path: Path) -> None:
    write_recipe(tmp_path, title="one", homepage="one")
    extending(tmp_path, file="middle.yaml", name="middle", title="two", homepage="two")
    own = load_recipe(extending(tmp_path, "middle.yaml", title="three"))
    assert (own.title, own.homepage) == ("three", "two")


def test_a_circle_is_refused(tmp_path: Path) -> None:
    extending(tmp_path, "own.yaml", "other.yaml", name="other")
    with pytest.raises(RecipeError, match=r"other\.yaml: extends .*own\.yaml, which extends it in turn"):
        load_recipe(extending(tmp_path, "other.yaml"))
    with pytest.raises(RecipeError, match="which extends it in turn"):
        load_recipe(extending(tmp_path, "own.yaml"))


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"name": None}, "needs a name of its own"),
        ({"version": None}, "needs a version of its own"),
        ({"name": "tiny"}, "'tiny' is what it extends"),
        ({"extends": ["a", "b"]}, "write the name or the path of one recipe"),
        ({"extends": "nowhere.yaml"}, "no recipe file nowhere.yaml"),
    ],
)
def test_what_does_not_extend_properly_is_refused(tmp_path: Path, stated: dict[str, Any], said: str) -> None:
    write_recipe(tmp_path)
    kept = {"extends": "tiny.yaml", "name": "own", "version": "1.0.0"} | stated
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({key: value for key, value in kept.items() if value is not None}))
    with pytest.raises(RecipeError, match=said):
        load_recipe(tmp_path / "own.yaml")


def test_an_unknown_base_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'wikiart-v2'"):
        load_recipe(extending(tmp_path, "wikiart-v3"))


def test_a_wrong_key_is_told_of_the_file_that_states_it(tmp_path: Path) -> None:
    write_recipe(tmp_path, types={**RECIPE["types"], "style": {"txt": "none"}})
    with pytest.raises(RecipeError, match=r"tiny\.yaml: .*types\.style\.txt.*did you mean 'text'"):
        load_recipe(extending(tmp_path))
    write_recipe(tmp_path)
    with pytest.raises(RecipeError, match=r"own\.yaml: .*types\.style\.txt"):
        load_recipe(extending(tmp_path, types={"style": {"txt": "none"}}))
    with pytest.raises(RecipeError, match=r"own\.yaml: types\.style\.text"):  # which both state, the base rightly
        load_recipe(extending(tmp_path, types={"style": {"text": "all"}}))


def test_a_wrong_option_of_a_source_is_told_of_the_file_that_states_it(tmp_path: Path) -> None:
    write_recipe(tmp_path, sources={"works": {"use": "tests.tiny_recipe:Works", "options": {"speed": 1}}})
    own = extending(tmp_path)
    with pytest.raises(RecipeError, match=r"tiny\.yaml: sources\.works\.options: .*speed"):
        build(Job(str(own), tmp_path / "w"))


def test_a_source_finds_its_files_beside_the_recipe_that_brings_it(tmp_path: Path) -> None:
    base, elsewhere = tmp_path / "base", tmp_path / "elsewhere"
    base.mkdir()
    elsewhere.mkdir()
    (base / "beside.py").write_text(FILE_SOURCE)
    (base / "beside.txt").write_text("here")
    write_recipe(base, sources={"works": {"use": "beside.py:Beside"}})
    own = extending(elsewhere, "../base/tiny.yaml", split={"seed": 5})
    report = build(Job(str(own), tmp_path / "w"))
    assert (report.manifest["name"], report.manifest["version"]) == ("own", "2.0.0")
    assert report.manifest["recipe"]["split"] == {**load_recipe(base / "tiny.yaml").split.model_dump(), "seed": 5}


def test_a_copy_of_the_snapshot_of_what_is_extended_is_gone_on_from(tmp_path: Path) -> None:
    sources = {"works": {**RECIPE["sources"]["works"], "endpoints": {"one": "https://one.example"}}}
    base = write_recipe(tmp_path, sources=sources)
    build(Job(str(base), tmp_path / "w"))
    shutil.copytree(tmp_path / "w" / "snapshots" / "tiny", tmp_path / "w" / "snapshots" / "own")
    more = {"works": {"endpoints": {"two": "https://two.example"}}}
    assert build(Job(str(extending(tmp_path, sources=more)), tmp_path / "w")).fetched == 0
    moved = {"works": {"endpoints": {"one": "https://elsewhere.example"}}}
    with pytest.raises(UsageError, match="holds answers of one=https"):
        Snapshot(tmp_path / "w" / "snapshots" / "own").claim_origin(moved["works"]["endpoints"])


def museum_of(file: str, lookup: str | None = None) -> dict[str, Any]:
    style = {"relation": "hasStyle", "column": "style", "type": "style", **({"lookup": lookup} if lookup else {})}
    entity = {"type": "artwork", "id": "number", "label": "title", "image": "picture"}
    return {"file": file, "entity": entity, "facts": [style]}


def test_a_file_lies_beside_the_recipe_that_names_it(tmp_path: Path) -> None:
    base, own = tmp_path / "base", tmp_path / "own"
    for folder, title in ((base, "Theirs"), (own, "Mine")):
        folder.mkdir()
        (folder / "works.csv").write_text(f"number,title,style,picture\n1,{title},cub,1.jpg\n2,{title} too,cub,\n")
        (folder / "1.jpg").write_bytes(jpeg(1 if folder == base else 2))
        (folder / "words.csv").write_text(f"from,to\ncub,{title} style\n")
    (own / "words.csv").unlink()
    sources = {"museum": {"use": "table", "options": {"tables": {"works": museum_of("works.csv", "words.csv")}}}}
    types = {"artwork": {"image": True, "text": "none"}, "style": {}}
    relations = {"hasStyle": {"domain": "artwork", "range": "style"}}
    bare = {"cleaning": {}, "split": {"policy": "transductive"}}
    write_recipe(base, sources=sources, types=types, relations=relations, **bare)
    mine = {"museum": {"options": {"tables": {"works": {"file": "works.csv"}}}}}
    report = build(Job(str(extending(own, "../base/tiny.yaml", sources=mine)), tmp_path / "w"))
    labels = {row["id"]: row["label"] for row in pq.read_table(report.release / "entities").to_pylist()}
    assert {"artwork:museum/1", "style:theirs-style"} <= labels.keys()
    assert labels["artwork:museum/1"] == "Mine"
    snapshot = Snapshot(report.release.parent.parent / "snapshots" / "own")
    kept = snapshot.get("museum:1.jpg")
    assert kept is not None
    assert kept.body == jpeg(2)


def test_one_name_of_two_files_is_refused(tmp_path: Path) -> None:
    base, own = tmp_path / "base", tmp_path / "own"
    for folder in (base, own):
        folder.mkdir()
        (folder / "works.csv").write_text("number,title,style,picture\n1,Dawn,cub,\n")
    tables = {"works": museum_of("works.csv"), "more": museum_of("works.csv")}
    write_recipe(base, sources={"museum": {"use": "table", "options": {"tables": tables}}})
    mine = {"museum": {"options": {"tables": {"more": {"file": "works.csv"}}}}}
    with pytest.raises(RecipeError, match=r"works\.csv is .*base/works\.csv and .*own/works\.csv; give one"):
        build(Job(str(extending(own, "../base/tiny.yaml", sources=mine)), tmp_path / "w"))
