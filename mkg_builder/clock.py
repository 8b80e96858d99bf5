"""Time as the network code sees it, one object, so that a test can give a clock of its own; dates for people."""

import threading
import time
from datetime import UTC, datetime

from mkg_builder.errors import UpstreamError


class Clock:
    """The real clock; its sleepers can be woken when the run is to stop."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> float:
        """Seconds on a clock that never jumps; every wait is measured by it."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970, which may jump; only for dates from outside and for what outlives the process."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            UpstreamError: the run was stopped, before or meanwhile.
        """
        if self._stopped.wait(max(seconds, 0.0)):
            raise UpstreamError("stopped; what is fetched is kept, the same command goes on from there")

    def stop(self) -> None:
        """Wake every sleeper, for good."""
        self._stopped.set()


def day(time: int) -> str:
    """The date of a moment, in UTC."""
    return datetime.fromtimestamp(time, UTC).date().isoformat()
