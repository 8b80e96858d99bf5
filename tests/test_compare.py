"""Two releases side by side, and the version that follows."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mkg_builder import cli, schema
from mkg_builder.compare import Comparison, compare, newest_release, require_bump
from mkg_builder.differences import _Column, _combine, differences
from mkg_builder.errors import DataError
from tests.tiny_release import Fact, picture_bytes, write_manifest, write_tiny_release

SPLITS: dict[str, list[Fact]] = {
    "train": [("artwork:a", "by", "artist:x"), ("artwork:a", "in", "style:s"), ("artwork:c", "by", "artist:x")],
    "test": [("artwork:b", "by", "artist:y"), ("artwork:b", "in", "style:s")],
}
PICTURES = {"artwork:a": picture_bytes(1)}
Row = dict[str, object]


def written(folder: Path, splits: dict[str, list[Fact]] = SPLITS) -> Path:
    return write_tiny_release(folder, splits, PICTURES, {"artwork:a": "A title"})


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("old"))


def edited(
    old: Path, new: Path, table: str, change: Callable[[list[Row]], list[Row]], split: str = "full", **writing: object
) -> Path:
    """A copy of a release with other rows in one shard."""
    shutil.copytree(old, new, dirs_exist_ok=True)
    path = new / schema.shard_path(table, split)
    rows = change(pq.read_table(path).to_pylist())
    pq.write_table(
        pa.Table.from_pylist(rows, schema.arrow_schema(table)), path, **{"write_page_checksum": True, **writing}
    )
    return relabelled(new)


def relabelled(release: Path, **fields: object) -> Path:
    manifest = json.loads((release / "manifest.json").read_text())
    kept = {name: value for name, value in manifest.items() if name not in ("files", "content_sha256")}
    write_manifest(release, {**kept, **fields})
    return release


def setting(row: int, **values: object) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{**r, **(values if place == row else {})} for place, r in enumerate(rows)]


def told(comparison: Comparison) -> list[tuple[str, str, int, dict[str, int]]]:
    return [(c.table, c.what, c.rows, dict(c.groups)) for c in comparison.changes]


def test_a_release_and_its_copy_are_the_same(old: Path, tmp_path: Path) -> None:
    same = compare(old, shutil.copytree(old, tmp_path / "new"))
    assert (same.changes, same.recipe, same.bump, same.required_version("1.2.3")) == ((), {}, "none", "1.2.3")


def test_the_same_rows_in_another_order_and_compression_are_a_patch(old: Path, tmp_path: Path) -> None:
    new = edited(old, tmp_path, "entities", lambda rows: rows[::-1], compression="gzip", row_group_size=1)
    assert (compare(old, new).changes, compare(old, new).bump) == ((), "patch")


def test_what_only_adds_is_minor_and_is_counted_per_relation_and_type(old: Path, tmp_path: Path) -> None:
    more = {**SPLITS, "train": [*SPLITS["train"], ("artwork:d", "by", "artist:x"), ("artwork:d", "in", "style:s")]}
    comparison = compare(old, written(tmp_path, more))
    assert told(comparison) == [
        ("triples", "added", 2, {"by": 1, "in": 1}),
        ("entities", "added", 1, {"artwork": 1}),
        ("relations", "changed train", 2, {}),
        ("artworks", "added", 1, {}),
    ]
    assert (comparison.bump, comparison.required_version("1.2.3")) == ("minor", "1.3.0")


def test_a_triple_that_is_gone_is_major(old: Path, tmp_path: Path) -> None:
    comparison = compare(old, written(tmp_path, {**SPLITS, "train": SPLITS["train"][1:]}))
    assert told(comparison)[0] == ("triples", "removed", 1, {"by": 1})
    assert comparison.changes[0].samples == ({"head": "artwork:a", "relation": "by", "tail": "artist:x"},)
    assert comparison.required_version("1.2.3") == "2.0.0"


def test_a_triple_that_changes_split_is_moved_and_not_removed_and_added(old: Path, tmp_path: Path) -> None:
    moved = {"train": SPLITS["train"][:2], "test": [*SPLITS["test"], SPLITS["train"][2]]}
    comparison = compare(old, written(tmp_path, moved))
    assert told(comparison)[:2] == [("triples", "moved", 1, {"by": 1}), ("entities", "moved", 1, {"artwork": 1})]
    assert comparison.changes[0].samples[0] | {"head": ""} == {
        "head": "", "relation": "by", "tail": "artist:x", "old": "train", "new": "test",
    }  # fmt: skip
    assert comparison.bump == "major"


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("entities", "label", "Another"), ("entities", "text", ""), ("entities", "text", None),
        ("entities", "same_as", ["wikidata:Q1"]), ("entities", "type", "style"), ("artworks", "image_sha256", "0" * 64),
        ("artworks", "width", 7), ("relations", "prompt", "By {}."), ("relations", "inverse", "made"),
    ],
)  # fmt: skip
def test_any_changed_value_is_major(old: Path, tmp_path: Path, table: str, column: str, value: object) -> None:
    position = (
        [row["id"] for row in pq.read_table(old / table).to_pylist()].index("artwork:a") if column == "text" else 0
    )
    before = pq.read_table(old / table).to_pylist()[position][column]
    comparison = compare(old, edited(old, tmp_path, table, setting(position, **{column: value})))
    assert [(c.table, c.column, c.rows) for c in comparison.changes] == [(table, column, 1)]
    shown = comparison.changes[0].samples[0]
    plain = [json.dumps(v) if isinstance(v, list) else v for v in (before, value)]
    assert [shown["old"], shown["new"]] == plain
    assert comparison.bump == "major"


def test_tables_about_the_build_ask_for_no_more_than_a_minor_version(old: Path, tmp_path: Path) -> None:
    lost = {"id": "artwork:z", "rule": "require", "detail": "none"}
    first = edited(old, tmp_path / "1", "dropped", lambda _: [lost])
    again = edited(old, tmp_path / "2", "dropped", lambda _: [lost, lost])
    assert told(compare(old, first)) == told(compare(first, again)) == [("dropped", "added", 1, {})]
    assert told(compare(again, first)) == [("dropped", "removed", 1, {})]
    assert compare(again, first).bump == "minor"


def test_a_removed_relation_and_a_removed_entity_are_told(old: Path, tmp_path: Path) -> None:
    fewer = {split: [fact for fact in facts if fact[1] != "in"] for split, facts in SPLITS.items()}
    comparison = compare(old, written(tmp_path, fewer))
    removed = {c.table: c.samples for c in comparison.changes if c.kind == "removed"}
    assert (removed["relations"], removed["entities"]) == (({"name": "in"},), ({"id": "style:s"},))


def test_names_that_run_into_each_other_stay_apart(tmp_path: Path) -> None:
    pairs = [
        ("a:b\x00", "c:d"),
        ("a:b", "\x00c:d"),
        ('a:"', 'c:"'),
        ("a:None", "c:NA"),
        ("a:01", "c:1"),
        ("a:\n", "c:"),
    ]
    facts = [(head, "r", tail) for head, tail in pairs]
    first = write_tiny_release(tmp_path / "1", {"train": facts[:1]})
    second = write_tiny_release(tmp_path / "2", {"train": facts[1:]})
    added, removed = (
        {c.kind: c.samples for c in compare(first, second, 9).changes if c.table == "triples"}[kind]
        for kind in ("added", "removed")
    )
    assert [(row["head"], row["tail"]) for row in removed] == pairs[:1]
    assert [(row["head"], row["tail"]) for row in added] == pairs[1:]


facts = st.tuples(st.sampled_from("abc"), st.sampled_from("rs"), st.sampled_from("abcd"))
placed = st.dictionaries(facts, st.sampled_from(schema.TABLES["triples"].splits), max_size=12)


@settings(max_examples=40, deadline=None)
@given(was=placed, now=placed)
def test_the_triples_that_differ_are_those_that_sets_tell(
    was: dict, now: dict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    pair = [triples_alone(folder / name, facts) for name, facts in (("one", was), ("two", now))]
    expected = {
        "added": len(now.keys() - was.keys()), "removed": len(was.keys() - now.keys()),
        "moved": sum(was[fact] != now[fact] for fact in was.keys() & now.keys()),
    }  # fmt: skip
    found = Counter({change.what: change.rows for change in differences(*pair, schema.TABLES["triples"], 1)})
    assert found == Counter({kind: count for kind, count in expected.items() if count})


def triples_alone(folder: Path, placed: dict[Fact, str]) -> Path:
    for split in schema.TABLES["triples"].splits:
        rows = [{"head": h, "relation": r, "tail": t, "source": "s"} for (h, r, t), p in placed.items() if p == split]
        path = folder / schema.shard_path("triples", split)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema.arrow_schema("triples")), path, write_page_checksum=True)
    return folder


def test_a_row_number_that_would_not_fit_is_renumbered() -> None:
    wide = _Column(np.array([1, 2, 1], np.int32), range(2**31 - 1), (3, 0))
    key = _combine([wide, wide, wide])
    assert key[0] == key[2] != key[1]
    assert (key >= 0).all()


def test_what_differs_in_the_recipes_is_named(old: Path, tmp_path: Path) -> None:
    recipe = json.loads((old / "manifest.json").read_text())["recipe"]
    shutil.copytree(old, tmp_path / "new")
    new = relabelled(tmp_path / "new", recipe={**recipe, "version": "9", "split": {**recipe["split"], "seed": 2}})
    assert compare(old, new).recipe == {"split.seed": (None, 2)}


def test_an_altered_release_and_one_of_another_format_are_refused(old: Path, tmp_path: Path) -> None:
    shutil.copytree(old, tmp_path / "new")
    manifest = json.loads((old / "manifest.json").read_text())
    (tmp_path / "new" / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(schema.ReleaseError, match="format version 99, this program reads"):
        compare(old, tmp_path / "new")
    relabelled(tmp_path / "new", format_version=schema.FORMAT_VERSION)
    (tmp_path / "new" / schema.shard_path("relations", "full")).write_bytes(b"")
    with pytest.raises(schema.ReleaseError, match="is altered"):
        compare(old, tmp_path / "new")


@pytest.mark.parametrize(
    ("version", "allowed"),
    [("1.0.1", False), ("1.9.9", False), ("2.0.0", True), ("2.0.0+endpoint", True), ("3.1.0", True)],
)
def test_a_version_that_says_less_than_what_changed_is_refused(
    old: Path, tmp_path: Path, version: str, allowed: bool
) -> None:
    new = relabelled(written(tmp_path, {**SPLITS, "train": SPLITS["train"][1:]}), version=version)
    if allowed:
        require_bump(old, new)
        return
    with pytest.raises(DataError, match=r"triples: 1 removed.* major change: set `version` in the recipe to 2\.0\.0"):
        require_bump(old, new)


def test_the_version_of_an_addition_and_of_other_files(old: Path, tmp_path: Path) -> None:
    more = written(tmp_path / "1", {**SPLITS, "train": [*SPLITS["train"], ("artwork:a", "in", "style:t")]})
    with pytest.raises(DataError, match=r"minor change: set `version` in the recipe to 1\.1\.0 or higher"):
        require_bump(old, relabelled(more, version="1.0.1"))
    require_bump(old, relabelled(more, version="1.1.0"))
    other = edited(old, tmp_path / "2", "entities", lambda rows: rows, compression="gzip")
    require_bump(old, relabelled(other, version="1.0.1"))


def test_an_earlier_release_that_cannot_be_read_says_what_to_do(old: Path, tmp_path: Path) -> None:
    broken = edited(old, tmp_path, "triples", lambda rows: rows, split="test", compression="gzip")
    (tmp_path / schema.shard_path("triples", "test")).unlink()
    with pytest.raises(schema.ReleaseError, match=f"move {broken} away"):
        require_bump(broken, old)


def test_the_newest_earlier_release_of_a_name_is_found(tmp_path: Path) -> None:
    for name in (
        "demo-1.9.0",
        "demo-1.10.0",
        "demo-1.11.0+limit-3",
        "demo-2.0.0",
        "demo-x-1.11.0",
        ".writing-demo-1.11.0",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").touch()
    (tmp_path / "demo-1.12.0").mkdir()
    assert newest_release(tmp_path, "demo", "2.0.0") == tmp_path / "demo-1.10.0"
    assert newest_release(tmp_path, "demo-x", "2.0.0+endpoint") == tmp_path / "demo-x-1.11.0"
    assert newest_release(tmp_path, "demo", "1.9.0") is None
    assert newest_release(tmp_path / "none", "demo", "1.9.0") is None


def run(*arguments: object) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["diff", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_tells_the_changes_and_the_version_that_follows(old: Path, tmp_path: Path) -> None:
    new = relabelled(written(tmp_path, {**SPLITS, "train": SPLITS["train"][1:]}), version="2.0.0")
    lines = run(old, new).splitlines()
    assert lines[0].startswith("tiny 1.0.0 → tiny 2.0.0")
    assert any("removed" in line and "artwork:a by artist:x" in line for line in lines)
    assert lines[-1] == "this is a major change: 1.0.0 → 2.0.0"
    told = json.loads(run(old, new, "--json", "--samples", 0))
    assert (told["bump"], told["required_version"], told["changes"][0]["samples"]) == ("major", "2.0.0", [])


def test_the_command_says_that_two_copies_are_the_same(old: Path) -> None:
    assert run(old, old) == "the two are the same, byte for byte\n"
