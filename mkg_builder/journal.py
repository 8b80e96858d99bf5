"""The journal of a snapshot: one line per answer; in memory is only where each question's last line begins."""

import hashlib
import json
import os
import threading
import weakref
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mkg_builder.durable import naming
from mkg_builder.errors import DataError, StorageError

LATEST = 256
"""So many of the last answers may be lost in a power cut."""

USUAL_LINE = 1024

_CHECK = b', "check": '


class Record(NamedTuple):
    """One line of the journal; with status 0 it takes back what was kept under its key."""

    key: str
    status: int
    sha256: str
    bytes: int
    media_type: str
    time: int


class Journal:
    """The records of a file, which grows by whole lines; a torn last line is not there.

    Half a million records as objects would take 300 MiB; their places take a fifth of that.

    Attributes:
        latest: the keys of the last lines when the file was read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[bytes, int] = {}
        self._size = 0
        self.latest: deque[str] = deque(maxlen=LATEST)
        self._appending = threading.Lock()
        self._reader: int | None = None
        self.load()

    def load(self) -> None:
        """Read the file again.

        Raises:
            DataError: a line is damaged.
        """
        self._places.clear()
        self._size = 0
        for record, place, size in self._lines():
            self._place(record, place)
            self.latest.append(record.key)
            self._size = place + size

    def _lines(self) -> Iterator[tuple[Record, int, int]]:
        if not self.path.exists():
            return
        place = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):  # a torn last line was never committed
                    return
                record = _parsed(line)
                if record is None:
                    raise DataError(
                        f"{self.path}: line {number} is damaged; delete that line, the next run asks it again"
                    )
                yield record, place, len(line)
                place += len(line)

    def open(self, flags: int) -> int:
        """A handle to append with; what was written, or torn, since the file was read is taken note of."""
        handle = os.open(self.path, flags, 0o644)
        if os.fstat(handle).st_size != self._size:
            self.load()
            os.ftruncate(handle, self._size)
        return handle

    def append(self, handle: int, record: Record) -> None:
        """Add a record's line; where there is room for a part of it only, nothing.

        Raises:
            StorageError: the disk is full.
        """
        line = _line(record)
        with self._appending, naming(self.path):
            if os.write(handle, line) != len(line):
                os.ftruncate(handle, self._size)
                raise StorageError(f"{self.path}: the disk is full; make room, the same command goes on from there")
            self._place(record, self._size)
            self._size += len(line)

    def _place(self, record: Record, place: int) -> None:
        if record.status:
            self._places[_name(record.key)] = place
        else:
            self.forget(record.key)

    def find(self, key: str) -> Record | None:
        """The last record of a key; None when there is none."""
        place = self._places.get(_name(key))
        if place is None:
            return None
        record = _parsed(self._line_at(place))
        return record if record is not None and record.key == key else None

    def _line_at(self, place: int) -> bytes:
        with self._appending:
            if self._reader is None:
                self._reader = os.open(self.path, os.O_RDONLY)
                weakref.finalize(self, os.close, self._reader)
        size = USUAL_LINE
        while b"\n" not in (found := os.pread(self._reader, size, place)) and len(found) == size:
            size *= 16
        return found.partition(b"\n")[0]

    def forget(self, key: str) -> None:
        """Treat a key as never asked, until it is asked again."""
        self._places.pop(_name(key), None)

    def records(self) -> Iterator[Record]:
        """The last record of every key, in the order of their lines."""
        for record, place, _ in self._lines():
            if self._places.get(_name(record.key)) == place:
                yield record

    def __contains__(self, key: str) -> bool:
        return _name(key) in self._places

    def __len__(self) -> int:
        return len(self._places)


def _name(key: str) -> bytes:
    """A key in twelve bytes: no two of a billion keys are likely to share them."""
    return hashlib.blake2b(key.encode(), digest_size=12).digest()


def _line(record: Record) -> bytes:
    """A record as its line, with a checksum over what stands before it: a flipped bit may leave valid JSON."""
    text = json.dumps(record._asdict(), sort_keys=True).encode()[:-1]
    return b"%s%s%d}\n" % (text, _CHECK, zlib.crc32(text))


def _parsed(line: bytes) -> Record | None:
    """The record of a line; None when the line is damaged. Lines without a checksum are of older versions."""
    text, found, _ = line.rpartition(_CHECK)
    try:
        fields = json.loads(line.decode())
        if found and fields.pop("check") != zlib.crc32(text):
            return None
        return Record(**fields)
    except (ValueError, TypeError, KeyError):
        return None
