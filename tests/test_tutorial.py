"""The tutorial of recipes/museum: every block of it is run, loaded or found where it says it is from."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mkg_builder.recipe import load_recipe, recipe_folder
from mkg_builder.workshop import Job, Workshop

RECIPES = recipe_folder()
TUTORIAL = (RECIPES / "museum" / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE)


def blocks(kind: str) -> list[str]:
    return [text for language, text in BLOCKS if language == kind]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All that the commands and programs of the tutorial say, run one after the other in one folder."""
    folder, heard = tmp_path_factory.mktemp("tutorial"), []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    for language, text in BLOCKS:
        if language in ("sh", "python"):
            command = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            heard.append(done.stdout + done.stderr)
    return "\n".join(heard)


def test_every_block_is_of_a_kind_that_is_tested_here() -> None:
    assert {language for language, _ in BLOCKS} == {"yaml", "sh", "python", ""}


def test_what_is_shown_as_output_is_what_is_said(said: str) -> None:
    for text in blocks(""):
        assert text.strip() in said


def test_every_loss_has_its_line(said: str) -> None:
    for line in (
        "artist:museum/101 | aligned | artist:claude-monet: both are wikidata:Q296",
        "artist:museum/103 | aligned | artist:vincent-van-gogh: named alike (1.000), dates agree",
        "artist:museum/106 | aligned | artist:diego-velazquez: decision",
        "artist:museum/111 | required_fields | constituents: nothing in 'preferreddisplayname'",
    ):
        assert line in said
    assert "artist:museum/110 | aligned" not in said  # another Vermeer


def test_the_runs_with_and_without_the_museum_are_compared(said: str) -> None:
    assert "artist:georges-braque,artist:museum/107,1.000,," in said
    for run in ("demo", "demo-museum"):
        assert re.search(rf"│ {run} +│ {run} 1\.0\.0", said)


def test_every_piece_of_a_recipe_is_the_shipped_recipes_own() -> None:
    recipe = (RECIPES / "demo-museum.yaml").read_text("utf-8")
    for text in blocks("yaml"):
        assert text in recipe or text.startswith("extends: wikiart-v2")


def test_the_recipe_for_a_real_museum_holds_together(tmp_path: Path) -> None:
    text = next(text for text in blocks("yaml") if text.startswith("extends: wikiart-v2"))
    path = tmp_path / f"{yaml.safe_load(text)['name']}.yaml"
    path.write_text(text)
    workshop = Workshop(Job(str(path), tmp_path / "w"))
    assert list(workshop.sources) == [*load_recipe(RECIPES / "wikiart-v2.yaml").sources, "nga"]
    assert workshop.recipe.cleaning == load_recipe(RECIPES / "wikiart-v2.yaml").cleaning
