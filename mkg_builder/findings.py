"""Findings: what a check has to say of a release."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mkg_builder.errors import DataError

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found; an error means that the release must not be used."""

    level: Level
    check: str
    message: str


def summed_up(level: Level, check: str, said: Sequence[str]) -> Iterator[Finding]:
    """One finding of many of a kind: the first in words and how many more there are; none of none."""
    if said:
        yield Finding(level, check, said[0] + (f" (and {len(said) - 1:,} more)" if len(said) > 1 else ""))


class ExpectationError(DataError):
    """A graph that is not what its recipe expects."""


def raise_on_errors(findings: Iterable[Finding]) -> None:
    """Stop at the first error.

    Raises:
        ExpectationError: with the first error and how many there are.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ExpectationError(f"{errors[0].check}: {errors[0].message}{more}")
