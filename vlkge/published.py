"""Feature vectors that a release carries: what a source published, made by no encoder of ours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from typing_extensions import override

from mkg_builder import schema
from mkg_builder.errors import UsageError
from vlkge.dataset import Dataset
from vlkge.encoders import Encoder, EncoderInfo, Modality
from vlkge.features import DatasetIdentity, ModalityFeatures

PUBLISHED = "published"


class Published(Encoder):
    """Stands for whoever made the published vectors; it cannot be asked again."""

    name = PUBLISHED

    @classmethod
    @override
    def create(cls, argument: str, device: str) -> Sequence[Encoder]:
        raise UsageError(
            f"published vectors ({argument or 'in the release'}) serve the entities of their graph alone; for anything "
            "outside it, encode the release with an encoder that is at hand: vlkge encode RELEASE --encoder NAME"
        )


def published_features(release: Path, dataset: Dataset) -> list[ModalityFeatures]:
    """The vectors that a release carries, by modality.

    Raises:
        UsageError: it carries none.
        FeaturesError: a vector is not finite or all zero, an id is there twice, or their lengths differ.
    """
    modalities: tuple[Modality, ...] = ("image", "text")
    held = [modality for modality in modalities if schema.table_files(release, "vectors", modality)]
    if not held:
        raise UsageError(f"{release} carries no published vectors; name another --encoder")
    return [_features(release, dataset, modality) for modality in held]


def _features(release: Path, dataset: Dataset, modality: Modality) -> ModalityFeatures:
    table = schema.read_table(release, "vectors", modality, ["id", "encoder", "vector"]).combine_chunks()
    ids = table["id"].to_pylist()
    order = sorted(range(len(ids)), key=ids.__getitem__)
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(ids), -1)[order]
    encoder, width = table["encoder"][0].as_py(), vectors.shape[1]
    info = EncoderInfo(f"{PUBLISHED}:{encoder}", encoder, PUBLISHED, modality, width, "as its publisher did")
    return ModalityFeatures(
        info, DatasetIdentity.of(dataset), tuple(ids[row] for row in order), np.ascontiguousarray(vectors)
    )
