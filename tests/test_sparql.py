from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import pytest

from mkg_builder import http
from mkg_builder.errors import HostClosedError, TooExpensiveError, UpstreamError, UsageError
from mkg_builder.http import Client, Patience
from mkg_builder.recipe import Limit
from mkg_builder.source import Answer, Request
from tests.faultd import cut_off, head, lines, moved, ok, reset, serving, silence
from tests.site import Site
from tests.site import answer as given
from tests.test_throttle import VirtualClock

QUERY = "SELECT ?item WHERE { VALUES ?item { wd:Q42 } }"
RESULT = b'{"head": {"vars": ["item"]}, "results": {"bindings": []}}'
RESULTS = "application/sparql-results+json"
TRACE = b"SPARQL-QUERY: queryStr=SELECT\njava.util.concurrent.TimeoutException\n\tat java.util.concurrent.FutureTask"
QLEVER = b'{\n  "exception": "Operation timed out. Last operation: Sort on ?item",\n  "status": "ERROR"\n}'
HASTE = Patience(connect=1, read=0.2, query=0.5, total=1, attempts=3)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_backoff", lambda state: 0.0)


def ask(*answers: Any, query: str = QUERY) -> tuple[Answer, list[Any]]:
    with serving({"/sparql": list(answers)}) as (base, plan):
        client = Client("me@example.org", [base.removeprefix("http://")], {}, HASTE)
        try:
            return client.ask(Request("k", f"{base}/sparql", query=query)), plan.asked[1:]
        finally:
            plan.answers["asked"] = len(plan.asked) - 1


def good() -> Any:
    return ok(RESULT, Content_Type=RESULTS)


def test_a_query_is_posted_as_a_form_by_an_agent_that_says_who_asks() -> None:
    answer, (asked,) = ask(good())
    assert (answer.status, answer.body, answer.media_type) == (200, RESULT, RESULTS)
    assert (asked.method, asked.path, parse_qs(asked.body.decode())) == ("POST", "/sparql", {"query": [QUERY]})
    assert asked.headers["User-Agent"].startswith("mkgb-bot/")
    assert "(me@example.org)" in asked.headers["User-Agent"]
    assert RESULTS in asked.headers["Accept"]


def test_five_thousand_ids_fit_in_a_query() -> None:
    ids = " ".join(f"wd:Q{number}" for number in range(1, 5001))
    _, (asked,) = ask(good(), query=f"SELECT ?item WHERE {{ VALUES ?item {{ {ids} }} }}")
    assert parse_qs(asked.body.decode())["query"][0].endswith("wd:Q5000 } }")


@pytest.mark.parametrize(
    "answer",
    [
        ok(TRACE, 500),
        ok(b"upstream request timeout", 504),
        ok(QLEVER, 429),
        ok(QLEVER.replace(b"timed out", b"was manually cancelled"), 429),
        ok(QLEVER, 429, Retry_After="0"),
        ok(RESULT[:-9] + TRACE, Content_Type=RESULTS),
        ok(RESULT[:30] + b"The SPARQL operation has been cancelled", Content_Type=RESULTS),
        lines(head("200 OK", f"Content-Type: {RESULTS}"), RESULT[:20]),
        silence(),
    ],
    ids=["500 with a trace", "504", "429 of time", "429 and cancelled", "429 and a wait", "200 and a trace",
         "200 and cancelled", "cut without a length", "silence"],
)  # fmt: skip
def test_a_query_that_is_too_much_is_told_from_a_passing_fault_and_not_asked_again(answer: Any) -> None:
    with serving({"/sparql": answer}) as (base, plan):
        client = Client(None, [base.removeprefix("http://")], {}, HASTE)
        with pytest.raises(TooExpensiveError, match="ask for less"):
            client.ask(Request("k", f"{base}/sparql", query=QUERY))
    assert len(plan.asked) == 2  # robots.txt and the query


@pytest.mark.parametrize(
    ("body", "said", "seconds"),
    [(QLEVER, {}, 0), (QLEVER, {"Retry_After": "90"}, 90), (b"Too Many Requests", {}, 60)],
    ids=["a timeout", "a timeout and a wait", "too many"],
)
def test_a_429_that_means_a_timeout_costs_no_wait_but_one_that_is_asked_for(
    body: bytes, said: dict[str, str], seconds: float
) -> None:
    site, clock = Site({"/sparql": [given(body, 429, **said), given(RESULT, Content_Type=RESULTS)]}), VirtualClock(0)
    limits = {"*": Limit(windows=[(1000, 1)])}
    client = Client("me@example.org", ["www.example.org"], limits, HASTE, site, clock=clock)
    request = Request("k", "https://www.example.org/sparql", query=QUERY)
    with suppress(TooExpensiveError):
        client.ask(request)
    assert client.ask(request).body == RESULT
    assert seconds <= clock.now() < seconds + 1
    assert site.asked.count("/sparql") == 2 + (body != QLEVER)


@pytest.mark.parametrize(
    "fault",
    [ok(b"", 500), ok(b"", 502), ok(b"", 503), ok(b"", 429, Retry_After="0"), reset, cut_off(RESULT, RESULTS),
     ok(b"<html>error</html>", Content_Type="text/html"), ok(b"<html>error</html>", Content_Type=RESULTS)],
)  # fmt: skip
def test_a_passing_fault_of_an_endpoint_is_asked_again(fault: Any) -> None:
    answer, asked = ask(fault, good())
    assert (answer.body, len(asked)) == (RESULT, 2)


@pytest.mark.parametrize(("status", "error"), [(400, UpstreamError), (404, UpstreamError), (403, HostClosedError)])
def test_a_query_that_is_refused_is_not_asked_again_and_never_kept(status: int, error: type[Exception]) -> None:
    with serving({"/sparql": ok(b"malformed query\nat line 1", status)}) as (base, plan):
        client = Client(None, [base.removeprefix("http://")], {}, HASTE)
        with pytest.raises(error, match=f"HTTP {status}"):
            client.ask(Request("k", f"{base}/sparql", query=QUERY))
    assert len(plan.asked) == 2


def test_a_query_follows_a_redirect_only_whole_and_only_to_an_allowed_host() -> None:
    answers = {"/old": moved("/sparql", status=308), "/sparql": good(), "/lost": moved("/sparql", status=302),
               "/away": moved("http://127.0.0.1:1/sparql", status=307)}  # fmt: skip
    with serving(answers) as (base, plan):
        client = Client(None, [base.removeprefix("http://")], {}, HASTE)
        assert client.ask(Request("k", f"{base}/old", query=QUERY)).body == RESULT
        assert [asked.method for asked in plan.asked[1:]] == ["POST", "POST"]
        for path, reason in (("/lost", "drops it"), ("/away", "not among the recipe's")):
            with pytest.raises(UpstreamError, match=reason):
                client.ask(Request("k", base + path, query=QUERY))


@pytest.mark.parametrize("query", ["INSERT DATA { <a:a> <a:b> <a:c> }", "DROP ALL", "nonsense", "DESCRIBE <a:a>"])
def test_only_questions_are_asked(query: str) -> None:
    with pytest.raises(UsageError, match="only SELECT and ASK"):
        ask(good(), query=query)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"head": {"vars": ["item"]}}'])
def test_what_is_no_result_is_asked_again(body: bytes) -> None:
    got, asked = ask(ok(body, Content_Type=RESULTS), good())
    assert (got.body, len(asked)) == (RESULT, 2)
