"""Bytes to pixels, safely: the one place where a picture from outside is decoded.

What becomes of a picture: its first frame; turned upright by its EXIF or XMP orientation; transparency laid on
white; 16 bits a channel scaled to 8; CMYK to RGB, inverted or not as its Adobe marker says; a colour profile is
not applied.
"""

import io

from PIL import (
    Image,
    ImageChops,
    ImageOps,
    WebPImagePlugin,  # noqa: F401  # else Pillow loads all its parsers at the first WEBP
)

from mkg_builder.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""What may be decoded; every other parser of Pillow stays shut (EPS, PSD, TIFF, …)."""

MAX_PIXELS = 300_000_000
"""The largest originals of public collections have about 250 million pixels."""

BOMB_PIXELS, BOMB_RATIO = 16_000_000, 1000
"""So many pixels, and so many a byte: the flattest JPEG reaches 200 a byte, 169 million pixels in 20 kB over 8,000."""

MAX_EXIF = 2**16
"""Bytes; what one segment of a JPEG can hold. Pillow copies every tag out of it, wherever the tags point."""

MAX_SEGMENTS = 10_000
"""Before the pixels of a JPEG; a real one has some dozens."""

QUALITY = 90

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower, and a warning first; ours is checked below


class PictureError(DataError):
    """Bytes that are not a whole, allowed picture."""


class PictureMemoryError(PictureError):
    """A picture that needs more memory than this process may have."""


class PictureKilledError(PictureError):
    """A picture whose decoding was ended from outside, which may be no fault of its own: not to be remembered."""


def decode_picture(data: bytes, name: str = "picture") -> Image.Image:
    """Decode a whole picture to RGB, as the module's text says.

    Args:
        data: the file's bytes.
        name: what to call it in an error.

    Raises:
        PictureError: not one of `FORMATS`, too many pixels, cut short, or not decodable to its end.
    """
    kind = picture_format(data)
    if kind is None:
        raise PictureError(f"{name}: not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture")
    if not looks_whole(data):
        raise PictureError(f"{name}: truncated, the end of the {kind} file is missing")
    try:
        picture = Image.open(io.BytesIO(data), formats=(kind,))
        _require_moderate(picture, len(data))
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return _flatten(picture)
    except MemoryError:
        raise PictureMemoryError(f"{name}: not enough memory to decode it") from None
    except Exception as error:  # Pillow raises nearly anything on hostile input
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "cannot identify image file" in reason:  # what follows is an address in memory
            reason = f"its {kind} header is damaged"
        raise PictureError(f"{name}: {reason[:200]}") from None


def picture_format(data: bytes) -> str | None:
    """Which of `FORMATS` bytes begin as, whatever they are called elsewhere; None for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "WEBP" if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None


def looks_whole(data: bytes) -> bool:
    """Whether bytes begin as one of `FORMATS` and reach that format's own end; decodes nothing.

    It tells a truncated download, even one without a length, in microseconds. It does not tell a damaged one,
    nor a picture that was already cut by whoever wrote an end behind the cut: only `decode_picture` does.
    Bytes behind the end are allowed.
    """
    try:
        match picture_format(data):
            case "JPEG":
                return _jpeg_ends(data)
            case "PNG":
                return b"IEND\xaeB`\x82" in data
            case "WEBP":
                return len(data) >= 8 + int.from_bytes(data[4:8], "little")
            case "GIF":
                return _gif_ends(data)
            case _:
                return False
    except IndexError:  # a length leads behind the last byte
        return False


def _jpeg_ends(data: bytes) -> bool:
    """Walk the segments, since a thumbnail in one of them has an end of its own, then find the end of the pixels."""
    place = 2
    for _ in range(MAX_SEGMENTS):
        marker = data[place + 1]
        if data[place] != 0xFF or marker == 0xD9:
            return False
        if marker == 0xDA:
            return data.find(b"\xff\xd9", place) >= 0
        if marker == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _gif_ends(data: bytes) -> bool:
    """Walk the blocks of all frames to the trailer."""
    place = 13 + _colour_table(data[10])
    while (block := data[place]) != 0x3B:
        if block == 0x2C:
            place += 11 + _colour_table(data[place + 9])
        elif block == 0x21:
            place += 2
        else:
            return False
        while size := data[place]:
            place += 1 + size
        place += 1
    return True


def _colour_table(flags: int) -> int:
    """Bytes of the colour table that a GIF's flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _require_moderate(picture: Image.Image, size: int) -> None:
    """Refuse by the header what would cost too much to decode."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}")
    if width * height > max(BOMB_PIXELS, size * BOMB_RATIO):
        raise PictureError(f"{width} x {height} pixels in {size:,} bytes, a decompression bomb")
    exif = max(len(picture.info.get("exif", b"")), len(picture.info.get("Raw profile type exif", "")) // 2)
    if exif > MAX_EXIF:
        raise PictureError(f"{exif:,} bytes of EXIF, more than {MAX_EXIF:,}")


def _flatten(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        # 16-bit greyscale: convert("RGB") would clip instead of scale
        return picture.convert("I").point([i / 256 for i in range(65536)], "L").convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if picture.mode == "CMYK" and "adobe" not in picture.info:
        picture = ImageChops.invert(picture)  # Pillow takes every CMYK for an inverted one, as Adobe writes it
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def resize(picture: Image.Image, longest_side: int) -> bytes:
    """A JPEG without metadata, at most so many pixels long, never enlarged; changes the picture given."""
    picture.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    picture.info.clear()  # Pillow writes a comment found there
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
