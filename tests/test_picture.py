import io
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageChops

from mkg_builder.picture import FORMATS, PictureError, decode_picture, looks_whole, picture_format
from tests.conftest import SHARED
from tests.hostile_pictures import chunk, encoded, jpeg_segments, photo

PHOTO = photo(40, 30)
ANIMATION = [photo(40, 30, seed) for seed in range(3)]
WHOLE = {kind: encoded(PHOTO, kind) for kind in FORMATS} | {
    "progressive JPEG": encoded(PHOTO, "JPEG", progressive=True),
    "animated GIF": encoded(ANIMATION[0], "GIF", save_all=True, append_images=ANIMATION[1:]),
    "animated WEBP": encoded(ANIMATION[0], "WEBP", save_all=True, append_images=ANIMATION[1:]),
    "animated PNG": encoded(ANIMATION[0], "PNG", save_all=True, append_images=ANIMATION[1:]),
}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
PSD = b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x09\0\0\0\x09\0\x08\0\3" + bytes(14)
OTHERS = {kind: encoded(PHOTO, kind) for kind in ("TIFF", "BMP", "ICO", "PPM", "JPEG2000", "AVIF")} | {
    "EPS": EPS, "PSD": PSD, "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "HTML": b"<!doctype html><p>",
    "zip": b"PK\3\4" + bytes(60), "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_the_allowed_formats_decode_to_rgb(kind: str) -> None:
    decoded = decode_picture(WHOLE[kind])
    assert (decoded.mode, decoded.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("kind", OTHERS)
def test_no_other_parser_runs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    Image.init()
    for other in Image.OPEN.keys() - {*FORMATS}:
        monkeypatch.setitem(Image.OPEN, other, (lambda *_, name=other: ran.append(name), None))
    with pytest.raises(PictureError, match="not a JPEG, PNG, WEBP or GIF"):
        decode_picture(OTHERS[kind])
    assert ran == []


@pytest.mark.parametrize("kind", WHOLE)
def test_a_picture_cut_at_any_percent_is_refused(kind: str) -> None:
    whole = WHOLE[kind]
    accepted = []
    for percent in range(100):
        cut = whole[: len(whole) * percent // 100]
        try:
            decode_picture(cut)
            accepted.append(percent)
        except PictureError:
            pass
    assert accepted == []


@pytest.mark.parametrize("kind", WHOLE)
def test_a_picture_looks_whole_until_it_is_cut(kind: str) -> None:
    whole = WHOLE[kind]
    assert looks_whole(whole)
    assert looks_whole(whole + b"\r\n<!-- served by a cache -->")
    assert [p for p in range(100) if looks_whole(whole[: len(whole) * p // 100])] == []
    assert not looks_whole(whole[:-1])


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture() -> None:
    whole = jpeg_segments((0xE1, b"Exif\0\0" + encoded(photo(16, 12), "JPEG")))
    assert looks_whole(whole)
    assert not looks_whole(whole[: len(whole) * 3 // 4])


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_picture_does_not_look_whole(kind: str) -> None:
    assert not looks_whole(OTHERS[kind])


@pytest.mark.shared
def test_every_real_picture_looks_whole_and_none_does_when_cut() -> None:
    bodies = [path.read_bytes() for path in sorted((SHARED / "world/data/images").rglob("*.jpg"))]
    assert sum(map(looks_whole, bodies)) == len(bodies) > 3000
    assert sum(looks_whole(body[: len(body) * percent // 100]) for body in bodies for percent in (50, 75, 99)) == 0


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(PictureError, match="20000 x 20000 pixels, more than 300,000,000"):
        decode_picture(bomb)


T = Image.Transpose
HOW_STORED = {
    1: None, 2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE, 6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270,
}  # fmt: skip


@pytest.mark.parametrize("orientation", HOW_STORED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_orientation_is_undone(kind: str, orientation: int) -> None:
    transposition = HOW_STORED[orientation]
    stored = PHOTO if transposition is None else PHOTO.transpose(transposition)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif.tobytes()} | ({"lossless": True} if kind == "WEBP" else {"quality": 95})
    decoded = decode_picture(encoded(stored, kind, **options))
    assert decoded.size == (40, 30)
    assert ImageChops.difference(decoded, PHOTO).getextrema()[0][1] <= (60 if kind == "JPEG" else 0)


def grey_alpha_palette() -> Image.Image:
    picture = Image.new("P", (2, 2), 1)
    picture.putpalette([0, 0, 0, 200, 0, 0])
    return picture


RED = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
ADOBE = encoded(RED, "JPEG", quality=100)
PLAIN = encoded(ImageChops.invert(RED), "JPEG", quality=100).replace(ADOBE[2:18], b"")
CONVERSIONS = {
    "CMYK inverted, as Adobe writes it": (ADOBE, (255, 0, 0)),
    "CMYK as the standard has it": (PLAIN, (255, 0, 0)),
    "16 bits of grey": (encoded(Image.fromarray(np.full((2, 2), 32768, np.uint16)), "PNG"), (128, 128, 128)),
    "a palette with a transparent entry": (encoded(grey_alpha_palette(), "PNG", transparency=b"\xff\x80"),
                                           (227, 127, 127)),
    "transparent": (encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG"), (255, 255, 255)),
    "grey": (encoded(Image.new("L", (2, 2), 77), "PNG"), (77, 77, 77)),
    "animated": (encoded(Image.new("RGB", (2, 2), "red"), "GIF", save_all=True,
                         append_images=[Image.new("RGB", (2, 2), "blue")]), (255, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVERSIONS)
def test_every_kind_of_pixel_becomes_the_documented_colour(case: str) -> None:
    data, wanted = CONVERSIONS[case]
    found = decode_picture(data).getpixel((0, 0))
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 1


def test_a_polyglot_is_what_its_pixels_are() -> None:
    archive = io.BytesIO(WHOLE["PNG"])
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("run.js", "alert(1)")
    polyglot = archive.getvalue()
    assert zipfile.is_zipfile(io.BytesIO(polyglot))
    assert (picture_format(polyglot), decode_picture(polyglot).size) == ("PNG", (40, 30))


def test_an_error_holds_no_address_in_memory() -> None:
    damaged = WHOLE["PNG"][:8] + chunk(b"IHDR", bytes(13))[:-1] + b"?" + WHOLE["PNG"][33:]
    with pytest.raises(PictureError, match=r"^picture: its PNG header is damaged$"):
        decode_picture(damaged)


def test_the_error_names_the_picture() -> None:
    with pytest.raises(PictureError, match=r"^cat\.jpg: "):
        decode_picture(b"<html>", "cat.jpg")
