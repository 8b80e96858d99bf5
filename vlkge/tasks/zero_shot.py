"""Zero-shot: the answer whose sentence is nearest to the head's picture or text, without any training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vlkge.dataset import Dataset
from vlkge.encoders import Vectors, encode_texts
from vlkge.errors import DatasetError
from vlkge.scorers import Direction

BATCH = 64
"""Sentences that are encoded at once."""

UNKNOWN = -2.0
"""Under every cosine."""


def ask(dataset: Dataset, relation: int, tails: Tensor) -> list[str]:
    """The sentences that state tails [m] of a relation: its prompt around their labels, or the labels alone.

    Raises:
        DatasetError: the prompt has no `{}` for the label.
    """
    name = dataset.relations[relation]
    prompt = dataset.relation_info[name].prompt or "{}"
    if "{}" not in prompt:
        raise DatasetError(f"the prompt of {name}, {prompt!r}, has no {{}}; mend the recipe, build again")
    return [prompt.replace("{}", dataset.labels[tail]) for tail in tails.tolist()]


class ZeroShotScores:
    """The cosine of the head's vector and of the sentence that states the tail; the same for both directions.

    All tails of a head without a vector tie; as a candidate it comes last.

    Args:
        dataset: the graph, for prompts and labels.
        heads: float32 [entities, d].
        present: bool [entities].
        encode: sentences to vectors [n, d] in the heads' space.
    """

    def __init__(
        self, dataset: Dataset, heads: Tensor, present: Tensor, encode: Callable[[Sequence[str]], Vectors]
    ) -> None:
        self._dataset, self._encode = dataset, encode
        self._heads, self._present = normalize(heads, dim=1), present
        self._sentences: dict[int, _Sentences] = {}

    def score(self, direction: Direction, relation: int, anchors: Tensor, candidates: Tensor) -> Tensor:
        """Cosines [q, m]; equal sentences tie exactly."""
        heads, tails = (anchors, candidates) if direction == "tail" else (candidates, anchors)
        rows = self._rows(relation, tails)
        # in float64 and rounded: equal vectors tie wherever in a product they stand
        cosines = (self._heads[heads].double() @ self._sentences[relation].vectors[rows].double().T).float()
        if direction == "tail":
            return cosines
        return cosines.masked_fill(~self._present[heads, None], UNKNOWN).T.contiguous()

    def _rows(self, relation: int, tails: Tensor) -> Tensor:
        """Where the sentences of tails [m] stand among the relation's; encoded when first asked for."""
        said = self._sentences.setdefault(
            relation, _Sentences({}, torch.full((len(self._dataset.entities),), -1), self._heads.new_empty(0))
        )
        new = torch.unique(tails[said.of_tail[tails] < 0])
        sentences = ask(self._dataset, relation, new)
        fresh = [sentence for sentence in dict.fromkeys(sentences) if sentence not in said.rows]
        said.rows.update({sentence: len(said.rows) + place for place, sentence in enumerate(fresh)})
        said.of_tail[new] = torch.tensor([said.rows[sentence] for sentence in sentences], dtype=torch.int64)
        if fresh:
            vectors = normalize(torch.from_numpy(encode_texts(self._encode, fresh, BATCH)), dim=1)
            said.vectors = torch.cat([said.vectors.reshape(-1, vectors.shape[1]), vectors])
        return said.of_tail[tails]


@dataclass
class _Sentences:
    """The distinct sentences of one relation so far: rows by sentence and by tail, unit vectors [s, d]."""

    rows: dict[str, int]
    of_tail: Tensor
    vectors: Tensor
