"""What a vision-language model learns from a graph: which sentences are true of a picture."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vlkge.dataset import Dataset
from vlkge.errors import DatasetError

T = TypeVar("T")
SHUFFLED = 4096
"""How many pictures are held to be drawn from; the release is read in its order, in bounded memory."""


@dataclass(frozen=True)
class Sentences:
    """The sentences that a split's triples make of the prompts of their relations.

    Attributes:
        texts: distinct.
        of: by head's id, the places of the sentences that are true of it, sorted.
    """

    texts: tuple[str, ...]
    of: dict[str, list[int]]


def sentences(dataset: Dataset, split: str) -> Sentences:
    """The sentences of a split: each evaluated relation's prompt around the tail's label.

    Raises:
        DatasetError: no relation that is evaluated has a prompt with a `{}`.
    """
    prompts = {
        dataset.relations.index(name): info.prompt
        for name, info in dataset.relation_info.items()
        if info.evaluated and info.prompt and "{}" in info.prompt
    }
    if not prompts:
        raise DatasetError(
            f"no relation of {dataset.name} has a prompt with a {{}}; give them in its recipe, build again"
        )
    places: dict[str, int] = {}
    of: dict[str, set[int]] = defaultdict(set)
    for head, relation, tail in dataset.triples[split].tolist():
        if relation in prompts:
            text = prompts[relation].replace("{}", dataset.labels[tail])
            of[dataset.entities[head]].add(places.setdefault(text, len(places)))
    return Sentences(tuple(places), {head: sorted(true) for head, true in of.items()})


def multi_positive_loss(pictures: Tensor, texts: Tensor, true: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE where several texts are true of a picture and of several pictures a text, mean of both directions.

    For each picture the mean of `-log softmax` over the texts that are true of it, and likewise for each text
    (Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, the loss with the sum outside of the logarithm).

    Args:
        pictures: [p, d] and texts [t, d], of any length.
        texts: [t, d].
        true: bool [p, t], at least one in each row and column.
        scale: what the cosine is multiplied with.
    """
    logits = scale * normalize(pictures, dim=-1) @ normalize(texts, dim=-1).T
    sides = []
    for one, marks in ((logits, true), (logits.T, true.T)):
        likelihood = one.log_softmax(1).masked_fill(~marks, 0.0).sum(1) / marks.sum(1)
        sides.append(-likelihood.mean())
    return (sides[0] + sides[1]) / 2


def truths(of: Sequence[Sequence[int]]) -> tuple[list[int], Tensor]:
    """The distinct sentences of some pictures, sorted, and which are true of which: bool [p, t]."""
    distinct = sorted({place for places in of for place in places})
    column = {place: i for i, place in enumerate(distinct)}
    true = torch.zeros(len(of), len(distinct), dtype=torch.bool)
    for row, places in enumerate(of):
        true[row, [column[place] for place in places]] = True
    return distinct, true


def shuffled(items: Iterable[T], seed: int, size: int = SHUFFLED) -> Iterator[T]:
    """The items in a random order, as far as `size` of them at a time allow it."""
    generator = random.Random(seed)
    held: list[T] = []
    for item in items:
        if len(held) < size:
            held.append(item)
            continue
        place = generator.randrange(size)
        yield held[place]
        held[place] = item
    generator.shuffle(held)
    yield from held
