from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mkg_builder import schema
from tests.tiny_release import picture_bytes, write_tiny_release

FACTS = {"train": [("artwork:a", "by", "artist:x")], "test": [("artwork:b", "by", "artist:x")]}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_tiny_release(tmp_path, FACTS, {"artwork:b": picture_bytes(1)})


def test_a_table_is_read_as_written(release: Path) -> None:
    assert schema.read_table(release, "triples", "train").to_pylist() == [
        {"head": "artwork:a", "relation": "by", "tail": "artist:x", "source": "test"}
    ]
    assert list(schema.iter_pictures(release)) == [("artwork:b", picture_bytes(1))]


def test_a_missing_column_is_named(release: Path) -> None:
    path = release / schema.shard_path("triples", "train")
    pq.write_table(pq.read_table(path).drop_columns(["tail"]), path)
    with pytest.raises(schema.ReleaseError, match="no column 'tail'; it has head, relation, source"):
        schema.read_table(release, "triples", "train")


def test_a_column_of_another_type_is_named(release: Path) -> None:
    path = release / schema.shard_path("triples", "train")
    pq.write_table(pa.table({"head": ["a"], "relation": [1], "tail": ["b"], "source": ["s"]}), path)
    with pytest.raises(schema.ReleaseError, match="'relation' is int64, not string"):
        schema.read_table(release, "triples", "train")


def test_a_missing_shard_and_a_file_that_is_no_parquet(release: Path) -> None:
    path = release / schema.shard_path("triples", "test")
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(schema.ReleaseError, match="not readable Parquet"):
        schema.read_table(release, "triples", "test")
    path.unlink()
    with pytest.raises(schema.ReleaseError, match="has no triples/test-00000-of-00001"):
        schema.read_table(release, "triples", "test")


def test_require_whole_finds_an_altered_byte(release: Path) -> None:
    assert schema.require_whole(release)["name"] == "tiny"
    path = release / schema.shard_path("relations", "full")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(schema.ReleaseError, match=r"relations/full-00000-of-00001\.parquet is altered"):
        schema.require_whole(release)
