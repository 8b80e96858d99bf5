import pyarrow as pa

from mkg_builder import schema
from mkg_builder.content import content_sha256


def hashed(*rows: dict) -> str:
    return content_sha256("dropped", pa.Table.from_pylist(list(rows), schema.arrow_schema("dropped")))


def test_the_content_hash_ignores_the_order_of_rows_and_nothing_else() -> None:
    a, b = {"id": "1", "rule": "r", "detail": "d"}, {"id": "2", "rule": "r", "detail": None}
    assert hashed(a, b) == hashed(b, a)
    assert len({hashed(a), hashed(b), hashed(a, b), hashed({**b, "detail": ""}), hashed({**b, "detail": "-"})}) == 5
    assert hashed({"id": "ab", "rule": "c"}) != hashed({"id": "a", "rule": "bc"})


def test_the_content_hash_of_known_rows_never_changes() -> None:
    assert hashed({"id": "1", "rule": "r", "detail": None}) == (
        "da23de8508ed68af1d4e298630eda0725c0d26efc0378223b75ebdc05842c0df"
    )
