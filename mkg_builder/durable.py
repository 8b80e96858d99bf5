"""Files that survive a crash: there is the whole of them, or nothing."""

import ctypes
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say of which path it is that the disk refuses it: an open file does not tell its name."""
    try:
        yield
    except OSError as fault:
        fault.filename = fault.filename or str(path)
        raise


def write_durably(target: Path, body: bytes) -> None:
    """Write a file so that a crash leaves the whole of it or nothing: temporary, fsync, rename, fsync folder."""
    _write(target, body, target.parent, sync=True)
    sync_folder(target.parent)


def write_whole(target: Path, body: bytes, folder: Path) -> None:
    """Write a file so that the end of the process leaves the whole of it or nothing; a power cut may leave less.

    Args:
        target: the file.
        body: what it holds.
        folder: where the temporary file lies, on the same disk.
    """
    _write(target, body, folder, sync=False)


def _write(target: Path, body: bytes, folder: Path, sync: bool) -> None:
    handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with naming(target), os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def copy_durably(source: Path, folder: Path) -> Path:
    """A copy of a file under a temporary name in a folder, its bytes safe on the disk: rename it, or unlink it."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with naming(folder), source.open("rb") as body, os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(body, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def move_durably(source: Path, target: Path) -> None:
    """Give a finished file its name, on the same disk, so that a crash leaves the whole of it there or nothing."""
    with naming(source), source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk: what was renamed into it stays renamed."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(folder):
            os.fsync(handle)
    finally:
        os.close(handle)


def sync_file_system(handle: int) -> None:
    """Force to the disk all that was written to the file system of an open file: many small files at the cost of one.

    Raises:
        OSError: the disk did not take it.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):  # not Linux
        os.sync()
    elif library.syncfs(handle):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def sync_tree(folder: Path) -> None:
    """Force a whole folder to the disk, so that it may be renamed into its place."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with naming(path), path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_entry(path: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
