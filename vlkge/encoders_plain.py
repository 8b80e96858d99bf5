"""The encoders that need no weights and no download: colour and texture of a picture, letters of a text."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mkg_builder.errors import UsageError
from vlkge.encoders import Encoder, Vectors
from vlkge.errors import FeaturesError

SIDE = 128
"""A picture is first resized to this many pixels each way."""

_GRID = 4
_LIGHTNESS = np.array([25.0, 50.0, 75.0])
_OPPONENT = np.array([-18.0, -5.0, 5.0, 18.0, 36.0])
_ORIENTATIONS = 9


class ColorTexture(Encoder):
    """Palette, composition, brush texture and contours of a picture, as 351 numbers of comparable scale.

    Histograms enter as square roots, so that Euclidean distance compares them as Hellinger's does.
    """

    name = "color-texture"
    revision = "1"
    modality = "image"
    dimension = 351
    preprocessing = f"RGB, resized to {SIDE} x {SIDE} (bilinear with antialiasing, proportions kept as a number)"

    def encode(self, batch: Sequence[Image.Image]) -> Vectors:
        """One row per picture: palette, hues, grid, moments, local patterns, gradients, brightness, proportions."""
        rows = [self._row(picture) for picture in batch]
        return np.stack(rows) if rows else np.empty((0, self.dimension), np.float32)

    def _row(self, picture: Image.Image) -> Vectors:
        from skimage.color import rgb2lab  # noqa: PLC0415 - slow, only needed here

        small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        # channels first: every statistic below then runs along contiguous memory
        colours = np.asarray(small), np.asarray(small.convert("HSV")), rgb2lab(np.asarray(small))
        rgb, hsv, lab = (np.ascontiguousarray(np.moveaxis(one, -1, 0)) for one in colours)
        grey = np.einsum("c,chw->hw", np.array([0.2126, 0.7152, 0.0722], np.float32), rgb.astype(np.float32) / 255)
        levels = grey, grey.reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
        blocks: tuple[npt.ArrayLike, ...] = (
            _palette(lab),
            _hues(hsv),
            _grid(lab),
            _moments(lab),
            *(_local_patterns(level) for level in levels),
            *(_gradients(level) for level in levels),
            np.percentile(grey, (2, 10, 25, 50, 75, 90, 98)),
            [np.clip(np.log2(picture.width / picture.height), -2, 2) / 2],
        )
        return np.concatenate([np.asarray(block) for block in blocks]).astype(np.float32)


def _hellinger(histogram: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The square roots of the shares; all zero where nothing was counted."""
    return np.sqrt(histogram / max(float(histogram.sum()), 1e-12))


def _palette(lab: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Which colours, jointly: lightness in 4 steps by 6 green-red by 6 blue-yellow."""
    light, red, yellow = (np.searchsorted(edges, lab[i]) for i, edges in enumerate((_LIGHTNESS, _OPPONENT, _OPPONENT)))
    return _hellinger(np.bincount(((light * 6 + red) * 6 + yellow).ravel(), minlength=144))


def _hues(hsv: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Which hues, counted by how vivid they are, and how saturated the picture is."""
    hue, saturation, value = hsv.reshape(3, -1).astype(np.int64)
    hues = np.bincount(hue * 18 // 256, weights=saturation * value, minlength=18)
    return np.concatenate([_hellinger(hues), _hellinger(np.bincount(saturation // 32, minlength=8))])


def _grid(lab: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mean colour and contrast of each of 4 x 4 fields: the composition."""
    side = SIDE // _GRID
    fields = lab.reshape(3, _GRID, side, _GRID, side).swapaxes(2, 3).reshape(3, _GRID * _GRID, side * side)
    return np.concatenate([fields.mean(-1).ravel() / 100, fields[0].std(-1) / 50])


def _moments(lab: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mean, deviation and skewness of lightness, green-red and blue-yellow."""
    values = lab.reshape(3, -1)
    mean, deviation = values.mean(1), values.std(1)
    centred = (values - mean[:, None]) / np.maximum(deviation, 1)[:, None]
    skewness = (centred * centred * centred).mean(1)
    return np.concatenate([mean / 100, deviation / 50, np.cbrt(skewness) / 2])


def _local_patterns(grey: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Uniform local binary patterns (Ojala 2002): what the surface looks like, whatever its colour."""
    from skimage.feature import local_binary_pattern  # noqa: PLC0415 - slow, only needed here

    codes = local_binary_pattern((grey * 255).round().astype(np.uint8), P=8, R=1, method="uniform")  # type: ignore[no-untyped-call]
    return _hellinger(np.bincount(codes.astype(np.int64).ravel(), minlength=10))


def _gradients(grey: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Which way contours run in each quarter of the picture, and how strong they are."""
    down, across = np.gradient(grey)
    strength = np.hypot(down, across)
    direction = (np.arctan2(down, across) % np.pi * (_ORIENTATIONS / np.pi)).astype(int) % _ORIENTATIONS
    half = len(grey) // 2
    quarter = (np.arange(len(grey)) >= half).astype(int)
    place = (quarter[:, None] * 2 + quarter[None, :]) * _ORIENTATIONS + direction
    counts = np.bincount(place.ravel(), weights=strength.ravel(), minlength=4 * _ORIENTATIONS)
    return np.concatenate([_hellinger(counts), np.sqrt(np.percentile(strength, (50, 75, 90, 98)))])


class CharNgrams(Encoder):
    """Two to four neighbouring letters of a text's words, hashed to 512 numbers of unit length.

    Spellings that share pieces are near each other; what words mean is not known to it.
    """

    name = "char-ngrams"
    revision = "1"
    modality = "text"
    dimension = 512
    preprocessing = "NFKC, casefold; 2 to 4 letters within word bounds; signed hashing; L2 norm"

    def __init__(self) -> None:
        try:
            from sklearn.feature_extraction.text import HashingVectorizer  # noqa: PLC0415 - slow, only needed here
        except ImportError:
            raise UsageError("encoder 'char-ngrams' needs scikit-learn; type: pip install scikit-learn") from None
        self._vectorizer = HashingVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), n_features=self.dimension, alternate_sign=True,
            norm="l2", lowercase=False, dtype=np.float32,
        )  # fmt: skip

    def encode(self, batch: Sequence[str]) -> Vectors:
        """One row per text.

        Raises:
            FeaturesError: a text has no letter to encode; leave it out rather than encode nothing.
        """
        if not batch:
            return np.empty((0, self.dimension), np.float32)
        texts = [unicodedata.normalize("NFKC", text).casefold() for text in batch]
        rows = self._vectorizer.transform(texts).toarray().astype(np.float32)
        empty = np.flatnonzero(~rows.any(axis=1))
        if len(empty):
            raise FeaturesError(f"text {batch[empty[0]]!r} has nothing to encode; leave it out")
        return np.asarray(rows)
