"""Mentions: which texts name whom, against sentences read by eye."""

import pytest

from vlkge.mentions import MOST_NAMESAKES, find_mentions

LABELS = ["oak", "white oak", "tree", "berry", "glass", "ox", "White_Oak", "river"]


def named_in(text: str, labels: list[str] = LABELS) -> list[str]:
    """The labels that a text names, of an entity that is none of them."""
    pairs = find_mentions([[label] for label in [*labels, "?"]], [None] * len(labels) + [text])
    assert all(entity == len(labels) for entity in pairs[:, 0].tolist())
    return [labels[other] for other in pairs[:, 1].tolist()]


@pytest.mark.parametrize(("text", "expected"), [
    ("any of several trees", ["tree"]),
    ("An OAK, by the river", ["oak", "river"]),
    ("white oaks are oaks", ["oak", "white oak", "White_Oak"]),
    ("the white oak alone", ["white oak", "White_Oak"]),
    ("berries in glasses", ["berry", "glass"]),
    ("oaken treelike Riverside", []),
    ("an ox", []),
    ("white, oak", ["white oak", "White_Oak"]),
    ("", []),
])  # fmt: skip
def test_whole_words_the_longest_label_and_plurals(text: str, expected: list[str]) -> None:
    assert named_in(text) == expected


def test_nobody_names_himself_and_a_pair_stands_once() -> None:
    assert find_mentions([["oak"], ["tree"]], ["an oak is a tree, a tree", "unlike an oak"]).tolist() == [
        [0, 1],
        [1, 0],
    ]


def test_a_label_that_several_share_names_all_of_them() -> None:
    assert find_mentions([["bank"], ["bank"], ["river"]], [None, None, "it has a bank"]).tolist() == [[2, 0], [2, 1]]


def test_aliases_are_names_too_and_an_entity_is_named_once() -> None:
    names = [["Rembrandt", "Rembrandt van Rijn", "rembrandt VAN rijn"], [], ["portrait"]]
    assert find_mentions(names, [None, "a portrait by Rembrandt van Rijn", "by Rembrandt"]).tolist() == [
        [1, 0],
        [1, 2],
        [2, 0],
    ]


def test_a_name_that_many_share_names_nobody_but_still_hides_no_other() -> None:
    many = [["untitled"]] * (MOST_NAMESAKES + 1)
    texts = [None] * len(many) + ["untitled river"]
    assert find_mentions([*many, ["river"]], [*texts[:-1], None]).shape == (0, 2)
    assert find_mentions([*many, ["river"], ["?"]], [*texts[:-1], None, texts[-1]]).tolist() == [[34, 33]]
    assert len(find_mentions([*many[1:], ["?"]], texts[1:])) == MOST_NAMESAKES


def test_names_without_end_cost_no_time() -> None:
    words = [f"w{i}" for i in range(20_000)]
    assert find_mentions([[" ".join(words)], ["w700"]], [" ".join(words), " ".join(words)]).tolist() == [[0, 1]]


@pytest.mark.parametrize("labels", [[], ["", "!?", "a"]])
def test_without_words_there_are_no_mentions(labels: list[str]) -> None:
    assert find_mentions([[label] for label in labels], ["a text!?"] * len(labels)).shape == (0, 2)
