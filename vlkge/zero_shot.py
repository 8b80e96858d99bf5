"""Zero-shot link prediction on a release: features for the heads, their text encoder for the sentences."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mkg_builder.errors import UsageError
from vlkge.dataset import Dataset
from vlkge.encoders import Encoder, EncoderInfo, Vectors, resolve_encoders, restore_encoder
from vlkge.entity_vectors import EntityVectors, encoded_vectors
from vlkge.errors import FeaturesError
from vlkge.evaluate import EvaluationResult, Evaluator, evaluate_scores
from vlkge.model import Features
from vlkge.pretrained import find_device
from vlkge.tasks.zero_shot import ZeroShotScores

_ONE_MODEL = "encode with one model for both: vlkge encode RELEASE --encoder open_clip:ViT-L-14-quickgelu/openai"

Progress = Callable[[str, int, int | None], None]


def zero_shot(
    evaluator: Evaluator,
    features: Features,
    text_encoder: str | None = None,
    device: str = "cpu",
    progress: Progress = lambda _stage, _done, _total: None,
) -> EvaluationResult:
    """Rank a split's answers by the cosine of the head's vector and of the sentence that states the answer.

    A head's vector is its picture's where pictures and sentences share a space, which is where one model made both
    or `text_encoder` is given; else, and for a head without a picture, its text's.

    Args:
        evaluator: the queries and the protocol.
        features: the encoders' vectors by modality.
        text_encoder: what reads the sentences; default: what made the text vectors.
        device: where it reads them: cpu, cuda, auto.
        progress: told of the sentences read.

    Returns:
        The result; `about["zero_shot"]` says which encoder read, whether pictures were compared and of how many of the
        heads asked about.

    Raises:
        UsageError: no text encoder is named, its vectors are of another size than the pictures', or there is no such
            device.
        FeaturesError: no head that is asked about has a vector in the sentences' space.
    """
    find_device(device)
    reader = _reader(features, text_encoder, device)
    heads, about = _heads(evaluator.dataset, features, reader, text_encoder is not None)
    asked = _asked_heads(evaluator)
    if not bool(heads.present[asked].any()):
        raise FeaturesError(f"{about['pictures']}, and no head of the {evaluator.split} split has a text; {_ONE_MODEL}")
    counts = {name: int(has[asked].sum()) for name, has in about.pop("has").items()}
    done = 0

    def encode(sentences: Sequence[str]) -> Vectors:
        nonlocal done
        done += len(sentences)
        progress("sentences", done, None)
        return reader.encode(sentences)

    scores = ZeroShotScores(evaluator.dataset, heads.vectors, heads.present, encode)
    found = evaluate_scores(evaluator, scores)
    return replace(found, about={**found.about, "zero_shot": {**about, "heads": {"asked": len(asked), **counts}}})


def _reader(features: Features, text_encoder: str | None, device: str) -> Encoder:
    if text_encoder is None:
        if "text" not in features:
            raise UsageError(f"these features hold no text vectors, so nothing says how to read; {_ONE_MODEL}")
        return restore_encoder(features["text"].info, device)
    for encoder in resolve_encoders(text_encoder, device):
        if encoder.modality == "text":
            return encoder
    raise UsageError(f"--text-encoder {text_encoder} encodes no text")


def _heads(
    dataset: Dataset, features: Features, reader: Encoder, vouched: bool
) -> tuple[EntityVectors, dict[str, Any]]:
    """The vectors that heads are compared by, and what to say of them."""
    image = features["image"].info if "image" in features else None
    compared, said = _compare_pictures(image, reader, vouched)
    absent = EntityVectors(
        "", torch.zeros(len(dataset.entities), reader.dimension), torch.zeros(len(dataset.entities), dtype=torch.bool)
    )
    pictures = encoded_vectors(dataset, features, "image") if compared else absent
    # two encoders may agree in size and in nothing else
    same_reader = "text" in features and features["text"].info.spec == reader.spec
    texts = encoded_vectors(dataset, features, "text") if same_reader else absent
    vectors = torch.where(pictures.present[:, None], pictures.vectors, texts.vectors)
    present = pictures.present | texts.present
    has = {"by_picture": pictures.present, "by_text": texts.present & ~pictures.present, "without": ~present}
    return EntityVectors(said, vectors, present), {"reader": reader.spec, "pictures": said, "has": has}


def _compare_pictures(image: EncoderInfo | None, reader: Encoder, vouched: bool) -> tuple[bool, str]:
    if image is None:
        return False, "there are no picture vectors"
    if image.dimension == reader.dimension and (vouched or image.spec == reader.spec):
        return True, f"pictures are compared: {image.spec} and {reader.spec} share a space"
    if vouched:
        raise UsageError(
            f"{image.spec} has {image.dimension} components, {reader.spec} {reader.dimension}: "
            "pictures and sentences do not share a space; name the text side of the pictures' model"
        )
    return False, f"pictures are left out: {image.spec} and {reader.spec} do not share a space"


def _asked_heads(evaluator: Evaluator) -> Tensor:
    heads = [group.anchors for group in evaluator.groups if group.direction == "tail"]
    return torch.unique(torch.cat(heads))  # type: ignore[no-any-return]
