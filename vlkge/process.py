"""What a process that computes is told before torch is loaded; the commands and the benchmarks call it first."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Numbers of glibc's `mallopt`."""


def prepare_process() -> None:
    """Let idle threads sleep, and keep freed memory for the next step instead of giving it back.

    Threads that spin while another program holds a core make an epoch ten times slower. glibc gives large blocks back
    to the system when they are freed, so that each step would wait for the system to hand out zeroed pages again;
    what a process held at most it now holds until it ends.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):  # musl has none
            library.mallopt(_MMAP_MAX, 0)
            library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
