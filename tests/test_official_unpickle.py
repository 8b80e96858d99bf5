"""Feature pickles: float arrays come through in every protocol, hostile ones touch nothing."""

import collections
import contextlib
import os
import pickle
import struct
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mkg_builder.errors import DataError
from mkg_builder.sources.official_features import READER, read_vectors
from mkg_builder.sources.official_unpickle import RefusedError, convert


def features(count: int = 3, dimension: int = 4) -> dict[str, Any]:
    draw = np.random.default_rng(7)
    return {f"n{i:08d}": draw.standard_normal(dimension).astype(np.float32) for i in range(count)}


def read(folder: Path, body: bytes) -> dict[str, list[float]]:
    (folder / "features.pkl").write_bytes(body)
    pieces = list(read_vectors(folder / "features.pkl", "features.pkl"))
    return {name: row.tolist() for names, values in pieces for name, row in zip(names, values, strict=True)}


def converted(folder: Path, body: bytes) -> None:
    """The same reading without the process around it, so that many payloads take no time."""
    (folder / "in.pkl").write_bytes(body)
    convert(folder / "in.pkl", folder / "out.parquet")


def test_float_arrays_come_through_in_every_protocol(tmp_path: Path) -> None:
    written = features()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        converted(tmp_path, pickle.dumps(written, protocol))
        table = pq.read_table(tmp_path / "out.parquet")
        assert table["id"].to_pylist() == list(written)
        assert table["vector"].to_pylist() == [row.tolist() for row in written.values()]


def test_several_vectors_of_one_name_become_their_mean(tmp_path: Path) -> None:
    several = np.array([[1, 2], [3, 6]], np.float64)
    body = pickle.dumps({"a": several, "b": np.asfortranarray(several), "c": [0.5, 1], "d": np.array([2, 3], ">f4")})
    assert read(tmp_path, body) == {"a": [2, 4], "b": [2, 4], "c": [0.5, 1], "d": [2, 3]}


def test_more_rows_than_one_piece_holds_keep_their_order(tmp_path: Path) -> None:
    written = features(5000, 2)
    assert list(read(tmp_path, pickle.dumps(written))) == list(written)


class Calls:
    """Pickles as a call of anything, with anything."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments

    def __call__(self) -> None:
        """So that what a call returns can be called in its turn."""


def hostile(canary: Path) -> dict[str, bytes]:
    """Payloads that create the canary file, or exhaust the reader, when a reader runs them."""
    touch, code = f"touch {canary}", f"open({str(canary)!r}, 'w').close()"
    calls: dict[str, Any] = {
        "os.system": Calls(os.system, touch),
        "eval": Calls(eval, f"[{code}]"),
        "exec": Calls(exec, code),
        "popen": Calls(subprocess.Popen, ["touch", str(canary)]),
        "check_output": Calls(subprocess.check_output, ["touch", str(canary)]),
        "os.open": Calls(os.open, str(canary), os.O_CREAT),
        "open": Calls(open, str(canary), "w"),
        "mkdir": Calls(os.mkdir, str(canary)),
        "import": Calls(__import__, "this"),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "chain": Calls(Calls(getattr, Calls(__import__, "os"), "system"), touch),
        "map": Calls(list, Calls(map, os.system, [touch])),
        "touch": Calls(Path.touch, canary),
        "path": canary,
        "function": types.SimpleNamespace(run=os.system),
        "dictionary": collections.OrderedDict(a=Calls(os.system, touch)),
        "value": {"a": Calls(os.system, touch)},
        "key": {Calls(os.getcwd): [1.0]},
        "objects": {"a": np.array([Calls(os.system, touch)], object)},
        "structured": {"a": np.zeros(2, [("x", "f4")])},
        "integers": {"a": np.zeros(2, np.int64)},
        "scalar": {"a": np.float32(1)},
        "complex": {"a": [1j]},
        "set": {"a": {1.0}},
    }
    plain = pickle.dumps(features(), 4)
    assembled = {
        "protocol 0 by hand": f"cos\nsystem\n(S'{touch}'\ntR.".encode(),
        "inst": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "obj": f"(cos\nsystem\nS'{touch}'\no.".encode(),
        "newobj": b"\x80\x02cpathlib\nPosixPath\n)\x81.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "build": f"cos\n__dict__\n}}(S'system'\nS'{touch}'\nub.".encode(),
        "dtype as a function": b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        "a state of objects": b"cnumpy\nndarray\n}b.",
        "half": plain[: len(plain) // 2],
        "nothing": b"",
        "two": plain + plain,
        "a long text": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
        "many bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"a.",
        "a long number": b"L" + b"9" * 100_000 + b"L\n.",
        "depth": b"(" * 100_000 + b"l" * 100_000 + b".",
        "cycle": b"\x80\x02}X\x01\x00\x00\x00a]q\x00h\x00as.",
        "an end without a beginning": b"\x80\x02u.",
        "zip": b"PK\x03\x04" + bytes(100),
    }
    return {name: pickle.dumps(value, 4) for name, value in calls.items()} | assembled


LIVE = (
    "os.system", "eval", "exec", "popen", "check_output", "os.open", "mkdir", "map", "touch", "dictionary",
    "value", "objects", "protocol 0 by hand", "inst", "obj",
)  # fmt: skip


def test_no_hostile_payload_touches_the_canary(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    payloads = hostile(canary)
    for name, body in payloads.items():
        with pytest.raises((RefusedError, ArithmeticError, LookupError, MemoryError, TypeError, ValueError)):
            converted(tmp_path, body)
        assert not canary.exists(), name
    assert len(payloads) >= 40


@pytest.mark.parametrize("name", LIVE)
def test_the_payloads_are_live_where_a_pickle_is_run(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    with contextlib.suppress(TypeError, pickle.UnpicklingError):
        made = pickle.loads(hostile(canary)[name])
        getattr(made, "wait", lambda: None)()
    assert canary.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os.system", r"it holds the name posix\.system"),
        ("integers", "a call that makes no float array"),
        ("half", "no whole pickle of features"),
        ("a long text", "no whole pickle of features"),
        ("many bytes", "no whole pickle of features"),
        ("cycle", "a list where a vector belongs"),
    ],
)
def test_a_refusal_says_what_the_file_holds(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=f"features.pkl is refused, nothing of it was run: .*{message}"):
        read(tmp_path, hostile(tmp_path / "canary")[name])
    assert not (tmp_path / "canary").exists()


def test_vectors_of_two_lengths_or_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="several lengths"):
        converted(tmp_path, pickle.dumps({"a": np.ones(2, "f4"), "b": np.ones(3, "f4")}))
    with pytest.raises(RefusedError, match="not finite"):
        converted(tmp_path, pickle.dumps({"a": np.array([1, np.nan], "f4")}))


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    one = pickle.dumps({"a": [1.0]}, 2)
    item = one[one.index(b"X") : one.index(b"s.")]
    with pytest.raises(RefusedError, match="there twice"):
        converted(tmp_path, one[:-1] + item.replace(b"q\x01", b"").replace(b"q\x02", b"") + b"s.")


def test_a_small_file_cannot_ask_for_much_memory_or_disk(tmp_path: Path) -> None:
    same = np.random.default_rng(7).standard_normal(20_000).astype(np.float32)
    body = pickle.dumps(dict.fromkeys((f"n{i}" for i in range(500)), same))
    with pytest.raises(DataError, match="File too large"):  # 140 kB that stand for 40 MB
        read(tmp_path, body)


CONFINED = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("reader", sys.argv[1])
reader = importlib.util.module_from_spec(spec)
sys.modules["reader"] = reader
spec.loader.exec_module(reader)
reader.confine(0)
import os, socket, subprocess
attempts = [
    lambda: socket.create_connection(("127.0.0.1", 9)), lambda: socket.getaddrinfo("example.org", 80),
    lambda: os.system("true"), lambda: subprocess.run(["true"]), lambda: os.fork(), lambda: open(sys.argv[2], "w"),
    lambda: os.mkdir(sys.argv[2]), lambda: os.execv("/bin/true", ["true"]), lambda: os.kill(os.getppid(), 0),
]
for attempt in attempts:
    try:
        attempt()
    except PermissionError as error:
        sys.stderr.write(f"{error}\\n")
"""


STARTED = """
import contextlib, os, runpy, sys
del sys.argv[0]
with contextlib.suppress(FileNotFoundError):
    runpy.run_path(sys.argv[0], run_name="__main__")
sys.stdout.write(os.readlink("/proc/self/ns/net"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_the_reader_is_alone_on_its_network_where_the_kernel_allows_it(tmp_path: Path) -> None:
    bare = "import ctypes, os, sys; sys.exit(ctypes.CDLL(None).unshare(1 << 30 | (1 << 28 if os.geteuid() else 0)))"
    if subprocess.run([sys.executable, "-I", "-c", bare], timeout=60, check=False).returncode:
        pytest.skip("this kernel allows no network of one's own")
    command = [sys.executable, "-I", "-c", STARTED, str(READER), str(tmp_path / "none"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("net:[")
    assert done.stdout != str(Path("/proc/self/ns/net").readlink())


def test_the_reader_gives_up_network_processes_and_writing(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-c", CONFINED, str(READER), str(tmp_path / "canary")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.count("is not allowed here") == 9, done.stderr
    assert not (tmp_path / "canary").exists()
