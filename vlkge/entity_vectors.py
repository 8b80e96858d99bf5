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


def encoded_vectors(dataset: Dataset, features: Features, modality: Modality) -> EntityVectors:
    """An encoder's vectors.

    Raises:
        UsageError: the features do not hold this modality.
    """
    if modality not in features:
        raise UsageError(f"there are no {modality} vectors; these features hold: {', '.join(features) or 'none'}")
    vectors, present = features[modality].align(dataset.entities)
    source = f"{modality} vectors of {features[modality].info.spec}"
    return EntityVectors(source, torch.from_numpy(vectors), torch.from_numpy(present))


def vectors_of_type(dataset: Dataset, features: Features, kind: str | None) -> EntityVectors | None:
    """An encoder's vectors: of pictures where an entity of the type has one, else of texts, else None.

    Args:
        dataset: the graph.
        features: the encoders' vectors by modality.
        kind: an entity type; None: any.
    """
    mine = torch.tensor([kind in (None, one) for one in dataset.types])
    for modality in features:
        found = encoded_vectors(dataset, features, modality)
        if bool((found.present & mine).any()):
            return found
    return None


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
