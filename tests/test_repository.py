"""The house rules, checked: imports point downwards, sizes, no data set in library code, everything documented."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from mkg_builder import cli as mkgb
from mkg_builder import schema, strict
from mkg_builder.layers import shipped_recipes
from mkg_builder.recipe import load_recipe
from vlkge import cli as vlkge

ROOT = Path(__file__).parent.parent
LIBRARY = sorted([*(ROOT / "mkg_builder").rglob("*.py"), *(ROOT / "vlkge").rglob("*.py")])
SHIPPED = [*LIBRARY, *sorted((ROOT / "recipes").rglob("*.py"))]

MKG_BUILDER = (
    "__main__", "cli", "explore", "build", "publish", "hub", "variant", "report", "world_map", "countries",
    "summary", "checks", "leaks", "write", "shards", "compare", "differences", "croissant", "card", "statistics",
    "split", "decisions", "align", "clean", "reconcile", "entity_pictures", "facts", "knowledge_graph", "workshop",
    "images", "sources", "testing", "context", "picture_pool", "picture_worker", "http", "robots", "throttle",
    "replies", "wire", "sparql", "connections", "snapshot", "lock", "journal", "source", "recipe", "layers", "rows",
    "strict", "content", "schema", "statements", "triples", "twins", "unions", "near_duplicates", "picture",
    "graph", "findings", "remote", "markdown", "page", "terminal", "registry", "places", "tables", "names", "dates",
    "durable", "ordering", "addresses", "clock", "progress", "redaction", "wording", "errors",
)  # fmt: skip
"""From the entry point to the core: a module imports only what stands behind it."""

VLKGE = (
    "__main__", "cli", "report", "share", "growth", "gathering", "newcomers", "loose_tables", "rows", "train",
    "trainer", "objective", "candidates", "export", "model_card", "explain", "predict", "compare", "availability",
    "calibration", "gap", "zero_shot", "probe", "retrieve", "entity_vectors", "named_numbers", "reasoning",
    "query_benchmark", "query_language", "tasks", "evaluate", "scores", "new_run", "run", "counting", "queries",
    "protocol", "ranking", "negatives", "losses", "model", "observed", "mentions", "vectors", "keys", "scorers",
    "comparisons", "sampled", "fusion", "pictures", "adapt", "unlock", "contrastive", "encode", "published",
    "additions", "sentences", "features",
    "encoders_joined", "encoders_open_clip", "encoders_transformers", "encoders_plain", "encoders", "model_folder",
    "pretrained", "dataset", "hub", "tables", "config", "optimizer", "parallel", "compiled", "shapes", "process",
    "files", "errors",
)  # fmt: skip

COMMON_FLOOR = {
    "durable", "errors", "lock", "markdown", "names", "page", "picture", "progress", "registry", "remote", "rows",
    "schema", "strict", "terminal", "wording",
}  # fmt: skip
"""What vlkge may use of mkg_builder."""

DATA_SETS = re.compile(r"wikiart|wn9|\bdemo\b", re.IGNORECASE)
KNOWS_A_SITE = {str(path.relative_to(ROOT)) for path in LIBRARY if path.match("sources/wikiart*.py")}
"""A source is about its site."""


def imports(path: Path) -> Iterator[str]:
    """The dotted modules of ours that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def room(path: Path) -> str:
    inside = path.relative_to(ROOT).parts
    return inside[1] if len(inside) > 2 else path.stem


def test_every_module_has_a_place_in_the_order() -> None:
    for package, order in (("mkg_builder", MKG_BUILDER), ("vlkge", VLKGE)):
        rooms = {room(path) for path in (ROOT / package).rglob("*.py")} - {"__init__"}
        assert rooms - set(order) == set()
        assert set(order) - rooms - {"__main__"} == set()


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    order = {"mkg_builder": MKG_BUILDER, "vlkge": VLKGE}[package]
    if path.stem == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "vlkge" and package == "mkg_builder":
            pytest.fail(f"{path} imports {name}")
        if parts[0] == package and len(parts) > 1 and parts[1] in order and parts[1] != room(path):
            assert order.index(parts[1]) > order.index(room(path)), f"{path.name} imports {name}, which stands above"
        if package == "vlkge" and parts[0] == "mkg_builder" and parts[1:2] != ["__version__"]:
            assert parts[1] in COMMON_FLOOR, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_data_set_is_named_in_library_code(path: Path) -> None:
    if str(path.relative_to(ROOT)) in KNOWS_A_SITE:
        return
    tree = ast.parse(path.read_text())
    examples = {node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "epilog"}
    registered = {
        value for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Registry"
        for value in ast.walk(node)
    }  # fmt: skip
    docstrings = {
        node.body[0].value for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    for node in ast.walk(tree):
        if node in examples or node in registered or node in docstrings:
            continue
        named = node.value if isinstance(node, ast.Constant) else getattr(node, "id", getattr(node, "name", ""))
        assert not (isinstance(named, str) and DATA_SETS.search(named)), f"{path.name}:{node.lineno} names {named!r}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_functions_and_parameters_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 310, f"{path.name} is long: are they two?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.body[0].lineno
            assert lines <= 42, f"{path.name}:{node.lineno} {node.name} has {lines} lines"
            positional = [a for a in node.args.args if a.arg not in ("self", "cls")]
            assert len(positional) <= 7 or room(path) == "cli", f"{path.name}: {node.name} takes {len(positional)}"


BANNED_NAMES = {"pickle", "cPickle", "dill", "marshal", "shelve", "joblib"}
BANNED_CALLS = {"eval", "exec", "torch.load", "torch.save", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
BANNED_METHODS = {"extractall"}
SAFE_LOADER = "strict.py"
"""Reads YAML with a loader of its own, which is a SafeLoader."""
BANNED_ARGUMENTS = {("shell", True), ("trust_remote_code", True), ("allow_pickle", True), ("verify", False)}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_code_from_data(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {name.split(".")[0] for name in names} & BANNED_NAMES
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if (called, path.name) == ("yaml.load", SAFE_LOADER):
                assert issubclass(strict._Loader, yaml.SafeLoader)
                continue
            banned = called in BANNED_CALLS or called.rpartition(".")[2] in BANNED_METHODS
            assert not banned, f"{path.name}:{node.lineno} calls {called}"
            given = {(k.arg, k.value.value) for k in node.keywords if isinstance(k.value, ast.Constant)}
            assert not given & BANNED_ARGUMENTS, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_terminal_prints(path: Path) -> None:
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    assert "print" not in called
    assert path.stem == "terminal" or not {name for name in called if name.startswith("sys.stdout")}


def commands(app: typer.Typer) -> Iterator[tuple[str, set[str]]]:
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        yield name, {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


@pytest.mark.parametrize(("program", "app"), [("mkgb", mkgb.app), ("vlkge", vlkge.app)])
def test_the_readme_documents_every_command_and_option(program: str, app: typer.Typer) -> None:
    readme = (ROOT / "README.md").read_text()
    for name, options in commands(app):
        assert f"{program} {name}" in readme
        for option in options - {"--help"}:
            assert re.search(rf"{option}\b", readme), f"{program} {name} {option} is not in the README"


@pytest.mark.parametrize(("program", "app"), [("mkgb", mkgb.app), ("vlkge", vlkge.app)])
def test_every_command_has_an_example_and_every_option_a_help(program: str, app: typer.Typer) -> None:
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"{program} {name}" in (command.epilog or ""), f"{program} {name} has no example"
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{program} {name} {parameter.name} has no help"


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_loads_and_is_named_after_its_file(name: str) -> None:
    recipe = load_recipe(shipped_recipes()[name])
    assert recipe.name == name
    assert all(relation.prompt and "{}" in relation.prompt for relation in recipe.relations.values())


def test_the_schema_page_is_current() -> None:
    assert (ROOT / "data_cards" / "SCHEMA.md").read_text() == schema.describe()


def test_no_work_is_left_over_in_words() -> None:
    for path in SHIPPED:
        assert not re.search(r"TODO|FIXME|XXX|NotImplementedError|for now", path.read_text()), path.name
