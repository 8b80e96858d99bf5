"""mkgb: build versioned multimodal knowledge graphs. Its commands parse, make one call, print."""

from mkg_builder import terminal
from mkg_builder.cli import building, looking, publishing

app = terminal.make_app(
    "mkgb", "Build versioned multimodal knowledge graphs from recipes.", epilog="Example: mkgb build demo"
)
for part in (building, looking, publishing):
    app.add_typer(part.app)


def main() -> None:
    """The entry point."""
    terminal.run(app, "mkgb")
