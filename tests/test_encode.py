"""A release becomes a features folder; what cannot be encoded is skipped and said; a kill loses little."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mkg_builder import schema
from mkg_builder.errors import DataError, LockedError, UsageError
from mkg_builder.lock import locked
from mkg_builder.picture import decode_picture
from tests.tiny_release import picture_bytes, write_manifest, write_tiny_release
from vlkge import encode
from vlkge.dataset import load_folder
from vlkge.encode import EncodeOptions, encode_release
from vlkge.encoders import resolve_encoders
from vlkge.encoders_plain import ColorTexture
from vlkge.errors import DatasetError
from vlkge.features import Skipped, load_features
from vlkge.sentences import text_sentences

WORKS = [f"artwork:{name}" for name in "abcdefg"]
FACTS = {"train": [(work, "madeBy", f"artist:{work[-1]}") for work in WORKS]}
PICTURES = {work: picture_bytes(seed) for seed, work in enumerate(WORKS[:6])}
TEXTS = {"artist:a": "Anna {0}", "artist:b": "B{}b"}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_tiny_release(tmp_path / "release", FACTS, PICTURES, TEXTS, prompts={"artist": "A painting by {}."})


def test_each_picture_is_encoded_as_the_encoder_alone_would(release: Path, tmp_path: Path) -> None:
    encode_release(release, ["color-texture"], tmp_path / "features", EncodeOptions(batch_size=4))
    features = load_features(tmp_path / "features")["image"]
    assert features.ids == tuple(WORKS[:6])
    wanted = resolve_encoders("color-texture")[0].encode([decode_picture(PICTURES[work]) for work in WORKS[:6]])
    np.testing.assert_allclose(features.vectors, wanted, atol=1e-6)


def test_vectors_stay_with_their_pictures_whatever_the_order_of_the_release(release: Path, tmp_path: Path) -> None:
    encode_release(release, ["color-texture"], tmp_path / "sorted")
    path = release / schema.shard_path("artworks", "full")
    rows = pq.read_table(path)
    pq.write_table(rows.take([3, 1, 6, 0, 5, 2, 4]), path, write_page_checksum=True)
    manifest = schema.read_manifest(release)
    write_manifest(release, {key: manifest[key] for key in ("name", "version", "recipe")})
    encode_release(release, ["color-texture"], tmp_path / "shuffled")
    first, second = (load_features(tmp_path / name)["image"] for name in ("sorted", "shuffled"))
    assert (first.ids, first.vectors.tobytes()) == (second.ids, second.vectors.tobytes())


def test_each_text_is_read_within_its_type_s_prompt(release: Path, tmp_path: Path) -> None:
    encode_release(release, ["char-ngrams"], tmp_path / "features")
    features = load_features(tmp_path / "features")["text"]
    assert features.ids == ("artist:a", "artist:b")
    wanted = resolve_encoders("char-ngrams")[0].encode(["A painting by Anna {0}.", "A painting by B{}b."])
    np.testing.assert_allclose(features.vectors, wanted, atol=1e-6)


def test_a_type_without_a_prompt_is_read_as_it_is(tmp_path: Path) -> None:
    release = write_tiny_release(tmp_path / "release", FACTS, texts=TEXTS)
    assert text_sentences(load_folder(release)) == TEXTS


def test_a_prompt_without_a_place_for_the_text_is_refused(tmp_path: Path) -> None:
    release = write_tiny_release(tmp_path / "release", FACTS, texts=TEXTS, prompts={"artist": "A painting."})
    with pytest.raises(DatasetError, match=r"'A painting\.', has no \{\}"):
        encode_release(release, ["char-ngrams"], tmp_path / "features")


def test_both_modalities_are_encoded_when_nothing_is_named(release: Path, tmp_path: Path) -> None:
    report = encode_release(release, [], tmp_path / "features")
    features = load_features(tmp_path / "features")
    assert {modality: found.info.spec for modality, found in features.items()} == {
        "image": "color-texture",
        "text": "char-ngrams",
    }
    assert [(one.encoder.modality, one.encoded, one.skipped) for one in report.modalities] == [
        ("image", 6, ()),
        ("text", 2, ()),
    ]


def test_features_belong_to_the_release_they_were_made_from(release: Path, tmp_path: Path) -> None:
    encode_release(release, [], tmp_path / "features")
    for features in load_features(tmp_path / "features").values():
        features.require_match(load_folder(release))


def test_a_truncated_picture_is_skipped_with_its_reason(tmp_path: Path) -> None:
    broken = {**PICTURES, "artwork:b": PICTURES["artwork:b"][:600], "artwork:c": b"<html>gone</html>"}
    release = write_tiny_release(tmp_path / "release", FACTS, broken)
    report = encode_release(release, ["color-texture"], tmp_path / "features")
    features = load_features(tmp_path / "features")["image"]
    assert features.ids == ("artwork:a", "artwork:d", "artwork:e", "artwork:f")
    assert [skipped.id for skipped in features.skipped] == ["artwork:b", "artwork:c"]
    assert "truncated" in features.skipped[0].reason
    assert "not a JPEG" in features.skipped[1].reason
    assert report.modalities[0].skipped == features.skipped


def test_a_release_whose_pictures_are_all_broken_still_gives_features(tmp_path: Path) -> None:
    release = write_tiny_release(tmp_path / "release", FACTS, dict.fromkeys(WORKS, b"broken"))
    encode_release(release, ["color-texture"], tmp_path / "features")
    assert load_features(tmp_path / "features")["image"].vectors.shape == (0, 351)


def test_a_blank_text_is_skipped_and_its_prompt_is_not_taken_for_it(tmp_path: Path) -> None:
    release = write_tiny_release(tmp_path / "release", FACTS, texts={**TEXTS, "artist:c": " "},
                                 prompts={"artist": "A painting by {}."})  # fmt: skip
    encode_release(release, ["char-ngrams"], tmp_path / "features")
    features = load_features(tmp_path / "features")["text"]
    assert (features.ids, features.skipped) == (
        ("artist:a", "artist:b"),
        (Skipped("artist:c", "its text is blank"),),
    )


def test_two_encoders_of_one_modality_are_refused(release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="color-texture and color-texture both encode image"):
        encode_release(release, ["color-texture", "color-texture"], tmp_path / "features")


def test_an_altered_release_is_refused(release: Path, tmp_path: Path) -> None:
    path = next((release / "artworks").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="altered"):
        encode_release(release, [], tmp_path / "features")
    assert not (tmp_path / "features").exists()


def test_a_place_that_is_taken_is_refused_before_any_work(release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no features folder"):
        encode_release(tmp_path / "no release", [], release)


def test_two_do_not_encode_into_one_place(release: Path, tmp_path: Path) -> None:
    (parts := tmp_path / "features.parts").mkdir()
    with locked(parts), pytest.raises(LockedError, match="is in use by process"):
        encode_release(release, [], tmp_path / "features")
    encode_release(release, [], tmp_path / "features")
    assert not parts.exists()


def test_progress_is_told_to_the_end(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "PART_ITEMS", 4)
    told: list[tuple[str, int, int | None]] = []
    encode_release(release, [], tmp_path / "features", progress=lambda *step: told.append(step))
    assert told == [("image", 0, 6), ("image", 4, 6), ("image", 6, 6), ("text", 0, 2), ("text", 2, 2)]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def killed_run(release: Path, out: Path, monkeypatch: pytest.MonkeyPatch, spec: str = "color-texture") -> None:
    """Encode in parts of two pictures, and be killed in the third part."""
    monkeypatch.setattr(encode, "PART_ITEMS", 2)
    calls, whole = iter(range(9)), ColorTexture.encode

    def encode_twice(self: ColorTexture, batch: list) -> np.ndarray:
        if next(calls) == 2:
            raise Killed
        return whole(self, batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ColorTexture, "encode", encode_twice)
        encode_release(release, [spec], out)


def test_after_a_kill_finished_parts_are_not_encoded_again(release: Path, tmp_path: Path, monkeypatch) -> None:
    encode_release(release, ["color-texture"], tmp_path / "straight")
    out = tmp_path / "features"
    killed_run(release, out, monkeypatch)
    assert not out.exists()
    report = encode_release(release, ["color-texture"], out)
    assert (report.modalities[0].resumed, report.modalities[0].encoded) == (4, 6)
    straight, resumed = load_features(tmp_path / "straight")["image"], load_features(out)["image"]
    assert (resumed.ids, resumed.vectors.tobytes()) == (straight.ids, straight.vectors.tobytes())
    assert not (tmp_path / "features.parts").exists()


def test_a_damaged_part_is_encoded_again(release: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "features"
    killed_run(release, out, monkeypatch)
    part = tmp_path / "features.parts" / "image" / "000000.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    assert encode_release(release, ["color-texture"], out).modalities[0].resumed == 2


@pytest.mark.parametrize("change", ["release", "encoder"])
def test_parts_of_another_release_or_encoder_are_not_used(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    out = tmp_path / "features"
    killed_run(release, out, monkeypatch)
    if change == "release":
        release = write_tiny_release(tmp_path / "other", FACTS, {work: picture_bytes(99) for work in WORKS})
    else:
        monkeypatch.setattr(ColorTexture, "revision", "2")
    assert encode_release(release, ["color-texture"], out).modalities[0].resumed == 0


def test_pictures_that_were_left_out_of_the_publication_are_asked_for_where_they_are(
    release: Path, tmp_path: Path
) -> None:
    manifest = schema.read_manifest(release)
    for whole, hint in (("org/images@v1.0.0", "encode org/images@v1.0.0"), (None, "an encoder of text alone")):
        write_manifest(release, {**manifest, "without_pictures": {"whole": whole}})
        with pytest.raises(DatasetError, match=hint):
            encode_release(release, [], tmp_path / "features")
    assert encode_release(release, ["char-ngrams"], tmp_path / "features").modalities[0].encoded > 0
