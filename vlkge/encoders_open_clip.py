"""The encoders of open_clip; the one module that imports it, and only when one is asked for."""

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mkg_builder.durable import file_sha256, write_durably
from mkg_builder.errors import UnknownNameError, UpstreamError, UsageError
from vlkge.encoders import Encoder, Vectors
from vlkge.errors import FeaturesError
from vlkge.files import canonical_json, write_tensors
from vlkge.pretrained import download_model, find_device, prepare_torchvision, weights_sha256

LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
_FORMS = "open_clip:MODEL/PRETRAINED, open_clip:local-dir:PATH or open_clip:hf-hub:ORG/NAME"
_FROM_HUB = [CONFIG, "*.safetensors", "*.json", "*.txt", "*.model"]


@dataclass(frozen=True)
class _Source:
    """Where a model comes from, as open_clip wants it said, and which version that is."""

    model: str
    pretrained: str | None
    tokenizer: str
    revision: str


class OpenClip(Encoder):
    """One side of a vision-language model: pictures and texts in one space, vectors of unit length."""

    def __init__(self, parts: "Parts", device: torch.device) -> None:
        self._parts, self._device = parts, device
        self.name, self.revision = parts.name, parts.source.revision
        self.weights_sha256 = parts.weights_sha256

    @classmethod
    def create(cls, argument: str, device: str) -> Sequence[Encoder]:
        """The image encoder and the text encoder of one model.

        Raises:
            UnknownNameError: open_clip has no such model, or no such weights for it.
            UsageError: the argument has another form, the model and its weights do not go together,
                the device is not there, or a package is missing.
            UpstreamError: the weights cannot be downloaded.
            FeaturesError: a folder does not hold a whole model.
        """
        place = find_device(device)
        parts = load_parts(argument, place)
        return [OpenClipImage(parts, place), OpenClipText(parts, place)]

    def _finish(self, vectors: torch.Tensor) -> Vectors:
        unit = torch.nn.functional.normalize(vectors.float(), dim=-1)
        return np.asarray(unit.cpu().numpy(), np.float32)


class OpenClipImage(OpenClip):
    """The side that looks."""

    modality = "image"

    def __init__(self, parts: "Parts", device: torch.device) -> None:
        super().__init__(parts, device)
        self.preprocessing = canonical_json(parts.model.visual.preprocess_cfg)
        self.dimension = self.encode([Image.new("RGB", (8, 8))]).shape[1]

    def encode(self, batch: Sequence[Image.Image]) -> Vectors:
        """One unit vector per picture."""
        if not batch:
            return np.empty((0, self.dimension), np.float32)
        with torch.inference_mode():
            pixels = torch.stack([self._parts.preprocess(picture.convert("RGB")) for picture in batch])
            return self._finish(self._parts.model.encode_image(pixels.to(self._device)))


class OpenClipText(OpenClip):
    """The side that reads."""

    modality = "text"

    def __init__(self, parts: "Parts", device: torch.device) -> None:
        super().__init__(parts, device)
        length = getattr(parts.tokenizer, "context_length", None)
        self.preprocessing = canonical_json({"tokenizer": type(parts.tokenizer).__name__, "context_length": length})
        self.dimension = self.encode(["a"]).shape[1]

    def encode(self, batch: Sequence[str]) -> Vectors:
        """One unit vector per text; a text longer than the model's context is cut there."""
        if not batch:
            return np.empty((0, self.dimension), np.float32)
        with torch.inference_mode():
            return self._finish(self._parts.model.encode_text(self._parts.tokenizer(list(batch)).to(self._device)))


@dataclass(frozen=True)
class Parts:
    """A loaded model with what it needs to read pictures and texts; shared by its two encoders."""

    name: str
    source: _Source
    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor]
    weights_sha256: str


def import_open_clip() -> Any:
    """The open_clip module, also beside a torchvision whose compiled operators fit another torch.

    Raises:
        UsageError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what its dependencies deprecate is not for our users to mend
            prepare_torchvision()
            import open_clip  # noqa: PLC0415 - takes seconds
    except ImportError as error:
        raise UsageError(f"encoder 'open_clip' needs it ({error}); type: pip install open_clip_torch") from None
    return open_clip


def load_parts(argument: str, device: torch.device) -> Parts:
    """The model that an encoder's argument stands for, with what it needs to read pictures and texts.

    Raises:
        MkgError: as `OpenClip.create`.
    """
    open_clip = import_open_clip()
    return _load(open_clip, _find_source(open_clip, argument), device)


def write_model(folder: Path, parts: Parts) -> None:
    """Write a model into a folder that `open_clip:local-dir:FOLDER` reads."""
    if parts.source.pretrained is None:
        origin = Path(parts.source.model.removeprefix(LOCAL))
        for path in sorted(origin.glob("*.json")) + sorted(origin.glob("*.txt")) + sorted(origin.glob("*.model")):
            shutil.copy2(path, folder / path.name)
        config = json.loads((origin / CONFIG).read_text(encoding="utf-8"))["model_cfg"]
    else:
        config = import_open_clip().get_model_config(parts.source.model)
    said = {"model_cfg": config, "preprocess_cfg": parts.model.visual.preprocess_cfg}
    write_durably(folder / CONFIG, (json.dumps(said, indent=2) + "\n").encode())
    weights = {name: tensor.detach().cpu().clone() for name, tensor in parts.model.state_dict().items()}
    write_tensors(folder / WEIGHTS, weights)


def _find_source(open_clip: Any, argument: str) -> _Source:
    for scheme, find in ((LOCAL, _local_source), (HUB, _hub_source)):
        before, found, place = argument.partition(scheme)
        if found:
            source = find(place)
            if before:
                _require_architecture(open_clip, before.rstrip("/"), source)
            return source
    model, _, pretrained = argument.partition("/")
    if not model or not pretrained:
        raise UsageError(f"encoder 'open_clip' got {argument!r}; write {_FORMS}")
    return _tagged_source(open_clip, model, pretrained)


def _local_source(place: str) -> _Source:
    folder = Path(place).expanduser()
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / CONFIG).is_file() or not weights:
        raise FeaturesError(f"{folder.absolute()} does not hold a model: it needs {CONFIG} and a .safetensors file")
    name = f"{LOCAL}{folder}"
    digests = "".join(file_sha256(path) for path in (folder / CONFIG, *weights))
    return _Source(name, None, name, f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}")


def _hub_source(name: str) -> _Source:
    folder = download_model(name, _FROM_HUB, _FORMS)
    local = _local_source(str(folder))
    return _Source(local.model, None, f"{HUB}{name.partition('@')[0]}", folder.name)


def _tagged_source(open_clip: Any, model: str, pretrained: str) -> _Source:
    pairs = [f"{known}/{tag}" for known, tag in open_clip.list_pretrained()]
    pair = f"{model}/{pretrained}"
    if pair not in pairs:
        near = [known for known in pairs if known.startswith(f"{model}/")] or pairs
        raise UnknownNameError("open_clip model/pretrained", pair, near, f"or write {_FORMS}")
    wanted = bool(open_clip.get_pretrained_cfg(model, pretrained).get("quick_gelu", False))
    if wanted != bool(open_clip.get_model_config(model).get("quick_gelu", False)):
        other = f"{model}-quickgelu" if wanted else model.removesuffix("-quickgelu")
        raise UsageError(
            f"the weights {pretrained!r} were trained {'with' if wanted else 'without'} QuickGELU, {model} "
            f"computes otherwise and its vectors would be wrong; write open_clip:{other}/{pretrained}"
        )
    return _Source(model, pretrained, model, pretrained)


def _require_architecture(open_clip: Any, model: str, source: _Source) -> None:
    known = open_clip.get_model_config(model)
    if known is None:
        raise UnknownNameError("open_clip model", model, open_clip.list_models())
    config = json.loads((Path(source.model.removeprefix(LOCAL)) / CONFIG).read_text(encoding="utf-8"))
    inside = config.get("model_cfg", {})
    if any(inside.get(key) != known.get(key) for key in ("embed_dim", "vision_cfg")):
        raise UsageError(f"{source.model} holds another model than {model}; leave {model}/ out of the name")


def _load(open_clip: Any, source: _Source, device: torch.device) -> Parts:
    try:
        with _quiet():
            model, _, preprocess = open_clip.create_model_and_transforms(
                source.model, pretrained=source.pretrained, device=device
            )
            tokenizer = open_clip.get_tokenizer(source.tokenizer)
    except ModuleNotFoundError as error:
        raise UsageError(f"{source.model} needs a package; type: pip install {error.name}") from None
    except Exception as error:  # open_clip raises nearly anything, and says what went wrong only in words
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "download" in reason.lower():
            raise UpstreamError(f"weights of {source.model} were not downloaded ({reason}); go online") from None
        raise FeaturesError(f"{source.model} does not load as an open_clip model ({reason})") from None
    model.eval()
    name = Path(source.model).name if source.pretrained is None else source.model
    return Parts(name, source, model, preprocess, tokenizer, weights_sha256(model.state_dict()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's log lines and warnings; what matters of them is checked or raised here."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    finally:
        logging.disable(logging.NOTSET)
