"""The whole way, as a user types it: build, encode, train, evaluate, predict a picture that nobody has seen."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_command


def told(*command: object) -> Any:
    """A command's JSON; it must succeed and say nothing else."""
    done = run_command(*map(str, command), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def run(demo_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    told("vlkge", "encode", demo_release, "--out", folder / "features", "--quiet")
    told(
        "vlkge", "train", "--dataset", demo_release, "--features", folder / "features", "--out", folder / "run",
        "--epochs", 25, "--quiet",
    )  # fmt: skip
    return folder / "run"


@pytest.mark.parametrize("protocol", ["strict", "reference"])
def test_the_painter_of_an_unseen_artwork_is_told_far_above_both_baselines(run: Path, protocol: str) -> None:
    result = told("vlkge", "evaluate", run, "--split", "test", "--protocol", protocol, "--quiet")
    relation = "isCreatedByArtist"
    model = result["relations"][relation]["mrr"]
    chance, frequent = (result["baselines"][b]["relations"][relation]["mrr"] for b in ("chance", "most_frequent"))
    assert chance < 0.15
    assert frequent < 0.15
    assert model > 3 * max(chance, frequent)


def test_every_number_names_its_protocol_data_version_and_seed(run: Path, demo_release: Path) -> None:
    result = told("vlkge", "evaluate", run, "--quiet")
    manifest = json.loads((demo_release / "manifest.json").read_text())
    assert result["protocol"]["name"] == "strict"
    assert result["dataset"]["content_sha256"] == manifest["content_sha256"]
    assert (result["dataset"]["version"], result["split"], result["seed"]) == ("1.0.0", "test", 42)


def test_held_out_pictures_are_given_their_painter(run: Path, demo_release: Path, tmp_path: Path) -> None:
    hits = 0
    for artwork in _held_out(demo_release)[:12:2]:
        picture = tmp_path / "painting.png"
        known = told("mkgb", "picture", demo_release, artwork, "--out", picture)
        right = next(f.split(" ")[1] for f in known["facts"] if f.startswith("isCreatedByArtist"))
        answer = told(
            "vlkge", "predict", run, "--image", picture, "--relation", "isCreatedByArtist", "--top", 5, "--quiet"
        )
        hits += right in json.dumps(answer)
    assert hits >= 3  # by chance one in ten each


def _held_out(release: Path) -> list[str]:
    from mkg_builder import schema

    rows = schema.read_table(release, "artworks", columns=["id", "image_status", "split"]).to_pylist()
    return [row["id"] for row in rows if (row["image_status"], row["split"]) == ("ok", "test")]


def test_the_run_needs_nothing_else(run: Path, demo_release: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    run.rename(moved)
    try:
        head = ("--head", "artist:claude-monet", "--relation", "isInfluencedBy")
        assert told("vlkge", "predict", moved, *head, "--quiet")
    finally:
        moved.rename(run)


def test_nothing_in_a_run_or_a_release_is_executable_data(run: Path, demo_release: Path) -> None:
    files = [path for folder in (run, demo_release) for path in folder.rglob("*") if path.is_file()]
    endings = {path.suffix for path in files if path.name != "lock"}  # in which a process says that it is at work
    assert endings <= {".safetensors", ".json", ".jsonl", ".yaml", ".parquet", ".md"}


@pytest.mark.shared
def test_the_stand_in_site_is_built_trained_and_evaluated(small_world: dict, tmp_path: Path) -> None:
    built = told(
        "mkgb", "build", "wikiart-v1", "--workspace", tmp_path, "--endpoint", f"wikiart={small_world['wikiart']}",
        "--set", "cleaning.require_image=false", "--set", "cleaning.min_frequency={}", "--quiet",
    )  # fmt: skip
    features, run = tmp_path / "features", tmp_path / "run"
    told("vlkge", "encode", built["release"], "--out", features, "--quiet")
    told(
        "vlkge", "train", "--dataset", built["release"], "--features", features, "--out", run, "--epochs", 2, "--quiet"
    )
    result = told("vlkge", "evaluate", run, "--split", "train", "--quiet")
    assert 0 < result["overall"]["mrr"] <= 1
    assert set(result["relations"]) == {relation["name"] for relation in built["relations"]}
