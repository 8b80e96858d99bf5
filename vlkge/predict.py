"""The likeliest tails of an entity, or of a picture or text outside the graph, by the scoring that evaluates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mkg_builder.errors import DataError, UsageError
from mkg_builder.picture import decode_picture
from vlkge.dataset import Dataset
from vlkge.encoders import Modality, restore_encoder
from vlkge.errors import RunError
from vlkge.evaluate import ModelScores
from vlkge.model import KGEModel
from vlkge.protocol import Strict
from vlkge.run import Run


@dataclass(frozen=True)
class Prediction:
    """One answer.

    Attributes:
        rank: 1 is the likeliest.
        entity: its id.
        label: its name.
        score: higher is likelier; comparable within one query only.
        known: the split that states the triple, None for a new one.
    """

    rank: int
    entity: str
    label: str
    score: float
    known: str | None


@dataclass(frozen=True)
class Outside:
    """Something that is not in the graph, by its picture, its text or both."""

    picture: Path | None = None
    text: str | None = None


class Predictor:
    """A run made ready to answer; model and vectors are loaded once.

    Args:
        run: a trained run.

    Raises:
        RunError: the run has no finished epoch, or is damaged.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.dataset = run, run.dataset
        self.model: KGEModel = run.load_model()
        self._encoders: dict[Modality, Any] = {}

    def tails_of(self, head: str, relation: str, top: int = 10, new_only: bool = False) -> list[Prediction]:
        """The likeliest tails of an entity.

        Args:
            head: an entity id.
            relation: a relation name.
            top: how many.
            new_only: leave out what the graph already states.

        Raises:
            UnknownNameError: no such entity or relation; names the nearest.
            UsageError: the relation starts at entities of another type.
            RunError: the model knows nothing of the entity.
        """
        index, relation_index = self.dataset.entity_index(head), self.dataset.relation_index(relation)
        expected, got = self.dataset.relation_info[relation].domain, self.dataset.types[index]
        if expected != got:
            raise UsageError(f"{relation} starts at entities of type {expected!r}, {head} is of type {got!r}")
        anchor = torch.tensor([index])
        if not bool(self.model.real.has_any(anchor)):
            raise RunError(f"{head} was not seen in training and has no picture or text, so nothing is known of it")
        known = _known_tails(self.dataset, index, relation_index)
        return self._best(self.model.represent_all(anchor), relation_index, top, known, new_only)

    def tails_of_outside(self, thing: Outside, relation: str, top: int = 10) -> list[Prediction]:
        """The likeliest tails of something outside the graph.

        Args:
            thing: its picture or text; encoded by the encoders of the run.
            relation: a relation name.
            top: how many.

        Raises:
            UnknownNameError: no such relation.
            UsageError: neither picture nor text is given.
            PictureError: the picture is damaged or of a format that is not allowed.
            RunError: the model has no such modality.
            FeaturesError: the run's encoder is no longer the same.
        """
        relation_index = self.dataset.relation_index(relation)
        with torch.no_grad():
            vector = self.model.represent_outside(self._encode(thing))
        return self._best(vector, relation_index, top, {}, new_only=False)

    def _encode(self, thing: Outside) -> dict[Modality, Tensor]:
        vectors: dict[Modality, Tensor] = {}
        if thing.picture is not None:
            vectors["image"] = self._encode_one("image", read_picture(thing.picture))
        if thing.text is not None:
            vectors["text"] = self._encode_one("text", thing.text)
        if not vectors:
            raise UsageError("nothing to predict from; give an entity, a picture or a text")
        return vectors

    def _encode_one(self, modality: Modality, value: Any) -> Tensor:
        if modality not in self.model.real.modalities:
            has = ", ".join(self.model.real.modalities)
            raise RunError(f"{self.run.folder} was trained without {modality} (it has: {has}); train one with it")
        if modality not in self._encoders:
            self._encoders[modality] = restore_encoder(self.run.features[modality].info)
        return torch.from_numpy(self._encoders[modality].encode([value]))

    def _best(self, anchor: Tensor, relation: int, top: int, known: dict[int, str], new_only: bool) -> list[Prediction]:
        candidates = Strict().candidates(self.dataset, "train", relation, "tail")
        scores = ModelScores(self.model, candidates).score_vectors("tail", relation, anchor, candidates)[0]
        if not bool(scores.isfinite().all()):
            raise RunError(f"{self.run.folder} gives scores that are not finite; its training diverged")
        # stable: equal scores keep the order of the ids
        order: Sequence[int] = scores.sort(descending=True, stable=True).indices.tolist()
        found = [(int(candidates[place]), float(scores[place])) for place in order]
        if new_only:
            found = [(entity, score) for entity, score in found if entity not in known]
        return [
            Prediction(rank, self.dataset.entities[entity], self.dataset.labels[entity], score, known.get(entity))
            for rank, (entity, score) in enumerate(found[:top], 1)
        ]


def _known_tails(dataset: Dataset, head: int, relation: int) -> dict[int, str]:
    known: dict[int, str] = {}
    for split, triples in dataset.triples.items():
        stated = triples[(triples[:, 0] == head) & (triples[:, 1] == relation), 2]
        known.update(dict.fromkeys(stated.tolist(), split))
    return known


def read_picture(path: Path) -> Image.Image:
    """A picture from a file.

    Raises:
        DataError: no such file.
        PictureError: the picture is damaged or of a format that is not allowed.
    """
    try:
        return decode_picture(path.read_bytes(), str(path))
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"no picture {path}") from None
