"""Numbers that a graph names in words: years and spans of years."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

MOSTLY = 0.95
"""The share from which on a relation is taken for what most of it is."""

_NUMBER = r"[-−]?\d+(?:\.\d+)?"
_SPAN = re.compile(rf"\s*({_NUMBER})\s*(?:[-–/]\s*({_NUMBER})\s*)?")


def read_number(text: str) -> tuple[float, bool] | None:
    """The number that a text is, the middle of the span that it is (`1850-1900`, `1885-90`), or None; whether a span.

    `1889-06` is a month of 1889.
    """
    found = _SPAN.fullmatch(text)
    if not found:
        return None
    first, last = (part and part.replace("−", "-") for part in found.groups())
    if last is None:
        return float(first), False
    if first.isdigit() and last.isdigit() and 2 < len(first) > len(last) and float(last) < float(first):
        month, last = len(last) == 2 and 1 <= int(last) <= 12, first[: -len(last)] + last
        if month and float(last) < float(first):
            return float(first), False
    start, end = float(first), float(last)
    return None if end < start else ((start + end) / 2, True)


def read_numbers(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The numbers of texts [n], NaN where one is none, float64 [n]; and which are spans, bool [n]."""
    read = [read_number(text) or (float("nan"), False) for text in texts]
    return torch.tensor([number for number, _ in read], dtype=torch.float64), torch.tensor([s for _, s in read]).bool()


def label_numbers(labels: Sequence[str], entities: Tensor) -> tuple[Tensor, Tensor]:
    """As `read_numbers`, of the labels of entities [n], each of which is read once."""
    distinct, places = torch.unique(entities, return_inverse=True)
    numbers, spans = read_numbers([labels[entity] for entity in distinct.tolist()])
    return numbers[places], spans[places]
