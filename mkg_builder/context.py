"""What a source is given while it fetches and while it reads."""

import hashlib
import itertools
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from typing_extensions import override

from mkg_builder.addresses import is_fetchable, is_web_address
from mkg_builder.errors import HostClosedError, TooExpensiveError, UpstreamError
from mkg_builder.graph import Dropped
from mkg_builder.http import Client
from mkg_builder.picture import PictureError, PictureKilledError, looks_whole
from mkg_builder.picture_pool import PicturePool
from mkg_builder.redaction import holds_secret
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer, Observations, Progress, Request, SourceContext
from mkg_builder.strict import Location
from mkg_builder.wording import counted

WORKERS = 8
AHEAD = 4 * WORKERS
"""So many requests are handed out before the first is taken; more would only fill the memory."""

CONSECUTIVE_FAILURES = 20
"""So many unanswered requests in a row mean that the source is down, not that one answer is broken."""


class SnapshotContext(SourceContext):
    """A source's context over a snapshot; without a client it reads only what is there.

    An answer that is absent has status 0, so that a source treats "never fetched" like any other failure.

    Attributes:
        failures: what could not be fetched, as lines; the next run asks again.
        hosts: patterns of the hosts that may be asked.
        pictures: decodes each picture that is fetched; without it, one that only looks whole passes.
        stated_in: the file of the recipe that states an option; without it, all of them lie in `folder`.
    """

    hosts: Sequence[str] = ()
    pictures: PicturePool | None = None
    stated_in: Callable[[Location], Path] | None = None

    def __init__(
        self,
        name: str,
        folder: Path,
        snapshot: Snapshot,
        endpoints: Mapping[str, str],
        limit: int | None = None,
        client: Client | None = None,
        advance: Progress | None = None,
    ) -> None:
        self.name, self.folder, self.limit = name, folder, limit
        self._snapshot, self._endpoints, self._client = snapshot, endpoints, client
        self._advance = advance
        self.observations = Observations()
        self.failures: list[str] = []
        self._absent: dict[str, None] = {}
        self._damaged: dict[str, None] = {}
        self._foreign: set[str] = set()
        self._in_a_row: Counter[bool] = Counter()
        self._counting = threading.Lock()
        self._failed = _Failed(snapshot.folder / f"failed-{name}.log")
        self._answers = itertools.count(1)

    @override
    def beside(self, *option: int | str) -> Path:
        return self.folder if self.stated_in is None else self.stated_in(option).resolve().parent

    @override
    def endpoint(self, name: str) -> str:
        return self._endpoints[name].rstrip("/")

    @override
    def may_ask(self, url: str) -> bool:
        allowed = is_fetchable(url, self.hosts)
        if not allowed:
            self._foreign.add(url.split("/")[2] if is_web_address(url) else url)
        return allowed

    @override
    def get(self, request: Request) -> Answer:
        kept = self._kept(request)
        if kept is not None:
            return kept
        if self._client is None:
            if request.key in self._snapshot.damaged:
                self._damaged.setdefault(request.key)
            elif not request.divisible and not request.optional:  # of what is divisible the halves were asked
                self._absent.setdefault(request.key)
            return Answer(request.key, 0, b"", "")
        again = request.key in self._failed
        try:
            answer = self._client.ask(request, again)
            return self._keep(request, answer)
        except HostClosedError:
            raise
        except TooExpensiveError as error:
            if not request.divisible:
                self._count_in_a_row(request, again, self._client, error)
            return Answer(request.key, 504, b"", "")
        except UpstreamError as error:
            self.failures.append(str(error))
            self._count_in_a_row(request, again, self._client, error)
            return Answer(request.key, 0, b"", "")

    def gaps(self) -> list[str]:
        """What was wanted while reading and could not be given: how much of it, and one example."""
        foreign = ", ".join(sorted(self._foreign)[:5])
        may_not = f"hosts that the source may not ask are left out; to ask them: hosts: [{foreign}]"
        told = {"without an answer": self._absent, "with a damaged answer in the snapshot": self._damaged}
        return [
            *([may_not] if foreign else []),
            *(f"{counted(len(keys), 'request')} {what}: left out, the first {next(iter(keys))}; mkgb fetch asks again"
              for what, keys in told.items() if keys),
        ]  # fmt: skip

    def _kept(self, request: Request) -> Answer | None:
        kept = self._snapshot.get(request.key) if request.key else None
        if kept is not None and kept.ok and self._client is not None:
            self._client.standing.prove(request)
        return None if kept is not None and request.needed and not kept.ok else kept

    def _keep(self, request: Request, answer: Answer) -> Answer:
        if not request.key or answer.status == 401:
            return answer
        _require_no_secret(answer, request.url)
        if self.pictures is not None and request.accept == "image/" and answer.ok and looks_whole(answer.body):
            self._decode(self.pictures, answer)
        self._snapshot.put(answer)
        self._in_a_row.clear()
        if self._advance is not None:
            self._advance(f"{self.name}: answers", next(self._answers), None, len(self.failures))
        return answer

    def _decode(self, pictures: PicturePool, answer: Answer) -> None:
        """Keep, before a picture itself, that it does not decode: a picture without that remark was decoded.

        Raises:
            UpstreamError: its decoding was killed, so nobody knows; the next run asks it again.
        """
        try:
            pictures.ask(answer.body)
            if _remark(answer.key) in self._snapshot:  # of bytes that were here before
                self._snapshot.forget(_remark(answer.key))
        except PictureKilledError as error:
            raise UpstreamError(f"{answer.key}: {error}") from None
        except PictureError as error:
            self._snapshot.put(Answer(_remark(answer.key), 200, str(error).encode(), "text/plain"))

    @override
    def is_whole_picture(self, answer: Answer) -> bool:
        return answer.ok and looks_whole(answer.body) and _remark(answer.key) not in self._snapshot

    def _count_in_a_row(self, request: Request, again: bool, client: Client, error: UpstreamError) -> None:
        """End the run where the source seems to be down.

        What failed in an earlier run is counted apart: a resumed run meets all of it in a row, and while the source
        answers what it answered before, it goes on to what is new.
        """
        self._failed.add(request.key)
        with self._counting:
            empty = len(self._snapshot) == 0 and not isinstance(error, TooExpensiveError)
            if empty and (request.needed or not again):
                raise error
            self._in_a_row[again] += 1
            if self._in_a_row[again] < CONSECUTIVE_FAILURES:
                return
            if not again or not client.standing.is_well(request):
                raise error
            self._in_a_row[again] = 0

    @override
    def get_all(self, requests: Sequence[Request]) -> Iterator[Answer]:
        if self._client is None:
            yield from map(self.get, requests)
            return
        pool = ThreadPoolExecutor(max_workers=WORKERS)
        waiting: deque[tuple[str, Future[Answer] | Answer]] = deque()
        try:
            for request in requests:
                if len(waiting) == AHEAD:
                    yield _result(waiting.popleft()[1])
                asked = next((answer for key, answer in waiting if key and key == request.key), None)
                waiting.append((request.key, asked or self._kept(request) or pool.submit(self.get, request)))
            while waiting:
                yield _result(waiting.popleft()[1])
        except GeneratorExit:
            raise
        except BaseException:
            self._client.stop()  # else what is on its way would hold up the end of the run
            raise
        finally:
            pool.shutdown(cancel_futures=True)  # what is queued is not asked any more

    @override
    def put(self, key: str, body: bytes, media_type: str, status: int = 200) -> None:
        answer = Answer(key, status, body, media_type)
        _require_no_secret(answer, key)
        self._snapshot.put(answer)

    @override
    def put_file(self, key: str, path: Path, media_type: str) -> None:
        self._snapshot.put_file(key, path, media_type)

    @override
    def forget(self, key: str) -> None:
        self._snapshot.forget(key)

    @override
    def file(self, key: str) -> Path | None:
        return self._snapshot.file(key)

    @override
    def has(self, key: str) -> bool:
        return key in self._snapshot

    @override
    def drop(self, dropped: Dropped) -> None:
        self.observations.dropped.append(dropped)

    @override
    def leftover(self, field_name: str) -> None:
        self.observations.leftovers.setdefault(self.name, set()).add(field_name)

    @override
    def note(self, text: str) -> None:
        self.observations.notes.append(text)

    @override
    def fail(self, line: str) -> None:
        self.failures.append(line)

    @override
    def progress(self, done: int, total: int | None) -> None:
        if self._advance is not None:
            self._advance(self.name, done, total, len(self.failures))


class _Failed:
    """The requests that have failed, from run to run: a file of hashes of their keys, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._earlier = frozenset(path.read_text("ascii", "replace").split()) if path.is_file() else frozenset()
        self._now: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """Whether a request failed in an earlier run."""
        return _hashed(key) in self._earlier

    def add(self, key: str) -> None:
        """Take note that a request has failed; one without a key is another one in every run."""
        name = _hashed(key)
        if not key or name in self._earlier or name in self._now:
            return
        self._now.add(name)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        try:
            os.write(handle, f"{name}\n".encode())
        finally:
            os.close(handle)


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _require_no_secret(answer: Answer, where: str) -> None:
    if holds_secret(answer.body):
        raise UpstreamError(f"{where}: the answer repeats a secret, so it is not kept")


def _remark(key: str) -> str:
    """Where the reason is kept why a picture does not decode."""
    return f"undecodable:{key}"


def _result(answer: Future[Answer] | Answer) -> Answer:
    return answer.result() if isinstance(answer, Future) else answer
