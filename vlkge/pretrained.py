"""What encoders with pretrained weights share: the device, the Hub, the hash of weights, a torchvision that imports."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from mkg_builder.errors import UpstreamError, UsageError

_operators: list[torch.library.Library] = []
"""Kept for as long as the process lives: a library that is collected takes its operators with it."""


def find_device(device: str) -> torch.device:
    """The device that a name stands for; `auto` is cuda where there is one.

    Raises:
        UsageError: no such device here.
    """
    here = torch.cuda.is_available()
    if device == "auto":
        return torch.device("cuda" if here else "cpu")
    if device not in ("cpu", "cuda") or (device == "cuda" and not here):
        raise UsageError(f"device {device!r} is not here; write {'cpu, cuda or auto' if here else 'cpu or auto'}")
    return torch.device(device)


def prepare_torchvision() -> None:
    """Import torchvision, where it is installed, also one whose compiled operators fit another torch.

    One built for CUDA does not load its operators beside a CPU torch, and then fails to import; encoders use
    only its transforms, which are plain Python, so that the operators' names are enough.
    """
    try:
        import torchvision  # noqa: F401, PLC0415 - slow, only needed here
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        _operators.append(library)


def download_model(name: str, files: Sequence[str], forms: str) -> Path:
    """The folder of a Hub model in the local cache, named by its commit; from the cache alone when offline.

    Args:
        name: `ORG/NAME`, or `ORG/NAME@REVISION` with a tag, branch or commit.
        files: patterns of what to download.
        forms: what an encoder's argument may look like, for the message.

    Raises:
        UsageError: no such model or revision, or not a Hub name.
        UpstreamError: it cannot be downloaded.
    """
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415 - slow, only needed here

    repo, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(files)))
    except errors.HFValidationError:
        raise UsageError(f"{name!r} is no Hub name; write {forms}") from None
    except errors.RepositoryNotFoundError:
        raise UsageError(f"no model {repo} on the Hub, or it is private: hf auth login") from None
    except errors.RevisionNotFoundError:
        raise UsageError(f"{repo} has no revision {revision!r}; its tags are listed on its Hub page") from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise UpstreamError(f"{name} was not downloaded ({str(error).strip().splitlines()[0]}); go online") from None


def weights_sha256(weights: dict[str, torch.Tensor]) -> str:
    """One hash of all weights: names in order, each with its type, shape and bytes."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
