"""Predictions: the same scores as evaluation, for entities and for what is outside the graph."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mkg_builder.errors import DataError, UnknownNameError, UsageError
from mkg_builder.picture import PictureError, decode_picture
from tests.test_vlkge_cli import told, vlkge
from tests.tiny_release import picture_bytes
from tests.vlkge_contracts import make_dataset
from vlkge.config import load_experiment
from vlkge.dataset import RelationInfo
from vlkge.encoders import Encoder, resolve_encoders
from vlkge.errors import FeaturesError, RunError
from vlkge.features import DatasetIdentity, ModalityFeatures, save_features
from vlkge.new_run import create_run
from vlkge.pictures import Broken, find_pictures, read_batches, read_picture
from vlkge.predict import Outside, Prediction, Predictor, Subject
from vlkge.run import load_run
from vlkge.scores import ModelScores
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


def write_folder(folder: Path, count: int, broken: tuple[int, ...] = ()) -> Path:
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:03d}.png").write_bytes(picture_bytes(i)[: 900 if i in broken else None])
    return folder


def test_each_picture_of_a_folder_is_answered_as_it_is_alone(predictor: Predictor, tmp_path: Path, monkeypatch) -> None:
    folder, sizes = write_folder(tmp_path / "folder", 70, broken=(0, 33, 69)), []
    encode = MeanColor.encode
    monkeypatch.setattr(MeanColor, "encode", lambda self, batch: sizes.append(len(batch)) or encode(self, batch))
    told = [one for batch in predictor.pictures(find_pictures(folder)) for one in batch]
    assert sizes == [31, 31, 5]
    assert [Path(one.name).name for one in told] == [f"{i:03d}.png" for i in range(70)]
    assert [i for i, one in enumerate(told) if isinstance(one, Broken)] == [0, 33, 69]
    whole = [one for one in told if isinstance(one, Subject)]
    together = predictor.answers(whole, "by")
    for subject, answers in zip(whole[::13], together[::13], strict=True):
        alone = predictor.tails_of_outside(Outside(Path(subject.name)), "by")
        assert [answer.entity for answer in answers] == [answer.entity for answer in alone]
        assert [answer.score for answer in answers] == pytest.approx([answer.score for answer in alone], rel=1e-5)


def test_of_a_folder_no_more_than_a_batch_is_decoded_at_a_time(tmp_path: Path, monkeypatch) -> None:
    decoded: list[Path] = []
    monkeypatch.setattr("vlkge.pictures.read_picture", lambda path: decoded.append(path) or read_picture(path))
    batches = read_batches(find_pictures(write_folder(tmp_path / "folder", 70)), 32)
    assert [(len(batch), len(decoded)) for batch in batches] == [(32, 32), (32, 64), (6, 70)]
    monkeypatch.setattr("vlkge.pictures.PIXELS_AT_ONCE", 3 * 40 * 32)
    assert {len(batch) for batch in read_batches(find_pictures(tmp_path / "folder"), 32)} == {3, 1}


def test_what_is_no_picture_takes_its_place_with_the_reason(tmp_path: Path, monkeypatch) -> None:
    folder = write_folder(tmp_path / "folder", 1)
    (folder / "a.txt").write_text("no picture")
    (folder / "b.png").symlink_to(folder / "nowhere.png")
    (folder / "c.png").symlink_to(folder / "c.png")
    os.mkfifo(folder / "d.png")
    (folder / "e.png").write_bytes(picture_bytes(5) * 9)
    monkeypatch.setattr("vlkge.pictures.MAX_BYTES", len(picture_bytes(5)))
    (batch,) = read_batches(find_pictures(folder), 32)
    assert [path.name for path, _ in batch] == ["000.png", "a.txt", "b.png", "c.png", "d.png", "e.png"]
    told = [found for _, found in batch if isinstance(found, str)]
    assert [any(word in reason for word in ("not a JPEG", "no picture", "symbolic links", "not a file", "more than"))
            for reason in told] == [True] * 5  # fmt: skip


def test_a_folder_without_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file"):
        find_pictures(tmp_path)


def test_a_relation_that_is_never_asked_for_is_not_answered_unasked(predictor: Predictor, monkeypatch) -> None:
    assert (predictor.relations_from("artwork"), predictor.relations_from("artist")) == (["by"], ["influencedBy"])
    info = DATASET.relation_info
    silent = replace(DATASET, relation_info={**info, "by": replace(info["by"], evaluated=False)})
    monkeypatch.setattr(predictor, "dataset", silent)
    with pytest.raises(UsageError, match="no relation of tiny starts at entities of type 'artwork'"):
        predictor.relations_from("artwork")
    with pytest.raises(UsageError, match="say what it is with --type: artist, artwork"):
        predictor.relations_from(None)


def test_something_outside_is_not_asked_what_only_another_type_has(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "painting.png").write_bytes(picture_bytes(7))
    with pytest.raises(UsageError, match="influencedBy starts at entities of type 'artist'"):
        predictor.tails_of_outside(Outside(tmp_path / "painting.png"), "influencedBy")
    found = predictor.tails_of_outside(Outside(tmp_path / "painting.png", kind="artist"), "influencedBy")
    assert len(found) == 2


def test_a_text_is_read_with_the_prompt_of_its_type(predictor: Predictor, monkeypatch) -> None:
    kinds = {**DATASET.type_info, "artist": replace(DATASET.type_info["artist"], prompt="a painting by {}")}
    monkeypatch.setattr(predictor, "dataset", replace(DATASET, type_info=kinds))
    assert predictor._sentence("Monet", "artist") == "a painting by Monet"
    assert predictor._sentence("Lilies", "artwork") == "Lilies"
    with pytest.raises(UsageError, match="the text is blank"):
        predictor._sentence(" ", "artwork")


@pytest.mark.parametrize("top", [1, 3, 9])
@pytest.mark.parametrize("new_only", [False, True])
def test_the_best_are_those_of_a_plain_sort_ties_to_the_smaller_id(predictor: Predictor, top: int, new_only) -> None:
    relation, known = DATASET.relation_index("by"), {DATASET.entity_index("artist:1"): "train"}
    scores, allowed = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([True, not new_only, True])
    found = predictor._best(relation, scores, None, allowed, known, top)
    expected = sorted(range(3), key=lambda i: (-scores[i], i))
    expected = [i for i in expected if not (new_only and i == 1)][:top]
    assert [(p.rank, p.entity) for p in found] == [(rank, f"artist:{i}") for rank, i in enumerate(expected, 1)]


def test_nothing_new_is_no_answer(predictor: Predictor) -> None:
    everything = {DATASET.entity_index(f"artist:{i}"): "train" for i in range(3)}
    nothing = torch.zeros(3, dtype=torch.bool)
    found: list[Prediction] = predictor._best(
        DATASET.relation_index("by"), torch.zeros(3), None, nothing, everything, 5
    )
    assert found == []


def test_a_relation_that_no_split_has_any_of_is_told_and_answers_nothing(tmp_path: Path) -> None:
    info = {**DATASET.relation_info, "shows": RelationInfo("artist", "thing", None, None)}
    wider = replace(DATASET, relations=(*DATASET.relations, "shows"), relation_info=info)
    plan = load_experiment(None, ["model.dim=8", "model.modalities=[structural]"])
    list(fit(create_run(tmp_path / "run", resolve(plan, wider), wider), 1))
    done = vlkge("predict", "run", "--head", "artist:0", "--relation", "shows", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "shows: no answer, no split has any of it\n")
    (row,) = told("predict", "run", "--head", "artist:0", "--relation", "shows", cwd=tmp_path)["things"]
    assert row["answers"] == {"shows": []}
