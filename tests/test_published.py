"""Feature vectors that a source publishes: from a pickle into the release, from there into features."""

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from mkg_builder import schema
from mkg_builder.build import Job, build
from mkg_builder.checks import check_release
from mkg_builder.content import release_content_sha256
from mkg_builder.errors import DataError, UsageError
from tests.test_official import TRIPLES, options
from tests.test_official_unpickle import Calls
from vlkge.dataset import load_folder
from vlkge.encode import encode_release
from vlkge.encoders import restore_encoder
from vlkge.features import load_features


def written(folder: Path, vectors: dict[str, Any] | None) -> Path:
    """A recipe for some synsets, with feature vectors or without, beside its files."""
    files = {"t.csv": TRIPLES, "f.pkl": pickle.dumps(vectors)}
    for name, body in files.items():
        (folder / name).write_bytes(body)
    features = {"image": {"file": "f.pkl", "encoder": "openai/clip-vit-large-patch14"}} if vectors else {}
    relation = {"domain": "synset", "range": "synset"}
    source = {"use": "official", "options": options(files, features=features).model_dump()}
    recipe = {
        "name": "synsets", "title": "Synsets", "version": "1.0.0", "license": "cc0-1.0", "description": "A test.",
        "sources": {"published": source}, "types": {"synset": {}}, "split": {"policy": "given"},
        "relations": {"_hypernym": relation, "_hyponym": relation},
    }  # fmt: skip
    (folder / "synsets.yaml").write_text(json.dumps(recipe))
    return folder / "synsets.yaml"


@pytest.fixture(scope="module")
def with_vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    several = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    vectors = {"n11992806": several, "n11669921": several[0], "n10083823": np.zeros(3, np.float32), "other": several}
    return build(Job(str(written(folder, vectors)), folder / "w")).release


def test_published_vectors_are_in_the_release_under_the_entities_ids(with_vectors: Path) -> None:
    rows = schema.read_table(with_vectors, "vectors", "image").to_pylist()
    assert [(row["id"], row["encoder"], row["vector"]) for row in rows] == [
        ("synset:n11992806", "openai/clip-vit-large-patch14", [2, 2, 2]),
        ("synset:n11669921", "openai/clip-vit-large-patch14", [1, 2, 3]),
    ]
    assert rows[0]["vector_sha256"] == hashlib.sha256(np.array([2, 2, 2], "<f4").tobytes()).hexdigest()
    assert check_release(with_vectors) == []


def test_the_hugging_face_library_loads_the_vectors(with_vectors: Path, tmp_path: Path) -> None:
    loaded = datasets.load_dataset(str(with_vectors), "vectors", cache_dir=str(tmp_path))
    assert {split: rows["vector"][:] for split, rows in loaded.items()} == {"image": [[2, 2, 2], [1, 2, 3]]}


def test_published_vectors_become_features_to_train_on(with_vectors: Path, tmp_path: Path) -> None:
    report = encode_release(with_vectors, ["published"], tmp_path / "features")
    features = load_features(tmp_path / "features")["image"]
    features.require_match(load_folder(with_vectors))
    assert (features.ids, features.vectors.tolist()) == (("synset:n11669921", "synset:n11992806"), [[1, 2, 3], [2] * 3])
    assert [(m.encoder.name, m.encoded) for m in report.modalities] == [("openai/clip-vit-large-patch14", 2)]


def test_nothing_new_is_encoded_like_published_vectors(with_vectors: Path, tmp_path: Path) -> None:
    encode_release(with_vectors, ["published"], tmp_path / "features")
    with pytest.raises(UsageError, match=r"published vectors \(openai/clip-vit-large-patch14\) serve the entities"):
        restore_encoder(load_features(tmp_path / "features")["image"].info)


def test_a_release_without_published_vectors_says_so(tmp_path: Path) -> None:
    release = build(Job(str(written(tmp_path, None)), tmp_path / "w")).release
    with pytest.raises(UsageError, match="carries no published vectors"):
        encode_release(release, ["published"], tmp_path / "features")


def test_a_hostile_feature_file_stops_the_build_and_is_not_run(tmp_path: Path) -> None:
    recipe = written(tmp_path, {"n11992806": Calls(os.mkdir, str(tmp_path / "canary"))})
    with pytest.raises(DataError, match=r"f\.pkl is refused, nothing of it was run: it holds the name posix\.mkdir"):
        build(Job(str(recipe), tmp_path / "w"))
    assert not (tmp_path / "canary").exists()
    assert not list((tmp_path / "w" / "releases").iterdir())


def test_two_builds_with_vectors_are_byte_identical(with_vectors: Path) -> None:
    first = dict(schema.read_manifest(with_vectors))
    again = build(Job(str(with_vectors.parents[2] / "synsets.yaml"), with_vectors.parents[1]))
    assert (again.fetched, again.manifest) == (0, first)
    assert release_content_sha256(again.release) == first["content_sha256"]
