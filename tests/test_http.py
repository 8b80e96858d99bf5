import gzip
import json
import time
from typing import Any

import pytest
import requests
import tenacity

from mkg_builder import http
from mkg_builder.errors import UpstreamError, UsageError
from mkg_builder.http import Client, Patience
from mkg_builder.recipe import Limit
from mkg_builder.source import Request
from tests.site import Site, answer

BASE = "http://127.0.0.1:1"
JSON = {"Content_Type": "application/json"}
BACKOFF = http._backoff
HASTE = Patience(connect=1, read=1, total=2, attempts=3)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_backoff", lambda state: 0.0)


def client(site: Site, hosts: tuple[str, ...] = ("127.0.0.1:*",), **limits: Limit) -> Client:
    return Client(None, hosts, limits, HASTE, site)


def ask(site: Site, path: str = "/a", accept: str = "application/json", **asked: Any):
    return client(site).ask(Request(f"k:{path}", BASE + path, accept=accept, **asked))


def test_an_answer_is_kept_as_received() -> None:
    got = ask(Site({"/a": answer(b'{"a": 1}', **JSON)}))
    assert (got.key, got.status, got.body, got.media_type) == ("k:/a", 200, b'{"a": 1}', "application/json")


def test_the_agent_names_us_and_the_contact() -> None:
    site = Site({"/a": answer(b"{}", **JSON)})
    Client("me@example.org", ["127.0.0.1:*"], {}, HASTE, site).ask(Request("k", f"{BASE}/a"))
    assert site.headers[-1]["User-Agent"].startswith("mkgb-bot/")
    assert "(me@example.org)" in site.headers[-1]["User-Agent"]


def test_a_live_host_is_not_asked_without_a_contact() -> None:
    site = Site({})
    with pytest.raises(UsageError, match="--contact"):
        Client(None, ["www.example.org"], {}, HASTE, site).ask(Request("k", "https://www.example.org/a"))
    assert site.asked == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_fault_is_asked_again(status: int) -> None:
    site = Site({"/a": [answer(b"", status), answer(b"{}", **JSON)]})
    assert ask(site).ok
    assert site.asked.count("/a") == 2


def test_it_gives_up_after_so_many_attempts() -> None:
    site = Site({"/a": answer(b"", 500)})
    with pytest.raises(UpstreamError, match=r"HTTP 500 \(asked 3 times\)"):
        ask(site)
    assert site.asked.count("/a") == 3


def test_it_waits_longer_from_time_to_time_and_never_as_long_as_another() -> None:
    waits = []
    for attempt in range(1, 9):
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = attempt
        waits.append([BACKOFF(state) for _ in range(50)])
    assert [0.2 * 2**n <= min(some) < max(some) <= 0.2 * 2**n + 0.2 for n, some in enumerate(waits[:7])] == [True] * 7
    assert max(waits[7]) <= 30.2


def test_not_found_is_an_answer() -> None:
    assert ask(Site({})).status == 404


def test_retry_after_is_waited_for() -> None:
    site = Site({"/a": [answer(b"", 429, Retry_After="1"), answer(b"{}", **JSON)]})
    start = time.monotonic()
    ask(site)
    assert time.monotonic() - start >= 1


def test_an_absurd_retry_after_ends_the_run() -> None:
    with pytest.raises(UpstreamError, match="asks to wait 315,360,000 s"):
        ask(Site({"/a": answer(b"", 429, Retry_After="315360000")}))


def test_a_refusal_is_not_asked_again() -> None:
    site = Site({"/a": answer(b"", 403)})
    with pytest.raises(UpstreamError, match="refuses"):
        ask(site)
    assert site.asked.count("/a") == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b"\xff",
        b"[" * 100_000,
        b"1" * 5_000,
        b"",
        b"<html>log in</html>",
    ],
)
def test_what_is_not_whole_json_is_never_a_success(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        ask(Site({"/a": answer(body, **JSON)}))


def test_a_page_instead_of_a_picture_is_never_a_success() -> None:
    with pytest.raises(UpstreamError, match="instead of image/"):
        ask(Site({"/a": answer(b"<!DOCTYPE html><title>log in</title>", Content_Type="image/jpeg")}), accept="image/")


def test_a_redirect_is_followed_on_allowed_hosts_only() -> None:
    site = Site({"/a": answer(b"", 302, Location="/b"), "/b": answer(b"{}", **JSON)})
    assert ask(site).body == b"{}"
    away = Site({"/a": answer(b"", 302, Location="http://elsewhere.example/b")})
    with pytest.raises(UpstreamError, match="not among the recipe's"):
        ask(away)
    assert "/b" not in away.asked


def test_a_redirect_may_be_the_answer() -> None:
    site = Site({"/a": answer(b"", 302, Location="/en/App/Home/Error/0123")})
    assert ask(site, dead_end="/Home/Error/").status == 302
    assert site.asked == ["/robots.txt", "/a"]


@pytest.mark.parametrize("location", ["/maintenance.html", "/wait?then=/Home/Error/", "http://[/", None])
def test_another_redirect_than_to_the_dead_end_passes(location: str | None) -> None:
    away = answer(b"", 302, **({"Location": location} if location else {}))
    assert ask(Site({"/a": [away, answer(b"{}", **JSON)]}), dead_end="/Home/Error/").body == b"{}"


@pytest.mark.parametrize("status", [202, 203, 204, 206, 300, 302, 304, 400, 402, 405, 408, 409, 412, 418, 423])
def test_a_status_that_says_nothing_of_what_was_asked_for_is_no_answer(status: int) -> None:
    site = Site({"/a": answer(b"one moment", status)})
    with pytest.raises(UpstreamError, match=rf"/a: HTTP {status}"):
        ask(site)
    assert site.asked.count("/a") == (3 if status < 400 or status in (408, 409, 423) else 1)


@pytest.mark.parametrize("status", [204, 400])
def test_what_is_never_kept_is_told_with_any_status(status: int) -> None:
    assert client(Site({"/a": answer(b"", status)})).ask(Request("", f"{BASE}/a")).status == status


def test_a_failure_that_a_request_declares_to_be_final_is_an_answer() -> None:
    site = Site({"/a": answer(b'{"Exception": 1}', 400)})
    assert ask(site, final='"Exception"').status == 400


@pytest.mark.parametrize("status", [404, 410])
def test_only_a_success_is_what_is_needed(status: int) -> None:
    site = Site({"/a": answer(b"", status)})
    assert ask(site).status == status
    with pytest.raises(UpstreamError, match=rf"/a: HTTP {status}"):
        ask(site, needed=True)


def test_a_page_is_no_file_that_is_needed() -> None:
    page = answer(b"<html><body>Please log in</body></html>", Content_Type="text/csv")
    site = Site({"/a": page, "/b": answer(b"id,title\n", Content_Type="text/csv")})
    assert ask(site, "/a", "").ok
    with pytest.raises(UpstreamError, match="instead of a file"):
        ask(site, "/a", "", needed=True)
    assert ask(site, "/b", "", needed=True).ok


def test_endless_redirects_end() -> None:
    with pytest.raises(UpstreamError, match="more than 5 redirects"):
        ask(Site({"/a": answer(b"", 302, Location="/a")}))


def test_other_schemes_are_refused() -> None:
    with pytest.raises(UpstreamError, match="only http and https"):
        ask(Site({"/a": answer(b"", 302, Location="file:///etc/passwd")}))


@pytest.mark.parametrize("url", ["http://[foo/x.jpg", "http://ex\u2100mple.org/x.jpg", "http://[::1/x.jpg"])
def test_what_is_no_address_is_refused_and_not_asked(url: str) -> None:
    site = Site({})
    with pytest.raises(UpstreamError, match="no address"):
        client(site).ask(Request("k", url))
    assert site.asked == []


def test_a_compression_bomb_is_cut_at_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 100_000)
    bomb = gzip.compress(b" " * 10_000_000)
    with pytest.raises(UpstreamError, match="more than 100,000 bytes"):
        ask(Site({"/a": answer(bomb, Content_Encoding="gzip", **JSON)}))


def test_robots_txt_forbids() -> None:
    site = Site({"/robots.txt": answer(b"User-agent: *\nDisallow: /private\n"), "/private/a": answer(b"{}", **JSON)})
    with pytest.raises(UpstreamError, match=r"robots\.txt"):
        ask(site, "/private/a")
    assert site.asked == ["/robots.txt"]


def test_a_missing_robots_txt_allows_and_a_broken_one_forbids() -> None:
    assert ask(Site({"/a": answer(b"{}", **JSON)})).ok
    with pytest.raises(UpstreamError, match=r"robots.txt: HTTP 500"):
        ask(Site({"/a": answer(b"{}", **JSON), "/robots.txt": answer(b"", 500)}))


def test_a_connection_fault_is_told_in_words() -> None:
    fault = requests.ConnectionError("HTTPConnectionPool(...): ...: [Errno 111] Connection refused?authSessionKey=s3")
    with pytest.raises(UpstreamError, match="connection refused") as told:
        ask(Site({"/robots.txt": answer(b"", 404), "/a": fault}))
    assert "s3" not in str(told.value)


def test_limits_are_per_host_and_spare_loopback_unless_it_is_named() -> None:
    body = answer(json.dumps({}).encode(), **JSON)
    for limits, least, most in (({"*": Limit(per_second=2)}, 0, 0.5), ({"127.0.0.1": Limit(per_second=4)}, 0.9, 5)):
        asking = Client(None, ["127.0.0.1:*"], limits, HASTE, Site({"/a": body}))
        start = time.monotonic()
        for _ in range(8):
            asking.ask(Request("k", f"{BASE}/a"))
        assert least <= time.monotonic() - start <= most
