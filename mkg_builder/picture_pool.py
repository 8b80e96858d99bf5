"""A few processes that decode pictures; one that dies or hangs costs one picture, and is replaced."""

import os
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Self, TypeVar

from mkg_builder.errors import MkgError
from mkg_builder.picture import PictureError, PictureKilledError
from mkg_builder.picture_worker import READY, receive, send

ENVIRONMENT = ("PATH", "PYTHON", "LD_", "DYLD_")
"""What a worker needs to start; secrets of the parent are none of its business."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Caps:
    """What one worker may use.

    Attributes:
        memory: MiB of address space; 300 million pixels need up to 2,400 (four bytes each, and upright again).
        seconds: of processor time, for one picture.
        patience: seconds of waiting for one picture, whatever keeps the worker.
    """

    memory: int = 3072
    seconds: int = 60
    patience: float = 600.0


class PicturePool:
    """Decodes pictures in processes of their own, started when there is a first picture.

    To be used in a `with` statement, from any thread.
    """

    def __init__(self, workers: int = 2, caps: Caps = Caps()) -> None:
        self._size, self._caps = workers, caps
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()  # None: one that is not started yet
        for _ in range(workers):
            self._idle.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for _ in range(self._size):
            if (worker := self._idle.get()) is not None:
                worker.stop()

    def ask(self, body: bytes, longest_side: int | None = None) -> tuple[dict[str, Any], bytes]:
        """What `picture_worker.examine` says of a picture's file.

        Raises:
            PictureError: no whole picture, or one that costs more than the caps; the message is the reason.
            PictureKilledError: somebody else killed two workers over it, as a system does that is short of memory.
            MkgError: a worker does not start at all.
        """
        worker = self._idle.get()
        try:
            worker = working = worker or _Worker(self._caps)
            try:
                answer, payload = working.ask(body, longest_side)
            except _KilledError:  # by the system, perhaps for another's sake: that is not the picture's fault yet
                worker = working = self._fresh(working)
                answer, payload = working.ask(body, longest_side)
        except _WorkerDiedError as death:
            worker = self._fresh(working)
            raise (PictureKilledError if isinstance(death, _KilledError) else PictureError)(str(death)) from None
        finally:
            self._idle.put(worker)
        if "reason" in answer:
            raise PictureError(answer["reason"])
        return answer, payload

    def _fresh(self, dead: "_Worker") -> "_Worker":
        dead.stop()
        return _Worker(self._caps)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The function's results in the order of the items, a few items ahead of who takes them."""
        threads = self._size + 1  # one prepares its question while the others wait for their answers
        with ThreadPoolExecutor(threads) as executor:
            waiting: deque[Future[Result]] = deque()
            try:
                for item in items:
                    waiting.append(executor.submit(function, item))
                    if len(waiting) > 4 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                executor.shutdown(wait=False, cancel_futures=True)


class _WorkerDiedError(Exception):
    """A worker that gave no answer; the text says why, as far as the system tells."""


class _KilledError(_WorkerDiedError):
    """A worker that somebody else killed."""


class _Worker:
    """One process; answers one question at a time."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        command = [sys.executable, "-P", "-m", "mkg_builder.picture_worker", str(caps.memory), str(caps.seconds)]
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent, which then stops its workers
            env={name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._answers = select.poll()
        self._answers.register(self._stdout, select.POLLIN)
        if (hello := receive(self._stdout)) is None or READY.items() - hello[0].items():
            self.stop()
            raise MkgError(
                f"the picture worker does not start; to see why: {' '.join(command)} </dev/null"
                f" (exit code {self._process.returncode})"
            )

    def ask(self, body: bytes, longest_side: int | None) -> tuple[dict[str, Any], bytes]:
        """The worker's answer.

        Raises:
            _WorkerDiedError: there is none, and there will be no other.
        """
        late = False
        try:
            send(self._stdin, {"longest_side": longest_side}, body)
            late = not self._answers.poll(self._caps.patience * 1000)
            answer = None if late else receive(self._stdout)
        except (OSError, ValueError, LookupError, TypeError):
            answer = None
        if answer is None:
            reason = self._autopsy(late)
            raise (_KilledError if self._process.returncode == -signal.SIGKILL else _WorkerDiedError)(reason)
        return answer

    def _autopsy(self, late: bool) -> str:
        try:
            code = self._process.wait(0 if late else 10)
        except subprocess.TimeoutExpired:
            return f"its decoding took longer than {self._caps.patience:g} s"
        if code == -signal.SIGXCPU:
            return f"its decoding took longer than {self._caps.seconds} s of processor time"
        if code == -signal.SIGKILL:
            return "its decoding was killed by the system, for want of memory most likely"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its decoding crashed ({name})"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._stdin, self._stdout):
            with suppress(OSError):  # what was not written yet has no reader any more
                stream.close()
