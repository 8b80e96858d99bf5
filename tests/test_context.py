from collections.abc import Iterator
from pathlib import Path

import pytest

from mkg_builder import http
from mkg_builder.context import CONSECUTIVE_FAILURES, SnapshotContext
from mkg_builder.errors import UpstreamError
from mkg_builder.http import Client, Patience
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer, Request
from tests.site import Site, answer

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


def test_the_first_failure_of_an_empty_snapshot_stops_at_once(snapshot: Snapshot) -> None:
    with pytest.raises(UpstreamError, match="HTTP 500"):
        context(snapshot, Site({"/1": answer(b"", 500)})).get(request(1))


def test_a_single_failure_is_told_at_the_end_and_not_kept(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    asking = context(snapshot, Site({"/1": answer(b"", 500), "/2": answer(b"two")}))
    assert [a.status for a in asking.get_all([request(1), request(2)])] == [0, 200]
    assert asking.failures == [f"{BASE}/1: HTTP 500 (asked 2 times)"]
    assert request(1).key not in snapshot


def test_so_many_failures_in_a_row_mean_that_the_source_is_down(snapshot: Snapshot) -> None:
    keep_one(snapshot)
    site = Site({f"/{n}": answer(b"", 500) for n in range(500)})
    asking = context(snapshot, site)
    with pytest.raises(UpstreamError):
        list(asking.get_all([request(n) for n in range(500)]))
    assert CONSECUTIVE_FAILURES <= len(asking.failures) < 100


def test_an_endpoint_has_no_trailing_slash_and_a_leftover_is_noted_once(snapshot: Snapshot) -> None:
    asking = context(snapshot, None)
    asking.leftover("odd")
    asking.leftover("odd")
    assert asking.endpoint("site") == BASE
    assert asking.observations.leftovers == {"s": {"odd"}}
