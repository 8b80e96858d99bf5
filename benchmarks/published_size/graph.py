"""A release of the size of WikiArt-MKG-v2 with feature vectors of 768 components, made up from a seed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mkg_builder import schema
from mkg_builder.content import combine_hashes
from mkg_builder.durable import file_sha256
from vlkge.dataset import load_dataset
from vlkge.encoders import EncoderInfo
from vlkge.features import DatasetIdentity, ModalityFeatures, save_features

Indices = npt.NDArray[np.int64]

TRIPLES = 8_294_101
COUNTS = {"artwork": 216_564, "artist": 4_200, "style": 200, "genre": 70, "year": 600, "medium": 250, "tag": 1_900,
          "place": 150, "school": 80, "field": 30, "institution": 122}  # fmt: skip
"""In all 224,166 entities."""
WORKS = {"train": 173_252, "validation": 21_656, "test": 21_656}
ONE_EACH = {"isCreatedByArtist": "artist", "hasStyle": "style", "belongsToGenre": "genre", "isCreatedInYear": "year"}
SOME_EACH = {
    "isAssociatedWithTag": ("tag", 0.6), "isCreatedWithMedium": ("medium", 0.35), "isLocatedIn": ("place", 0.05)
}  # fmt: skip
EVALUATED = {"train": 1_133_312, "validation": 145_379, "test": 145_045}
"""Triples without isRelatedToArtwork and isRelatedToArtist; of train the few of the latter are among them."""
ABOUT_ARTISTS = {
    "hasNationality": "place", "isAssociatedWithField": "field", "isAssociatedWithArtMovement": "style",
    "wasBornOnDate": "year", "wasBornIn": "place", "diedOnDate": "year", "diedIn": "place",
    "isMemberOfPaintingSchool": "school", "isAffiliatedWithArtInstitution": "institution",
}  # fmt: skip
AMONG_ARTISTS = ("isInfluencedBy", "isInfluencedOn", "isPupilOf", "isTeacherOf")
AMONG_ARTISTS_EACH = {"train": 1_500, "validation": 150, "test": 150}
RELATED, RELATED_ARTIST = "isRelatedToArtwork", "isRelatedToArtist"
NOT_EVALUATED = (RELATED, RELATED_ARTIST)
RELATED_EACH = {"train": 6_743_908, "validation": 63_134, "test": 63_323}
RELATED_ARTISTS = 12_000
DIMENSION = 768


@dataclass
class Graph:
    """What is drawn: for each split and relation the heads and tails, as ranks within their types."""

    dice: np.random.Generator
    share: float
    pairs: dict[str, dict[str, tuple[Indices, Indices]]] = field(default_factory=dict)

    def number(self, whole: int) -> int:
        """A count of the published graph at this one's size."""
        return max(2, round(whole * self.share))

    def count(self, kind: str) -> int:
        """Entities of a type; a small graph keeps the attributes that it needs for distinct triples."""
        return (
            self.number(COUNTS[kind])
            if kind in ("artwork", "artist")
            else min(COUNTS[kind], 20 + self.number(COUNTS[kind]))
        )

    def draw(self, count: int, heads: tuple[int, int], tails: int) -> tuple[Indices, Indices]:
        """So many distinct pairs of a head in a range and a tail below a bound, frequent ones first."""
        count = min(count, (heads[1] - heads[0]) * tails // 3)
        codes = np.empty(0, np.int64)
        while len(codes) < count:
            head = self.dice.integers(*heads, count)
            tail = (self.dice.random(count) ** 2 * tails).astype(np.int64)
            codes = np.unique(np.concatenate([codes, head * tails + tail]))
        chosen = self.dice.permutation(codes)[:count]
        return chosen // tails, chosen % tails


def draw_graph(triples: int, seed: int) -> Graph:
    """The triples of every split."""
    graph = Graph(np.random.default_rng(seed), triples / TRIPLES)
    first = 0
    for split, works in WORKS.items():
        last = min(first + graph.number(works), graph.count("artwork"))
        graph.pairs[split] = dict(_of_works(graph, split, (first, last)))
        first = last
    artists, train = graph.count("artist"), graph.pairs["train"]
    for relation, kind in ABOUT_ARTISTS.items():
        train[relation] = np.arange(artists), graph.dice.integers(0, graph.count(kind), artists)
    train[RELATED_ARTIST] = graph.draw(graph.number(RELATED_ARTISTS), (0, artists), artists)
    for relation in AMONG_ARTISTS:
        numbers = {split: graph.number(count) for split, count in AMONG_ARTISTS_EACH.items()}
        heads, tails = graph.draw(sum(numbers.values()), (0, artists), artists)
        ends = np.cumsum(list(numbers.values()))[:-1]
        for split, head, tail in zip(numbers, np.split(heads, ends), np.split(tails, ends), strict=True):
            graph.pairs[split][relation] = head, tail
    return graph


def _of_works(graph: Graph, split: str, works: tuple[int, int]) -> Iterator[tuple[str, tuple[Indices, Indices]]]:
    every = np.arange(*works)
    for relation, kind in ONE_EACH.items():
        yield relation, (every, graph.dice.integers(0, graph.count(kind), len(every)))
    others = len(AMONG_ARTISTS) * graph.number(AMONG_ARTISTS_EACH[split])
    if split == "train":
        others += len(ABOUT_ARTISTS) * graph.count("artist") + graph.number(RELATED_ARTISTS)
    left = graph.number(EVALUATED[split]) - len(ONE_EACH) * len(every) - others
    for relation, (kind, part) in SOME_EACH.items():
        yield relation, graph.draw(max(1, round(left * part)), works, graph.count(kind))
    trained = min(graph.number(WORKS["train"]), graph.count("artwork"))
    yield RELATED, graph.draw(graph.number(RELATED_EACH[split]), works, trained)


def ends_of(relation: str) -> tuple[str, str]:
    """The types that a relation joins."""
    if relation in (RELATED_ARTIST, *AMONG_ARTISTS):
        return "artist", "artist"
    if relation in ABOUT_ARTISTS:
        return "artist", ABOUT_ARTISTS[relation]
    if relation == RELATED:
        return "artwork", "artwork"
    return "artwork", ONE_EACH.get(relation) or SOME_EACH[relation][0]


def write_graph(graph: Graph, folder: Path) -> None:
    """Write it as a release: Parquet and manifest."""
    names = {kind: np.array([f"{kind}:{kind}-{n:06d}" for n in range(graph.count(kind))], object) for kind in COUNTS}
    counts: dict[str, dict[str, int]] = {}
    for split, relations in graph.pairs.items():
        parts = []
        for relation, (heads, tails) in relations.items():
            head, tail = ends_of(relation)
            counts.setdefault(relation, dict.fromkeys(graph.pairs, 0))[split] = len(heads)
            constant = [pa.repeat(word, len(heads)) for word in (relation, "made up")]
            parts.append([pa.array(names[head]).take(pa.array(heads)), constant[0],
                          pa.array(names[tail]).take(pa.array(tails)), constant[1]])  # fmt: skip
        columns = [pa.chunked_array(list(pieces)) for pieces in zip(*parts, strict=True)]
        named = dict(zip(("head", "relation", "tail", "source"), columns, strict=True))
        write_table(folder, "triples", split, pa.table(named, schema.arrow_schema("triples")))
    write_table(
        folder, "entities", "full", pa.Table.from_pylist(list(_entities(names)), schema.arrow_schema("entities"))
    )
    rows = [
        {"name": relation, "domain": ends_of(relation)[0], "range": ends_of(relation)[1], "prompt": None,
         "inverse": None, "functional": False, "evaluated": relation not in NOT_EVALUATED,
         **counts[relation]}
        for relation in sorted(counts)
    ]  # fmt: skip
    write_table(folder, "relations", "full", pa.Table.from_pylist(rows, schema.arrow_schema("relations")))
    write_table(folder, "literals", "full", schema.arrow_schema("literals").empty_table())
    types = {kind: {"prompt": None} for kind in COUNTS}
    recipe = {"types": types, "split": {"policy": "inductive", "unseen": "artwork", "disjoint": AMONG_ARTISTS}}
    write_manifest(folder, {"name": "published-size", "version": "1.0.0", "marks": [], "recipe": recipe})


def _entities(names: dict[str, npt.NDArray[np.object_]]) -> Iterator[dict[str, Any]]:
    for kind, ids in names.items():
        for entity in ids:
            label = entity.partition(":")[2]
            yield {"id": entity, "type": kind, "label": label, "text": None if kind == "artwork" else label,
                   "aliases": [], "same_as": [], "sources": ["made up"], "split": "train",
                   "has_image": kind == "artwork", "has_text": kind != "artwork"}  # fmt: skip


def write_table(folder: Path, table: str, split: str, rows: pa.Table) -> None:
    """Write a table of a release."""
    path = folder / schema.shard_path(table, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, compression="zstd", write_page_checksum=True)


def write_manifest(folder: Path, fields: dict[str, Any]) -> None:
    """Write the manifest of the tables that lie in a folder."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*.parquet"))
    }
    content = combine_hashes((name, entry["sha256"]) for name, entry in files.items())
    manifest = {"format_version": schema.FORMAT_VERSION, "content_sha256": content, "files": files, **fields}
    (folder / schema.MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True))


def write_features(release: Path, folder: Path, seed: int) -> None:
    """A seeded vector for the picture of every artwork and for the text of everything else."""
    dataset, dice, found = load_dataset(str(release)), np.random.default_rng(seed), []
    kinds = list(zip(dataset.entities, dataset.types, strict=True))
    for modality in ("image", "text"):
        ids = tuple(entity for entity, kind in kinds if (kind == "artwork") == (modality == "image"))
        vectors = dice.standard_normal((len(ids), DIMENSION), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        info = EncoderInfo("seeded", "seeded", "1", modality, DIMENSION, "none")
        found.append(ModalityFeatures(info, DatasetIdentity.of(dataset), ids, vectors))
    save_features(folder, found)
