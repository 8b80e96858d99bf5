"""add: a newer release joins a trained run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mkg_builder import terminal
from vlkge.cli.options import AsJson, Quiet, ReleaseName, RunFolder, find_features, ignore

if TYPE_CHECKING:
    from vlkge.growth import Joined

app = typer.Typer()


@app.command(epilog="Example: vlkge add runs/demo releases/demo-1.1.0 --features features/demo-1.1.0 --out runs/grown")
def add(
    run: RunFolder,
    release: ReleaseName,
    out: Annotated[Path, typer.Option(help="The new run folder.")],
    features: Annotated[
        Path | None,
        typer.Option(help="What `vlkge encode` made of the release; default: its default place, if it is there."),
    ] = None,
    epochs: Annotated[
        int, typer.Option(min=0, help="Learn own vectors for what is new, from its triples alone; 0: train nothing.")
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What is new in a newer release joins a trained run; what was learned stays as it is, bit for bit."""
    from vlkge.growth import Plan, join
    from vlkge.run import find_run

    trained = find_run(run)
    if features is None and trained.features:
        default = find_features(release)
        features = Path(default) if default else None
    with terminal.progress_bar(quiet) as advance:
        joined = join(trained, Plan(release, features, out, epochs, overwrite), advance or ignore)
    if as_json:
        terminal.show_json(joined.to_json())
        return
    _show(joined, epochs)
    if not quiet:
        if joined.unknown:
            said = ", ".join(f"{count:,} {kind}" for kind, count in joined.unknown.items())
            terminal.note(f"nothing is known of {said}: no picture, no text, no vector of their own")
        terminal.note(f"protocol strict; {joined.seconds:.1f} s without reading and evaluation")
    terminal.say(f"run: {joined.run.folder}")


def _show(joined: "Joined", epochs: int) -> None:
    dataset = joined.run.dataset
    counts = [
        (kind, count, joined.learned.get(kind, 0), joined.unknown.get(kind, 0))
        for kind, count in joined.entities.items()
    ]
    columns = ("type", "entities", "vectors learned", "nothing known")
    terminal.show_table(f"Joined with {dataset.name} {dataset.version}", columns, counts)
    parts = [("former test split, before", joined.before), ("former test split, after", joined.after),
             ("new test triples, nothing trained", joined.untrained),
             (f"new test triples, after {epochs} epochs", joined.trained)]  # fmt: skip
    rows = [(name, part.overall.queries, part.overall.mrr, part.overall.hits_at_1, part.overall.hits_at_10)
            for name, part in parts if part is not None]  # fmt: skip
    terminal.show_table("Ranking", ("triples", "queries", "MRR", "Hits@1", "Hits@10"), rows)
