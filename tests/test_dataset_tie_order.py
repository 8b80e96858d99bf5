"""The order in which the official code breaks ties: read where a release keeps it for every entity, and saved."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mkg_builder import schema
from mkg_builder.sources import official
from tests.tiny_release import write_manifest, write_tiny_release
from vlkge.dataset import Dataset, load_folder
from vlkge.errors import DatasetError
from vlkge.tables import REFERENCE_INDEX

SPLITS = {"train": [("artwork:b", "by", "artist:y"), ("artwork:a", "by", "artist:z")]}
INDEX = {"artwork:b": "0", "artwork:a": "1", "artist:y": "10", "artist:z": "3"}


def release_with(folder: Path, said: list[tuple[str, str, str]]) -> Path:
    write_tiny_release(folder, SPLITS)
    rows = [{"entity": entity, "name": name, "value": value, "source": "test"} for entity, name, value in said]
    path = folder / schema.shard_path("literals", "full")
    pq.write_table(pa.Table.from_pylist(rows, schema.arrow_schema("literals")), path, write_page_checksum=True)
    manifest = json.loads((folder / schema.MANIFEST).read_text())
    write_manifest(folder, {key: manifest[key] for key in ("name", "version", "recipe")})
    return folder


def published(index: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(entity, REFERENCE_INDEX, value) for entity, value in index.items()]


def test_the_published_index_is_the_tie_order(tmp_path: Path) -> None:
    said = [*published(INDEX), ("artwork:a", "label", "A"), ("artwork:b", REFERENCE_INDEX, "7")]
    dataset = load_folder(release_with(tmp_path, said))
    assert dataset.entities == ("artist:y", "artist:z", "artwork:a", "artwork:b")
    assert dataset.tie_order.tolist() == [10, 3, 1, 0]


@pytest.mark.parametrize("index", [{}, {"artwork:b": "0"}, INDEX | {"artist:y": "3"}])
def test_an_order_of_some_entities_or_with_ties_of_its_own_is_none(tmp_path: Path, index: dict[str, str]) -> None:
    assert load_folder(release_with(tmp_path, published(index))).tie_order is None


def test_an_index_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="literals: a referenceIndex is not a whole number"):
        load_folder(release_with(tmp_path, published(INDEX | {"artist:y": "first"})))


@pytest.mark.parametrize("index", [INDEX, {}])
def test_the_tie_order_is_saved_with_the_data_set(tmp_path: Path, index: dict[str, str]) -> None:
    dataset = load_folder(release_with(tmp_path / "release", published(index)))
    dataset.save(tmp_path)
    found = Dataset.load(tmp_path)
    assert set(found.triples) == {"train", "validation", "test"}
    assert (found.tie_order is None) == (not index)
    assert found.tie_order is None or torch.equal(found.tie_order, dataset.tie_order)


def test_the_literal_is_the_one_that_the_source_of_published_files_writes() -> None:
    assert REFERENCE_INDEX == official.REFERENCE_INDEX
