import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mkg_builder import http
from mkg_builder.clock import Clock
from mkg_builder.errors import HostClosedError, MkgError
from mkg_builder.http import Client, Patience
from mkg_builder.robots import LASTS, Robots
from mkg_builder.source import Request
from tests.faultd import endless, moved, ok, serving, silence
from tests.site import Site, answer
from tests.test_sparql import QUERY, RESULT, RESULTS
from tests.test_throttle import VirtualClock

HASTE = Patience(connect=0.3, read=0.3, total=0.6, attempts=2)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_backoff", lambda state: 0.0)


def verdict(robots: Any, path: str = "/private/a", **more: Any) -> str:
    """`asked`, `forbidden` for this path, or `closed` for the run."""
    with serving({"/robots.txt": robots, path: ok(), **more}) as (base, plan):
        try:
            Client(None, [base.removeprefix("http://")], {}, HASTE).ask(Request("k", base + path))
        except HostClosedError:
            return "closed"
        except MkgError:
            assert path not in [asked.path for asked in plan.asked]
            return "forbidden"
        return "asked"


RULES = b"User-agent: *\nDisallow: /private\n"
OURS = b"User-agent: MKGB-Bot\nAllow: /\n\n" + RULES
HUGE = RULES + b"# padding\n" * 1_000_000
LATE = b"#" * (600 << 10) + b"\n" + RULES


@pytest.mark.parametrize(
    ("robots", "expected"),
    [
        pytest.param(ok(RULES), "forbidden", id="200 disallow"),
        pytest.param(ok(OURS), "asked", id="200 with rules for us"),
        pytest.param(ok(b"", 404), "asked", id="404"),
        pytest.param(ok(b"", 403), "asked", id="403"),
        pytest.param(ok(b"", 401), "asked", id="401"),
        pytest.param(ok(b"", 500), "closed", id="500"),
        pytest.param(ok(b"", 429), "closed", id="429"),
        pytest.param(silence(3), "closed", id="timeout"),
        pytest.param(ok(HUGE), "forbidden", id="10 MB"),
        pytest.param(ok(LATE), "asked", id="a rule behind 500 KiB"),
        pytest.param(ok(b"\xef\xbb\xbf" + RULES), "forbidden", id="BOM"),
        pytest.param(ok(b"\xff\xfe\x00nonsense"), "asked", id="no text"),
        pytest.param(moved("/robots.txt"), "asked", id="redirects without end"),
        pytest.param(moved("http://evil.example/robots.txt"), "closed", id="redirect to a host that is not allowed"),
        pytest.param(endless, "asked", id="without end"),
        pytest.param([ok(b"", 503), ok(RULES)], "forbidden", id="503 once"),
    ],
)
def test_robots_txt_is_read_by_rfc_9309(robots: Any, expected: str) -> None:
    assert verdict(robots) == expected


def test_no_more_of_a_robots_txt_is_read_than_the_standard_asks_for() -> None:
    with serving({"/robots.txt": endless, "/a": ok()}) as (base, plan):
        assert Client(None, [base.removeprefix("http://")], {}, HASTE).ask(Request("k", f"{base}/a")).ok
    assert plan.taken < 16 << 20  # what lies in the buffers of the connection included


@pytest.mark.parametrize(("hops", "expected"), [(5, "forbidden"), (6, "asked")])
def test_five_redirects_lead_to_a_robots_txt_and_six_to_none(hops: int, expected: str) -> None:
    chain = {f"/{hop}": moved(f"/{hop + 1}") for hop in range(1, hops)} | {f"/{hops}": ok(RULES)}
    assert verdict(moved("/1"), **chain) == expected


def test_the_rules_hold_behind_a_redirect_too() -> None:
    answers = {"/robots.txt": ok(RULES), "/a": moved("/private/a"), "/private/a": ok()}
    with serving(answers) as (base, plan):
        with pytest.raises(MkgError, match="forbids"):
            Client(None, [base.removeprefix("http://")], {}, HASTE).ask(Request("k", f"{base}/a"))
        assert [asked.path for asked in plan.asked] == ["/robots.txt", "/a"]


QUERY_SERVICE = b"User-agent: *\nDisallow: /sparql\n"
"""The robots.txt of query.wikidata.org."""


def test_a_query_service_is_posted_queries_whatever_its_robots_txt_says_of_paths() -> None:
    with serving({"/robots.txt": ok(QUERY_SERVICE), "/sparql": ok(RESULT, Content_Type=RESULTS)}) as (base, plan):
        client = Client(None, [base.removeprefix("http://")], {}, HASTE)
        assert client.ask(Request("k", f"{base}/sparql", query=QUERY)).body == RESULT
        with pytest.raises(MkgError, match="forbids"):
            client.ask(Request("k", f"{base}/sparql?query=ASK"))
        assert [(asked.method, asked.path) for asked in plan.asked] == [("GET", "/robots.txt"), ("POST", "/sparql")]


def test_a_query_service_whose_robots_txt_cannot_be_read_is_closed() -> None:
    with serving({"/robots.txt": ok(b"", 503), "/sparql": ok(RESULT, Content_Type=RESULTS)}) as (base, plan):
        with pytest.raises(HostClosedError, match="cannot be read"):
            Client(None, [base.removeprefix("http://")], {}, HASTE).ask(Request("k", f"{base}/sparql", query=QUERY))
        assert {asked.path for asked in plan.asked} == {"/robots.txt"}


@pytest.mark.parametrize("query", ["", QUERY])
def test_a_crawl_delay_slows_us_down(query: str) -> None:
    robots, clock = answer(QUERY_SERVICE + b"Crawl-delay: 7\n"), VirtualClock(0)
    site = Site({"/robots.txt": robots, "/a": answer(RESULT, Content_Type=RESULTS)})
    client = Client("me@example.org", ["www.example.org"], {"*": http.Limit(per_second=100)}, HASTE, site, clock=clock)
    for _ in range(5):
        client.ask(Request("k", "https://www.example.org/a", query=query))
    assert 4 * 7 <= clock.now() < 6 * 7


def test_a_crawl_delay_holds_from_run_to_run_and_for_the_robots_txt_too(tmp_path: Path) -> None:
    clock, moments = VirtualClock(0), []

    class Timed(Site):
        def send(self, request: Any, **options: Any) -> Any:
            moments.append(clock.now())
            return super().send(request, **options)

    for _ in range(3):
        site = Timed({"/robots.txt": answer(b"User-agent: *\nCrawl-delay: 30\n"), "/a": answer(b"{}")})
        client = Client("me@example.org", ["www.example.org"], {"*": http.Limit(per_second=4)}, HASTE, site,
                        clock=clock, memory=tmp_path / "asked.log")  # fmt: skip
        for _ in range(2):
            client.ask(Request("k", "https://www.example.org/a"))
    assert len(moments) == 9
    assert min(later - sooner for sooner, later in pairwise(moments)) >= 29.99


@pytest.mark.parametrize(("delay", "answered"), [("600", 2), ("600.5", 0), ("86400", 0)])
def test_a_crawl_delay_that_is_longer_than_a_run_waits_closes_the_host(delay: str, answered: int) -> None:
    robots, clock = answer(f"User-agent: *\nCrawl-delay: {delay}\n".encode()), VirtualClock(0)
    site = Site({"/robots.txt": robots, "/a": answer(b"{}")})
    client, told = Client("me@example.org", ["www.example.org"], {}, HASTE, site, clock=clock), []
    for _ in range(2):
        try:
            client.ask(Request("k", "https://www.example.org/a"))
        except HostClosedError as closed:
            told.append(str(closed))
    assert (site.asked.count("/a"), len(told)) == (answered, 2 - answered)
    assert {"(Crawl-delay), and a run waits 600 at most" in line for line in told} <= {True}


def test_the_rules_are_asked_for_once_a_day_whatever_the_number_of_threads() -> None:
    clock, asked = VirtualClock(), []
    robots = Robots(lambda url: asked.append(url) or time.sleep(0.02), clock)
    for day in (1, 2):
        spellings = ("https://www.example.org/a", "https://WWW.Example.org/a") * 4
        threads = [threading.Thread(target=robots.allows, args=(url,)) for url in spellings]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert asked == ["https://www.example.org/robots.txt"] * day
        clock.time += LASTS + 1
    assert isinstance(clock, Clock)


def test_a_host_that_is_slow_with_its_robots_txt_holds_up_no_other() -> None:
    slow = threading.Event()
    robots = Robots(lambda url: None if "slow" not in url or slow.wait(10) else b"", VirtualClock())
    waiting = threading.Thread(target=robots.allows, args=("https://slow.example.org/a",))
    waiting.start()
    assert robots.allows("https://www.example.org/a")
    assert waiting.is_alive()
    slow.set()
    waiting.join()


def test_who_names_us_with_our_version_means_us() -> None:
    rules = b"User-agent: mkgb-bot/1.0 (+x)\nDisallow: /\n\nUser-agent: Other/2\nDisallow: /b\n"
    robots = Robots(lambda _: rules, Clock())
    assert not robots.allows("https://a.example/x")
