"""The vectors of a graph's entities: an encoder's, or those that a run made of all it knows of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mkg_builder.errors import UsageError
from vlkge.dataset import Dataset
from vlkge.encoders import Modality
from vlkge.model import Features
from vlkge.run import Run


@dataclass(frozen=True, eq=False)
class EntityVectors:
    """A vector of every entity that has one.

    Attributes:
        source: what made them, for people to read.
        vectors: float32 [entities, d], zeros where there is none.
        present: bool [entities].
    """

    source: str
    vectors: Tensor
    present: Tensor


def encoded_vectors(dataset: Dataset, features: Features, modality: Modality | None = None) -> EntityVectors:
    """An encoder's vectors.

    Args:
        dataset: the graph.
        features: the encoders' vectors by modality.
        modality: which; default: image where there is one.

    Raises:
        UsageError: the features do not hold this modality, or none at all.
    """
    chosen = modality or ("image" if "image" in features else "text")
    if chosen not in features:
        raise UsageError(f"there are no {chosen} vectors; these features hold: {', '.join(sorted(features)) or 'none'}")
    vectors, present = features[chosen].align(dataset.entities)
    return EntityVectors(
        f"{chosen} vectors of {features[chosen].info.spec}", torch.from_numpy(vectors), torch.from_numpy(present)
    )


def fused_vectors(run: Run) -> EntityVectors:
    """The vectors that a run's scorer compares: structure, picture and text, as far as the run was given them.

    An entity of which nothing of its own is known has none.

    Raises:
        RunError: the run has no finished epoch, or is damaged.
    """
    model, everything = run.load_model(), torch.arange(len(run.dataset.entities))
    modalities = "+".join(model.real.modalities)
    return EntityVectors(
        f"fused vectors of {run.folder} ({modalities})", model.represent_all(everything), model.real.has_any(everything)
    )
