"""The contract of an encoder: inherit the class, say which encoder and what it reads."""

import sys
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from mkg_builder.errors import UsageError
from vlkge.encoders import Encoder, EncoderInfo, resolve_encoders, restore_encoder


def picture(seed: int, size: tuple[int, int] = (50, 40)) -> Image.Image:
    """A seeded picture of coloured fields, so that it has a palette and contours."""
    fields = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(fields).resize(size, Image.Resampling.NEAREST)


PICTURES = [picture(seed, size) for seed, size in enumerate([(50, 40), (40, 50), (128, 96), (7, 9), (1, 1)])]
TEXTS = ["Claude Monet", "claude monet", "Éclat: a painting {} by 葛飾北斎", "x", "impressionism " * 60]


class EncoderContract:
    """What every encoder promises. A subclass gives `encoder()`."""

    def encoder(self) -> Encoder:
        raise NotImplementedError

    @pytest.fixture
    def inputs(self) -> list[Any]:
        return list(PICTURES if self.encoder().modality == "image" else TEXTS)

    def test_gives_finite_float32_of_its_dimension(self, inputs: list[Any]) -> None:
        encoder = self.encoder()
        vectors = encoder.encode(inputs)
        assert (vectors.dtype, vectors.shape) == (np.float32, (len(inputs), encoder.dimension))
        assert np.isfinite(vectors).all()

    def test_tells_inputs_apart(self, inputs: list[Any]) -> None:
        first, _, third, *_ = self.encoder().encode(inputs)
        assert not np.allclose(first, third)

    def test_one_by_one_equals_batched(self, inputs: list[Any]) -> None:
        encoder = self.encoder()
        single = np.concatenate([encoder.encode([one]) for one in inputs])
        np.testing.assert_allclose(encoder.encode(inputs), single, atol=1e-5)

    def test_keeps_the_order(self, inputs: list[Any]) -> None:
        encoder = self.encoder()
        np.testing.assert_allclose(encoder.encode(inputs[::-1]), encoder.encode(inputs)[::-1], atol=1e-5)

    def test_a_fresh_one_gives_the_same_bytes(self, inputs: list[Any]) -> None:
        assert self.encoder().encode(inputs).tobytes() == self.encoder().encode(inputs).tobytes()

    def test_an_empty_batch_gives_no_rows(self) -> None:
        encoder = self.encoder()
        assert encoder.encode([]).shape == (0, encoder.dimension)

    def test_says_all_that_decides_its_vectors(self) -> None:
        info = self.encoder().info()
        assert all([info.spec, info.name, info.revision, info.preprocessing, info.dimension])

    def test_is_restored_from_what_it_says(self) -> None:
        info: EncoderInfo = self.encoder().info()
        assert restore_encoder(info).info() == info


class NeedsAPackage(EncoderContract):
    """What an encoder promises that stands on a package of others: `install` brings what `package` imports."""

    package: ClassVar[str]
    install: ClassVar[str]

    def test_a_missing_package_names_its_install_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spec = self.encoder().spec
        monkeypatch.setitem(sys.modules, self.package, None)
        with pytest.raises(UsageError, match=f"pip install {self.install}"):
            resolve_encoders(spec)
