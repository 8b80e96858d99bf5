import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from mkg_builder import terminal
from mkg_builder.errors import DataError
from tests.conftest import ROOT, run_command
from tests.faultd import ok, serving, silence


@pytest.mark.parametrize(
    ("raw", "shown"),
    [("a\x1b[31mb", r"a\x1b[31mb"), ("\x1b]52;c;AAA\x07", r"\x1b]52;c;AAA\x07"), ("a\u202eb", r"a\x202eb"),
     ("two\nlines", r"two\nlines"), ("\x9b1m", r"\x9b1m"), ("ordinary é", "ordinary é"), ("a\rb", r"a\x0db")],
)  # fmt: skip
def test_control_characters_are_shown_not_obeyed(raw: str, shown: str) -> None:
    assert terminal.visible(raw) == shown


def test_an_error_is_one_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise DataError("x.parquet: broken\x1b[31m")

    with pytest.raises(SystemExit) as left:
        terminal.run(fail, "mkgb")  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert left.value.code == 4
    assert told.strip() == r"mkgb: x.parquet: broken\x1b[31m"


def test_an_interrupt_is_130_a_full_disk_5_and_a_full_memory_1() -> None:
    no_memory = RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory")
    full = OSError(28, "No space left on device", "file")
    for fault, code in ((KeyboardInterrupt(), 130), (full, 5), (MemoryError(), 1), (no_memory, 1)):

        def fail(fault: BaseException = fault) -> None:
            raise fault

        with pytest.raises(SystemExit) as left:
            terminal.run(fail, "mkgb")  # type: ignore[arg-type]
        assert left.value.code == code


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["build", "demmo"], 2, "did you mean 'demo'"),
        (["build", "demo", "--set", "cleaning.requir=1"], 2, "did you mean 'require'"),
        (["build", "wikiart-v1", "--endpoint", "wikiart=http://127.0.0.1:9"], 3, "connection refused"),
        (["build", "wikiart-v1", "--endpoint", "wikiart"], 2, "NAME=URL"),
        (["build", "wikiart-v1", "--endpoint", "wikiart=http://[foo"], 2, "write an http or https address"),
        (["build", "wikiart-v1"], 2, "--contact"),
        (["check", "."], 4, "mkgb build"),
        (["show", "nowhere"], 4, "is no release"),
        (["bild"], 2, "No such command"),
        (["build", "demo", "--limit", "0"], 2, "--limit"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], code: int, said: str, tmp_path) -> None:
    done = run_command("mkgb", *arguments, MKGB_WORKSPACE=str(tmp_path))
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert code == 2 or done.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_fetch_that_waits_for_answers(number: int, code: int, tmp_path) -> None:
    listing = json.dumps([{"url": f"painter-{n}", "artistName": "x", "contentId": n} for n in range(200)]).encode()
    with serving({"/en/App/Artist/AlphabetJson": ok(listing), "/en/App/Painting/PaintingsByArtist": silence()}) as (
        base, plan,
    ):  # fmt: skip
        command = [Path(sys.executable).with_name("mkgb"), "fetch", "wikiart-v1", "--endpoint", f"wikiart={base}"]
        process = subprocess.Popen([*command, "--workspace", tmp_path], stderr=subprocess.PIPE, text=True)
        while len(plan.asked) < 6 and process.poll() is None:
            time.sleep(0.05)
        start = time.monotonic()
        process.send_signal(number)
        _, told = process.communicate(timeout=10)
    assert time.monotonic() - start < 5
    assert (process.returncode, told) == (code, f"mkgb: {terminal.INTERRUPTED}\n")


def test_no_number_is_broken_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = Console(file=io.StringIO(), width=40)
    monkeypatch.setattr(terminal, "out", narrow)
    columns = ("a long name of a column", "queries", "MRR", "Hits@10")
    terminal.show_table("T", columns, [("belongsToGenre", 145045, 0.69, 0.973)])
    assert all(number in narrow.file.getvalue() for number in ("145,045", "0.690", "0.973"))


STUBBORN = """
import signal, sys, threading, time
from mkg_builder import terminal

def deaf():
    other = threading.Thread(target=threading.Event().wait, daemon=True)
    other.start()
    threading.Timer(0.2, signal.pthread_kill, (other.ident, signal.SIGTERM)).start()
    held = threading.Lock()
    held.acquire()
    held.acquire()  # a signal that another thread was given does not end this

def slow():
    try:
        print(flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)

terminal.run(globals()[sys.argv[1]], "mkgb")
"""


@pytest.mark.parametrize(("way", "signals"), [("deaf", 0), ("slow", 1), ("slow", 2)])
def test_no_wait_and_no_slow_unwinding_keeps_a_signal_from_ending_a_program(way: str, signals: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", STUBBORN, way], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    try:
        assert way == "deaf" or process.stdout.readline()
        start = time.monotonic()
        for _ in range(signals):
            process.terminate()
            time.sleep(0.2)
        _, told = process.communicate(timeout=20)
        assert time.monotonic() - start < (5 if signals == 1 else 4)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, told) == (143, f"mkgb: {terminal.INTERRUPTED}\n")


def test_debug_shows_the_traceback(tmp_path) -> None:
    assert "Traceback" in run_command("mkgb", "show", "nowhere", "--debug").stderr


def test_json_is_json_and_nothing_else(tmp_path) -> None:
    listed = json.loads(run_command("mkgb", "list", "--json").stdout)
    assert {"demo", "wikiart-v1"} <= {recipe["name"] for recipe in listed}
    built = run_command("mkgb", "build", "demo", "--limit", "60", "--json", "--workspace", tmp_path)
    facts = json.loads(built.stdout)
    assert facts["entities"]["artwork"] == 60
    shown = json.loads(run_command("mkgb", "show", facts["release"], "--json").stdout)
    assert shown["content_sha256"] == facts["content_sha256"]
    findings = json.loads(run_command("mkgb", "check", facts["release"], "--json").stdout)
    assert {finding["level"] for finding in findings} == {"warning"}  # 60 artworks are fewer than the recipe expects


def test_a_picture_is_written_out_with_what_is_known_of_it(demo_release, tmp_path) -> None:
    out = tmp_path / "painting.png"
    told = json.loads(run_command("mkgb", "picture", demo_release, "--out", out, "--json").stdout)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert told["split"] == "test"
    assert any(fact.startswith("isCreatedByArtist artist:") for fact in told["facts"])
    unknown = run_command("mkgb", "picture", demo_release, "artwork:claude-monet/nothing")
    assert (unknown.returncode, "did you mean 'artwork:claude-monet/" in unknown.stderr) == (2, True)


def test_progress_shows_rate_time_left_and_what_was_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200)
    monkeypatch.setattr(terminal, "err", console)
    with terminal.progress_bar() as advance:
        assert advance is not None
        for done in range(0, 40, 10):
            advance("site", done, 40, done // 10)
            time.sleep(0.06)
    line = Text.from_ansi(shown.getvalue()).plain.splitlines()[-1]
    assert re.search(r"site .* 30/40 [\d,.]+/s 0:00:00 left 0:00:0\d 3 skipped", line), line


@pytest.mark.parametrize(("speed", "shown"), [(4.0, "4.0/s"), (0.5, "30.0/min"), (0.001, "3.6/h"), (None, "")])
def test_a_rate_is_told_in_a_unit_of_which_there_is_one(speed: float | None, shown: str) -> None:
    assert terminal.rate(speed) == shown
