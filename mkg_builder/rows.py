"""The rows of a table file, a few at a time, every cell the text that stands there."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mkg_builder.errors import DataError
from mkg_builder.strict import require_text, unique

Row = dict[str, tuple[str, ...]]
"""Column -> the texts in its cell; none where it is empty, several where a file can hold a list."""

BATCH = 1000
KINDS = ("csv", "tsv", "json", "jsonl", "parquet")
CLOSED = ("csv", "tsv", "parquet")
"""Formats whose every row has every column."""

MOST_JSON = 256 * 2**20
"""A JSON array is read whole; a larger one is to be written as JSONL, an object a line."""


@dataclass(frozen=True)
class RowFile:
    """A table file, and how it is read.

    Attributes:
        path: where it lies.
        name: what to call it in an error.
        kind: one of `KINDS`.
        delimiter: what stands between cells, where that is neither the comma of CSV nor the tab of TSV.
        quoted: whether a double quote begins a cell that may hold delimiters and line breaks.
        used: the columns whose cells are asked for; of Parquet no other is read. None: all of them.
    """

    path: Path
    name: str
    kind: str
    delimiter: str | None = None
    quoted: bool = True
    used: frozenset[str] | None = None

    def place(self, number: int) -> str:
        """What to call a row in an error."""
        return f"{self.name}, {'row' if self.kind in ('json', 'parquet') else 'line'} {number}"


def read_rows(file: RowFile) -> Iterator[tuple[int, Row]]:
    """Every row with the number of its first line, or of itself where the format has no lines.

    Rows of CSV, TSV and Parquet have a key for each column, those of JSON for what they state.

    Raises:
        DataError: not UTF-8, not of its format, cells without a column, a column that stands twice.
    """
    reader: Callable[[RowFile], Iterator[tuple[int, Row]]] = {
        "csv": _csv, "tsv": _csv, "json": _json, "jsonl": _jsonl, "parquet": _parquet,
    }[file.kind]  # fmt: skip
    with _reading(file):
        yield from reader(file)


def read_columns(file: RowFile) -> list[str]:
    """The columns of a file, also of one without rows, and what is nested in them; none where its format names none.

    Raises:
        DataError: as `read_rows`.
    """
    with _reading(file):
        if file.kind == "parquet":
            return list(_nested(pq.read_schema(file.path)))
        if file.kind in CLOSED:
            with _cells(file) as (_, header):
                return [name for name in header if name]
    return []


def _nested(fields: Iterable[pa.Field], prefix: str = "") -> Iterator[str]:
    for field in fields:
        yield f"{prefix}{field.name}"
        if pa.types.is_struct(field.type):
            yield from _nested(field.type.fields, f"{prefix}{field.name}.")


@contextmanager
def _reading(file: RowFile) -> Iterator[None]:
    try:
        yield
    except (csv.Error, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, UnicodeDecodeError):
            raise DataError(f"{file.name}: not UTF-8 ({reason}); save it as UTF-8") from None
        raise DataError(f"{file.name}: not readable as {file.kind} ({reason})") from None


@contextmanager
def _cells(file: RowFile) -> Iterator[tuple[Any, list[str]]]:
    """A reader of the rows below the header, and the header."""
    delimiter = file.delimiter or {"csv": ",", "tsv": "\t"}[file.kind]
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if file.quoted else csv.QUOTE_NONE
    with file.path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, quoting=quoting, strict=True)
        header = [name.strip() for _, names in islice(_lines(file, reader), 1) for name in names]
        other = next((mark for mark in ";\t|" if header and mark in header[0]), None)
        if len(header) == 1 and other is not None and file.delimiter is None:
            raise DataError(
                f"{file.name}: one column, {header[0]!r}; where {other!r} parts cells, say delimiter: {other!r}"
            )
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise DataError(f"{file.name}: the column {twice[0]!r} stands twice")
        yield reader, header


def _lines(file: RowFile, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, and the number of its first line."""
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            hint = "; a double quote that is an ordinary sign is doubled, or the recipe says quoted: false"
            said = f"{file.place(number)}: not readable as {file.kind} ({error})"
            raise DataError(said + hint * file.quoted) from None
        if cells is None:
            return
        yield number, cells


def _csv(file: RowFile) -> Iterator[tuple[int, Row]]:
    with _cells(file) as (reader, header):
        for number, cells in _lines(file, reader):
            if not cells:  # a line without anything
                continue
            if len(cells) != len(header):
                raise DataError(f"{file.place(number)}: {len(cells)} cells, {len(header)} columns")
            for name, cell in zip(header, cells, strict=True):
                if not name and cell.strip():
                    raise DataError(f"{file.place(number)}: {cell[:80]!r} stands in a column without a name")
            yield number, {name: _texts(cell) for name, cell in zip(header, cells, strict=True) if name}


def _json(file: RowFile) -> Iterator[tuple[int, Row]]:
    if file.path.stat().st_size > MOST_JSON:
        raise DataError(f"{file.name}: a JSON array of more than {MOST_JSON:,} bytes; write it as JSONL")
    found = _loads(file.path.read_text(encoding="utf-8-sig"))
    if not isinstance(found, list):
        raise DataError(f"{file.name}: should be an array of objects")
    yield from ((number, _flat(item, file)) for number, item in enumerate(found, 1))


def _jsonl(file: RowFile) -> Iterator[tuple[int, Row]]:
    # a name may hold what Python takes for a line break
    with file.path.open(encoding="utf-8-sig", newline="\n") as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                item = _loads(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {getattr(error, 'msg', error)}") from None
            yield number, _flat(item, file)


def _parquet(file: RowFile) -> Iterator[tuple[int, Row]]:
    with pq.ParquetFile(file.path) as table:
        names = table.schema_arrow.names
        wanted = set(names)
        if file.used is not None:
            wanted &= file.used | {name.partition(".")[0] for name in file.used}
        number = 0
        for batch in table.iter_batches(BATCH, columns=[name for name in names if name in wanted]):
            for number, item in enumerate(batch.to_pylist(), number + 1):  # noqa: B020 - it goes on from the last batch
                yield number, dict.fromkeys(names, ()) | _flat(item, file)


def _loads(text: str) -> Any:
    """JSON whose numbers stay as they are written: `1e5` is no 100000.0; a bare NaN says nothing."""
    try:
        data = json.loads(text, object_pairs_hook=unique, parse_int=str, parse_float=_number, parse_constant=_constant)
        require_text(text, data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return data


def _number(written: str) -> str:
    return written.removesuffix(".0")  # a gap in its column made a whole number 1850.0


def _constant(name: str) -> str | None:
    return None if name == "NaN" else name


def _flat(item: Any, file: RowFile, prefix: str = "") -> Row:
    """An object as a row; the keys of objects in it follow a dot."""
    if not isinstance(item, dict):
        raise DataError(f"{file.name}: a row is {type(item).__name__}; each should be an object")
    row: Row = {}
    for key, value in item.items():
        if isinstance(value, dict):
            row |= {f"{prefix}{key}": ()} | _flat(value, file, f"{prefix}{key}.")
        else:
            parts = value if isinstance(value, list) else [value]
            row[f"{prefix}{key}"] = tuple(text for part in parts for text in _texts(_text(part, key, file)))
    return row


def _texts(cell: str) -> tuple[str, ...]:
    bare = cell.strip()
    return (bare,) if bare else ()


def _text(value: Any, key: str, file: RowFile) -> str:
    """A value as text: a whole number as one, also where a gap in its column made it 1850.0, midnight as its day."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, bytes | list | dict):
        raise DataError(
            f"{file.name}: {key!r} holds {type(value).__name__}, which is no text; leave it out or flatten it"
        )
    return str(value)
