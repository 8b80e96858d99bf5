import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from mkg_builder import http
from mkg_builder.context import AHEAD, CONSECUTIVE_FAILURES, SnapshotContext
from mkg_builder.errors import HostClosedError, TooExpensiveError, UpstreamError
from mkg_builder.http import Client, Patience
from mkg_builder.picture_pool import PicturePool
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer, Request
from tests.faultd import ok, serving, silence
from tests.site import Site, answer
from tests.tiny_recipe import jpeg

BASE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_backoff", lambda state: 0.0)


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[Snapshot]:
    with Snapshot(tmp_path).writing() as open_snapshot:
        yield open_snapshot


def context(snapshot: Snapshot, site: Site | None) -> SnapshotContext:
    client = Client(None, ["127.0.0.1:*"], {}, Patience(attempts=2), site) if site else None
    return SnapshotContext("s", Path(), snapshot, {"site": f"{BASE}/"}, client=client)


def request(number: int) -> Request:
    return Request(f"site:/{number}", f"{BASE}/{number}")


def keep_one(snapshot: Snapshot) -> None:
    snapshot.put(Answer("site:/kept", 200, b"", ""))


def test_many_answers_come_in_the_order_asked_and_are_asked_once(snapshot: Snapshot) -> None:
    site = Site({f"/{n}": answer(str(n).encode()) for n in range(30)})
    for _ in range(2):
        found = context(snapshot, site).get_all([request(n) for n in range(30)])
        assert [int(a.body) for a in found] == list(range(30))
    assert sorted(site.asked) == sorted(["/robots.txt", *(f"/{n}" for n in range(30))])


def test_what_was_never_fetched_is_an_answer_with_status_zero(snapshot: Snapshot) -> None:
    assert not context(snapshot, None).get(request(1)).ok
    assert context(snapshot, None).get(request(1)).status == 0


def spoil(snapshot: Snapshot, key: str) -> None:
    """Flip a bit of what is kept under a key."""
    path = snapshot.file(key)
    assert path is not None
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def test_what_reading_lacks_is_counted_once_and_told_with_an_example(snapshot: Snapshot) -> None:
    asked = [request(n) for n in range(6)]
    list(context(snapshot, Site({f"/{n}": answer(str(n).encode()) for n in range(4)})).get_all(asked[:4]))
    for number in (1, 2):
        spoil(snapshot, f"site:/{number}")
    reading = context(Snapshot(snapshot.folder), None)
    for _ in range(2):
        assert [a.status for a in reading.get_all(asked)] == [200, 0, 0, 200, 0, 0]
    reading.get(replace(request(7), divisible=True))
    reading.get(replace(request(8), optional=True))
    assert reading.gaps() == [
        "2 requests without an answer: left out, the first site:/4; mkgb fetch asks again",
        "2 requests with a damaged answer in the snapshot: left out, the first site:/1; mkgb fetch asks again",
    ]


def test_the_first_failure_of_an_empty_snapshot_stops_at_once(snapshot: Snapshot) -> None:
    with pytest.raises(UpstreamError, match="HTTP 500"):
        context(snapshot, Site({"/1": answer(b"", 500)})).get(request(1))


def test_a_single_failure_is_told_at_the_end_and_not_kept(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    asking = context(snapshot, Site({"/1": answer(b"", 500), "/2": answer(b"two")}))
    assert [a.status for a in asking.get_all([request(1), request(2)])] == [0, 200]
    assert asking.failures == [f"{BASE}/1: HTTP 500 (asked 2 times)"]
    assert request(1).key not in snapshot


def test_every_answer_that_came_is_progress(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    told: list[tuple[str, int]] = []
    site = Site({"/1": answer(b"", 500), "/2": answer(b"two"), "/3": answer(b"three")})
    client = Client(None, ["127.0.0.1:*"], {}, Patience(attempts=2), site)
    asking = SnapshotContext(
        "s", Path(), snapshot, {}, client=client, advance=lambda what, n, *_: told.append((what, n))
    )
    list(asking.get_all([request(1), request(2), request(3)]))
    assert sorted(told) == [("s: answers", 1), ("s: answers", 2)]


def test_so_many_failures_in_a_row_mean_that_the_source_is_down(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    site = Site({f"/{n}": answer(b"", 500) for n in range(500)})
    asking = context(snapshot, site)
    with pytest.raises(UpstreamError):
        list(asking.get_all([request(n) for n in range(500)]))
    assert CONSECUTIVE_FAILURES <= len(asking.failures) < 100


@pytest.mark.parametrize(("accept", "kind"), [("application/json", "application/json"), ("image/", "image/jpeg")])
def test_a_site_that_shows_a_page_for_everything_ends_the_run_and_nothing_of_it_is_kept(
    snapshot: Snapshot, accept: str, kind: str
) -> None:
    keep_one(snapshot)
    site = Site({f"/{n}": answer(b"<!DOCTYPE html><title>Just a moment...</title>", Content_Type=kind)
                 for n in range(500)})  # fmt: skip
    with pytest.raises(UpstreamError):
        list(context(snapshot, site).get_all([replace(request(n), accept=accept) for n in range(500)]))
    assert len(site.asked) < 200
    assert list(snapshot) == ["site:/kept"]


PAGE = answer(b"<!DOCTYPE html><title>gone</title>", Content_Type="text/html")
GOOD = answer(b"{}", Content_Type="application/json")


def walk(snapshot: Snapshot, site: Site, numbers: Iterable[int]) -> SnapshotContext:
    """What a run is left with that asks all these, some at a time."""
    asking, waiting = context(snapshot, site), deque(numbers)
    while waiting:
        some = [waiting.popleft() for _ in range(min(25, len(waiting)))]
        list(asking.get_all([replace(request(n), accept="application/json") for n in some]))
    return asking


@pytest.mark.parametrize("fault", [PAGE, answer(b"", 500), answer(b"", 400), answer(b"", 302, Location="http://x.y/")])
def test_what_failed_in_an_earlier_run_keeps_no_run_from_what_is_new(snapshot: Snapshot, fault: Any) -> None:
    keep_one(snapshot)
    site = Site({f"/{n}": fault if n < 100 and n % 4 == 3 else GOOD for n in range(200)})
    walk(snapshot, site, range(100))
    asking = walk(snapshot, site, range(200))
    assert (len(asking.failures), len(snapshot)) == (25, 1 + 175)


def test_a_source_whose_first_requests_all_fail_for_good_is_walked_by_and_by(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    site = Site({f"/{n}": PAGE if n < 50 else GOOD for n in range(60)})
    for _ in range(2):
        with pytest.raises(UpstreamError):
            walk(snapshot, site, range(60))
    walk(snapshot, site, range(60))
    assert len(snapshot) == 1 + 10


@pytest.mark.parametrize("fault", [PAGE, answer(b"", 500), requests.ConnectionError("refused")])
def test_a_source_that_is_down_ends_a_resumed_run_soon(snapshot: Snapshot, fault: Any) -> None:
    keep_one(snapshot)
    site = Site({f"/{n}": PAGE if n % 2 else GOOD for n in range(200)})
    walk(snapshot, site, range(200))
    site.answers, site.asked = {"/robots.txt": answer(b"", 404)} | {f"/{n}": fault for n in range(400)}, []
    with pytest.raises(UpstreamError):
        walk(snapshot, site, range(400))
    assert len(site.asked) < 100


def test_what_failed_is_remembered_once_and_without_its_name(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    for _ in range(2):
        context(snapshot, Site({"/1": answer(b"", 500)})).get(request(1))
    (line,) = (snapshot.folder / "failed-s.log").read_text().splitlines()
    assert re.fullmatch("[0-9a-f]{16}", line)


QUERY = "SELECT * WHERE { ?a ?b ?c }"


def test_a_query_that_is_too_much_is_no_failure_and_is_not_kept(snapshot: Snapshot) -> None:
    asking = context(snapshot, Site({"/q": answer(b"java.util.concurrent.TimeoutException", 500)}))
    got = asking.get(Request("site:q", f"{BASE}/q", query=QUERY))
    assert (got.status, got.too_expensive, got.ok) == (504, True, False)
    assert (asking.failures, asking.has("site:q")) == ([], False)


def test_an_endpoint_that_finds_everything_too_much_ends_the_run(snapshot: Snapshot) -> None:
    asking = context(snapshot, Site({"/q": answer(b"", 504)}))
    with pytest.raises(TooExpensiveError):
        for number in range(100):
            asking.get(Request(f"site:q{number}", f"{BASE}/q", query=QUERY))


def test_secrets_that_are_not_taken_are_an_answer_that_is_not_kept(snapshot: Snapshot) -> None:
    asking = context(snapshot, Site({"/1?key=hidden1": answer(b"", 401)}))
    got = asking.get(Request("site:/1", f"{BASE}/1", secrets={"key": "hidden1"}))
    assert (got.status, asking.failures, len(snapshot)) == (401, [], 0)


def test_an_answer_without_a_key_or_with_a_secret_in_it_is_not_kept(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    site = Site(
        {
            "/1?key=hidden-key-2": answer(b'{"SessionKey": "new"}'),
            "/2?key=hidden-key-2": answer(b"you are hidden-key-2"),
        }
    )
    asking = context(snapshot, site)
    assert asking.get(Request("", f"{BASE}/1", secrets={"key": "hidden-key-2"})).body == b'{"SessionKey": "new"}'
    assert asking.get(Request("site:/2", f"{BASE}/2", secrets={"key": "hidden-key-2"})).status == 0
    assert (len(snapshot), asking.failures) == (1, [f"{BASE}/2: the answer repeats a secret, so it is not kept"])
    with pytest.raises(UpstreamError, match="site:/3: the answer repeats a secret"):
        asking.put("site:/3", b"you are hidden-key-2", "text/plain")


def test_a_host_that_asks_us_to_stay_away_ends_the_run_at_once(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    site = Site({"/1": answer(b"", 503, Retry_After="99999")})
    with pytest.raises(HostClosedError):
        list(context(snapshot, site).get_all([request(n) for n in range(1, 9)]))
    assert site.asked.count("/1") == 1


def test_many_requests_are_taken_up_only_as_answers_are_taken(snapshot: Snapshot) -> None:
    site = Site({f"/{n}": answer(b"x") for n in range(1000)})
    answers = context(snapshot, site).get_all([request(n) for n in range(1000)])
    next(answers)
    answers.close()
    assert len(site.asked) <= AHEAD + 2


def test_a_run_that_ends_early_does_not_wait_for_what_is_under_way(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    closed = {"/1": ok(b"", 503, Retry_After="99999")}
    with serving({f"/{n}": silence(20) for n in range(2, 9)} | closed) as (base, _):
        asking = SnapshotContext("s", Path(), snapshot, {}, client=Client(None, ["127.0.0.1:*"], {}))
        start = time.monotonic()
        with pytest.raises(HostClosedError):
            list(asking.get_all([Request(f"s:/{n}", f"{base}/{n}") for n in range(1, 9)]))
    assert time.monotonic() - start < 5


def test_an_endpoint_has_no_trailing_slash_and_a_leftover_is_noted_once(snapshot: Snapshot) -> None:
    asking = context(snapshot, None)
    asking.leftover("odd")
    asking.leftover("odd")
    assert asking.endpoint("site") == BASE
    assert asking.observations.leftovers == {"s": {"odd"}}


def test_one_key_twice_is_asked_once(snapshot: Snapshot) -> None:
    site = Site({"/1": answer(b"x")})
    assert [a.body for a in context(snapshot, site).get_all([request(1)] * 5)] == [b"x"] * 5
    assert site.asked.count("/1") == 1


def test_that_a_picture_did_not_decode_is_not_said_of_another(snapshot: Snapshot) -> None:
    broken = jpeg(1)[:300] + jpeg(1)[-2:]
    with PicturePool(1) as pool:
        for body, whole in ((broken, False), (jpeg(2), True)):
            asking = context(snapshot, Site({"/1": answer(body, Content_Type="image/jpeg")}))
            asking.pictures = pool
            got = asking.get(Request("site:/1", f"{BASE}/1", accept="image/"))
            assert asking.is_whole_picture(got) is whole
            snapshot.forget("site:/1")
