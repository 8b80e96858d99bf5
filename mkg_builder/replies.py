"""What a reply means: where it leads, how long it asks to wait, whether it is what was asked for."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from mkg_builder.clock import Clock
from mkg_builder.connections import PassingError
from mkg_builder.errors import HostClosedError, QuotaError, UpstreamError
from mkg_builder.picture import looks_whole
from mkg_builder.source import Answer, Request
from mkg_builder.strict import parse_json
from mkg_builder.wire import Reply

FINAL = frozenset({200, 404, 410})
"""What is kept for ever, besides what a request declares to be final; any other status may be another one tomorrow."""

PASSING = frozenset({408, 409, 423, 425, 429})
REFUSING = frozenset({401, 403, 407, 451})

REFUSALS = 3
"""So many refusals in a row are meant for us, and not for what was asked."""


class RefusedError(UpstreamError):
    """The host refuses a request."""


class Standing:
    """How we stand with each host: what it has answered well, and whether it refuses us. For several threads.

    Args:
        ask: the answer to a request, however we stand with its host.
    """

    def __init__(self, ask: Callable[[Request], Answer]) -> None:
        self._ask = ask
        self._proofs: dict[tuple[str, str], Request] = {}
        self._refusals: Counter[tuple[str, bool]] = Counter()
        self._closed: dict[str, str] = {}
        self._lock = threading.Lock()

    def prove(self, request: Request) -> None:
        """Take note of a request that its host has answered well, in this run or in an earlier one."""
        if request.key and not request.optional and not request.secrets:  # without a secret it would be refused
            self._proofs[_kind(request)] = request

    def is_well(self, request: Request) -> bool:
        """Whether the host answers once more what it has answered well before; True where that is nothing."""
        proof = self._proofs.get(_kind(request))
        try:
            return proof is None or self._ask(proof).ok
        except HostClosedError:
            raise
        except UpstreamError:
            return False

    def answered(self, request: Request, answer: Answer) -> None:
        """Take note of an answer."""
        if answer.status != 401:
            for again in (False, True):
                self._refusals.pop((_host(request.url), again), None)
        if answer.ok:
            self.prove(request)

    def refused(self, request: Request, again: bool, refusal: RefusedError) -> None:
        """Take note of a refusal, of a request that may have failed in an earlier run, too.

        Raises:
            HostClosedError: so many in a row were refused for the first time, or again and the host is not well.
        """
        host = _host(request.url)
        with self._lock:
            self.require_open(request.url)
            self._refusals[host, again] += 1
            if self._refusals[host, again] < REFUSALS:
                return
            if again and self.is_well(request):  # a resumed run meets all the refused pictures of a host in a row
                self._refusals.pop((host, again), None)
                return
            self._closed[host] = f"{refusal}; after {REFUSALS} refusals in a row nothing more is asked of {host}"
            self.require_open(request.url)

    def require_open(self, url: str) -> None:
        """Refuse a host that has refused us.

        Raises:
            HostClosedError: it refused so many requests in a row.
        """
        closed = self._closed.get(_host(url))
        if closed is not None:
            raise HostClosedError(closed)


def _host(url: str) -> str:
    return urlsplit(url).netloc.lower()


def _kind(request: Request) -> tuple[str, str]:
    """What a host may answer while it refuses the rest: its pages, and not its pictures."""
    return _host(request.url), request.accept


def target(url: str, location: str) -> str:
    """Where a redirect leads.

    Raises:
        UpstreamError: control characters, or from https to http.
    """
    if re.search(r"[\x00-\x20\x7f]", location.strip()):
        raise UpstreamError(f"{url}: redirects to an address with control characters")
    try:
        target = urljoin(url, location.strip())
        urlsplit(target).port  # noqa: B018  # the standard library checks it only when it is read
    except ValueError:
        raise UpstreamError(f"{url}: redirects to what is no address") from None
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise UpstreamError(f"{url}: redirects from https to http")
    return target


def media_type_of(reply: Reply) -> str:
    """The type that the reply declares, without parameters."""
    return reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def require_quota(url: str, reply: Reply) -> None:
    """Tell a used-up allowance from a passing fault: both are HTTP 500."""
    if reply.status != 500 or b"limit exceeded" not in reply.body[:2000].lower():
        return
    try:
        parse_json(reply.body)
    except ValueError:
        return
    raise QuotaError(f"{url}: the source says that its limit is exceeded; run the same command again later")


def require_usable(request: Request, reply: Reply, media_type: str) -> None:
    """Refuse a success that is not what was asked for, a login page, a cut document; and a failure that may pass.

    Raises:
        PassingError: asked again, it may be what was asked for.
        UpstreamError: a failure where only a success is an answer, or a status that is not final.
    """
    _require_final(request, reply)
    if reply.status == 200 and request.holds and request.holds.encode() not in reply.body:
        raise PassingError(f"an answer without {request.holds!r}")
    if reply.status != 200 or not (request.accept or request.query or request.needed):
        return
    accept = request.accept or ("application/" if request.query else "")
    start = reply.body[:512].lstrip().lower()
    is_page = start.startswith((b"<!doctype html", b"<html"))
    if (is_page and not accept.startswith("text/html")) or not media_type.startswith(accept):
        raise PassingError(f"answered {media_type or 'no type'} instead of {accept or 'a file'}")
    if accept == "application/json":
        try:
            parse_json(reply.body)
        except ValueError as fault:
            raise PassingError(f"not whole JSON ({str(fault)[:80]})") from None
    if not reply.framed and not _has_end(accept, reply.body):
        raise PassingError("the answer broke off")


def _require_final(request: Request, reply: Reply) -> None:
    """Refuse a status that says nothing of what was asked for: it would be kept for ever."""
    at_dead_end = bool(request.dead_end) and 300 <= reply.status < 400
    if at_dead_end:
        location = reply.headers.get("Location", "").partition("?")[0]
        if request.dead_end.lower() not in location.lower():
            raise PassingError(f"HTTP {reply.status}, a redirect to {location[:80] or 'nowhere'}")
    is_final = at_dead_end or reply.status in FINAL or not request.key  # what is never kept is judged by who asked
    if not is_final and reply.status < 400:
        raise PassingError(f"HTTP {reply.status}")
    if request.needed and reply.status != 200:
        raise UpstreamError(f"{request.url}: HTTP {reply.status}, and nothing can stand in for this answer")
    if not is_final:
        raise UpstreamError(f"{request.url}: HTTP {reply.status}, which is not kept; the next run asks again")


def _has_end(accept: str, body: bytes) -> bool:
    """Whether a body of untold length ends as its kind must."""
    if accept.startswith("text/html"):
        return b"</html>" in body[-1024:].lower()
    return looks_whole(body) if accept.startswith("image/") else True


def retry_after(headers: Mapping[str, str], clock: Clock) -> float | None:
    """Seconds to wait by the Retry-After header; None when there is none that makes sense.

    A moment is told by the host's own clock, where it says what that shows: ours may be fast.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", value):
        return float(value)
    until = _moment(value)
    if until is None:
        return None
    now = _moment(headers.get("Date", ""))
    return max(until - (clock.wall() if now is None else now), 0.0)


def _moment(text: str) -> float | None:
    """Seconds since 1970 of a date as HTTP writes it."""
    try:
        when = parsedate_to_datetime(text)
        return when.replace(
            tzinfo=when.tzinfo or UTC
        ).timestamp()  # without a zone, as in asctime's form, it is UTC too
    except (TypeError, ValueError, OverflowError):
        return None
