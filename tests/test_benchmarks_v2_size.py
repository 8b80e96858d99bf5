import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The whole benchmark on a graph of a two-thousandth of the published size."""
    command = [
        sys.executable,
        ROOT / "benchmarks" / "v2_size.py",
        "--triples",
        "4000",
        "--set",
        "model.dim=16",
        "--ways",
        "--json",
    ]
    place = ["--workspace", tmp_path_factory.mktemp("v2")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CXX": "/nonexistent"}  # to compile takes a minute
    ended = subprocess.run(
        [*command, *place], capture_output=True, text=True, env=environment, timeout=250, check=False
    )
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout)


def test_the_published_size_is_measured_from_its_files_to_its_table(measured: dict) -> None:
    assert 3000 < measured["load"]["triples"] < 4100
    assert measured["train"]["steps"] * measured["train"]["step_seconds"] == pytest.approx(
        measured["train"]["epochs"][0]
    )
    assert measured["train"]["floor_seconds"] < measured["train"]["step_seconds"]
    asked = {name: queries for name, queries, *_ in measured["evaluate"]["table"]}
    assert asked.pop("all") == sum(asked.values()) > 50
    assert "hasNationality" not in asked


def test_other_precisions_and_compiled_steps_are_tried_beside_it_and_what_fails_is_told(measured: dict) -> None:
    ways = {(way["precision"], way["compile"]): way for way in measured["ways"]}
    half = ways.pop(("bfloat16", "none"))
    assert half["validation_mrr"] == pytest.approx(measured["train"]["validation_mrr"], abs=0.1)
    assert {way: found["failed"] for way, found in ways.items()} == dict.fromkeys(
        [("float32", "default"), ("float32", "reduce-overhead")], "the step train failed; see above"
    )
