"""Connections that lead only to verified addresses, and that are shut when their exchange's time is over."""

import contextlib
import socket
import threading
import time
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3.connection import HTTPConnection, HTTPSConnection

from mkg_builder.addresses import LOOPBACK, Endpoint, require_public, resolve


class PassingError(Exception):
    """A fault that may be gone at the next attempt."""


class TooSlowError(PassingError):
    """Connected, but nothing came for too long, or not everything within the deadline."""


at_work = threading.local()
"""`at_work.watch`: the exchange that this thread is in; urllib3 offers no other way to hand it to a connection."""


class Watch:
    """Ends an exchange at its deadline, wherever it is, by shutting down its connections."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._deadline = seconds, time.monotonic() + seconds
        self._over = False
        self._handles: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return 0.0 if self._over else max(self._deadline - time.monotonic(), 0.0)

    def require_time(self) -> None:
        """Raises TooSlowError when the deadline is over: a connection that we shut looks like one that ended."""
        if self._over:
            raise TooSlowError(f"too slow: not everything came within {self._seconds:.0f} s")

    def guard(self, connection: socket.socket) -> None:
        """Watch a connection, by a handle of our own: TLS and urllib3 may replace or give away theirs."""
        with self._lock:
            if self._over:
                raise TimeoutError("timed out")
            self._handles.append(socket.fromfd(connection.fileno(), connection.family, connection.type))

    def cut(self) -> None:
        """End the exchange now; may be called from any thread."""
        with self._lock:
            self._over = True
            for handle in self._handles:
                with contextlib.suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let the connections go; they live on in the pool."""
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()


class _Guarded:
    """What our connections do differently: they connect to verified addresses, and are watched."""

    def _new_conn(self) -> socket.socket:
        connection: Any = self
        watch: Watch = at_work.watch
        until = time.monotonic() + min(connection.timeout or watch.remaining, watch.remaining)
        try:
            endpoints = resolve(connection.host, connection.port, until - time.monotonic())
        except TimeoutError:
            raise PassingError("the host's name was not resolved in time") from None
        except OSError:
            raise PassingError("the host's name is unknown") from None
        if connection.proxy is None and connection.host.strip("[]") not in LOOPBACK:
            require_public(connection.host, endpoints)
        return _connect(endpoints, until, watch)

    def request(self, *arguments: Any, **options: Any) -> None:
        open_already = getattr(self, "sock", None)
        if open_already is not None:
            at_work.watch.guard(open_already)
        super().request(*arguments, **options)  # type: ignore[misc]


def _connect(endpoints: list[Endpoint], until: float, watch: Watch) -> socket.socket:
    """A watched connection to the first address that answers, each given its share of the time."""
    last: OSError = TimeoutError("timed out")
    for left, (family, address) in zip(range(len(endpoints), 0, -1), endpoints, strict=True):
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.settimeout(max((until - time.monotonic()) / left, 0.001))
            watch.guard(opened)
            opened.connect(address)
        except OSError as fault:
            opened.close()
            last = fault
        else:
            return opened
    if isinstance(last, TimeoutError):
        raise PassingError("no connection in time")
    raise last


class _HTTPConnection(_Guarded, HTTPConnection):
    pass


class _HTTPSConnection(_Guarded, HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class GuardedAdapter(HTTPAdapter):
    """requests' adapter over our connections, through a proxy too."""

    @override
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    @override
    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager
