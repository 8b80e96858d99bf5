"""Disks that refuse, each a file system of its own: too small, full on the way, out of places, read-only, not ours."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tiny_recipe
from tests.conftest import ROOT
from tests.faultd import ok, serving
from tests.tiny_recipe import write_recipe

ALONE = ["unshare", "--map-root-user", "--mount"]
HELPER = """
import json, os, subprocess, sys
import pandas, yaml
import mkg_builder.build, mkg_builder.images, mkg_builder.checks
from mkg_builder import cli, summary
for line in sys.stdin:
    first, *rest = json.loads(line)
    if first != "mkgb":
        print(json.dumps(subprocess.run([first, *rest]).returncode), flush=True)
        continue
    child = os.fork()
    if not child:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.argv = [first, *rest]
        try:
            cli.main()
        except SystemExit as left:
            os._exit(left.code or 0)
        os._exit(0)
    print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), flush=True)
"""

pytestmark = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0,
    reason="this system lets no user mount a file system of his own",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose source goes on where it was, with pictures of 300 kB, and an empty folder to mount disks on."""
    folder = tmp_path_factory.mktemp("disks")
    code = Path(str(tiny_recipe.__file__)).read_text()
    code = code.replace('range(0 if context.has("works:0") else 60)', "WANTED(context)").replace(
        "body = jpeg(number)", "body = jpeg(number) + bytes(300_000)")  # fmt: skip
    wanted = 'lambda context: [n for n in range(60) if not context.has(f"works:{n}")]'
    (folder / "large.py").write_text(f"{code}\n\nWANTED = {wanted}\n")
    write_recipe(folder, sources={"works": {"use": "large.py:Works"}})
    (folder / "disk").mkdir()
    return folder


@pytest.fixture(scope="module")
def do(folder: Path) -> Iterator[Callable[..., int]]:
    """Run a command where disks may be mounted; its exit code. `mkgb` costs no start of Python."""
    process = subprocess.Popen([*ALONE, sys.executable, "-c", HELPER], cwd=folder, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    def run(*command: str) -> int:
        process.stdin.write(json.dumps(command) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    with process:
        yield run
        process.stdin.close()


@pytest.fixture
def disk(do: Callable[..., int]) -> Iterator[Callable[[str], None]]:
    """Mount a disk in memory with these options on `disk`, for one test."""
    yield lambda options: do("mount", "-t", "tmpfs", "-o", options, "none", "disk")
    do("umount", "disk")


def told(folder: Path) -> str:
    """What the last command said, which is one line."""
    (line,) = (folder / "err").read_text().splitlines()
    return line


BUILD = ("mkgb", "build", "tiny.yaml", "--json", "--workspace")


@pytest.mark.parametrize(
    ("options", "said"),
    [("size=20k", "bytes are free on this disk, 16,777,216 is the least to work with"),
     ("nr_inodes=5", "this disk can hold no more files"),
     ("ro", "disk/w: Read-only file system; give a folder that may be written to")],
)  # fmt: skip
def test_a_disk_that_cannot_hold_a_build_is_refused_before_anything_is_asked(
    do: Callable[..., int], disk: Callable[[str], None], folder: Path, options: str, said: str
) -> None:
    disk(options)
    with serving({"/en/App/Artist/AlphabetJson": ok(b"[]")}) as (base, plan):
        code = do("mkgb", "fetch", "wikiart-v1", "--endpoint", f"wikiart={base}", "--workspace", "disk/w")
    assert (code, plan.asked) == (5, [])
    assert said in told(folder)


def test_a_folder_of_somebody_else_is_refused_and_left_as_it_is(do: Callable[..., int], folder: Path) -> None:
    foreign = folder / "foreign"
    foreign.mkdir(mode=0o755)
    if os.geteuid() == 0:
        os.chown(foreign, 12_345, 12_345)  # who is nobody where the command runs
    else:
        foreign.chmod(0o555)
    assert do(*BUILD, "foreign/w") == 5
    assert told(folder) == "mkgb: foreign/w: Permission denied; give a folder that may be written to"
    assert list(foreign.iterdir()) == []


@pytest.mark.parametrize(("full", "wide"), [("size=17m", "size=64m"), ("nr_inodes=40", "nr_inodes=0")])
def test_a_disk_that_fills_on_the_way_is_told_and_with_more_room_the_same_command_ends_as_an_undisturbed_one(
    do: Callable[..., int], disk: Callable[[str], None], folder: Path, full: str, wide: str
) -> None:
    if not (folder / "whole").exists():
        assert do(*BUILD, "whole") == 0
        (folder / "out").rename(folder / "expected")
    disk(full)
    assert do(*BUILD, "disk/w") == 5
    said = r"mkgb: disk/w/.*: No space left on device; [\d,]+ bytes are free there; make room, the same command goes on"
    assert re.match(said, told(folder))
    do("mount", "-o", f"remount,{wide}", "disk")
    assert do(*BUILD, "disk/w") == 0
    expected = json.loads((folder / "expected").read_text())["content_sha256"]
    again = json.loads((folder / "out").read_text())
    assert (again["content_sha256"], 0 < again["fetched"] < 60) == (expected, True)
