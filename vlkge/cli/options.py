"""What several commands take, and where they look when it is not said."""

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, as `vlkge train` writes it, or ORG/NAME[@REV] on the Hub.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]
Device = Annotated[str | None, typer.Option(help="A torch device: cpu, cuda.")]
ReleaseName = Annotated[str, typer.Argument(metavar="RELEASE", help="A release folder, or ORG/NAME[@REV] on the Hub.")]
Split = Annotated[str, typer.Option(help="train, validation or test.")]


def ignore(_stage: str, _done: int, _total: int | None) -> None:
    """Nobody wants to know."""


def features_folder(release: Path) -> Path:
    """Where `vlkge encode` writes the features of a release when it is not told."""
    from mkg_builder.schema import read_manifest

    manifest = read_manifest(release)
    return Path("features") / f"{manifest['name']}-{manifest['version']}"


def find_features(dataset: str) -> str | None:
    """The features of a data set in their default place, if they are there."""
    from vlkge.dataset import find_release

    place = features_folder(find_release(dataset)[0])
    return str(place) if place.is_dir() else None
