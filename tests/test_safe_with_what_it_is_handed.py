"""Safe with what it is handed: pickles, foreign or altered runs, broken tables, hostile YAML, thousands of pictures."""

import json
import pickle
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mkg_builder import schema
from mkg_builder.errors import DataError, MkgError
from mkg_builder.strict import parse_yaml
from tests.hostile_pictures import REFUSED
from tests.tiny_release import picture_bytes, write_manifest, write_tiny_release
from vlkge.config import load_experiment
from vlkge.dataset import Dataset, load_folder
from vlkge.errors import ExperimentError, FeaturesError, RunError
from vlkge.evaluate import evaluate_run
from vlkge.features import load_features
from vlkge.files import read_tensors
from vlkge.protocol import make_protocol
from vlkge.run import Run, create_run, load_run
from vlkge.train import fit, resolve

ART = [f"artwork:{i:02d}" for i in range(12)]
BY = [(art, "by", f"artist:{i % 3}") for i, art in enumerate(ART)]
NAMES = ["model.pt", "model.pth", "model.bin", "model.pkl", "features.npy", "features.npz", "x.safetensors", "weights"]


@pytest.mark.parametrize("name", NAMES)
def test_case_55_no_payload_is_opened_whatever_its_name_and_its_protocol(tmp_path: Path, name: str) -> None:
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "opened",)

    place = tmp_path / name
    bodies = [pickle.dumps(Payload(), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    torch.save(Payload(), place)
    bodies.append(place.read_bytes())
    with place.open("wb") as file:
        np.save(file, np.array([Payload()], dtype=object), allow_pickle=True)
    bodies.append(place.read_bytes())
    for body, load in product(bodies, (load_features, load_run, Dataset.load)):
        place.write_bytes(body)
        with pytest.raises((DataError, NotADirectoryError)):
            load(place)
    assert not (tmp_path / "opened").exists()


def header(**tensors: Any) -> bytes:
    told = json.dumps(tensors).encode()
    return struct.pack("<Q", len(told)) + told


def tensor(begin: int, end: int, kind: str = "F32", shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        struct.pack("<Q", 2**30) + b"{",
        struct.pack("<Q", 2**63) + b"{}",
        header(a=tensor(0, 8), b=tensor(4, 12)) + bytes(12),
        header(a=tensor(0, 8)) + bytes(4),
        header(a=tensor(0, 8)) + bytes(80),
        header(a=tensor(0, 8, "F99")) + bytes(8),
        header(a=tensor(0, 8, shape=(2**40, 2**40))) + bytes(8),
        struct.pack("<Q", 4) + b"{{}}",
    ],
)
def test_case_56_a_malformed_checkpoint_is_refused_even_where_its_hash_is_right(tmp_path: Path, body: bytes) -> None:
    import hashlib

    path = tmp_path / "weights.safetensors"
    path.write_bytes(body)
    with pytest.raises(RunError, match="not readable safetensors"):
        read_tensors(path, hashlib.sha256(body).hexdigest(), RunError, "")


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.int32])
def test_case_56_weights_of_another_type_are_not_cast_silently(tmp_path: Path, kind: torch.dtype) -> None:
    from vlkge.run import load_weights

    model = trained(tmp_path, release(tmp_path)).load_model()
    weights = {name: one.to(kind) for name, one in model.state_dict().items()}
    with pytest.raises(RunError, match=f"is {kind}, not torch.float32"):
        load_weights(model, weights, "weights")


def release(folder: Path, facts: list = BY, name: str = "release", train: int = 8) -> Path:
    return write_tiny_release(folder / name, {"train": facts[:train], "validation": facts[train:10], "test": facts[10:]})


def trained(folder: Path, source: Path, *settings: str, name: str = "run") -> Run:
    dataset = load_folder(source)
    plan = load_experiment(None, ["model.dim=4", "training.epochs=2", "training.batch_size=4", *settings])
    run = create_run(folder / name, resolve(plan, dataset), dataset)
    list(fit(run))
    return run


def test_case_58_no_part_of_one_run_is_taken_for_that_of_another(tmp_path: Path) -> None:
    other = [(art, "by", f"artist:{(i + 1) % 3}") for i, art in enumerate(ART)]
    more = [(art, "madeBy", tail) for art, _, tail in BY]
    runs = [
        trained(tmp_path, release(tmp_path, BY, "a"), name="run-a"),
        trained(tmp_path, release(tmp_path, other, "b"), name="run-b"),
        trained(tmp_path, release(tmp_path, more, "c"), name="run-c"),
        trained(tmp_path, tmp_path / "a", "model.scorer=distmult", name="run-d"),
    ]
    grafts = 0
    for ours, theirs in permutations(runs, 2):
        for part in ("weights", "checkpoint", "dataset/vocabulary.json", "dataset/triples.safetensors", "experiment.yaml"):
            here, there = (run.folder / run.record[part]["file"] if part in run.record else run.folder / part
                           for run in (ours, theirs))  # fmt: skip
            if here.read_bytes() == there.read_bytes():
                continue
            kept = here.read_bytes()
            shutil.copy(there, here)
            with pytest.raises(MkgError) as caught:
                read_all(ours.folder)
            assert (caught.value.exit_code, "\n" in str(caught.value)) == (4, False)
            here.write_bytes(kept)
            grafts += 1
    assert grafts >= 40


def read_all(folder: Path) -> None:
    run = load_run(folder)
    run.load_model()
    run.load_checkpoint()


def replace_table(folder: Path, table: str, split: str, change: Callable[[pa.Table], pa.Table]) -> None:
    path = folder / schema.shard_path(table, split)
    pq.write_table(change(pq.read_table(path)), path, write_page_checksum=True)


def _of_extension_type(rows: pa.Table) -> pa.Table:
    return rows.set_column(0, "head", pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16] * len(rows), pa.binary(16))))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: replace_table(f, "triples", "train", lambda rows: rows.drop_columns("tail")), "tail"),
        (lambda f: replace_table(f, "entities", "full", lambda rows: rows.drop_columns("type")), "type"),
        (lambda f: replace_table(f, "triples", "train", _of_extension_type), "head"),
        (lambda f: replace_table(f, "triples", "train", lambda r: r.set_column(2, "tail", pa.array(range(len(r))))), "tail"),
        (lambda f: shutil.copy(f / schema.shard_path("triples", "test"), f / schema.shard_path("triples", "dev")), "dev"),
        (lambda f: (f / schema.shard_path("entities", "full")).unlink(), "entities"),
        (lambda f: (f / schema.shard_path("entities", "full")).write_bytes(b"PAR1 no table PAR1"), "entities"),
    ],
)  # fmt: skip
def test_case_59_a_release_of_another_form_is_named_before_training(tmp_path: Path, spoil: Callable, said: str) -> None:
    folder = release(tmp_path)
    manifest = schema.read_manifest(folder)
    spoil(folder)
    write_manifest(folder, {key: manifest[key] for key in ("name", "version", "recipe")})
    with pytest.raises(DataError, match=said) as caught:
        load_folder(folder)
    assert "\n" not in str(caught.value)


def test_case_59_a_file_that_the_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    folder = release(tmp_path)
    (folder / "triples" / "train-extra.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"train-extra\.parquet"):
        load_folder(folder)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
@pytest.mark.parametrize("negatives", ["100", "all"])
@pytest.mark.parametrize("more", [(), ("training.distinct=true",), ("training.share_negatives=true",)])
def test_case_61_a_relation_without_a_negative_trains_and_ranks_to_an_end(
    tmp_path: Path, loss: str, negatives: str, more: tuple[str, ...]
) -> None:
    facts = [(art, "by", "artist:0") for art in ART]
    settings = (f"training.loss={loss}", f"training.negatives={negatives}", "training.corrupt=tail", *more)
    run = trained(tmp_path, release(tmp_path, facts), *settings)
    losses = [epoch["loss"] for epoch in run.progress["history"]]
    assert np.isfinite(losses).all()
    assert evaluate_run(run, "test", make_protocol("strict")).overall.mrr == 1.0


def test_case_61_a_split_without_a_triple_is_told_as_one(tmp_path: Path) -> None:
    run = trained(tmp_path, release(tmp_path, BY[:8]))
    with pytest.raises(MkgError, match="test"):
        evaluate_run(run, "test", make_protocol("strict"))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "dataset: 2020-99-99",
        "dataset: !!timestamp soon",
        "training: {seed: !!int many}",
        "training: {seed: " + "9" * 5_000 + "}",
        "training: {learning_rate: !!float fast}",
        "dataset: !!python/name:os.system",
        "? [a, b]\n: c",
        "? {a: b}\n: c",
        "dataset: \"\\x00\"\n\0",
        "\n".join(f"k{i}:" for i in range(40_000)),
        "<<: 3",
        "--- a\n--- b",
        "dataset: \x1b[31m!",
    ],
    ids=range(15),
)  # fmt: skip
def test_case_62_hostile_yaml_is_one_line_within_seconds(tmp_path: Path, text: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
