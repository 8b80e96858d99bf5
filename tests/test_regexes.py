"""Every regular expression of ours, the way it is used, on long texts made to bring it to its knees."""

import ast
import importlib
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.test_repository import LIBRARY, ROOT

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import sre_constants
    import sre_parse

SIZES = (2_000, 20_000, 100_000)
"""Characters; the last only with --whole."""
MOST = 5e-7
"""Seconds of computing for each: 50 ms for 100,000."""
USES = ("match", "fullmatch", "search", "sub", "findall", "finditer", "split")
DIRECT = {f"re.{use}" for use in USES}
PIECES = ("a", "1", " ", "\n", "-", "/", ".", "_", "<", "<a", "é", "\u200b", "\x1b", "a1", "a ", "1 ", "1-", "-1", " -",
          "a.", "a/", "a_", "1a ", "hf_", "Q1", "%", "\\", "'", '"')  # fmt: skip
ENDS = ("", "\x00")

Use = tuple[str, str | bytes, int]
"""How a pattern is used, the pattern, its flags."""


IMPORTED = {"mkg_builder.dates", "vlkge.named_numbers"}
"""Modules that put their expressions together when they are imported."""


def compiled(thing: object) -> Iterator[re.Pattern]:
    if isinstance(thing, re.Pattern):
        yield thing
    elif isinstance(thing, list | tuple):
        for one in thing:
            yield from compiled(one)


def methods(name: str, source: str) -> set[str]:
    """How a module uses what it compiled under a name; one of several is tried by `fullmatch`."""
    return {use for use in USES if re.search(rf"\b{name}\.{use}\(", source)} or {"fullmatch"}


def uses_of(path: Path) -> Iterator[Use]:
    """The expressions that a module compiles or uses as they are."""
    source, module = path.read_text(), ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if module in IMPORTED:
        for name, value in vars(importlib.import_module(module)).items():
            yield from ((use, one.pattern, one.flags) for one in compiled(value) for use in methods(name, source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            call, used = node.value, methods(node.targets[0].id, source)
            if ast.unparse(call.func) == "re.compile" and isinstance(call.args[0], ast.Constant):
                yield from ((use, call.args[0].value, 0) for use in used)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in DIRECT and isinstance(node.args[0], ast.Constant):
            yield ast.unparse(node.func)[3:], node.args[0].value, 0


def words(pattern: str | bytes, flags: int) -> list[str]:
    """The literal pieces of an expression, and all of them in their order."""
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    found, pieces = [""], [sre_parse.parse(text, flags & ~re.UNICODE)]
    while pieces:
        for kind, value in pieces.pop():
            if kind is sre_constants.LITERAL:
                found[-1] += chr(value)
                continue
            found.append("")
            values = value if isinstance(value, tuple | list) else [value]
            for part in values:
                many = part if isinstance(part, list) else [part]
                pieces += [one for one in many if isinstance(one, sre_parse.SubPattern)]
    told = sorted(filter(None, found))
    return [*told, *filter(None, ["".join(told)]), *(f"{word}1" for word in told)]


def once(use: Use, text: str) -> float:
    way, pattern, flags = use
    expression = re.compile(pattern, flags)
    body = text.encode() if isinstance(pattern, bytes) else text
    start = time.process_time()
    if way == "sub":
        expression.sub(body[:0], body)
    else:
        found = getattr(expression, way)(body)
        list(found or ()) if way == "finditer" else found
    return time.process_time() - start


def is_slow(use: Use, piece: str, end: str, sizes: tuple[int, ...]) -> bool:
    """Whether it takes too long three times; a size that does is not followed by larger ones."""
    for size in sizes:
        text = piece * (size // len(piece)) + end
        once(use, text[:100])  # compiles it
        if all(once(use, text) > MOST * size for _ in range(3)):
            return True
    return False


def test_every_expression_is_linear(whole: bool) -> None:
    uses = sorted({use for path in LIBRARY for use in uses_of(path)}, key=repr)
    assert len(uses) > 50
    sizes = SIZES if whole else SIZES[:2]
    slow = [
        (use, piece[:20], end)
        for use in uses
        for piece in dict.fromkeys((*PIECES, *words(use[1], use[2])))
        for end in ENDS
        if is_slow(use, piece, end, sizes)
    ]
    assert slow == []


def test_an_expression_that_is_not_linear_would_be_found() -> None:
    assert is_slow(("search", r"\s+$", 0), " ", "x", SIZES[:2])


def test_no_expression_is_put_together_where_it_is_not_seen() -> None:
    """Others than constants are those of `IMPORTED` modules, a recipe's own, or of escaped words."""
    hidden = {}
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in {*DIRECT, "re.compile"}:
                continue
            if not isinstance(node.args[0], ast.Constant):
                hidden[".".join(path.relative_to(ROOT).with_suffix("").parts)] = ast.unparse(node.args[0])
    assert hidden.keys() - IMPORTED == {
        "mkg_builder.compare", "mkg_builder.sources.table_options", "mkg_builder.sources.table_values",
        "mkg_builder.sources.wikiart", "vlkge.query_language",
    }  # fmt: skip
    assert "escape" in hidden["mkg_builder.compare"]
