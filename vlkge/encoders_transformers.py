"""The encoders of the transformers library: texts, pictures, or both by BLIP; the one module that imports it."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from typing_extensions import override

from mkg_builder.errors import MkgError, UsageError
from vlkge.encoders import Encoder, Vectors
from vlkge.errors import FeaturesError
from vlkge.files import canonical_json
from vlkge.model_folder import ModelFolder, Reading, find_model, read_config, read_sentence_files
from vlkge.pretrained import find_device, prepare_torchvision, weights_sha256

TEXT_MODELS = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta")
IMAGE_MODELS = ("dinov2", "vit")
BLIP = "blip"
OPEN_CLIP_MODELS = ("chinese_clip", "clip", "siglip", "siglip2")
_OWN_POSITIONS = {"mpnet", "roberta", "xlm-roberta"}
"""Their positions begin after the one of padding, so that they read fewer tokens than they have positions."""


@dataclass(frozen=True)
class _Tower:
    """One side of a loaded model: its network, and how the last layer's states become a vector."""

    source: ModelFolder
    weights_sha256: str
    network: torch.nn.Module
    projection: torch.nn.Module
    reading: Reading

    def vectors(self, inputs: Mapping[str, torch.Tensor]) -> Vectors:
        """One vector per row of the inputs."""
        device = next(self.network.parameters()).device
        placed = {name: tensor.to(device) for name, tensor in inputs.items()}
        with torch.inference_mode():
            states = self.network(**placed).last_hidden_state
            if self.reading.pooling == "mean":
                read = placed["attention_mask"].unsqueeze(-1).to(states.dtype)
                pooled = (states * read).sum(1) / read.sum(1)
            else:
                pooled = states[:, 0]
            found = self.projection(pooled)
            if self.reading.normalise:
                found = torch.nn.functional.normalize(found, dim=-1)
        return np.asarray(found.float().cpu().numpy(), np.float32)


class Transformers(Encoder):
    """One side of a pretrained model of the transformers library."""

    def __init__(self, tower: _Tower) -> None:
        self._tower = tower
        self.name, self.revision = tower.source.name, tower.source.revision
        self.weights_sha256 = tower.weights_sha256

    @classmethod
    @override
    def create(cls, argument: str, device: str) -> Sequence[Encoder]:
        """The encoders of one model: of texts, of pictures, or, for BLIP, one of each.

        Raises:
            UsageError: the argument has another form, the model is of a kind that is not served, the device is
                not there, or a package is missing.
            UpstreamError: the model cannot be downloaded.
            FeaturesError: the model is not whole, is pickled, or brings code of its own.
        """
        place = find_device(device)
        library = import_transformers()
        source = find_model(argument)
        config = read_config(source)
        with _quiet(library, source):
            return _load(library, source, config["model_type"], place)


class TransformersText(Transformers):
    """The side that reads."""

    modality = "text"

    def __init__(self, tower: _Tower, tokenizer: Any, max_length: int) -> None:
        super().__init__(tower)
        self._tokenizer, self._max_length = tokenizer, max_length
        reading = tower.reading
        self.preprocessing = canonical_json({
            "tokenizer": type(tokenizer).__name__, "max_length": max_length, "lowercase": reading.lowercase,
            "prompt": reading.prompt, "pooling": reading.pooling, "normalise": reading.normalise,
        })  # fmt: skip
        self.dimension = self.encode(["a"]).shape[1]

    @override
    def encode(self, batch: Sequence[str]) -> Vectors:
        """One vector per text; a text longer than the model reads is cut there."""
        if not batch:
            return np.empty((0, self.dimension), np.float32)
        reading = self._tower.reading
        texts = [reading.prompt + (text.lower() if reading.lowercase else text) for text in batch]
        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_length, return_tensors="pt",
            return_attention_mask=True, return_token_type_ids=False,
        )  # fmt: skip
        return self._tower.vectors(tokens)


class TransformersImage(Transformers):
    """The side that looks."""

    modality = "image"

    def __init__(self, tower: _Tower, processor: Any) -> None:
        super().__init__(tower)
        self._processor = processor
        described = {"processor": type(processor).__name__, "normalise": tower.reading.normalise, "pooling": "cls"}
        self.preprocessing = canonical_json({**json.loads(processor.to_json_string()), **described})
        self.dimension = self.encode([Image.new("RGB", (8, 8))]).shape[1]

    @override
    def encode(self, batch: Sequence[Image.Image]) -> Vectors:
        """One vector per picture."""
        if not batch:
            return np.empty((0, self.dimension), np.float32)
        pixels = self._processor(images=[picture.convert("RGB") for picture in batch], return_tensors="pt")
        return self._tower.vectors({"pixel_values": pixels["pixel_values"]})


def import_transformers() -> Any:
    """The transformers library, also beside a torchvision whose compiled operators fit another torch.

    Raises:
        UsageError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what its dependencies deprecate is not for our users to mend
            prepare_torchvision()
            import transformers  # noqa: PLC0415 - takes seconds, and is optional
    except ImportError as error:
        raise UsageError(
            f"encoder 'transformers' needs it ({error}); type: pip install 'vlkge[transformers]'"
        ) from None
    return transformers


@contextmanager
def _quiet(library: Any, source: ModelFolder) -> Iterator[None]:
    """Without the library's bars, log lines and warnings, and whatever it raises as one line."""
    bars = library.utils.logging.is_progress_bar_enabled()
    library.utils.logging.disable_progress_bar()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MkgError:
        raise
    except Exception as error:  # it raises nearly anything, and says what went wrong only in words
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FeaturesError(f"{source.folder} does not load as a model of transformers ({reason})") from None
    finally:
        logging.disable(logging.NOTSET)
        if bars:
            library.utils.logging.enable_progress_bar()


def _load(library: Any, source: ModelFolder, kind: str, device: torch.device) -> list[Encoder]:
    if kind in OPEN_CLIP_MODELS:
        raise UsageError(f"{source.name} is a {kind} model, which open_clip serves; write open_clip:hf-hub:ORG/NAME")
    if kind == BLIP:
        model = _load_weights(library.BlipForImageTextRetrieval, source, device)
        digest, reading = weights_sha256(model.state_dict()), Reading(normalise=True)
        image = _Tower(source, digest, model.vision_model, model.vision_proj, reading)
        text = _Tower(source, digest, model.text_encoder, model.text_proj, reading)
        return [_image_encoder(library, image), _text_encoder(library, text, kind, model.config.text_config)]
    if kind not in (*TEXT_MODELS, *IMAGE_MODELS):
        served = ", ".join(sorted([BLIP, *TEXT_MODELS, *IMAGE_MODELS]))
        raise UsageError(f"{source.name} is a {kind} model; what is served: {served}")
    reading = Reading() if kind in IMAGE_MODELS else read_sentence_files(source)
    model = _load_weights(library.AutoModel, source, device)
    tower = _Tower(source, weights_sha256(model.state_dict()), model, torch.nn.Identity(), reading)
    if kind in IMAGE_MODELS:
        return [_image_encoder(library, tower)]
    return [_text_encoder(library, tower, kind, model.config)]


def _load_weights(model_class: Any, source: ModelFolder, device: torch.device) -> Any:
    model, told = model_class.from_pretrained(
        source.folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32,
        attn_implementation="eager", output_loading_info=True,
    )  # fmt: skip
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # not used, and random where a checkpoint has none
    missing = sorted(name for name in told["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise FeaturesError(f"{source.folder} lacks weights of the model, {missing[0]} among {len(missing)}")
    return model.to(device).eval()


def _image_encoder(library: Any, tower: _Tower) -> Encoder:
    # of the two forms of a processor, the one on PIL gives the same pixels with and without torchvision
    processor = library.AutoImageProcessor.from_pretrained(
        tower.source.folder, backend="pil", local_files_only=True, trust_remote_code=False
    )
    return TransformersImage(tower, processor)


def _text_encoder(library: Any, tower: _Tower, kind: str, config: Any) -> Encoder:
    tokenizer = library.AutoTokenizer.from_pretrained(
        tower.source.folder, local_files_only=True, trust_remote_code=False, padding_side="right"
    )
    positions = int(config.max_position_embeddings) - (config.pad_token_id + 1 if kind in _OWN_POSITIONS else 0)
    limits = [positions, tokenizer.model_max_length, tower.reading.max_length or positions]
    return TransformersText(tower, tokenizer, int(min(limits)))
