"""Names become objects: built in, then an installed plug-in, then `module:Name` or `file.py:Name`."""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mkg_builder.errors import UnknownNameError, UsageError


class Registry:
    """The implementations of one seam, by name; nothing is imported before it is asked for.

    Args:
        kind: the seam in words, for error messages ("source", "scorer").
        group: the entry-point group that plug-ins use, for example `vlkge.scorers`.
        builtin: name -> `module:attribute`.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind, self.group, self._builtin = kind, group, dict(builtin)

    def names(self) -> list[str]:
        """Every built-in and installed name, sorted."""
        installed = importlib.metadata.entry_points(group=self.group)
        return sorted({*self._builtin, *(point.name for point in installed)})

    def resolve(self, name: str, beside: Path | None = None) -> Any:
        """The object that `name` stands for.

        Args:
            name: a built-in or plug-in name, `package.module:Name`, or `file.py:Name`.
            beside: the folder that a relative `file.py` is looked up in (default: the working folder).

        Raises:
            UnknownNameError: nothing has this name.
            UsageError: the module or file is missing, or has no such attribute.
        """
        if name in self._builtin:
            return _attribute(self._builtin[name], None)
        for point in importlib.metadata.entry_points(group=self.group, name=name):
            return point.load()
        if ":" in name:
            return _attribute(name, beside)
        hint = f"or write module:Name or file.py:Name for your own {self.kind}"
        raise UnknownNameError(self.kind, name, self.names(), hint)


def _attribute(target: str, beside: Path | None) -> Any:
    place, _, attribute = target.rpartition(":")
    module = _load_file(beside, place) if place.endswith(".py") else _load_module(place)
    if not hasattr(module, attribute):
        raise UsageError(f"{place} has no {attribute!r}; {target!r} should name a class in it")
    return getattr(module, attribute)


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise UsageError(f"no module named {name!r}; is its package installed?") from None


def _load_file(beside: Path | None, name: str) -> ModuleType:
    path = ((beside or Path.cwd()) / name).resolve()
    if not path.is_file():
        raise UsageError(f"no file {path}; {name!r} is looked up beside the recipe")
    unique = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module
