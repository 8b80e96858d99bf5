"""ModalityFeatures: the vectors of one modality, which entities have them, and what made them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch

from mkg_builder.durable import file_sha256, write_durably
from mkg_builder.errors import UsageError
from vlkge.dataset import Dataset
from vlkge.encoders import EncoderInfo, Modality, Vectors
from vlkge.errors import FeaturesError
from vlkge.files import (
    canonical_json,
    read_sealed_json,
    read_tensors,
    refuse_executable,
    whole_folder,
    write_sealed_json,
    write_tensors,
)

__all__ = [
    "DatasetIdentity",
    "EncoderInfo",
    "ModalityFeatures",
    "Skipped",
    "load_features",
    "require_replaceable",
    "save_features",
]

FORMAT_VERSION = 1
INDEX = "features.json"
_REMEDY = "make it again with: vlkge encode"


@dataclass(frozen=True)
class DatasetIdentity:
    """Which data set: its name, its version, and the hash of what it says."""

    name: str
    version: str
    content_sha256: str

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetIdentity":
        """The identity of a data set."""
        return cls(dataset.name, dataset.version, dataset.content_sha256)


@dataclass(frozen=True)
class Skipped:
    """An entity whose picture or text was there and could not be encoded, and why."""

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class ModalityFeatures:
    """Vectors of one modality; valid once constructed.

    Attributes:
        info: the encoder that made them.
        dataset: what they were made for.
        ids: the entities that have a vector, sorted.
        vectors: float32 [ids, dimension], finite, no row all zero: zeros would pass for a vector.
        skipped: entities whose picture or text could not be encoded.

    Raises:
        FeaturesError: shape, type or order are not as said, or a row is not finite or all zero.
    """

    info: EncoderInfo
    dataset: DatasetIdentity
    ids: tuple[str, ...]
    vectors: Vectors
    skipped: tuple[Skipped, ...] = field(default=())

    def __post_init__(self) -> None:
        what, wanted = f"{self.info.modality} features of {self.dataset.name}", (len(self.ids), self.info.dimension)
        if self.vectors.dtype != np.float32 or self.vectors.shape != wanted:
            raise FeaturesError(
                f"{what}: {self.vectors.dtype} {list(self.vectors.shape)}, not float32 {list(wanted)}; {_REMEDY}"
            )
        if any(later <= earlier for earlier, later in zip(self.ids, self.ids[1:], strict=False)):
            raise FeaturesError(f"{what}: its ids are not sorted, or one is there twice; {_REMEDY}")
        wrong = ~np.isfinite(self.vectors).all(axis=1) | ~self.vectors.any(axis=1)
        if wrong.any():
            first = self.ids[int(np.argmax(wrong))]
            raise FeaturesError(f"{what}: the vector of {first} is all zero or not finite; {_REMEDY}")

    def align(self, entities: Sequence[str]) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        """The vectors in the order of `entities`, and which of these have one.

        Returns:
            float32 [n, dimension], zeros where absent; bool [n], False where absent.
        """
        ranks = {entity: rank for rank, entity in enumerate(self.ids)}
        found = np.array([ranks.get(entity, -1) for entity in entities], dtype=np.int64)
        present = found >= 0
        aligned = np.zeros((len(entities), self.info.dimension), np.float32)
        aligned[present] = self.vectors[found[present]]
        return aligned, present

    def require_match(self, dataset: Dataset) -> None:
        """Refuse to serve another data set than the one these vectors were made for.

        Raises:
            FeaturesError: the content hashes differ, or a vector is of an unknown entity.
        """
        ours, theirs = self.dataset, DatasetIdentity.of(dataset)
        if ours.content_sha256 != theirs.content_sha256:
            raise FeaturesError(
                f"{self.info.modality} features were made for {ours.name} {ours.version} "
                f"({ours.content_sha256[:12]}), not for {theirs.name} {theirs.version} "
                f"({theirs.content_sha256[:12]}); encode that release with: vlkge encode"
            )
        unknown = sorted(set(self.ids) - set(dataset.entities))
        if unknown:
            raise FeaturesError(f"{self.info.modality} features name {unknown[0]!r}, which is no entity; {_REMEDY}")

    def require_coverage(self, entities: Sequence[str], least: float) -> None:
        """Refuse when fewer than the share `least` (0 to 1) of these entities have a vector.

        Raises:
            FeaturesError: names both shares and an entity without a vector.
        """
        absent = sorted(set(entities) - set(self.ids))
        share = 1 - len(absent) / max(len(set(entities)), 1)
        if share < least:
            raise FeaturesError(
                f"{self.info.modality} features cover {share:.1%} of {len(set(entities)):,} entities, "
                f"{least:.1%} is asked for; {absent[0]} has none; {_REMEDY}"
            )


def save_features(folder: Path, features: Sequence[ModalityFeatures]) -> None:
    """Write a features folder in one step; one that is there is replaced.

    Raises:
        UsageError: two features of one modality, none, of different data sets, or a folder of something else.
    """
    modalities = [feature.info.modality for feature in features]
    if not features or len(set(modalities)) < len(modalities) or len({feature.dataset for feature in features}) > 1:
        raise UsageError(f"features are one per modality, of one data set; got {', '.join(modalities) or 'none'}")
    require_replaceable(folder)
    with whole_folder(folder) as fresh:
        entries = {feature.info.modality: _write_modality(fresh, feature) for feature in features}
        identity = asdict(features[0].dataset)
        write_sealed_json(fresh / INDEX, {"format_version": FORMAT_VERSION, "dataset": identity, "modalities": entries})


def require_replaceable(folder: Path) -> None:
    """Refuse to write features over anything but nothing or features.

    Raises:
        UsageError: the place is taken by a file, or by a folder of something else.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / INDEX).is_file() or not any(folder.iterdir()))):
        raise UsageError(f"{folder} is there and is no features folder; choose another place")


def _write_modality(folder: Path, feature: ModalityFeatures) -> dict[str, Any]:
    vectors, ids = _places(folder, feature.info.modality)
    vectors_sha256 = write_tensors(vectors, {"vectors": torch.from_numpy(feature.vectors)})
    write_durably(ids, (canonical_json(list(feature.ids)) + "\n").encode())
    return {
        "encoder": asdict(feature.info),
        "files": {vectors.name: vectors_sha256, ids.name: file_sha256(ids)},
        "coverage": {"encoded": len(feature.ids), "skipped": len(feature.skipped)},
        "skipped": [asdict(skipped) for skipped in feature.skipped],
    }


def _places(folder: Path, modality: str) -> tuple[Path, Path]:
    """Where a modality's vectors and ids lie; never taken from the index, which may come from outside."""
    return folder / f"{modality}.safetensors", folder / f"{modality}.ids.json"


def load_features(folder: Path) -> dict[Modality, ModalityFeatures]:
    """The features of a folder, by modality.

    Every file's sha256 is checked before it is parsed. A pickle, or anything else that can run code
    when it is opened, is refused by its name and by its first bytes, and never opened.

    Raises:
        FeaturesError: not a features folder, unsafe, altered, or its vectors are not valid.
    """
    refuse_executable(folder, FeaturesError, _REMEDY)
    if not folder.is_dir():
        raise FeaturesError(f"{folder} is no features folder; {_REMEDY}")
    for path in sorted(folder.iterdir()):
        refuse_executable(path, FeaturesError, _REMEDY)
    index = read_sealed_json(folder / INDEX, FeaturesError, _REMEDY)
    if index.get("format_version") != FORMAT_VERSION:
        raise FeaturesError(f"{folder}: format version {index.get('format_version')!r} is not ours; {_REMEDY}")
    try:
        dataset = DatasetIdentity(**index["dataset"])
        modalities = [modality for modality in get_args(Modality) if modality in index["modalities"]]
        return {modality: _read_modality(folder, dataset, index["modalities"][modality]) for modality in modalities}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FeaturesError(f"{folder / INDEX} is not of this format ({error!r}); {_REMEDY}") from None


def _read_modality(folder: Path, dataset: DatasetIdentity, entry: dict[str, Any]) -> ModalityFeatures:
    info = EncoderInfo(**entry["encoder"])
    vectors, ids = _places(folder, info.modality)
    if not ids.is_file() or file_sha256(ids) != entry["files"][ids.name]:
        raise FeaturesError(f"{ids} is missing or altered; {_REMEDY}")
    tensors = read_tensors(vectors, entry["files"][vectors.name], FeaturesError, _REMEDY)
    skipped = tuple(Skipped(**one) for one in entry["skipped"])
    return ModalityFeatures(info, dataset, tuple(json.loads(ids.read_bytes())), tensors["vectors"].numpy(), skipped)
