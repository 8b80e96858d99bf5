"""list, fetch, build: from a recipe to a release."""

from dataclasses import asdict
from typing import Annotated

import typer

from mkg_builder import terminal
from mkg_builder.cli.options import (
    DEFAULT_WORKSPACE,
    AsJson,
    Contact,
    Endpoint,
    Files,
    Limit,
    Quiet,
    RecipeName,
    Set,
    Workspace,
    show_counts,
)
from mkg_builder.errors import UsageError
from mkg_builder.wording import counted

app = typer.Typer()


@app.command("list", epilog="Example: mkgb list")
def list_recipes(as_json: AsJson = False) -> None:
    """The recipes that come with the package."""
    from mkg_builder.layers import shipped_recipes
    from mkg_builder.recipe import load_recipe

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
        terminal.say(f"{counted(report.added, 'answer')} fetched, {report.answers:,} in {report.snapshot}")


@app.command(epilog="Example: mkgb build demo --workspace workspace")
def build(
    recipe: RecipeName,
    workspace: Workspace = DEFAULT_WORKSPACE,
    limit: Limit = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never touch the network; files are read as ever.")
    ] = False,
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
        show_counts(facts)
        terminal.say(f"{counted(report.fetched, 'answer')} fetched; release: {report.release}")


def _pairs(values: list[str] | None) -> dict[str, str]:
    pairs = {}
    for value in values or ():
        name, equals, url = value.partition("=")
        if not equals or not url.startswith(("http://", "https://")):
            raise UsageError(f"--endpoint {value}: write it as NAME=URL with an http or https address")
        pairs[name] = url.rstrip("/")
    return pairs
