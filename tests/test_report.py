"""The page of a release: complete, asking for nothing, inert whatever the release says."""

import base64
import hashlib
import io
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from typer.testing import CliRunner

from mkg_builder import cli, page, schema
from mkg_builder.report import dropped_examples, render_report, take_census, year_histograms, years_of
from mkg_builder.schema import ReleaseError
from mkg_builder.variant import write_without_pictures
from tests.planting import rewrite, rows
from tests.tiny_release import picture_bytes, write_tiny_release

EVIL = "</script><img src=x onerror=alert(1)>{{7*7}}{% raw %}"
BY = [(f"artwork:w-{i}", "isCreatedByArtist", "artist:a") for i in range(6)]
IN = [(f"artwork:w-{i}", "isCreatedInYear", f"year:{1800 + 7 * i}") for i in range(6)]


@pytest.fixture(scope="module")
def demo_page(demo_release: Path) -> str:
    return render_report(demo_release)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    pictures = {f"artwork:w-{i}": picture_bytes(i) for i in range(3)}
    return write_tiny_release(tmp_path / "release", {"train": [*BY[:4], *IN], "test": BY[4:]}, pictures)


def change(release: Path, table: str, place: int, **values: object) -> None:
    changed = rows(release, table, "full")
    changed[place] |= values
    rewrite(release, table, "full", changed)


def cells(text: str, caption: str) -> list[list[str]]:
    table = next(t for t in HTMLParser(text).css("table") if t.css_first("caption").text() == caption)
    return [[" ".join(cell.text().split()) for cell in row.css("th, td")] for row in table.css("tbody tr")]


def test_the_page_says_all_that_it_promises(demo_page: str) -> None:
    sections = {node.attributes["id"] for node in HTMLParser(demo_page).css("section")}
    assert sections == {"contents", "modalities", "shape", "countries", "frequent", "splits", "leaks", "samples",
                        "dropped"}  # fmt: skip
    assert ["artwork", "", "700"] in cells(demo_page, "Entities by type")
    assert len(demo_page) < 1_000_000


def test_the_page_asks_for_nothing_and_runs_nothing(demo_page: str) -> None:
    tree = HTMLParser(demo_page)
    assert tree.css("script, iframe, object, embed, form") == []
    addresses = [n.attributes.get(a) or "" for n in tree.css("[src], [href]") for a in ("src", "href")]
    assert {a.partition(",")[0] for a in addresses if a and not a.startswith("#")} == {
        "data:",
        "data:image/jpeg;base64",
    }


def test_the_policy_allows_this_very_style_sheet(demo_page: str) -> None:
    tree = HTMLParser(demo_page)
    digest = base64.b64encode(hashlib.sha256(tree.css_first("style").text().encode()).digest()).decode()
    policy = tree.css_first("meta[http-equiv=Content-Security-Policy]").attributes["content"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "style=" not in demo_page


def test_the_heat_map_has_every_count_of_the_release(demo_page: str, demo_release: Path) -> None:
    counted = schema.read_table(demo_release, "modality_availability").to_pylist()
    said = {(row[0], row[1], cell.split()[-1]) for row in cells(demo_page, "Entities by type, split and modality")
            for cell in row[2:-1] if cell != "·"}  # fmt: skip
    assert said == {(r["name"], r["split"], f"{r['count']:,}") for r in counted if r["scope"] == "entity_type"}


def test_every_relation_stands_with_its_facts_of_each_split(demo_page: str, demo_release: Path) -> None:
    relations = schema.read_table(demo_release, "relations").to_pylist()
    said = {row[0]: row[3:6] for row in cells(demo_page, "Facts by relation and split")}
    assert said == {r["name"]: [f"{r[split]:,}" for split in ("train", "validation", "test")] for r in relations}


def test_names_from_outside_are_inert(tiny: Path) -> None:
    change(tiny, "entities", 0, label=EVIL)
    change(tiny, "artworks", 0, label=EVIL)
    text = render_report(tiny)
    tree = HTMLParser(text)
    assert tree.css("[onerror], script, img:not([src^='data:image/jpeg;base64,'])") == []
    assert tree.body.text().count("{{7*7}}") >= 2
    assert EVIL in [node.text() for node in tree.css(".gallery bdi")]


def test_what_cannot_be_seen_is_made_visible(tiny: Path) -> None:
    change(tiny, "artworks", 0, label="a\u202eb\x1bc")
    assert "a\\x202eb\\x1bc" in render_report(tiny)


def test_the_map_says_each_country_of_the_painters(demo_page: str) -> None:
    figure = HTMLParser(demo_page).css_first("figure.world")
    said = {node.text(): node.parent.attributes["class"] for node in figure.css("use title")}
    assert (said["France: 23"], said["Italy: 12"], said["Austria: 1"], said["Chad: 0"]) == ("m6", "m5", "m1", "m0")
    shown = {row[0]: int(row[1]) for row in cells(demo_page, "hasNationality by country")}
    assert {name: int(n) for name, _, n in (t.partition(": ") for t in said) if int(n)} == shown
    maps = figure.css("svg[role=img]")
    assert (
        maps[0].attributes["aria-label"].startswith("World map. hasNationality: 50 heads in 12 countries; most in Fr")
    )
    assert [svg.attributes["viewBox"] for svg in maps] == ["120 0 3860 1730", "1765 60 475 415"]


def test_an_outline_is_on_the_page_once_and_every_shape_has_one(tmp_path: Path) -> None:
    born = [(f"artist:a-{i}", relation, f"country:{name}") for relation in ("wasBornIn", "diedIn")
            for i, name in enumerate(("chad", "malta", "peru"))]  # fmt: skip
    tree = HTMLParser(render_report(write_tiny_release(tmp_path, {"train": born, "validation": [], "test": []}), 0))
    assert len(tree.css("figure.world")) == 2
    drawn = [node.attributes["id"] for node in tree.css("[id^=land-], [id^=map-]")]
    assert len(drawn) == len(set(drawn))
    assert {node.attributes["href"].lstrip("#") for node in tree.css("use")} <= set(drawn)
    assert [node.text() for node in tree.css("circle title")] == ["Malta: 1"] * 2


def test_what_is_not_on_the_map_stands_below_it_and_is_inert(tmp_path: Path) -> None:
    tails = ("chad", "peru", "czechoslovakia", "x")
    born = [(f"artist:a-{i}", "wasBornIn", f"country:{name}") for i, name in enumerate(tails)]
    release = write_tiny_release(tmp_path, {"train": born, "validation": [], "test": []})
    change(release, "entities", next(i for i, r in enumerate(rows(release, "entities", "full")) if r["label"] == "X"),
           label=EVIL)  # fmt: skip
    text = render_report(release, 0)
    assert HTMLParser(text).css("[onerror], script") == []
    below = HTMLParser(text).css_first("figure.world p").text()
    assert below == f"Not on the map: {EVIL} 1, Czechoslovakia 1 (Czechia and Slovakia)."
    assert len(cells(text, "wasBornIn: not on the map")) == 2


def test_a_release_without_countries_says_so(tiny: Path) -> None:
    assert "No relation leads to countries." in HTMLParser(render_report(tiny, 0)).css_first("#countries").text()


def test_a_release_of_nothing_has_a_page(tmp_path: Path) -> None:
    release = write_tiny_release(tmp_path, {"train": [], "validation": [], "test": []})
    assert cells(render_report(release), "Entities by how many facts name them") == [["0", "0"]]


def test_a_leak_that_is_planted_is_on_the_page(demo_release: Path, tmp_path: Path) -> None:
    release = Path(shutil.copytree(demo_release, tmp_path / "release"))
    train = rows(release, "triples", "train")
    rewrite(release, "triples", "test", [*rows(release, "triples", "test"), train[0]])
    found = cells(render_report(release, 0), "What the checks found")
    assert any(row[:2] == ["error", "leakage"] and "is in train too" in row[2] for row in found)
    assert "is in train too" not in render_report(release, 0, checked=False)


def test_what_was_dropped_is_counted_by_rule_with_examples(tiny: Path) -> None:
    lost = [{"id": f"artwork:{i}", "rule": "no picture", "detail": f"why {i}"} for i in range(5)]
    rewrite(tiny, "dropped", "full", [*lost, {"id": "artwork:z", "rule": "twice", "detail": EVIL}])
    (first, number, examples), second = dropped_examples(tiny)
    assert (first, number, examples) == ("no picture", 5, [(f"artwork:{i}", f"why {i}") for i in range(3)])
    assert second[:2] == ("twice", 1)
    assert cells(render_report(tiny), "Dropped by rule, with examples")[0][:2] == ["no picture", "5"]


def test_a_thumbnail_is_small_and_keeps_no_metadata(tiny: Path) -> None:
    large, body, exif = Image.new("RGB", (900, 300), "navy"), io.BytesIO(), Image.Exif()
    exif[0x010E] = "taken at home"
    large.save(body, "JPEG", exif=exif, comment=b"taken at home")
    change(tiny, "artworks", 0, image={"bytes": body.getvalue(), "path": "x.jpg"})
    made = base64.b64decode(re.search(r'base64,([^"]+)"', render_report(tiny))[1])
    assert b"taken at home" in body.getvalue()
    assert b"taken at home" not in made
    assert Image.open(io.BytesIO(made)).size == (220, 73)


def test_a_picture_that_is_cut_short_is_named_with_its_reason(tiny: Path) -> None:
    change(tiny, "artworks", 0, image={"bytes": picture_bytes(0)[:-20], "path": "x.png"})
    assert "no picture: truncated" in render_report(tiny)


def test_ends_of_facts_are_counted_once_each(tiny: Path) -> None:
    census = take_census(tiny)
    assert census.degrees.sum() == 2 * (len(BY) + len(IN))
    assert census.degrees[census.places["artist:a"]] == len(BY)
    assert [len(chart.values) for chart in year_histograms(census)] == [len(IN)]


@pytest.mark.parametrize(("label", "year"), [("1850-1900", 1850), ("1889", 1889), ("-50", -50), ("1850s", 1850),
                                             ("Paris", None), ("12 apostles", None)])  # fmt: skip
def test_only_a_year_or_a_span_of_years_is_one(label: str, year: int | None) -> None:
    assert years_of(label) == year


def test_many_years_share_their_bars_and_none_is_lost() -> None:
    from mkg_builder.report import _in_time

    bars = _in_time([(year, str(year), 2) for year in range(1500, 2000)])
    assert len(bars) <= 60
    assert sum(number for _, number in bars) == 1000
    assert bars[0] == ("1500–1509", 20)


def test_a_share_never_rounds_to_nothing_or_to_all() -> None:
    assert [page.percent(p, 1000) for p in (0, 1, 500, 999, 1000)] == ["0 %", "<1 %", "50 %", ">99 %", "100 %"]
    assert [page.shade(p, 1000) for p in (0, 1, 500, 1000)] == [0, 1, 5, 10]


def test_the_command_writes_the_page(tiny: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["report", str(tiny), "--out", str(tmp_path / "x.html"), "--json"])
    assert done.exit_code == 0
    assert (tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_release_without_its_pictures_says_where_they_are(demo_release: Path, tmp_path: Path) -> None:
    (bare := tmp_path / "bare").mkdir()
    write_without_pictures(demo_release, bare, "org/tiny-images@v1.0.0")
    said = "published without its pictures; they are in org/tiny-images@v1.0.0"
    assert f"no picture: {said}" in render_report(bare)
    for entity in ([], ["artwork:albert-marquet/cityscape-02"]):
        done = CliRunner().invoke(cli.app, ["picture", str(bare), *entity])
        assert isinstance(done.exception, ReleaseError)
        assert str(done.exception) == f"{bare} was {said}"
