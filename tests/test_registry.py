from pathlib import Path

import pytest

from mkg_builder.errors import UnknownNameError, UsageError
from mkg_builder.registry import Registry

REGISTRY = Registry("thing", "no.such.group", {"dumps": "json:dumps"})


def test_a_built_in_name_and_a_module_path_resolve() -> None:
    import json

    assert REGISTRY.resolve("dumps") is json.dumps
    assert REGISTRY.resolve("json:loads") is json.loads


def test_a_file_beside_the_recipe_resolves_and_loads_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine: ...\n")
    first = REGISTRY.resolve("mine.py:Mine", tmp_path)
    assert first.__name__ == "Mine"
    assert REGISTRY.resolve("mine.py:Mine", tmp_path) is first


@pytest.mark.parametrize(
    ("name", "said"),
    [("dump", "did you mean 'dumps'"), ("no_such_module:X", "is its package installed"),
     ("json:nothing", "has no 'nothing'"), ("none.py:X", "no file")],
)  # fmt: skip
def test_an_unknown_name_says_what_exists(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((UnknownNameError, UsageError), match=said):
        REGISTRY.resolve(name, tmp_path)
