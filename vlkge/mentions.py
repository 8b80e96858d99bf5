"""Who is named in whose text: the longest names that stand in it, word for word."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set

import torch
from torch import Tensor

LEAST_LETTERS = 3
"""Shorter names stand in texts by chance."""

MOST_WORDS = 16
"""Longer names are not looked for: the work grows with the longest."""

MOST_NAMESAKES = 32
"""A name that more entities share, as 'Untitled', names none of them."""

_WORD = re.compile(r"\w+")
Words = tuple[str, ...]


def find_mentions(names: Sequence[Sequence[str]], texts: Sequence[str | None]) -> Tensor:
    """Which entities' texts name which others: int64 [k, 2], (text's entity, entity named), sorted, each pair once.

    Where one name lies within another, the longer one counts; one that several entities share names all of them, one
    that many share none. The last word may be an English plural. Nobody names himself.

    Args:
        names: of each entity, however many.
        texts: of each entity; None where there is none.
    """
    named: dict[Words, list[int]] = defaultdict(list)
    for entity, of_entity in enumerate(names):
        for words in {_words(name) for name in of_entity}:
            if sum(map(len, words)) >= LEAST_LETTERS and len(words) <= MOST_WORDS:
                named[words].append(entity)
    named = {words: sharers for words, sharers in named.items() if len(sharers) <= MOST_NAMESAKES}
    longest = max(map(len, named), default=0)
    pairs = {
        (entity, other)
        for entity, text in enumerate(texts)
        if text
        for found in _names_in(_words(text), named.keys(), longest)
        for other in named[found]
        if other != entity
    }
    return torch.tensor(sorted(pairs), dtype=torch.int64).view(-1, 2)


def _names_in(text: Words, names: Set[Words], longest: int) -> Iterator[Words]:
    start = 0
    while start < len(text):
        for stop in range(min(start + longest, len(text)), start, -1):
            found = [name for last in _singulars(text[stop - 1]) if (name := (*text[start : stop - 1], last)) in names]
            if found:
                yield from found
                start = stop
                break
        else:
            start += 1


def _singulars(word: str) -> Iterator[str]:
    """The word, and what it may be the plural of."""
    yield word
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("es"):
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]


def _words(text: str) -> Words:
    return tuple(_WORD.findall(text.lower().replace("_", " ")))
