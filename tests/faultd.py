"""A web server on loopback that misbehaves by plan, and writes down when it was asked, what and with which headers."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Handler"], None]


@dataclass
class Asked:
    """One request as the server saw it."""

    time: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Plan:
    """What each path answers: a list is given one by one, its last for ever; what is not planned is a 404."""

    answers: dict[str, Any]
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    taken: int = 0

    def next(self, path: str) -> Fault:
        with self.lock:
            found = self.answers.get(path, self.answers.get(path.partition("?")[0], ok(b"not here", 404)))
            if isinstance(found, list):
                found = found.pop(0) if len(found) > 1 else found[0]
            return found  # type: ignore[no-any-return]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    plan: Plan
    body: bytes

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(
            time.monotonic(),
            self.command,
            self.path,
            {name.title(): value for name, value in self.headers.items()},
            self.body,
        )
        with self.plan.lock:
            self.plan.asked.append(asked)
        try:
            self.plan.next(self.path)(self)
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass

    def raw(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Bytes as they are, then the end of the connection."""
        self.close_connection = True
        for piece in pieces:
            self.wfile.write(piece)
            self.plan.taken += len(piece)
            if pause:
                self.wfile.flush()
                time.sleep(pause)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[tuple[str, Plan]]:
    """The base address of a running server, and its plan."""
    plan = Plan(answers)
    server = Server(("127.0.0.1", 0), type("Planned", (Handler,), {"plan": plan}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", plan
    finally:
        server.shutdown()
        server.server_close()


def ok(body: bytes = b"{}", status: int = 200, **headers: str) -> Fault:
    """A whole answer."""
    named = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}

    def give(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | named).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return give


def moved(location: str, body: bytes = b"", status: int = 302, **headers: str) -> Fault:
    return ok(body, status, Location=location, **headers)


def head(status: str = "200 OK", *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def lines(*pieces: bytes, pause: float = 0.0) -> Fault:
    """Raw bytes, for answers that no server library would send."""
    return lambda handler: handler.raw(*pieces, pause=pause)


def cut_off(body: bytes, kind: str = "application/json", missing: int = 1) -> Fault:
    """Shorter than its Content-Length says."""
    return lines(head("200 OK", f"Content-Type: {kind}", f"Content-Length: {len(body) + missing}"), body)


def broken_chunks(body: bytes, kind: str = "application/json") -> Fault:
    return lines(head("200 OK", f"Content-Type: {kind}", "Transfer-Encoding: chunked"),
                 b"%x\r\n" % (len(body) + 5), body)  # fmt: skip


def unframed(body: bytes, kind: str = "application/json") -> Fault:
    """Without a length: it ends when the connection does."""
    return lines(head("200 OK", f"Content-Type: {kind}"), body)


def trickle(body: bytes, pause: float) -> Fault:
    pieces = [bytes([byte]) for byte in body]
    return lines(head("200 OK", f"Content-Length: {len(body)}"), *pieces, pause=pause)


def slow_head(pause: float) -> Fault:
    return lines(*(bytes([byte]) for byte in head("200 OK", "Content-Length: 2") + b"{}"), pause=pause)


def silence(seconds: float = 30.0) -> Fault:
    """Take the request and never answer."""

    def wait(handler: Handler) -> None:
        handler.close_connection = True
        time.sleep(seconds)

    return wait


def reset(handler: Handler) -> None:
    """End the connection without a word."""
    handler.close_connection = True


def endless(handler: Handler) -> None:
    """A body without end."""
    handler.raw(head("200 OK", "Content-Type: image/jpeg"))
    while True:
        handler.raw(b"\xff" * 65536)


def bomb(megabytes: int, kind: str = "application/json") -> bytes:
    """So many megabytes of blanks, compressed."""
    return gzip.compress(b" " * (megabytes << 20))
