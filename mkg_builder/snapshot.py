"""The snapshot: every answer exactly as received, named by its sha256, and a journal of what was asked.

    objects/ab/abcdef…      the bytes, written once (temporary file, rename)
    journal.jsonl           one line per answer, appended after its object is in place
    origin.json             which endpoints were asked
    format                  the version of this layout; a folder without it is of version 1
    lock                    held by the process at work
    asked-SOURCE.log        the requests of the last hour and the waits asked for, so that both hold from run to run
    failed-SOURCE.log       hashes of the keys of what failed: a later run that meets it again expects no better

A journal line is the commit: what it does not name, or takes back, was never fetched. A torn last line is dropped.
Every 256 answers, and at the end, all is forced to the disk: `kill -9` loses no answer, a power cut the last 256 at
most. An object that is missing or altered is asked again. No symbolic link is followed inside the folder.
"""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkg_builder.addresses import is_loopback
from mkg_builder.durable import copy_durably, file_sha256, sync_file_system, sync_folder, write_durably, write_whole
from mkg_builder.errors import DataError, StorageError, UsageError
from mkg_builder.journal import LATEST, Journal, Record
from mkg_builder.lock import OPENING, locked
from mkg_builder.source import Answer

FORMAT = "1"
LEAST_FREE = 16 * 2**20
"""Bytes that must be free before anything is fetched."""


class Snapshot:
    """The answers kept in one folder; safe against `kill -9` at any moment, and against a second process.

    Attributes:
        damaged: the keys whose object was found missing or altered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._objects = str(folder / "objects")
        self._journal = Journal(folder / "journal.jsonl")
        self._file: int | None = None
        self.damaged: set[str] = set()
        self._unsafe = 0
        self._syncing = threading.Lock()
        self._require_format()

    def _require_format(self) -> None:
        path = self.folder / "format"
        found = path.read_text(errors="replace").strip()[:20] if path.exists() else FORMAT
        if found != FORMAT:
            known = f"of format {found}, and this mkgb knows format {FORMAT}"
            raise DataError(f"{self.folder} is {known}; use the mkgb that made it, or another --workspace")

    @contextmanager
    def writing(self) -> Iterator["Snapshot"]:
        """Hold the folder for writing.

        Raises:
            LockedError: another process holds it; the message names it.
            StorageError: the disk is full, or a symbolic link stands where a folder or file of ours should.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._require_own()
        with locked(self.folder):
            self._require_room()
            for left in self.folder.rglob(".new-*"):  # a killed process's
                left.unlink(missing_ok=True)
            self._file = self._journal.open(OPENING)
            if not (self.folder / "format").exists():
                write_durably(self.folder / "format", f"{FORMAT}\n".encode())
            for key in tuple(self._journal.latest):  # a power cut may have left lines without their objects
                self.get(key)
            try:
                yield self
            finally:
                self._close(self._file)

    def _close(self, file: int) -> None:
        try:
            self._sync()
        finally:
            os.close(file)
            self._file = None

    def _require_own(self) -> None:
        names = ("objects", "journal.jsonl", "lock", "format", "origin.json")
        for path in (*(self.folder / name for name in names), *self.folder.glob("*.log")):
            if path.is_symlink():
                raise StorageError(f"{path} is a symbolic link, which is not written through; remove it")

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

    def __contains__(self, key: str) -> bool:
        return key in self._journal

    def __iter__(self) -> Iterator[str]:
        """Everything that was asked, in the order of the answers."""
        return (record.key for record in self._journal.records())

    def __len__(self) -> int:
        return len(self._journal)

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key, its bytes verified; None when there is none.

        An object that is missing or altered counts as never fetched, so that it is asked again.
        """
        record = self._journal.find(key)
        if record is None:
            return None
        try:
            # half the time of Path.read_bytes; a resumed crawl looks at every answer
            with open(f"{self._objects}/{record.sha256[:2]}/{record.sha256}", "rb", buffering=0) as file:  # noqa: PTH123
                body = file.read()
        except FileNotFoundError:
            body = None
        if body is None or hashlib.sha256(body).hexdigest() != record.sha256:
            self._forget(key)
            return None
        return Answer(key, record.status, body, record.media_type)

    def put(self, answer: Answer) -> None:
        """Keep an answer; when this returns, it survives the end of the process. May be called from several threads.

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
            target = self._own_object(digest)
            target.parent.mkdir(exist_ok=True)
            copy.replace(target)
            sync_folder(target.parent)
            sync_folder(target.parent.parent)
        finally:
            copy.unlink(missing_ok=True)
        self._commit(Record(key, 200, digest, size, media_type, int(time.time())))

    def forget(self, key: str) -> None:
        """Take back what was kept under a key: from now on, and for every later process, it was never fetched."""
        if key in self:
            self._commit(Record(key, 0, hashlib.sha256().hexdigest(), 0, "", int(time.time())))

    def file(self, key: str) -> Path | None:
        """The object that holds an answer, its bytes verified; None as for `get`."""
        record = self._journal.find(key)
        if record is None:
            return None
        path = self._object(record.sha256)
        if path.is_file() and file_sha256(path) == record.sha256:
            return path
        self._forget(key)
        return None

    def _forget(self, key: str) -> None:
        self._journal.forget(key)
        self.damaged.add(key)

    def _handle(self) -> int:
        if self._file is None:
            raise UsageError(f"{self.folder} is not open for writing")
        return self._file

    def _commit(self, record: Record) -> None:
        """Write the journal line of an answer whose object is in place; none where the same line stands already."""
        file, known = self._handle(), self._journal.find(record.key)
        if known is None or known._replace(time=record.time) != record:
            self._journal.append(file, record)
            self.damaged.discard(record.key)
            self._unsafe += 1
        if self._unsafe >= LATEST:
            self._sync()

    def _sync(self) -> None:
        """Force everything kept so far to the disk."""
        with self._syncing:
            if self._unsafe:
                self._unsafe = 0
                sync_file_system(self._handle())

    def _object(self, digest: str) -> Path:
        return self.folder / "objects" / digest[:2] / digest

    def _own_object(self, digest: str) -> Path:
        target = self._object(digest)
        if target.is_symlink() or target.parent.is_symlink():
            raise StorageError(f"{target} is or lies behind a symbolic link, which is not written through; remove it")
        return target

    def _write_object(self, digest: str, body: bytes) -> None:
        target = self._own_object(digest)
        if target.exists() and target.stat().st_size == len(body) and file_sha256(target) == digest:
            return
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, body, self.folder / "objects")

    def claim_origin(self, endpoints: Mapping[str, str]) -> None:
        """Remember which machine the answers come from, and refuse to mix two.

        Loopback addresses count as one machine whatever their port, since a local server's port changes. Endpoints
        may be added, so that a recipe can go on from a copy of the snapshot of what it extends.

        Raises:
            UsageError: the snapshot already holds answers of another machine.
        """
        known = self.origin()
        machines = _machines(endpoints)
        if known is not None and any(machines.get(name, now) != now for name, now in _machines(known).items()):
            raise UsageError(
                f"{self.folder} holds answers of {_words(known)}, not of {_words(endpoints)}; "
                "use another --workspace, or the same --endpoint as before"
            )
        every = {**(known or {}), **endpoints}  # also one that the recipe gave up: its answers are still there
        if known != every:
            text = json.dumps(every, indent=2, sort_keys=True) + "\n"
            write_durably(self.folder / "origin.json", text.encode())

    def origin(self) -> dict[str, str] | None:
        """The endpoints that were asked, by name; None before the first fetch."""
        path = self.folder / "origin.json"
        return json.loads(path.read_text()) if path.exists() else None

    def describe(self) -> dict[str, Any]:
        """What a manifest says of the snapshot: its hash, its size, when it was made."""
        digest = hashlib.sha256()
        told = sorted((record.key, record.status, record.sha256) for record in self._journal.records())
        for line in told:
            digest.update(json.dumps(line).encode() + b"\n")
        times = [record.time for record in self._journal.records()] or [0]
        return {"sha256": digest.hexdigest(), "answers": len(self), "first": min(times), "last": max(times)}


def _machines(endpoints: Mapping[str, str]) -> dict[str, str]:
    return {name: "loopback" if is_loopback(url) else urlsplit(url).netloc for name, url in endpoints.items()}


def _words(endpoints: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={url}" for name, url in sorted(endpoints.items()))
