"""What can go wrong with graphs, features, experiments and runs; exit codes as in `mkg_builder.errors`."""

import heapq
from collections.abc import Sequence

from mkg_builder.errors import DataError, RecipeError, UnknownNameError


class DatasetError(DataError):
    """A release whose triples do not make a data set: a null, an unknown relation, a dangling id, a repeated triple."""


class FeaturesError(DataError):
    """Features that are damaged, of an unsafe kind, or made for another data set."""


class RunError(DataError):
    """A run folder that is incomplete, damaged, or of another experiment."""


class ExperimentError(RecipeError):
    """An experiment that does not hold together; the message names the key and what it may be."""


def unknown_among_many(kind: str, got: str, names: Sequence[str]) -> UnknownNameError:
    """The error for a name that is none of a large vocabulary; names the five nearest.

    They share most three-letter pieces with `got`: difflib alone takes 20 s on 200,000 names.
    """
    pieces = {got[i : i + 3] for i in range(max(1, len(got) - 2))}

    def likeness(name: str) -> float:
        return sum(piece in name for piece in pieces) / (len(pieces) + len(name))

    nearest = heapq.nlargest(5, names, key=likeness)
    return UnknownNameError(kind, got, nearest, f"these are the nearest of {len(names):,}")
