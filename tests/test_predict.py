"""Predictions: the same scores as evaluation, for entities and for what is outside the graph."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mkg_builder.errors import DataError, UnknownNameError, UsageError
from mkg_builder.picture import PictureError, decode_picture
from tests.tiny_release import picture_bytes
from tests.vlkge_contracts import make_dataset
from vlkge.config import load_experiment
from vlkge.encoders import Encoder, resolve_encoders
from vlkge.errors import FeaturesError, RunError
from vlkge.evaluate import ModelScores
from vlkge.features import DatasetIdentity, ModalityFeatures, save_features
from vlkge.predict import Outside, Predictor
from vlkge.run import create_run, load_run
from vlkge.train import fit, resolve

ART = [f"artwork:{i}" for i in range(8)]
BY = [(art, "by", f"artist:{i % 3}") for i, art in enumerate(ART)]
INFLUENCES = [("artist:0", "influencedBy", "artist:1"), ("artist:1", "influencedBy", "artist:2")]
DATASET = make_dataset({
    "train": BY[:6] + INFLUENCES, "validation": BY[6:7], "test": [BY[7], ("artist:0", "influencedBy", "artist:2")],
})  # fmt: skip
SPEC = "tests.test_predict:MeanColor"


class MeanColor(Encoder):
    """The mean colour of a picture."""

    name, revision, modality, dimension, preprocessing = "mean-color", "1", "image", 3, "none"

    def encode(self, batch: list[Image.Image]) -> np.ndarray:
        rows = [np.asarray(picture.convert("RGB"), np.float32).mean((0, 1)) / 255 for picture in batch]
        return np.stack(rows) if rows else np.empty((0, 3), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("predict")
    encoder = resolve_encoders(SPEC)[0]
    vectors = encoder.encode([decode_picture(picture_bytes(i)) for i in range(8)])
    features = ModalityFeatures(encoder.info(), DatasetIdentity.of(DATASET), tuple(ART), vectors)
    save_features(place / "features", [features])
    plan = load_experiment(None, [f"features={place / 'features'}", "model.dim=8", "training.batch_size=4"])
    run = create_run(place / "run", resolve(plan, DATASET), DATASET)
    list(fit(run, 3))
    yield place / "run"


@pytest.fixture
def predictor(folder: Path) -> Predictor:
    return Predictor(load_run(folder))


def test_tails_are_those_of_the_relation_by_falling_score(predictor: Predictor) -> None:
    found = predictor.tails_of("artist:0", "influencedBy")
    assert {p.entity for p in found} == {"artist:1", "artist:2"}
    assert [p.rank for p in found] == [1, 2]
    assert found[0].score > found[1].score


def test_scores_are_those_of_evaluation(predictor: Predictor) -> None:
    found = {p.entity: p.score for p in predictor.tails_of("artwork:7", "by")}
    head, tails = torch.tensor([DATASET.entity_index("artwork:7")]), torch.tensor([0, 1, 2])
    scores = ModelScores(predictor.model, torch.arange(len(DATASET.entities)))
    expected = scores.score("tail", DATASET.relation_index("by"), head, tails)[0].tolist()
    assert [found[f"artist:{i}"] for i in range(3)] == pytest.approx(expected, rel=1e-5)


def test_what_the_graph_states_is_marked_with_its_split_or_left_out(predictor: Predictor) -> None:
    found = {p.entity: p.known for p in predictor.tails_of("artist:0", "influencedBy")}
    assert found == {"artist:1": "train", "artist:2": "test"}
    assert [p.entity for p in predictor.tails_of("artist:1", "influencedBy", new_only=True)] == ["artist:1"]


def test_a_picture_outside_the_graph_gets_the_answers_of_the_same_picture_inside(
    predictor: Predictor, tmp_path
) -> None:
    (tmp_path / "painting.png").write_bytes(picture_bytes(7))
    outside = predictor.tails_of_outside(Outside(picture=tmp_path / "painting.png"), "by", top=2)
    inside = predictor.tails_of("artwork:7", "by", top=2)
    assert [(p.rank, p.entity, p.known) for p in outside] == [(p.rank, p.entity, None) for p in inside]
    assert [p.score for p in outside] == pytest.approx([p.score for p in inside], rel=1e-5)


def test_a_truncated_picture_and_a_missing_one_are_named(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "half.png").write_bytes(picture_bytes(0)[:900])
    with pytest.raises(PictureError, match=r"half\.png"):
        predictor.tails_of_outside(Outside(picture=tmp_path / "half.png"), "by")
    with pytest.raises(DataError, match="no picture"):
        predictor.tails_of_outside(Outside(picture=tmp_path / "none.png"), "by")


def test_what_nothing_answers_to_names_the_nearest(predictor: Predictor) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown entity 'artist:00'.*'artist:0'"):
        predictor.tails_of("artist:00", "influencedBy")
    with pytest.raises(UnknownNameError, match=r"unknown relation 'influencedBye'; did you mean 'influencedBy'"):
        predictor.tails_of("artist:0", "influencedBye")


def test_a_head_of_another_type_and_nothing_at_all_are_usage_errors(predictor: Predictor) -> None:
    with pytest.raises(UsageError, match="starts at entities of type 'artwork', artist:0 is of type 'artist'"):
        predictor.tails_of("artist:0", "by")
    with pytest.raises(UsageError, match="nothing to predict from"):
        predictor.tails_of_outside(Outside(), "by")


def test_a_modality_that_the_run_was_not_trained_with_is_refused(predictor: Predictor) -> None:
    with pytest.raises(RunError, match="trained without text"):
        predictor.tails_of_outside(Outside(text="water lilies"), "by")


def test_a_changed_encoder_is_refused(predictor: Predictor, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "painting.png").write_bytes(picture_bytes(7))
    changed = type("Changed", (resolve_encoders(SPEC)[0].__class__,), {"revision": "2"})
    monkeypatch.setattr("tests.test_predict.MeanColor", changed)
    with pytest.raises(FeaturesError, match=r"has changed \(revision\)"):
        predictor.tails_of_outside(Outside(picture=tmp_path / "painting.png"), "by")
