"""vlkge: train and use vision-language knowledge-graph embeddings. Parses, makes one call, prints."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from vlkge.process import prepare_process

if TYPE_CHECKING:
    from vlkge.evaluate import EvaluationResult
    from vlkge.protocol import EvaluationProtocol
    from vlkge.run import Run

app = terminal.make_app("vlkge", "Train and use vision-language knowledge-graph embeddings.")

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as `vlkge train` writes it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]
Device = Annotated[str | None, typer.Option(help="A torch device: cpu, cuda.")]


@app.command(epilog="Example: vlkge encode workspace/releases/demo-1.0.0 --encoder color-texture")
def encode(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A release folder, or ORG/NAME[@REV] on the Hub.")],
    encoder: Annotated[
        list[str] | None, typer.Option(help="An encoder, at most one per modality; repeat the option.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Default: features/<name>-<version>.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures or texts at once.")] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Encode a release's pictures and texts into features; a killed run goes on where it stopped."""
    from vlkge.dataset import find_release
    from vlkge.encode import EncodeOptions, encode_release
    from vlkge.parallel import Group

    folder, _ = find_release(release)
    place, first = out or _features_folder(folder), Group.join().rank == 0
    with terminal.progress_bar(quiet or not first) as advance:
        options = EncodeOptions(batch_size, device)
        report = encode_release(folder, tuple(encoder or ()), place, options, advance or _ignore)
    if not first:
        return
    if as_json:
        terminal.show_json({**asdict(report), "folder": str(report.folder)})
        return
    rows = [(m.encoder.modality, m.encoder.spec, m.encoder.dimension, m.encoded, len(m.skipped), m.resumed)
            for m in report.modalities]  # fmt: skip
    terminal.show_table("Features", ("modality", "encoder", "dimension", "encoded", "skipped", "done before"), rows)
    for modality in report.modalities if not quiet else ():
        for line in modality.reasons():
            terminal.note(f"{modality.encoder.modality}: {line}")
    terminal.say(f"features: {report.folder}")


@app.command(epilog="Example: vlkge train --dataset workspace/releases/demo-1.0.0 --model complex --fusion average")
def train(
    experiment: Annotated[
        str | None, typer.Option(help="A shipped experiment, or one's YAML file; options here override it.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A release folder.")] = None,
    hf_dataset: Annotated[str | None, typer.Option(metavar="ORG/NAME[@REV]", help="A release on the Hub.")] = None,
    features: Annotated[
        str | None, typer.Option(help="What `vlkge encode` wrote; default: its default place, if it is there.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="transe, distmult, complex, rotate, or module:Name.")] = None,
    fusion: Annotated[
        str | None, typer.Option(help="average, addition, concat, weighted, gated, or module:Name.")
    ] = None,
    modalities: Annotated[str | None, typer.Option(help="Of structural,image,text; default: all there are.")] = None,
    projection: Annotated[str | None, typer.Option(help="Of encoded vectors: trained or frozen.")] = None,
    dim: Annotated[int | None, typer.Option(help="Components of one modality's vector.")] = None,
    epochs: Annotated[int | None, typer.Option(help="At most so many.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Positives per step.")] = None,
    loss: Annotated[str | None, typer.Option(help="logistic, as in the paper, or softmax.")] = None,
    negatives: Annotated[
        str | None, typer.Option(metavar="N|all", help="False triples per true one; all: 1-vs-all.")
    ] = None,
    share_negatives: Annotated[
        bool | None, typer.Option("--share-negatives", help="Draw them once per batch instead of per triple.")
    ] = None,
    reciprocal: Annotated[
        bool | None, typer.Option("--reciprocal", help="Learn every relation's inverse as a relation of its own.")
    ] = None,
    regularizer: Annotated[str | None, typer.Option(help="n3, dura or none.")] = None,
    regularizer_weight: Annotated[float | None, typer.Option(help="What it is multiplied with.")] = None,
    lr: Annotated[float | None, typer.Option(help="Adagrad's learning rate.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without a better one.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    device: Device = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any value by its path: model.dropout=0.3.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder; default runs/<data set>-<model>-<fusion>, or the experiment's name."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train embeddings on a release and keep the epoch with the best validation MRR."""
    from vlkge.config import find_experiment, load_experiment
    from vlkge.dataset import HUB_SCHEME
    from vlkge.train import start

    if dataset and hf_dataset:
        raise UsageError("--dataset and --hf-dataset exclude each other")
    chosen = {
        "dataset": f"{HUB_SCHEME}{hf_dataset}" if hf_dataset else dataset,
        "features": features, "model.scorer": model, "model.fusion": fusion,
        "model.modalities": modalities.split(",") if modalities else None, "model.projection": projection,
        "model.dim": dim, "training.epochs": epochs, "training.batch_size": batch_size,
        "training.loss": loss,
        "training.negatives": int(negatives) if negatives and negatives.isdecimal() else negatives,
        "training.share_negatives": share_negatives, "model.reciprocal": reciprocal,
        "training.regularizer": regularizer, "training.regularizer_weight": regularizer_weight,
        "training.learning_rate": lr, "training.patience": patience,
        "training.seed": seed, "training.device": device,
    }  # fmt: skip
    settings = [f"{key}={json.dumps(value)}" for key, value in chosen.items() if value is not None]
    file = find_experiment(experiment) if experiment else None
    plan = load_experiment(file, [*settings, *(override or ())])
    if plan.dataset and plan.features is None:
        plan = plan.model_copy(update={"features": _find_features(plan.dataset)})
    default = Path("runs") / file.stem if file else None
    _fit(start(plan, out or default, overwrite), None, as_json, quiet)


@app.command(epilog="Example: vlkge resume runs/demo-complex-average --epochs 100")
def resume(
    run: RunFolder,
    epochs: Annotated[int | None, typer.Option(min=1, help="In all; default: the experiment's.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a training from its last epoch, exactly as if it had not stopped."""
    from vlkge.run import load_run

    _fit(load_run(run), epochs, as_json, quiet)


def _fit(run: "Run", epochs: int | None, as_json: bool, quiet: bool) -> None:
    from vlkge.parallel import Group
    from vlkge.train import fit

    first = Group.join().rank == 0
    quiet = quiet or not first
    with terminal.progress_bar(quiet) as advance:
        for epoch in fit(run, epochs, advance):
            if not quiet:
                mrr = "" if epoch.validation_mrr is None else f", validation MRR {epoch.validation_mrr:.4f}"
                kept = ", the best so far" if epoch.best else ""
                terminal.note(f"epoch {epoch.epoch}: loss {epoch.loss:.4f}{mrr}{kept} ({epoch.seconds:.1f} s)")
    if not first:
        return
    progress = run.progress
    best = max((e for e in progress["history"] if e["best"]), key=lambda e: int(e["epoch"]))
    if as_json:
        terminal.show_json({"run": str(run.folder), "epochs": progress["epoch"], "best": best})
        return
    mrr = "" if best["validation_mrr"] is None else f" (validation MRR {best['validation_mrr']:.4f})"
    terminal.say(f"{progress['epoch']} epochs, the best is {best['epoch']}{mrr}; run: {run.folder}")


@app.command(epilog="Example: vlkge evaluate runs/demo-complex-average --split test --protocol strict")
def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
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
    terminal.show_table(_title(result, split),
                        ("relation", "queries", "candidates", "MRR", "Hits@1", "Hits@3", "Hits@10",
                         "chance MRR", "frequent MRR"), result.rows())  # fmt: skip
    if not quiet:
        terminal.note(f"{_said(result)}; candidates are a mean per query; "
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
    terminal.show_table(_title(found.first, split), ("relation", "queries", f"MRR {a}", f"MRR {b}", "gap",
                                                     f"Hits@10 {a}", f"Hits@10 {b}"), found.rows())  # fmt: skip
    terminal.show_table(f"From {a} to {b}, one change after the other",
                        ("relation", "change of", "ranks changed", "of these better", "MRR change"),
                        found.causes())  # fmt: skip
    if not quiet:
        terminal.note(f"{_said(found.first)}; {_said(found.second)}")


def _title(result: "EvaluationResult", split: str) -> str:
    return f"{result.about['dataset']['name']} {result.about['dataset']['version']}, {split} split"


def _said(result: "EvaluationResult") -> str:
    rules = result.about["protocol"]
    return f"protocol {rules['name']} {rules['version']}: ties {rules['ties']}"


@app.command(
    epilog="Example: vlkge predict runs/demo-complex-average --image painting.jpg --relation isCreatedByArtist"
)
def predict(
    run: RunFolder,
    relation: Annotated[str, typer.Option(help="The relation whose tail is asked for.")],
    head: Annotated[str | None, typer.Option(help="An entity of the graph, by id.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture outside the graph.")] = None,
    text: Annotated[str | None, typer.Option(help="A text about something outside the graph.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many answers.")] = 10,
    new_only: Annotated[bool, typer.Option("--new-only", help="With --head: leave out what the graph states.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The likeliest tails of an entity, or of a picture or text outside the graph."""
    from vlkge.predict import Outside, Predictor
    from vlkge.run import load_run

    if (head is None) == (image is None and text is None):
        raise UsageError("give either --head, or --image and/or --text")
    predictor = Predictor(load_run(run))
    if head is not None:
        found = predictor.tails_of(head, relation, top, new_only)
    else:
        found = predictor.tails_of_outside(Outside(image, text), relation, top)
    if as_json:
        terminal.show_json([asdict(prediction) for prediction in found])
        return
    title = f"{head or image or repr(text)} – {relation}"
    columns = ["rank", "label", "entity", "score", *(["known from"] if head else [])]
    rows = [(p.rank, p.label, p.entity, p.score, p.known)[: len(columns)] for p in found]
    terminal.show_table(title, columns, rows)
    if not quiet and any(p.known for p in found):
        terminal.note("known from: the split that already states this triple; --new-only leaves these out")


def _features_folder(release: Path) -> Path:
    from mkg_builder.schema import read_manifest

    manifest = read_manifest(release)
    return Path("features") / f"{manifest['name']}-{manifest['version']}"


def _find_features(dataset: str) -> str | None:
    from vlkge.dataset import find_release

    place = _features_folder(find_release(dataset)[0])
    return str(place) if place.is_dir() else None


def _ignore(_stage: str, _done: int, _total: int | None) -> None:
    """Nobody wants to know."""


def main() -> None:
    """The entry point."""
    prepare_process()
    terminal.run(app, "vlkge")
