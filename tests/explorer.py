"""An explorer that runs in a thread of the test's process, on a port of its own."""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mkg_builder.explore.app import address, serving
from mkg_builder.explore.index import open_index


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@contextmanager
def explorer(release: Path, cache: Path, run: Path | None = None) -> Iterator[str]:
    """The address of an explorer of a release."""
    with serving(release, open_index(release, cache), run, 0) as (server, listening):
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield address(listening)
        finally:
            server.should_exit = True
            thread.join(20)


def get(address: str, data: bytes | None = None, **headers: str) -> Answer:
    """What is answered, an error too."""
    request = urllib.request.Request(address, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as reply:
            return Answer(reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())


def send_picture(address: str, body: bytes, **headers: str) -> Answer:
    """A file, sent as the form sends it."""
    frame = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="../../p"\r\n\r\n%s\r\n--x--\r\n' % body
    return get(f"{address}ask", frame, Content_Type="multipart/form-data; boundary=x", **headers)
