"""A source in an installed package: found by its entry point, built with, and held to the contract."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkg_builder.errors import DataError
from mkg_builder.graph import Entity, Triple
from mkg_builder.schema import read_manifest
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer, SourceContext
from mkg_builder.testing import SourceContract
from tests.conftest import ROOT, run_command
from tests.tiny_recipe import RECIPE, Works, write_recipe

SALON = Path(__file__).parent / "data" / "salon"
RELATIONS = {"isCreatedByArtist": RECIPE["relations"]["isCreatedByArtist"]}
TYPES = {name: RECIPE["types"][name] for name in ("artwork", "artist")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What PYTHONPATH is where the sample package is installed, by pip, into a folder of its own."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(SALON)], check=True, timeout=120)
    return f"{target}{os.pathsep}{ROOT}"


def recipe(folder: Path, use: str) -> Path:
    sources = {"salon": {"use": use, "options": {"works": 24}}}
    return write_recipe(folder, sources=sources, types=TYPES, relations=RELATIONS, cleaning={})


def test_a_recipe_names_the_source_of_an_installed_package(tmp_path: Path, installed: str) -> None:
    path = recipe(tmp_path, "salon")
    done = run_command("mkgb", "build", path, "--workspace", tmp_path / "w", PYTHONPATH=installed)
    assert done.returncode == 0, done.stderr
    assert read_manifest(tmp_path / "w" / "releases" / "tiny-1.2.3")["triples"]["kept"] == 24


def test_an_unknown_source_lists_the_installed_among_the_known(tmp_path: Path, installed: str) -> None:
    done = run_command("mkgb", "build", recipe(tmp_path, "saloon"), "--workspace", tmp_path / "w", PYTHONPATH=installed)
    assert done.returncode == 2
    assert "did you mean 'salon'?; known: official, salon, table, wikiart, wikidata" in done.stderr


def test_the_contract_is_there_for_the_tests_of_a_package(installed: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(SALON), "contract.py"]
    environment = {**os.environ, "PYTHONPATH": installed}
    done = subprocess.run(command, cwd=SALON, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "7 passed" in done.stdout, done.stdout


class Contract(SourceContract):
    """Of a source that says nothing of fields that it does not read."""

    def source(self) -> Works:
        return Works(Works.Options())

    def spoil(self, snapshot: Snapshot) -> None:
        snapshot.put(Answer("works:surprise", 200, b"", "text/plain"))


class Astray(Works):
    """It calls an artwork a work."""

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        yield Entity("work:1", "artwork", "Work 1", sources=(context.name,))


def test_the_contract_refuses_a_source_whose_ids_say_another_type(tmp_path: Path) -> None:
    class OfAstray(Contract):
        def source(self) -> Works:
            return Astray(Works.Options())

    with pytest.raises(DataError, match="'work:1': its type is 'artwork'"):
        OfAstray().test_every_statement_is_well_formed(Snapshot(tmp_path))


def test_the_contract_refuses_a_source_that_keeps_a_surprise_to_itself(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Contract().test_a_surprise_field_is_reported(Snapshot(tmp_path))
