"""Work deep inside tells whoever watches, and nobody else."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from mkg_builder import terminal
from mkg_builder.progress import watched, watching


def test_who_watches_is_told_of_every_step() -> None:
    told: list[tuple[str, int, int | None]] = []
    with watching(lambda stage, done, total, skipped=0: told.append((stage, done, total))):
        assert list(watched("steps", "ab")) == ["a", "b"]
    assert told == [("steps", 0, 2), ("steps", 1, 2), ("steps", 2, 2)]
    assert list(watched("steps", "ab")) == ["a", "b"]
    assert len(told) == 3


def test_a_watcher_within_another_is_told_alone_and_gone_after_a_fault() -> None:
    outer: list[str] = []
    inner: list[str] = []
    with watching(lambda stage, *_: outer.append(stage)):
        with pytest.raises(ZeroDivisionError), watching(lambda stage, *_: inner.append(stage)):
            assert [1 // (1 - one) for one in watched("deep", range(2))]
        assert list(watched("shallow", [])) == []
    assert (inner, outer) == (["deep", "deep"], ["shallow"])


def test_what_is_done_again_counts_from_nothing_in_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=shown, force_terminal=True, width=120))
    with terminal.progress_bar():
        assert list(watched("ranking", range(3))) == [0, 1, 2]
        again = watched("ranking", range(40))
        assert [next(again), next(again)] == [0, 1]
    line = Text.from_ansi(shown.getvalue()).plain.splitlines()[-1]
    assert "ranking" in line
    assert "1/40" in line


def test_nothing_is_watched_where_it_is_quiet() -> None:
    with terminal.progress_bar(quiet=True) as advance:
        assert advance is None
        assert list(watched("ranking", range(3))) == [0, 1, 2]
