"""What a reply means: where it leads, how long it asks to wait, whether it is what was asked for."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from mkg_builder.clock import Clock
from mkg_builder.connections import PassingError
from mkg_builder.errors import QuotaError, UpstreamError
from mkg_builder.picture import looks_whole
from mkg_builder.source import Request
from mkg_builder.strict import parse_json
from mkg_builder.wire import Reply


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
        UpstreamError: a failure where only a success is an answer.
    """
    if request.dead_end and 300 <= reply.status < 400:
        location = reply.headers.get("Location", "").partition("?")[0]
        if request.dead_end.lower() not in location.lower():
            raise PassingError(f"HTTP {reply.status}, a redirect to {location[:80] or 'nowhere'}")
    if request.needed and reply.status != 200:
        raise UpstreamError(f"{request.url}: HTTP {reply.status}, and nothing can stand in for this answer")
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


def _has_end(accept: str, body: bytes) -> bool:
    """Whether a body of untold length ends as its kind must."""
    if accept.startswith("text/html"):
        return b"</html>" in body[-1024:].lower()
    return looks_whole(body) if accept.startswith("image/") else True


def retry_after(headers: Mapping[str, str], clock: Clock) -> float | None:
    """Seconds to wait by the Retry-After header; None when there is none that makes sense."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", value):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
        when = when.replace(tzinfo=when.tzinfo or UTC)  # without a zone, as in asctime's form, it is UTC too
        return max(when.timestamp() - clock.wall(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None
