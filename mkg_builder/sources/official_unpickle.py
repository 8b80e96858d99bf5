"""Reads one feature pickle without running it: a program of its own, with few opcodes, little memory and no network.

    python -I official_unpickle.py FEATURES.pkl VECTORS.parquet

A pickle is a program whose opcodes call what it names. Here nothing is ever called: the opcodes that build
dictionaries, lists, numbers and bytes are carried out, the names that NumPy writes for a float array are recognised as
such, and everything else ends the reading. What comes out is one vector per key, the mean where there are several.
It imports nothing of this package, so that it can be started by its path in isolated mode.
"""

import ctypes
import os
import pickletools
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000

if __name__ == "__main__":  # here: a process with threads may not, and Arrow starts some when it is imported
    # a network of its own, which leads nowhere, where the kernel allows it; the audit hook stands anyway
    ctypes.CDLL(None).unshare(_CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET)

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

REFUSED = 3
"""The exit code that goes with one line on standard error: what in the file is not allowed."""
BATCH = 4096

ALLOWED = {
    "numpy.core.multiarray _reconstruct": "array", "numpy._core.multiarray _reconstruct": "array",
    "numpy.core.numeric _frombuffer": "buffer", "numpy._core.numeric _frombuffer": "buffer",
    "numpy ndarray": "ndarray", "numpy dtype": "dtype", "_codecs encode": "encode",
}  # fmt: skip
"""What a float array is written with, by protocol and version of NumPy: the names are compared, never imported."""

LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
FORBIDDEN_EVENTS = (
    "socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.kill",
    "os.putenv", "pty.", "ctypes.",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_END = object()


class RefusedError(ValueError):
    """Something in the file that a pickle of features does not have."""


@dataclass(frozen=True)
class Symbol:
    """A name of the allow-list, standing for itself."""

    kind: str


@dataclass
class ElementType:
    """Floats of so many bytes, in one byte order."""

    size: int
    order: str = "<"


@dataclass
class FloatArray:
    """An array as a pickle describes it: nothing is allocated before its description is whole and consistent."""

    type: ElementType | None = None
    shape: tuple[int, ...] = ()
    order: str = "C"
    data: bytes = b""

    def array(self) -> npt.NDArray[np.floating[Any]]:
        """The numbers themselves."""
        if self.type is None or len(self.data) != self.type.size * int(np.prod(self.shape, dtype=object)):
            raise RefusedError(f"an array whose shape {list(self.shape)} does not fit its {len(self.data)} bytes")
        flat = np.frombuffer(self.data, f"{self.type.order}f{self.type.size}")
        return flat.reshape(self.shape, order="F" if self.order == "F" else "C")


class Reader:
    """A stack machine for the part of the pickle format that data needs."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.steps: dict[str, Callable[[Any], None]] = {
            "NONE": lambda _: self._push(None), "NEWTRUE": lambda _: self._push(True),
            "NEWFALSE": lambda _: self._push(False), "EMPTY_TUPLE": lambda _: self._push(()),
            "EMPTY_LIST": lambda _: self._push([]), "EMPTY_DICT": lambda _: self._push({}),
            "MARK": lambda _: self._push(_END),
            "TUPLE1": lambda _: self._tuple(1), "TUPLE2": lambda _: self._tuple(2), "TUPLE3": lambda _: self._tuple(3),
            "TUPLE": lambda _: self._push(tuple(self._since_mark())), "LIST": lambda _: self._push(self._since_mark()),
            "DICT": lambda _: self._fill({}, self._since_mark()),
            "APPEND": lambda _: self._extend([self.stack.pop()]), "APPENDS": lambda _: self._extend(self._since_mark()),
            "SETITEM": lambda _: self._set([self.stack.pop(-2), self.stack.pop()]),
            "SETITEMS": lambda _: self._set(self._since_mark()),
            "MEMOIZE": lambda _: self._remember(len(self.memo)), "PUT": self._remember, "BINPUT": self._remember,
            "LONG_BINPUT": self._remember, "GET": self._recall, "BINGET": self._recall, "LONG_BINGET": self._recall,
            "GLOBAL": self._name, "STACK_GLOBAL": lambda _: self._name(" ".join(self._texts(2))),
            "REDUCE": self._reduce, "BUILD": self._build,
        }  # fmt: skip

    def read(self, file: BinaryIO) -> Any:
        """What the pickle in a file stands for.

        Raises:
            RefusedError: an opcode or a name that is not allowed.
            ValueError, LookupError, TypeError: no pickle.
        """
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in LITERALS:
                self.stack.append(argument)
            elif opcode.name in self.steps:
                self.steps[opcode.name](argument)
            elif opcode.name not in ("PROTO", "FRAME", "STOP"):
                raise RefusedError(f"the opcode {opcode.name}")
        if len(self.stack) != 1 or file.read(1):
            raise RefusedError("something besides one object")
        return self.stack[0]

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _END:
            place -= 1
            if place < 0:
                raise RefusedError("an end without a beginning")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise RefusedError("a tuple of what is not there")
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise RefusedError("an append to what is no list")
        self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise RefusedError("an item of what is no dictionary")
        self._fill(self.stack.pop(), items)

    def _fill(self, target: dict[str, Any], items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str or key in target:
                raise RefusedError(f"the key {str(key)[:60]!r}, no text or there twice")
            target[key] = value
        self.stack.append(target)

    def _remember(self, place: int) -> None:
        self.memo[int(place)] = self.stack[-1]

    def _recall(self, place: int) -> None:
        self.stack.append(self.memo[int(place)])

    def _texts(self, count: int) -> list[str]:
        texts = [self.stack.pop() for _ in range(count)][::-1]
        if any(type(text) is not str for text in texts):
            raise RefusedError("a name that is no text")
        return texts

    def _name(self, dotted: str) -> None:
        if dotted not in ALLOWED:
            raise RefusedError(f"the name {dotted.replace(' ', '.')[:100]}")
        self.stack.append(Symbol(ALLOWED[dotted]))

    def _reduce(self, _: Any) -> None:
        arguments, symbol = self.stack.pop(), self.stack.pop()
        match symbol, arguments:
            case Symbol("encode"), (str() as text, "latin1" | "latin-1"):
                self.stack.append(text.encode("latin-1"))
            case Symbol("array"), (Symbol("ndarray"), (0,), b"b"):
                self.stack.append(FloatArray())
            case Symbol("dtype"), ("f2" | "f4" | "f8" as code, False | 0, True | 1):
                self.stack.append(ElementType(int(code[1])))
            case Symbol("buffer"), (
                bytes() | bytearray() as data,
                ElementType() as kind,
                tuple() as shape,
                "C" | "F" as order,
            ):
                self.stack.append(FloatArray(kind, _shape(shape), order, bytes(data)))
            case _:
                raise RefusedError("a call that makes no float array")

    def _build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        match target, state:
            case ElementType(), (3, "<" | ">" | "=" | "|" as order, None, None, None, -1, -1, 0):
                target.order = "<" if order in "=|" else order
            case FloatArray(), (1, tuple() as shape, ElementType() as kind, bool() | 0 | 1 as fortran, bytes() as data):
                target.type, target.shape, target.data = kind, _shape(shape), data
                target.order = "F" if fortran else "C"
            case _:
                raise RefusedError("a state that no float array has")


def _shape(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    if len(sizes) not in (1, 2) or any(type(size) is not int or not 0 < size < 2**31 for size in sizes):
        raise RefusedError(f"an array of the shape {str(sizes)[:60]}; one or several vectors have one or two sizes")
    return sizes


def vector_of(value: Any) -> npt.NDArray[np.float32]:
    """One vector: itself, or the mean of several.

    Raises:
        RefusedError: neither an array nor a list of floats, or not finite.
    """
    if isinstance(value, FloatArray):
        array = value.array()
    elif isinstance(value, list) and value and all(type(item) in (float, int) for item in value):
        array = np.array(value, np.float64)
    else:
        raise RefusedError(f"a {type(value).__name__} where a vector belongs")
    mean = array if array.ndim == 1 else array.mean(axis=0, dtype=np.float64)
    vector: npt.NDArray[np.float32] = mean.astype(np.float32)
    if not np.isfinite(vector).all():
        raise RefusedError("a vector that is not finite")
    return vector


def batches(features: dict[str, Any]) -> Iterator[pa.RecordBatch]:
    """The vectors by key, some thousand at a time, all of one length."""
    keys, dimension = list(features), 0
    for start in range(0, len(keys), BATCH):
        some = keys[start : start + BATCH]
        vectors = [vector_of(features[key]) for key in some]
        dimension = dimension or len(vectors[0])
        if any(len(vector) != dimension for vector in vectors):
            raise RefusedError(f"vectors of several lengths, {dimension} and others")
        rows = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(vectors)), dimension)
        yield pa.record_batch([pa.array(some, pa.string()), rows], ["id", "vector"])


def convert(source: Path, target: Path) -> None:
    """Read the pickle and write its vectors as Parquet."""
    with source.open("rb") as file:
        features = Reader().read(file)
    if not isinstance(features, dict) or not features:
        raise RefusedError(f"a {type(features).__name__} where a dictionary of vectors belongs")
    writer = None
    for batch in batches(features):
        writer = writer or pq.ParquetWriter(target, batch.schema, write_page_checksum=True, use_dictionary=False)
        writer.write_batch(batch)
    if writer is not None:
        writer.close()


def confine(size: int) -> None:
    """Give up sockets, new processes, and more memory, time and disk than a file of this size can need."""
    sys.addaudithook(_refuse_event)
    gigabyte = 1 << 30
    for what, limit in (
        (resource.RLIMIT_AS, 3 * gigabyte + 4 * size), (resource.RLIMIT_CPU, 120 + size // 500_000),
        (resource.RLIMIT_FSIZE, 2 * size + (1 << 24)), (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(what, (limit, limit))


def _refuse_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(FORBIDDEN_EVENTS) or (event == "open" and (arguments[2] or 0) & _WRITING):
        raise PermissionError(f"{event} is not allowed here")


def main() -> int:
    """Convert IN to OUT; 0, or `REFUSED` with one line on standard error."""
    source, target = map(Path, sys.argv[1:3])
    confine(source.stat().st_size)
    try:
        convert(source, target)
    except RefusedError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    except (ArithmeticError, LookupError, MemoryError, OSError, RecursionError, TypeError, ValueError) as error:
        sys.stderr.write(f"no whole pickle of features ({type(error).__name__}: {str(error)[:200]})\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
