"""The Parquet files of a release, written as their rows come."""

import hashlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mkg_builder import schema
from mkg_builder.errors import DataError
from mkg_builder.source import Vectors
from mkg_builder.triples import Triples

ROW_GROUP = {"artworks": 100}
"""Rows that the Hub's viewer must read at once: few where rows carry pictures."""
DEFAULT_ROW_GROUP = 50_000
TRIPLES_ROW_GROUP = 250_000

Rows = list[dict[str, Any]]


def write_rows(path: Path, table: str, groups: Iterable[Rows]) -> None:
    """One Parquet file from rows, a row group at a time."""
    wanted = schema.arrow_schema(table)
    with parquet_writer(path, wanted) as writer:
        for rows in filter(None, groups):  # an empty row group would make `datasets` fail; no row group is well
            writer.write_table(
                pa.Table.from_pylist(rows, wanted), row_group_size=ROW_GROUP.get(table, DEFAULT_ROW_GROUP)
            )


def write_triples(path: Path, triples: Triples) -> None:
    """One Parquet file of facts that are sorted, a row group at a time."""
    wanted = schema.arrow_schema("triples")
    with parquet_writer(path, wanted) as writer:
        for batch in triples.batches(TRIPLES_ROW_GROUP):
            writer.write_table(pa.Table.from_batches([batch]).cast(wanted), row_group_size=TRIPLES_ROW_GROUP)


def parquet_writer(path: Path, wanted: pa.Schema) -> pq.ParquetWriter:
    """A Parquet file as the Hub's viewer and our checks want it: page checksums and a page index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return pq.ParquetWriter(
        path, wanted, compression="zstd", write_page_checksum=True, write_page_index=True,
        use_content_defined_chunking=True,
    )  # fmt: skip


def write_vectors(folder: Path, pieces: Iterable[Vectors]) -> None:
    """The published vectors, one file per modality, written as they come.

    Raises:
        DataError: vectors of one modality from two encoders, or of two lengths.
    """
    with ExitStack() as open_files:
        writers: dict[str, tuple[pq.ParquetWriter, tuple[str, int]]] = {}
        for piece in pieces:
            kind = (piece.encoder, piece.values.shape[1])
            if piece.modality not in writers:
                path = folder / schema.shard_path("vectors", piece.modality)
                writers[piece.modality] = (
                    open_files.enter_context(parquet_writer(path, schema.arrow_schema("vectors"))),
                    kind,
                )
            writer, first = writers[piece.modality]
            if kind != first:
                raise DataError(f"{piece.modality} vectors of {first} and of {kind}; a release has one kind of each")
            writer.write_table(_vector_rows(piece))


def _vector_rows(piece: Vectors) -> pa.Table:
    values = piece.values.astype("<f4", copy=False)
    rows, width = values.shape
    columns = {
        "id": pa.array(piece.ids, pa.string()),
        "encoder": pa.array([piece.encoder] * rows, pa.string()),
        "vector": pa.ListArray.from_arrays(
            pa.array(range(0, rows * width + 1, width), pa.int32()), pa.array(values.reshape(-1))
        ),
        "vector_sha256": pa.array([hashlib.sha256(row.tobytes()).hexdigest() for row in values]),
    }
    return pa.table(columns).cast(schema.arrow_schema("vectors"))
