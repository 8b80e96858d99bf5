"""What can go wrong with graphs, features, experiments and runs; exit codes as in `mkg_builder.errors`."""

from mkg_builder.errors import DataError, RecipeError


class DatasetError(DataError):
    """A release whose triples do not make a data set: a null, an unknown relation, a dangling id, a repeated triple."""


class FeaturesError(DataError):
    """Features that are damaged, of an unsafe kind, or made for another data set."""


class RunError(DataError):
    """A run folder that is incomplete, damaged, or of another experiment."""


class ExperimentError(RecipeError):
    """An experiment that does not hold together; the message names the key and what it may be."""
