"""evaluate: how well a run does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from vlkge.cli.options import AsJson, Quiet, RunFolder, Split

if TYPE_CHECKING:
    from vlkge.evaluate import EvaluationResult
    from vlkge.protocol import EvaluationProtocol

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
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rank a split's answers: overall, per relation, and beside two baselines, or under two protocols."""
    from vlkge.evaluate import evaluate_run
    from vlkge.protocol import make_protocol
    from vlkge.run import load_run

    rules = [make_protocol(name) for name in protocol or ["strict"]]
    if len(rules) > 2:
        raise UsageError(f"{len(rules)} protocols are given; name one, or two to compare")
    if len(rules) == 2:
        _evaluate_both(run, split, (rules[0], rules[1]), as_json, quiet)
        return
    result = evaluate_run(load_run(run), split, rules[0])
    if as_json:
        terminal.show_json(result.to_json())
        return
    terminal.show_table(title(result, split), COLUMNS, result.rows())
    if not quiet:
        terminal.note(f"{said(result)}; candidates are a mean per query; "
                      "baselines: a random order, and the relation's most frequent answers")  # fmt: skip


def _evaluate_both(
    run: Path, split: str, rules: tuple["EvaluationProtocol", "EvaluationProtocol"], as_json: bool, quiet: bool
) -> None:
    from vlkge.gap import compare_run
    from vlkge.run import load_run

    found = compare_run(load_run(run), split, rules)
    if as_json:
        terminal.show_json(found.to_json())
        return
    a, b = (rule.name for rule in rules)
    terminal.show_table(title(found.first, split), ("relation", "queries", f"MRR {a}", f"MRR {b}", "gap",
                                                     f"Hits@10 {a}", f"Hits@10 {b}"), found.rows())  # fmt: skip
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
