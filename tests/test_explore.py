"""The explorer: what is searched is found, what is shown is what the release says, and only this machine is served."""

import http.client
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from PIL import Image
from selectolax.lexbor import LexborHTMLParser as HTMLParser

from mkg_builder import schema
from mkg_builder.errors import UnknownNameError, UsageError
from mkg_builder.explore import app
from mkg_builder.explore.index import Index, open_index
from mkg_builder.variant import write_without_pictures
from tests.explorer import explorer, get, send_picture
from tests.planting import rewrite, rows
from tests.test_vlkge_cli import ART, BY, FAST, RUN, told
from tests.tiny_release import picture_bytes, write_tiny_release

MANET = "artist:edouard-manet"
EVIL = "</script><img src=x onerror=alert(1)>{{7*7}}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def index(demo_release: Path, cache: Path) -> Index:
    return open_index(demo_release, cache)


@pytest.fixture(scope="module")
def address(demo_release: Path, cache: Path) -> Iterator[str]:
    with explorer(demo_release, cache) as served:
        yield served


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_release(
        tmp_path / "tiny", {"train": BY[:6]}, {ART[0]: picture_bytes(0), ART[1]: picture_bytes(1)}
    )


def ids(hits: list[dict]) -> list[str]:
    return [hit["id"] for hit in hits]


@pytest.mark.parametrize("words", ["Édouard Manet", "EDOUARD", "manet edou", "  manet!", MANET, "édouard-man"])
def test_an_entity_is_found_by_any_beginning_of_its_words(index: Index, words: str) -> None:
    assert ids(index.search(words))[0] == MANET


def test_an_exact_name_stands_before_what_has_more_facts(tmp_path: Path) -> None:
    facts = [(f"artwork:{i}", "by", "artist:ann-lee") for i in range(5)] + [("artwork:6", "by", "artist:ann")]
    index = open_index(write_tiny_release(tmp_path / "tiny", {"train": facts}), tmp_path / "c")
    assert ids(index.search("ann")) == ["artist:ann", "artist:ann-lee"]


def test_what_has_most_facts_is_found_first(index: Index) -> None:
    degrees = [hit["degree"] for hit in index.search("p")]
    assert degrees == sorted(degrees, reverse=True)
    assert degrees[0] > degrees[-1]


def test_every_word_must_occur_and_the_type_must_fit(index: Index) -> None:
    assert index.search("edouard monet") == []
    assert {hit["type"] for hit in index.search("manet", "artwork")} == {"artwork"}


@pytest.mark.parametrize(
    "words", ['"', "* OR *", "words : x", "';DROP TABLE entity;--", "a AND", "NEAR(", "\x00", "()"]
)
def test_no_search_is_a_command(index: Index, words: str) -> None:
    assert isinstance(index.search(words), list)


def test_another_name_finds_too(tiny: Path, tmp_path: Path) -> None:
    changed = rows(tiny, "entities", "full")
    changed[0]["aliases"] = ["Jożin z Bažin"]
    rewrite(tiny, "entities", "full", changed)
    assert ids(open_index(tiny, tmp_path / "c").search("bazin jozin")) == [changed[0]["id"]]


def test_the_facts_at_an_entity_are_those_of_the_release(index: Index, demo_release: Path) -> None:
    stated = {
        (row["relation"], outgoing, row["tail" if outgoing else "head"], row["source"], split)
        for split in ("train", "validation", "test") for row in rows(demo_release, "triples", split)
        for outgoing in (True, False) if row["head" if outgoing else "tail"] == MANET
    }  # fmt: skip
    found = {
        (group.relation, group.outgoing, row["id"], row["source"], row["split"])
        for group in index.groups(MANET, 1000) for row in group.rows
    }  # fmt: skip
    assert found == stated
    assert sum(group.total for group in index.groups(MANET, 1)) == len(stated) == index.entity(MANET)["degree"]


def test_a_fact_that_stands_in_two_splits_does_not_stop_the_index(tiny: Path, tmp_path: Path) -> None:
    rewrite(tiny, "triples", "test", rows(tiny, "triples", "train")[:1])
    assert open_index(tiny, tmp_path / "c").entity(ART[0])["label"] == "Work 00"


def test_an_index_is_made_once_and_anew_for_another_release(tiny: Path, tmp_path: Path) -> None:
    told: list[str] = []
    open_index(tiny, tmp_path / "c", told.append)
    open_index(tiny, tmp_path / "c", told.append)
    assert len(told) == 1
    rewrite(tiny, "literals", "full", [{"entity": ART[0], "name": "title", "value": "x", "source": "test"}])
    assert open_index(tiny, tmp_path / "c", told.append).entity(ART[0])["literals"][0]["value"] == "x"
    assert len(told) == len(list((tmp_path / "c").iterdir())) == 2


def test_an_unknown_entity_names_the_nearest(index: Index) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'artist:edouard-manet'"):
        index.entity("artist:edouard-mane")


def test_an_index_is_forced_to_the_disk_before_it_has_its_name(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced, real = [], os.fsync

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        forced.append((path.name, path.parent == tmp_path / "c", any((tmp_path / "c").glob("*.sqlite"))))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    open_index(tiny, tmp_path / "c")
    (index,) = (tmp_path / "c").iterdir()
    assert forced == [(index.name, False, False), ("c", False, True)]


def test_a_search_leads_to_an_entity_and_on_to_its_neighbours(address: str) -> None:
    found = HTMLParser(get(f"{address}search?q=edouard+man").text)
    link = found.css_first(".hits a").attributes["href"]
    page = HTMLParser(get(address[:-1] + link).text)
    assert page.css_first("h1").text() == "Édouard Manet"
    titian = next(a for a in page.css(".card a") if a.text() == "Titian")
    assert "Titian" in get(address[:-1] + titian.attributes["href"]).text


def test_all_facts_of_a_relation_are_a_page_away(address: str) -> None:
    pages = [get(f"{address}facts?id=style:baroque&relation=hasStyle&end=tail&from={start}").text for start in (0, 80)]
    assert [len(HTMLParser(page).css(".hits li")) for page in pages] == [82, 2]


@pytest.mark.parametrize("start", ["9" * 5000, "9" * 30, "-1", "x", ""])
def test_a_place_where_no_fact_is_is_a_page_without_one(address: str, start: str) -> None:
    page = get(f"{address}facts?id=style:baroque&relation=hasStyle&end=tail&from={start}")
    assert (page.status, len(HTMLParser(page.text).css(".hits li"))) == (200, 0 if start.isdecimal() else 82)


def test_a_picture_is_a_small_jpeg_and_anything_else_is_not_there(address: str, demo_release: Path) -> None:
    pictured = next(row["id"] for row in rows(demo_release, "artworks", "full") if row["image_status"] == "ok")
    answer = get(f"{address}picture?id={quote(pictured)}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(answer.body)).size) <= 220
    assert [get(f"{address}picture?id={quote(name)}").status for name in (MANET, "../../etc/passwd")] == [404, 404]


def test_a_damaged_picture_costs_one_picture(tiny: Path, tmp_path: Path) -> None:
    changed = rows(tiny, "artworks", "full")
    changed[0]["image"]["bytes"] = b"\x89PNG\r\n\x1a\nIEND\xaeB`\x82"
    rewrite(tiny, "artworks", "full", changed)
    with explorer(tiny, tmp_path / "c") as served:
        assert [get(f"{served}picture?id={art}").status for art in ART[:2]] == [404, 200]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.169.254", ""])
def test_another_host_name_is_refused(address: str, host: str) -> None:
    with closing(http.client.HTTPConnection(urlsplit(address).netloc)) as connection:
        connection.request("GET", "/", headers={"Host": host})
        assert connection.getresponse().status == 400


def test_every_answer_carries_a_strict_policy_and_is_shared_with_no_one(address: str) -> None:
    for path in ("", "search?q=x", "picture?id=x", "nosuch", "entity?id=x"):
        headers = get(address + path, Origin="http://evil.example").headers
        assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self' data:")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_names_from_outside_are_inert(tiny: Path, tmp_path: Path) -> None:
    for table in ("entities", "artworks"):
        changed = rows(tiny, table, "full")
        changed[-1]["label"] = EVIL
        rewrite(tiny, table, "full", changed)
    with explorer(tiny, tmp_path / "c") as served:
        for path in (
            f"search?q={quote(EVIL)}",
            f"entity?id={quote(EVIL)}",
            f"entity?id={ART[5]}",
            f"search?type={quote(EVIL)}",
        ):
            tree = HTMLParser(get(served + path).text)
            assert tree.css("[onerror], script, img[src=x]") == []
            assert "49" not in tree.css_first("main").text()


def test_without_a_run_there_is_no_question(address: str) -> None:
    assert "--run RUN" in get(f"{address}ask").text
    assert send_picture(address, b"x").status == 404


def test_a_port_that_is_taken_is_named(demo_release: Path, index: Index, address: str) -> None:
    with (
        pytest.raises(UsageError, match="name another with --port"),
        app.serving(demo_release, index, None, urlsplit(address).port),
    ):
        pass


def test_a_run_that_is_not_there_is_named(demo_release: Path, index: Index, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"), app.serving(demo_release, index, tmp_path / "no", 0):
        pass


def test_what_is_not_installed_is_named_with_its_remedy() -> None:
    code = "import sys; sys.modules['starlette'] = None; from mkg_builder.cli import main; main()"
    command = [sys.executable, "-c", code, "explore", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "needs starlette; install it with: pip install 'vlkge[explore]'" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_without_a_word(number: signal.Signals, demo_release: Path, cache: Path) -> None:
    command = [sys.executable, "-m", "mkg_builder", "explore", str(demo_release), "--cache", str(cache), "--port", "0",
               "--json", "--quiet"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        told_url = "".join(iter(process.stdout.readline, "}\n"))
        assert get(told_url.split('"')[3]).status == 200
        process.send_signal(number)
        assert (process.wait(20), process.stderr.read()) == (0, "")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An explorer with a small run."""
    place = tmp_path_factory.mktemp("room")
    splits = {"train": BY[:16], "validation": BY[16:20], "test": BY[20:]}
    write_tiny_release(place / "release", splits, {art: picture_bytes(i) for i, art in enumerate(ART)})
    told("encode", "release", cwd=place)
    told("train", "--dataset", "release", *FAST[:-1], cwd=place)
    with explorer(place / "release", place / "cache", place / RUN) as served:
        yield served


def test_a_picture_gets_answers_and_neighbours_and_leaves_no_file(asked: str) -> None:
    before = set(Path(tempfile.gettempdir()).iterdir())
    answer = send_picture(asked, picture_bytes(3))
    assert answer.status == 200
    tree = HTMLParser(answer.text)
    assert {row.css_first("th a").text() for row in tree.css(".card tbody tr")} == {f"Painter {i}" for i in range(3)}
    named = {a.text() for a in tree.css(".gallery li a")} - {""}
    assert len(named) == 5
    assert named <= {f"Work {i:02d}" for i in range(16)}  # those of train
    left = {path.name for path in set(Path(tempfile.gettempdir()).iterdir()) - before}
    assert not [name for name in left if (Path(tempfile.gettempdir()) / name / "picture.jpg").exists()]


def test_what_is_no_picture_is_refused_in_words(asked: str) -> None:
    assert send_picture(asked, b"GIF89a, no").status == 400
    assert "cannot be read" in send_picture(asked, b"\xff\xd8\xff no").text
    assert "choose a file" in send_picture(asked, b"").text


def test_a_form_of_another_site_is_refused(asked: str) -> None:
    assert send_picture(asked, picture_bytes(3), Sec_Fetch_Site="cross-site").status == 403


def test_too_large_a_picture_is_refused_before_it_is_read(asked: str) -> None:
    with closing(http.client.HTTPConnection(urlsplit(asked).netloc, timeout=30)) as connection:
        connection.putrequest("POST", "/ask")
        connection.putheader("Content-Length", str(app.MAX_UPLOAD + 1))
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_a_release_of_an_older_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(schema.ReleaseError, match="is no release"):
        open_index(tmp_path, tmp_path / "c")


def test_a_release_without_its_pictures_shows_none_and_says_where_they_are(demo_release: Path, tmp_path: Path) -> None:
    (bare := tmp_path / "bare").mkdir()
    write_without_pictures(demo_release, bare, "org/tiny-images@v1.0.0")
    with explorer(bare, tmp_path / "c") as served:
        assert "<img" not in get(served).text
        assert (
            "they are in org/tiny-images@v1.0.0" in get(f"{served}entity?id=artwork:albert-marquet/cityscape-02").text
        )
