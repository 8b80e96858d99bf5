"""One exchange over HTTP: verified addresses, one deadline for all of it, caps before and after decompression."""

import gzip
import logging
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import BaseAdapter

from mkg_builder.addresses import is_loopback
from mkg_builder.connections import GuardedAdapter, PassingError, TooSlowError, Watch, at_work
from mkg_builder.errors import UpstreamError
from mkg_builder.redaction import RedactingFilter

PIECE = 65536

logging.getLogger("urllib3.connectionpool").addFilter(RedactingFilter())  # it logs whole addresses


@dataclass(frozen=True)
class Call:
    """What is sent: a GET, or a POST where there is a form.

    Attributes:
        url: the address, secrets included; never shown.
        headers: what is sent besides the agent.
        form: the body of a POST.
        connect: seconds for the name and the connection.
        read: seconds for the next piece of an answer.
        most: so many bytes of the body are taken, before and after decompression.
        cut: whether a longer body is cut there instead of refused.
    """

    url: str
    headers: Mapping[str, str]
    form: bytes | None
    connect: float
    read: float
    most: int
    cut: bool = False


@dataclass(frozen=True)
class Reply:
    """What came back; `framed` says whether the answer told its own length, so that its end is sure."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    framed: bool


class Wire:
    """Carries calls; safe to use from several threads.

    Args:
        agent: the User-Agent of every call.
        transport: what carries requests; real HTTP unless a test gives its own.
    """

    def __init__(self, agent: str, transport: BaseAdapter | None = None) -> None:
        self._session = requests.Session()
        self._session.headers.clear()
        self._session.headers.update({"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "gzip"})
        self._session.auth = lambda prepared: prepared  # never what ~/.netrc holds for a host
        self._transport = transport or GuardedAdapter(pool_maxsize=16)
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def carry(self, call: Call, seconds: float) -> Reply:
        """Send a call and take its whole answer within so many seconds; redirects are not followed, cookies not kept.

        Raises:
            PassingError: the network failed, or the answer is not whole.
            UpstreamError: the answer is too large or in an encoding that was not asked for, or the host's
                address is not public.
        """
        method = "GET" if call.form is None else "POST"
        asked = requests.Request(method, call.url, headers=dict(call.headers), data=call.form)
        # not Session.send: it reads the body of a redirect whole, whatever its size
        try:
            prepared = self._session.prepare_request(asked)
        except requests.RequestException:
            raise UpstreamError("not an address that can be asked") from None
        proxies = {"http": "", "https": ""} if is_loopback(call.url) else {}
        settings: Any = self._session.merge_environment_settings(call.url, proxies, True, None, None)
        with self._watching(seconds) as watch:
            try:
                timeout = (call.connect, call.read)
                with self._transport.send(prepared, timeout=timeout, **settings) as response:
                    reply = _take(response, call)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, zlib.error, EOFError) as fault:
                watch.require_time()
                raise _in_words(fault) from None
            watch.require_time()
            return reply

    def stop(self) -> None:
        """Break off every exchange, for good."""
        with self._lock:
            self._stopped = True
            for watch in self._watches:
                watch.cut()

    @contextmanager
    def _watching(self, seconds: float) -> Iterator[Watch]:
        watch = Watch(seconds)
        with self._lock:
            self._watches.add(watch)
        timer = threading.Timer(seconds, watch.cut)
        timer.daemon = True
        timer.start()
        at_work.watch = watch
        try:
            if self._stopped:
                watch.cut()
            yield watch
        finally:
            timer.cancel()
            with self._lock:
                self._watches.discard(watch)
            watch.close()


def _take(response: requests.Response, call: Call) -> Reply:
    """The answer with its body, decompressed as it comes."""
    headers = response.headers
    announced = response.raw.length_remaining
    if announced is not None and announced > call.most and not call.cut:
        raise UpstreamError(f"announces {announced:,} bytes, more than {call.most:,}")
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise UpstreamError(f"answered in the encoding {encoding[:60]!r}, which was not asked for")
    source: Any = _Counted(response.raw, call)
    reader: Any = gzip.GzipFile(fileobj=source, mode="rb") if encoding == "gzip" else source
    pieces, size = [], 0
    while piece := reader.read(PIECE):
        size += len(piece)
        pieces.append(piece)
        if size > call.most:
            if not call.cut:
                raise UpstreamError(f"more than {call.most:,} bytes")
            break
    framed = announced is not None or response.raw.chunked
    return Reply(response.status_code, headers, b"".join(pieces), framed)


class _Counted:
    """The bytes as they come over the wire; too many are refused."""

    def __init__(self, raw: Any, call: Call) -> None:
        self._raw, self._call, self._count = raw, call, 0

    def read(self, size: int) -> bytes:
        piece: bytes = self._raw.read(min(size, PIECE), decode_content=False)
        self._count += len(piece)
        if self._count > self._call.most + PIECE and not self._call.cut:
            raise UpstreamError(f"more than {self._call.most:,} bytes")
        return piece


def _in_words(fault: BaseException) -> PassingError:
    """A network fault in words, without the address (which may hold a secret)."""
    text = str(fault)
    for sign, words in (
        ("refused", "connection refused"),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not valid for this host"),
        ("SSL", "no secure connection"),
        ("unreachable", "the network is unreachable"),
        ("IncompleteRead", "the answer broke off"),
        ("end-of-stream", "the answer broke off"),
        ("InvalidChunk", "the answer broke off"),
        ("reset", "connection reset"),
        ("closed connection", "connection reset"),
        ("more than 100 headers", "too many headers"),
        ("got more than", "a header is too long"),
    ):
        if sign in text:
            return PassingError(words)
    if "timed out" in text or isinstance(fault, TimeoutError | requests.Timeout):
        return TooSlowError("timed out")
    return PassingError(type(fault).__name__)
