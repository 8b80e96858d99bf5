"""publish: a release on the Hub."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from mkg_builder import terminal
from mkg_builder.cli.options import AsJson, Quiet, ReleaseFolder

app = typer.Typer()


@app.command(epilog="Example: mkgb publish workspace/releases/demo-1.0.0 --repo org/demo")
def publish(
    release: ReleaseFolder,
    repo: Annotated[str, typer.Option(metavar="ORG/NAME", help="The data set on the Hub.")],
    images_repo: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="A second, gated one for the release with its pictures.")
    ] = None,
    without_images: Annotated[
        bool, typer.Option("--without-images", help="Publish addresses and sha256, not pictures.")
    ] = False,
    allow_marked: Annotated[
        bool, typer.Option("--allow-marked", help="Publish even a build that differs from its recipe.")
    ] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Publish; else only say what that would do.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Publish a release on the Hugging Face Hub; a dry run unless told to --execute."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from mkg_builder import publish as publishing

    if quiet:
        disable_progress_bars()
    asked = publishing.Publication(release, repo, images_repo, without_images, allow_marked)
    outcomes = publishing.publish(asked, execute, tell=None if quiet else terminal.note)
    if as_json:
        terminal.show_json({"executed": execute, "data_sets": [asdict(outcome) for outcome in outcomes]})
        return
    _show_outcomes(outcomes)
    if not execute and any(outcome.commit is None for outcome in outcomes):
        terminal.say("Nothing was sent; publish it with --execute")


def _show_outcomes(outcomes: list[Any]) -> None:
    rows = [
        (o.repo, o.tag, o.state, o.files, o.bytes, o.new_files, o.new_bytes, len(o.removed), o.holds,
         ("with" if o.pictures else "without") + (", gated" if o.gated else ""))
        for o in outcomes
    ]  # fmt: skip
    columns = ("data set", "tag", "state", "files", "bytes", "new", "new bytes", "removed", "main held", "pictures")
    terminal.show_table("On the Hub", columns, rows)
    for o in outcomes:
        if o.commit:
            terminal.say(f"{o.repo}@{o.tag} is commit {o.commit}")
        if o.left:
            terminal.note(f"{o.repo}: the branch {o.left} is left over; delete it on the data set's page")
