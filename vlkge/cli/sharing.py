"""export: a run for others."""

from pathlib import Path
from typing import Annotated

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from mkg_builder.wording import counted
from vlkge.cli.options import AsJson, Quiet, RunFolder

app = typer.Typer()


@app.command(epilog="Example: vlkge export runs/demo-complex-average --repo org/demo-complex")
def export(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="Default: exports/<run>.")] = None,
    repo: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Say what a model repository of the Hub would get.")
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="With --repo: send it.")] = False,
    license_id: Annotated[
        str | None,
        typer.Option("--license", help="For the card, by its id on the Hub; none by default."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a run without its checkpoint, its embeddings as Parquet and a card; and share it as a model on the Hub."""
    from vlkge.export import export_run
    from vlkge.run import find_run
    from vlkge.share import share

    if execute and not repo:
        raise UsageError("--execute sends to the Hub; name the model repository with --repo ORG/NAME")
    with terminal.progress_bar(quiet):
        made = export_run(find_run(run), out or Path("exports") / run.resolve().name, license_id, overwrite)
    sent = share(made.folder, repo, execute) if repo else None
    if as_json:
        terminal.show_json({
            "folder": str(made.folder), "files": made.files, "bytes": made.bytes, "entities": made.entities,
            "mrr": made.result.model.overall.mrr,
            "hub": None if sent is None else {"repo": sent.repo, "new": list(sent.new), "new_bytes": sent.new_bytes,
                                              "removed": list(sent.removed), "commit": sent.commit},
        })  # fmt: skip
        return
    terminal.say(
        f"{counted(made.files, 'file')}, {made.bytes:,} bytes, vectors of "
        f"{counted(made.entities, 'entity', 'entities')}: {made.folder}"
    )
    if sent is not None:
        terminal.say(f"{sent.repo}: {counted(len(sent.new), 'new file')}, {sent.new_bytes:,} bytes, "
                     f"{len(sent.removed)} removed"
                     + (f"; commit {sent.commit}" if sent.commit else ""))  # fmt: skip
    if sent is not None and not execute and not quiet:
        terminal.note("nothing was sent; share it with --execute")
