"""The tables of a release as columns and indices; a wrong row is refused by its number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mkg_builder import schema
from vlkge.errors import DatasetError

Indices = npt.NDArray[np.int64]
REBUILD = "build the release again with: mkgb build"
REFERENCE_INDEX = "referenceIndex"
"""The literal that keeps an entity's index in the official code."""


def sorted_table(folder: Path, table: str, key: str, columns: Sequence[str]) -> pa.Table:
    """A table in the byte order of its key, which is without nulls and repeats; so are its other names.

    Raises:
        DatasetError: a null or a repeated key.
    """
    rows = schema.read_table(folder, table, columns=list(columns))
    for column in columns:
        if column not in ("text", "prompt", "inverse"):
            _refuse(table, rows, pc.is_null(rows[column]), f"{column} is null")
    rows = rows.sort_by(key)
    keys = rows[key].combine_chunks()
    repeated = pc.equal(keys[1:], keys[:-1])
    if pc.any(repeated).as_py():
        twice = keys[pc.index(repeated, True).as_py()]
        raise DatasetError(f"{table}: {key} {twice.as_py()!r} is there twice; {REBUILD}")
    return rows


def read_triples(folder: Path, split: str, entities: pa.ChunkedArray, relations: pa.ChunkedArray) -> Indices:
    """The triples of a split as indices [n, 3] into the entities and relations.

    Raises:
        DatasetError: a null, or an entity or relation that is not declared.
    """
    table = f"triples/{split}"
    rows = schema.read_table(folder, "triples", split, ["head", "relation", "tail"])
    indices = np.empty((len(rows), 3), dtype=np.int64)
    for place, (column, known) in enumerate((("head", entities), ("relation", relations), ("tail", entities))):
        _refuse(table, rows, pc.is_null(rows[column]), f"{column} is null")
        found = pc.index_in(rows[column], value_set=known.combine_chunks())
        kind = "relation" if column == "relation" else "entity"
        _refuse(table, rows, pc.is_null(found), f"{column} is not a declared {kind}")
        indices[:, place] = found.to_numpy()
    return indices


def _refuse(table: str, rows: pa.Table, wrong: pa.ChunkedArray, problem: str) -> None:
    row = pc.index(wrong, True).as_py()
    if row >= 0:
        said = ", ".join(str(value) for value in rows.slice(row, 1).to_pylist()[0].values())
        raise DatasetError(f"{table}, row {row + 1} ({said}): {problem}; {REBUILD}")


def require_distinct(triples: dict[str, Indices], entities: int, relations: int) -> None:
    """Refuse a triple that is stated twice, within a split or across splits (a leak of the test split)."""
    rows = np.concatenate(list(triples.values()))
    codes = (rows[:, 0] * relations + rows[:, 1]) * entities + rows[:, 2]
    ordered = np.sort(codes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeated):
        places = [f"triples/{split}, row {row + 1}" for split in triples for row in range(len(triples[split]))]
        first, second = np.flatnonzero(codes == repeated[0])[:2]
        raise DatasetError(f"{places[second]} repeats {places[first]}; {REBUILD}")


def read_tie_order(folder: Path, entities: pa.ChunkedArray) -> Indices | None:
    """The published index of each entity, where every one has one of its own; of several the first.

    Raises:
        DatasetError: an index is not a whole number.
    """
    rows = schema.read_table(folder, "literals", columns=["entity", "name", "value"])
    rows = rows.filter(pc.equal(rows["name"], REFERENCE_INDEX))
    try:
        values = pc.cast(rows["value"], pa.int64())
    except pa.ArrowInvalid as error:
        raise DatasetError(f"literals: a {REFERENCE_INDEX} is not a whole number ({error}); {REBUILD}") from None
    first = pa.table({"entity": rows["entity"], "index": values}).group_by("entity").aggregate([("index", "min")])
    places = pc.index_in(entities, value_set=first["entity"].combine_chunks())
    if places.null_count:
        return None
    order: Indices = first["index_min"].take(places).to_numpy().copy()  # Arrow's own memory is read-only
    return order if len(np.unique(order)) == len(order) else None
