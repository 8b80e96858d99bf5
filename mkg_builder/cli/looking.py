"""check, show, picture, diff, report, explore: what is in a release."""

import signal
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mkg_builder import terminal
from mkg_builder.cli.options import AsJson, Quiet, ReleaseFolder, show_counts
from mkg_builder.errors import UsageError

app = typer.Typer()


@app.command(epilog="Example: mkgb check workspace/releases/demo-1.0.0")
def check(release: ReleaseFolder, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Prove a release: every byte, the format's promises, leakage, the recipe's expectations."""
    from mkg_builder.checks import check_release
    from mkg_builder.findings import raise_on_errors

    with terminal.progress_bar(quiet):
        findings = check_release(release)
    if as_json:
        terminal.show_json([asdict(finding) for finding in findings])
    elif findings:
        terminal.show_table("Findings", ("level", "check", "what"), [(f.level, f.check, f.message) for f in findings])
    raise_on_errors(findings)
    if not as_json:
        terminal.say(f"{release} is whole and sound" + (f", with {len(findings)} warnings" if findings else ""))


@app.command(epilog="Example: mkgb show workspace/releases/demo-1.0.0")
def show(
    release: ReleaseFolder,
    samples: Annotated[int, typer.Option(min=0, help="How many artworks to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """What is in a release: counts, modality availability, samples."""
    from mkg_builder.summary import summarise

    facts = summarise(release, samples)
    if as_json:
        terminal.show_json(facts)
        return
    show_counts(facts)
    rows = [
        (
            s["id"],
            s["label"],
            f"{s['width']} x {s['height']}" if s["width"] else s["image_status"],
            "; ".join(s["facts"]),
        )
        for s in facts["samples"]
    ]
    if rows:
        terminal.show_table("Samples", ("artwork", "label", "picture", "facts"), rows)


@app.command(epilog="Example: mkgb picture workspace/releases/demo-1.0.0 --split test --out painting.png")
def picture(
    release: ReleaseFolder,
    entity: Annotated[str | None, typer.Argument(metavar="[ENTITY]", help="An artwork's id; else the first.")] = None,
    split: Annotated[str, typer.Option(help="Where the first is looked for.")] = "test",
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("picture.png"),
    as_json: AsJson = False,
) -> None:
    """Write one artwork's picture to a file, and say what the graph knows of it."""
    from mkg_builder.summary import find_picture

    found, data = find_picture(release, entity, split)
    out.write_bytes(data)
    if as_json:
        terminal.show_json({**found, "file": str(out)})
    else:
        terminal.say(f"{out}: {found['id']} ({found['split']}), {found['label']}")
        terminal.show_table("What the graph knows of it", ("relation", "tail"),
                            [f.split(" ", 1) for f in found["facts"]])  # fmt: skip


@app.command(epilog="Example: mkgb diff workspace/releases/demo-1.0.0 workspace/releases/demo-2.0.0")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The earlier release's folder.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The later release's folder.")],
    samples: Annotated[int, typer.Option(min=0, help="How many rows to show of each change.")] = 3,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What was added, removed, changed and moved between two releases, and the version that follows."""
    from mkg_builder.compare import compare
    from mkg_builder.schema import read_manifest

    with terminal.progress_bar(quiet):
        comparison = compare(old, new, samples)
    was, now = (read_manifest(release) for release in (old, new))
    required = comparison.required_version(was["version"])
    if as_json:
        terminal.show_json({**asdict(comparison), "bump": comparison.bump, "required_version": required})
        return
    rows = [(c.table, c.what, c.rows, ", ".join(f"{n} {k:,}" for n, k in c.groups.items())) for c in comparison.changes]
    if rows:
        title = f"{was['name']} {was['version']} → {now['name']} {now['version']}"
        terminal.show_table(title, ("table", "what", "rows", "of which"), rows)
    shown = [(c.table, c.what, _row_in_words(row)) for c in comparison.changes for row in c.samples]
    if shown:
        terminal.show_table("Samples", ("table", "what", "row"), shown)
    for key, (before, after) in comparison.recipe.items():
        terminal.say(f"recipe: {key}: {before!r} → {after!r}")
    terminal.say(f"this is a {comparison.bump} change: {was['version']} → {required}" if comparison.bump != "none"
                 else "the two are the same, byte for byte")  # fmt: skip


def _row_in_words(row: Mapping[str, Any]) -> str:
    """The key of a row, and what became of a value."""
    key = " ".join(str(value) for name, value in row.items() if name not in ("old", "new"))
    return key + (f": {row['old']!r} → {row['new']!r}" if "old" in row else "")


@app.command(epilog="Example: mkgb report workspace/releases/demo-1.0.0 --out report.html")
def report(
    release: ReleaseFolder,
    out: Annotated[Path | None, typer.Option(help="The page to write; default <name>-<version>.html.")] = None,
    samples: Annotated[int, typer.Option(min=0, max=100, help="How many artworks to show.")] = 12,
    without_checks: Annotated[
        bool, typer.Option("--without-checks", help="Leave out what `mkgb check` does; the page says so.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """A release as one web page: counts, what is missing, splits, leaks, samples, what was dropped."""
    from mkg_builder.report import render_report
    from mkg_builder.schema import read_manifest

    manifest = read_manifest(release)
    with terminal.progress_bar(quiet):
        page = render_report(release, samples, not without_checks).encode()
    place = out or Path(f"{manifest['name']}-{manifest['version']}.html")
    place.write_bytes(page)
    if as_json:
        terminal.show_json({"file": str(place), "bytes": len(page)})
    else:
        terminal.say(f"{place}: {len(page):,} bytes; open it in a browser")


@app.command(epilog="Example: mkgb explore workspace/releases/demo-1.0.0 --run workspace/runs/demo")
def explore(
    release: ReleaseFolder,
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="A run that is asked about pictures.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0: any that is free.")] = 8080,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the index is kept; default ~/.cache/mkgb.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Walk a release in a browser on this machine: search, pictures, facts, neighbours, and what a run says."""
    try:
        from mkg_builder.explore import app as pages
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise UsageError(f"mkgb explore needs {missing}; install it with: pip install 'vlkge[explore]'") from None
    from mkg_builder.explore.index import default_cache, open_index

    with terminal.progress_bar(quiet):
        index = open_index(release, cache or default_cache(), None if quiet else terminal.note)
    with pages.serving(release, index, run, port) as (server, listening):
        if as_json:
            terminal.show_json({"url": pages.address(listening)})
        else:
            terminal.say(f"{pages.address(listening)} shows {release}; stop it with Ctrl-C")
        for number in (signal.SIGINT, signal.SIGTERM):  # the server ends at them and then raises them once more
            signal.signal(number, lambda *_: None)
        server.run(sockets=[listening])
