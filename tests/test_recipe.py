from pathlib import Path
from typing import Any

import pytest

from mkg_builder.errors import RecipeError, UnknownNameError
from mkg_builder.layers import find_recipe
from mkg_builder.recipe import load_recipe
from tests.tiny_recipe import RECIPE, write_recipe


def test_a_recipe_loads_with_overrides(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path), ["cleaning.require_image=true", "split.seed=7", "title=Other"])
    assert (recipe.cleaning.require_image, recipe.split.seed, recipe.title) == (True, 7, "Other")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cleaning.require_imag=true", "did you mean 'require_image'"),
        ("relations.hasStyle.domian=artwork", "did you mean 'domain'"),
        ("relations.hasStyle.range=styel", "did you mean 'style'"),
        ("cleaning.require=[isCreatedByArtis]", "did you mean 'isCreatedByArtist'"),
        (
            "cleaning.countries=[isCreatedByArtis]",
            "in cleaning.countries: 'isCreatedByArtis'; did you mean 'isCreatedB",
        ),
        ("cleaning.in_order={isCreatedInYear: isCreatedInYaer}", "did you mean 'isCreatedInYear'"),
        ("cleaning.in_order={wasBornOnDate: isCreatedInYear}", "relation in cleaning.in_order: 'wasBornOnDate'"),
        ("alignment={artist: {dates: [isCreatedInYer]}}", "in alignment.artist.dates: 'isCreatedInYer'; did you mean"),
        ("expectations.splits={trian: {max: 5}}", "did you mean 'train'"),
        ("split.rest={hasStyle: 'styel:rest'}", "type in split.rest.hasStyle: 'styel'; did you mean 'style'"),
        ("split.test=2", "split.test: Input should be less than 1"),
        ("split.unseen=null", "an inductive split names its `unseen` type"),
        ("version=one", "version: String should match"),
        ("split", "write it as dotted.key=value"),
        ("title.deeper=1", "holds no further keys"),
    ],
)
def test_what_does_not_fit_is_named_with_the_nearest(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(RecipeError) as told:
        load_recipe(write_recipe(tmp_path), [override])
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def sources(*addresses: str) -> dict[str, Any]:
    known = RECIPE["sources"]["works"]
    return {f"works_{n}": {**known, "endpoints": {"museum": address}} for n, address in enumerate(addresses)}


def test_an_endpoint_of_two_addresses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'museum' is https://a and https://b; give each a name"):
        load_recipe(write_recipe(tmp_path, sources=sources("https://a", "https://b")))


def test_two_sources_may_ask_one_endpoint(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, sources=sources("https://a", "https://a")))
    assert [part.endpoints["museum"] for part in recipe.sources.values()] == ["https://a", "https://a"]


def test_an_unknown_recipe_lists_what_is_shipped() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'demo'"):
        find_recipe("demmo")


def test_a_missing_file_says_where_it_was_looked_for() -> None:
    with pytest.raises(RecipeError, match=r"no recipe file ./none\.yaml"):
        find_recipe("./none.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1]\nb: *x", "aliases"),
        ("name: a\nname: b", "stands twice"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("- a list", "should be a mapping"),
        ("a: [", "expected the node content"),
        ("x: " + "y" * 1_000_001, "larger than"),
    ],
)
def test_hostile_yaml_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=said):
        load_recipe(path)


def test_null_in_an_override_takes_away_and_a_wrong_one_is_told_of_itself(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, cleaning={"require_image": True}, expectations={"splits": {"test": [1, 9]}})
    assert load_recipe(path, ["expectations=null", "cleaning.require_image=null"]) == load_recipe(
        write_recipe(tmp_path, cleaning={})
    )
    path = write_recipe(tmp_path)
    with pytest.raises(RecipeError, match=r"^--set cleaning\.circa_years=-1: cleaning\.circa_years: "):
        load_recipe(path, ["split.seed=4", "cleaning.circa_years=-1"])
    with pytest.raises(RecipeError, match=r"tiny\.yaml: split\.policy: "):
        load_recipe(write_recipe(tmp_path, split={"policy": "none"}), ["cleaning.circa_years=1"])
