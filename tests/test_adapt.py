"""Adapting an encoder: what is learned from, the loss, that it falls, and that a killed adaptation goes on."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from mkg_builder import schema
from mkg_builder.errors import UsageError
from tests.test_encoders import tiny_clip  # noqa: F401 - a fixture
from tests.test_vlkge_cli import told, vlkge
from tests.tiny_release import write_manifest, write_tiny_release
from vlkge.adapt import AdaptOptions, AdaptReport, adapt
from vlkge.contrastive import multi_positive_loss, sentences, shuffled, truths
from vlkge.dataset import load_folder
from vlkge.encode import encode_release
from vlkge.encoders import resolve_encoders
from vlkge.errors import DatasetError, FeaturesError
from vlkge.features import load_features
from vlkge.unlock import add_lora, unlock_blocks

ART = [f"artwork:work-{i:02d}" for i in range(24)]
PAINTER = {art: i % 3 for i, art in enumerate(ART)}
FACTS = [(art, "by", f"artist:painter-{i}") for art, i in PAINTER.items()]
STYLES = [(art, "in", f"style:style-{i % 2}") for art, i in PAINTER.items()]
PROMPTS = {"by": "This painting was created by {}.", "in": "The style is {}."}
FAST = AdaptOptions(epochs=3, batch_size=8, learning_rate=1e-2, device="cpu")


def painted(art: str) -> bytes:
    """A picture in its painter's colour, with some noise."""
    rng = np.random.default_rng(ART.index(art))
    pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
    pixels[..., PAINTER[art]] += 180
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_release(
    folder: Path,
    prompts: dict[str, str],
    pictured: list[str],
    texts: dict[str, str] | None = None,
    more: list[tuple[str, str, str]] | None = None,
) -> Path:
    """Artworks in their painter's colour; relations with prompts; `more` facts to train on."""
    splits = {
        "train": FACTS[:15] + STYLES[:15] + (more or []),
        "validation": FACTS[15:20] + STYLES[15:20],
        "test": FACTS[20:],
    }
    write_tiny_release(folder, splits, {art: painted(art) for art in pictured}, texts)
    path = folder / schema.shard_path("relations", "full")
    rows = [{**row, "prompt": prompts.get(row["name"])} for row in pq.read_table(path).to_pylist()]
    table = pa.Table.from_pylist(rows, schema.arrow_schema("relations"))
    pq.write_table(table, path, write_page_checksum=True)
    manifest = json.loads((folder / schema.MANIFEST).read_text())
    write_manifest(folder, {key: manifest[key] for key in ("name", "version", "marks", "recipe")})
    return folder


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return write_release(tmp_path_factory.mktemp("adapt") / "release", PROMPTS, ART)


@pytest.fixture
def encoder(tiny_clip: Path) -> str:  # noqa: F811
    return f"open_clip:local-dir:{tiny_clip}"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    encoder, _ = resolve_encoders(f"open_clip:local-dir:{folder}")
    return encoder._parts.model.state_dict()


def losses(report: AdaptReport) -> list[tuple]:
    return [(one.epoch, one.loss, one.validation_loss, one.best) for one in report.history]


def test_the_loss_is_that_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures, texts = torch.randn(4, 5, generator=generator), torch.randn(3, 5, generator=generator)
    true = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]], dtype=torch.bool)
    cosine = [[float(torch.cosine_similarity(p, t, dim=0)) * 7 for t in texts] for p in pictures]

    def side(table: list[list[float]], marks: list[list[bool]]) -> float:
        means = []
        for row, mark in zip(table, marks, strict=True):
            whole = np.log(np.exp(row).sum())
            means.append(np.mean([whole - value for value, marked in zip(row, mark, strict=True) if marked]))
        return float(np.mean(means))

    turned = [list(column) for column in zip(*cosine, strict=True)]
    expected = (side(cosine, true.tolist()) + side(turned, true.T.tolist())) / 2
    assert float(multi_positive_loss(pictures, texts, true, torch.tensor(7.0))) == pytest.approx(expected, rel=1e-5)


def test_what_is_true_of_which_picture_is_marked() -> None:
    places, true = truths([[4, 9], [9], [2, 4]])
    assert places == [2, 4, 9]
    assert true.int().tolist() == [[0, 1, 1], [0, 0, 1], [1, 1, 0]]


def test_an_order_is_random_whole_and_seeded() -> None:
    once, again, other = (list(shuffled(range(100), seed, 10)) for seed in (1, 1, 2))
    assert once == again != other
    assert sorted(once) == list(range(100)) != once
    assert all(item <= place + 10 for place, item in enumerate(once))


def test_sentences_are_those_of_the_split_alone(release: Path) -> None:
    dataset = load_folder(release)
    found = sentences(dataset, "train")
    said = {head: {found.texts[place] for place in true} for head, true in found.of.items()}
    assert said[ART[1]] == {"This painting was created by Painter 1.", "The style is Style 1."}
    assert sorted(said) == ART[:15]
    assert sorted(sentences(dataset, "validation").of) == ART[15:20]


def test_the_validation_loss_falls_and_the_best_epoch_is_written(release: Path, encoder: str, tmp_path: Path) -> None:
    report = adapt(release, encoder, tmp_path / "adapted", FAST)
    first, *later = [one.validation_loss for one in report.history]
    assert min(later) < 0.8 * first
    assert (report.pictures, report.facts, len(report.history)) == (15, 30, 4)
    record = json.loads((tmp_path / "adapted" / "adaptation.json").read_text())
    assert (record["dataset"]["version"], record["options"]["seed"], record["facts"]) == ("1.0.0", 42, 30)
    assert record["base"]["spec"] == encoder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapted"]


def test_what_is_not_unlocked_stays_as_it_is(release: Path, encoder: str, tiny_clip: Path, tmp_path: Path) -> None:  # noqa: F811
    report = adapt(release, encoder, tmp_path / "adapted", AdaptOptions(blocks=1, epochs=1, batch_size=8, device="cpu"))
    before, after = weights(tiny_clip), weights(tmp_path / "adapted")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"visual.proj", "text_projection", "logit_scale", "visual.ln_post.weight"} <= changed
    assert not changed & {"visual.conv1.weight", "token_embedding.weight", "positional_embedding"}
    assert report.trained == sum(before[name].numel() for name in changed)
    folders = [tiny_clip, tmp_path / "adapted"]
    configs = [json.loads((folder / "open_clip_config.json").read_text())["model_cfg"] for folder in folders]
    assert configs[0] == configs[1]
    preprocessing = [resolve_encoders(f"open_clip:local-dir:{folder}")[0].preprocessing for folder in folders]
    assert preprocessing[0] == preprocessing[1]


def test_the_epoch_that_is_best_on_validation_is_the_one_kept(release: Path, encoder: str, tmp_path: Path) -> None:
    settings = {"batch_size": 4, "learning_rate": 0.2, "device": "cpu"}
    report = adapt(release, encoder, tmp_path / "whole", AdaptOptions(epochs=4, **settings))
    best = min(report.history, key=lambda one: one.validation_loss).epoch
    assert [one.epoch for one in report.history if one.best][-1] == best < 4
    adapt(release, encoder, tmp_path / "short", AdaptOptions(epochs=best, **settings))
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "short")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_adaptation_goes_on_and_ends_as_an_unbroken_one(release: Path, encoder: str, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(stage: str, done: int, total: int | None) -> None:
        if stage.startswith("epoch 3"):
            raise Killed

    whole = adapt(release, encoder, tmp_path / "whole", FAST)
    with pytest.raises(Killed):
        adapt(release, encoder, tmp_path / "broken", FAST, kill)
    stages = []
    broken = adapt(release, encoder, tmp_path / "broken", FAST, lambda stage, _done, _total: stages.append(stage))
    assert set(stages) == {"epoch 3 of 3"}
    assert losses(broken) == losses(whole)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_seed_begins_anew(release: Path, encoder: str, tmp_path: Path) -> None:
    def kill(stage: str, done: int, total: int | None) -> None:
        if stage.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(release, encoder, tmp_path / "out", FAST, kill)
    other = AdaptOptions(epochs=2, batch_size=8, learning_rate=1e-2, seed=7, device="cpu")
    after_kill = adapt(release, encoder, tmp_path / "out", other)
    assert losses(after_kill) == losses(adapt(release, encoder, tmp_path / "fresh", other))


def test_low_rank_additions_learn_and_are_added_to_the_matrices(release, encoder, tiny_clip, tmp_path) -> None:  # noqa: F811
    options = AdaptOptions(lora=2, epochs=2, batch_size=4, learning_rate=2e-2, device="cpu")
    report = adapt(release, encoder, tmp_path / "adapted", options)
    assert min(one.validation_loss for one in report.history) < 0.95 * report.history[0].validation_loss
    before, after = weights(tiny_clip), weights(tmp_path / "adapted")
    assert before.keys() == after.keys()
    for name in before:
        change = (after[name] - before[name]).double()
        if name.endswith(("in_proj_weight", "out_proj.weight", "c_fc.weight", "c_proj.weight")):
            assert 1 <= torch.linalg.matrix_rank(change, rtol=1e-4) <= 2
        else:
            assert not change.any()


def test_low_rank_additions_name_what_they_need(release, encoder, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"pip install 'vlkge\[lora\]'"):
        adapt(release, encoder, tmp_path / "out", AdaptOptions(lora=2, device="cpu"))


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be told apart"):
        unlock_blocks(torch.nn.Linear(2, 2), 1)
    with pytest.raises(UsageError, match="LoRA finds no blocks"):
        add_lora(torch.nn.Sequential(torch.nn.Linear(2, 2)), 2, 0)


def test_what_cannot_be_adapted_is_refused(release: Path, encoder: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'color-texture' cannot be adapted; name one of open_clip"):
        adapt(release, "color-texture", tmp_path / "out")
    with pytest.raises(UsageError, match="is there; choose another place"):
        adapt(release, encoder, tmp_path)
    with pytest.raises(DatasetError, match="no relation of tiny has a prompt"):
        adapt(write_release(tmp_path / "bare", {}, ART), encoder, tmp_path / "out")
    with pytest.raises(DatasetError, match="no picture of tiny belongs to the head of a validation triple"):
        adapt(write_release(tmp_path / "blind", PROMPTS, ART[:15]), encoder, tmp_path / "out")
    with pytest.raises(FeaturesError, match="try a smaller --lr"):
        adapt(
            release, encoder, tmp_path / "out", AdaptOptions(learning_rate=1e30, epochs=2, batch_size=8, device="cpu")
        )


def test_the_command_tells_each_epoch_and_what_to_type_next(release: Path, encoder: str, tmp_path: Path) -> None:
    given = ("adapt", release, "--encoder", encoder, "--epochs", 2, "--batch-size", 8, "--lr", 0.01, "--device", "cpu")
    done = vlkge(*given, "--out", "adapted", cwd=tmp_path)
    assert done.returncode == 0
    assert f"now: vlkge encode {release} --encoder open_clip:local-dir:adapted" in done.stdout
    assert "30 facts of 15 pictures, seed 42; epoch 0 is the model as it was" in done.stderr
    found = told(*given, "--out", "again", cwd=tmp_path)
    assert [one["epoch"] for one in found["history"]] == [0, 1, 2]
    assert vlkge(*given, "--out", "adapted", cwd=tmp_path).returncode == 2


def test_a_model_in_a_folder_is_remembered_by_its_whole_path(
    release: Path, encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme, _, folder = encoder.rpartition(":")
    monkeypatch.chdir(Path(folder).parent)
    encode_release(release, [f"{scheme}:{Path(folder).name}"], tmp_path / "features")
    assert {part.info.spec for part in load_features(tmp_path / "features").values()} == {encoder}
