"""Encoder: pictures or texts to vectors. The seam, its names, and the encoders that need no weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mkg_builder.errors import UsageError
from mkg_builder.registry import Registry
from vlkge.errors import FeaturesError

Modality = Literal["image", "text"]
Vectors = npt.NDArray[np.float32]
Input = Image.Image | str
"""What is encoded: an RGB picture or a text."""


@dataclass(frozen=True)
class EncoderInfo:
    """All that decides an encoder's vectors.

    Attributes:
        spec: what to type to have it again.
        name: the model's name.
        revision: which version of the model: a tag, a commit, a sha256, or the version of the code.
        modality: image or text.
        dimension: the length of a vector.
        preprocessing: what is done to an input before the model, in words or as canonical JSON.
        weights_sha256: of the weights; None for an encoder without any.
    """

    spec: str
    name: str
    revision: str
    modality: Modality
    dimension: int
    preprocessing: str
    weights_sha256: str | None = None


class Encoder(ABC):
    """One model that turns pictures, or texts, into vectors; attributes as in `EncoderInfo`."""

    spec: str = ""
    name: str
    revision: str
    modality: Modality
    dimension: int
    preprocessing: str
    weights_sha256: str | None = None
    reads_labels: bool = False
    """Whether a text comes with the entity's label before it, on a line of its own."""
    joins: ClassVar[bool] = False
    """Whether its argument is another encoder's spec."""

    @classmethod
    def create(cls, argument: str, device: str) -> Sequence["Encoder"]:  # noqa: ARG003 - for those on a device
        """The encoders that `NAME:argument` stands for; one without an argument, unless overridden.

        Args:
            argument: what follows the name's colon, or nothing.
            device: "cpu", "cuda" or "auto"; an encoder may have no use for it.

        Raises:
            UsageError: the argument is not understood.
        """
        if argument:
            raise UsageError(f"encoder {cls.name!r} takes no argument, got {argument!r}; write {cls.name}")
        return [cls()]

    @abstractmethod
    def encode(self, batch: Sequence[Any]) -> Vectors:
        """The vectors of a batch, in its order.

        Args:
            batch: RGB pictures of any size where `modality` is image, else texts.

        Returns:
            float32 [n, dimension], finite; the same whatever else is in the batch.
        """

    def info(self) -> EncoderInfo:
        """What decides these vectors, to be kept with them."""
        return EncoderInfo(**{field: getattr(self, field) for field in EncoderInfo.__dataclass_fields__})


def encode_texts(encode: Callable[[Sequence[str]], Vectors], texts: Sequence[str], batch_size: int) -> Vectors:
    """The vectors of texts, in their order; each distinct one is read once, beside others of about its length.

    A batch is padded to its longest text, and what is padded costs as much as what is read.

    Args:
        encode: as `Encoder.encode`.
        texts: at least one.
        batch_size: how many are read at once.
    """
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    parts = [encode(distinct[start : start + batch_size]) for start in range(0, len(distinct), batch_size)]
    rows = {text: row for row, text in enumerate(distinct)}
    return np.concatenate(parts)[[rows[text] for text in texts]]


ENCODERS = Registry(
    "encoder",
    "vlkge.encoders",
    {
        "color-texture": "vlkge.encoders_plain:ColorTexture",
        "char-ngrams": "vlkge.encoders_plain:CharNgrams",
        "open_clip": "vlkge.encoders_open_clip:OpenClip",
        "label-and-text": "vlkge.encoders_joined:LabelAndText",
        "published": "vlkge.published:Published",
        "transformers": "vlkge.encoders_transformers:Transformers",
    },
)


def resolve_encoders(spec: str, device: str = "cpu", beside: Path | None = None) -> list[Encoder]:
    """The encoders that a spec stands for: one, or an image and a text encoder that share a model.

    Args:
        spec: `NAME`, `NAME:ARGUMENT` (`open_clip:ViT-L-14-quickgelu/openai`, `open_clip:local-dir:PATH`,
            `open_clip:hf-hub:ORG/NAME`), or `module:Class` or `file.py:Class` for an encoder of one's own.
        device: "cpu", "cuda" or "auto" (cuda where there is one).
        beside: the folder that a relative `file.py` is looked up in (default: the working folder).

    Raises:
        UnknownNameError: nothing has this name; lists what exists.
        UsageError: the name is no encoder, its argument is not understood, or its package is missing.
        UpstreamError: its weights are not here and cannot be downloaded.
    """
    name, _, argument = spec.partition(":")
    if name in ENCODERS.names():
        found = ENCODERS.resolve(name)
    else:
        found, argument = ENCODERS.resolve(spec, beside), ""
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise UsageError(f"{spec!r} is no encoder; it should name a subclass of vlkge.encoders.Encoder")
    encoders = list(found.create(argument, device))
    for encoder in encoders:
        encoder.spec = spec
    return encoders


def foreign_code(spec: str) -> str | None:
    """What a spec names besides built-in and installed encoders: a module or a file; None where there is no such."""
    name, _, argument = spec.partition(":")
    if name not in ENCODERS.names():
        return spec
    return foreign_code(argument) if getattr(ENCODERS.resolve(name), "joins", False) else None


def restore_encoder(info: EncoderInfo, device: str = "auto") -> Encoder:
    """The encoder that made some vectors, to encode new pictures or texts like them; on a GPU where there is one.

    Raises:
        FeaturesError: what the spec stands for is no longer the same model.
    """
    for encoder in resolve_encoders(info.spec, device):
        if encoder.modality == info.modality:
            if encoder.info() == info:
                return encoder
            differing = [
                field for field in info.__dataclass_fields__ if getattr(encoder, field) != getattr(info, field)
            ]
            raise FeaturesError(f"{info.spec} has changed ({', '.join(differing)}) since the vectors; encode again")
    raise FeaturesError(f"{info.spec} encodes no {info.modality} any more; encode again")
