"""vlkge: train and use vision-language knowledge-graph embeddings. Its commands parse, make one call, print."""

from mkg_builder import terminal
from vlkge.cli import adaptation, evaluation, growing, prediction, reasoning, reporting, sharing, tasks, training
from vlkge.process import prepare_process

app = terminal.make_app(
    "vlkge", "Train and use vision-language knowledge-graph embeddings.",
    epilog="Example: vlkge encode workspace/releases/demo-1.0.0",
)  # fmt: skip
for part in (training, evaluation, prediction, sharing, tasks, growing, reasoning, adaptation, reporting):
    app.add_typer(part.app)


def main() -> None:
    """The entry point."""
    prepare_process()
    terminal.run(app, "vlkge")
