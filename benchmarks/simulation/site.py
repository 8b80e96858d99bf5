"""WikiArt made up from a seed, answered inside the process, at any size; its faults and its time are made up as well.

Nothing of the site is kept in memory but where each artist's works begin: an answer is computed when it is asked for.
"""

import bisect
import heapq
import io
import itertools
import json
import os
import random
import re
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from PIL import Image
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from typing_extensions import override
from urllib3 import HTTPResponse

from mkg_builder.clock import Clock

FAULTS = ("500", "503", "429", "reset", "timeout", "truncated", "html", "json")
JSON, JPEG, HTML = "application/json; charset=utf-8", "image/jpeg", "text/html"
FIRST_ID = 100_000
FAR = 30.0
"""Seconds that the clock does not jump while somebody may still be at work; to ask each time would take hours."""

STANDS = 10.0
"""Seconds of real time that the clock waits for a thread that is to act before time goes on; it may lack a core."""

Content = tuple[int, str, bytes]
"""Status, media type, body."""


class VirtualClock(Clock):
    """A clock that jumps: who sleeps wakes at once when nobody is to wake before."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self._time = start
        self._lock = threading.Lock()
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._numbers = itertools.count()
        self._held: dict[int, float] = {}

    @override
    def now(self) -> float:
        return self._time

    @override
    def wall(self) -> float:
        return 1_800_000_000 + self._time

    @override
    def sleep(self, seconds: float) -> None:
        """Sleep; who sleeps for no time has just been allowed to ask, and the clock stands until it has asked."""
        self.sleep_and_hold(seconds, hold=0.0 if seconds > 0 else STANDS)

    def sleep_and_hold(self, seconds: float, hold: float) -> None:
        """Sleep, and then hold the clock until this thread sleeps again, so many seconds of real time at most."""
        super().sleep(0)
        thread = threading.get_ident()
        with self._lock:
            self._held.pop(thread, None)
            if seconds <= 0:
                self._held[thread] = time.monotonic() + hold
                return
            mine = (self._time + seconds, next(self._numbers), threading.Event())
            heapq.heappush(self._sleepers, mine)
            self._sleepers[0][2].set()
        while not self._wakes(mine, hold):
            pass
        super().sleep(0)

    def _wakes(self, mine: tuple[float, int, threading.Event], hold: float) -> bool:
        """Wait for the turn to wake; False where the clock was held, or somebody is to wake before."""
        mine[2].wait()
        if mine[0] - self._time > FAR:
            time.sleep(0.005)  # whoever is awake, and has to do with an earlier moment, comes first
        with self._lock:
            held = max(self._held.values(), default=0.0) > time.monotonic()
            first = self._sleepers[0]
            if not held:
                mine[2].clear()
                if first is mine:
                    heapq.heappop(self._sleepers)
                    self._time = max(self._time, mine[0])
                    if hold:
                        self._held[threading.get_ident()] = time.monotonic() + hold
                if self._sleepers:
                    self._sleepers[0][2].set()
        if held:
            time.sleep(0.0002)
        return not held and first is mine


class Site:
    """The answers of a WikiArt of so many artists and artworks."""

    def __init__(self, seed: int, artists: int, artworks: int) -> None:
        self._seed, self._artworks = seed, artworks
        rng = random.Random(f"{seed}:artists")
        weights = [1 / (rank + 8) if rank % 33 else 0.0 for rank in range(1, artists + 1)]  # some have no works
        rng.shuffle(weights)
        sums = [0.0, *itertools.accumulate(weights)]
        self._begin = [round(artworks * part / sums[-1]) for part in sums]

    def content(self, url: str) -> Content:
        """What a healthy site answers."""
        parts = urlsplit(url)
        path = unquote(parts.path)
        if path == "/robots.txt":
            return 200, "text/plain", b"User-agent: *\nAllow: /\n"
        if parts.netloc != "www.wikiart.org":
            return self._picture(path)
        if path == "/en/App/Artist/AlphabetJson":
            return _json([self._artist(number) for number in range(len(self._begin) - 1)])
        if path == "/en/App/Painting/PaintingsByArtist":
            artist = int(parse_qs(parts.query)["artistUrl"][0].rpartition("-")[2])
            return _json([self._entry(n, artist) for n in range(self._begin[artist], self._begin[artist + 1])])
        number = int(path.rpartition("/")[2]) - FIRST_ID
        if number % 40_000 == 7:  # the one in many that has no record
            return 302, HTML, b"<html>error</html>"
        return _json(self._work(number))

    def _random(self, *of: object) -> random.Random:
        return random.Random(":".join(map(str, (self._seed, *of))))

    def _name(self, artist: int) -> str:
        rng = self._random("name", artist)
        given, family = (
            rng.choice("BCDFGLMNPRST") + rng.choice("aeiou") + rng.choice(("rt", "nd", "lla")) for _ in "ab"
        )
        return f"{given} {family} {artist}"

    def _artist(self, number: int) -> dict[str, Any]:
        rng = self._random("artist", number)
        born = rng.randrange(1300, 1980)
        return {
            "contentId": number + 1, "artistName": self._name(number), "url": f"artist-{number}",
            "lastNameFirst": self._name(number), "birthDay": "/Date(-4810154400000)/", "deathDay": None,
            "birthDayAsString": str(born), "deathDayAsString": str(born + rng.randrange(20, 90)),
            "image": f"https://uploads3.wikiart.org/images/artist-{number}.jpg!Portrait.jpg",
            "wikipediaUrl": f"http://en.wikipedia.org/wiki/Artist_{number}", "dictonaries": [310, 2738],
        }  # fmt: skip

    def _entry(self, number: int, artist: int) -> dict[str, Any]:
        rng = self._random("work", number)
        year = rng.randrange(1400, 2020) if rng.random() < 0.718 else None
        picture = f"/{number % 400:05d}/images/artist-{artist}/work-{number}.jpg"
        image = f"https://uploads{number % 9}.wikiart.org{picture}!Large.jpg"
        return {
            "title": f"Work {number}" if number % 9973 else f"Work {number} gmail", "contentId": number + FIRST_ID,
            "artistContentId": artist + 1, "artistName": "\uffff" if rng.random() < 0.097 else self._name(artist),
            "completitionYear": year, "yearAsString": str(year or ""), "width": 600, "height": 480,
            "image": image if rng.random() > 0.005 else "https://uploads.wikiart.org/Content/images/FRAME-600x480.jpg",
        }  # fmt: skip

    def _work(self, number: int) -> dict[str, Any]:
        rng, artist = self._random("details", number), bisect.bisect_right(self._begin, number) - 1
        tags = ", ".join(sorted({f"tag-{int(800 * rng.random() ** 3)}" for _ in range(rng.randrange(7))}))
        return self._entry(number, artist) | {
            "artistUrl": f"artist-{artist}", "url": f"work-{number}", "dictionaries": [458, 508],
            "style": f"Style {int(60 * rng.random() ** 3)}" if rng.random() < 0.912 else None,
            "genre": f"genre {int(20 * rng.random() ** 2)}", "tags": tags or None, "location": None,
            "galleryName": f"Gallery {rng.randrange(300)}, Paris, France" if rng.random() < 0.21 else None,
            "sizeX": 92.1, "sizeY": 73.7, "diameter": None, "serie": None, "period": None, "description": None,
            "material": None, "technique": None, "auction": None, "yearOfTrade": None, "lastPrice": None,
        }  # fmt: skip

    def _picture(self, path: str) -> Content:
        number, size = re.findall(r"work-(\d+)\.jpg(?:!(\w+))?", path)[0]
        share = {"Large": 0.727, "HD": 0.173, "": 0.993}[size]
        if self._random(size, number).random() > share:
            return 404, HTML, b"<html>no such file</html>"
        buffer = io.BytesIO()
        Image.frombytes("L", (8, 8), self._random("pixels", number).randbytes(64)).resize((32, 32)).save(buffer, "JPEG")
        cut = 200 if size == "Large" and int(number) % 5000 == 11 else 0  # cut short at its source
        return 200, JPEG, buffer.getvalue()[: -cut or None]


def _json(value: object) -> Content:
    return 200, JSON, json.dumps(value).encode()


class Transport(BaseAdapter):
    """Carries requests to a made-up site, with delays and faults, and writes down when each was sent and arrived.

    A line of the log: when sent, when it arrived, when its answer is back, host, outcome, path. The lines survive
    `kill -9`. What befalls a request depends on the seed, the run, the address and how often it was asked in a row.
    """

    def __init__(self, site: Site, clock: VirtualClock, faults: float, seed: str, log: Path) -> None:
        super().__init__()
        self._site, self._clock, self._faults, self._seed = site, clock, faults, seed
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._attempts: dict[str, int] = {}

    @override
    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        url, clock = str(request.url), self._clock
        attempt = self._attempts.pop(url, 0)
        rng = random.Random(f"{self._seed}:{url}:{attempt}")
        fault = rng.choice(FAULTS) if rng.random() < self._faults else ""
        delay = 30.0 if fault == "timeout" else rng.uniform(0.02, 0.4) if rng.random() < 0.99 else rng.uniform(1, 8)
        wait = rng.randrange(1, 300) if fault == "429" else 0
        sent = clock.now()
        clock.sleep_and_hold(delay * rng.random(), hold=STANDS)  # until the answer is under way
        arrived, parts = clock.now(), urlsplit(url)
        outcome = f"429={wait}" if wait else fault or "answered"
        address = request.path_url
        line = f"{sent:.6f} {arrived:.6f} {sent + delay:.6f} {parts.netloc} {outcome} {address}\n"
        os.write(self._log, line.encode())
        clock.sleep_and_hold(sent + delay - arrived, hold=STANDS if fault else 0.0)
        if fault:
            self._attempts[url] = attempt + 1
        return self._reply(request, fault, wait)

    def _reply(self, request: requests.PreparedRequest, fault: str, wait: int) -> requests.Response:
        if fault == "reset":
            raise requests.ConnectionError("Connection reset by peer")
        if fault == "timeout":
            raise requests.ReadTimeout("timed out")
        if fault.isdigit():
            return _response(
                request, (int(fault), HTML, b"<html>busy</html>"), {"Retry-After": str(wait)} if wait else {}
            )
        if fault == "html":
            return _response(request, (200, HTML, b"<!doctype html><html>Are you a robot?</html>"), {})
        status, media_type, body = self._site.content(str(request.url))
        if fault == "json":
            return _response(request, (200, JSON, b'{"title": "cut'), {})
        if fault == "truncated":
            return _response(
                request, (status, media_type, body[: len(body) // 2]), {"Content-Length": str(len(body) + 1)}
            )
        return _response(
            request, (status, media_type, body), {"Location": "/en/App/Home/Error/0"} if status == 302 else {}
        )

    @override
    def close(self) -> None:
        os.close(self._log)


def _response(request: requests.PreparedRequest, content: Content, headers: dict[str, str]) -> requests.Response:
    status, media_type, body = content
    named = {"Content-Length": str(len(body)), "Content-Type": media_type, **headers}
    response = requests.Response()
    response.status_code, response.url, response.request = status, str(request.url), request
    response.headers = CaseInsensitiveDict(named)
    response.raw = HTTPResponse(io.BytesIO(body), headers=named, preload_content=False)
    return response
