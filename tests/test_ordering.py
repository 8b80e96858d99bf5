"""The order of rows by several columns is that of numpy.lexsort, whatever the integers."""

import numpy as np
import pytest

from mkg_builder.ordering import sorted_by


@pytest.mark.parametrize("seed", range(200))
def test_rows_are_sorted_as_lexsort_sorts_them(seed: int) -> None:
    dice = np.random.default_rng(seed)
    rows, count = int(dice.integers(0, 300)), int(dice.integers(1, 7))
    spans = dice.choice([1, 2, 50, 2**16, 2**31 - 1], count)  # several wide ones do not fit into one integer
    lows = dice.integers(-(2**31), 1, count)
    columns = [dice.integers(low, low + span, rows) for low, span in zip(lows, spans, strict=True)]
    columns = [c.astype(dice.choice([np.int32, np.int64])) if c.max(initial=0) < 2**31 else c for c in columns]

    assert sorted_by(*columns).tolist() == np.lexsort(columns[::-1]).tolist()


def test_the_first_column_may_be_a_key_of_almost_sixty_four_bits() -> None:
    first = np.array([2**62, 0, 2**62, -1, 0])
    second = np.array([1, 2**31 - 2, 0, 5, 0], np.int32)

    assert sorted_by(first, second).tolist() == [3, 4, 1, 2, 0]
