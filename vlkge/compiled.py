"""Loops over arrays that numba compiles for this machine, run by as many threads as torch uses."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
from numpy.typing import NDArray
from torch import Tensor, get_num_threads

Array = NDArray[Any]
Kernel = Callable[..., None]

Part = tuple[int, int, int]
"""What one call of a kernel does: the number of its thread, and from which row to which it goes."""

compiled: Callable[[Kernel], Kernel] = numba.njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})
"""Sums in any order, so that they can be vectorised; NaN and infinity stay what they are.

Compiled once a process: numba's cache on disk would be a pickle.
"""


def array(tensor: Tensor) -> Array:
    """A tensor as an array, which shares its memory where it is contiguous."""
    shared: Array = tensor.detach().contiguous().numpy()
    return shared


def in_threads(kernel: Kernel, rows: int, *operands: Any) -> None:
    """Run a kernel over all rows, a part of them in each thread."""
    threads = get_num_threads()
    parts = pairwise(rows * part // threads for part in range(threads + 1))
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, (thread, *part), *operands) for thread, part in enumerate(parts)]:
            done.result()
