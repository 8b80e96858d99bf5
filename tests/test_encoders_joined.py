"""Label and text apart: two vectors side by side, and in the features of a release."""

from pathlib import Path

import numpy as np
import pytest

from mkg_builder.errors import UsageError
from tests.encoder_contract import EncoderContract
from tests.tiny_release import write_tiny_release
from vlkge.encode import encode_release
from vlkge.encoders import Encoder, resolve_encoders
from vlkge.encoders_plain import CharNgrams
from vlkge.features import load_features


class TestLabelAndText(EncoderContract):
    def encoder(self) -> Encoder:
        return resolve_encoders("label-and-text:char-ngrams")[0]


def test_the_halves_are_the_label_s_and_the_text_s() -> None:
    joined, alone = (resolve_encoders(spec)[0] for spec in ("label-and-text:char-ngrams", "char-ngrams"))
    label, text = alone.encode(["unit", "a single thing"])
    np.testing.assert_array_equal(joined.encode(["unit\na single thing"])[0], np.concatenate([label, text]))
    np.testing.assert_array_equal(joined.encode(["unit"])[0], np.concatenate([label, label]))


def test_a_text_alone_is_read_once_for_both_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    joined, read, whole = resolve_encoders("label-and-text:char-ngrams")[0], list[str](), CharNgrams.encode
    monkeypatch.setattr(CharNgrams, "encode", lambda self, batch: (read.extend(batch), whole(self, batch))[1])
    joined.encode(["unit", "set", "unit\na single thing"])
    assert sorted(read) == ["a single thing", "set", "unit"]


def test_an_encoder_of_pictures_is_none_of_texts() -> None:
    with pytest.raises(UsageError, match="'color-texture' encodes no text"):
        resolve_encoders("label-and-text:color-texture")


def test_a_release_s_labels_stand_before_its_texts(tmp_path: Path) -> None:
    facts = {"train": [("artwork:a", "madeBy", "artist:z"), ("artwork:b", "madeBy", "artist:z")]}
    release = write_tiny_release(tmp_path / "release", facts, {}, {"artist:z": "Painted in Zürich"})
    encode_release(release, ["label-and-text:char-ngrams"], tmp_path / "features")
    (text,) = load_features(tmp_path / "features").values()
    joined = resolve_encoders("label-and-text:char-ngrams")[0]
    assert text.ids == ("artist:z",)
    np.testing.assert_array_equal(text.vectors, joined.encode(["Z\nPainted in Zürich"]))
