"""What can go wrong, as one tree; the command line prints one line and exits with the code.

MkgError                    1
├── UsageError              2   the request cannot be understood: fix the command or the recipe
│   ├── UnknownNameError        a name that nothing answers to; lists what exists and the nearest
│   └── RecipeError             a recipe or experiment that does not hold together
├── UpstreamError           3   a source or the network failed: run the same command again later
│   ├── TooExpensiveError       a query that the endpoint cannot answer in time: ask for less at a time
│   ├── QuotaError              what the source gives in a while is used up: no use asking again soon
│   └── HostClosedError         the host asks us to stay away: nothing more is asked of it in this run
├── DataError               4   data breaks its contract: a release, a picture, features, a run
├── StorageError            5   the disk: full, read-only, not ours
└── LockedError             6   another process is at work in the same folder
"""

import difflib
import heapq
from collections.abc import Iterable


class MkgError(Exception):
    """Base of every error a user may meet; its text is one line that says what to do."""

    exit_code = 1


class UsageError(MkgError):
    """The request cannot be understood."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that nothing answers to.

    The message names what was got, what is known and the nearest known name.
    """

    def __init__(self, kind: str, got: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        nearest = difflib.get_close_matches(got, _plausible(got, names), n=1, cutoff=0.5)
        parts = [f"unknown {kind} {got!r}"]
        if nearest:
            parts.append(f"did you mean {nearest[0]!r}?")
        if len(names) <= 30:
            parts.append(f"known: {', '.join(names) or 'none'}")
        else:
            parts.append(f"{len(names)} are known")
        if hint:
            parts.append(hint)
        super().__init__("; ".join(parts))


def _plausible(got: str, names: list[str]) -> list[str]:
    """The names worth a close look: of many, those that share most three-letter pieces; difflib is slow on 200,000."""
    pieces = {got[i : i + 3] for i in range(max(1, len(got) - 2))}
    likeness = {name: sum(piece in name for piece in pieces) / (len(pieces) + len(name)) for name in names}
    return heapq.nlargest(50, names, key=likeness.__getitem__)


class RecipeError(UsageError):
    """A recipe or an experiment that does not hold together."""


class UpstreamError(MkgError):
    """A source or the network failed; what was fetched is kept, the same command resumes."""

    exit_code = 3


class TooExpensiveError(UpstreamError):
    """A query that the endpoint cannot answer in time; half as much may be answered."""


class QuotaError(UpstreamError):
    """What the source gives in a while is used up."""


class HostClosedError(UpstreamError):
    """The host asks us to stay away, by Retry-After, by robots.txt or by refusals; the run ends here, to be resumed."""


class DataError(MkgError):
    """Data that breaks its contract."""

    exit_code = 4


class StorageError(MkgError):
    """The disk refuses: full, read-only or not ours."""

    exit_code = 5


class LockedError(MkgError):
    """Another process is at work in the same folder."""

    exit_code = 6
