import io

import numpy as np
import pytest
from PIL import Image

from mkg_builder.picture import PictureError, decode_picture


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_allowed_formats_decode_to_rgb(kind: str) -> None:
    decoded = decode_picture(encoded(PHOTO, kind))
    assert (decoded.mode, decoded.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "EPS", "ICO", "PPM"])
def test_no_other_parser_runs(kind: str) -> None:
    with pytest.raises(PictureError, match="not a JPEG, PNG, WEBP or GIF"):
        decode_picture(encoded(PHOTO, kind))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_picture_is_refused_wherever_it_is_cut(kind: str) -> None:
    whole = encoded(PHOTO, kind)
    for percent in range(1, 98, 4):
        with pytest.raises(PictureError):
            decode_picture(whole[: len(whole) * percent // 100])


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(PictureError, match="20000 x 20000 pixels"):
        decode_picture(bomb)


def test_orientation_is_undone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_picture(encoded(PHOTO, "JPEG", exif=exif.tobytes())).size == (30, 40)


def test_transparency_lies_on_white_and_sixteen_bits_are_scaled() -> None:
    assert decode_picture(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG")).getpixel((0, 0)) == (255,) * 3
    deep = Image.fromarray(np.full((2, 2), 32768, dtype=np.uint16))
    assert decode_picture(encoded(deep, "PNG")).getpixel((0, 0)) == (128,) * 3


def test_the_error_names_the_picture() -> None:
    with pytest.raises(PictureError, match=r"^cat\.jpg: "):
        decode_picture(b"<html>", "cat.jpg")
