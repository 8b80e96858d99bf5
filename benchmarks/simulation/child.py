"""One run of the simulated crawl, in a process that may be killed at any moment.

python -m simulation.child '{"workspace": …, "recipe": …, "seed": 0, "artists": …, "artworks": …, "faults": 0.05,
                             "run": 0, "begin": 0.0}'
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from mkg_builder import durable, snapshot, workshop
from mkg_builder.build import fetch
from mkg_builder.errors import UpstreamError
from mkg_builder.http import Client
from mkg_builder.replies import Standing
from mkg_builder.source import Answer, Request
from simulation.site import Site, Transport, VirtualClock


def timed(function: Callable[..., Any], log: int) -> Callable[..., Any]:
    """The function, and a line in the log of how long each call took."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments)
        os.write(log, f"{time.perf_counter() - began:.6f}\n".encode())
        return result

    return call


class NoTimer:
    """Takes the place of a timer of real time; a thread for each request would only cost time."""

    daemon = False

    def __init__(self, *_: Any) -> None:
        pass

    def start(self) -> None:
        """Nothing is to come."""

    cancel = start


class Ideal:
    """Takes the place of the client where nothing disturbs: asks the site itself."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.standing = Standing(self.ask)

    def ask(self, request: Request, again: bool = False) -> Answer:  # noqa: ARG002
        """What the site answers."""
        status, media_type, body = self._site.content(request.url)
        return Answer(request.key, status, body, media_type.partition(";")[0])

    def stop(self) -> None:
        """Nothing is under way."""


def main() -> None:
    """Fetch; exit code 3 where some answers could not be had."""
    asked = json.loads(sys.argv[1])
    workspace, run = Path(asked["workspace"]), asked["run"]
    clock = VirtualClock(asked["begin"])
    site = Site(asked["seed"], asked["artists"], asked["artworks"])
    log = workspace / f"asked-{run}.log"
    transport = Transport(site, clock, asked["faults"], f"{asked['seed']}:{run}", log)
    syncs = os.open(workspace / f"syncs-{run}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    client = (
        functools.partial(Client, transport=transport, clock=clock)
        if asked["faults"]
        else (lambda *_, **__: Ideal(site))
    )
    with (
        mock.patch.object(workshop, "Client", client),
        mock.patch("threading.Timer", NoTimer),  # deadlines in real time, which never come
        mock.patch.object(os, "fsync", timed(os.fsync, syncs)),
        mock.patch.object(snapshot, "sync_file_system", timed(durable.sync_file_system, syncs)),
    ):
        try:
            report = fetch(workshop.Job(asked["recipe"], workspace, contact="crawl@example.org"))
        except UpstreamError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(error.exit_code)
    print(json.dumps({"added": report.added, "answers": report.answers, "virtual": clock.now()}))


if __name__ == "__main__":
    main()
