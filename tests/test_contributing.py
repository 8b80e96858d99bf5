"""CONTRIBUTING.md is true: each of its classes is a file that the commands take as it stands there."""

import re
from pathlib import Path

import pytest

from mkg_builder.build import Job, build
from tests.test_vlkge_cli import FAST, SPLITS, told
from tests.tiny_recipe import write_recipe
from tests.tiny_release import picture_bytes, write_tiny_release

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(), re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, block in zip(("source", "encoder", "scorer"), BLOCKS, strict=True):
        (tmp_path / f"added_{name}.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    pictures = {head: picture_bytes(i, (30 + i, 20)) for i, (head, *_) in enumerate(SPLITS["train"][:16])}
    write_tiny_release(tmp_path / "release", SPLITS, pictures)
    return tmp_path


def test_each_addition_is_about_ten_lines() -> None:
    assert [len(block.splitlines()) for block in BLOCKS] == pytest.approx([13] * 3, abs=5)


def test_the_source_builds_a_release(place: Path) -> None:
    recipe = write_recipe(place, sources={"works": {"use": "added_source.py:Works"}})
    report = build(Job(str(recipe), place / "work"))
    assert (report.release / "manifest.json").is_file()


def test_the_encoder_and_the_scorer_train_a_run(place: Path) -> None:
    encoded = told("encode", "release", "--encoder", "added_encoder.py:Shape", cwd=place)
    assert [modality["encoded"] for modality in encoded["modalities"]] == [16]
    run = told("train", "--dataset", "release", "--model", "added_scorer:Simple", *FAST[:-1], "--out", "run", cwd=place)
    assert told("evaluate", run["run"], cwd=place)["overall"]["queries"] == 4
