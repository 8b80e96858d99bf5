"""The snapshot: every answer exactly as received, named by its sha256, and a journal of what was asked.

    objects/ab/abcdef…      the bytes, written once (temporary file, fsync, rename)
    journal.jsonl           one line per answer, appended and fsynced after its object is safe
    origin.json             which endpoints were asked
    lock                    held by the process at work

A journal line is the commit: what it does not name was never fetched. A torn last line is dropped.
"""

import fcntl
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkg_builder.durable import copy_durably, file_sha256, sync_folder, write_durably
from mkg_builder.errors import DataError, LockedError, UsageError
from mkg_builder.source import Answer


@dataclass(frozen=True)
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
        if self._journal.exists():
            self._load()

    def _load(self) -> None:
        data = self._journal.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]  # a torn last line was never committed
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = Record(**json.loads(line))
            except (ValueError, TypeError):
                raise DataError(
                    f"{self._journal}: line {number} is damaged; delete that line, the next run asks it again"
                ) from None
            self._records[record.key] = record

    @contextmanager
    def writing(self) -> Iterator["Snapshot"]:
        """Hold the folder for writing.

        Raises:
            LockedError: another process holds it; the message names it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                raise LockedError(f"{self.folder} is in use by {lock.read().strip() or 'another process'}") from None
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            lock.flush()
            self._open_journal()
            try:
                yield self
            finally:
                if self._file is not None:
                    os.close(self._file)
                self._file = None

    def _open_journal(self) -> None:
        self._records.clear()
        self._file = os.open(self._journal, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        data = self._journal.read_bytes()
        os.ftruncate(self._file, data.rfind(b"\n") + 1)
        self._load()

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
        try:
            body = self._object(record.sha256).read_bytes()
        except FileNotFoundError:
            body = None
        if body is None or hashlib.sha256(body).hexdigest() != record.sha256:
            del self._records[key]
            return None
        return Answer(key, record.status, body, record.media_type)

    def put(self, answer: Answer) -> None:
        """Keep an answer; when this returns, it survives a crash. May be called from several threads.

        The same answer again changes nothing; another answer to the same question takes the old one's place.
        """
        self._handle()
        if self.get(answer.key) == answer:
            return
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
        known = self._records.get(key)
        if known is None or (known.sha256, known.media_type) != (digest, media_type):
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
        handle = self._handle()
        line = json.dumps(asdict(record), sort_keys=True, ensure_ascii=True) + "\n"
        with self._appending:
            os.write(handle, line.encode())
            self._records[record.key] = record
        os.fsync(handle)

    def _object(self, digest: str) -> Path:
        return self.folder / "objects" / digest[:2] / digest

    def _write_object(self, digest: str, body: bytes) -> None:
        target = self._object(digest)
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


def is_loopback(url: str) -> bool:
    """Whether an address points at this machine by its own name."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
