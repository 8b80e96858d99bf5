"""report: runs as a page for people."""

from pathlib import Path
from typing import Annotated

import typer

from mkg_builder import terminal
from vlkge.cli.options import AsJson, Quiet, Split

app = typer.Typer()


@app.command(epilog="Example: vlkge report runs/demo-complex-average --release workspace/releases/demo-1.0.0")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; the first is the yardstick.")],
    out: Annotated[Path | None, typer.Option(help="The page to write; default <first run>.html.")] = None,
    release: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The release trained on: to show the pictures of mistakes.")
    ] = None,
    split: Split = "test",
    protocol: Annotated[str, typer.Option(help="strict, or reference.")] = "strict",
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Runs as one web page: learning curves, metrics per relation and by modality, the worst confusions."""
    from vlkge.protocol import make_protocol
    from vlkge.report import render_run_report
    from vlkge.run import find_run

    found = [find_run(run) for run in runs]
    with terminal.progress_bar(quiet):
        page = render_run_report(found, split, make_protocol(protocol), release, seed).encode()
    place = out or Path(f"{runs[0].resolve().name}.html")
    place.write_bytes(page)
    if as_json:
        terminal.show_json({"file": str(place), "bytes": len(page)})
    else:
        terminal.say(f"{place}: {len(page):,} bytes; open it in a browser")
