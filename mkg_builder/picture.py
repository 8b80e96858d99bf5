"""Bytes to pixels, safely: the one place where a picture from outside is decoded."""

import io

from PIL import Image, ImageOps

from mkg_builder.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""What may be decoded; every other parser of Pillow stays shut (EPS, PSD, TIFF, …)."""

MAX_PIXELS = 300_000_000
"""The largest originals of public collections have about 250 million pixels."""

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower, and a warning first; ours is checked below


class PictureError(DataError):
    """Bytes that are not a whole, allowed picture."""


def decode_picture(data: bytes, name: str = "picture", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a whole picture to RGB, upright by its EXIF orientation; transparency on white.

    Args:
        data: the file's bytes.
        name: what to call it in an error.
        max_pixels: refuse larger pictures by their header, before decoding.

    Raises:
        PictureError: not one of `FORMATS`, too many pixels, or not decodable to its end.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = picture.size
        if width * height > max_pixels:
            raise PictureError(f"{name}: {width} x {height} pixels, more than {max_pixels:,}")
        picture.load()
        return _flatten(ImageOps.exif_transpose(picture))
    except PictureError:
        raise
    except Exception as error:  # Pillow raises nearly anything on hostile input
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "cannot identify image file" in reason:
            reason = f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture"
        raise PictureError(f"{name}: {reason}") from None


def _flatten(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if picture.mode.startswith("I") or picture.mode == "F":
        # 16-bit greyscale: convert("RGB") would clip instead of scale
        return picture.convert("I").point([i / 256 for i in range(65536)], "L").convert("RGB")
    return picture.convert("RGB")


def looks_whole(data: bytes) -> bool:
    """Whether bytes begin as one of `FORMATS` and reach that format's own end; decodes nothing."""
    ends = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND", b"GIF8": b"\x3b", b"RIFF": b""}
    return any(data.startswith(start) and end in data for start, end in ends.items())
