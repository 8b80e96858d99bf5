"""evaluate, compare: how well runs do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from vlkge.cli.options import AsJson, Quiet, RunFolder, Split

if TYPE_CHECKING:
    from vlkge.availability import ByModality
    from vlkge.evaluate import EvaluationResult
    from vlkge.gap import SideBySide

app = typer.Typer()

COLUMNS = (
    "relation", "queries", "candidates", "MRR", "Hits@1", "Hits@3", "Hits@10", "chance MRR", "frequent MRR"
)  # fmt: skip


@app.command(epilog="Example: vlkge evaluate runs/demo-complex-average --split test --protocol strict")
def evaluate(
    run: RunFolder,
    split: Split = "test",
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="strict (the default), or reference: the official code's. Give two to see their gap."),
    ] = None,
    by_modality: Annotated[
        bool,
        typer.Option("--by-modality", help="Also by what is known of the entity asked about."),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rank a split's answers: overall, per relation, and beside two baselines, or under two protocols."""
    from vlkge.availability import evaluate_by_modality
    from vlkge.evaluate import Evaluator, evaluate_run
    from vlkge.gap import compare_run
    from vlkge.pretrained import find_device
    from vlkge.protocol import make_protocol
    from vlkge.run import find_run

    place, rules = find_device(device), [make_protocol(name) for name in protocol or ["strict"]]
    if len(rules) > 2:
        raise UsageError(f"{len(rules)} protocols are given; name one, or two to compare")
    if len(rules) == 2 and by_modality:
        raise UsageError("--by-modality takes one protocol")
    if len(rules) == 2:
        with terminal.progress_bar(quiet):
            gap = compare_run(find_run(run), split, (rules[0], rules[1]), place)
        _show_gap(gap, as_json, quiet)
        return
    loaded, parts = find_run(run), None
    with terminal.progress_bar(quiet):
        result = evaluate_run(loaded, split, rules[0], place)
        if by_modality:
            parts = evaluate_by_modality(loaded.load_model().to(place), Evaluator(loaded.dataset, split, rules[0]))
    if as_json:
        terminal.show_json({**result.to_json(), **({"by_modality": parts.to_json()} if parts else {})})
        return
    terminal.show_table(title(result, split), COLUMNS, result.rows())
    if not quiet:
        terminal.note(f"{said(result)}; candidates are a mean per query; "
                      "baselines: a random order, and the relation's most frequent answers")  # fmt: skip
    if parts:
        _show_by_modality(parts, quiet)


def _show_by_modality(parts: "ByModality", quiet: bool) -> None:
    columns = ("queries", "MRR", "Hits@1", "Hits@3", "Hits@10")
    terminal.show_table("By the modalities of the entity that is asked about", ("it has", *columns, "frequent MRR"),
                        parts.rows())  # fmt: skip
    terminal.show_table("All queries, some modalities withheld", ("withheld", *columns, "MRR change"),
                        parts.withheld_rows())  # fmt: skip
    if not quiet:
        terminal.note("withheld: from the entities of the type with unseen members; from all where there is none")


def _show_gap(found: "SideBySide", as_json: bool, quiet: bool) -> None:
    if as_json:
        terminal.show_json(found.to_json())
        return
    a, b = (result.about["protocol"]["name"] for result in (found.first, found.second))
    columns = ("relation", "queries", f"MRR {a}", f"MRR {b}", "gap", f"Hits@10 {a}", f"Hits@10 {b}")
    terminal.show_table(title(found.first, found.first.about["split"]), columns, found.rows())
    terminal.show_table(f"From {a} to {b}, one change after the other",
                        ("relation", "change of", "ranks changed", "of these better", "MRR change"),
                        found.causes())  # fmt: skip
    if not quiet:
        terminal.note(f"{said(found.first)}; {said(found.second)}")


def title(result: "EvaluationResult", split: str) -> str:
    """What a table of an evaluation is headed by."""
    return f"{result.about['dataset']['name']} {result.about['dataset']['version']}, {split} split"


def said(result: "EvaluationResult") -> str:
    """Which protocol, and how ties were ranked."""
    rules = result.about["protocol"]
    return f"protocol {rules['name']} {rules['version']}: ties {rules['ties']}"


@app.command(epilog="Example: vlkge compare runs/wn9-img-complex-structural runs/wn9-img-complex-minilm")
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; the first is the yardstick.")],
    split: Split = "test",
    protocol: Annotated[
        str, typer.Option(help="strict, or reference: what the papers' numbers were measured by.")
    ] = "strict",
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Runs side by side, with bootstrap confidence: overall, per relation, by modality, beside published numbers."""
    from vlkge import compare as spine
    from vlkge.protocol import make_protocol
    from vlkge.run import find_run

    rules = make_protocol(protocol)
    with terminal.progress_bar(quiet):
        found = spine.compare_runs([find_run(run) for run in runs], split, rules, seed)
    if as_json:
        terminal.show_json([one.to_json() for one in found])
        return
    names = [one.name for one in found]
    columns = ("run", "data set", "seed", "queries", "MRR", "95 %", "Hits@1", "Hits@3", "Hits@10", "MRR to the first")
    terminal.show_table(f"{split} split, protocol {rules.name}", columns, spine.rows(found))
    terminal.show_table("MRR per relation", ("relation", "queries", *names), spine.relation_rows(found))
    if modalities := spine.modality_rows(found):
        terminal.show_table("MRR by the modalities of the entity that is asked about", ("it has", "queries", *names),
                            modalities)  # fmt: skip
    if not quiet:
        terminal.note(f"{said(found[0].result)}; intervals: 1,000 resamplings of the queries, seed {seed}; "
                      "of runs on different graphs, a difference is over the questions that both are asked, and "
                      "MRR per relation over those that all are")  # fmt: skip
