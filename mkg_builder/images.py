"""Pictures: each verified by decoding it whole, named by its sha256; what fails keeps its reason."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from mkg_builder.picture import PictureError, decode_picture
from mkg_builder.snapshot import Snapshot

_MEDIA_TYPES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"RIFF": "WEBP", b"GIF8": "GIF"}


@dataclass(frozen=True)
class Picture:
    """A picture that decodes to its end: where the snapshot keeps it, and what it is."""

    key: str
    sha256: str
    format: str
    bytes: int
    width: int
    height: int


@dataclass(frozen=True)
class BrokenPicture:
    """An answer that is no whole picture, and why."""

    key: str
    reason: str


def inspect_all(snapshot: Snapshot, keys: Sequence[str]) -> Iterator[Picture | BrokenPicture]:
    """Every kept picture, verified; in the order of the keys, two at a time, their pixels not kept."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield from pool.map(lambda key: inspect(snapshot, key), keys)


def inspect(snapshot: Snapshot, key: str) -> Picture | BrokenPicture:
    """One kept picture, verified by a full decode."""
    answer = snapshot.get(key)
    if answer is None or not answer.ok:
        return BrokenPicture(key, "not fetched")
    try:
        pixels: Image.Image = decode_picture(answer.body, key)
    except PictureError as error:
        return BrokenPicture(key, str(error).removeprefix(f"{key}: "))
    kind = next((name for magic, name in _MEDIA_TYPES.items() if answer.body.startswith(magic)), "JPEG")
    digest = hashlib.sha256(answer.body).hexdigest()
    return Picture(key, digest, kind, len(answer.body), pixels.width, pixels.height)
