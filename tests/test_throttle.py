import math
import random
import re
import threading
import time
from pathlib import Path

import pytest

from mkg_builder.clock import Clock
from mkg_builder.errors import HostClosedError
from mkg_builder.recipe import Limit
from mkg_builder.sources.wikiart import WikiArt
from mkg_builder.throttle import LONGEST_PAUSE, MAX_WAIT, REMEMBERED, Throttle

URL = "https://www.example.org/a"


class VirtualClock(Clock):
    """A clock that is wound by whoever sleeps; its wall clock may jump."""

    def __init__(self, start: float = 1_000.0) -> None:
        super().__init__()
        self.time, self.offset, self.slept = start, 1.7e9, 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time + self.offset

    def sleep(self, seconds: float) -> None:
        self.slept = max(self.slept, seconds)
        self.time += max(seconds, 0.0)


def worst(times: list[float], seconds: float) -> int:
    """The most of these moments that lie in any window of so many seconds."""
    most, start = 0, 0
    for end, moment in enumerate(times):
        while times[start] <= moment - seconds:
            start += 1
        most = max(most, end - start + 1)
    return most


def crawl(throttle: Throttle, clock: VirtualClock, until: float, seed: int = 0) -> list[float]:
    """The moments at which the host was reached, on the way between the beginning and the end of each turn."""
    rng, moments = random.Random(seed), []
    while clock.time < until:
        with throttle.turn(URL):
            clock.time += rng.random() * rng.choice([0.01, 0.3])
            moments.append(clock.time)
            clock.time += rng.random() * rng.choice([0.01, 0.3])
        if rng.random() < 0.02:
            throttle.pause(URL, rng.random() * 100)
        if rng.random() < 0.02:
            clock.time += rng.random() * 1000
    return moments


def test_a_thousand_hours_with_faults_never_exceed_a_limit() -> None:
    clock = VirtualClock()
    throttle = Throttle({"www.example.org": Limit(windows=[(10, 2.5), (40, 3600)])}, clock)
    times = crawl(throttle, clock, 1_000 + 1_000 * 3600)
    assert len(times) > 30_000
    assert (worst(times, 2.5), worst(times, 3600)) == (10, 40)  # never more, and the limit is used


def test_the_limits_that_the_site_s_api_names_are_kept_for_hours_on_end(whole: bool) -> None:
    clock, api = VirtualClock(), "https://www.wikiart.org/en/api/2/Painting"
    addresses = {api: 0.7, f"{api}/../login": 0.02, "https://uploads4.wikiart.org/x.jpg": 0.28}
    throttle, rng = Throttle(WikiArt.limits, clock), random.Random(0)
    times: dict[str, list[float]] = {address: [] for address in addresses}
    while clock.time < 1_000 + (1_000 if whole else 12) * 3600:
        (address,) = rng.choices([*addresses], [*addresses.values()])
        with throttle.turn(address.replace("Painting/../", "")):
            clock.time += rng.random() * 0.02
            times[address].append(clock.time)
        if rng.random() < 0.01:
            throttle.pause(address, rng.random() * 100)
    calls, logins, pictures = times.values()
    both = sorted(calls + logins)
    assert (worst(both, 3600), worst(both, 2.5), worst(logins, 3600)) == (400, 10, 10)
    assert worst(pictures, 1) <= 20


@pytest.mark.parametrize("limit", [Limit(per_second=4), Limit(per_second=0.5), Limit(per_second=2.5)])
def test_a_rate_is_kept(limit: Limit) -> None:
    clock = VirtualClock()
    times = crawl(Throttle({"*": limit}, clock), clock, 20_000)
    calls = max(1, int(limit.per_second or 0))
    assert worst(times, calls / (limit.per_second or 1)) == calls


def test_two_starts_within_an_hour_share_its_limit(tmp_path: Path) -> None:
    clock, limits = VirtualClock(), {"www.example.org": Limit(windows=[(4, 1), (10, 2.5), (100, 3600)])}
    times: list[float] = []
    for start in range(40):
        throttle = Throttle(limits, clock, tmp_path / "asked.log")
        times += crawl(throttle, clock, clock.time + 500, start)
    assert worst(times, 3600) == 100
    assert worst(times, 2.5) <= 10
    assert worst(times, 1) <= 4


@pytest.mark.parametrize("before", [0, 3])
def test_a_request_that_a_killed_run_had_sent_counts(before: int, tmp_path: Path) -> None:
    clock, limits = VirtualClock(), {"www.example.org": Limit(per_hour=before + 1)}
    for _ in range(before):
        with Throttle(limits, clock, tmp_path / "asked.log").turn(URL):
            pass
    killed = Throttle(limits, clock, tmp_path / "asked.log").turn(URL)
    killed.__enter__()
    clock.time += 10
    for expected in (3600, 3600 if before == 0 else 0):
        start = clock.time
        with Throttle(limits, clock, tmp_path / "asked.log").turn(URL):
            pass
        assert clock.time - start == pytest.approx(expected, abs=20)


def test_a_wait_that_a_host_asked_for_outlives_the_process(tmp_path: Path) -> None:
    clock = VirtualClock()
    for wait, expected in ((300, 300), (0, REMEMBERED)):
        Throttle({"www.example.org": Limit(per_second=4)}, clock, tmp_path / "asked.log").pause(URL, wait)
        start = clock.time
        with Throttle({"www.example.org": Limit(per_second=4)}, clock, tmp_path / "asked.log").turn(URL):
            assert clock.time - start == pytest.approx(expected)


def test_a_wait_that_is_longer_than_a_run_is_remembered_and_refused_with_what_is_left_of_it(tmp_path: Path) -> None:
    clock, limits = VirtualClock(), {"www.example.org": Limit(per_second=4)}
    throttle = Throttle(limits, clock, tmp_path / "asked.log")
    for wait in (7200, 5, 0):  # who was under way is told something shorter
        throttle.pause(URL, wait)
    for passed, left in ((0, "7,200"), (0, "7,200"), (3600, "3,600")):
        clock.time += passed
        with pytest.raises(HostClosedError, match=f"stay away for {left} s more"):
            Throttle(limits, clock, tmp_path / "asked.log").turn(URL).__enter__()
    clock.time += 3600
    with Throttle(limits, clock, tmp_path / "asked.log").turn(URL):
        assert clock.slept <= REMEMBERED


@pytest.mark.parametrize("killed", [False, True])
def test_a_crawl_delay_separates_the_runs_too(killed: bool, tmp_path: Path) -> None:
    clock, limits, last = VirtualClock(), {"www.example.org": Limit(per_second=4)}, -math.inf
    for _ in range(3):
        throttle = Throttle(limits, clock, tmp_path / "asked.log")
        for delay in (30.0, None):
            turn = throttle.turn(URL)
            turn.__enter__()
            assert clock.time - last >= 30 - 0.001  # the file has milliseconds
            last = clock.time
            if delay or not killed:
                clock.time += 0.1
                turn.__exit__(None, None, None)
            if delay:
                throttle.slow_down(URL, delay)
    assert re.fullmatch(r"(! [\d.]+ www\.example\.org 30\.000\n)+", (tmp_path / "asked.log").read_text())


def test_a_crawl_delay_makes_no_longer_wait_shorter(tmp_path: Path) -> None:
    clock = VirtualClock()
    throttle = Throttle({}, clock, tmp_path / "asked.log")
    throttle.slow_down(URL, 5)
    with throttle.turn(URL):
        throttle.pause(URL, 300)
        start = clock.time
    with Throttle({}, clock, tmp_path / "asked.log").turn(URL):
        assert clock.time - start == pytest.approx(300, abs=0.01)


def test_the_longest_wait_within_a_run_is_waited_for() -> None:
    clock = VirtualClock(3874.549938810534)
    assert clock.now() + MAX_WAIT - clock.now() > MAX_WAIT  # as floats have it
    throttle = Throttle({}, clock)
    throttle.pause(URL, MAX_WAIT)
    with throttle.turn(URL):
        assert clock.slept == pytest.approx(MAX_WAIT)


@pytest.mark.parametrize("seconds", [math.inf, 1e9])
def test_no_wait_is_remembered_for_more_than_a_day(seconds: float, tmp_path: Path) -> None:
    clock = VirtualClock()
    Throttle({}, clock, tmp_path / "asked.log").pause(URL, seconds)
    clock.time += LONGEST_PAUSE
    with Throttle({}, clock, tmp_path / "asked.log").turn(URL):
        assert clock.slept <= REMEMBERED


@pytest.mark.parametrize("line", ["! 1700000300.000 www.example.org 300.000", "! 1700000300.000 www.example.org"])
def test_a_wall_clock_that_is_set_back_makes_no_remembered_wait_longer(line: str, tmp_path: Path) -> None:
    (tmp_path / "asked.log").write_text(f"{line}\n")
    clock = VirtualClock(0)
    clock.offset -= 86_400
    for _ in range(2):
        with Throttle({}, clock, tmp_path / "asked.log").turn(URL):
            assert clock.now() <= 600 + REMEMBERED


def test_a_line_torn_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "asked.log").write_text("+ 17000010\n- 1.7e9x www.example.org\nnonsense")
    clock = VirtualClock()
    with Throttle({"www.example.org": Limit(per_hour=1)}, clock, tmp_path / "asked.log").turn(URL):
        assert clock.time == 1_000 + REMEMBERED


@pytest.mark.parametrize("slow", [0, 5])
def test_what_is_remembered_does_not_grow_without_end(
    slow: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkg_builder.throttle.LINES_BEFORE_COMPACTION", 50)
    clock = VirtualClock()
    throttle = Throttle({"www.example.org": Limit(windows=[(20, 100)])}, clock, tmp_path / "asked.log")
    if slow:
        throttle.slow_down(URL, slow)
    times = crawl(throttle, clock, 20_000)
    assert len(times) > 500
    assert len((tmp_path / "asked.log").read_text().splitlines()) <= 51


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0, -3600.0, 3600.0])
def test_a_clock_that_jumps_never_makes_a_wait_longer_than_the_window(jump: float, tmp_path: Path) -> None:
    clock, limits = VirtualClock(), {"www.example.org": Limit(per_hour=5)}
    for _ in range(3):
        throttle = Throttle(limits, clock, tmp_path / "asked.log")
        crawl(throttle, clock, clock.time + 100)
        clock.offset += jump
        crawl(throttle, clock, clock.time + 100)
    assert 0 <= clock.slept <= 3600


def test_a_pause_holds_for_every_thread_of_the_host_and_for_no_other_host() -> None:
    throttle, moments = Throttle({"*": Limit(parallel=8)}, Clock()), []
    start = time.monotonic()
    throttle.pause(URL, 0.3)
    with throttle.turn("https://other.example.org/"):
        assert time.monotonic() - start < 0.2

    def ask() -> None:
        with throttle.turn(URL):
            moments.append(time.monotonic() - start)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(moments) >= 0.3


def test_a_host_that_is_closed_is_asked_nothing_more() -> None:
    throttle = Throttle({}, VirtualClock())
    throttle.pause(URL, math.inf)
    with pytest.raises(HostClosedError), throttle.turn(URL):
        pass


def test_no_more_requests_are_open_at_once_than_the_limit_says() -> None:
    throttle, open_now, most = Throttle({"*": Limit(parallel=3)}, Clock()), [], []

    def ask() -> None:
        with throttle.turn(URL):
            open_now.append(1)
            most.append(len(open_now))
            time.sleep(0.01)
            open_now.pop()

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 3


def test_a_path_may_have_a_limit_of_its_own_besides_its_host() -> None:
    clock = VirtualClock()
    limits = {"www.example.org": Limit(per_second=100), "www.example.org/api/*": Limit(per_hour=2)}
    throttle, spent = Throttle(limits, clock), {}
    for path in ("/en/x", "/API/2/Painting"):
        before = clock.time
        for _ in range(3):
            with throttle.turn(f"https://www.example.org{path}?id=1"):
                pass
        spent[path] = clock.time - before
    assert (spent["/en/x"], spent["/API/2/Painting"]) == (0, 3600)


def test_a_live_host_without_a_limit_is_asked_once_a_second_and_slower_when_it_asks_for_that() -> None:
    clock = VirtualClock(0)
    throttle = Throttle({}, clock)
    for slower, expected in ((None, 3), (10.0, 30)):
        if slower:
            throttle.slow_down(URL, slower)
        before = clock.time
        for _ in range(4):
            with throttle.turn(URL):
                pass
        assert clock.time - before >= expected


def test_the_hosts_that_share_a_limit_are_left_alone_together() -> None:
    clock = VirtualClock()
    throttle = Throttle({"uploads*.example.org": Limit(per_second=9), "www.example.org": Limit(per_second=9)}, clock)
    throttle.pause("https://uploads1.example.org/a", 300)
    with throttle.turn("https://www.example.org/"):
        assert clock.now() < 1001
    with throttle.turn("https://uploads2.example.org/b"):
        assert clock.now() >= 1300
