"""The order of rows by several columns of integers."""

from typing import Any

import numpy as np
import numpy.typing as npt

KEYS = 2**63
"""So many different keys a sort can tell apart."""


def sorted_by(*columns: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The indices that sort rows by the first column, where it is equal by the second, and so on; equal rows stay.

    That of `numpy.lexsort(columns[::-1])`, many times quicker: the columns become one integer per row, which is sorted
    once.

    Args:
        columns: integers, negative ones as well, those of each but the first less than 2 ** 31 apart; each [n].
    """
    key, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        low = int(column.min(initial=0))
        values = int(column.max(initial=0)) - low + 1
        if size * values > KEYS:
            distinct, key = np.unique(key, return_inverse=True)
            size = len(distinct)
        key *= values  # in place: each copy of millions counts
        key += column
        key -= low
        size *= values
    return np.argsort(key, kind="stable")
