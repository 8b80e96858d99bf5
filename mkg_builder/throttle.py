"""Exact limits: how often and how many at once each host is asked, across threads and across runs."""

import heapq
import math
import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
"""Windows of more seconds than this outlive the process; a run after another waits for the others to pass."""

MAX_WAIT = 600.0
"""Seconds that a host may ask us to wait within one run; longer waits end the run, to be resumed."""

LONGEST_PAUSE = 86_400.0
"""Seconds for which a host is left alone at most, whatever it says."""

LINES_BEFORE_COMPACTION = 20_000

_LINE = re.compile(r"(?P<sign>[+=!-]) (?P<time>\d+\.\d{3}) (?P<name>\S+)(?: (?P<seconds>\d+\.\d{3}))?")


class _Window:
    """At most so many calls in any so many seconds.

    A call counts from its beginning until so many seconds after its end: then no delay on the way can make the
    host see more calls within a window than the limit says.
    """

    def __init__(self, calls: int, seconds: float) -> None:
        self.calls, self.seconds = calls, seconds
        self.under_way = 0
        self.ended: list[float] = []  # a heap

    def wait(self, now: float) -> float:
        """Seconds until another call may begin; a lower bound while others are under way."""
        while self.ended and self.ended[0] + self.seconds <= now:
            heapq.heappop(self.ended)
        excess = self.under_way + len(self.ended) - self.calls + 1
        if excess <= 0:
            return 0.0
        if excess > len(self.ended):
            return self.seconds
        return heapq.nsmallest(excess, self.ended)[-1] + self.seconds - now

    def end(self, now: float) -> None:
        """A call that was under way has ended."""
        self.under_way -= 1
        heapq.heappush(self.ended, now)


class _Gate:
    """The limits of one pattern."""

    def __init__(self, name: str, limit: Limit) -> None:
        self.name = name
        self.open = threading.BoundedSemaphore(limit.parallel)
        self.windows = [_Window(calls, seconds) for calls, seconds in limit.windows]
        if limit.per_second is not None:
            calls = max(1, int(limit.per_second))
            self.windows.append(_Window(calls, calls / limit.per_second))
        if limit.per_hour is not None:
            self.windows.append(_Window(limit.per_hour, 3600.0))

    @property
    def longest(self) -> _Window | None:
        return max(self.windows, key=lambda window: window.seconds, default=None)

    def wait(self, now: float) -> float:
        return max((window.wait(now) for window in self.windows), default=0.0)


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
        self._delays: dict[str, float] = {}
        self._lock = threading.Lock()
        self._memory = _Memory(memory, clock) if memory is not None else None
        self._opening = -math.inf
        if self._memory is not None and self._memory.recall(self._gates):
            self._opening = clock.now() + REMEMBERED
            self._paused = self._memory.pauses()

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
            host = urlsplit(url).netloc.lower()
            begun = self._wait(host, gates)
            try:
                yield
            finally:
                with self._lock:
                    for window in begun:
                        window.end(self._clock.now())
                    self._note("-", host, gates)

    def pause(self, url: str, seconds: float) -> None:
        """Ask nothing of this host for so long, from no thread and, where there is a memory, from no later run.

        The hosts that one limit is for are one service, and are left alone together.
        """
        seconds = min(seconds, LONGEST_PAUSE)
        with self._lock:
            now = self._clock.now()
            for name in _services(urlsplit(url).netloc.lower(), self._gates_of(url)):
                if now + seconds <= self._paused.get(name, now):  # it asked for longer before
                    continue
                self._paused[name] = now + seconds
                if self._memory is not None:
                    self._memory.note_pause(name, seconds)

    def slow_down(self, url: str, seconds: float) -> None:
        """Leave at least so many seconds between two requests to this host (its Crawl-delay), from run to run.

        The first of them was the one for its robots.txt, just now.

        Raises:
            HostClosedError: longer than a run waits.
        """
        with self._lock:
            for gate in self._gates_of(url)[:1]:
                if seconds > MAX_WAIT:
                    asks = f"asks for {seconds:,g} s between two requests (Crawl-delay)"
                    raise HostClosedError(f"{urlsplit(url).netloc} {asks}, and a run waits {MAX_WAIT:,.0f} at most")
                window = _Window(1, seconds)
                window.ended.append(self._clock.now())
                gate.windows.append(window)
                self._delays[urlsplit(url).netloc.lower()] = seconds

    def _gates_of(self, url: str) -> list[_Gate]:
        parts = urlsplit(url)
        host, path = (parts.hostname or "").lower(), parts.path.lower()
        named = [gate for pattern, gate in self._gates.items() if _matches(pattern.lower(), host, path)]
        if is_loopback(url):
            return [gate for gate in named if is_loopback(f"http://{gate.name}")]
        if any("/" not in gate.name for gate in named):
            return sorted(named, key=lambda gate: "/" in gate.name)
        return [self._own.setdefault(host, _Gate(host, UNKNOWN_HOST)), *named]

    def _wait(self, host: str, gates: list[_Gate]) -> list[_Window]:
        while True:
            with self._lock:
                now = self._clock.now()
                paused = max(self._paused.get(name, now) for name in _services(host, gates))
                pause = max(paused, self._opening if gates else now) - now
                if round(pause, 3) > MAX_WAIT:
                    left = f"asked us to stay away for {pause:,.0f} s more"
                    raise HostClosedError(f"{host} {left}; run the same command again after that")
                wait = max([pause, *(gate.wait(now) for gate in gates)])
                if wait <= 0:
                    self._clock.sleep(0)  # a stopped run asks nothing more
                    begun = [window for gate in gates for window in gate.windows]
                    for window in begun:
                        window.under_way += 1
                    self._note("+", host, gates)
                    return begun
            self._clock.sleep(wait)

    def _note(self, sign: str, host: str, gates: list[_Gate]) -> None:
        """Remember a request; of a host with a Crawl-delay also until when a later run, too, has to wait for it."""
        if self._memory is None:
            return
        self._memory.note(sign, gates)
        delay = self._delays.get(host, 0.0)
        if delay and self._clock.now() + delay > self._paused.get(host, -math.inf):  # else it asked for longer
            self._memory.note_pause(host, delay)


def _services(host: str, gates: Iterable[_Gate]) -> list[str]:
    """What a host asks a pause for: itself, and the hosts of its domain that share a limit (`uploads*.example.org`)."""
    shared = (gate.name for gate in gates if "/" not in gate.name and "*" in gate.name)
    return [host, *(name for name in shared if "*" not in "".join(name.split(".")[-2:]))]


def _matches(pattern: str, host: str, path: str) -> bool:
    return fnmatchcase(host + path if "/" in pattern else host, pattern)


class _Memory:
    """A file of lines `+ <seconds since 1970> <pattern>`, then `-` when the answer has come; it survives `kill -9`.

    `=` is both in one, for what is long past; `!` says until when a host wants to be left alone, by Retry-After or by
    its Crawl-delay, and how many seconds that was to be: a wall clock that is set back makes it no longer.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock, self._lines = path, clock, 0
        self._windows: dict[str, _Window] = {}
        self._until: dict[str, tuple[float, float]] = {}

    def recall(self, gates: Mapping[str, _Gate]) -> bool:
        """Count the requests of earlier runs that still lie in a window; whether there was an earlier run."""
        known = self._path.is_file()
        longest = {name: gate.longest for name, gate in gates.items()}
        self._windows = {name: window for name, window in longest.items() if window and window.seconds > REMEMBERED}
        lines = self._path.read_text("ascii", "replace").splitlines() if known else []
        under_way: Counter[str] = Counter()
        for line in lines:
            found = _LINE.fullmatch(line)
            if found is not None and found["sign"] == "!":
                seconds = float(found["seconds"] or MAX_WAIT)
                self._until[found["name"]] = min(float(found["time"]), self._clock.wall() + seconds), seconds
                continue
            if found is None or found["name"] not in self._windows:  # a line torn by a crash, a limit of another time
                continue
            name = found["name"]
            under_way[name] += {"+": 1, "-": -1, "=": 0}[found["sign"]]
            if found["sign"] != "+":
                self._count(gates[name], self._clock.wall() - float(found["time"]))
        for name, calls in under_way.items():
            for _ in range(calls):  # the process ended before the answer came, at the latest now
                self._count(gates[name], 0.0)
        self._compact()
        return known

    def _count(self, gate: _Gate, age: float) -> None:
        for window in gate.windows:
            if age < window.seconds:  # a clock set back: as if asked just now, never in the future
                heapq.heappush(window.ended, self._clock.now() - max(age, 0.0))

    def note(self, sign: str, gates: Iterable[_Gate]) -> None:
        """Remember that a request is sent (`+`), or answered (`-`)."""
        names = [gate.name for gate in gates if gate.name in self._windows]
        if names:
            self._write("".join(f"{sign} {self._clock.wall():.3f} {name}\n" for name in names))

    def note_pause(self, host: str, seconds: float) -> None:
        """Remember that a host wants to be left alone."""
        self._until[host] = self._clock.wall() + seconds, seconds
        self._write(self._pause_line(host))

    def pauses(self) -> dict[str, float]:
        """Until when each host wants to be left alone, on the clock that never jumps."""
        left = {host: until - self._clock.wall() for host, (until, _) in self._until.items()}
        return {host: self._clock.now() + wait for host, wait in left.items() if wait > 0}

    def _pause_line(self, host: str) -> str:
        until, seconds = self._until[host]
        return f"! {until:.3f} {host} {seconds:.3f}\n"

    def _write(self, text: str) -> None:
        if self._lines > LINES_BEFORE_COMPACTION:
            self._compact()  # which writes it, too
            return
        self._lines += text.count("\n")
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)

    def _compact(self) -> None:
        """Keep only the requests that still lie in a window."""
        now, wall = self._clock.now(), self._clock.wall()
        lines = [self._pause_line(host) for host, (until, _) in self._until.items() if until > wall]
        for name, window in self._windows.items():
            lines += [f"= {wall - (now - ended):.3f} {name}\n" for ended in window.ended]
            lines += [f"+ {wall:.3f} {name}\n"] * window.under_way
        write_durably(self._path, "".join(lines).encode())
        self._lines = len(lines)
