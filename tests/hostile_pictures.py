"""Pictures that do harm, made here, and a small photo to compare with."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 120, height: int = 90, seed: int = 0) -> Image.Image:
    """Smooth shapes with some grain, as a photograph has them; all four corners differ."""
    random = np.random.default_rng(seed)
    shapes = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(shapes.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray(np.clip(smooth + random.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, rows: bytes | None = None) -> bytes:
    """A one-bit PNG of any declared size, with chunks before its pixels."""
    pixels = zlib.compress(rows if rows is not None else bytes((width + 15) // 8 * height), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return PNG_START + header + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def endless_gif(frames: int) -> bytes:
    first = Image.new("P", (20, 20), 1)
    first.putpalette([0, 0, 0, 255, 0, 0, *bytes(762)])
    whole = encoded(first, "GIF")
    start = whole.index(b",")
    return whole[:start] + whole[start:-1] * frames + b";"


def jpeg_segments(*segments: tuple[int, bytes]) -> bytes:
    """A photo with segments put before its own."""
    extra = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    return encoded(photo(), "JPEG").replace(b"\xff\xd8", b"\xff\xd8" + extra, 1)


def greedy_exif(size: int) -> bytes:
    """An EXIF directory in which every tag claims nearly the whole block as its value."""
    count = min((size - 14) // 12, 60_000)
    claim = size - 100
    tags = b"".join(struct.pack("<HHII", tag, 7, claim, 8) for tag in range(1000, 1000 + count))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", count) + tags + bytes(4)).ljust(size, b"\0")


def looping_exif() -> bytes:
    """A directory whose next directory is itself."""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<I", 8)


REFUSED = {
    "13000 x 13000 pixels in 20,625 bytes": png(13000, 13000),
    "65535 x 65535 pixels": png(65535, 65535, rows=b"\0"),
    "Decompressed data too large": png(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000)))),
    "too large for PngImagePlugin": png(8, 8, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(100_000_000)))),
    "bytes of EXIF": png(8, 8, chunk(b"eXIf", greedy_exif(4_000_000))),
    "truncated": jpeg_segments(*[(0xFE, b"")] * 20_000),
    "header is damaged": encoded(photo(), "PNG").replace(b"IHDR\0", b"IHDR\1"),
}
"""By what their refusal says."""

HARMLESS = {
    "100,000 text chunks": png(8, 8, chunk(b"tEXt", b"k\0v") * 100_000),
    "16 MB of profile": jpeg_segments(*[(0xE2, b"ICC_PROFILE\0" + bytes([i, 255]) + bytes(65000))
                                        for i in range(1, 256)]),
    "10,000 frames": endless_gif(10_000),
    "greedy EXIF of 64 kB": jpeg_segments((0xE1, b"Exif\0\0" + greedy_exif(65_000))),
    "looping EXIF": jpeg_segments((0xE1, b"Exif\0\0" + looping_exif())),
    "noise as EXIF": jpeg_segments((0xE1, b"Exif\0\0" + bytes(range(256)) * 200)),
}  # fmt: skip
"""What looks like an attack and costs nothing, so that it is a picture like any other."""
