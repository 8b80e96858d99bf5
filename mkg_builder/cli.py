"""mkgb: build versioned multimodal knowledge graphs. Parses, makes one call, prints."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError

app = terminal.make_app("mkgb", "Build versioned multimodal knowledge graphs from recipes.")

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a path to a YAML file.")]
ReleaseFolder = Annotated[Path, typer.Argument(metavar="RELEASE", help="A release folder, as `mkgb build` writes it.")]
Workspace = Annotated[
    Path, typer.Option(envvar="MKGB_WORKSPACE", help="The folder for snapshots and releases.", show_default=True)
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many artworks.")]
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


@app.command("list", epilog="Example: mkgb list")
def list_recipes(as_json: AsJson = False) -> None:
    """The recipes that come with the package."""
    from mkg_builder.recipe import load_recipe, shipped_recipes

    recipes = {name: load_recipe(path) for name, path in shipped_recipes().items()}
    if as_json:
        terminal.show_json([{"name": r.name, "version": r.version, "title": r.title} for r in recipes.values()])
    else:
        rows = [(name, recipe.version, ", ".join(recipe.sources), recipe.title) for name, recipe in recipes.items()]
        terminal.show_table("Recipes", ("recipe", "version", "sources", "title"), rows)


@app.command(epilog="Example: mkgb fetch wikiart-v1 --contact you@example.org")
def fetch(
    recipe: RecipeName,
    workspace: Workspace = DEFAULT_WORKSPACE,
    limit: Limit = None,
    endpoint: Endpoint = None,
    override: Set = None,
    contact: Contact = None,
    files: Files = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a recipe's sources into its snapshot; run it again to go on where it stopped."""
    from mkg_builder import build as spine
    from mkg_builder.workshop import Job

    job = Job(recipe, workspace, limit, False, _pairs(endpoint), tuple(override or ()), contact, files)
    with terminal.progress_bar(quiet) as advance:
        report = spine.fetch(job, advance)
    if as_json:
        terminal.show_json({**asdict(report), "snapshot": str(report.snapshot)})
    else:
        terminal.say(f"{report.added:,} answers fetched, {report.answers:,} in {report.snapshot}")


@app.command(epilog="Example: mkgb build demo --workspace workspace")
def build(
    recipe: RecipeName,
    workspace: Workspace = DEFAULT_WORKSPACE,
    limit: Limit = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    endpoint: Endpoint = None,
    override: Set = None,
    contact: Contact = None,
    files: Files = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build a release from a recipe: fetch what is missing, clean, split, check, write."""
    from mkg_builder import build as spine
    from mkg_builder.summary import summarise
    from mkg_builder.workshop import Job

    job = Job(recipe, workspace, limit, offline, _pairs(endpoint), tuple(override or ()), contact, files)
    with terminal.progress_bar(quiet) as advance:
        report = spine.build(job, advance)
    if not quiet:
        for finding in report.findings:
            terminal.note(f"{finding.level}: {finding.check}: {finding.message}")
    facts = summarise(report.release)
    if as_json:
        terminal.show_json(facts | {"fetched": report.fetched, "findings": [asdict(f) for f in report.findings]})
    else:
        _show_counts(facts)
        terminal.say(f"{report.fetched:,} answers fetched; release: {report.release}")


@app.command(epilog="Example: mkgb check workspace/releases/demo-1.0.0")
def check(release: ReleaseFolder, as_json: AsJson = False) -> None:
    """Prove a release: every byte, the format's promises, leakage, the recipe's expectations."""
    from mkg_builder.checks import check_release
    from mkg_builder.findings import raise_on_errors

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
    _show_counts(facts)
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
) -> None:
    """What was added, removed, changed and moved between two releases, and the version that follows."""
    from mkg_builder.compare import compare
    from mkg_builder.schema import read_manifest

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


def _show_counts(facts: dict[str, Any]) -> None:
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


def _pairs(values: list[str] | None) -> dict[str, str]:
    pairs = {}
    for value in values or ():
        name, equals, url = value.partition("=")
        if not equals or not url.startswith(("http://", "https://")):
            raise UsageError(f"--endpoint {value}: write it as NAME=URL with an http or https address")
        pairs[name] = url.rstrip("/")
    return pairs


def main() -> None:
    """The entry point."""
    terminal.run(app, "mkgb")
