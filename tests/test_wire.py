import contextlib
import functools
import gzip
import io
import resource
import socket
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mkg_builder import connections, http, wire
from mkg_builder.errors import MkgError, UpstreamError
from mkg_builder.http import Client, Patience
from mkg_builder.source import Answer, Request
from tests.faultd import (
    bomb,
    broken_chunks,
    cut_off,
    endless,
    head,
    lines,
    moved,
    ok,
    reset,
    serving,
    silence,
    slow_head,
    trickle,
    unframed,
)  # fmt: skip

HASTE = Patience(connect=0.5, read=0.5, query=0.5, total=1, attempts=2)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_backoff", lambda state: 0.0)


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(file, kind)
    return file.getvalue()


def ask(answer: Any, accept: str = "application/json", query: str = "", patience: Patience = HASTE) -> Answer:
    with serving({"/a": answer}) as (base, _):
        client = Client(None, [base.removeprefix("http://")], {}, patience)
        return client.ask(Request("k", f"{base}/a", accept=accept, query=query))


JSON = b'{"a": [1, 2, 3]}'


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_picture_cut_anywhere_is_never_a_success(kind: str) -> None:
    whole = picture(kind)
    cuts = [whole[:cut] for cut in range(1, len(whole), max(1, len(whole) // 6))]
    faults = [fault(cut, "image/x") for cut in cuts for fault in (cut_off, broken_chunks, unframed)]
    taken = 0
    for fault in faults:
        try:
            ask(fault, "image/", patience=Patience(connect=1, read=1, total=2, attempts=1))
            taken += 1
        except UpstreamError:
            pass
    assert taken == 0
    assert ask(unframed(whole, "image/x"), "image/").body == whole


@pytest.mark.parametrize("fault", [cut_off, broken_chunks, unframed])
def test_a_document_that_broke_off_anywhere_is_asked_again_and_whole(fault: Any) -> None:
    cuts = range(1, len(JSON))
    with serving({f"/{cut}": [fault(JSON[:cut]), ok(JSON)] for cut in cuts}) as (base, plan):
        client = Client(None, [base.removeprefix("http://")], {}, HASTE)
        assert [client.ask(Request("k", f"{base}/{cut}", accept="application/json")).body for cut in cuts] == [
            JSON] * len(cuts)  # fmt: skip
    assert len(plan.asked) == 1 + 2 * len(cuts)
    assert not [asked for asked in plan.asked if "Range" in asked.headers]  # so nothing is ever spliced


@pytest.mark.parametrize("query", ["", "SELECT * WHERE {?a ?b ?c}"])
@pytest.mark.parametrize(
    "fault",
    [trickle(b" " * 400, 0.1), slow_head(0.1), silence(), lines(head()[:-4], *[b"x"] * 400, pause=0.1)],
    ids=["body trickles", "head trickles", "silence", "head without end"],
)
def test_the_deadline_holds_for_the_whole_of_a_request(fault: Any, query: str) -> None:
    start = time.monotonic()
    with pytest.raises(UpstreamError, match=r"too slow|timed out"):
        ask(fault, query=query)
    assert time.monotonic() - start < HASTE.total + 1


def test_the_deadline_holds_for_a_name_service_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: time.sleep(2.5) or [])
    client = Client("me@example.org", ["www.example.org"], {"*": http.Limit(parallel=4)}, HASTE)
    start = time.monotonic()
    with pytest.raises(UpstreamError, match="not resolved in time"):
        client.ask(Request("k", "http://www.example.org/a"))
    assert time.monotonic() - start < HASTE.total + 1


def test_a_name_that_nobody_knows_is_told_in_words(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    client = Client("me@example.org", ["www.example.org"], {"*": http.Limit(parallel=4)}, HASTE)
    with pytest.raises(UpstreamError, match=r"the host's name is unknown \(asked 2 times\)"):
        client.ask(Request("k", "http://www.example.org/a"))
    assert caplog.records == []  # a host that is down for a day says so once, at the end


def test_an_address_that_swallows_everything_costs_its_share_of_the_time_and_the_next_is_taken() -> None:
    with contextlib.ExitStack() as open_sockets:
        hole, good = (open_sockets.enter_context(socket.socket()) for _ in range(2))
        for server, backlog in ((hole, 0), (good, 9)):
            server.bind(("127.0.0.1", 0))
            server.listen(backlog)
        for _ in range(4):  # Linux drops what comes to a queue that is full
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(hole.getsockname())
        start, watch = time.monotonic(), connections.Watch(5)
        endpoints = [(socket.AF_INET, server.getsockname()) for server in (hole, good)]
        reached = open_sockets.enter_context(connections._connect(endpoints, start + 1, watch))
        assert reached.getpeername() == good.getsockname()
        assert 0.4 < time.monotonic() - start < 1
        watch.close()


@pytest.mark.parametrize(
    "announced", [lines(head("200 OK", "Content-Length: 10000000000"), b"x" * 1000), endless, lines(head(), bomb(300))]
)
def test_no_more_than_the_cap_is_read(announced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 100_000)
    taken, read = [], wire._Counted.read

    def count(counted: wire._Counted, size: int) -> bytes:
        try:
            return read(counted, size)
        finally:
            taken.append(counted._count)

    monkeypatch.setattr(wire._Counted, "read", count)
    with pytest.raises(UpstreamError, match=r"more than 100,000"):
        ask(announced, accept="")
    assert max(taken, default=0) <= 100_000 + 2 * wire.PIECE


MEGABYTES = 200


@pytest.mark.parametrize(
    "hostile",
    [
        ok(bomb(MEGABYTES), Content_Encoding="gzip"),
        moved("/b", bomb(MEGABYTES), Content_Encoding="gzip"),
        ok(gzip.compress(bomb(MEGABYTES)), Content_Encoding="gzip, gzip"),
        ok(
            functools.reduce(lambda body, _: gzip.compress(body), range(4), bomb(MEGABYTES)),
            Content_Encoding=", ".join(["gzip"] * 5),
        ),
        ok(zlib.compress(b" " * (MEGABYTES << 20)), Content_Encoding="deflate"),
        ok(b"any", Content_Encoding="br"),
        ok(b"any", Content_Encoding="zstd"),
    ],
    ids=["gzip", "in a redirect", "nested", "nested five times", "deflate", "br", "zstd"],
)
def test_a_compression_bomb_does_not_fill_the_memory(hostile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cap = 20 << 20
    monkeypatch.setattr(http, "MAX_BODY", cap)
    ask(ok(bomb(19), Content_Encoding="gzip"), accept="")  # what a good answer of this size takes, is taken before
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UpstreamError, match=r"more than|not asked for"):
        ask(hostile, accept="")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2 * cap


@pytest.mark.parametrize(
    "broken", [gzip.compress(JSON)[:-4], gzip.compress(JSON) + b"tail", b"no gzip"], ids=["cut", "longer", "none"]
)
def test_compressed_bytes_that_are_not_whole_are_refused(broken: bytes) -> None:
    with pytest.raises(UpstreamError):
        ask(ok(broken, Content_Encoding="gzip"))


@pytest.mark.parametrize(
    "hostile", [reset, lines(b"nonsense\r\n\r\n"), lines(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000, b"\r\n"),
                lines(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1_000_000, b"\r\n\r\n")],
)  # fmt: skip
def test_a_head_that_is_none_is_refused(hostile: Any) -> None:
    with pytest.raises(UpstreamError):
        ask(hostile)


def forbidden_targets(port: str) -> list[str]:
    return [
        "file:///etc/passwd", "ftp://127.0.0.1/x", "javascript:alert(1)", "data:text/plain,x", "gopher://127.0.0.1/",
        f"http://127.0.0.1:{port}/", f"http://localhost:{port}/", f"http://[::1]:{port}/", f"http://127.1:{port}/",
        f"http://2130706433:{port}/", f"http://0x7f000001:{port}/", f"http://127.0.0.2:{port}/",
        f"http://0.0.0.0:{port}/", f"http://[::ffff:127.0.0.1]:{port}/", f"http://user@127.0.0.1:{port}/",
        f"http://good.example\\@127.0.0.1:{port}/", f"//127.0.0.1:{port}/", "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/", "http://192.168.0.1/", "http://evil.example/", "http://127.0.0.1:99999/",
        "http://good.example%0d%0aX:y/", "http://good.example/\r\n\tSet-Cookie: a=b",
    ]  # fmt: skip


def test_no_redirect_leads_to_a_machine_that_is_not_allowed() -> None:
    with serving({"/": ok()}) as (secret, seen), serving({}) as (base, plan):
        targets = forbidden_targets(secret.rpartition(":")[2])
        refused = 0
        for number, target in enumerate(targets):
            plan.answers[f"/{number}"] = lines(head("302 Found", f"Location: {target}", "Content-Length: 0"))
            try:
                answer = Client(None, [base.removeprefix("http://")], {}, HASTE).ask(Request("k", f"{base}/{number}"))
                assert answer.body == b"not here", target  # at most a page of the same host
            except MkgError:
                pass
            refused += 1
        assert (refused, seen.asked) == (len(targets), [])


def test_this_machine_is_asked_only_where_it_is_named() -> None:
    with serving({"/a": ok()}) as (base, plan):
        with pytest.raises(UpstreamError, match="not among the recipe's"):
            Client("me@example.org", ["*", "*:*"], {}, HASTE).ask(Request("k", f"{base}/a"))
        assert plan.asked == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1",
                                     "0.0.0.0", "224.0.0.1", "100.64.0.1"])  # fmt: skip
def test_a_name_that_leads_to_a_private_address_is_not_connected_to(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([[(2, ("93.184.216.34", 80)), (2, (address, 80))]] * 9)
    monkeypatch.setattr(connections, "resolve", lambda *_: next(answers))
    monkeypatch.setattr(connections, "_connect", lambda *_: pytest.fail("connected"))
    with pytest.raises(UpstreamError, match="not a public address"):
        Client("me@example.org", ["*"], {"*": http.Limit()}, HASTE).ask(Request("k", "http://www.example.org/"))


def test_the_address_that_was_checked_is_the_address_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(connections, "resolve", lambda *_: [(2, ("93.184.216.34", 80))])
    monkeypatch.setattr(connections, "_connect", lambda endpoints, *_: told.append(endpoints) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Client("me@example.org", ["*"], {"*": http.Limit()}, HASTE).ask(Request("k", "http://www.example.org/"))
    assert told[0] == [(2, ("93.184.216.34", 80))]


def test_https_is_not_left_for_http() -> None:
    from mkg_builder.replies import target

    with pytest.raises(UpstreamError, match="from https to http"):
        target("https://www.example.org/a", "http://www.example.org/a")
    assert target("http://www.example.org/a", "https://www.example.org/b") == "https://www.example.org/b"


def test_no_cookie_is_kept_and_a_connection_is_used_again() -> None:
    with serving({"/a": ok(JSON, Set_Cookie="a=b")}) as (base, plan):
        client = Client(None, [base.removeprefix("http://")], {}, HASTE)
        for _ in range(3):
            client.ask(Request("k", f"{base}/a"))
    assert [asked.headers.get("Cookie") for asked in plan.asked] == [None] * 4


def test_a_proxy_of_the_environment_is_never_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    assert ask(ok(JSON)).ok


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of this host, of another and one that has ended, each signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    for name, host, days in (("good", "IP:127.0.0.1", "2"), ("wrong", "DNS:example.org", "2"),
                             ("expired", "IP:127.0.0.1", "-1")):  # fmt: skip
        key, asked, signed = (folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        for command in (
            ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", asked,
             "-subj", f"/CN={name}", "-addext", f"subjectAltName={host}"],
            ["x509", "-req", "-in", asked, "-signkey", key, "-days", days, "-out", signed, "-copy_extensions", "copy"],
        ):  # fmt: skip
            subprocess.run(["openssl", *command], check=True, capture_output=True)
    return folder


class NothingHere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)


@contextmanager
def served_with(certificate: Path) -> Iterator[Request]:
    """A server with this certificate, as what to ask of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server = HTTPServer(("127.0.0.1", 0), NothingHere)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield Request("k", f"https://127.0.0.1:{server.server_port}/")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("name", "trusted"), [("good", False), ("wrong", True), ("expired", True)])
def test_a_certificate_that_is_not_trusted_or_of_another_host_or_has_ended_is_refused(
    name: str, trusted: bool, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / f"{name}.pem"))
    with served_with(certificates / f"{name}.pem") as request, pytest.raises(UpstreamError, match="certificate"):
        Client(None, ["127.0.0.1:*"], {}, HASTE).ask(request)


def test_a_trusted_certificate_of_this_host_is_taken(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "good.pem"))
    with served_with(certificates / "good.pem") as request:
        assert Client(None, ["127.0.0.1:*"], {}, HASTE).ask(request).status == 404
