"""One client for all of the network: polite by robots.txt and per-host limits, capped, and patient."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import requests
import tenacity
from requests.adapters import BaseAdapter

from mkg_builder import __version__
from mkg_builder.addresses import is_loopback, require_fetchable
from mkg_builder.clock import Clock
from mkg_builder.connections import PassingError, TooSlowError
from mkg_builder.errors import HostClosedError, TooExpensiveError, UpstreamError, UsageError
from mkg_builder.recipe import Limit
from mkg_builder.redaction import redact, remember
from mkg_builder.replies import (
    PASSING,
    REFUSING,
    RefusedError,
    Standing,
    media_type_of,
    require_quota,
    require_usable,
    retry_after,
    target,
)
from mkg_builder.robots import MOST_BYTES, PRODUCT, Robots
from mkg_builder.source import Answer, Request
from mkg_builder.sparql import as_post, require_results, require_time
from mkg_builder.throttle import MAX_WAIT, Throttle
from mkg_builder.wire import Call, Reply, Wire

logger = logging.getLogger(__name__)

MAX_BODY = 80 * 2**20
MAX_REDIRECTS = 5
UNSAID_WAIT = 60.0
"""Seconds to leave a live host alone that answers 429 and does not say for how long."""

LIVE_BACKOFF = 5.0
"""How much longer than this machine a live host is given to recover between attempts."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How long to wait for one answer, and how often to ask again.

    Attributes:
        connect: seconds for the name and the connection.
        read: seconds for the next piece of an answer.
        query: the same for a query, which an endpoint works on before it answers.
        total: seconds for one request on the wire, all its attempts and redirects together; what it waits for its
            turn, or because the host says so, does not count.
        attempts: how often it is asked.
    """

    connect: float = 10.0
    read: float = 30.0
    query: float = 75.0
    total: float = 120.0
    attempts: int = 4


@dataclass
class _Budget:
    """The seconds that one request has left on the wire."""

    left: float


class _RedirectsError(PassingError):
    """Redirects without end."""


class Client:
    """Fetches one address at a time; safe to call from several threads.

    Args:
        contact: an address or web page of whoever runs this, sent with each request.
        hosts: patterns of the hosts that may be asked, `*.example.org` or `127.0.0.1:8000`.
        limits: host or host/path pattern -> how often; a loopback host is limited only by a pattern that names it.
        patience: deadlines and attempts.
        transport: what carries requests; real HTTP unless a test gives its own.
        clock: what all waiting goes by.
        memory: a file where the requests of the last hour, and the waits that hosts ask for, are remembered.

    Attributes:
        standing: how this run stands with each host.
    """

    def __init__(
        self,
        contact: str | None,
        hosts: Iterable[str],
        limits: Mapping[str, Limit],
        patience: Patience = Patience(),
        transport: BaseAdapter | None = None,
        *,
        clock: Clock | None = None,
        memory: Path | None = None,
    ) -> None:
        self._contact, self._hosts, self._patience = contact, tuple(hosts), patience
        self._clock = clock or Clock()
        self._throttle = Throttle(limits, self._clock, memory)
        self._robots = Robots(self._fetch_robots, self._clock)
        self._delayed: set[str] = set()
        self.standing = Standing(self._answer)
        self.agent = f"{PRODUCT}/{__version__} ({contact or 'loopback only'}) python-requests/{requests.__version__}"
        self._wire = Wire(self.agent, transport)

    def ask(self, request: Request, again: bool = False) -> Answer:
        """The answer to a request, after as many attempts as patience allows.

        A request with secrets that the host does not take is answered with status 401.

        Args:
            request: what is asked.
            again: whether it failed in an earlier run, too: then a refusal tells little of the host.

        Raises:
            TooExpensiveError: a query that the endpoint cannot answer in time.
            QuotaError: what the source gives in a while is used up.
            HostClosedError: the host wants us to stay away for longer than a run waits, or refuses us again and again.
            UpstreamError: no usable answer, or the host refuses us.
            UsageError: a host that must not be asked, or a live host without a contact.
        """
        remember(request.secrets)
        try:
            answer = self._answer(request)
        except RefusedError as refusal:
            self.standing.refused(request, again, refusal)
            raise
        self.standing.answered(request, answer)
        return answer

    def stop(self) -> None:
        """Break off whatever is on its way or waiting, in all threads; for a run that ends early."""
        self._clock.stop()
        self._wire.stop()

    def _answer(self, request: Request) -> Answer:
        return self._patiently(request.url, lambda budget: self._once(request, budget))

    def _patiently(self, url: str, attempt: Callable[[_Budget], Result]) -> Result:
        budget = _Budget(self._patience.total)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(PassingError),
            stop=lambda state: state.attempt_number >= self._patience.attempts or budget.left <= 0,
            wait=lambda state: _backoff(state) * (1 if is_loopback(url) else LIVE_BACKOFF),
            sleep=self._clock.sleep,
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            return retrying(attempt, budget)
        except PassingError as fault:
            asked = retrying.statistics.get("attempt_number", 1)
            raise UpstreamError(redact(f"{url}: {fault} (asked {asked} times)")) from None
        except UpstreamError as fault:
            raise type(fault)(redact(str(fault))) from None

    def _once(self, request: Request, budget: _Budget) -> Answer:
        url, reply = self._follow(request, budget)
        if reply.status >= 400 and request.final and request.final.encode() in reply.body:
            return Answer(request.key, reply.status, reply.body, media_type_of(reply))
        require_quota(url, reply)
        if request.query:
            require_time(url, reply.status, reply.body)
        if reply.status in PASSING or reply.status >= 500:
            raise PassingError(f"HTTP {reply.status}")
        if reply.status == 401 and request.secrets:
            return Answer(request.key, 401, reply.body, media_type_of(reply))
        if reply.status in REFUSING:
            refused = HostClosedError if request.query else RefusedError
            raise refused(f"{url}: HTTP {reply.status}, the host refuses us; stop and ask its owners")
        media_type = media_type_of(reply)
        if request.query:
            require_results(url, reply.status, reply.body)
        require_usable(request, reply, media_type)
        return Answer(request.key, reply.status, reply.body, media_type)

    def _follow(self, request: Request, budget: _Budget, robots: bool = False) -> tuple[str, Reply]:
        """The reply at the end of the redirects, each of them allowed; secrets go to the first host alone."""
        url, secrets = request.url, request.secrets
        for _ in range(MAX_REDIRECTS + 1):
            self._require_allowed(url)
            if not robots:
                self._require_permitted(url, query=bool(request.query))
            reply = self._exchange(self._call(request, url, secrets, robots), url, budget)
            location = reply.headers.get("Location")
            if request.dead_end or not (300 <= reply.status < 400 and location):
                return url, reply
            if request.query and reply.status not in (307, 308):
                raise UpstreamError(f"{url}: answers a query with a redirect (HTTP {reply.status}) that drops it")
            onwards = target(url, location)
            if urlsplit(onwards)[:2] != urlsplit(url)[:2]:
                secrets = {}
            url = onwards
        raise _RedirectsError(f"more than {MAX_REDIRECTS} redirects")

    def _call(self, request: Request, url: str, secrets: Mapping[str, str], robots: bool) -> Call:
        headers, form = as_post(url, request.query, self.agent) if request.query else ({}, None)
        if secrets:
            url += ("&" if urlsplit(url).query else "?") + urlencode(secrets)
        patience = self._patience
        read = patience.query if request.query else patience.read
        most = MOST_BYTES if robots else MAX_BODY
        return Call(url, headers, form, patience.connect, read, most, cut=robots)

    def _exchange(self, call: Call, shown: str, budget: _Budget) -> Reply:
        with self._throttle.turn(shown):
            self.standing.require_open(shown)  # what waited for its turn meanwhile is not asked any more
            start = self._clock.now()
            try:
                reply = self._wire.carry(call, budget.left)
            except TooSlowError as fault:
                if call.form is not None:
                    raise TooExpensiveError(f"{shown}: {fault}; ask for less at a time") from None
                raise
            except UpstreamError as fault:
                raise type(fault)(f"{shown}: {fault}") from None
            finally:
                budget.left -= self._clock.now() - start
            if call.form is not None and "Retry-After" not in reply.headers:
                require_time(shown, reply.status, reply.body)  # a 429 may mean this alone, and no wait
            banned = reply.status in REFUSING and "Retry-After" in reply.headers
            if banned or reply.status in PASSING or reply.status >= 500:
                self._hear_out(shown, reply)  # before another request takes this one's place
            return reply

    def _hear_out(self, url: str, reply: Reply) -> None:
        """Leave the host alone for as long as it says; longer than a run waits ends the run."""
        wait = retry_after(reply.headers, self._clock)
        if wait is None:
            wait = UNSAID_WAIT if reply.status == 429 and not is_loopback(url) else 0.0
        self._throttle.pause(url, wait)
        if wait > MAX_WAIT:
            raise HostClosedError(f"{url}: asks to wait {wait:,.0f} s; run the same command again after that")

    def _require_allowed(self, url: str) -> None:
        parts = require_fetchable(url, self._hosts)
        if self._contact is None and not is_loopback(url):
            raise UsageError(
                f"{parts.netloc} is a live site and should know who asks: "
                "give --contact you@example.org (or set MKGB_CONTACT)"
            )

    def _require_permitted(self, url: str, query: bool) -> None:
        """What robots.txt says of a path is said to crawlers, not to who posts a query to a query service."""
        if not self._robots.allows(url) and not query:
            raise UpstreamError(f"{url}: robots.txt of this host forbids it")
        host = urlsplit(url).netloc
        if host not in self._delayed:
            delay = self._robots.delay(url)
            if delay:
                self._throttle.slow_down(url, delay)
            self._delayed.add(host)  # not before: another thread would go on, undelayed

    def _fetch_robots(self, url: str) -> bytes | None:
        """A host's robots.txt: 4xx or endless redirects mean there is none; 5xx or no answer forbid everything."""

        def attempt(budget: _Budget) -> bytes | None:
            try:
                _, reply = self._follow(Request("", url), budget, robots=True)
            except _RedirectsError:
                return None
            if reply.status == 429 or reply.status >= 500:
                raise PassingError(f"HTTP {reply.status}")
            return reply.body if reply.status == 200 else None

        try:
            return self._patiently(url, attempt)
        except HostClosedError:
            raise
        except UpstreamError as fault:
            raise HostClosedError(f"{fault}; a host whose robots.txt cannot be read is not asked (RFC 9309)") from None


_backoff: Callable[[tenacity.RetryCallState], float] = tenacity.wait_exponential(
    multiplier=0.2, max=30
) + tenacity.wait_random(0, 0.2)


def _log_retry(state: tenacity.RetryCallState) -> None:
    fault = state.outcome.exception() if state.outcome else None
    logger.info("asking again: %s", fault)
