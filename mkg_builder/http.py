"""One client for all of the network: polite by robots.txt and per-host limits, capped, and patient."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from fnmatch import fnmatch
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import tenacity
import urllib3
from protego import Protego
from pyrate_limiter import Duration, Limiter, Rate
from requests.adapters import BaseAdapter, HTTPAdapter

from mkg_builder import __version__
from mkg_builder.errors import UpstreamError, UsageError
from mkg_builder.recipe import Limit
from mkg_builder.snapshot import is_loopback
from mkg_builder.source import Answer, Request
from mkg_builder.strict import parse_json

logger = logging.getLogger(__name__)

MAX_BODY = 80 * 2**20
MAX_REDIRECTS = 5
MAX_WAIT = 600.0
"""Seconds that an upstream may ask us to wait within one run; longer waits end the run, to be resumed."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
REFUSING = frozenset({401, 403, 407, 451})


@dataclass(frozen=True)
class Patience:
    """How long to wait for one answer, and how often to ask again."""

    connect: float = 10.0
    read: float = 30.0
    total: float = 120.0
    attempts: int = 4


class PassingError(Exception):
    """A fault that may be gone at the next attempt."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Client:
    """Fetches one address at a time; safe to call from several threads.

    Args:
        contact: an address or web page of whoever runs this, sent with each request.
        hosts: patterns of the hosts that may be asked, `*.example.org` or `127.0.0.1:8000`.
        limits: host pattern -> how often; a loopback host is limited only by a pattern that names it.
        patience: deadlines and attempts.
        transport: what carries requests; real HTTP unless a test gives its own.
    """

    def __init__(
        self,
        contact: str | None,
        hosts: Iterable[str],
        limits: Mapping[str, Limit],
        patience: Patience = Patience(),
        transport: BaseAdapter | None = None,
    ) -> None:
        self._contact, self._hosts, self._patience = contact, tuple(hosts), patience
        self._limits = [(pattern, _Throttle(limit)) for pattern, limit in limits.items()]
        self._robots: dict[str, Protego] = {}
        self._asking_robots = threading.Lock()
        self.agent = f"mkgb-bot/{__version__} ({contact or 'loopback only'}) python-requests/{requests.__version__}"
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": self.agent})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, transport or HTTPAdapter(pool_maxsize=16))

    def ask(self, request: Request) -> Answer:
        """The answer to a request, after as many attempts as patience allows.

        Raises:
            UpstreamError: no usable answer, or the host refuses us.
            UsageError: a host that must not be asked, or a live host without a contact.
        """
        self._require_allowed(request.url)
        if not self._robots_of(request.url).can_fetch(request.url, self.agent):
            raise UpstreamError(f"{request.url}: robots.txt of this host forbids it")
        return self._patiently(request)

    def _patiently(self, request: Request) -> Answer:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(PassingError),
            stop=tenacity.stop_after_attempt(self._patience.attempts),
            wait=_wait,
            reraise=True,
        )
        try:
            return retrying(self._once, request)
        except PassingError as fault:
            raise UpstreamError(f"{request.url}: {fault} (asked {self._patience.attempts} times)") from None

    def _once(self, request: Request) -> Answer:
        url, deadline = request.url, time.monotonic() + self._patience.total
        for _ in range(MAX_REDIRECTS + 1):
            asked = _with_secrets(url, request.secrets) if url == request.url else url
            status, headers, body = self._exchange(asked, deadline)
            if status >= 400 and request.final and request.final.encode() in body:
                return Answer(request.key, status, body, headers.get("Content-Type", "").partition(";")[0].lower())
            if status in PASSING:
                raise PassingError(f"HTTP {status}", _retry_after(headers, url))
            if status in REFUSING:
                raise UpstreamError(f"{url}: HTTP {status}, the host refuses us; stop and ask its owners")
            location = headers.get("Location")
            if not (request.follow and 300 <= status < 400 and location):
                media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
                _require_usable(request, status, body, media_type)
                return Answer(request.key, status, body, media_type)
            url = urljoin(url, location)
            self._require_allowed(url)
        raise PassingError(f"more than {MAX_REDIRECTS} redirects")

    def _exchange(self, url: str, deadline: float) -> tuple[int, Mapping[str, str], bytes]:
        """One request and its whole body, within the caps."""
        timeout = (self._patience.connect, self._patience.read)
        throttle = self._throttle(url)
        with throttle or nullcontext():
            try:
                with self._session.get(url, timeout=timeout, stream=True, allow_redirects=False) as response:
                    return response.status_code, response.headers, _read_capped(response, deadline)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as fault:
                raise PassingError(_reason(fault)) from None

    def _throttle(self, url: str) -> "_Throttle | None":
        host = urlsplit(url).hostname or ""
        for pattern, throttle in self._limits:
            if host == pattern or (fnmatch(host, pattern) and not is_loopback(url)):
                return throttle
        return None

    def _require_allowed(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise UpstreamError(f"{url}: only http and https are fetched")
        if not any(fnmatch(parts.netloc, pattern) for pattern in self._hosts):
            raise UpstreamError(f"{url}: this host is not among the recipe's ({', '.join(self._hosts)})")
        if self._contact is None and not is_loopback(url):
            raise UsageError(
                f"{parts.netloc} is a live site and should know who asks: "
                "give --contact you@example.org (or set MKGB_CONTACT)"
            )

    def _robots_of(self, url: str) -> Protego:
        """The host's rules by RFC 9309: 4xx allows all, 5xx or no answer forbids all (so the run stops)."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        with self._asking_robots:
            if origin not in self._robots:
                answer = self._patiently(Request(key="", url=f"{origin}/robots.txt"))
                text = answer.body[: 500 * 1024].decode("utf-8-sig", "replace") if answer.ok else ""
                self._robots[origin] = Protego.parse(text)
            return self._robots[origin]


class _Throttle:
    """Waits until a host may be asked, and holds at most so many requests open at once."""

    def __init__(self, limit: Limit) -> None:
        rates = []
        if limit.per_second is not None:
            whole = limit.per_second >= 1 and limit.per_second == int(limit.per_second)
            rates.append(
                Rate(int(limit.per_second), Duration.SECOND) if whole else Rate(1, round(1000 / limit.per_second))
            )
        if limit.per_hour is not None:
            rates.append(Rate(limit.per_hour, Duration.HOUR))
        self._limiter = Limiter(rates) if rates else None
        self._open = threading.BoundedSemaphore(limit.parallel)

    def __enter__(self) -> None:
        self._open.acquire()
        if self._limiter is not None:
            self._limiter.try_acquire("host")

    def __exit__(self, *_: object) -> None:
        self._open.release()


def _with_secrets(url: str, secrets: Mapping[str, str]) -> str:
    return url + ("&" if "?" in url else "?") + urlencode(secrets) if secrets else url


def _read_capped(response: requests.Response, deadline: float) -> bytes:
    """The body, decompressed as it comes; cut off past the size cap or the deadline."""
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise UpstreamError(f"{response.url}: announces {int(declared):,} bytes, more than {MAX_BODY:,}")
    pieces, size = [], 0
    for piece in response.raw.stream(65536, decode_content=True):
        size += len(piece)
        if size > MAX_BODY:
            raise UpstreamError(f"{response.url}: more than {MAX_BODY:,} bytes")
        if time.monotonic() > deadline:
            raise PassingError("too slow: the total time allowed for one answer is over")
        pieces.append(piece)
    return b"".join(pieces)


def _require_usable(request: Request, status: int, body: bytes, media_type: str) -> None:
    """Refuse a success that is not what was asked for: a login page, a cut document."""
    if status == 200 and request.holds and request.holds.encode() not in body:
        raise PassingError(f"an answer without {request.holds!r}")
    if status != 200 or not request.accept:
        return
    start = body[:512].lstrip().lower()
    is_page = start.startswith((b"<!doctype html", b"<html"))
    if (is_page and not request.accept.startswith("text/html")) or not media_type.startswith(request.accept):
        raise PassingError(f"answered {media_type or 'no type'} instead of {request.accept}")
    if request.accept == "application/json":
        try:
            parse_json(body)
        except ValueError as fault:
            raise PassingError(f"not whole JSON ({str(fault)[:80]})") from None


def _retry_after(headers: Mapping[str, str], url: str) -> float | None:
    """Seconds to wait by the Retry-After header; None when there is none that makes sense."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        wait = float(value)
    else:
        try:
            wait = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    if wait > MAX_WAIT:
        raise UpstreamError(f"{url}: asks to wait {wait:,.0f} s; run the same command again after that")
    return max(wait, 0.0)


_backoff: Callable[[tenacity.RetryCallState], float] = tenacity.wait_exponential(
    multiplier=0.2, max=30
) + tenacity.wait_random(0, 0.2)


def _wait(state: tenacity.RetryCallState) -> float:
    fault = state.outcome.exception() if state.outcome else None
    asked = fault.wait if isinstance(fault, PassingError) else None
    seconds = _backoff(state) if asked is None else asked
    logger.info("waiting %.1f s: %s", seconds, fault)
    return seconds


def _reason(fault: BaseException) -> str:
    """A network fault in words, without the address (which may hold a secret)."""
    text = str(fault)
    for sign, words in (
        ("NameResolution", "the host's name is unknown"),
        ("refused", "connection refused"),
        ("timed out", "timed out"),
        ("IncompleteRead", "the answer broke off"),
        ("reset", "connection reset"),
    ):
        if sign in text:
            return words
    return type(fault).__name__
