"""How far work has come, told to whoever looks: by a function that is passed on, or from deep inside by `watched`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")


class Advance(Protocol):
    """Told of progress."""

    def __call__(self, stage: str, done: int, total: int | None, skipped: int = 0) -> None:
        """The stage, how many are done, of how many (None: unknown), how many could not be had or were left out."""


_watching: ContextVar[Advance | None] = ContextVar("watching", default=None)


@contextmanager
def watching(tell: Advance) -> Iterator[None]:
    """What is `watched` in here is told to this function."""
    before = _watching.set(tell)
    try:
        yield
    finally:
        _watching.reset(before)


def watched(stage: str, items: Sequence[T]) -> Iterator[T]:
    """The items one by one; whoever is `watching` is told how many of them are done."""
    tell = _watching.get()
    for done, item in enumerate(items):
        if tell is not None:
            tell(stage, done, len(items))
        yield item
    if tell is not None:
        tell(stage, len(items), len(items))
