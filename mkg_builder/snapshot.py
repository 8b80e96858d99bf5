"""The snapshot: every answer exactly as received, named by its sha256, and a journal of what was asked.

    objects/ab/abcdef…      the bytes, written once (temporary file, fsync, rename)
    journal.jsonl           one line per answer, appended and fsynced after its object is safe
    origin.json             which endpoints were asked
    format                  the version of this layout; a folder without it is of version 1
    lock                    held by the process at work
    asked.log               the requests of the last hour, so that limits hold from run to run

A journal line is the commit: what it does not name was never fetched. A torn last line is dropped. No symbolic
link is followed inside the folder.
"""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkg_builder.addresses import is_loopback
from mkg_builder.durable import copy_durably, file_sha256, sync_folder, write_durably
from mkg_builder.errors import DataError, LockedError, StorageError, UsageError
from mkg_builder.source import Answer

FORMAT = "1"
LEAST_FREE = 16 * 2**20
"""Bytes that must be free before anything is fetched."""

_CHECK = b', "check": '

OPENING = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal."""

    key: str
    status: int
    sha256: str
    bytes: int
    media_type: str
    time: int


class Snapshot:
    """The answers kept in one folder; safe against `kill -9` at any moment, and against a second process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records: dict[str, Record] = {}
        self._journal = folder / "journal.jsonl"
        self._appending = threading.Lock()
        self._file: int | None = None
        self._loaded = 0
        self._require_format()
        if self._journal.exists():
            self._load()

    def _require_format(self) -> None:
        path = self.folder / "format"
        found = path.read_text(errors="replace").strip()[:20] if path.exists() else FORMAT
        if found != FORMAT:
            known = f"of format {found}, and this mkgb knows format {FORMAT}"
            raise DataError(f"{self.folder} is {known}; use the mkgb that made it, or another --workspace")

    def _load(self) -> None:
        self._loaded = 0
        with self._journal.open("rb") as journal:
            for number, line in enumerate(journal, 1):
                if not line.endswith(b"\n"):  # a torn last line was never committed
                    break
                record = _parsed(line)
                if record is None:
                    raise DataError(
                        f"{self._journal}: line {number} is damaged; delete that line, the next run asks it again"
                    )
                self._records[record.key] = record
                self._loaded += len(line)

    @contextmanager
    def writing(self) -> Iterator["Snapshot"]:
        """Hold the folder for writing.

        Raises:
            LockedError: another process holds it; the message names it.
            StorageError: the disk is full, or a symbolic link stands where a folder or file of ours should.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._require_own()
        with os.fdopen(os.open(self.folder / "lock", OPENING, 0o644), "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                raise LockedError(f"{self.folder} is in use by {lock.read().strip() or 'another process'}") from None
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            lock.flush()
            self._require_room()
            self._open_journal()
            if not (self.folder / "format").exists():
                write_durably(self.folder / "format", f"{FORMAT}\n".encode())
            try:
                yield self
            finally:
                if self._file is not None:
                    os.close(self._file)
                self._file = None

    def _require_own(self) -> None:
        for name in ("objects", "journal.jsonl", "lock", "format", "origin.json", "asked.log"):
            if (self.folder / name).is_symlink():
                raise StorageError(f"{self.folder / name} is a symbolic link, which is not written through; remove it")

    def _require_room(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < LEAST_FREE:
            raise StorageError(
                f"{self.folder}: {free:,} bytes are free on this disk, {LEAST_FREE:,} is the least to work with; "
                "make room or give another --workspace"
            )
        inodes = os.statvfs(self.folder)
        if inodes.f_files and not inodes.f_favail:
            raise StorageError(
                f"{self.folder}: this disk can hold no more files; make room or give another --workspace"
            )

    def _open_journal(self) -> None:
        self._file = os.open(self._journal, OPENING, 0o644)
        size = os.fstat(self._file).st_size
        if size != self._loaded:  # written to, or torn, since it was read
            self._records.clear()
            self._load()
            os.ftruncate(self._file, self._loaded)
        for left in self.folder.rglob(".new-*"):  # a killed process's
            left.unlink(missing_ok=True)

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key, its bytes verified; None when there is none.

        An object that is missing or altered counts as never fetched, so that it is asked again.
        """
        record = self._records.get(key)
        if record is None:
            return None
        path = self._object(record.sha256)
        body = path.read_bytes() if path.exists() else None
        if body is None or hashlib.sha256(body).hexdigest() != record.sha256:
            del self._records[key]
            return None
        return Answer(key, record.status, body, record.media_type)

    def put(self, answer: Answer) -> None:
        """Keep an answer; when this returns, it survives a crash. May be called from several threads.

        The same answer again changes nothing; another answer to the same question takes the old one's place.
        """
        self._handle()
        digest = hashlib.sha256(answer.body).hexdigest()
        self._write_object(digest, answer.body)
        self._commit(Record(answer.key, answer.status, digest, len(answer.body), answer.media_type, int(time.time())))

    def put_file(self, key: str, path: Path, media_type: str) -> None:
        """Keep a file as an answer without reading it into memory; else as `put`."""
        self._handle()
        (self.folder / "objects").mkdir(exist_ok=True)
        copy = copy_durably(path, self.folder / "objects")
        try:
            digest, size = file_sha256(copy), copy.stat().st_size
            target = self._object(digest)
            target.parent.mkdir(exist_ok=True)
            copy.replace(target)
            sync_folder(target.parent)
            sync_folder(target.parent.parent)
        finally:
            copy.unlink(missing_ok=True)
        self._commit(Record(key, 200, digest, size, media_type, int(time.time())))

    def file(self, key: str) -> Path | None:
        """The object that holds an answer, its bytes verified; None as for `get`."""
        record = self._records.get(key)
        if record is None:
            return None
        path = self._object(record.sha256)
        if path.is_file() and file_sha256(path) == record.sha256:
            return path
        del self._records[key]
        return None

    def _handle(self) -> int:
        if self._file is None:
            raise UsageError(f"{self.folder} is not open for writing")
        return self._file

    def _commit(self, record: Record) -> None:
        """Write the journal line of an answer whose object is safe; none where the same line stands already."""
        file, known = self._handle(), self._records.get(record.key)
        if known and replace(known, time=record.time) == record:
            return
        with self._appending:
            self._append(file, _line(record))
            self._records[record.key] = record
        os.fsync(file)

    def _append(self, file: int, line: bytes) -> None:
        """Add a line to the journal; where there is room for a part of it only, for none."""
        if os.write(file, line) != len(line):
            os.ftruncate(file, self._loaded)
            raise StorageError(f"{self._journal}: the disk is full; make room, the same command goes on from there")
        self._loaded += len(line)

    def _object(self, digest: str) -> Path:
        return self.folder / "objects" / digest[:2] / digest

    def _write_object(self, digest: str, body: bytes) -> None:
        target = self._object(digest)
        if target.is_symlink() or target.parent.is_symlink():
            raise StorageError(f"{target} is or lies behind a symbolic link, which is not written through; remove it")
        if target.exists() and target.stat().st_size == len(body) and file_sha256(target) == digest:
            return
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(target.parent.parent)
        write_durably(target, body)

    def claim_origin(self, endpoints: Mapping[str, str]) -> None:
        """Remember which machine the answers come from, and refuse to mix two.

        Loopback addresses count as one machine whatever their port, since a local server's port changes.

        Raises:
            UsageError: the snapshot already holds answers of another machine.
        """
        known = self.origin()
        if known is not None and _machines(known) != _machines(endpoints):
            raise UsageError(
                f"{self.folder} holds answers of {_words(known)}, not of {_words(endpoints)}; "
                "use another --workspace, or the same --endpoint as before"
            )
        if known != dict(endpoints):
            text = json.dumps(dict(endpoints), indent=2, sort_keys=True) + "\n"
            write_durably(self.folder / "origin.json", text.encode())

    def origin(self) -> dict[str, str] | None:
        """The endpoints that were asked, by name; None before the first fetch."""
        path = self.folder / "origin.json"
        return json.loads(path.read_text()) if path.exists() else None

    def describe(self) -> dict[str, Any]:
        """What a manifest says of the snapshot: its hash, its size, when it was made."""
        digest = hashlib.sha256()
        for key in sorted(self._records):
            record = self._records[key]
            digest.update(json.dumps([key, record.status, record.sha256]).encode() + b"\n")
        times = [record.time for record in self._records.values()] or [0]
        return {"sha256": digest.hexdigest(), "answers": len(self), "first": min(times), "last": max(times)}


def _machines(endpoints: Mapping[str, str]) -> dict[str, str]:
    return {name: "loopback" if is_loopback(url) else urlsplit(url).netloc for name, url in endpoints.items()}


def _words(endpoints: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={url}" for name, url in sorted(endpoints.items()))


def _line(record: Record) -> bytes:
    """A record as its line, with a checksum over what stands before it: a flipped bit may leave valid JSON."""
    text = json.dumps(asdict(record), sort_keys=True).encode()[:-1]
    return b"%s%s%d}\n" % (text, _CHECK, zlib.crc32(text))


def _parsed(line: bytes) -> Record | None:
    """The record of a line; None when the line is damaged. Lines without a checksum are of older versions."""
    text, found, _ = line.rpartition(_CHECK)
    try:
        fields = json.loads(line)
        if found and fields.pop("check") != zlib.crc32(text):
            return None
        return Record(**{**fields, "media_type": sys.intern(fields["media_type"])})
    except (ValueError, TypeError, KeyError):
        return None
