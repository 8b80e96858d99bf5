"""encode, train, resume: from a release to a trained run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from mkg_builder.wording import counted
from vlkge.cli.options import AsJson, Device, Quiet, ReleaseName, RunFolder, features_folder, find_features, ignore

if TYPE_CHECKING:
    from vlkge.run import Run

app = typer.Typer()


def _experiments(incomplete: str) -> list[str]:
    """Shipped experiments, for the shell to complete."""
    from vlkge.config import shipped_experiments

    return [name for name in shipped_experiments() if name.startswith(incomplete)]


@app.command(epilog="Example: vlkge encode workspace/releases/demo-1.0.0 --encoder color-texture")
def encode(
    release: ReleaseName,
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
    place, group = out or features_folder(folder), Group.join()
    first = group.rank == 0
    with terminal.progress_bar(quiet or not first) as advance:
        options = EncodeOptions(batch_size, device)
        report = encode_release(folder, tuple(encoder or ()), place, options, advance or ignore)
    group.leave()
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
        str | None,
        typer.Option(
            help="A shipped experiment, or one's YAML file; options here override it.", autocompletion=_experiments
        ),
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
    observed: Annotated[
        str | None, typer.Option(help="What scores see beside vectors: of degree,links,mentions; needs --reciprocal.")
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
    from vlkge.parallel import Group
    from vlkge.train import require_needs, start

    if dataset and hf_dataset:
        raise UsageError("--dataset and --hf-dataset exclude each other")
    chosen = {
        "dataset": f"{HUB_SCHEME}{hf_dataset}" if hf_dataset else dataset,
        "features": features, "model.scorer": model, "model.fusion": fusion,
        "model.modalities": None if modalities is None else modalities.split(","), "model.projection": projection,
        "model.dim": dim, "training.epochs": epochs, "training.batch_size": batch_size,
        "training.loss": loss,
        "training.negatives": int(negatives) if negatives and negatives.isdecimal() else negatives,
        "training.share_negatives": share_negatives, "model.reciprocal": reciprocal,
        "model.observed": None if observed is None else observed.split(",") if observed else [],
        "training.regularizer": regularizer, "training.regularizer_weight": regularizer_weight,
        "training.learning_rate": lr, "training.patience": patience,
        "training.seed": seed, "training.device": device,
    }  # fmt: skip
    settings = [f"{key}={json.dumps(value)}" for key, value in chosen.items() if value is not None]
    file = find_experiment(experiment) if experiment else None
    plan = load_experiment(file, [*settings, *(override or ())])
    require_needs(plan)
    if plan.dataset and plan.features is None:
        plan = plan.model_copy(update={"features": find_features(plan.dataset)})
        if plan.features is None and plan.model.modalities is None and not quiet and Group.join().rank == 0:
            told = hf_dataset or plan.dataset
            terminal.note(f"no features of {told} are here (--features), so structural vectors alone are trained; "
                          f"for pictures and texts: vlkge encode {told}")  # fmt: skip
    default = Path("runs") / file.stem if file else None
    _fit(start(plan, out or default, overwrite), None, as_json, quiet)


@app.command(epilog="Example: vlkge resume runs/demo-complex-average --epochs 100")
def resume(
    run: RunFolder,
    epochs: Annotated[int | None, typer.Option(min=1, help="In all; default: the experiment's.")] = None,
    device: Device = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a training from its last epoch, on the same device as if it had not stopped."""
    from vlkge.run import find_run
    from vlkge.train import on_device

    found = find_run(run)
    if found.parent is not None and not quiet:
        terminal.note(f"{run} grew from {found.parent['folder']}; from here on all vectors learn, not only new ones")
    _fit(found if device is None else on_device(found, device), epochs, as_json, quiet)


def _fit(run: "Run", epochs: int | None, as_json: bool, quiet: bool) -> None:
    from vlkge.parallel import Group
    from vlkge.train import fit

    group = Group.join()
    first, before = group.rank == 0, run.progress.get("epoch", 0)
    quiet = quiet or not first
    with (
        terminal.if_interrupted(f"interrupted; go on with: vlkge resume {run.folder}"),
        terminal.progress_bar(quiet) as advance,
    ):
        for epoch in fit(run, epochs, advance):
            if not quiet:
                mrr = "" if epoch.validation_mrr is None else f", validation MRR {epoch.validation_mrr:.4f}"
                kept = ", the best so far" if epoch.best else ""
                terminal.note(f"epoch {epoch.epoch}: loss {epoch.loss:.4f}{mrr}{kept} ({epoch.seconds:.1f} s)")
    group.leave()
    if not first:
        return
    progress = run.progress
    if before == progress["epoch"] and not quiet:
        patience = run.experiment.training.patience
        done = f"{patience} without a better one" if progress["since_best"] >= patience else "as many as asked for"
        terminal.note(f"nothing was trained: it has {counted(before, 'epoch')}, {done}")
    best = max((e for e in progress["history"] if e["best"]), key=lambda e: int(e["epoch"]), default=None)
    if best is None:
        raise UsageError(f"no epoch of {run.folder} was validated; ask for more than {progress['epoch']} (--epochs)")
    if as_json:
        terminal.show_json({"run": str(run.folder), "epochs": progress["epoch"], "best": best})
        return
    mrr = "" if best["validation_mrr"] is None else f" (validation MRR {best['validation_mrr']:.4f})"
    terminal.say(f"{counted(progress['epoch'], 'epoch')}, the best is {best['epoch']}{mrr}; run: {run.folder}")
