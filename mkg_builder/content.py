"""The content hash: what a release says, independent of Parquet, of the order of rows and of any library's version."""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mkg_builder import schema
from mkg_builder.ordering import sorted_by
from mkg_builder.progress import watched

HASHED_AT_ONCE = 200_000


def content_sha256(table: str, rows: pa.Table) -> str:
    """A hash of what a table says, independent of Parquet, of row order and of any library.

    sha256 over the schema line, then every row in byte order, its cells as length-prefixed UTF-8
    (`-` for null); the `image` column is left out, `image_sha256` stands for it.
    """
    return _content_sha256(table, rows.__getitem__)


def _content_sha256(table: str, column: Callable[[str], pa.ChunkedArray]) -> str:
    """The hash of a table whose columns are had one at a time, so that the text of one alone is in memory."""
    names = _cells(schema.TABLES[table])
    cells, codes = zip(*(_encoded(column(name)) for name in names), strict=True)
    digest = hashlib.sha256(f"{table}({','.join(names)})\n".encode())
    order = sorted_by(*codes)
    for start in range(0, len(order), HASHED_AT_ONCE):
        chosen = order[start : start + HASHED_AT_ONCE]
        columns = [known.take(pa.array(code[chosen])) for known, code in zip(cells, codes, strict=True)]
        lines = pc.binary_join_element_wise(*columns, pa.scalar(b"", pa.large_binary()))
        length = pc.sum(pc.binary_length(lines)).as_py()
        digest.update(memoryview(lines.buffers()[2])[:length])  # the lines one after another
    return digest.hexdigest()


def _encoded(column: pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.integer[Any]]]:
    """A column's distinct cells in byte order, and each row's rank among them.

    No cell is the beginning of another, so rows that are sorted cell by cell are sorted as bytes.
    """
    if pa.types.is_list(column.type):
        rows = [_cell(value) for value in column.to_pylist()]
        cells, ranks = np.unique(np.array(rows, object), return_inverse=True)
        return pa.array(cells.tolist(), pa.large_binary()), ranks
    encoded = column.dictionary_encode().unify_dictionaries()
    if not encoded.num_chunks:
        return pa.array([], pa.large_binary()), np.empty(0, np.int32)
    values = [_cell(value) for value in (*encoded.chunk(0).dictionary.to_pylist(), None)]
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = np.empty(len(values), np.int32)
    ranks[order] = np.arange(len(values))
    indices = np.concatenate([chunk.indices.fill_null(len(values) - 1).to_numpy() for chunk in encoded.chunks])
    return pa.array([values[place] for place in order], pa.large_binary()), ranks[indices]


def release_content_sha256(release: Path) -> str:
    """The content hash of a whole release, computed from its tables."""

    def column(table: str, split: str, name: str) -> pa.ChunkedArray:
        return schema.read_table(release, table, split, [name])[name]

    return combine_hashes(
        (f"{table.name}/{split}", _content_sha256(table.name, partial(column, table.name, split)))
        for table in watched("tables", list(schema.TABLES.values()))
        for split in table.splits
        if not table.optional or schema.table_files(release, table.name, split)
    )


def _cells(table: schema.TableFormat) -> list[str]:
    """The columns that count for the content hash; pictures and vectors count through their own sha256."""
    return [name for name in table.columns.names if name not in schema.HASHED]


def _cell(value: Any) -> bytes:
    if value is None:
        return b"-"
    if isinstance(value, list):
        inner = b"".join(_cell(item) for item in value)
        return b"%d[" % len(inner) + inner
    text = str(value).encode()
    return b"%d:" % len(text) + text


def combine_hashes(hashes: Iterable[tuple[str, str]]) -> str:
    """One hash of several named ones, for example of every split of every table."""
    lines = sorted(f"{name} {digest}\n" for name, digest in hashes)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
