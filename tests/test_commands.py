"""Every command of both programs: an example in --help, one JSON document, silence when asked, no colour in a pipe."""

import io
import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from mkg_builder import cli as mkgb
from tests.conftest import ROOT, run_command
from tests.local_hub import Hub
from tests.test_adapt import ART, PROMPTS, write_release
from tests.test_encoders import tiny_clip  # noqa: F401 - a fixture
from tests.test_vlkge_cli import FAST, RUN, Done, told
from tests.tiny_release import picture_bytes
from vlkge import cli as vlkge

PROGRAMS = {"mkgb": mkgb, "vlkge": vlkge}
COMMANDS = [
    (program, name, command)
    for program, cli in PROGRAMS.items()
    for name, command in typer.main.get_command(cli.app).commands.items()  # type: ignore[attr-defined]
]
OF_EACH = pytest.mark.parametrize(
    ("program", "name", "command"), COMMANDS, ids=lambda part: getattr(part, "name", part)
)

NEW = "artwork:new"
WALK = {
    "mkgb list": "",
    "mkgb fetch": "demo --limit 20",
    "mkgb build": "demo --limit 20 --offline",
    "mkgb check": "DEMO",
    "mkgb show": "DEMO",
    "mkgb picture": "DEMO",
    "mkgb diff": "DEMO DEMO",
    "mkgb report": "DEMO --out page.html",
    "mkgb publish": "DEMO --repo org/demo",
    "vlkge encode": "release --out features/release",
    "vlkge train": "--dataset release --features features/release --dim 8 --epochs 2 --out runs/walk --overwrite",
    "vlkge resume": f"{RUN} --epochs 4",
    "vlkge evaluate": f"{RUN} --by-modality",
    "vlkge compare": f"{RUN} {RUN}",
    "vlkge predict": f"{RUN} --image pictures --relation by --explain",
    "vlkge export": f"{RUN} --out export --overwrite",
    "vlkge zero-shot": "release --features features/release",
    "vlkge probe": "release --features features/release --of by --protocol reference",
    "vlkge retrieve": "release --features features/release --attribute by --top 3",
    "vlkge add": f"{RUN} newer --features features/newer --out grown --overwrite",
    "vlkge query": f"{RUN} --benchmark --per-shape 2 --shape 1p",
    "vlkge classify": RUN,
    "vlkge adapt": "release --encoder CLIP --epochs 1 --batch-size 8 --out OUT",
    "vlkge report": f"{RUN} --out run.html",
}
"""What each command is called with below; `mkgb explore` serves until it is stopped, and has a test of its own."""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a release, a newer one, features, a run and two pictures, of which one is broken."""
    place = tmp_path_factory.mktemp("room")
    texts = {art: f"Work of painter {i % 3}" for i, art in enumerate([*ART, NEW])}
    write_release(place / "release", PROMPTS, ART, texts)
    write_release(place / "newer", PROMPTS, ART, texts, [(NEW, "by", "artist:painter-0")])
    for release in ("release", "newer"):
        told("encode", release, "--out", f"features/{release}", cwd=place)
    told("train", "--dataset", "release", "--features", "features/release", *FAST[:-1], cwd=place)
    (place / "pictures").mkdir()
    (place / "pictures" / "whole.png").write_bytes(picture_bytes(3))
    (place / "pictures" / "broken.png").write_bytes(picture_bytes(3)[:-30])
    return place


@pytest.fixture
def call(room: Path, demo_release: Path, tiny_clip: Path, hub: Hub, tmp_path: Path) -> Callable[..., Done]:  # noqa: F811
    """Calls a command of the walk in this process."""
    outs = iter("ab")

    def run(program: str, name: str, *more: str) -> Done:
        places = {"DEMO": demo_release, "CLIP": f"open_clip:local-dir:{tiny_clip}", "OUT": tmp_path / next(outs)}
        arguments = [str(places.get(word, word)) for word in WALK[f"{program} {name}"].split()]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(room)
            patch.setattr(sys, "argv", [program, name, *arguments, *more])
            with pytest.raises(SystemExit) as left:
                PROGRAMS[program].main()
                sys.exit(0)
        return Done(int(left.value.code or 0), out.getvalue(), err.getvalue())

    return run


def test_the_walk_leaves_no_command_out() -> None:
    assert {f"{program} {name}" for program, name, _ in COMMANDS} - {"mkgb explore"} == set(WALK)
    assert '"--json"' in (ROOT / "tests" / "test_explore.py").read_text()


@OF_EACH
def test_the_example_in_the_help_of_a_command_is_one(program: str, name: str, command: click.Command) -> None:
    assert (command.epilog or "").startswith(f"Example: {program} {name}")
    words = shlex.split((command.epilog or "").removeprefix("Example: "))
    with command.make_context(name, words[2:]) as context:
        assert context.args == []


@pytest.mark.parametrize(("program", "example"), [("mkgb", "mkgb build demo"), ("vlkge", "vlkge encode workspace/")])
def test_the_help_of_a_program_has_an_example(program: str, example: str) -> None:
    assert f"Example: {example}" in run_command(program, "--help").stdout


@OF_EACH
def test_every_command_gives_json_and_is_quiet_where_it_says_more(
    program: str, name: str, command: click.Command
) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    assert "--quiet" in options or name in ("list", "show", "picture")  # which say nothing but their answer


@pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's upload
@pytest.mark.parametrize("line", WALK)
def test_every_command_is_plain_in_a_pipe_and_says_nothing_but_json_when_asked(
    line: str, call: Callable[..., Done]
) -> None:
    program, name = line.split()
    done = call(program, name)
    assert (done.returncode, "\x1b" in done.stdout + done.stderr) == (0, False), done.stderr
    assert done.stdout.strip()
    quiet = ["--quiet"] if name not in ("list", "show", "picture") else []
    asked = call(program, name, "--json", *quiet)
    assert (asked.returncode, asked.stderr) == (0, "")
    json.loads(asked.stdout)


def at_a_terminal(*words: object, **environment: str) -> str:
    """What a command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).with_name(str(words[0]))), *map(str, words[1:])]
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    env = plain | {"TERM": "xterm-256color", "COLUMNS": "150"} | environment
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    told = b""
    try:
        while part := os.read(ours, 65536):
            told += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    process.wait(60)
    return told.decode()


@pytest.mark.parametrize("program", PROGRAMS)
def test_errors_are_red_at_a_terminal_and_plain_in_a_pipe(program: str) -> None:
    words = {"mkgb": ("show", "nowhere"), "vlkge": ("evaluate", "nowhere")}[program]
    assert "\x1b[31m" in at_a_terminal(program, *words)
    assert "\x1b[31m" not in at_a_terminal(program, *words, NO_COLOR="1")
    assert "\x1b" not in run_command(program, *words).stderr


def test_a_long_check_shows_how_far_it_is_unless_quiet(demo_release: Path) -> None:
    shown = at_a_terminal("mkgb", "check", demo_release)
    for stage, total in (("files", 12), ("searches for leaks", 12)):
        assert f"{stage} " in shown
        assert f"{total}/{total}" in shown
    assert "left" in shown
    assert "searches for leaks" not in at_a_terminal("mkgb", "check", demo_release, "--quiet")


COMPLETIONS = [
    ("mkgb", "bu", "build"), ("mkgb", "build wikiart-v", "wikiart-v1 wikiart-v2 wikiart-v2-museum"),
    ("mkgb", "check --q", "--quiet"),
    ("vlkge", "zero", "zero-shot"), ("vlkge", "train --experiment wn9-img-complex-m", "wn9-img-complex-minilm"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "typed", "offered"), COMPLETIONS)
def test_the_shell_completes_commands_options_recipes_and_experiments(program: str, typed: str, offered: str) -> None:
    line = f"{program} {typed}"
    asked: dict[str, Any] = {
        f"_{program.upper()}_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1),
    }  # fmt: skip
    assert run_command(program, **asked).stdout.split() == offered.split()


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("shell", "said"), [("bash", "complete -o default"), ("zsh", "#compdef"), ("fish", "complete --command")]
)
def test_the_program_writes_the_completion_of_a_shell(program: str, shell: str, said: str) -> None:
    # without a shell above the tests, or with another, typer would not find the one that is meant
    script = run_command(program, "--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert script.returncode == 0
    assert f"_{program.upper()}_COMPLETE" in script.stdout
    assert said in script.stdout
