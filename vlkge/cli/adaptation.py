"""adapt: a pretrained model learns the domain of a graph."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mkg_builder import terminal
from mkg_builder.errors import UsageError
from mkg_builder.wording import counted
from vlkge.cli.options import AsJson, Quiet, ReleaseName, ignore

app = typer.Typer()


@app.command(epilog="Example: vlkge adapt RELEASE --encoder open_clip:ViT-B-32/laion2b_s34b_b79k --out models/adapted")
def adapt(
    release: ReleaseName,
    encoder: Annotated[str, typer.Option(help="A model of open_clip: open_clip:MODEL/PRETRAINED, or its other forms.")],
    out: Annotated[Path, typer.Option(help="The folder to write; encode with open_clip:local-dir:OUT.")],
    blocks: Annotated[
        int | None, typer.Option(min=0, help="How many blocks at the end of each tower learn; default 1.")
    ] = None,
    lora: Annotated[
        int, typer.Option(min=0, metavar="RANK", help="Learn low-rank additions to all blocks instead; needs peft.")
    ] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures of train.")] = 5,
    batch_size: Annotated[int, typer.Option(min=2, help="Pictures at once.")] = 64,
    lr: Annotated[float, typer.Option(min=0.0, help="AdamW's learning rate.")] = 1e-5,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the pictures.")] = 42,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Adapt a vision-language model to a release's pictures and train facts; keep the epoch best on validation."""
    from vlkge.adapt import AdaptOptions
    from vlkge.adapt import adapt as adapt_model
    from vlkge.dataset import find_release

    if lora and blocks is not None:
        raise UsageError("give either --blocks or --lora: low-rank additions go to all blocks")
    folder, _ = find_release(release)
    options = AdaptOptions(1 if blocks is None else blocks, lora, epochs, batch_size, lr, seed, device)
    with terminal.progress_bar(quiet) as advance:
        report = adapt_model(folder, encoder, out, options, advance or ignore)
    if as_json:
        terminal.show_json({**asdict(report), "folder": str(report.folder)})
        return
    rows = [
        (one.epoch, one.loss, one.validation_loss, "yes" if one.best else "", one.seconds) for one in report.history
    ]  # fmt: skip
    terminal.show_table("Adaptation", ("epoch", "loss", "validation loss", "best so far", "seconds"), rows)
    if not quiet:
        terminal.note(
            f"{report.trained:,} parameters learned from {counted(report.facts, 'fact')} of "
            f"{counted(report.pictures, 'picture')}, "
            f"seed {seed}; epoch 0 is the model as it was"
        )
    terminal.say(f"model: {report.folder}; now: vlkge encode {release} --encoder open_clip:local-dir:{report.folder}")
