"""Pictures: each verified by decoding it whole, named by its sha256; what fails keeps its reason."""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import imagehash
from PIL import Image, ImageStat

from mkg_builder.errors import DataError, MkgError
from mkg_builder.picture import PictureError, PictureKilledError
from mkg_builder.picture_pool import PicturePool
from mkg_builder.picture_worker import GREY_SIDE
from mkg_builder.snapshot import Snapshot

FLAT = 2.0
"""Grey levels (standard deviation) below which a picture shows nothing: its hash would be that of the noise."""


@dataclass(frozen=True)
class Picture:
    """A picture that decodes to its end: where the snapshot keeps it, and what it is.

    Attributes:
        key: its answer in the snapshot.
        sha256: of its file.
        format: what it really is: JPEG, PNG, WEBP or GIF.
        bytes: the size of its file.
        width: in pixels, upright; so `height`.
        phash: its perceptual hash, 16 hexadecimal digits; None for a picture of one colour.
    """

    key: str
    sha256: str
    format: str
    bytes: int
    width: int
    height: int
    phash: str | None


@dataclass(frozen=True)
class BrokenPicture:
    """An answer that is no whole picture, and why."""

    key: str
    reason: str


def inspect_all(snapshot: Snapshot, keys: Iterable[str]) -> Iterator[Picture | BrokenPicture]:
    """Every kept picture, verified by a full decode in processes of their own; in the order of the keys."""
    with PicturePool() as pool:
        yield from pool.map(partial(inspect, pool, snapshot), keys)


def inspect(pool: PicturePool, snapshot: Snapshot, key: str) -> Picture | BrokenPicture:
    """One kept picture, verified by a full decode of the very bytes that its sha256 names.

    Raises:
        MkgError: its decoding was killed, so that nobody knows.
    """
    answer = snapshot.get(key)
    if answer is None or not answer.ok:
        return BrokenPicture(key, "not fetched")
    try:
        found, grey = pool.ask(answer.body)
    except PictureKilledError as error:
        raise MkgError(f"the picture {key}: {error}; run the same command again with more memory free") from None
    except PictureError as error:
        return BrokenPicture(key, str(error))
    digest = hashlib.sha256(answer.body).hexdigest()
    return Picture(key, digest, found["format"], len(answer.body), found["width"], found["height"], _phash(grey))


def _phash(grey: bytes) -> str | None:
    """The perceptual hash of what the worker saw; a library's work, which the worker need not load."""
    seen = Image.frombytes("L", (GREY_SIDE, GREY_SIDE), grey)
    return str(imagehash.phash(seen)) if ImageStat.Stat(seen).stddev[0] >= FLAT else None


def stored_pictures(
    snapshot: Snapshot, pictures: Iterable[Picture], longest_side: int | None = None
) -> Generator[tuple[Picture, bytes]]:
    """The pictures as a release holds them, in their order, each with its description.

    Without `longest_side` these are the originals, byte for byte. With it, each is a JPEG without metadata, upright,
    at most so many pixels long and never enlarged, and its description says so; the hash stays the original's.

    Raises:
        DataError: a picture that was verified before cannot be read any more.
    """
    if longest_side is None:
        yield from ((picture, _original(snapshot, picture)) for picture in pictures)
        return
    with PicturePool() as pool:
        yield from pool.map(partial(_resized, pool, snapshot, longest_side), pictures)


def _original(snapshot: Snapshot, picture: Picture) -> bytes:
    answer = snapshot.get(picture.key)
    if answer is None or hashlib.sha256(answer.body).hexdigest() != picture.sha256:
        raise DataError(f"{snapshot.folder}: the picture {picture.key} was altered during the build; run it again")
    return answer.body


def _resized(pool: PicturePool, snapshot: Snapshot, longest_side: int, picture: Picture) -> tuple[Picture, bytes]:
    try:
        found, body = pool.ask(_original(snapshot, picture), longest_side)
    except PictureError as error:
        raise DataError(f"{snapshot.folder}: the picture {picture.key} was verified, and now: {error}") from None
    digest = hashlib.sha256(body).hexdigest()
    return replace(picture, sha256=digest, bytes=len(body), **found), body
