"""SPARQL queries as SPARQLWrapper puts them, and what their answers mean."""

import re
import warnings
from typing import Any

from SPARQLWrapper import JSON, POST, SPARQLWrapper

from mkg_builder.connections import PassingError
from mkg_builder.errors import TooExpensiveError, UpstreamError, UsageError
from mkg_builder.strict import parse_json

READING = ("SELECT", "ASK")
_CUT_SHORT = b"TimeoutException"
_QLEVER_CUT_SHORT = re.compile(rb'"exception"\s*:\s*"Operation (timed out|was manually cancelled)')


def as_post(url: str, query: str, agent: str) -> tuple[dict[str, str], bytes]:
    """The headers and the form by which a query is posted.

    Only the request is SPARQLWrapper's. It is carried by our own client, since `urlopen` follows redirects
    anywhere, has no cap and no total deadline, and loses the headers of an HTTP 500.

    Raises:
        UsageError: neither SELECT nor ASK.
    """
    wrapper = SPARQLWrapper(url, agent=agent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a query it cannot name; refused below
        wrapper.setQuery(query)
    if wrapper.queryType not in READING or not any(word in query.upper() for word in READING):
        raise UsageError(f"only {' and '.join(READING)} queries are asked, not: {query[:60]!r}")
    wrapper.setMethod(POST)
    wrapper.setReturnFormat(JSON)
    wrapper.setOnlyConneg(True)
    request = wrapper._createRequest()
    form: Any = request.data
    return dict(request.header_items()), form


def require_time(url: str, status: int, body: bytes) -> None:
    """Refuse the answers of an endpoint that ran out of time.

    HTTP 504; 500 with the trace of its timeout; from QLever 429, which there means that and not "too many".

    Raises:
        TooExpensiveError: the query was too much for the endpoint.
    """
    if status == 504 or (status == 500 and _CUT_SHORT in body) or (status == 429 and _QLEVER_CUT_SHORT.search(body)):
        raise TooExpensiveError(f"{url}: the query took the endpoint too long (HTTP {status}); ask for less at a time")


def require_results(url: str, status: int, body: bytes) -> None:
    """Refuse what is no whole result.

    Raises:
        TooExpensiveError: the endpoint ran out of time after its status 200 and broke the result off.
        PassingError: what it answers is neither a result nor a page.
        UpstreamError: it does not take the query.
    """
    if status != 200:
        reason = " ".join(body[:200].decode("utf-8", "replace").split())
        raise UpstreamError(f"{url}: HTTP {status} for a query: {reason}")
    start = body.lstrip()[:1]
    if start == b"<":  # a page, told of as one later
        return
    try:
        result = parse_json(body)
    except ValueError:
        if start != b"{":
            raise PassingError("an answer that is no result of a query") from None
        raise TooExpensiveError(f"{url}: the endpoint broke its answer off; ask for less at a time") from None
    if not isinstance(result, dict) or not result.keys() & {"results", "boolean"}:
        raise PassingError("an answer that is no result of a query")
