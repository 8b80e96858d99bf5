"""Files that are written whole or not at all, and read only when they are what was written; never a pickle."""

import errno
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mkg_builder.durable import file_sha256, sync_folder, write_durably
from mkg_builder.errors import DataError, StorageError, UsageError

_EXECUTABLE_NAMES = {".pkl", ".pickle", ".p", ".pt", ".pth", ".bin", ".ckpt", ".npy", ".npz", ".joblib", ".dill"}
_PROTOCOLS, _OPCODES = (b"\2", b"\3", b"\4", b"\5"), (b"(", b"]", b"}", b")", b"c", b"I", b"S", b"V")
_HOST = socket.gethostname()
_LEFT = re.compile(r"\.(?P<folder>.+)\.(?P<process>\d+)@(?P<host>[^@]+)\.(?P<kind>old|tmp)")
"""What a process calls the folder that it is making, and the one that it replaces."""
_MAGIC = {b"PK\x03\x04": "a zip (the form of .pt and .npz files)", b"\x93NUMPY": "a NumPy array", b"\x1f\x8b": "gzip"}


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spare blanks, NaN refused."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def write_sealed_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object as canonical JSON with the sha256 of its own content under `sha256`."""
    sealed = {**value, "sha256": _seal(value)}
    write_durably(path, (canonical_json(sealed) + "\n").encode())


def read_sealed_json(path: Path, error: type[DataError], remedy: str) -> dict[str, Any]:
    """The object that `write_sealed_json` wrote, without its seal.

    Args:
        path: the file.
        error: what to raise.
        remedy: what to do about it, the end of the message.

    Raises:
        DataError: as `error`, where the file is missing, is not JSON or was altered.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise error(f"{path} is missing; {remedy}") from None
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} is not JSON ({problem}); {remedy}") from None
    if not isinstance(value, dict) or value.pop("sha256", None) != _seal(value):
        raise error(f"{path} is altered: its content is not what its sha256 says; {remedy}")
    return value


def _seal(value: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(value).encode(errors="surrogatepass")).hexdigest()


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> str:
    """Write tensors as safetensors in one step; the file's sha256.

    No metadata is written: safetensors orders several metadata keys at random, so that the same
    tensors would give different bytes.

    Raises:
        StorageError: the disk does not take it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside)
        except SafetensorError as problem:
            hint = "make room, then" if path.parent.is_dir() else "its folder is gone;"
            raise StorageError(f"{path} was not written ({problem}); {hint} the same command again") from None
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        digest = file_sha256(beside)
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)
    return digest


def read_tensors(path: Path, sha256: str, error: type[DataError], remedy: str) -> dict[str, torch.Tensor]:
    """Every tensor of a safetensors file, after its kind and its sha256 were checked.

    Raises:
        DataError: as `error`, where the file is missing, of an unsafe kind, altered or malformed.
    """
    try:
        refuse_executable(path, error, remedy)
        if file_sha256(path) != sha256:
            raise error(f"{path} is altered: its sha256 is not the recorded one; {remedy}")
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping, it has only keys()
    except FileNotFoundError:
        raise error(f"{path} is missing; {remedy}") from None
    except (SafetensorError, ValueError, OSError, RuntimeError) as problem:  # torch's own, of a file that has just gone
        raise error(f"{path} is not readable safetensors ({problem}); {remedy}") from None


def refuse_executable(path: Path, error: type[DataError], remedy: str) -> None:
    """Refuse a file that could run code when loaded, by its name and by its first bytes; it is not parsed.

    Raises:
        DataError: as `error`, for a pickle, a PyTorch or NumPy file, a zip or a gzip.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(9)
    kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    if kind is None and not _begins_as_safetensors(head) and _begins_as_pickle(head):
        kind = "a pickle"
    if kind is None and path.suffix.lower() in _EXECUTABLE_NAMES:
        kind = f"a {path.suffix} file"
    if kind:
        raise error(f"{path} is {kind}, which can run code when opened: refused, not opened; {remedy}")


def _begins_as_safetensors(head: bytes) -> bool:
    """Whether the bytes are the length of a header (little-endian, under 4 GB) and the header's first brace."""
    return head[4:9] == b"\0\0\0\0{"


def _begins_as_pickle(head: bytes) -> bool:
    """Whether the bytes can open a pickle: protocols 2 to 5 say so, older ones begin with an opcode."""
    return (head[:1] == b"\x80" and head[1:2] in _PROTOCOLS) or head[:1] in _OPCODES


@contextmanager
def whole_folder(folder: Path, replace: bool = True) -> Iterator[Path]:
    """A new folder to fill, beside its place; it takes that place when the block ends without error.

    What was there before is kept until then, and replaced; without `replace` nothing or an empty folder may be there.

    Raises:
        UsageError: something is there that is not to be replaced, or the place is the folder that we are in.
    """
    place = require_place(folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    put_back(place)
    beside, former = (place.with_name(f".{place.name}.{os.getpid()}@{_HOST}.{kind}") for kind in ("tmp", "old"))
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        if replace and place.exists():
            place.rename(former)
        try:
            beside.rename(place)
        except OSError as problem:  # somebody else was quicker; what was there is put back, or stays where it is
            if former.exists() and not place.exists():
                former.rename(place)
            if problem.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise UsageError(f"{folder} is there by now, made by another process; choose another place") from None
            raise
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def require_place(folder: Path) -> Path:
    """The place of a folder that is to be made, links followed.

    Raises:
        UsageError: it is the folder that this process is in, or holds it.
    """
    place = folder.resolve()
    if Path.cwd().is_relative_to(place):
        raise UsageError(f"{folder} is the folder that you are in, or holds it; choose another place")
    return place


def put_back(folder: Path) -> None:
    """Undo what a process that was killed while it made or replaced a folder has left beside it."""
    for left in sorted(folder.parent.glob(".*")):
        found = _LEFT.fullmatch(left.name)
        if not found or (found["folder"], found["host"]) != (folder.name, _HOST) or _runs(int(found["process"])):
            continue
        if found["kind"] == "old" and not folder.exists():
            left.rename(folder)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True


def link_folder(source: Path, target: Path) -> None:
    """A new folder with the files of another, hard-linked where that is possible."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_file():
            try:
                os.link(path.resolve(), target / path.name)
            except OSError:  # another file system, or one without hard links
                shutil.copy2(path, target / path.name)
