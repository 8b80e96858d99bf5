"""Features: kept whole, aligned by id, and refused when they are unsafe, damaged or of another data set."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mkg_builder.errors import UsageError
from tests.tiny_release import write_tiny_release
from vlkge.dataset import Dataset, load_folder
from vlkge.errors import FeaturesError
from vlkge.features import DatasetIdentity, EncoderInfo, ModalityFeatures, Skipped, load_features, save_features

IMAGE = EncoderInfo("color", "color", "1", "image", 3, "none")
TEXT = EncoderInfo("letters", "letters", "1", "text", 2, "none", "abc")
VECTORS = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def image_features(made_for: Dataset, vectors: np.ndarray = VECTORS, **change) -> ModalityFeatures:
    fields = {"info": IMAGE, "dataset": DatasetIdentity.of(made_for), "ids": ("artwork:a", "artwork:b")} | change
    return ModalityFeatures(vectors=vectors, **fields)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    facts = [(f"artwork:{name}", "hasStyle", "style:x") for name in "abc"]
    return load_folder(write_tiny_release(tmp_path / "release", {"train": facts}))


@pytest.fixture
def folder(dataset: Dataset, tmp_path: Path) -> Path:
    save_features(tmp_path / "features", [image_features(dataset)])
    return tmp_path / "features"


class Payload:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def test_alignment_puts_vectors_at_their_entities_and_masks_the_rest(dataset: Dataset) -> None:
    vectors, present = image_features(dataset).align(("style:x", "artwork:b", "artwork:a", "artwork:c"))
    assert present.tolist() == [False, True, True, False]
    assert vectors.tolist() == [[0, 0, 0], [4, 5, 6], [1, 2, 3], [0, 0, 0]]


def test_what_is_saved_loads_the_same(dataset: Dataset, tmp_path: Path) -> None:
    image = image_features(dataset, skipped=(Skipped("artwork:c", "it is truncated"),))
    text = ModalityFeatures(TEXT, image.dataset, ("style:x",), np.ones((1, 2), np.float32))
    save_features(tmp_path / "features", [image, text])
    loaded = load_features(tmp_path / "features")
    assert set(loaded) == {"image", "text"}
    for saved in (image, text):
        found = loaded[saved.info.modality]
        assert (found.info, found.dataset, found.ids, found.skipped) == (
            saved.info, saved.dataset, saved.ids, saved.skipped)  # fmt: skip
        assert found.vectors.tobytes() == saved.vectors.tobytes()


def test_features_without_a_vector_are_kept_too(dataset: Dataset, tmp_path: Path) -> None:
    save_features(tmp_path / "features", [image_features(dataset, np.empty((0, 3), np.float32), ids=())])
    assert load_features(tmp_path / "features")["image"].vectors.shape == (0, 3)


def test_saving_twice_gives_the_same_bytes_and_replaces(dataset: Dataset, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    save_features(folder, [image_features(dataset)])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_crash_while_saving_leaves_what_was_there(dataset: Dataset, folder: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("vlkge.features.write_sealed_json", full)
    with pytest.raises(OSError, match="no space"):
        save_features(folder, [image_features(dataset, VECTORS + 1)])
    assert load_features(folder)["image"].vectors.tolist() == VECTORS.tolist()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["features", "release"]


def test_a_folder_of_something_else_is_not_replaced(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(UsageError, match="no features folder"):
        save_features(tmp_path / "thesis", [image_features(dataset)])
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def test_two_features_of_one_modality_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one per modality"):
        save_features(tmp_path / "features", [image_features(dataset)] * 2)


@pytest.mark.parametrize("name", ["features.pkl", "features.pt", "features.npy", "features"])
def test_a_pickle_offered_as_features_is_never_opened(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "opened"
    (tmp_path / name).write_bytes(pickle.dumps(Payload(canary)))
    with pytest.raises(FeaturesError, match=r"refused, not opened.*vlkge encode"):
        load_features(tmp_path / name)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["model.pt", "model.PTH", "model.bin", "model.joblib"])
def test_a_file_that_is_named_like_a_pickle_is_refused_whatever_is_in_it(folder: Path, name: str) -> None:
    (folder / name).write_text("harmless")
    with pytest.raises(FeaturesError, match="can run code when opened: refused"):
        load_features(folder)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_under_another_name_is_refused_by_its_first_bytes(folder: Path, protocol: int) -> None:
    canary = folder.parent / "opened"
    (folder / "image.safetensors").write_bytes(pickle.dumps(Payload(canary), protocol))
    with pytest.raises(FeaturesError, match=r"is a pickle.*refused, not opened"):
        load_features(folder)
    assert not canary.exists()


def test_files_of_pytorch_and_numpy_are_refused_by_their_first_bytes(folder: Path) -> None:
    place = folder / "image.safetensors"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("data.pkl", b"x")
    with pytest.raises(FeaturesError, match="is a zip"):
        load_features(folder)
    with place.open("wb") as file:
        np.save(file, np.array([Payload(folder)], dtype=object), allow_pickle=True)
    with pytest.raises(FeaturesError, match="is a NumPy array"):
        load_features(folder)


@pytest.mark.parametrize("file", ["features.json", "image.safetensors", "image.ids.json"])
def test_every_altered_byte_is_found(folder: Path, file: str) -> None:
    whole = (folder / file).read_bytes()
    for place in range(0, len(whole) - 1, 3):  # the last byte of a JSON file is the end of its line
        (folder / file).write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(FeaturesError):
            load_features(folder)


@pytest.mark.parametrize("file", ["features.json", "image.safetensors", "image.ids.json"])
def test_a_missing_or_cut_file_is_named(folder: Path, file: str) -> None:
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FeaturesError, match=file):
        load_features(folder)
    (folder / file).unlink()
    with pytest.raises(FeaturesError, match=file):
        load_features(folder)


def test_a_folder_that_is_not_there_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match="vlkge encode"):
        load_features(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.array([[1, 2, 3], [4, np.nan, 6]], np.float32), "artwork:b is all zero or not finite"),
        (np.array([[0, 0, 0], [4, 5, 6]], np.float32), "artwork:a is all zero or not finite"),
        (np.ones((2, 4), np.float32), r"float32 \[2, 4\], not float32 \[2, 3\]"),
        (np.ones((3, 3), np.float32), r"\[3, 3\], not"),
        (np.ones((2, 3)), "float64"),
    ],
)
def test_vectors_that_are_not_as_said_are_refused(dataset: Dataset, vectors: np.ndarray, message: str) -> None:
    with pytest.raises(FeaturesError, match=message):
        image_features(dataset, vectors)


def test_invalid_vectors_with_a_right_hash_are_refused_when_loaded(dataset: Dataset, tmp_path: Path) -> None:
    features = image_features(dataset, VECTORS.copy())
    features.vectors[1] = np.inf
    save_features(tmp_path / "features", [features])
    with pytest.raises(FeaturesError, match="artwork:b is all zero or not finite"):
        load_features(tmp_path / "features")


@pytest.mark.parametrize("ids", [("artwork:b", "artwork:a"), ("artwork:a", "artwork:a")])
def test_ids_out_of_order_or_repeated_are_refused(dataset: Dataset, ids: tuple[str, ...]) -> None:
    with pytest.raises(FeaturesError, match="not sorted, or one is there twice"):
        image_features(dataset, ids=ids)


def test_features_of_this_data_set_match(dataset: Dataset) -> None:
    image_features(dataset).require_match(dataset)


def test_features_of_another_release_name_both_hashes(dataset: Dataset) -> None:
    features = image_features(dataset, dataset=DatasetIdentity("tiny", "0.9.0", "f" * 64))
    with pytest.raises(FeaturesError, match=f"0.9.0.*ffffffffffff.*{dataset.content_sha256[:12]}.*vlkge encode"):
        features.require_match(dataset)


def test_features_of_an_entity_that_is_not_there_are_refused(dataset: Dataset) -> None:
    with pytest.raises(FeaturesError, match="'artwork:q', which is no entity"):
        image_features(dataset, ids=("artwork:a", "artwork:q")).require_match(dataset)


def test_too_little_coverage_names_an_entity_without_a_vector(dataset: Dataset) -> None:
    features, artworks = image_features(dataset), ["artwork:a", "artwork:b", "artwork:c"]
    features.require_coverage(artworks, 0.66)
    with pytest.raises(FeaturesError, match=r"66.7% of 3 .* 67.0% is asked for; artwork:c has none"):
        features.require_coverage(artworks, 0.67)


def test_a_sealed_index_of_another_form_is_refused(folder: Path) -> None:
    from vlkge.files import write_sealed_json

    write_sealed_json(folder / "features.json", {"format_version": 1, "dataset": {}, "modalities": {}})
    with pytest.raises(FeaturesError, match="not of this format"):
        load_features(folder)
    write_sealed_json(folder / "features.json", {"format_version": 2})
    with pytest.raises(FeaturesError, match="format version 2"):
        load_features(folder)


def test_loading_never_imports_pickle_s_loader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was opened")

    for module in (pickle, torch):
        monkeypatch.setattr(module, "load", opened)
    assert load_features(folder)["image"].ids == ("artwork:a", "artwork:b")
