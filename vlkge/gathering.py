"""Loose things made into what a newer release would be: the graph with them in it, and the vectors of all."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from mkg_builder.durable import file_sha256
from mkg_builder.errors import UsageError
from mkg_builder.wording import counted
from vlkge.dataset import Dataset
from vlkge.encoders import Modality, Vectors, encode_texts, restore_encoder
from vlkge.features import DatasetIdentity, ModalityFeatures, Skipped
from vlkge.files import canonical_json
from vlkge.loose_tables import TripleRow
from vlkge.newcomers import Account, Loose, Newcomer, Newcomers
from vlkge.pictures import read_batches
from vlkge.sentences import sentences_for

BATCH = 32
"""Pictures or texts that are encoded together."""

Progress = Callable[[str, int, int | None], None]
Encoded = tuple[list[str], Vectors]
"""Ids, sorted, and their vectors."""


def gather(
    dataset: Dataset, features: Mapping[Modality, ModalityFeatures], loose: Loose, progress: Progress
) -> tuple[Dataset, dict[Modality, ModalityFeatures], Account]:
    """The graph with all that is loose in it, and the vectors of every modality, the former ones as they were.

    Args:
        dataset: what a run was trained on.
        features: its vectors; new pictures and texts go through the encoders that made them.
        loose: what joins.
        progress: told of the modality, how many are done, of how many.

    Raises:
        UsageError: as `Newcomers`; the run has no pictures, or nothing is new.
        DataError: a row does not fit the graph; names file and line.
        FeaturesError: an encoder is no longer the same.
    """
    arriving = Newcomers(dataset, loose)
    parts: dict[Modality, tuple[Encoded, list[Skipped]]] = {}
    with_pictures = {entity: one for entity, one in sorted(arriving.new.items()) if one.picture is not None}
    if with_pictures and "image" not in features:
        raise UsageError(f"the run was trained without pictures; its vectors: {', '.join(features) or 'none'}")
    if "image" in features:
        parts["image"] = _encode_pictures(features["image"], with_pictures, arriving, progress)
    _require_news(arriving)
    grown = _join(dataset, arriving.new, arriving.rows)
    if "text" in features:
        parts["text"] = _encode_texts(features["text"], grown, arriving.new, progress), []
    return grown, {name: _append(features[name], grown, *part) for name, part in parts.items()}, arriving.account


def _encode_pictures(
    was: ModalityFeatures, pictured: Mapping[str, Newcomer], arriving: Newcomers, progress: Progress
) -> tuple[Encoded, list[Skipped]]:
    """Encode what can be decoded; who is known by a broken picture alone does not join."""
    ids, done = list[str](), 0
    rows, skipped = [np.empty((0, was.info.dimension), np.float32)], []
    encoder, names = restore_encoder(was.info) if pictured else None, iter(pictured)
    for batch in read_batches([one.picture for one in pictured.values() if one.picture], BATCH):
        pictures = []
        for (path, picture), entity in zip(batch, names, strict=False):
            if not isinstance(picture, str):
                ids.append(entity)
                pictures.append(picture)
                continue
            arriving.set_aside(str(path), picture)
            pictured[entity].picture = None
            if pictured[entity].told:
                skipped.append(Skipped(entity, picture))
            else:
                del arriving.new[entity]
        if encoder is not None:
            rows.append(encoder.encode(pictures))
        done += len(batch)
        progress("image", done, len(pictured))
    arriving.account.pictures = len(ids)
    return (ids, np.concatenate(rows)), skipped


def _encode_texts(was: ModalityFeatures, grown: Dataset, new: Mapping[str, Newcomer], progress: Progress) -> Encoded:
    if not any(one.text for one in new.values()):
        return [], np.empty((0, was.info.dimension), np.float32)
    encoder = restore_encoder(was.info)
    read = sentences_for(encoder, grown)
    ids = [entity for entity in sorted(new) if read.get(entity)]
    done = 0

    def encode(batch: Sequence[str]) -> Vectors:
        nonlocal done
        done += len(batch)
        progress("text", done, len(ids))
        return encoder.encode(batch)

    return ids, encode_texts(encode, [read[entity] for entity in ids], BATCH)


def _require_news(arriving: Newcomers) -> None:
    if not arriving.new and not arriving.rows:
        known, broken = arriving.account, arriving.account.broken
        said = f"; of the pictures {len(broken):,} cannot be used ({broken[0].reason})" if broken else ""
        raise UsageError(
            f"nothing is new: in the graph already are {counted(known.known_entities, 'entity', 'entities')} and "
            f"{counted(known.known_triples, 'triple')}{said}"
        )


def _join(dataset: Dataset, new: Mapping[str, Newcomer], rows: Sequence[TripleRow]) -> Dataset:
    """The graph with who is new and what is stated of them; its version and its hash say that it is another."""
    entities = sorted([*dataset.entities, *new])
    place = {entity: rank for rank, entity in enumerate(entities)}
    places = torch.tensor([place[entity] for entity in dataset.entities])
    labels = dict(zip(dataset.entities, dataset.labels, strict=True))
    types = dict(zip(dataset.entities, dataset.types, strict=True))
    texts = dict(zip(dataset.entities, dataset.texts, strict=True))
    for entity, one in new.items():
        labels[entity], texts[entity] = one.label or _label(entity), one.text
        types[entity] = entity.partition(":")[0]
    triples = {}
    for split, was in dataset.triples.items():
        moved = torch.stack([places[was[:, 0]], was[:, 1], places[was[:, 2]]], dim=1)
        more = [[place[r.head], dataset.relation_index(r.relation), place[r.tail]] for r in rows if r.split == split]
        whole = torch.cat([moved, torch.tensor(more, dtype=torch.int64).reshape(-1, 3)])
        order = torch.from_numpy(np.lexsort(whole.numpy().T[::-1]))  # by head, relation, tail, as in a release
        triples[split] = whole[order]
    ties = dataset.tie_order
    if ties is not None:  # who is new comes after who was there
        ties = (ties.max() + 1 + torch.arange(len(entities))).index_copy(0, places, ties)
    digest = _digest(dataset, new, rows)
    return replace(
        dataset,
        version=f"{dataset.version}{'.' if '+' in dataset.version else '+'}added-{digest[:6]}",
        content_sha256=digest,
        revision=None,
        entities=tuple(entities),
        labels=tuple(labels[entity] for entity in entities),
        types=tuple(types[entity] for entity in entities),
        texts=tuple(texts[entity] for entity in entities),
        triples=triples,
        tie_order=ties,
    )


def _label(entity: str) -> str:
    """What to call an entity that nobody has named: the last part of its id."""
    return entity.partition(":")[2].rpartition("/")[2]


def _digest(dataset: Dataset, new: Mapping[str, Newcomer], rows: Sequence[TripleRow]) -> str:
    """A hash of the former graph and of all that joins it, whatever order and files it came in."""
    said = {
        "base": dataset.content_sha256,
        "entities": [
            [entity, one.label, one.text, file_sha256(one.picture) if one.picture else None]
            for entity, one in sorted(new.items())
        ],
        "triples": sorted([row.split, *row[1:4]] for row in rows),
    }
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()


def _append(was: ModalityFeatures, dataset: Dataset, new: Encoded, skipped: Sequence[Skipped]) -> ModalityFeatures:
    """The vectors that were there and the new ones."""
    names = [*was.ids, *new[0]]
    order = sorted(range(len(names)), key=names.__getitem__)
    return ModalityFeatures(
        was.info, DatasetIdentity.of(dataset), tuple(names[place] for place in order),
        np.concatenate([was.vectors, new[1]])[order], (*was.skipped, *skipped),
    )  # fmt: skip
