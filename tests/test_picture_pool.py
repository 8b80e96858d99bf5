import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mkg_builder.context import SnapshotContext
from mkg_builder.errors import MkgError
from mkg_builder.http import Client
from mkg_builder.images import inspect
from mkg_builder.picture import PictureError, PictureKilledError
from mkg_builder.picture_pool import Caps, PicturePool
from mkg_builder.picture_worker import READY
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer, Request
from tests.hostile_pictures import HARMLESS, REFUSED, encoded, photo, png
from tests.site import Site, answer

PHOTO = encoded(photo(), "JPEG")


def noise(side: int) -> bytes:
    """A one-bit PNG too large for a bomb: nothing can be told by its header."""
    row = b"\0" + np.random.default_rng(0).bytes(side // 8)
    return png(side, side, rows=row * side) + bytes(side * side // 1000)


def pid(pool: PicturePool) -> int:
    """The process of a pool of one."""
    pool.ask(PHOTO)  # which starts it
    worker = pool._idle.get()
    pool._idle.put(worker)
    return worker._process.pid


def memory(of: int | str, line: str) -> int:
    """MiB, from what Linux says of a process."""
    status = Path(f"/proc/{of}/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) // 1024


def test_a_worker_tells_format_and_size_and_sends_32_by_32_grey_pixels() -> None:
    with PicturePool(1) as pool:
        answer, grey = pool.ask(PHOTO)
    assert answer == {"format": "JPEG", "width": 120, "height": 90}
    assert len(grey) == 1024


def test_every_hostile_picture_costs_itself_alone_and_little_memory() -> None:
    before = memory("self", "VmRSS")
    with PicturePool(1, Caps(memory=400)) as pool:
        first = pid(pool)
        for reason, body in REFUSED.items():
            with pytest.raises(PictureError, match=reason):
                pool.ask(body)
        assert [name for name, body in HARMLESS.items() if not pool.ask(body)[0]["width"]] == []
        assert pid(pool) == first
        assert memory(first, "VmHWM") < 150
    assert memory("self", "VmRSS") - before < 60


def test_whatever_a_picture_is_made_of_costs_itself_alone(whole: bool) -> None:
    rng, kinds = random.Random(0), [encoded(photo(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF")]
    refused, count = 0, 10_000 if whole else 400
    with PicturePool(1, Caps(memory=400)) as pool:
        for number in range(count):
            body = bytearray(kinds[number % 4])
            for _ in range(rng.choice([1, 3, 30])):
                place = rng.randrange(len(body))
                body[place : place + rng.choice([0, 1, 1, 4])] = rng.randbytes(rng.choice([0, 1, 1, 4]))
            try:
                pool.ask(bytes(body))
            except PictureError:
                refused += 1
        assert pool.ask(PHOTO)[0]["width"] == 120
    assert count // 4 < refused < count


def test_a_picture_beyond_the_memory_cap_is_refused_with_the_cap_and_the_next_is_read() -> None:
    with PicturePool(1, Caps(memory=200)) as pool:
        with pytest.raises(PictureError, match="its decoding needs more than 200 MiB"):
            pool.ask(noise(8000))
        assert memory(pid(pool), "VmHWM") < 200
        assert pool.ask(PHOTO)[0]["width"] == 120


def test_a_picture_beyond_the_time_cap_is_refused_with_the_cap_and_the_next_is_read() -> None:
    with PicturePool(1, Caps(seconds=0)) as pool:
        with pytest.raises(PictureError, match="its decoding took longer than 0 s of processor time"):
            for _ in range(5):
                pool.ask(noise(12_000))
        assert pool.ask(PHOTO)[0]["width"] == 120


def test_a_worker_that_hangs_is_replaced() -> None:
    with PicturePool(1, Caps(patience=0.3)) as pool:
        hanging = pid(pool)
        os.kill(hanging, signal.SIGSTOP)
        with pytest.raises(PictureError, match=r"its decoding took longer than 0\.3 s$"):
            pool.ask(PHOTO)
        assert pid(pool) != hanging


def test_a_picture_whose_worker_was_killed_by_somebody_else_is_asked_about_once_more() -> None:
    with PicturePool(1) as pool:
        os.kill(pid(pool), signal.SIGKILL)
        assert pool.ask(PHOTO)[0]["width"] == 120


def killed_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """From now on a worker is killed as soon as it is asked; the file has a line for each."""
    program, asked = folder / "python", folder / "asked"
    program.write_text(
        f"#!/bin/sh\nprintf '{json.dumps({**READY, 'bytes': 0})}\\n'; read q; echo >>{asked}; kill -9 $$\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return asked


def test_a_picture_over_which_two_workers_were_killed_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, PicturePool(1) as pool:
        asked = killed_workers(tmp_path, patch)
        with pytest.raises(PictureKilledError, match="killed by the system"):
            pool.ask(PHOTO)
        assert len(asked.read_text().splitlines()) == 2
        with Snapshot(tmp_path / "s").writing() as snapshot:
            snapshot.put(Answer("kept", 200, PHOTO, "image/jpeg"))
            with pytest.raises(MkgError, match="the picture kept: its decoding was killed"):
                inspect(pool, snapshot, "kept")
            client = Client(None, ["127.0.0.1:*"], {}, transport=Site({"/x": answer(PHOTO, Content_Type="image/jpeg")}))
            context = SnapshotContext("s", Path(), snapshot, {}, client=client)
            context.pictures = pool
            wanted = Request("images:/x", "http://127.0.0.1:1/x", accept="image/")
            assert (context.get(wanted).status, list(snapshot), len(context.failures)) == (0, ["kept"], 1)
            patch.undo()
            assert context.is_whole_picture(context.get(wanted))


@pytest.mark.parametrize(
    ("death", "words"), [(signal.SIGABRT, r"crashed \(SIGABRT\)"), (signal.SIGSEGV, r"crashed \(SIGSEGV\)")]
)
def test_a_worker_that_dies_costs_one_picture(death: signal.Signals, words: str) -> None:
    with PicturePool(1) as pool:
        os.kill(pid(pool), death)
        with pytest.raises(PictureError, match=words):
            pool.ask(PHOTO)
        assert pool.ask(PHOTO)[0]["width"] == 120


def test_a_worker_that_cannot_start_is_an_error_and_not_a_broken_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        pytest.raises(MkgError, match=r"the picture worker does not start; to see why: /bin/false .*exit code 1"),
        PicturePool(1) as pool,
    ):
        pool.ask(PHOTO)


def test_results_come_in_order_and_only_a_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    with PicturePool(1) as pool:
        results = pool.map(lambda i: time.sleep(0.002 * (i % 3)) or i, items())
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        results.close()
    assert len(taken) < 30


def test_workers_end_with_their_pool() -> None:
    with PicturePool(2) as pool:
        processes = []
        for _ in range(2):
            pool.ask(PHOTO)
        for _ in range(2):
            worker = pool._idle.get()
            processes.append(worker._process.pid)
            pool._idle.put(worker)
    assert len(set(processes)) == 2
    assert [p for p in processes if Path(f"/proc/{p}").exists()] == []


def test_a_worker_sees_no_secret_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with PicturePool(1) as pool:
        assert b"hf_secret" not in Path(f"/proc/{pid(pool)}/environ").read_bytes()
