"""All that a run says of one picture from outside the graph: the answers of every relation, and what is nearest."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlkge.encoders import restore_encoder
from vlkge.errors import RunError
from vlkge.predict import Outside, Prediction, Predictor, read_picture
from vlkge.run import Run


@dataclass(frozen=True)
class Answer:
    """One answer of a relation.

    Attributes:
        entity: its id.
        label: its name.
        probability: its share of a softmax over the scores of all answers; it orders, it is not calibrated.
    """

    entity: str
    label: str
    probability: float


@dataclass(frozen=True)
class Neighbour:
    """An entity whose picture is encoded alike.

    Attributes:
        entity: its id.
        label: its name.
        similarity: the cosine of the two encoders' vectors.
    """

    entity: str
    label: str
    similarity: float


@dataclass(frozen=True)
class Description:
    """What a run says of a picture.

    Attributes:
        run, dataset: who says it.
        relations: relation -> its likeliest answers, the best first.
        nearest: the entities with the nearest pictures, the nearest first.
    """

    run: str
    dataset: str
    relations: Mapping[str, Sequence[Answer]]
    nearest: Sequence[Neighbour]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return asdict(self)


def describe_picture(run: Run, picture: Path, top: int = 5, nearest: int = 8) -> Description:
    """Answer every relation that is evaluated and starts at entities with pictures.

    Args:
        run: trained with pictures.
        picture: a file.
        top: how many answers of each relation.
        nearest: how many entities with the nearest pictures.

    Raises:
        DataError: no such file.
        PictureError: the picture is damaged or of a format that is not allowed.
        RunError: the run has no pictures.
        FeaturesError: the run's encoder is no longer the same.
    """
    if "image" not in run.features:
        raise RunError(f"{run.folder} was trained without image, so a picture says nothing to it; train one with it")
    dataset, predictor = run.dataset, Predictor(run)
    pictured = {dataset.types[dataset.entity_index(entity)] for entity in run.features["image"].ids}
    asked = [name for name, info in dataset.relation_info.items() if info.evaluated and info.domain in pictured]
    answers = {
        name: _as_answers(predictor.tails_of_outside(Outside(picture), name, len(dataset.entities)), top)
        for name in asked
    }
    return Description(run.folder.name, f"{dataset.name} {dataset.version}", answers,
                       _nearest(run, picture, nearest))  # fmt: skip


def _as_answers(found: Sequence[Prediction], top: int) -> list[Answer]:
    scores = np.array([prediction.score for prediction in found])
    weights = np.exp(scores - scores.max())
    shares = weights / weights.sum()
    return [Answer(one.entity, one.label, share) for one, share in zip(found[:top], shares[:top].tolist(), strict=True)]


def _nearest(run: Run, picture: Path, count: int) -> list[Neighbour]:
    features = run.features["image"]
    asked = restore_encoder(features.info).encode([read_picture(picture)])[0]
    lengths = np.linalg.norm(features.vectors, axis=1) * np.linalg.norm(asked)
    similarity = features.vectors @ asked / np.maximum(lengths, np.finfo(np.float32).tiny)
    order = np.argsort(-similarity, kind="stable")[:count].tolist()
    labels = run.dataset.labels
    return [
        Neighbour(features.ids[place], labels[run.dataset.entity_index(features.ids[place])], float(similarity[place]))
        for place in order
    ]
