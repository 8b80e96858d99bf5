"""What both commands share at the terminal: tables, progress, and errors as one line with an exit code."""

import errno
import io
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from mkg_builder import __version__
from mkg_builder.errors import MkgError, StorageError
from mkg_builder.progress import Advance, watching
from mkg_builder.redaction import redact

PIPED_WIDTH = 120
RATE_OVER = 3600.0
"""Seconds that rate and remaining time are reckoned from: one step of a polite crawl may take half an hour."""
UNWINDING = 4.0
"""Seconds that a stopped program may take to leave its folders in order."""
AT_ONCE = 0.3
"""Seconds in which a main thread that is not waiting has seen a signal."""
_NOTHING = object()
_NO_MEMORY = re.compile("can't allocate memory|out of memory", re.IGNORECASE)
INTERRUPTED = "interrupted; what is done is kept, the same command goes on from there"
_interrupted = [INTERRUPTED]


def _console(stream: Literal["stdout", "stderr"]) -> Console:
    """A console as wide as its terminal; when piped, wide enough for our tables."""
    fixed = not getattr(sys, stream).isatty() and "COLUMNS" not in os.environ
    return Console(stderr=stream == "stderr", width=PIPED_WIDTH if fixed else None)


out, err = _console("stdout"), _console("stderr")


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, bidirectional ones, ends of lines, and surrogates, which no terminal can be sent."""


def visible(text: object) -> str:
    r"""Text from outside as one safe line: control and bidirectional characters in `\x1b` form."""
    flat = redact(str(text)).replace("\n", "\\n")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", flat)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on standard output; numbers to the right, floats with three digits."""
    table = Table(title=Text(visible(title)), title_justify="left", title_style="bold", header_style="bold")
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        longest = max((len(_cell(row[i])) for row in rows), default=0) if numeric else None  # a number is never broken
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", min_width=longest)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    out.print(table)


def _cell(value: object) -> Text:
    if value is None:
        return Text("–")
    if isinstance(value, float):
        return Text(f"{value:.3f}")
    return Text(f"{value:,}" if isinstance(value, int) else visible(value))


def say(line: str) -> None:
    """One plain line on standard output."""
    out.print(Text(visible(line)), soft_wrap=True)


def note(line: str) -> None:
    """One line on standard error: progress in words, warnings."""
    err.print(Text(visible(line)), soft_wrap=True, style="dim")


def show_json(value: Any) -> None:
    """Machine-readable output: one JSON document on standard output."""
    sys.stdout.write(_json(value) + "\n")
    sys.stdout.flush()  # whoever reads it may wait for it while the command goes on


def stream_json(about: dict[str, Any], name: str, rows: Iterable[Any]) -> None:
    """One JSON document of which `name` is the last entry, a list that is written a row at a time as they come.

    Nothing is written before the first row is there.
    """
    coming = iter(rows)
    first = next(coming, _NOTHING)
    sys.stdout.write(f"{_json(about)[:-2]},\n  {json.dumps(name)}: [")
    for place, row in enumerate(() if first is _NOTHING else chain([first], coming)):
        sys.stdout.write(f"{',' if place else ''}\n{_json(row)}")
    sys.stdout.write("]\n}\n")


def _json(value: Any) -> str:
    plain = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=plain)
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def rate(speed: float | None) -> str:
    """So many a second; a minute or an hour where that is less than one; nothing while it is not known."""
    if not speed:
        return ""
    unit, factor = next((u, f) for u, f in (("s", 1), ("min", 60), ("h", 3600)) if speed * f >= 1 or u == "h")
    return f"{speed * factor:,.1f}/{unit}"


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Advance | None]:
    """Bars with remaining time and rate on standard error; none when quiet, nothing shown where no terminal is.

    What is `watched` meanwhile has one too.
    """
    if quiet:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        TextColumn("{task.fields[skipped]}"),
    )  # fmt: skip
    settings: dict[str, Any] = {"console": err, "disable": not err.is_terminal, "speed_estimate_period": RATE_OVER}
    with Progress(*columns, **settings) as progress:
        tasks: dict[str, Any] = {}
        adding = threading.Lock()

        def advance(stage: str, done: int, total: int | None, skipped: int = 0) -> None:
            with adding:  # told by many threads
                if stage not in tasks:
                    tasks[stage] = progress.add_task(visible(stage), total=total, rate="", skipped="")
                elif not done and progress.tasks[tasks[stage]].finished:
                    progress.reset(tasks[stage])  # the same once more
            speed = progress.tasks[tasks[stage]].speed
            said = f"{skipped:,} skipped" if skipped else ""
            progress.update(tasks[stage], completed=done, total=total, rate=rate(speed), skipped=said)

        with watching(advance):
            yield advance


def make_app(program: str, purpose: str, epilog: str) -> typer.Typer:
    """An empty command line with `--version`, `--debug`, and completion for the shell."""
    app = typer.Typer(help=purpose, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

    @app.callback(invoke_without_command=True, help=purpose, epilog=epilog)
    def root(  # `run` takes --debug before this sees it; it is declared here to be found in --help
        version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
        _debug: Annotated[
            bool, typer.Option("--debug", help="Show an error's traceback (anywhere on the line).")
        ] = False,
    ) -> None:
        if version:
            say(f"{program} {__version__}")
            raise typer.Exit

    return app


def run(app: typer.Typer, program: str) -> None:
    """Run a command line; an error becomes one line on standard error and its exit code.

    `--debug` anywhere on the command line, or VLKGE_DEBUG=1, shows the traceback instead.
    """
    debug = "--debug" in sys.argv or os.environ.get("VLKGE_DEBUG") == "1"
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that lacks a letter still gets the rest
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _stopping_on_signals(program):
            app()
    except MkgError as error:
        _fail(program, str(error), error.exit_code, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has had enough
        sys.exit(141)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(program, f"{where}{error.strerror or error}{_remedy(error)}", StorageError.exit_code, debug)
    except (MemoryError, RuntimeError) as error:  # an allocator says so in either way
        if not isinstance(error, MemoryError) and not _NO_MEMORY.search(str(error)):
            raise
        said = str(error).splitlines()[0] if str(error) else "no more can be had"
        _fail(program, f"not enough memory ({said}); ask for less at a time", MkgError.exit_code, debug)
    except KeyboardInterrupt:
        _fail(program, INTERRUPTED, 130, debug)
    except _StoppedError as stopped:
        os._exit(stopped.code)  # no thread is waited for: what is on the disk is whole at any moment


@contextmanager
def if_interrupted(line: str) -> Iterator[None]:
    """While the block runs, this is what an interruption is told by."""
    _interrupted.append(line)
    try:
        yield
    finally:
        _interrupted.pop()


class _StoppedError(BaseException):
    """A signal asks the program to end; not a KeyboardInterrupt, which the command line parser would take."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def _stopping_on_signals(program: str) -> Iterator[None]:
    """SIGINT and SIGTERM unwind the program; when that takes long, or at the second signal, it ends at once.

    Python's handlers run in the main thread, which may have begun to wait for an answer in the instant before and would
    see the signal only then; so a thread is told too, by the signal itself, and wakes it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    seen = threading.Event()

    def stop(number: int, _frame: object) -> None:
        seen.set()
        for again in before:
            signal.signal(again, lambda *_: os._exit(128 + number))
        # not through a console that may be in the middle of a line
        os.write(2, f"{program}: {_interrupted[-1]}\n".encode())
        raise _StoppedError(128 + number)

    main = threading.get_ident()
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    watcher = threading.Thread(target=_watch, args=(told, main, stop, seen), daemon=True)
    watcher.start()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    woken = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is stop:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken)
            os.close(tell)
            watcher.join()
            os.close(told)


def _watch(told: int, main: int, stop: object, seen: threading.Event) -> None:
    """Wake the main thread for a signal that it has not seen, and end the program when it takes long to unwind."""
    while number := int.from_bytes(os.read(told, 1)):
        if signal.getsignal(number) is stop and not seen.wait(AT_ONCE):
            signal.pthread_kill(main, number)
        elif not seen.is_set():
            continue  # who took our place answers for it
        time.sleep(UNWINDING)
        os._exit(128 + number)


def _remedy(fault: OSError) -> str:
    """What to do about a disk that is full or is not ours; nothing where we do not know."""
    if fault.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "; give a folder that may be written to"
    if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    folders = Path(os.fsdecode(fault.filename)).parents if fault.filename else ()
    there = next((folder for folder in folders if folder.is_dir()), None)
    free = f"; {shutil.disk_usage(there).free:,} bytes are free there" if there else ""
    return f"{free}; make room, the same command goes on from there"


def _fail(program: str, line: str, code: int, debug: bool) -> None:
    err.print(Text(f"{program}: {visible(line)}"), soft_wrap=True, style="red")
    if debug:
        err.file.writelines(visible(told) + "\n" for told in traceback.format_exc().splitlines())
    sys.exit(code)
