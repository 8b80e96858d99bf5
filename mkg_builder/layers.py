"""A recipe that extends another: the files it is made of, one laid over the other, and which of them states what."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkg_builder.errors import RecipeError, UnknownNameError
from mkg_builder.strict import parse_yaml

OWN = ("name", "version")
"""What is never inherited."""


@dataclass(frozen=True)
class Layer:
    """One file of a recipe, as it stands there."""

    path: Path
    data: dict[str, Any]


def recipe_folder() -> Path:
    """Where the shipped recipes lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Every recipe that comes with the package, by name."""
    return {path.stem: path for path in sorted(recipe_folder().glob("*.yaml"), key=lambda path: path.stem)}


def find_recipe(name: str, beside: Path = Path()) -> Path:
    """The file of a recipe given by its shipped name or by its path from a folder.

    Raises:
        UnknownNameError: neither a shipped recipe nor a file.
    """
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        if (beside / name).is_file():
            return beside / name
        raise RecipeError(f"no recipe file {name} (looked in {beside.resolve()})")
    raise UnknownNameError("recipe", name, shipped, "or give the path of a YAML file")


def read_layers(path: Path) -> list[Layer]:
    """The files that a recipe is made of, what all others extend first.

    Raises:
        UnknownNameError: what one extends is neither a shipped recipe nor a file.
        RecipeError: recipes that extend each other in a circle, or one without a name and a version of its own.
    """
    layers: list[Layer] = []
    while True:
        if any(layer.path.samefile(path) for layer in layers):
            raise RecipeError(f"{layers[0].path}: extends {path}, which extends it in turn")
        data = parse_yaml(path)
        base = data.pop("extends", None)
        layers.insert(0, Layer(path, data))
        if base is None:
            return layers
        if not isinstance(base, str):
            raise RecipeError(f"{path}: extends: write the name or the path of one recipe")
        for key in OWN:
            if key not in data:
                raise RecipeError(f"{path}: what extends {base} needs a {key} of its own")
        path = find_recipe(base, path.parent)


def lay_over(layers: Sequence[Layer]) -> dict[str, Any]:
    """All layers as one: keys are joined, a later value wins, a list is replaced, null takes what is inherited away.

    Raises:
        RecipeError: two layers have one name.
    """
    whole: dict[str, Any] = {}
    for layer in layers:
        if whole and layer.data.get("name") == whole.get("name"):
            raise RecipeError(f"{layer.path}: {whole['name']!r} is what it extends; give it a name of its own")
        whole = _joined(whole, layer.data)
    return whole


def _joined(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    joined = dict(under)
    for key, value in over.items():
        below = under.get(key)
        if value is None and key in under:
            del joined[key]
        elif isinstance(value, dict) and isinstance(below, dict):
            joined[key] = _joined(below, value)
        else:
            joined[key] = value
    return joined


def stated_in(layers: Sequence[Layer], location: Sequence[int | str]) -> Path:
    """The file that states what stands at a place; where none states all of it, the last that states most."""
    return max(reversed(layers), key=lambda layer: _depth(layer.data, location)).path


def _depth(data: Any, location: Sequence[int | str]) -> int:
    for depth, part in enumerate(location):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(location)
