"""query, classify: questions over several facts, and what a run knows as a classifier."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from vlkge.cli.options import AsJson, Quiet, RunFolder, Split

if TYPE_CHECKING:
    from vlkge.query_benchmark import ShapeResult
    from vlkge.reasoning import Reasoner
    from vlkge.tasks.multi_hop import Norm

app = typer.Typer()


@app.command(epilog="Example: vlkge query runs/demo '?x: isPupilOf(?x, ?y), isInfluencedBy(?y, artist:camille-corot)'")
def query(
    run: RunFolder,
    question: Annotated[
        str | None, typer.Argument(help="?target: relation(head, tail), ... ; `,` is and, `|` is or, ?y a variable.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="How many answers; default 10.")] = None,
    beam: Annotated[int, typer.Option(min=1, help="How many entities a variable on the way may stand for.")] = 64,
    norm: Annotated[str, typer.Option(help="How facts are joined: product or min.")] = "product",
    model_only: Annotated[
        bool, typer.Option("--model-only", help="Ask the model of facts that train states, too; else these are true.")
    ] = False,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Measure on questions made from the splits instead.")
    ] = False,
    shape: Annotated[
        list[str] | None, typer.Option(help="With --benchmark: 1p, 2p, 3p, 2i, 3i, ip, pi, 2u, up; default: all.")
    ] = None,
    per_shape: Annotated[
        int | None, typer.Option(min=1, help="With --benchmark: questions of each shape; default 100.")
    ] = None,
    tails_only: Annotated[
        bool, typer.Option("--tails-only", help="With --benchmark: ask facts for their tails alone.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="With --benchmark: of the questions; default 42.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Answer a question over several facts, or measure how well such questions are answered."""
    from vlkge.query_benchmark import SHAPES
    from vlkge.query_language import parse
    from vlkge.reasoning import Options, Reasoner
    from vlkge.run import find_run
    from vlkge.tasks.multi_hop import AND

    if norm not in AND:
        raise UsageError(f"--norm {norm}: write product or min")
    if (question is None) != benchmark:
        raise UsageError("give either a question or --benchmark")
    if not benchmark and (shape or tails_only or per_shape is not None or seed is not None):
        raise UsageError("--shape, --per-shape, --tails-only and --seed belong to --benchmark")
    if benchmark and top is not None:
        raise UsageError("--top belongs to a question; --benchmark ranks all answers")
    per_shape, seed = 100 if per_shape is None else per_shape, 42 if seed is None else seed
    asked = None if question is None else parse(question)
    reasoner = Reasoner(find_run(run), Options(beam, cast("Norm", norm), not model_only))
    if asked is None:
        with terminal.progress_bar(quiet):
            results = reasoner.benchmark(shape or list(SHAPES), per_shape, seed, tails_only)
        made = {"per_shape": per_shape, "question_seed": seed, "tails_only": tails_only}
        _show_benchmark(reasoner, results, made, as_json, quiet)
        return
    found = reasoner.answer(asked, top or 10)
    if as_json:
        terminal.show_json({"question": str(asked), "answers": [asdict(one) for one in found], **reasoner.about()})
        return
    rows = [
        (one.rank, one.label, one.entity, one.score,
         ", ".join(f"{name} = {entity}" for name, entity in one.through.items()) or None,
         f"{sum(fact.stated == 'train' for fact in one.evidence)} of {len(one.evidence)}")
        for one in found
    ]  # fmt: skip
    terminal.show_table(str(asked), ("rank", "label", "entity", "score", "through", "stated"), rows)
    if not quiet:
        terminal.note("score: between 0 and 1; stated: of the facts that it rests on, those that train states")


@app.command(epilog="Example: vlkge classify runs/demo --split test")
def classify(
    run: RunFolder,
    split: Split = "test",
    seed: Annotated[int, typer.Option(min=0, help="Of the false triples.")] = 42,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Tell true triples from false ones, and name the one tail of unseen entities."""
    from vlkge.reasoning import classify as classify_run
    from vlkge.run import find_run

    with terminal.progress_bar(quiet):
        found = classify_run(find_run(run), split, seed)
    if as_json:
        terminal.show_json(found)
        return
    title = f"{found['dataset']['name']} {found['dataset']['version']}, {split} split"
    rows = [
        (name, r["triples"], r["accuracy"], r["auc"], r["frequent"])
        for name, r in found["triples"].items()
    ]  # fmt: skip
    columns = ("relation", "triples", "accuracy", "AUC", "frequent accuracy")
    terminal.show_table(f"True or false: {title}", columns, rows)
    named = ("relation", "entities", "classes", "accuracy", "macro F1", "majority accuracy", "majority macro F1")
    terminal.show_table(f"Which tail: {title}", named, [(name, *r.values()) for name, r in found["entities"].items()])
    if not quiet:
        terminal.note(
            f"protocol classification {found['protocol']['version']}: a false triple of the right type for each "
            f"true one, drawn by seed {seed}; thresholds of validation; seed of the run {found['seed']}"
        )


def _show_benchmark(
    reasoner: "Reasoner", results: "list[ShapeResult]", made: dict[str, int], as_json: bool, quiet: bool
) -> None:
    about = {**reasoner.about(), **made, "answers": "those that need a validation or test triple; filtered, realistic"}
    if as_json:
        terminal.show_json({"shapes": [asdict(one) for one in results], **about})
        return
    rows = [
        (one.shape, one.questions, one.answers, round(m.candidates), m.mrr,
         m.hits_at_1, m.hits_at_3, m.hits_at_10, c.mrr)
        for one in results if (m := one.model) and (c := one.chance)
    ]  # fmt: skip
    title = f"{about['dataset']['name']} {about['dataset']['version']}, questions of seed {made['question_seed']}"
    columns = ("shape", "questions", "answers", "candidates", "MRR", "Hits@1", "Hits@3", "Hits@10", "chance MRR")
    terminal.show_table(title, columns, rows)
    for one in results if not quiet else ():
        if one.absent:
            terminal.note(f"{one.shape}: {one.absent}")
    if not quiet:
        terminal.note(
            f"answers that train alone does not give, ranked without the other answers; means over questions; "
            f"beam {about['beam']}, norm {about['norm']}, facts of train {'true' if about['known'] else 'asked'}, "
            f"seed of the run {about['seed']}"
        )
