"""An encoder that reads an entity's label and its text apart, and puts the two vectors side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from typing_extensions import override

from mkg_builder.errors import UsageError
from vlkge.encoders import Encoder, Vectors, encode_texts, resolve_encoders

BETWEEN = "\n"
"""Stands between label and text: the first line is the label."""


class LabelAndText(Encoder):
    """Twice a text encoder: a definition tells the genus, and the genus is another entity's label.

    Of one text alone, as of something outside the graph, both halves are made of it.
    """

    name = "label-and-text"
    reads_labels, joins = True, True

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner
        self.revision, self.modality, self.weights_sha256 = inner.revision, inner.modality, inner.weights_sha256
        self.name, self.dimension = f"{self.name}:{inner.name}", 2 * inner.dimension
        self.preprocessing = f"label and text apart, side by side; each: {inner.preprocessing}"

    @classmethod
    @override
    def create(cls, argument: str, device: str) -> Sequence[Encoder]:
        """The joined encoder of `label-and-text:ENCODER`.

        Raises:
            UsageError: no text encoder is named.
        """
        inner = [encoder for encoder in resolve_encoders(argument, device) if encoder.modality == "text"]
        if not inner:
            raise UsageError(f"{argument!r} encodes no text; write {cls.name}:ENCODER, the encoder of both")
        return [cls(inner[0])]

    @override
    def encode(self, batch: Sequence[Any]) -> Vectors:
        """Vectors [n, 2 d]: the label's, then the text's."""
        if not batch:
            return np.empty((0, self.dimension), np.float32)
        halves = [half for line in batch for half in (line.split(BETWEEN, 1) if BETWEEN in line else [line, line])]
        return encode_texts(self._inner.encode, halves, len(batch)).reshape(len(batch), self.dimension)
