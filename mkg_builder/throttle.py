"""Exact limits: how often and how many at once each host is asked, across threads and across runs."""

import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from mkg_builder.addresses import is_loopback
from mkg_builder.clock import Clock
from mkg_builder.durable import write_durably
from mkg_builder.errors import HostClosedError
from mkg_builder.recipe import Limit

UNKNOWN_HOST = Limit(per_second=1, parallel=1)
"""For a live host that no limit names."""

REMEMBERED = 1.5
"""Windows of more seconds than this outlive the process, since it may be started again within them."""

LINES_BEFORE_COMPACTION = 20_000


@dataclass
class _Turn:
    """One request: when it began, and when its answer had come; the host counted it somewhere in between."""

    began: float
    ended: float = math.inf


class _Gate:
    """The limits of one pattern.

    A turn counts from its end, not from its beginning: then no delay on the way can make the host see more
    requests within a window than the limit says.
    """

    def __init__(self, name: str, limit: Limit) -> None:
        self.name = name
        self.open = threading.BoundedSemaphore(limit.parallel)
        self.windows = [(calls, float(seconds)) for calls, seconds in limit.windows]
        if limit.per_second is not None:
            calls = max(1, int(limit.per_second))
            self.windows.append((calls, calls / limit.per_second))
        if limit.per_hour is not None:
            self.windows.append((limit.per_hour, 3600.0))
        self.turns: list[_Turn] = []

    @property
    def longest(self) -> float:
        return max((seconds for _, seconds in self.windows), default=0.0)

    def wait(self, now: float) -> float:
        """Seconds until another request may begin; a lower bound while others are on their way."""
        self.turns = [turn for turn in self.turns if turn.ended + self.longest > now]
        waits = [0.0]
        for calls, seconds in self.windows:
            free_at = sorted(min(turn.ended, now) + seconds for turn in self.turns if turn.ended + seconds > now)
            if len(free_at) >= calls:
                waits.append(free_at[len(free_at) - calls] - now)
        return max(waits)


class Throttle:
    """Lets requests through, each host's no faster than its limits.

    Args:
        limits: pattern -> limit. A pattern is matched with the host, or with host and path where it holds a slash
            (`www.example.org/api/*`, whatever the case); all that match hold together. A loopback host is limited
            only by a pattern that names it.
        clock: what waits are measured with.
        memory: a file that remembers the requests of long windows from run to run; none, where there is no folder.
    """

    def __init__(self, limits: Mapping[str, Limit], clock: Clock, memory: Path | None = None) -> None:
        self._clock = clock
        self._gates = {pattern: _Gate(pattern, limit) for pattern, limit in limits.items()}
        self._own: dict[str, _Gate] = {}
        self._paused: dict[str, float] = {}
        self._lock = threading.Lock()
        self._memory = _Memory(memory, clock) if memory is not None else None
        if self._memory is not None:
            self._memory.recall(self._gates)

    @contextmanager
    def turn(self, url: str) -> Iterator[None]:
        """Hold a place for one request; entered when the host may be asked.

        Raises:
            HostClosedError: the host asked us to stay away for longer than a run waits.
            UpstreamError: the run was stopped while it waited.
        """
        gates = self._gates_of(url)
        with ExitStack() as held:
            for gate in gates:  # always in the same order, so two requests never wait for each other
                held.enter_context(gate.open)
            turn = self._wait(urlsplit(url).netloc, gates)
            try:
                yield
            finally:
                turn.ended = self._clock.now()

    def pause(self, url: str, seconds: float) -> None:
        """Ask nothing of this host for so long, from no thread; `math.inf`: never again in this run."""
        host = urlsplit(url).netloc
        with self._lock:
            self._paused[host] = max(self._paused.get(host, 0.0), self._clock.now() + seconds)

    def slow_down(self, url: str, seconds: float) -> None:
        """Leave at least so many seconds between two requests to this host (its Crawl-delay)."""
        with self._lock:
            for gate in self._gates_of(url)[:1]:
                gate.windows.append((1, seconds))

    def _gates_of(self, url: str) -> list[_Gate]:
        parts = urlsplit(url)
        host, path = (parts.hostname or "").lower(), parts.path.lower()
        named = [gate for pattern, gate in self._gates.items() if _matches(pattern.lower(), host, path)]
        if is_loopback(url):
            return [gate for gate in named if is_loopback(f"http://{gate.name}")]
        if any("/" not in gate.name for gate in named):
            return sorted(named, key=lambda gate: "/" in gate.name)
        return [self._own.setdefault(host, _Gate(host, UNKNOWN_HOST)), *named]

    def _wait(self, host: str, gates: list[_Gate]) -> _Turn:
        while True:
            with self._lock:
                now = self._clock.now()
                pause = self._paused.get(host, now) - now
                if pause == math.inf:
                    raise HostClosedError(f"{host} asked us to stay away; run the same command again later")
                wait = max([pause, *(gate.wait(now) for gate in gates)])
                if wait <= 0:
                    self._clock.sleep(0)  # a stopped run asks nothing more
                    turn = _Turn(now)
                    for gate in gates:
                        gate.turns.append(turn)
                    if self._memory is not None:
                        self._memory.note(gates)
                    return turn
            self._clock.sleep(wait)


def _matches(pattern: str, host: str, path: str) -> bool:
    return fnmatchcase(host + path if "/" in pattern else host, pattern)


class _Memory:
    """A file of lines `<seconds since 1970> <pattern>`, appended before each request: it survives `kill -9`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock, self._lines = path, clock, 0
        self._gates: dict[str, _Gate] = {}

    def recall(self, gates: Mapping[str, _Gate]) -> None:
        """Count the requests of earlier runs that still lie in a window."""
        self._gates = {name: gate for name, gate in gates.items() if gate.longest > REMEMBERED}
        lines = self._path.read_text("ascii", "replace").splitlines() if self._path.is_file() else []
        now, wall = self._clock.now(), self._clock.wall()
        for line in lines:
            time, _, name = line.partition(" ")
            try:
                age = wall - float(time)
            except ValueError:  # a torn line
                continue
            if name in self._gates and age < self._gates[name].longest:
                ended = now - max(age, 0.0)  # a clock set back: as if asked just now, never in the future
                self._gates[name].turns.append(_Turn(ended, ended))
        self._lines = len(lines)

    def note(self, gates: list[_Gate]) -> None:
        """Remember one request, before it is sent."""
        names = [gate.name for gate in gates if gate.name in self._gates]
        if not names:
            return
        if self._lines > LINES_BEFORE_COMPACTION:
            self._compact()
            return
        text = "".join(f"{self._clock.wall():.3f} {name}\n" for name in names)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
        self._lines += len(names)

    def _compact(self) -> None:
        """Keep only the requests that still lie in a window."""
        now, wall = self._clock.now(), self._clock.wall()
        lines = [
            f"{wall - max(now - min(turn.ended, now), 0.0):.3f} {name}\n"
            for name, gate in self._gates.items() for turn in gate.turns
        ]  # fmt: skip
        write_durably(self._path, "".join(lines).encode())
        self._lines = len(lines)
