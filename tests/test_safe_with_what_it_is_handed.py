"""Safe with what it is handed: pickles, foreign or altered runs, broken tables, hostile YAML, thousands of pictures."""

import hashlib
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import time
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
from tests.hostile_pictures import REFUSED
from tests.tiny_release import picture_bytes, write_manifest, write_tiny_release
from vlkge.config import load_experiment
from vlkge.dataset import Dataset, load_folder
from vlkge.encode import encode_release
from vlkge.encoders import EncoderInfo
from vlkge.errors import ExperimentError, FeaturesError, RunError
from vlkge.evaluate import evaluate_run
from vlkge.features import DatasetIdentity, ModalityFeatures, load_features, save_features
from vlkge.files import read_tensors
from vlkge.new_run import create_run
from vlkge.protocol import make_protocol
from vlkge.run import Run, load_run, load_weights
from vlkge.train import fit, resolve

ROOT = Path(__file__).parent.parent
ART = [f"artwork:{i:02d}" for i in range(12)]
BY = [(art, "by", f"artist:{i % 3}") for i, art in enumerate(ART)]
PARTS = ["weights", "checkpoint", "experiment.yaml", "dataset/vocabulary.json", "dataset/triples.safetensors"]
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
    path = tmp_path / "weights.safetensors"
    path.write_bytes(body)
    with pytest.raises(RunError, match="not readable safetensors"):
        read_tensors(path, hashlib.sha256(body).hexdigest(), RunError, "")


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.int32])
def test_case_56_weights_of_another_type_are_not_cast_silently(tmp_path: Path, kind: torch.dtype) -> None:
    model = trained(tmp_path, release(tmp_path)).load_model()
    weights = {name: one.to(kind) for name, one in model.state_dict().items()}
    with pytest.raises(RunError, match=f"is {kind}, not torch.float32"):
        load_weights(model, weights, "weights")


def release(folder: Path, facts: list = BY, name: str = "release", train: int = 8) -> Path:
    return write_tiny_release(
        folder / name, {"train": facts[:train], "validation": facts[train:10], "test": facts[10:]}
    )


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
        for part in (
            "weights",
            "checkpoint",
            "dataset/vocabulary.json",
            "dataset/triples.safetensors",
            "experiment.yaml",
        ):
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
    storage = pa.array([b"0" * 16] * len(rows), pa.binary(16))
    return rows.set_column(0, "head", pa.ExtensionArray.from_storage(pa.uuid(), storage))


def _of_numbers(rows: pa.Table) -> pa.Table:
    return rows.set_column(2, "tail", pa.array(range(len(rows))))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: replace_table(f, "triples", "train", lambda rows: rows.drop_columns("tail")), "tail"),
        (lambda f: replace_table(f, "entities", "full", lambda rows: rows.drop_columns("type")), "type"),
        (lambda f: replace_table(f, "triples", "train", _of_extension_type), "head"),
        (lambda f: replace_table(f, "triples", "train", _of_numbers), "tail"),
        (lambda f: shutil.copy(next(f.glob("triples/test-*")), f / schema.shard_path("triples", "dev")), "dev"),
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
    assert evaluate_run(run, "test", make_protocol("strict")).model.overall.mrr == 1.0


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
    began = time.process_time()
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path)
    assert time.process_time() - began < 10
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def features_of(dataset: Dataset, ids: list[str], width: int = 3) -> ModalityFeatures:
    info = EncoderInfo("color-texture", "color", "1", "image", width, "none")
    vectors = np.random.default_rng(0).normal(size=(len(ids), width)).astype(np.float32)
    return ModalityFeatures(info, DatasetIdentity.of(dataset), tuple(ids), vectors)


def test_case_60_features_for_another_release_or_with_foreign_entities_stop_a_training(tmp_path: Path) -> None:
    dataset, other = load_folder(release(tmp_path, BY)), load_folder(release(tmp_path, BY, "other", train=6))
    wrong = {"other release": features_of(other, ART), "foreign entity": features_of(dataset, [*ART, "artwork:zz"])}
    for name, features in wrong.items():
        save_features(tmp_path / name, [features])
        with pytest.raises(FeaturesError, match="vlkge encode"):
            trained(tmp_path, tmp_path / "release", f"features={tmp_path / name}", name=f"run {name}")
        assert not (tmp_path / f"run {name}").exists()


def test_case_60_an_entity_without_a_vector_counts_as_absent_and_not_as_zeros(tmp_path: Path) -> None:
    dataset = load_folder(release(tmp_path))
    save_features(tmp_path / "features", [features_of(dataset, ART[:5])])
    settings = (f"features={tmp_path / 'features'}", "model.modalities=[image]")
    model = trained(tmp_path, tmp_path / "release", *settings).load_model()
    indices = torch.tensor([dataset.entity_index(art) for art in ART])
    assert model.real.has_any(indices).tolist() == [art in ART[:5] for art in ART]


MEAN = """
import numpy as np
from vlkge.encoders import Encoder
class Mean(Encoder):
    name, revision, modality, dimension, preprocessing = "mean", "1", "image", 3, "none"
    def encode(self, batch):
        return np.array([np.asarray(one).mean((0, 1)) for one in batch], np.float32).reshape(-1, 3)
"""


def broken_pictures() -> dict[str, bytes]:
    """3,000 pictures, one of 60 broken, in eleven ways."""
    whole = [picture_bytes(seed, (12, 10)) for seed in range(30)]
    ways = [*REFUSED.values(), whole[0][:90], b"<html>gone</html>", b"", whole[1][:8] + bytes(200)]
    return {f"artwork:{i:04d}": ways[i // 60 % len(ways)] if i % 60 == 0 else whole[i % 30] for i in range(3000)}


def test_case_63_of_3000_pictures_the_broken_ones_are_told_by_reason_and_the_rest_encoded(tmp_path: Path) -> None:
    pictures = broken_pictures()
    facts = [(art, "by", "artist:0") for art in pictures]
    write_tiny_release(tmp_path / "release", {"train": facts}, pictures)
    (tmp_path / "own.py").write_text(MEAN)
    command = [sys.executable, "-m", "vlkge", "encode", "release", "--encoder", "own.py:Mean", "--out", "features"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=_bound_memory,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, PYTHONPATH=str(ROOT)))  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    features = load_features(tmp_path / "features")["image"]
    broken = [art for i, art in enumerate(pictures) if i % 60 == 0]
    assert [skipped.id for skipped in features.skipped] == broken
    assert list(features.ids) == [art for art in pictures if art not in set(broken)]
    told = [line for line in done.stderr.splitlines() if " skipped (" in line]
    assert sum(int(line.split()[1]) for line in told) == len(broken) == 50
    assert 5 <= len(told) <= 11
    assert "0x" not in done.stderr


def _bound_memory() -> None:
    """Of data: a decompression bomb of the test would need more."""
    resource.setrlimit(resource.RLIMIT_DATA, (1_200_000_000, 1_200_000_000))


def test_case_63_a_picture_by_a_link_is_read_and_a_name_with_an_escape_is_shown_and_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlkge.cli import main

    pictures = {art: picture_bytes(i) for i, art in enumerate(ART)}
    encode_release(write_tiny_release(tmp_path / "release", {"train": BY}, pictures), ["color-texture"], tmp_path / "f")
    run = trained(tmp_path, tmp_path / "release", f"features={tmp_path / 'f'}")
    (tmp_path / "whole.png").write_bytes(picture_bytes(0))
    (tmp_path / "link\x1b[31m.png").symlink_to("whole.png")
    (tmp_path / "broken\x1b[31m.png").write_bytes(b"<html>")
    for name, code in (("link", 0), ("broken", 4)):
        place = str(tmp_path / f"{name}\x1b[31m.png")
        monkeypatch.setattr(sys, "argv", ["vlkge", "predict", str(run.folder), "--image", place, "--relation", "by"])
        with pytest.raises(SystemExit) as left:
            main()
            sys.exit(0)
        told = capsys.readouterr()
        assert (left.value.code or 0, "\x1b[31m" in told.out + told.err) == (code, False)
