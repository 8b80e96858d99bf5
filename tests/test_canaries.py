"""Secrets in the environment of a whole build, one that fails and crashes on its way, are found nowhere afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import run_command
from tests.faultd import Plan, ok, serving, silence
from tests.tiny_recipe import jpeg
from tests.wikiart_site import ALPHABET, ARTISTS, BASE, ITEM, PICTURE, WORK, listing

ACCESS, SECRET, SESSION, TOKEN = "canary-access/1", "canary-secret+2", "canary-session-3", "hf_canaryHubToken4"
CANARIES = {
    "WIKIART_ACCESS_CODE": ACCESS, "WIKIART_SECRET_CODE": SECRET, "HF_TOKEN": TOKEN, "PYTHONFAULTHANDLER": "1",
}  # fmt: skip
LIST = "/en/api/2/UpdatedArtists"
RECIPE = {
    "name": "watched", "title": "Watched", "version": "1.0.0", "license": "cc0-1.0", "description": "A test.",
    "sources": {"wikiart": {
        "use": "wikiart", "options": {"api": "artists"}, "endpoints": {"wikiart": "https://www.wikiart.org"},
    }},
    "types": {"artwork": {"image": True}, "artist": {}},
    "relations": {"isCreatedByArtist": {"domain": "artwork", "range": "artist"}},
    "split": {"policy": "inductive", "unseen": "artwork"},
}  # fmt: skip


@pytest.fixture
def world() -> Iterator[tuple[str, Plan]]:
    """The site with its keyed API, which repeats in its errors what it was asked with."""
    told = json.dumps({"Exception": {"Message": f"bad {ACCESS} {SECRET} {SESSION}"}}).encode()
    record = {"id": "57726d82edc2cb3880b486a0", "artistName": "x", "url": "vincent-van-gogh", "relatedArtists": []}
    whole = ok(json.dumps({"data": [record], "hasMore": False}).encode())
    answers: dict[str, Any] = {
        ALPHABET: ok(json.dumps(ARTISTS).encode()), listing("a-nobody"): ok(b"[]"),
        PICTURE: ok(jpeg(1), Content_Type="image/jpeg"),
        "/en/Api/2/login": ok(json.dumps({"SessionKey": SESSION}).encode()),
        LIST: [ok(told, 403), silence(), whole],
    }  # fmt: skip
    with serving(answers) as (base, plan):
        plan.answers[listing("vincent-van-gogh")] = ok(json.dumps([ITEM]).replace(BASE, base).encode())
        plan.answers["/en/App/Painting/ImageJson/207190"] = ok(json.dumps(WORK).replace(BASE, base).encode())
        yield base, plan


def text_of(path: Path) -> str:
    """All that a file says, decompressed."""
    body = path.read_bytes().decode("latin-1")
    return body + (repr(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else "")


def test_no_canary_is_in_any_file_or_line_of_a_build_that_fails_crashes_and_ends(
    world: tuple[str, Plan], tmp_path: Path
) -> None:
    base, plan = world
    (tmp_path / "watched.yaml").write_text(yaml.safe_dump(RECIPE))
    command = ["build", tmp_path / "watched.yaml", "--workspace", tmp_path / "w", "--endpoint", f"wikiart={base}"]
    refused = run_command("mkgb", *command, "--debug", **CANARIES)
    assert (refused.returncode, "Traceback" in refused.stderr) == (3, True)
    crashed = subprocess.Popen([Path(sys.executable).with_name("mkgb"), *command], env={**os.environ, **CANARIES},
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    asked = len(plan.asked)
    while not any(LIST in question.path for question in plan.asked[asked:]) and crashed.poll() is None:
        time.sleep(0.02)
    crashed.send_signal(signal.SIGABRT)  # while it waits for an answer
    told = crashed.communicate(timeout=20)[0]
    assert "Fatal Python error" in told
    done = run_command("mkgb", *command, "--json", "--debug", **CANARIES)
    assert done.returncode == 0, done.stderr
    used = " ".join(question.path for question in plan.asked)
    assert all(urllib.parse.quote(canary, safe="") in used for canary in (ACCESS, SECRET, SESSION))
    runs = (refused, done)
    said = {"crash": told} | {f"{n} {s}": getattr(run, s) for n, run in enumerate(runs) for s in ("stdout", "stderr")}
    files = {str(path): text_of(path) for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) > 20
    assert [name for name, text in (said | files).items() if "canary-" in text or TOKEN in text] == []
