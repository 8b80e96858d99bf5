"""The folder of a pretrained model for transformers: found, refused where it could run code, and read."""

import hashlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from mkg_builder.durable import file_sha256
from mkg_builder.errors import UsageError
from vlkge.errors import FeaturesError
from vlkge.pretrained import download_model

LOCAL, PACKAGE = "local-dir:", "package:"
_FORMS = "transformers:ORG/NAME@REVISION, transformers:local-dir:PATH or transformers:package:MODULE"
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
_SENTENCE_MODULES = {"Transformer", "Pooling", "Normalize"}

Pooling = Literal["cls", "mean"]


@dataclass(frozen=True)
class ModelFolder:
    """Where a model lies, what it is called and which version it is."""

    folder: Path
    name: str
    revision: str


@dataclass(frozen=True)
class Reading:
    """How a text is read and its tokens become one vector.

    Attributes:
        pooling: the first token's state, or the mean over all tokens.
        normalise: whether a vector is scaled to unit length.
        max_length: how many tokens are read at most; None for as many as the model can.
        lowercase: whether a text is lowered first.
        prompt: what is put before a text.
    """

    pooling: Pooling = "cls"
    normalise: bool = False
    max_length: int | None = None
    lowercase: bool = False
    prompt: str = ""


def find_model(argument: str) -> ModelFolder:
    """The folder that an encoder's argument names: a local one, that of an installed package, or one of the Hub.

    Raises:
        UsageError: the argument has another form, or names nothing.
        UpstreamError: it cannot be downloaded.
    """
    if argument.startswith(LOCAL):
        folder = Path(argument.removeprefix(LOCAL)).expanduser()
        return ModelFolder(folder, folder.name, _folder_revision(folder))
    if argument.startswith(PACKAGE):
        module = argument.removeprefix(PACKAGE)
        folder = _package_folder(module)
        return ModelFolder(folder, module, _folder_revision(folder))
    if argument.count("/") != 1:
        raise UsageError(f"encoder 'transformers' got {argument!r}; write {_FORMS}")
    folder = download_model(argument, _FILES, _FORMS)
    return ModelFolder(folder, argument.partition("@")[0], folder.name)


def _package_folder(module: str) -> Path:
    """The folder `model` of an installed package, which is found and not imported."""
    found = find_spec(module) if module.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise UsageError(f"no package {module!r} is installed; write {_FORMS}")
    return Path(found.submodule_search_locations[0]) / "model"


def _folder_revision(folder: Path) -> str:
    found = sorted({path for pattern in _FILES for path in folder.rglob(pattern)})
    digests = "".join(f"{path.relative_to(folder)} {file_sha256(path)}\n" for path in found)
    return f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}"


def read_config(source: ModelFolder) -> dict[str, Any]:
    """The model's configuration, after everything that could run code has been refused.

    Raises:
        FeaturesError: no model, pickled weights alone, or one that asks for code of its own.
    """
    config = _read_json(source.folder / "config.json")
    if not isinstance(config, dict) or "model_type" not in config:
        raise FeaturesError(f"{source.folder} does not hold a model of transformers: it needs config.json")
    if not any(source.folder.glob("*.safetensors")):
        raise FeaturesError(
            f"{source.folder} has no .safetensors weights; pickled ones (.bin) can run code and are never opened: "
            "take a revision that has them, such as ORG/NAME@refs/pr/N of the Hub's conversion"
        )
    for path in sorted(source.folder.glob("*.json")):
        _refuse_code(path, _read_json(path))
    return config


def _refuse_code(path: Path, said: Any) -> None:
    """Refuse a file that names code to run, or weights to read, of a kind that can run code."""
    if not isinstance(said, dict):
        return
    if "auto_map" in said:
        raise FeaturesError(f"{path} asks for code that the model brings along (auto_map): refused, not run")
    shards = said.get("weight_map")
    named = [said.get("transformers_weights") or "", *(shards.values() if isinstance(shards, dict) else ())]
    if any(name and not str(name).endswith(".safetensors") for name in named):
        raise FeaturesError(f"{path} names weights that are not safetensors: refused, not opened")


def _read_json(path: Path) -> Any:
    """What a JSON file holds, None where there is no file."""
    try:
        return json.loads(path.read_bytes()) if path.is_file() else None
    except (ValueError, RecursionError) as error:
        raise FeaturesError(f"{path} is not JSON ({error})") from None


def read_sentence_files(source: ModelFolder) -> Reading:
    """What sentence-transformers' files say; where there are none, a text's vector is its first token's state.

    Raises:
        FeaturesError: they ask for what is not served.
    """
    modules = _read_json(source.folder / "modules.json")
    if modules is None:
        return Reading()
    places = {str(module["type"]).rpartition(".")[2]: source.folder / module["path"] for module in modules}
    unknown = sorted(places.keys() - _SENTENCE_MODULES)
    if unknown or places.get("Transformer") != source.folder:
        raise FeaturesError(
            f"{source.name} is put together of parts that are not served: {', '.join(unknown or places)}"
        )
    pooled = _read_json(places["Pooling"] / "config.json") if "Pooling" in places else {"pooling_mode": "mean"}
    modes = {name for name, chosen in pooled.items() if name.startswith("pooling_mode_") and chosen}
    mode = pooled.get("pooling_mode") or " and ".join(sorted(modes)).removeprefix("pooling_mode_")
    named: dict[str, Pooling] = {"cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean"}
    if mode not in named:
        raise FeaturesError(f"{source.name} pools its tokens by {mode or 'nothing'}; what is served: cls, mean")
    limits = _read_json(source.folder / "sentence_bert_config.json") or {}
    prompts = _read_json(source.folder / "config_sentence_transformers.json") or {}
    prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name")) or ""
    return Reading(
        named[mode], "Normalize" in places, limits.get("max_seq_length"), bool(limits.get("do_lower_case")), prompt
    )
