"""Which addresses may be asked at all: schemes, hosts, and that a name leads to a public machine."""

import ipaddress
import queue
import re
import socket
import threading
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import SplitResult, urlsplit

from mkg_builder.errors import UpstreamError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PLAIN_HOST = re.compile(r"[A-Za-z0-9.\-_]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")

Endpoint = tuple[socket.AddressFamily, Any]
"""One resolved address: its family, and what `socket.connect` takes."""


def is_loopback(url: str) -> bool:
    """Whether an address points at this machine by its own name; what is no address points nowhere."""
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False


def is_web_address(url: str) -> bool:
    """Whether an address names a host to ask by http or https."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(_PLAIN_HOST.fullmatch(parts.netloc))


def is_fetchable(url: str, hosts: Sequence[str]) -> bool:
    """Whether an address may be asked, by the patterns of the allowed hosts."""
    try:
        require_fetchable(url, hosts)
    except UpstreamError:
        return False
    return True


def require_fetchable(url: str, hosts: Sequence[str]) -> SplitResult:
    """The parts of an address that may be asked.

    Args:
        url: the address.
        hosts: patterns of the allowed hosts; loopback is allowed only by a pattern that names it.

    Raises:
        UpstreamError: no address, another scheme than http(s), a host in disguise, a host that is not allowed.
    """
    try:
        parts = urlsplit(url)
    except ValueError as fault:
        raise UpstreamError(f"{url}: no address ({fault})") from None
    if parts.scheme not in ("http", "https"):
        raise UpstreamError(f"{url}: only http and https are fetched")
    if not _PLAIN_HOST.fullmatch(parts.netloc):
        raise UpstreamError(f"{url}: the host should be a plain name, without user, password or odd characters")
    allowed = [pattern for pattern in hosts if not is_loopback(url) or is_loopback(f"http://{pattern}")]
    if not any(fnmatchcase(parts.netloc.lower(), pattern.lower()) for pattern in allowed):
        raise UpstreamError(f"{url}: this host is not among the recipe's ({', '.join(hosts)})")
    return parts


def resolve(host: str, port: int, seconds: float) -> list[Endpoint]:
    """The addresses of a host, within so many seconds.

    Raises:
        TimeoutError: the name service did not answer in time.
        OSError: it knows no such name.
    """
    told: queue.SimpleQueue[list[Endpoint] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            told.put([(family, address) for family, _, _, _, address in found])
        except (OSError, UnicodeError) as fault:
            told.put(OSError(str(fault)))

    # getaddrinfo cannot be given a deadline, so it is left behind when it hangs
    threading.Thread(target=look_up, daemon=True).start()
    try:
        result = told.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        raise TimeoutError(f"the name {host} was not resolved in time") from None
    if isinstance(result, OSError):
        raise result
    return result


def require_public(host: str, endpoints: Sequence[Endpoint]) -> None:
    """Refuse a name that leads, with any of its addresses, to a private network or to this machine.

    Raises:
        UpstreamError: one of the addresses is not public.
    """
    for _, (first, *_) in endpoints:
        address = ipaddress.ip_address(str(first).partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if not address.is_global or address.is_multicast:
            raise UpstreamError(f"{host} leads to {address}, which is not a public address; it is not asked")
