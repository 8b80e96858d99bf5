"""The program that decodes pictures in a process of its own, which a hostile picture may kill.

    python -m mkg_builder.picture_worker MEMORY_MIB SECONDS

A message, either way, is one line of JSON and then as many bytes as its `bytes` says. A question is a picture's
file, with `longest_side` null or a number. An answer is `reason`, or else `format`, `width`, `height` and, as its
bytes, the picture in grey for a perceptual hash, or made smaller. The end of the questions ends the program.
"""

import json
import math
import os
import resource
import sys
import time
from contextlib import suppress
from typing import IO, Any

from PIL import Image

from mkg_builder.picture import PictureError, PictureMemoryError, decode_picture, picture_format, resize

READY = {"ready": True}

GREY_SIDE = 32
"""What perceptual hashes look at: so many pixels each way."""


def send(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    """Write one message."""
    stream.write(json.dumps({**header, "bytes": len(body)}).encode() + b"\n")
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Read one message; None where the stream ends before or within it."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    header: dict[str, Any] = json.loads(line)
    size = header.pop("bytes")
    body = stream.read(size)
    return (header, body) if len(body) == size else None


def main() -> None:
    """Answer questions until there are no more."""
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    questions, answers = os.fdopen(0, "rb"), os.fdopen(1, "wb")
    _limit(resource.RLIMIT_AS, memory * 2**20)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    send(answers, READY)
    while (question := receive(questions)) is not None:
        header, body = question
        # the system ends a process at a total of processor time: what is spent, and one picture's share
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)
        try:
            answer, payload = examine(body, header["longest_side"])
        except (PictureMemoryError, MemoryError):
            answer, payload = {"reason": f"its decoding needs more than {memory:,} MiB"}, b""
        except PictureError as error:
            answer, payload = {"reason": str(error).removeprefix("picture: ")}, b""
        send(answers, answer, payload)


def _limit(what: int, value: int) -> None:
    with suppress(ValueError, OSError):  # a system that knows the limit but refuses it, or a stricter one is set
        resource.setrlimit(what, (value, resource.getrlimit(what)[1]))


def examine(body: bytes, longest_side: int | None) -> tuple[dict[str, Any], bytes]:
    """What a picture is, with its grey pixels, or made smaller.

    Raises:
        PictureError: no whole picture.
    """
    picture = decode_picture(body)
    if longest_side is not None:
        small = resize(picture, longest_side)
        return {"format": "JPEG", "width": picture.width, "height": picture.height}, small
    grey = picture.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.LANCZOS)
    size = {"width": picture.width, "height": picture.height}
    return {"format": picture_format(body), **size}, grey.tobytes()


if __name__ == "__main__":
    main()
