"""robots.txt by RFC 9309: which addresses a host forbids us, and how slowly it wants to be asked."""

import re
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from protego import Protego

from mkg_builder.clock import Clock

PRODUCT = "mkgb-bot"
"""The name by which a robots.txt may address us."""

MOST_BYTES = 500 * 1024
"""What is read of a robots.txt; RFC 9309 asks for no less."""

_VERSION = re.compile(r"(?im)^([ \t]*user-agent[ \t]*:[ \t]*[a-z_-]+)/.*$")
"""Whoever copies our name from a log copies its version, which is no part of it (RFC 9309, 2.2.1)."""

LASTS = 24 * 3600.0

Fetch = Callable[[str], bytes | None]
"""The body of a robots.txt by its address; None where there is none. Raises where nothing may be asked."""


class Robots:
    """The rules of every host met, each asked for once a day."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch, self._clock = fetch, clock
        self._rules: dict[str, tuple[float, Protego]] = {}
        self._asking: dict[str, threading.Lock] = {}

    def allows(self, url: str) -> bool:
        """Whether the host lets us ask this address."""
        return bool(self._of(url).can_fetch(url, PRODUCT))

    def delay(self, url: str) -> float | None:
        """The seconds between two requests that the host asks for, where it says so."""
        return self._of(url).crawl_delay(PRODUCT)

    def _of(self, url: str) -> Protego:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.lower()}"
        with self._asking.setdefault(origin, threading.Lock()):  # a host that lets us wait holds up no other
            known = self._rules.get(origin)
            if known is None or self._clock.now() - known[0] > LASTS:
                body = self._fetch(f"{origin}/robots.txt") or b""
                text = _VERSION.sub(r"\1", body[:MOST_BYTES].decode("utf-8-sig", "replace"))
                known = self._rules[origin] = (self._clock.now(), Protego.parse(text))
            return known[1]
