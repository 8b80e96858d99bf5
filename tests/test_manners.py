"""What a client owes its hosts and its user: to wait when asked to, to keep secrets, to stop when told."""

import logging
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest

from mkg_builder import http, terminal
from mkg_builder.context import WORKERS, SnapshotContext
from mkg_builder.errors import HostClosedError, QuotaError, UpstreamError
from mkg_builder.http import Client, Patience
from mkg_builder.recipe import Limit
from mkg_builder.replies import retry_after
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer, Request
from tests.faultd import cut_off, moved, ok, reset, serving, silence
from tests.site import Site, answer
from tests.test_throttle import VirtualClock

LIVE = "https://www.example.org"
HASTE = Patience(connect=1, read=0.5, total=2, attempts=3)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_backoff", lambda state: 0.0)


def live(site: Site, clock: VirtualClock) -> Client:
    return Client("me@example.org", ["www.example.org"], {"*": Limit(windows=[(1000, 1)])}, HASTE, site, clock=clock)


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(1.7e9 + seconds, UTC), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("120", 120, 121), (in_seconds(120), 119, 121), ("0", 0, 2), (in_seconds(-9e6), 0, 2), ("-5", 0, 62),
     ("soon", 0, 62), ("1.5e9", 0, 62), ("²", 0, 62), ("Mon, 99 Foo 2020", 0, 62), ("", 0, 62)],
)  # fmt: skip
def test_retry_after_in_every_form_is_waited_for(status: int, said: str, least: float, most: float) -> None:
    clock = VirtualClock(0)
    site = Site({"/a": [answer(b"", status, Retry_After=said), answer(b"{}")]})
    assert live(site, clock).ask(Request("k", f"{LIVE}/a")).ok
    assert least <= clock.now() <= most


@pytest.fixture(params=["UTC", "America/Los_Angeles", "Asia/Tokyo"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The time zone that this process lives in meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.mark.parametrize(
    "form",
    ["%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S -0000", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"],
)
def test_a_date_to_wait_for_is_utc_wherever_we_are(form: str, zone: str) -> None:
    said = datetime.fromtimestamp(1.7e9 + 120, UTC).strftime(form)
    assert retry_after({"Retry-After": said}, VirtualClock(0)) == 120


def test_a_live_host_that_says_too_many_and_not_until_when_is_left_alone_for_a_minute() -> None:
    clock = VirtualClock(0)
    live(Site({"/a": [answer(b"", 429), answer(b"{}")]}), clock).ask(Request("k", f"{LIVE}/a"))
    assert clock.now() >= 60


@pytest.mark.parametrize("said", ["315360000", "9" * 400, in_seconds(3.2e8)])
def test_an_absurd_retry_after_ends_the_run(said: str) -> None:
    clock = VirtualClock(0)
    site = Site({"/a": answer(b"", 429, Retry_After=said)})
    client = live(site, clock)
    for path in ("/a", "/b"):
        with pytest.raises(HostClosedError, match="run the same command again"):
            client.ask(Request("k", LIVE + path))
    assert (site.asked, clock.now()) == (["/robots.txt", "/a"], 0)


def test_runs_that_follow_a_long_wait_ask_nothing_while_it_lasts(tmp_path: Path) -> None:
    with serving({"/a": ok(b"", 429, Retry_After="7200")}) as (base, plan):
        for left in ("asks to wait 7,200 s", "stay away for 7,[12][09]. s more", "stay away for 7,[12][09]. s more"):
            client = Client(None, [base.removeprefix("http://")], {}, HASTE, memory=tmp_path / "asked.log")
            with pytest.raises(HostClosedError, match=f"{left}; run the same command again after that$"):
                client.ask(Request("k", f"{base}/a"))
        assert [asked.path for asked in plan.asked] == ["/robots.txt", "/a"]


def test_a_host_is_left_alone_however_its_name_is_written() -> None:
    clock, site = VirtualClock(0), Site({"/a": answer(b"", 429, Retry_After="7200"), "/b": answer(b"{}")})
    client = live(site, clock)
    for url in (f"{LIVE}/a", "https://WWW.Example.org/b", "HTTPS://www.example.org/b"):
        with pytest.raises(HostClosedError):
            client.ask(Request("k", url))
    assert site.asked == ["/robots.txt", "/a"]


def test_no_thread_asks_a_host_while_it_wants_to_be_left_alone() -> None:
    answers = {"/a": [ok(b"", 429, Retry_After="1"), ok()]} | {f"/{n}": ok() for n in range(40)}
    with serving(answers) as (base, plan):
        client = Client(None, [base.removeprefix("http://")], {}, HASTE)
        client.ask(Request("k", f"{base}/0"))
        first = threading.Thread(target=client.ask, args=(Request("k", f"{base}/a"),))
        first.start()
        time.sleep(0.2)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: client.ask(Request("k", f"{base}/{n}")), range(40)))
        first.join()
        told = next(asked.time for asked in plan.asked if asked.path == "/a")
        assert [asked.path for asked in plan.asked if told < asked.time < told + 1] == []
        assert len(plan.asked) == 44


def test_a_used_up_allowance_is_told_from_a_passing_fault() -> None:
    site = Site({"/a": answer(b'{"Exception":{"Message":"Free API limit exceeded"}}', 500)})
    with pytest.raises(QuotaError, match="limit is exceeded"):
        live(site, VirtualClock()).ask(Request("k", f"{LIVE}/a"))
    assert site.asked.count("/a") == 1


SECRETS = {"authSessionKey": "CANARY+s3cr3t/=", "code": "CANARYcode"}


def leaks(text: str) -> list[str]:
    return [value for value in SECRETS.values() for form in (value, quote(value), quote_plus(value)) if form in text]


@pytest.mark.parametrize(
    "fault",
    [ok(b"", 500), ok(b"", 403), reset, ok(b"x", Content_Encoding="br"), moved("ftp://x/?code=CANARYcode"),
     moved("http://evil.example/?code=CANARYcode"), ok(b"<html>"), cut_off(b"{}"), silence(3)],
)  # fmt: skip
def test_a_secret_reaches_its_host_and_no_error_no_log_and_no_traceback(fault: Any, caplog: Any) -> None:
    caplog.set_level("DEBUG")
    with serving({"/a": fault}) as (base, plan):
        request = Request("k", f"{base}/a?x=1", accept="application/json", secrets=SECRETS)
        with pytest.raises(UpstreamError) as told:
            Client(None, [base.removeprefix("http://")], {}, Patience(1, 0.5, 1, 1, 2)).ask(request)
    assert parse_qs(urlsplit(plan.asked[-1].path).query) == {"x": ["1"], **{k: [v] for k, v in SECRETS.items()}}
    shown = "".join(traceback.format_exception(told.value)) + repr(told.value) + repr(request)
    assert leaks(shown) + leaks(caplog.text) == []


def test_secrets_do_not_follow_a_redirect_to_another_host() -> None:
    near = {"/c": moved("/d"), "/d": ok()}
    with serving({"/b": ok()}) as (other, seen), serving(near) as (base, plan):
        near["/a"] = moved(f"{other}/b")
        client = Client(None, [base.removeprefix("http://"), other.removeprefix("http://")], {}, HASTE)
        for path in ("/a", "/c"):
            assert client.ask(Request("k", base + path, secrets=SECRETS)).ok
    assert leaks(str(seen.asked)) == []
    assert "CANARYcode" in plan.asked[-1].path  # it stays with its own host


def test_secrets_that_are_not_taken_are_told_as_401_and_without_any_it_is_a_refusal() -> None:
    site = Site({"/a": answer(b"", 401), "/a?key=x1y2": answer(b"", 401)})
    client = live(site, VirtualClock())
    assert client.ask(Request("k", f"{LIVE}/a", secrets={"key": "x1y2"})).status == 401
    with pytest.raises(UpstreamError, match="refuses"):
        client.ask(Request("k", f"{LIVE}/a"))


REFUSED = {f"/{n}": answer(b"", status) for n, status in enumerate([403, 451, 401, 407, 403, 403])}


def refusals(client: Client, paths: str, again: bool = False) -> str:
    """What becomes of each path: an answer `a`, refused `r`, or the host is closed `c`."""
    found = ""
    for path in paths:
        try:
            client.ask(Request(f"k:{path}", f"{LIVE}/{path}", accept="application/json"), again)
            found += "a"
        except HostClosedError as told:
            assert "after 3 refusals in a row nothing more is asked of www.example.org" in str(told)
            found += "c"
        except UpstreamError:
            found += "r"
    return found


def test_a_host_that_refuses_three_requests_in_a_row_is_asked_nothing_more() -> None:
    site = Site({**REFUSED, "/x": answer(b"{}", Content_Type="application/json")})
    assert refusals(live(site, VirtualClock()), "x01x23x4501x") == "arrarrarrccc"
    assert site.asked == ["/robots.txt", *(f"/{path}" for path in "x01x23x450")]


def test_refusals_of_another_host_close_none() -> None:
    site = Site(REFUSED)
    client = Client("me@example.org", ["*.example.org"], {"*": Limit(windows=[(1000, 1)])}, HASTE, site,
                    clock=VirtualClock())  # fmt: skip
    for host in ("a", "b", "c", "d"):
        with pytest.raises(UpstreamError) as told:
            client.ask(Request("k", f"https://{host}.example.org/0"))
        assert not isinstance(told.value, HostClosedError)


def test_what_was_refused_in_an_earlier_run_closes_no_host_that_answers_what_it_answered_before() -> None:
    good = answer(b"{}", Content_Type="application/json")
    site = Site({**REFUSED, "/x": [good, good, answer(b"", 403)]})
    client = live(site, VirtualClock())
    assert refusals(client, "x") == "a"
    assert refusals(client, "012345", again=True) == "rrrrrc"
    assert site.asked.count("/x") == 3


def test_what_is_queued_is_not_asked_of_a_host_that_refuses_us(tmp_path: Path) -> None:
    answers = {f"/{n}": ok(b"{}") if n < 20 else ok(b"banned", 403) for n in range(200)}
    with serving(answers) as (base, plan), Snapshot(tmp_path).writing() as snapshot:
        client = Client(None, [base.removeprefix("http://")], {}, HASTE)
        context = SnapshotContext("s", tmp_path, snapshot, {}, client=client)
        with pytest.raises(HostClosedError):
            list(context.get_all([Request(f"s:/{n}", f"{base}/{n}") for n in range(200)]))
        assert len(plan.asked) < 1 + 20 + 3 + 2 * WORKERS


def test_a_stopped_client_wakes_who_waits_and_asks_nothing_more() -> None:
    with serving({"/a": silence(20), "/b": ok(b"", 503, Retry_After="300")}) as (base, plan):
        client, faults = Client(None, [base.removeprefix("http://")], {}), []

        def ask_for(path: str) -> None:
            with pytest.raises(UpstreamError) as told:
                client.ask(Request("k", base + path))
            faults.append(str(told.value))

        threads = [threading.Thread(target=ask_for, args=(path,)) for path in ("/a", "/b")]
        for thread in threads:
            thread.start()
        time.sleep(0.4)
        start = time.monotonic()
        client.stop()
        for thread in threads:
            thread.join()
        assert time.monotonic() - start < 1
        asked = len(plan.asked)
        ask_for("/c")
        assert (len(faults), len(plan.asked)) == (3, asked)


def test_a_secret_is_in_no_file_and_not_on_the_terminal(tmp_path: Path, caplog: Any, capfd: Any) -> None:
    caplog.set_level("DEBUG")
    logging.getLogger().addHandler(handler := logging.FileHandler(tmp_path / "run.log"))
    faults = [ok(b"", 500), ok(b"", 401), ok(b"", 404), reset, moved("/d?code=CANARYcode"), ok(b'{"a": "CANARYcode"}')]
    with serving({f"/{n}": fault for n, fault in enumerate(faults)} | {"/d": ok()}) as (base, _):
        client = Client(None, [base.removeprefix("http://")], {"127.0.0.1": Limit(per_hour=99)}, HASTE,
                        memory=tmp_path / "asked.log")  # fmt: skip

        def fetch() -> None:
            with Snapshot(tmp_path / "snapshot").writing() as snapshot:
                snapshot.put(Answer("s:/kept", 200, b"", ""))
                context = SnapshotContext("s", tmp_path, snapshot, {}, client=client)
                for number in range(len(faults)):
                    context.get(Request(f"s:/{number}", f"{base}/{number}", secrets=SECRETS))
                (tmp_path / "report.txt").write_text("\n".join(context.failures))
                raise UpstreamError(f"as a careless source would tell it: CANARYcode, {context.failures}")

        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
            patch.setenv("VLKGE_DEBUG", "1")
            terminal.run(fetch, "mkgb")  # type: ignore[arg-type]
    handler.close()
    logging.getLogger().removeHandler(handler)
    told = capfd.readouterr()
    assert "Traceback" in told.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 7
    assert leaks(told.err + told.out + "".join(path.read_text() for path in files)) == []


def test_a_moment_to_wait_for_is_told_by_the_hosts_clock() -> None:
    clock = VirtualClock(0)
    later = answer(b"", 429, Retry_After=in_seconds(-180), Date=in_seconds(-300))  # ours is five minutes fast
    assert live(Site({"/a": [later, answer(b"{}")]}), clock).ask(Request("k", f"{LIVE}/a")).ok
    assert 120 <= clock.now() <= 121


def test_a_ban_for_some_time_is_heard_and_remembered(tmp_path: Path) -> None:
    clock = VirtualClock(0)
    site = Site({"/a": answer(b"", 403, Retry_After="86400")})
    for _ in range(2):
        client = Client("me@example.org", ["www.example.org"], {"*": Limit(per_second=9)}, HASTE, site, clock=clock,
                        memory=tmp_path / "asked.log")  # fmt: skip
        with pytest.raises(HostClosedError):
            client.ask(Request("k", f"{LIVE}/a"))
    assert site.asked.count("/a") == 1
