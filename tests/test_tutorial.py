"""The tutorial of recipes/museum: every block of it is run, loaded or found where it says it is from."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import yaml

from mkg_builder.build import Job, build
from mkg_builder.checks import check_release
from mkg_builder.decisions import read_decisions
from mkg_builder.layers import recipe_folder
from tests.conftest import ROOT, _serve
from tests.small_wikiart import move, small_wikiart

RECIPES = recipe_folder()
TUTORIAL = (RECIPES / "museum" / "README.md").read_text("utf-8")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = FENCED.findall(TUTORIAL)
STAND_IN = "tests.small_wikiart"
AFTERWARDS = "for i in $(seq 600); do grep -q endpoints few-museum.yaml && break; sleep 0.1; done"
"""Who types has waited until the stand-in has said that it is there."""

LAYOUT = {
    "constituents": "constituentid ulanid preferreddisplayname forwarddisplayname lastname displaydate "
    "artistofngaobject beginyear endyear visualbrowsertimespan nationality visualbrowsernationality constituenttype "
    "wikidataid",
    "objects": "objectid accessioned accessionnum locationid title displaydate beginyear endyear "
    "visualbrowsertimespan medium dimensions inscription markings attributioninverted attribution provenancetext "
    "creditline classification subclassification visualbrowserclassification parentid isvirtual departmentabbr "
    "portfolio series volume watermarks lastdetectedmodification wikidataid customprinturl",
    "objects_constituents": "objectid constituentid displayorder roletype role prefix suffix displaydate beginyear "
    "endyear country zipcode",
    "objects_terms": "termid objectid termtype term visualbrowsertheme visualbrowserstyle",
    "published_images": "uuid iiifurl iiifthumburl viewtype sequence width height maxpixels created modified "
    "depictstmsobjectid assistivetext",
}
"""The columns of the National Gallery of Art's tables, as its data dictionary lists them."""


def blocks(kind: str, text: str = TUTORIAL) -> list[str]:
    return [block for language, block in FENCED.findall(text) if language == kind]


class Walk(NamedTuple):
    """Somebody has typed the commands of some steps of the tutorial, one after the other in one shell."""

    folder: Path
    said: str

    def table(self, release: str, name: str) -> list[dict[str, Any]]:
        """The rows of a release's table."""
        return pq.read_table(self.folder / "workspace" / "releases" / release / name).to_pylist()

    def lost(self, release: str) -> list[str]:
        """What did not become part of a release, as lines."""
        return [" | ".join((row["id"], row["rule"], row["detail"])) for row in self.table(release, "dropped")]


def walked(folder: Path, *steps: int) -> Walk:
    """Type what stands under these headings, and find there what is shown as output."""
    text = "".join(re.split(r"^## ", TUTORIAL, flags=re.MULTILINE)[step] for step in steps)
    typed = [f"{block}{AFTERWARDS}\n" if STAND_IN in block else block for block in blocks("sh", text)]
    script = "set -eu\n" + "".join(typed).replace("CLONE", str(ROOT))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    with (folder / "said").open("w") as said:
        shell = subprocess.Popen(["bash", "-c", script], cwd=folder, env=environment, stdout=said,
                                 stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        try:
            code = shell.wait(timeout=290)
        finally:
            with suppress(ProcessLookupError):  # nothing of it runs any more
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    walk = Walk(folder, (folder / "said").read_text())
    assert code == 0, walk.said
    for block in blocks("", text):
        assert block.strip() in walk.said, f"{block}\n{walk.said}"
    return walk


def test_every_block_is_of_a_kind_that_is_tested_here() -> None:
    assert {language for language, _ in BLOCKS} == {"yaml", "sh", ""}
    assert not blocks("sh", TUTORIAL.partition("\n## 4 ")[2])


def test_steps_one_and_two_do_what_they_say(tmp_path: Path) -> None:
    walk = walked(tmp_path, 1, 2)
    own = [(row["head"], row["relation"], row["tail"]) for row in walk.table("gifts-1.0.0", "triples")]
    assert ("artwork:gifts/G1", "isCreatedByArtist", "artist:claude-monet") in own
    assert ("artwork:gifts/G3", "belongsToTimeframe", "timeframe:1850-1900") in own
    assert sorted(fact for fact in own if fact[1] == "wasGivenBy") == [
        (f"artwork:gifts/{number}", "wasGivenBy", "donor:ada-brill") for number in ("G1", "G2")
    ]
    lost = walk.lost("demo-museum-1.0.0")
    for line in (
        "artist:museum/101 | aligned | artist:claude-monet: both are wikidata:Q296",
        "artist:museum/103 | aligned | artist:vincent-van-gogh: named alike (1.000), dates agree",
        "artist:museum/106 | aligned | artist:diego-velazquez: decision",
        "artist:museum/111 | required_fields | constituents: nothing in 'preferreddisplayname'",
    ):
        assert line in lost
        assert line in walk.said
    assert not any("artist:museum/110 | aligned" in line for line in lost)  # another Vermeer


def test_step_three_builds_trains_and_compares_with_and_without_the_museum(tmp_path: Path) -> None:
    walk = walked(tmp_path, 3)
    expected = {
        "101": "artist:claude-monet: both are ulan:500019484",
        "102": "artist:mary-cassatt: both are ulan:500012368",
        "103": "artist:vincent-van-gogh: named alike (1.000), dates agree",
        "104": "artist:johannes-vermeer: named alike (1.000), dates agree",
        "105": "artist:jean-auguste-dominique-ingres: both are ulan:500028037",
        "106": "artist:diego-velazquez: decision",
        "107": "artist:georges-braque: decision",
        "112": "artist:leonardo-da-vinci: both are wikidata:Q762",
        "113": "artist:william-blake: both are ulan:500012489",
    }
    for release, undecided in (("few-museum-1.0.0", {"107"}), ("few-museum-2.0.0", set())):
        joined = {row["id"].partition("/")[2]: row["detail"]
                  for row in walk.table(release, "dropped") if row["rule"] == "aligned"}  # fmt: skip
        assert joined == {who: why for who, why in expected.items() if who not in undecided}
    rows = {name: [cell.strip() for cell in line.split("│")] for line in walk.said.splitlines()
            for name in ("few-1.0.0", "few-museum-2.0.0") if line.startswith(f"│ {name} ")}  # fmt: skip
    without, within = rows["few-1.0.0"], rows["few-museum-2.0.0"]
    assert (without[2], within[2]) == ("few 1.0.0", "few-museum 2.0.0")
    assert within[-2].endswith(f" on {without[4]}")
    assert int(within[4]) > int(without[4])


def test_every_piece_of_a_recipe_is_the_shipped_recipes_own() -> None:
    recipes = [(RECIPES / f"{name}.yaml").read_text("utf-8") for name in ("demo-museum", "wikiart-v2-museum")]
    for text in blocks("yaml"):
        assert any(text in recipe for recipe in recipes) or text.startswith("# wikiart-nga.yaml")


@pytest.mark.parametrize("name", list(LAYOUT))
def test_the_tables_have_columns_of_a_real_museum_and_the_tutorial_lists_them(name: str) -> None:
    with (RECIPES / "museum" / f"{name}.csv").open(newline="") as file:
        columns = next(csv.reader(file))
    assert [column for column in LAYOUT[name].split() if column in columns] == columns
    listed = next(line for line in TUTORIAL.splitlines() if line.startswith(f"| [{name}.csv]"))
    assert re.findall(r"`(\w+)`", listed) == columns


def test_every_work_is_marked_as_invented_and_every_picture_as_made_up() -> None:
    with (RECIPES / "museum" / "objects.csv").open(newline="") as file:
        assert {row["creditline"] for row in csv.DictReader(file)} == {
            "Invented work; gift of the Friends of the Museum"
        }
    for path in (RECIPES / "museum" / "pictures").iterdir():
        assert b"not a real painting" in path.read_bytes()


def test_the_recipe_for_a_real_museum_reads_its_tables_by_url_and_its_pictures_by_iiif(tmp_path: Path) -> None:
    text = next(text for text in blocks("yaml") if text.startswith("# wikiart-nga.yaml"))
    recipe = yaml.safe_load(text)
    recipe |= {"cleaning": {"min_frequency": None}, "expectations": None}
    recipe["sources"]["wikiart"] = {"options": {"artists": ["william-blake"]}}
    path = tmp_path / "wikiart-nga.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    with small_wikiart() as endpoints:
        museum = dict.fromkeys(recipe["sources"]["nga"]["endpoints"], endpoints["wikiart"])
        report = build(Job(str(path), tmp_path / "w", endpoints=endpoints | museum))
    assert report.manifest["leftovers"] == {
        "nga": ["objects.accessionnum", "objects.creditline", "objects_constituents.displayorder",
                "objects_constituents.role", "published_images.uuid"]
    }  # fmt: skip
    artworks = pq.read_table(report.release / "entities").to_pylist()
    blakes = [row for row in artworks if row["id"].startswith("artwork:nga/")]
    assert len(blakes) > 70
    aligned = [row["id"] for row in pq.read_table(report.release / "dropped").to_pylist() if row["rule"] == "aligned"]
    assert {"artist:nga/101", "artist:nga/113"} <= set(aligned)


@pytest.mark.shared
def test_on_the_real_records_the_museums_painters_are_wikiarts(tmp_path: Path) -> None:
    """The two recipes of five painters against the whole stand-in world: 3,475 artists, 1,495 of them in Wikidata."""
    script = next(text for text in blocks("sh") if "cat > few.yaml" in text)
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, timeout=60)
    for world in _serve(tmp_path, "--pictures", "standin", "--limits", "off", "--wdqs-timeout-s", "300"):
        for name in ("few", "few-museum"):
            move(tmp_path / f"{name}.yaml", {"wikiart": world["wikiart"], "wdqs": world["sparql"]})
        without = build(Job(str(tmp_path / "few.yaml"), tmp_path / "w"))
        shutil.copytree(tmp_path / "w" / "snapshots" / "few", tmp_path / "w" / "snapshots" / "few-museum")
        within = build(Job(str(tmp_path / "few-museum.yaml"), tmp_path / "w"))
    rows = pq.read_table(within.release / "dropped").to_pylist()
    assert {row["id"]: row["detail"] for row in rows if row["rule"] == "aligned"} == {
        "artist:museum/101": "artist:claude-monet: both are ulan:500019484",
        "artist:museum/102": "artist:mary-cassatt: named alike (1.000), dates agree",  # has no number in that world
        "artist:museum/103": "artist:vincent-van-gogh: named alike (1.000), dates agree",
        "artist:museum/104": "artist:johannes-vermeer: named alike (1.000), dates agree",
        "artist:museum/105": "artist:jean-auguste-dominique-ingres: both are ulan:500028037",
        "artist:museum/106": "artist:diego-velazquez: decision",
        "artist:museum/112": "artist:leonardo-da-vinci: both are wikidata:Q762",
        "artist:museum/113": "artist:william-blake: both are ulan:500012489",
    }
    waiting = read_decisions(tmp_path / "w" / "review" / "few-museum.csv")
    assert set(waiting) == {
        ("artist:georges-braque", "artist:museum/107"),
        ("artist:filippino-lippi", "artist:filippo-lippi"),  # father and son, known to one source each
    }
    kept = [set(pq.read_table(report.release / "entities", columns=["id"])["id"].to_pylist())
            for report in (without, within)]  # fmt: skip
    assert len({name for name in kept[0] if name.startswith("artwork:")}) > 250
    assert kept[0] - kept[1] <= {name for name in kept[0] if name.startswith(("year:", "timeframe:", "tag:"))}
    assert len({name for name in kept[1] if name.startswith("artwork:museum/")}) > 70
    errors = [finding for finding in check_release(within.release) if finding.level == "error"]
    assert errors == []
