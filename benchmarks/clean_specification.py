"""Compares cleaning and splitting with their plain specifications on many small worlds that Hypothesis makes up.

    PYTHONPATH=. python benchmarks/clean_specification.py [--examples 10000] [--seed 0]

Prints `N of N equal` for each and the time; the exit status is 1 if any differs. The specifications and the worlds
are those of the tests.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from mkg_builder.facts import Facts
from mkg_builder.recipe import Recipe
from tests import test_clean_specification as specification
from tests.nasty_worlds import pictures, recipes, worlds


def counted(test: Callable[..., None], strategies: tuple[Any, ...], examples: int, seed: int) -> tuple[int, int]:
    """How many examples pass, of how many."""
    outcomes: list[bool] = []

    @seeded(seed)
    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.tuples(*strategies))
    def one(arguments: tuple[Any, ...]) -> None:
        try:
            test(*arguments)
            outcomes.append(True)
        except AssertionError:
            outcomes.append(False)

    one()
    return sum(outcomes), len(outcomes)


def equal(facts: Facts, recipe: Recipe) -> None:
    """Both make the same of the facts."""
    assert specification.cleaned(facts, recipe) == specification.specified(facts, recipe)


def main() -> int:
    """Compare, and say how many were equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    divide = specification.test_splitting_does_what_its_specification_says.hypothesis.inner_test
    failed = False
    for name, test, strategies in (
        ("cleaning", equal, (worlds, recipes)),
        ("splitting", divide, (worlds, recipes, pictures)),
    ):
        began = time.monotonic()
        passed, tried = counted(test, strategies, options.examples, options.seed)
        failed |= passed < tried
        print(f"{name}: {passed:,} of {tried:,} equal, {time.monotonic() - began:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
