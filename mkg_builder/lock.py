"""One process at a time in a folder: a lock that the end of the process gives back, whatever that end is."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mkg_builder.errors import LockedError

OPENING = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's file `lock`, in which it says who holds it; a file system without locks is trusted.

    Raises:
        LockedError: another process holds it; the message names it.
    """
    with os.fdopen(os.open(folder / "lock", OPENING, 0o644), "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.2)  # who has just taken it is still writing down who it is
            lock.seek(0)
            raise LockedError(f"{folder} is in use by {lock.read().strip() or 'another process'}") from None
        except OSError:  # some network file systems have no locks at all
            pass
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        lock.flush()
        yield
