"""What the logs of a simulated crawl prove: that no limit was exceeded, and that nothing was asked twice."""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mkg_builder.recipe import Limit

EXACT = 1e-5
"""Seconds by which two times of the log may be off: it has six digits."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the site saw it, in virtual seconds."""

    run: int
    sent: float
    arrived: float
    back: float
    host: str
    outcome: str
    path: str

    @property
    def key(self) -> str:
        """The name of its answer in the snapshot."""
        return f"{'wikiart' if self.host == 'www.wikiart.org' else 'images'}:{self.path}"

    @property
    def wait(self) -> float:
        """Seconds that its answer asked to wait."""
        return float(self.outcome.partition("=")[2] or 0)


def read_log(path: Path, run: int) -> list[Asked]:
    """The requests of one run; a line torn by a kill is not there."""
    rows = [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []
    return [Asked(run, float(a), float(b), float(c), *rest) for a, b, c, *rest in rows if len(rest) == 3]


def matching(asked: Iterable[Asked], pattern: str) -> list[Asked]:
    """The requests that a pattern of the recipe's limits names."""
    pattern = pattern.lower()
    return [one for one in asked if fnmatchcase((one.host + one.path if "/" in pattern else one.host).lower(), pattern)]


def worst_windows(asked: Sequence[Asked], limits: Mapping[str, Limit]) -> list[tuple[str, float, int, int]]:
    """Pattern, seconds, allowed, most that arrived within any window of so many seconds; `parallel` has 0 seconds."""
    rows = []
    for pattern, limit in limits.items():
        named = matching(asked, pattern)
        times = sorted(one.arrived for one in named)
        for calls, seconds in windows(limit):
            most = max((i + 1 - bisect_left(times, at - seconds + EXACT) for i, at in enumerate(times)), default=0)
            rows.append((pattern, seconds, calls, most))
        rows.append((pattern, 0.0, limit.parallel, most_at_once(named)))
    return rows


def windows(limit: Limit) -> list[tuple[int, float]]:
    """Every window that a limit means."""
    short = [(max(1, int(limit.per_second)), max(1.0, 1 / limit.per_second))] if limit.per_second else []
    return [*short, *([(limit.per_hour, 3600.0)] if limit.per_hour else []), *limit.windows]


def most_at_once(asked: Sequence[Asked]) -> int:
    """How many requests of one run were under way at one moment, at most."""
    changes = [(one.run, at, step) for one in asked for at, step in ((one.sent, 1), (one.back - EXACT, -1))]
    most = now = 0
    last = -1
    for run, _, step in sorted(changes):
        now = step if run != last else now + step
        last, most = run, max(most, now)
    return most


def asked_too_soon(asked: Sequence[Asked]) -> int:
    """Requests sent while the host had asked to wait, in this run or an earlier one."""
    until: dict[str, float] = {}
    found = 0
    ends: dict[int, float] = {}
    for one in asked:
        ends[one.run] = max(ends.get(one.run, 0.0), one.sent)
    told = [one for one in asked if one.wait and one.back < ends[one.run]]  # else the kill came before the answer
    events = [(one.sent, 1, one) for one in asked] + [(one.back + EXACT, 0, one) for one in told]
    for at, kind, one in sorted(events, key=lambda event: event[:2]):
        if kind == 0:
            until[one.host] = max(until.get(one.host, 0.0), at + one.wait - 2 * EXACT)
        elif at < until.get(one.host, 0.0):
            found += 1
    return found


@dataclass(frozen=True)
class Repeats:
    """What was asked more often than needed.

    Attributes:
        committed: asked although an earlier run, or this one, had kept the answer.
        in_flight: asked again because a kill came between the answer and its place in the journal.
        most_in_flight: the most of these that one kill caused.
    """

    committed: int
    in_flight: int
    most_in_flight: int


def repeats(asked: Sequence[Asked], journal: Path, ends: Sequence[int]) -> Repeats:
    """Compare what was asked with what the journal held then.

    Args:
        asked: the requests, in their order.
        journal: the finished journal.
        ends: how many bytes it had at the end of each run.
    """
    kept: dict[str, int] = {}
    place = run = 0
    for line in journal.read_bytes().splitlines(keepends=True):
        place += len(line)
        while run < len(ends) and place > ends[run]:
            run += 1
        kept.setdefault(json.loads(line)["key"], run)
    answered: dict[str, int] = {}
    committed, in_flight = 0, set[tuple[int, str]]()  # a repeat that fails is asked once more, and is one repeat
    for one in asked:
        if one.path == "/robots.txt":
            continue
        before = answered.get(one.key)
        committed += kept.get(one.key, one.run) < one.run or before == one.run
        if before is not None and before < one.run:
            in_flight.add((before, one.key))
        if one.outcome == "answered":
            answered[one.key] = one.run
    most = max(Counter(run for run, _ in in_flight).values(), default=0)
    return Repeats(committed, len(in_flight), most)
