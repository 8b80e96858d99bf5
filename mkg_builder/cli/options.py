"""What several commands take, and a summary that two of them print."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mkg_builder import terminal


def _recipes(incomplete: str) -> list[str]:
    """Shipped recipes, for the shell to complete."""
    from mkg_builder.layers import shipped_recipes

    return [name for name in shipped_recipes() if name.startswith(incomplete)]


RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="A shipped recipe's name, or a path to a YAML file.", autocompletion=_recipes
    ),
]
ReleaseFolder = Annotated[Path, typer.Argument(metavar="RELEASE", help="A release folder, as `mkgb build` writes it.")]
Workspace = Annotated[
    Path, typer.Option(envvar="MKGB_WORKSPACE", help="The folder for snapshots and releases.", show_default=True)
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many artworks of each source.")]
Endpoint = Annotated[
    list[str] | None, typer.Option(metavar="NAME=URL", help="Ask this address instead of the recipe's.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe: dotted.key=value.")
]
Contact = Annotated[
    str | None, typer.Option(envvar="MKGB_CONTACT", help="Your e-mail or web page; live hosts are told who asks.")
]
Files = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where the published files lie that the recipe asks for.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]

DEFAULT_WORKSPACE = Path("workspace")


def show_counts(facts: dict[str, Any]) -> None:
    """What `summary.summarise` found, as tables."""
    from mkg_builder.statistics import Availability, over_splits, pivot

    terminal.say(f"{facts['name']} {facts['version']}")
    for mark in facts["marks"]:
        terminal.say(f"  marked: {mark}")
    relations = [
        (r["name"], f"{r['domain']} → {r['range']}", r["train"], r["validation"], r["test"]) for r in facts["relations"]
    ]
    terminal.show_table("Triples", ("relation", "joins", "train", "validation", "test"), relations)
    counts = [Availability(**row) for row in facts["modality_availability"]]
    columns, by_type = pivot(counts, "entity_type")
    rows = [(name, split, *cells, total) for name, split, cells, total in by_type]
    terminal.show_table("Entities by modality", ("type", "split", *columns, "all"), rows)
    columns, by_relation = pivot(over_splits(counts), "relation")
    rows = [(name, *cells, total) for name, _, cells, total in by_relation]
    terminal.show_table("Triples by modality, head → tail", ("relation", *columns, "all"), rows)
    for rule, count in facts["dropped"].items():
        terminal.say(f"dropped by {rule}: {count:,}")
