"""What a newer release of a graph adds to an older one; anything else that differs is refused."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mkg_builder.errors import UsageError
from vlkge.dataset import Dataset
from vlkge.encoders import Modality
from vlkge.errors import FeaturesError
from vlkge.features import DatasetIdentity, ModalityFeatures

TOLERANCE = 1e-3
"""The share of a vector's length that its difference from an earlier one may have: rounding, and no other picture."""


@dataclass(frozen=True, eq=False)
class Additions:
    """What joined.

    Attributes:
        places: int64 [old entities], the index that each has now.
        entities: bool [entities], which are new.
        triples: by split, bool [triples], which are new.
    """

    places: Tensor
    entities: Tensor
    triples: Mapping[str, Tensor]


def find_additions(old: Dataset, new: Dataset) -> Additions:
    """What a data set holds that an older one of the same graph does not.

    Raises:
        UsageError: another graph or an earlier version, nothing new, or something is removed, moved or changed.
    """
    _require_later(old, new)
    ranks = {entity: rank for rank, entity in enumerate(new.entities)}
    places = torch.tensor([ranks.get(entity, -1) for entity in old.entities])
    here = places >= 0
    changed = sum(
        (old.types[was], old.texts[was]) != (new.types[now], new.texts[now])
        for was, now in enumerate(places.tolist()) if now >= 0
    )  # fmt: skip
    kept_relations = {name for name in old.relations if old.relation_info[name] == new.relation_info.get(name)}
    added, removed = set(new.relations) - set(old.relations), set(old.relations) - set(new.relations)
    differing = {
        "entities removed": int((~here).sum()),
        "entities changed": changed,
        "relations added, of which nothing is learned": len(added),
        "relations removed": len(removed),
        "relations changed": len(old.relations) - len(kept_relations) - len(removed),
    }
    if (old.setting, old.unseen_type) != (new.setting, new.unseen_type):
        differing["split settings changed"] = 1
    _refuse(old, new, differing)
    fresh = torch.ones(len(new.entities), dtype=torch.bool)
    fresh[places] = False
    triples, gone = _new_triples(old, new, places)
    _refuse(old, new, {"triples removed or moved to another split": gone})
    if not fresh.any() and not any(bool(rows.any()) for rows in triples.values()):
        raise UsageError(f"{new.name} {new.version} holds nothing that {old.version} does not")
    return Additions(places, fresh, triples)


def _require_later(old: Dataset, new: Dataset) -> None:
    if old.name != new.name:
        raise UsageError(f"the run was trained on {old.name}, this release is of {new.name}; train a run on it")
    numbers = [[int(number) for number in re.findall(r"\d+", one.version.partition("+")[0])] for one in (old, new)]
    if numbers[1] < numbers[0]:
        raise UsageError(f"the run was trained on {old.name} {old.version}, this release is the earlier {new.version}")


def _refuse(old: Dataset, new: Dataset, counts: Mapping[str, int]) -> None:
    said = [f"{count:,} {what}" for what, count in counts.items() if count]
    if said:
        raise UsageError(
            f"{new.name} {new.version} does not only add to {old.version}: {', '.join(said)}; "
            "what was learned of that no longer holds: train on it with: vlkge train"
        )


def _new_triples(old: Dataset, new: Dataset, places: Tensor) -> tuple[dict[str, Tensor], int]:
    """Which triples of each split are new, and how many of the old ones are not where they were."""
    relations = torch.tensor([new.relation_index(name) for name in old.relations])
    found, gone = {}, 0
    for split, rows in new.triples.items():
        was = old.triples[split]
        moved = torch.stack([places[was[:, 0]], relations[was[:, 1]], places[was[:, 2]]], dim=1)
        keys, former = _keys(rows, new), _keys(moved, new)
        found[split] = ~torch.isin(keys, former)
        gone += int((~torch.isin(former, keys)).sum())
    return found, gone


def _keys(triples: Tensor, dataset: Dataset) -> Tensor:
    head, relation, tail = triples.unbind(1)
    return (head * len(dataset.relations) + relation) * len(dataset.entities) + tail


def merge_features(
    old: Mapping[Modality, ModalityFeatures], new: Mapping[Modality, ModalityFeatures], before: Dataset, after: Dataset
) -> list[ModalityFeatures]:
    """The vectors for the newer data set: as they were for entities that had one, bit for bit, and the new ones'.

    Raises:
        FeaturesError: a modality is missing, of another encoder or another data set.
        UsageError: the picture or text of an entity that was there is another, came or went.
    """
    changed: Counter[str] = Counter()
    merged = []
    for modality, was in old.items():
        if modality not in new:
            raise FeaturesError(f"the features hold no {modality} vectors; encode with: {_encode(old)}")
        now = new[modality]
        now.require_match(after)
        if now.info != was.info:
            differing = [name for name in vars(was.info) if getattr(was.info, name) != getattr(now.info, name)]
            raise FeaturesError(
                f"the {modality} features are of {now.info.spec}, the run's of {was.info.spec} "
                f"({', '.join(differing)} differ); encode with: {_encode(old)}"
            )
        vectors, there = now.vectors.copy(), {entity: row for row, entity in enumerate(now.ids)}
        known = [entity for entity in was.ids if entity in there]
        rows = [there[entity] for entity in known]
        former = was.align(known)[0]
        apart = np.linalg.norm(vectors[rows] - former, axis=1) > TOLERANCE * np.linalg.norm(former, axis=1)
        came = (set(now.ids) & set(before.entities)) - set(was.ids)
        changed[f"{modality} vectors changed"] = int(apart.sum()) + len(was.ids) - len(known) + len(came)
        vectors[rows] = former
        merged.append(ModalityFeatures(was.info, DatasetIdentity.of(after), now.ids, vectors, now.skipped))
    _refuse(before, after, changed)
    return merged


def _encode(features: Mapping[Modality, ModalityFeatures]) -> str:
    specs = sorted({one.info.spec for one in features.values()})
    return " ".join(["vlkge encode RELEASE", *(f"--encoder {spec}" for spec in specs)])
