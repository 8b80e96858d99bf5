"""Reading strictly: JSON and YAML from outside, and settings whose unknown keys are refused with the nearest named."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mkg_builder.errors import RecipeError, UnknownNameError

MAX_BYTES = 1_000_000
SHOULD = "Input should be "
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """Settings that are immutable and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases (a bomb's ingredient) and without repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for name, _ in node.value:
            key = self.construct_object(name)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.YAMLError(f"a key is a {type(key).__name__}; write a word")
            if key in keys:
                raise yaml.YAMLError(f"the key {key!r} stands twice in one place")
            keys.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, read safely.

    Raises:
        RecipeError: unreadable, larger than 1 MB, not YAML, with aliases or repeated keys, or no mapping.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(f"{path}: larger than {MAX_BYTES:,} bytes")
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:  # its readers of !!tags raise these
        raise RecipeError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: should be a mapping of keys to values")
    return data


def set_dotted(data: dict[str, Any], override: str, null_removes: bool = False) -> None:
    """Apply one `dotted.key=value`; the value is read as YAML, and null may take the key away.

    Raises:
        RecipeError: no `=`, or a part of the path is no mapping.
    """
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set {override}: write it as dotted.key=value")
    *parents, last = path.split(".")
    place = data
    for part in parents:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise RecipeError(f"--set {override}: {part!r} holds no further keys")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        place[last] = value
    if null_removes and place[last] is None:
        del place[last]


Location = tuple[int | str, ...]


def validate(model: type[M], data: Mapping[str, Any], where: str | Callable[[Location], str]) -> M:
    """The data as a model; the first fault as one line that names its path.

    Args:
        model: what the data should be.
        data: from outside.
        where: what holds the data, or what holds a place in it, for the message.

    Raises:
        RecipeError: an unknown key (the nearest is named), a missing key, a wrong value.
    """
    source = (lambda _: where) if isinstance(where, str) else where
    try:
        return model.model_validate(data)
    except UnknownNameError as error:
        raise RecipeError(f"{source(())}: {error}") from None
    except ValidationError as error:
        fault, *others = error.errors()
        where, place = source(fault["loc"]), _place(data, fault["loc"])
        path = ".".join(str(part) for part in place)
        if fault["type"] == "extra_forbidden":
            known = _known_keys(model, fault["loc"][:-1])
            raise RecipeError(f"{where}: {UnknownNameError(f'key at {path}:', str(fault['loc'][-1]), known)}") from None
        said = [fault["msg"].removeprefix("Value error, ")]
        said += [f"or {other['msg'].removeprefix(SHOULD)}" for other in others if _place(data, other["loc"]) == place]
        raise RecipeError(f"{where}: {path or 'recipe'}: {', '.join(said)}") from None


def _place(data: Any, location: Location) -> Location:
    """Where in the data a fault is: its location without the kinds that pydantic tried one after the other there."""
    place: list[int | str] = []
    for number, part in enumerate(location, 1):
        inside = part in data if isinstance(data, Mapping) else isinstance(data, list) and isinstance(part, int)
        if inside:
            data = data[part]
        elif not isinstance(data, Mapping) or number < len(location):
            continue
        place.append(part)  # also the last one, where it is a key that is missing
    return tuple(place)


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the model knows at a place, following fields and the values of dictionaries."""
    kind: Any = model
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:
            arguments = getattr(kind, "__args__", ())
            kind = arguments[-1] if arguments else None
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def parse_json(body: bytes) -> Any:
    """A whole JSON document, without what Python's reader is too kind about.

    Raises:
        ValueError: not UTF-8, cut off, NaN or infinity, a repeated key, an endless number or nesting, half a letter.
    """
    try:
        text = body.decode("utf-8")
        data = json.loads(text, object_pairs_hook=unique, parse_constant=_refuse_constant,
                          parse_float=_finite)  # fmt: skip
        require_text(text, data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return data


def require_text(text: str, data: Any) -> None:
    """Refuse JSON that spells out half a surrogate pair: it passes as JSON, but no file can hold it as text.

    Args:
        text: the JSON.
        data: what was read from it.

    Raises:
        ValueError: there is such a half.
    """
    if _SURROGATE.search(text):
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start])[1:-1]
            raise ValueError(f"{half} is half a surrogate pair, which is no text") from None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The keys and values of one JSON object.

    Raises:
        ValueError: a key stands twice.
    """
    keys = dict(pairs)
    if len(keys) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return keys


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is beyond every number")
    return number


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
