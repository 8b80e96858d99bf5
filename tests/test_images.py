import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import imagehash
import pytest
from PIL import Image

from mkg_builder.errors import DataError
from mkg_builder.images import BrokenPicture, Picture, inspect_all, stored_pictures
from mkg_builder.picture import decode_picture
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer
from tests.hostile_pictures import encoded, jpeg_segments, photo

SCRIPT = b"<script>alert(1)</script>"
GPS = b"GPS-48.8584-2.2945"


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[Snapshot]:
    with Snapshot(tmp_path / "snapshot").writing() as opened:
        yield opened


def keep(snapshot: Snapshot, **bodies: bytes) -> list[str]:
    for key, body in bodies.items():
        snapshot.put(Answer(key, 200, body, "image/jpeg"))
    return list(bodies)


def with_metadata() -> bytes:
    """A picture lying on its side, with a place, a comment and a profile."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, GPS.decode()
    plain = encoded(photo(), "JPEG", exif=exif.tobytes(), comment=SCRIPT, icc_profile=SCRIPT)
    assert GPS in plain
    return plain


def test_each_answer_becomes_a_picture_or_a_reason_in_the_order_of_the_keys(snapshot: Snapshot) -> None:
    body = encoded(photo(), "PNG")
    keys = keep(snapshot, one=body, cut=body[:-9], page=b"<html>", two=encoded(photo(), "WEBP"))
    one, cut, page, two, absent = inspect_all(snapshot, [*keys, "absent"])
    digest = hashlib.sha256(body).hexdigest()
    phash = str(imagehash.phash(photo()))
    assert one == Picture("one", digest, "PNG", len(body), 120, 90, phash)
    assert cut == BrokenPicture("cut", "truncated, the end of the PNG file is missing")
    assert page == BrokenPicture("page", "not a JPEG, PNG, WEBP or GIF picture")
    assert isinstance(two, Picture) and two.format == "WEBP"
    assert absent == BrokenPicture("absent", "not fetched")


def test_the_hash_is_that_of_the_known_library(snapshot: Snapshot) -> None:
    bodies = {f"photo-{seed}": encoded(photo(seed=seed), "JPEG") for seed in range(5)}
    hashes = [picture.phash for picture in inspect_all(snapshot, keep(snapshot, **bodies))]
    assert hashes == [str(imagehash.phash(decode_picture(body))) for body in bodies.values()]
    assert len(set(hashes)) == 5


def test_a_smaller_and_poorer_copy_has_nearly_the_same_hash(snapshot: Snapshot) -> None:
    large, small = photo(600, 450), photo(600, 450).resize((210, 158))
    keys = keep(snapshot, large=encoded(large, "PNG"), small=encoded(small, "JPEG", quality=50))
    one, other = (int(picture.phash, 16) for picture in inspect_all(snapshot, keys))
    assert (one ^ other).bit_count() <= 4


@pytest.mark.parametrize("colour", ["white", "grey", "#123456"])
def test_a_picture_of_one_colour_has_no_hash(snapshot: Snapshot, colour: str) -> None:
    keys = keep(snapshot, flat=encoded(Image.new("RGB", (600, 480), colour), "JPEG"))
    assert [picture.phash for picture in inspect_all(snapshot, keys)] == [None]


def test_an_altered_picture_is_found_at_every_bit(snapshot: Snapshot) -> None:
    body = encoded(photo(), "JPEG")
    (key,) = keep(snapshot, picture=body)
    path = snapshot.folder / "objects" / hashlib.sha256(body).hexdigest()[:2] / hashlib.sha256(body).hexdigest()
    undetected = 0
    for place in range(0, len(body) * 8, len(body) * 8 // 300):
        flipped = bytearray(body)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        undetected += Snapshot(snapshot.folder).get(key) is not None
    path.write_bytes(body)
    assert undetected == 0


def test_originals_are_stored_byte_for_byte(snapshot: Snapshot) -> None:
    body = with_metadata()
    pictures = list(inspect_all(snapshot, keep(snapshot, a=body)))
    assert list(stored_pictures(snapshot, pictures)) == [(pictures[0], body)]


def test_a_resized_picture_is_upright_small_and_without_metadata(snapshot: Snapshot) -> None:
    (picture,) = inspect_all(snapshot, keep(snapshot, a=with_metadata()))
    ((stored, body),) = stored_pictures(snapshot, [picture], longest_side=60)
    opened = Image.open(io.BytesIO(body))
    assert (picture.width, picture.height) == (90, 120)
    assert (stored.width, stored.height) == opened.size == (45, 60)
    assert (stored.sha256, stored.bytes) == (hashlib.sha256(body).hexdigest(), len(body))
    assert (stored.format, stored.phash, stored.key) == ("JPEG", picture.phash, "a")
    assert [word for word in (GPS, SCRIPT, b"Exif", b"ICC_PROFILE") if word in body] == []


def test_resizing_never_enlarges_and_gives_the_same_bytes_each_time(snapshot: Snapshot) -> None:
    keys = keep(snapshot, a=encoded(photo(), "PNG"), b=encoded(photo(30, 20), "GIF"))
    pictures = list(inspect_all(snapshot, keys))
    first = list(stored_pictures(snapshot, pictures, longest_side=100))
    assert [(p.width, p.height) for p, _ in first] == [(100, 75), (30, 20)]
    assert list(stored_pictures(snapshot, pictures, longest_side=100)) == first


def test_a_picture_altered_since_it_was_verified_stops_the_build(snapshot: Snapshot) -> None:
    (picture,) = inspect_all(snapshot, keep(snapshot, a=encoded(photo(), "PNG")))
    keep(snapshot, a=encoded(photo(seed=1), "PNG"))
    with pytest.raises(DataError, match="the picture a was altered during the build; run it again"):
        list(stored_pictures(snapshot, [picture]))


def test_a_picture_with_an_archive_behind_it_is_still_that_picture(snapshot: Snapshot) -> None:
    keys = keep(snapshot, a=jpeg_segments((0xFE, SCRIPT)) + b"PK\3\4" + bytes(100))
    assert [picture.format for picture in inspect_all(snapshot, keys)] == ["JPEG"]
