import fcntl
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mkg_builder.errors import DataError, LockedError, StorageError, UsageError
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer


def kept(folder: Path, *bodies: bytes) -> Snapshot:
    snapshot = Snapshot(folder)
    with snapshot.writing():
        for number, body in enumerate(bodies):
            snapshot.put(Answer(f"s:/{number}", 200, body, "text/plain"))
    return snapshot


def kept_file(folder: Path, body: bytes) -> Snapshot:
    snapshot, path = Snapshot(folder), folder.with_suffix(".body")
    path.write_bytes(body)
    with snapshot.writing():
        snapshot.put_file("file:one", path, "text/plain")
    return snapshot


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    kept(tmp_path, b"one", b"two")
    assert Snapshot(tmp_path).get("s:/1") == Answer("s:/1", 200, b"two", "text/plain")


def test_equal_bytes_are_kept_once(tmp_path: Path) -> None:
    kept(tmp_path, b"same", b"same")
    assert len(list((tmp_path / "objects").rglob("*/*"))) == 1


def test_the_same_answer_again_changes_nothing_and_another_takes_its_place(tmp_path: Path) -> None:
    kept(tmp_path, b"one")
    journal = (tmp_path / "journal.jsonl").read_bytes()
    kept(tmp_path, b"one")
    assert (tmp_path / "journal.jsonl").read_bytes() == journal
    kept(tmp_path, b"two")
    assert Snapshot(tmp_path).get("s:/0") == Answer("s:/0", 200, b"two", "text/plain")


def test_a_file_is_kept_as_its_bytes_would_be(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"body")
    snapshot = Snapshot(tmp_path / "s")
    for _ in range(2):
        with snapshot.writing():
            snapshot.put_file("file:big", tmp_path / "big", "text/plain")
    journal = (tmp_path / "s" / "journal.jsonl").read_text().splitlines()
    assert Snapshot(tmp_path / "s").get("file:big") == Answer("file:big", 200, b"body", "text/plain")
    assert (len(journal), snapshot.file("file:big").read_bytes()) == (1, b"body")


def test_a_file_that_was_altered_counts_as_never_fetched(tmp_path: Path) -> None:
    snapshot = kept(tmp_path, b"one")
    snapshot.file("s:/0").write_bytes(b"two")
    assert (snapshot.file("s:/0"), snapshot.file("s:/9"), "s:/0" in snapshot) == (None, None, False)


def test_what_is_taken_back_was_never_fetched_until_it_is_kept_anew(tmp_path: Path) -> None:
    snapshot = kept(tmp_path, b"one", b"two")
    with snapshot.writing():
        for _ in range(2):
            snapshot.forget("s:/0")
    again = Snapshot(tmp_path)
    assert (again.get("s:/0"), "s:/0" in again, list(again)) == (None, False, ["s:/1"])
    assert again.describe() == snapshot.describe()
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 3
    kept(tmp_path, b"one")
    assert Snapshot(tmp_path).get("s:/0") == Answer("s:/0", 200, b"one", "text/plain")


def test_the_hash_depends_on_what_was_answered_not_on_when_or_in_which_order(tmp_path: Path) -> None:
    first = kept(tmp_path / "a", b"one", b"two")
    second = Snapshot(tmp_path / "b")
    with second.writing():
        for number, body in ((1, b"two"), (0, b"one")):
            second.put(Answer(f"s:/{number}", 200, body, "text/plain"))
    assert first.describe()["sha256"] == second.describe()["sha256"]
    assert first.describe()["sha256"] != kept(tmp_path / "c", b"one", b"three").describe()["sha256"]


def test_a_journal_torn_at_any_byte_keeps_every_whole_line(tmp_path: Path) -> None:
    undisturbed = kept(tmp_path, b"one", b"two").describe()["sha256"]
    journal = (tmp_path / "journal.jsonl").read_bytes()
    first_line = journal.index(b"\n") + 1
    for cut in range(len(journal)):
        (tmp_path / "journal.jsonl").write_bytes(journal[:cut])
        assert len(Snapshot(tmp_path)) == (0 if cut < first_line else 1)
        kept(tmp_path, b"one", b"two")
        assert Snapshot(tmp_path).describe()["sha256"] == undisturbed


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    kept(tmp_path, b"one", b"two")
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"{oops\n" + journal.read_bytes())
    with pytest.raises(DataError, match="line 1 is damaged"):
        Snapshot(tmp_path)


def test_an_altered_or_lost_object_counts_as_never_fetched(tmp_path: Path) -> None:
    snapshot = kept(tmp_path, b"one", b"two")
    first, second = sorted((tmp_path / "objects").rglob("*/*"))
    first.chmod(0o644)
    first.write_bytes(b"eno")
    second.unlink()
    assert snapshot.get("s:/0") is None
    assert snapshot.get("s:/1") is None
    kept(tmp_path, b"one", b"two")
    assert Snapshot(tmp_path).get("s:/0") is not None


HOLD = """
import sys, time
from pathlib import Path
from mkg_builder.snapshot import Snapshot
with Snapshot(Path(sys.argv[1])).writing():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_is_at_work_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"process {holder.pid} on"), Snapshot(tmp_path).writing():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with Snapshot(tmp_path).writing():
        pass


def test_who_holds_the_lock_is_given_time_to_write_down_who_it_is(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "lock"
    path.write_text("process 1 on a-machine since yesterday")  # killed, so that its name was left
    with path.open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr("mkg_builder.lock.time.sleep", lambda _: path.write_text("process 2 on this one"))
        with pytest.raises(LockedError, match="process 2 on this one"), Snapshot(tmp_path).writing():
            pass


def test_answers_of_two_machines_are_never_mixed(tmp_path: Path) -> None:
    snapshot = kept(tmp_path, b"one")
    snapshot.claim_origin({"site": "http://127.0.0.1:80/x"})
    snapshot.claim_origin({"site": "http://127.0.0.1:81/x"})
    with pytest.raises(UsageError, match="another --workspace"):
        snapshot.claim_origin({"site": "https://www.example.org"})


def test_one_flipped_bit_anywhere_in_an_object_or_the_journal_is_noticed(tmp_path: Path) -> None:
    kept(tmp_path, *(b"%d" % number * 40 for number in range(20)))
    files = [tmp_path / "journal.jsonl", *sorted((tmp_path / "objects").rglob("*/*"))]
    rng = random.Random(0)
    noticed = 0
    for number in range(500):
        file = files[number % len(files)]
        whole = file.read_bytes()
        place, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            snapshot = Snapshot(tmp_path)
            noticed += any(snapshot.get(f"s:/{key}") is None for key in range(20))
        except DataError:
            noticed += 1
        file.write_bytes(whole)
    assert noticed == 500


def test_a_journal_without_checksums_is_still_read(tmp_path: Path) -> None:
    kept(tmp_path, b"one")
    journal = tmp_path / "journal.jsonl"
    fields = json.loads(journal.read_text())
    del fields["check"]
    journal.write_text(json.dumps(fields) + "\n")
    assert Snapshot(tmp_path).get("s:/0") is not None


def test_a_line_that_does_not_fit_on_the_disk_leaves_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path, b"one")
    whole = (tmp_path / "journal.jsonl").read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, line: real(file, line[:20]))
    with pytest.raises(StorageError, match="the disk is full"):
        kept(tmp_path, b"one", b"two")
    assert (tmp_path / "journal.jsonl").read_bytes() == whole


def test_a_disk_without_room_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkg_builder.snapshot.LEAST_FREE", 1 << 62)
    with pytest.raises(StorageError, match="bytes are free on this disk"), Snapshot(tmp_path).writing():
        pass


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path: Path) -> None:
    kept(tmp_path, b"one")
    left = [folder / ".new-half" for folder in (tmp_path, tmp_path / "objects", *(tmp_path / "objects").iterdir())]
    for path in left:
        path.write_bytes(b"on")
    kept(tmp_path, b"one")
    assert [path.exists() for path in left] == [False] * 3


@pytest.mark.parametrize("found", ["2", "0", "x\x1b", ""])
def test_a_snapshot_of_another_format_is_refused_with_both_named(found: str, tmp_path: Path) -> None:
    kept(tmp_path, b"one")
    assert (tmp_path / "format").read_text() == "1\n"
    (tmp_path / "format").write_text(found)
    with pytest.raises(DataError, match=f"is of format {found}, and this mkgb knows format 1; use the mkgb that made"):
        Snapshot(tmp_path)


def test_a_snapshot_from_before_formats_were_named_is_read_and_then_named(tmp_path: Path) -> None:
    kept(tmp_path, b"one")
    (tmp_path / "format").unlink()
    assert kept(tmp_path, b"one").get("s:/0") is not None
    assert (tmp_path / "format").read_text() == "1\n"


@pytest.mark.parametrize("keep", [kept, kept_file])
@pytest.mark.parametrize("name", ["lock", "objects", "origin.json", "journal.jsonl", "asked-s.log", "shard", "object"])
def test_no_symbolic_link_is_written_through(
    name: str, keep: Callable[[Path, bytes], Snapshot], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    folder = tmp_path / "snapshot"
    digest = hashlib.sha256(b"one").hexdigest()
    place = {"shard": f"objects/{digest[:2]}", "object": f"objects/{digest[:2]}/{digest}"}.get(name, name)
    (folder / place).parent.mkdir(parents=True)
    (folder / place).symlink_to(outside if name in ("objects", "shard") else outside / "file")
    with pytest.raises(StorageError, match="symbolic link"):
        keep(folder, b"one")
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("file", "mine")]
