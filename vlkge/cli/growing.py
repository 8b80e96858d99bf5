"""add: a newer release, or loose triples and pictures, join a trained run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from mkg_builder.wording import counted
from vlkge.cli.options import AsJson, Quiet, RunFolder, find_features, ignore

if TYPE_CHECKING:
    from vlkge.growth import Joined
    from vlkge.newcomers import Account, Loose

app = typer.Typer()
SPLITS = ("train", "validation", "test")


@app.command(epilog="Example: vlkge add runs/demo --pictures new/ --triples facts.csv --out runs/grown")
def add(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The new run folder.")],
    release: Annotated[
        str | None,
        typer.Argument(metavar="[RELEASE]", help="A newer release, or ORG/NAME[@REV]; not with what is loose."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="What `vlkge encode` made of the release; default: its default place, if it is there."),
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A picture, or a folder of them, each a new entity; repeat the option."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="What they show; default: the type that has unseen members.")
    ] = None,
    entities: Annotated[
        list[Path] | None,
        typer.Option(metavar="TABLE", help="Who is new: id, and label or title, text, image if known; repeat it."),
    ] = None,
    triples: Annotated[
        list[Path] | None,
        typer.Option(metavar="TABLE", help="Facts: head, relation, tail, and split if not train; repeat the option."),
    ] = None,
    new: Annotated[
        list[str] | None,
        typer.Option(metavar="ENTITY", help="An id in the triples that is new, and no mistyped one; repeat it."),
    ] = None,
    epochs: Annotated[
        int, typer.Option(min=0, help="Learn own vectors for what is new, from its triples alone; 0: train nothing.")
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What is new in a newer release, or loose, joins a trained run; what was learned stays as it is, bit for bit."""
    from vlkge.growth import Plan, join
    from vlkge.newcomers import Loose
    from vlkge.run import find_run

    loose = Loose(triples or (), entities or (), pictures or (), kind, new or ())
    source = _source(release, features, loose)
    trained = find_run(run)
    if features is None and trained.features and release is not None:
        default = find_features(release)
        features = Path(default) if default else None
    with terminal.progress_bar(quiet) as advance:
        joined = join(trained, Plan(source, features, out, epochs, overwrite), advance or ignore)
    if as_json:
        terminal.show_json(joined.to_json())
        return
    if joined.account is not None:
        _show_account(joined.account, quiet)
    _show(joined, epochs)
    if not quiet:
        if joined.unknown:
            said = ", ".join(f"{count:,} {kind}" for kind, count in joined.unknown.items())
            terminal.note(f"nothing is known of {said}: no picture, no text, no vector of their own")
        terminal.note(f"protocol strict; {joined.seconds:.1f} s without reading, encoding and evaluation")
    terminal.say(f"run: {joined.run.folder}")


def _source(release: str | None, features: Path | None, loose: "Loose") -> "str | Loose":
    """The one thing that is to join."""
    from vlkge.newcomers import Loose

    if release is None:
        if loose == Loose(kind=loose.kind):
            raise UsageError("what is to join? a newer release, or --pictures, --entities, --triples, --new")
        if loose.kind is not None and not loose.pictures:
            raise UsageError(f"--type {loose.kind} says what --pictures show, and there are none")
        if features is not None:
            raise UsageError("--features are a release's; what is loose is encoded as the run's own was")
        return loose
    if loose != Loose():
        raise UsageError("give either a newer release, or --pictures, --type, --entities, --triples, --new")
    place = Path(release)
    if place.is_file() or (place.is_dir() and not (place / "manifest.json").exists()):
        raise UsageError(f"{release} is no release; give what is loose with --pictures, --entities or --triples")
    return release


def _show_account(account: "Account", quiet: bool) -> None:
    """What came of each thing that was handed in."""
    for broken in account.broken:
        terminal.say(f"{broken.name}: {broken.reason}")
    if quiet:
        return
    if account.pictures or account.broken:
        terminal.note(f"{counted(account.pictures, 'picture')} encoded, {len(account.broken):,} set aside")
    if account.known_entities or account.known_triples:
        terminal.note(f"in the graph already, and left as it is: "
                      f"{counted(account.known_entities, 'entity', 'entities')}, "
                      f"{counted(account.known_triples, 'triple')}")  # fmt: skip
    for table, columns in account.unread.items():
        terminal.note(f"{table}: not read: {', '.join(columns)}")


def _show(joined: "Joined", epochs: int) -> None:
    dataset = joined.run.dataset
    counts = [
        (kind, count, joined.learned.get(kind, 0), joined.unknown.get(kind, 0))
        for kind, count in joined.entities.items()
    ]
    columns = ("type", "entities", "vectors learned", "nothing known")
    terminal.show_table(f"Joined with {dataset.name} {dataset.version}", columns, counts)
    stated = [f"{joined.triples[split]:,} {split}" for split in SPLITS if joined.triples[split]]
    terminal.say(f"triples that joined: {', '.join(stated) or 'none'}")
    parts = [("former test split, before", joined.before), ("former test split, after", joined.after),
             ("new test triples, nothing trained", joined.untrained),
             (f"new test triples, after {counted(epochs, 'epoch')}", joined.trained)]  # fmt: skip
    rows = [(name, part.overall.queries, part.overall.mrr, part.overall.hits_at_1, part.overall.hits_at_10)
            for name, part in parts if part is not None]  # fmt: skip
    terminal.show_table("Ranking", ("triples", "queries", "MRR", "Hits@1", "Hits@10"), rows)
