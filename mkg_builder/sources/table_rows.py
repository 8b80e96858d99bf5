"""The rows of a table file, a few at a time, every cell the text that stands there."""

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mkg_builder.errors import DataError
from mkg_builder.sources.table_options import Table

Row = dict[str, tuple[str, ...]]
"""Column -> the texts in its cell; none where it is empty, several where a file can hold a list."""

BATCH = 1000
CLOSED = ("csv", "tsv", "parquet")
"""Formats whose every row has every column."""

MOST_JSON = 256 * 2**20
"""A JSON array is read whole; a larger one is to be written as JSONL, an object a line."""


def read_rows(path: Path, table: Table) -> Iterator[Row]:
    """Every row; those of CSV, TSV and Parquet have a key for each column, those of JSON for what they state.

    Raises:
        DataError: not UTF-8, not of its format, cells without a column, a column that stands twice.
    """
    reader: Callable[[Path, Table], Iterator[Row]] = {
        "csv": _csv, "tsv": _csv, "json": _json, "jsonl": _jsonl, "parquet": _parquet,
    }[table.kind()]  # fmt: skip
    try:
        yield from reader(path, table)
    except (csv.Error, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{table.file}: not readable as {table.kind()} in UTF-8 ({reason})") from None


def _csv(path: Path, table: Table) -> Iterator[Row]:
    delimiter = table.delimiter or {"csv": ",", "tsv": "\t"}[table.kind()]
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if table.quoted else csv.QUOTE_NONE
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        header = next(reader, [])
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(f"{table.file}: the column {twice[0]!r} stands twice")
        for cells in reader:
            if not cells:  # a line without anything
                continue
            if len(cells) != len(header):
                raise DataError(f"{table.file}, line {reader.line_num}: {len(cells)} cells, {len(header)} columns")
            yield {name: _texts(cell) for name, cell in zip(header, cells, strict=True)}


def _json(path: Path, table: Table) -> Iterator[Row]:
    if path.stat().st_size > MOST_JSON:
        raise DataError(f"{table.file}: a JSON array of more than {MOST_JSON:,} bytes; write it as JSONL")
    found = _loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(found, list):
        raise DataError(f"{table.file}: should be an array of objects")
    yield from (_flat(item, table) for item in found)


def _jsonl(path: Path, table: Table) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:  # a name may hold what Python takes for a line break
        yield from (_flat(_loads(line), table) for line in file if line.strip())


def _parquet(path: Path, table: Table) -> Iterator[Row]:
    used = table.used()
    used |= {name.partition(".")[0] for name in used}
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        for batch in file.iter_batches(BATCH, columns=[name for name in names if name in used]):
            yield from (dict.fromkeys(names, ()) | _flat(item, table) for item in batch.to_pylist())


def _loads(text: str) -> Any:
    """JSON whose numbers stay as they are written: `1e5` is no 100000.0, `007` no 7."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _flat(item: Any, table: Table, prefix: str = "") -> Row:
    """An object as a row; the keys of objects in it follow a dot."""
    if not isinstance(item, dict):
        raise DataError(f"{table.file}: a row is {type(item).__name__}; each should be an object")
    row: Row = {}
    for key, value in item.items():
        if isinstance(value, dict):
            row |= {f"{prefix}{key}": ()} | _flat(value, table, f"{prefix}{key}.")
        else:
            parts = value if isinstance(value, list) else [value]
            row[f"{prefix}{key}"] = tuple(text for part in parts for text in _texts(_text(part, key, table)))
    return row


def _texts(cell: str) -> tuple[str, ...]:
    bare = cell.strip()
    return (bare,) if bare else ()


def _text(value: Any, key: str, table: Table) -> str:
    """A value as text; a whole number is written as one, also where a gap in its column made it 1850.0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, bytes | list | dict):
        raise DataError(
            f"{table.file}: {key!r} holds {type(value).__name__}, which is no text; leave it out or flatten it"
        )
    return str(value)
