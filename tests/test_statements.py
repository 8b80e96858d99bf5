"""What a source may yield, and what is told of anything else."""

import re
from collections.abc import Iterator

import pytest

from mkg_builder.errors import DataError
from mkg_builder.graph import Entity, Literal, Triple
from mkg_builder.statements import accepted

SOUND = [
    Entity("artwork:a", "artwork", "A", "text", "key", ("wikidata:Q1",), ("s",), ("alias",)),
    Entity("artist:x", "artist", "X", aliases=["a list"]),  # type: ignore[arg-type]
    Entity("date:1850~", "date", "1850~"),
    Triple("artwork:a", "by", "artist:x", "s"),
    Triple("artwork:a", "by", "artist:x", "s", "train"),
    Literal("artwork:a", "by", "X (?)", "s"),
]


def test_what_is_well_formed_comes_as_it_is() -> None:
    assert list(accepted(iter(SOUND), "s")) == SOUND


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (None, "None: read() must yield an Entity, a Triple or a Literal at a time"),
        (("a", "by", "b"), "('a', 'by', 'b'): read() must yield"),
        ([*SOUND], "…: read() must yield"),
        (Entity("work:1", "artwork", "A"), "'work:1': its type is 'artwork', so its id must begin with 'artwork:'"),
        (Entity("artwork:x", "artist", "X"), "'artwork:x': its type is 'artist', so its id must begin with 'artist:'"),
        (Entity("x", "artwork", "X"), "'x': its type is 'artwork', so its id must begin with 'artwork:'"),
        (Entity(5, "artwork", "X"), "5: its id is 5; it must be a str of whole characters"),  # type: ignore[arg-type]
        (Entity("artwork:x", "artwork", None), "its label is None; it must be a str of whole characters"),  # type: ignore[arg-type]
        (Entity("artwork:x", "artwork", "X\ud800"), "its label is 'X\\ud800'; it must be a str of whole characters"),
        (Entity("artwork:x", "artwork", "X", text="\udfff"), "its text is '\\udfff'; it must be a str of whole"),
        (Literal("a:b", "title", "\ud800", "s"), "its value is '\\ud800'; it must be a str of whole characters"),
        (Entity("artwork:x", "artwork", "X", image=b"JPEG"), "its image is b'JPEG'"),  # type: ignore[arg-type]
        (Entity("artwork:x", "artwork", "X", sources="s"), "its sources is 's'"),  # type: ignore[arg-type]
        (Entity("artwork:x", "artwork", "X", aliases=(1,)), "its aliases is (1,)"),  # type: ignore[arg-type]
        (Triple("a:b", "by", "c:d", None), "its source is None; it must be a str of whole characters"),  # type: ignore[arg-type]
        (Triple("a:b", "by", 7, "s"), "its tail is 7; it must be a str of whole characters"),  # type: ignore[arg-type]
        (Triple("a:b", "by", "c:d", "s", "dev"), "its split is 'dev'; it must be one of None, 'train', 'validation'"),
        (Literal("a:b", "year", 1850, "s"), "its value is 1850; it must be a str of whole characters"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_anything_else_is_told_in_one_line_with_its_source(thing: object, said: str) -> None:
    with pytest.raises(DataError, match=f"^source 's' yielded .*{re.escape(said)}.*$"):
        list(accepted([*SOUND, thing], "s"))


def test_a_source_that_yields_nothing_at_all_is_told_so() -> None:
    def read() -> Iterator[object]:
        """Without a `yield`."""

    with pytest.raises(DataError, match="source 's' returned None: read"):
        list(accepted(read(), "s"))  # type: ignore[func-returns-value]
