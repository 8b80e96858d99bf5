"""Names from outside, hostile ones, on their way to files, the card, the terminal and the log."""

import json
import random
import re
import shutil
import unicodedata
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from mkg_builder import cli, schema, terminal
from mkg_builder.build import Job, build
from mkg_builder.decisions import read_decisions, record
from mkg_builder.errors import DataError
from mkg_builder.shards import write_rows
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer
from tests import tiny_recipe
from tests.conftest import run_command
from tests.tiny_recipe import write_recipe

PLACES = (
    "../../x", "/etc/x", "C:\\x", "CON", "nul\x00", "x" * 300, "dot.", "-rf", ".ssh/authorized_keys", "Twin", "tWIN",
    "caf\u00e9", "cafe\u0301", "..", ".", "", "a/../../b", "\\\\host\\share", "~root", "$(touch x)", "`x`", "\ud800",
)  # fmt: skip
MARKS = ("\x1b[31m", "\x1b]52;c;AAAA\x07", "\x1b]8;;http://x\x1b\\", "\x9b1m", "\u202e", "\u2066", "\r", "\n", "\u2028",
         "\x85", "\u061c", "\x08", "[red]", "[/red]", "[link=http://x]", "mkgb: forged", "é", "|", "\t")  # fmt: skip
TITLES = (
    *MARKS, "</script><img onerror=x>", "{{7*7}}", "{% raw %}", "[x](javascript:y)", "---\nlicense: x\n---",
    "<!-- ", "# x", "a\nmkgb: done", "=HYPERLINK(1)",
)  # fmt: skip


def raw(text: str) -> set[str]:
    """The characters of a text that a terminal would obey, or that would begin a line of their own."""
    return {
        sign for sign in set(text) - {"\n", "\t"}
        if unicodedata.category(sign) in OBEYED or unicodedata.bidirectional(sign) in BIDIRECTIONAL
    }  # fmt: skip


OBEYED = {"Cc", "Cs", "Zl", "Zp"}
BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release in which every title, tail, text and id is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    code = Path(str(tiny_recipe.__file__)).read_text()
    code = code.replace('f"Picture {number}"', f"{TITLES!r}[number % {len(TITLES)}]")
    code = code.replace("""{'new' if number % 2 else 'old'}""", "{TITLES[number % len(TITLES)]}")
    (folder / "hostile.py").write_text(f"{code}\n\nTITLES = {TITLES!r}\n")
    recipe = write_recipe(folder, sources={"works": {"use": "hostile.py:Works"}}, title=TITLES[-2], types={
        **tiny_recipe.RECIPE["types"], "artwork": {"image": True, "text": "source"}})  # fmt: skip
    return build(Job(str(recipe), folder / "w")).release


def test_hostile_names_make_no_file_but_those_named_by_their_sha256(tmp_path: Path) -> None:
    with (snapshot := Snapshot(tmp_path / "in" / "snapshot")).writing():
        for name in PLACES[:-1]:
            snapshot.put(Answer(name, 200, name.encode(), "text/plain"))
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    own = r"in/snapshot/(objects/(..)/\2[0-9a-f]{62}|journal.jsonl|lock|format)"
    assert [name for name in files if not re.fullmatch(own, name)] == []
    again = Snapshot(tmp_path / "in" / "snapshot")
    assert [again.get(name).body.decode() for name in PLACES[:-1]] == list(PLACES[:-1])


def test_ten_thousand_hostile_texts_are_each_one_line_without_a_control_character() -> None:
    chance = random.Random(1)
    signs = [chr(code) for code in (*range(0x300), *range(0x600, 0x700), *range(0x2000, 0x2100), 0xD800, 0x1F3A8)]
    texts = ["".join(chance.choices((*signs, *MARKS), k=12)) for _ in range(10_000)]
    assert [text for text in texts if raw(shown := terminal.visible(text)) or "\n" in shown] == []


def test_ten_thousand_hostile_texts_come_back_from_every_reader_of_what_we_write(tmp_path: Path) -> None:
    chance = random.Random(2)
    more = ('"', "'", ",", "\\", "\x1e", "\x00", "\n", "\r\n", ";", "\ufeff", "=1+1", "NA", "a")
    signs = [*MARKS, *PLACES[:-1], *more]
    texts = [f"{n}{''.join(chance.choices(signs, k=4))}" for n in range(10_000)]
    rows = [{"entity": t, "name": t, "value": t, "source": "s"} for t in texts]
    write_rows(tmp_path / "literals.parquet", "literals", [rows])
    readers = (
        lambda path: pq.read_table(path)["value"].to_pylist(),
        lambda path: pd.read_parquet(path)["value"].tolist(),
        lambda path: [row[0] for row in duckdb.sql(f"select value from '{path}'").fetchall()],
    )
    assert [reader(tmp_path / "literals.parquet") == texts for reader in readers] == [True] * 3
    decided = {(f"artist:{text}", "artist:b"): True for text in texts}
    (tmp_path / "decisions.csv").write_bytes(record(decided))
    told = pd.read_csv(tmp_path / "decisions.csv", dtype=str, keep_default_na=False, lineterminator="\n")
    assert sorted(told["left"]) == sorted(left for left, _ in decided)
    assert {*read_decisions(tmp_path / "decisions.csv")} == {(min(pair), max(pair)) for pair in decided}
    with (snapshot := Snapshot(tmp_path / "snapshot")).writing():
        for text in texts[:500]:  # each of these is a file
            snapshot.put(Answer(text, 200, b"x", text))
    lines = (tmp_path / "snapshot" / "journal.jsonl").read_bytes().split(b"\n")
    assert [(json.loads(line)["key"], json.loads(line)["media_type"]) for line in lines if line] == [
        (text, text) for text in texts[:500]
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["show --samples 60", "check", "show --json --samples 60", "check --json", "diff"])
def test_no_command_obeys_what_a_release_says(command: str, release: Path, tmp_path: Path) -> None:
    other = shutil.copytree(release, tmp_path / "other")
    manifest = schema.read_manifest(other) | {"name": "".join(MARKS), "marks": list(MARKS)}
    (other / "manifest.json").write_text(json.dumps(manifest))
    path = other / schema.shard_path("entities", "full")
    rows = [row | {"label": row["label"] + "\x1b[2J\r"} for row in schema.read_table(other, "entities").to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema.arrow_schema("entities")), path)
    done = CliRunner().invoke(cli.app, [*command.split(), str(other), *([str(release)] if command == "diff" else [])])
    told = str(done.exception) if isinstance(done.exception, DataError) else done.output
    assert len(told) > 50
    assert raw(done.output) == set()
    assert not [line for line in done.output.splitlines() if line.startswith("mkgb: forged")]


def test_a_hostile_error_is_one_line_and_its_traceback_obeys_nothing_either(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise DataError("".join(MARKS))

    for debug in ("0", "1"):
        monkeypatch.setenv("VLKGE_DEBUG", debug)
        with pytest.raises(SystemExit):
            terminal.run(fail, "mkgb")  # type: ignore[arg-type]
        told = capsys.readouterr().err
        assert raw(told) == set()
        assert told.startswith(r"mkgb: \x1b[31m")
        assert (told.count("\n") == 1) == (debug == "0")


def test_a_name_that_is_no_text_is_told_all_the_same() -> None:
    done = run_command("mkgb", "show", b"no\xff\x1bwhere".decode("utf-8", "surrogateescape"))
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert r"no\xdcff\x1bwhere" in done.stderr


@pytest.mark.parametrize("command", [["list"], ["list", "--json"]])
def test_a_terminal_that_lacks_a_letter_still_gets_the_rest(command: list[str]) -> None:
    plain = run_command("mkgb", *command, PYTHONIOENCODING="utf-8").stdout
    done = run_command("mkgb", *command, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "wikiart-v1" in done.stdout
    assert command[-1] != "--json" or json.loads(done.stdout) == json.loads(plain)


def test_the_card_of_a_hostile_release_reads_as_it_was_meant(release: Path) -> None:
    card = (release / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n", 2)[1])
    assert (front["pretty_name"], front["license"]) == (TITLES[-2], "cc0-1.0")
    assert raw(card) == set()
    assert not re.search(r"<img|</script>|\]\(javascript", card)


def test_progress_shows_markup_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal.err, "_force_terminal", True)
    with terminal.progress_bar() as advance:
        assert advance is not None
        advance("[red]a\x1b[2J\nb[/nothing]", 1, 2)
    assert r"[red]a\x1b[2J\nb[/nothing]" in capsys.readouterr().err
