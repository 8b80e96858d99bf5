"""predict, describe: what a run answers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from vlkge.cli.options import AsJson, Quiet, RunFolder

app = typer.Typer()


@app.command(
    epilog="Example: vlkge predict runs/demo-complex-average --image painting.jpg --relation isCreatedByArtist"
)
def predict(
    run: RunFolder,
    relation: Annotated[str, typer.Option(help="The relation whose tail is asked for.")],
    head: Annotated[str | None, typer.Option(help="An entity of the graph, by id.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture outside the graph.")] = None,
    text: Annotated[str | None, typer.Option(help="A text about something outside the graph.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many answers.")] = 10,
    new_only: Annotated[bool, typer.Option("--new-only", help="With --head: leave out what the graph states.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The likeliest tails of an entity, or of a picture or text outside the graph."""
    from vlkge.predict import Outside, Predictor
    from vlkge.run import find_run

    if (head is None) == (image is None and text is None):
        raise UsageError("give either --head, or --image and/or --text")
    predictor = Predictor(find_run(run))
    if head is not None:
        found = predictor.tails_of(head, relation, top, new_only)
    else:
        found = predictor.tails_of_outside(Outside(image, text), relation, top)
    if as_json:
        terminal.show_json([asdict(prediction) for prediction in found])
        return
    title = f"{head or image or repr(text)} – {relation}"
    columns = ["rank", "label", "entity", "score", *(["known from"] if head else [])]
    rows = [(p.rank, p.label, p.entity, p.score, p.known)[: len(columns)] for p in found]
    terminal.show_table(title, columns, rows)
    if not quiet and any(p.known for p in found):
        terminal.note("known from: the split that already states this triple; --new-only leaves these out")


@app.command(epilog="Example: vlkge describe runs/demo-complex-average --image painting.jpg")
def describe(
    run: RunFolder,
    image: Annotated[Path, typer.Option(help="A picture outside the graph.")],
    top: Annotated[int, typer.Option(min=1, help="How many answers of each relation.")] = 5,
    nearest: Annotated[int, typer.Option(min=0, help="How many entities with the nearest pictures.")] = 8,
    as_json: AsJson = False,
) -> None:
    """What a run says of a picture: the answers of every relation with probabilities, and the nearest pictures."""
    from vlkge.describe import describe_picture
    from vlkge.run import find_run

    found = describe_picture(find_run(run), image, top, nearest)
    if as_json:
        terminal.show_json(found.to_json())
        return
    rows = [(name, a.label, a.entity, a.probability) for name, answers in found.relations.items() for a in answers]
    terminal.show_table(str(image), ("relation", "label", "entity", "probability"), rows)
    terminal.show_table("Nearest by picture", ("label", "entity", "cosine"),
                        [(one.label, one.entity, one.similarity) for one in found.nearest])  # fmt: skip
