"""Pictures from outside: the files of a folder in a stable order, decoded a batch at a time in bounded memory."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mkg_builder.errors import DataError
from mkg_builder.picture import PictureError, decode_picture

PIXELS_AT_ONCE = 2**25
"""A batch ends when it holds so many: 100 MB of decoded pictures and the one that filled it."""

MAX_BYTES = 2**29
"""The largest file that is read; the largest originals of public collections have about 300 MB."""


@dataclass(frozen=True)
class Broken:
    """A file that could not be used, and why."""

    name: str
    reason: str


Read = tuple[Path, Image.Image | str]
"""A file and its picture, or why there is none."""


def find_pictures(folder: Path) -> list[Path]:
    """Every file of a folder and of those inside it, sorted by path; hidden ones are left out.

    A link to a file is a file, a link to a folder is not followed. What a file holds is not looked at.

    Raises:
        DataError: there is no file.
    """
    found = [
        Path(where) / name for where, _, names in os.walk(folder) if not _hidden(Path(where).relative_to(folder))
        for name in names if not name.startswith(".")
    ]  # fmt: skip
    if not found:
        raise DataError(f"{folder} holds no file")
    return sorted(found, key=os.fspath)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_picture(path: Path) -> Image.Image:
    """The picture of a file.

    Raises:
        DataError: no such file.
        PictureError: it is no whole picture of an allowed format, or too large.
        OSError: the file cannot be read.
    """
    if not path.exists():
        raise DataError(f"no picture {path}")
    if not path.is_file():  # a pipe would be waited for
        raise PictureError(f"{path}: not a file")
    if path.stat().st_size > MAX_BYTES:
        raise PictureError(f"{path}: {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
    return decode_picture(path.read_bytes(), str(path))


def read_batches(paths: Sequence[Path], size: int) -> Iterator[list[Read]]:
    """All pictures in order, at most `size` at a time; what is no picture takes its place with the reason."""
    batch: list[Read] = []
    pixels = 0
    for path in paths:
        picture = _try_to_read(path)
        batch.append((path, picture))
        pixels += 0 if isinstance(picture, str) else picture.width * picture.height
        if len(batch) == size or pixels >= PIXELS_AT_ONCE:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _try_to_read(path: Path) -> Image.Image | str:
    try:
        return read_picture(path)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return error.strerror or type(error).__name__
