"""Tables by recipe alone: every format, every step of a column, joins, filters, and nothing lost in silence."""

import csv
import io
import json
import re
import typing
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mkg_builder.build import BuildReport, Job, build, fetch
from mkg_builder.context import SnapshotContext
from mkg_builder.errors import DataError, RecipeError
from mkg_builder.findings import ExpectationError
from mkg_builder.graph import Entity, Literal, Statement, Triple
from mkg_builder.http import Client
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer
from mkg_builder.sources.table import Tables
from mkg_builder.sources.table_options import TableOptions
from mkg_builder.sources.table_values import read_lookup
from mkg_builder.strict import validate
from mkg_builder.testing import SourceContract
from tests.faultd import ok, serving
from tests.site import Site, answer
from tests.tiny_recipe import RECIPE, jpeg, write_recipe

HOSTS = ["127.0.0.1:*"]
FOREIGN = "its host is not among the source's `hosts`"
WORKS = {"type": "artwork", "id": "number", "label": "title"}
NAMES = ["None", "NA", "N/A", "null", "NaN", "1e5", "01", "true", "1850", '=HYPERLINK("x")', "a;b", 'the "blue"\nboy']


def context(folder: Path, snapshot: Snapshot, site: Site | None = None, limit: int | None = None) -> SnapshotContext:
    client = Client(None, HOSTS, {}, transport=site) if site else None
    made = SnapshotContext("museum", folder, snapshot, {"site": "http://127.0.0.1:1"}, limit, client)
    made.hosts = HOSTS
    return made


def read(
    folder: Path, tables: dict[str, Any], site: Site | None = None, limit: int | None = None
) -> tuple[list[Statement], SnapshotContext]:
    """What a fetched source states, and what it observed."""
    source = Tables(validate(TableOptions, {"tables": tables}, "options"))
    snapshot = Snapshot(folder / "snapshot")
    with snapshot.writing():
        source.fetch(context(folder, snapshot, site, limit))
    reading = context(folder, snapshot, limit=limit)
    return list(source.read(reading)), reading


def write(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def works(folder: Path, rows: list[dict[str, Any]], **mapped: Any) -> tuple[list[Statement], SnapshotContext]:
    write(folder / "works.csv", rows)
    return read(folder, {"works": {"file": "works.csv", "entity": WORKS, **mapped}})


def facts(things: list[Statement]) -> list[tuple[str, str, str]]:
    return [(t.head, t.relation, t.tail) for t in things if isinstance(t, Triple)]


def dropped(reading: SnapshotContext) -> list[tuple[str, str, str]]:
    return [(lost.id, lost.rule, lost.detail) for lost in reading.observations.dropped]


class TestTable(SourceContract):
    name = "museum"

    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path) -> None:
        type(self).folder = tmp_path
        write(tmp_path / "works.csv", [{"number": "1", "title": "Dawn", "style": "Cubism"}])

    def source(self) -> Tables:
        fact = {"relation": "hasStyle", "column": "style", "type": "style"}
        table = {"file": "works.csv", "entity": WORKS, "facts": [fact]}
        return Tables(TableOptions.model_validate({"tables": {"works": table}}))

    def spoil(self, snapshot: Snapshot) -> None:
        snapshot.put(Answer("museum:works.csv", 200, b"number,title,style,surprise\n1,Dawn,Cubism,x\n", "text/csv"))


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_keeps_every_name_as_it_is_written(tmp_path: Path, kind: str) -> None:
    rows = [{"number": f"00{place}", "title": name} for place, name in enumerate(NAMES)]
    path = tmp_path / f"works.{kind}"
    if kind in ("csv", "tsv"):
        write(path, rows, {"csv": ",", "tsv": "\t"}[kind])
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
        path.write_text(text.replace('"1850"', "1850").replace('"1e5"', "1e5"), encoding="utf-8")  # bare numbers
    things, reading = read(tmp_path, {"works": {"file": path.name, "entity": WORKS}})
    expected = [(f"artwork:museum/00{place}", name) for place, name in enumerate(NAMES)]
    assert [(thing.id, thing.label) for thing in things if isinstance(thing, Entity)] == expected
    assert dropped(reading) == []


def test_numbers_of_parquet_are_written_as_people_write_them_and_gaps_say_nothing(tmp_path: Path) -> None:
    columns = {"number": [1, 2, 3], "title": ["a", "b", "c"], "year": [1850.0, None, float("nan")]}
    pq.write_table(pa.table(columns), tmp_path / "works.parquet")
    fact = {"relation": "isCreatedInYear", "column": "year", "parse": "date"}
    things, reading = read(tmp_path, {"works": {"file": "works.parquet", "entity": WORKS, "facts": [fact]}})
    assert facts(things) == [("artwork:museum/1", "isCreatedInYear", "date:1850")]
    assert dropped(reading) == []


@pytest.mark.parametrize(
    "kind", [pa.date32(), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("ms")], ids=str
)
def test_a_day_of_parquet_is_a_day_also_where_it_is_kept_as_its_midnight(tmp_path: Path, kind: pa.DataType) -> None:
    made = pa.array([datetime(1880, 5, 12)]).cast(kind)
    pq.write_table(pa.table({"number": [1], "title": ["a"], "made": made}), tmp_path / "works.parquet")
    fact = {"relation": "isCreatedInYear", "column": "made", "parse": "date"}
    things, _ = read(tmp_path, {"works": {"file": "works.parquet", "entity": WORKS, "facts": [fact]}})
    assert facts(things) == [("artwork:museum/1", "isCreatedInYear", "date:1880-05-12")]
    assert [thing for thing in things if isinstance(thing, Literal)] == []


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_bare_nan_of_json_says_nothing(tmp_path: Path, kind: str) -> None:
    lines = ['{"number": 1, "title": "a", "style": NaN}', '{"number": 2, "title": NaN, "style": "NaN"}']
    (tmp_path / f"works.{kind}").write_text(f"[{', '.join(lines)}]" if kind == "json" else "\n".join(lines))
    fact = {"relation": "hasStyle", "column": "style", "type": "style"}
    things, reading = read(tmp_path, {"works": {"file": f"works.{kind}", "entity": WORKS, "facts": [fact]}})
    assert [thing.id for thing in things if isinstance(thing, Entity)] == ["artwork:museum/1"]
    assert dropped(reading) == [("artwork:museum/2", "required_fields", "works: nothing in 'title'")]


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_key_that_stands_twice_in_one_object_is_refused(tmp_path: Path, kind: str) -> None:
    line = '{"number": 1, "title": "a", "title": "b"}'
    (tmp_path / f"works.{kind}").write_text(f"[{line}]" if kind == "json" else line)
    with pytest.raises(DataError, match="the key 'title' stands twice in one object"):
        read(tmp_path, {"works": {"file": f"works.{kind}", "entity": WORKS}})


def test_lists_and_objects_of_json_are_values_and_dotted_columns(tmp_path: Path) -> None:
    row = {"number": 7, "title": {"main": "Dawn", "sub": "at sea"}, "styles": ["Cubism", "Fauvism"]}
    (tmp_path / "works.json").write_text(json.dumps([row]))
    fact = {"relation": "hasStyle", "column": "styles", "type": "style"}
    entity = {"type": "artwork", "id": "number", "label": "title.main"}
    things, reading = read(tmp_path, {"works": {"file": "works.json", "entity": entity, "facts": [fact]}})
    assert facts(things) == [
        ("artwork:museum/7", "hasStyle", "style:cubism"), ("artwork:museum/7", "hasStyle", "style:fauvism"),
    ]  # fmt: skip
    assert reading.observations.leftovers == {"museum": {"works.title.sub"}}


@pytest.mark.parametrize(
    ("column", "cell", "tails", "reason"),
    [
        ({"split": ";", "type": "style"}, "Cubism; Fauvism;", ["style:cubism", "style:fauvism"], None),
        ({"match": r"(.+) \(style\)", "type": "style"}, "Cubism (style)", ["style:cubism"], None),
        ({"match": r"(.+) \(style\)", "type": "style"}, "Cubism", [], "does not match"),
        ({"match": "[A-Z][a-z]+", "type": "style"}, "Cubism, early", [], "does not match"),
        ({"lookup": {"kub.": "Cubism"}, "type": "style"}, "kub.", ["style:cubism"], None),
        ({"lookup": {"kub.": "Cubism"}, "type": "style"}, "Fauvism", ["style:fauvism"], None),
        ({"lookup": {"kub.": "Cubism", "*": None}, "type": "style"}, "Fauvism", [], "stands for nothing"),
        ({"lookup": "styles.csv", "type": "style"}, "kub.", ["style:cubism"], None),
        ({"template": "style of {}", "type": "style"}, "Cubism", ["style:style-of-cubism"], None),
        ({"parse": "date"}, "c. 1665/1670", ["date:1665~/1670~"], None),
        ({"parse": "date"}, "19th century", ["date:18XX"], None),
        ({"parse": "date"}, "1880s", ["date:188X"], None),
        ({"parse": "date"}, "March 1884", ["date:1884-03"], None),
        ({"parse": "date"}, "12 March 1884", ["date:1884-03-12"], None),
        ({"parse": "date"}, "last spring", [], "no date can be read in 'last spring'"),
        ({"parse": "country"}, "Delft, Holland", ["country:netherlands"], None),
        ({"parse": "country"}, "Prague, Czechoslovakia", [], "Czechoslovakia: "),
        ({"type": "style"}, "???", [], "has no letter and no figure"),
    ],
)
def test_a_cell_becomes_its_values_or_a_line_that_says_why_not(
    tmp_path: Path, column: dict[str, Any], cell: str, tails: list[str], reason: str | None
) -> None:
    (tmp_path / "styles.csv").write_text("from,to\nkub.,Cubism\n")
    fact = {"relation": "r", "column": "c", **column}
    things, reading = works(tmp_path, [{"number": "1", "title": "Dawn", "c": cell}], facts=[fact])
    assert [tail for _, _, tail in facts(things)] == tails
    assert [rule for _, rule, _ in dropped(reading)] == (["unreadable_value"] if reason else [])
    assert not reason or reason in dropped(reading)[0][2]


@pytest.mark.parametrize("lookup", [{"kubi\u0301s": "Cubism"}, "styles.csv"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_what_looks_the_same_is_the_same_however_its_accents_are_written(
    tmp_path: Path, form: typing.Literal["NFC", "NFD"], lookup: object
) -> None:
    (tmp_path / "styles.csv").write_text("from,to\nkubi\u0301s,Cubism\n", encoding="utf-8")
    row = {"number": "1", "title": "a", "kind": unicodedata.normalize(form, "Gemälde")}
    fact = {"relation": "hasStyle", "column": "style", "type": "style", "lookup": lookup}
    rows = [{**row, "style": unicodedata.normalize(form, "kubís")}]
    for kind in ("Gemälde", "Gema\u0308lde"):
        things, _ = works(tmp_path, rows, facts=[fact], only={"kind": [kind]})
        assert facts(things) == [("artwork:museum/1", "hasStyle", "style:cubism")]


def test_a_lookup_of_lines_that_are_too_short_is_refused_and_a_strange_line_end_is_none() -> None:
    with pytest.raises(DataError, match=r"styles\.csv: .* from and to, and no others, in every line"):
        read_lookup(b"from,to\nCubism,cubism\nUnknown\n", "styles.csv")
    assert read_lookup("from,to\nA\u0085B,X\n".encode(), "styles.csv") == {"A\u0085B": "X"}


def test_what_was_read_into_a_date_is_kept_as_it_was_written(tmp_path: Path) -> None:
    fact = {"relation": "isCreatedInYear", "column": "made", "parse": "date"}
    things, _ = works(tmp_path, [{"number": "1", "title": "Dawn", "made": "about 1889"}], facts=[fact])
    assert Literal("artwork:museum/1", "isCreatedInYear", "about 1889", "museum") in things


def test_an_entity_has_all_that_its_row_says(tmp_path: Path) -> None:
    row = {"number": "1", "title": "Dawn", "also": "Aube|Dawn", "qid": "Q1", "size": "3 cm"}
    entity = {**WORKS, "text": "title", "aliases": [{"column": "also", "split": "|"}], "same_as": {"wikidata": "qid"}}
    things, _ = works(tmp_path, [row], entity=entity, literals={"dimensions": "size"})
    assert things == [
        Entity("artwork:museum/1", "artwork", "Dawn", "Dawn", None, ("wikidata:Q1",), ("museum",), ("Aube",)),
        Literal("artwork:museum/1", "dimensions", "3 cm", "museum"),
    ]


def test_a_row_without_an_id_or_a_label_is_dropped_with_its_reason(tmp_path: Path) -> None:
    rows = [{"number": "", "title": "Dawn"}, {"number": "2", "title": " "}, {"number": "3", "title": "Dusk"}]
    things, reading = works(tmp_path, rows)
    assert [thing.id for thing in things if isinstance(thing, Entity)] == ["artwork:museum/3"]
    assert dropped(reading) == [
        ("museum.works: title=Dawn", "required_fields", "works: nothing in 'number'"),
        ("artwork:museum/2", "required_fields", "works: nothing in 'title'"),
    ]


def test_a_row_with_several_labels_or_an_unreadable_one_is_dropped_with_that_reason(tmp_path: Path) -> None:
    rows = [{"number": "1", "title": "Dawn; Dusk"}, {"number": "2", "title": "?"}]
    _, reading = works(tmp_path, rows, entity={**WORKS, "label": {"column": "title", "split": ";", "match": r"\w+"}})
    assert dropped(reading) == [
        ("artwork:museum/1", "required_fields", "works: 2 values in 'title', where one is allowed"),
        ("artwork:museum/2", "required_fields", r"works: title: '?' does not match \w+"),
    ]


def test_two_rows_of_one_id_are_one_thing_and_a_second_name_is_listed(tmp_path: Path) -> None:
    rows = [{"number": "1", "title": "Dawn", "s": "Cubism"}, {"number": "1", "title": "Dusk", "s": "Fauvism"}]
    things, reading = works(tmp_path, rows, facts=[{"relation": "hasStyle", "column": "s", "type": "style"}])
    assert {thing.label for thing in things if isinstance(thing, Entity) and thing.type == "artwork"} == {"Dawn"}
    assert [tail for _, _, tail in facts(things)] == ["style:cubism", "style:fauvism"]
    assert dropped(reading) == [("artwork:museum/1", "repeated_id", "works: another row calls it 'Dusk'")]


def test_a_second_text_or_picture_is_listed_whichever_table_it_stands_in(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(jpeg(1))
    first = {"number": "1", "title": "Dawn", "text": "at sea", "p": "1.jpg"}
    for name, changes in {"a": {}, "b": {"title": "Dusk"}, "c": {"text": "ashore", "p": "2.jpg"}, "d": {}}.items():
        write(tmp_path / f"{name}.csv", [{**first, **changes}])
    said = {"text": "text", "image": "p"}
    without = {"ignore": ["title"], "entity": {"type": "artwork", "id": "number", **said}}
    things, reading = read(tmp_path, {
        "a": {"file": "a.csv", "entity": {**WORKS, **said}}, "b": {"file": "b.csv", "entity": {**WORKS, **said}},
        "c": {"file": "c.csv", **without}, "d": {"file": "d.csv", **without},
    })  # fmt: skip
    assert {thing.label for thing in things if isinstance(thing, Entity)} == {"Dawn"}
    assert dropped(reading) == [
        ("artwork:museum/1", "repeated_id", "b: another row calls it 'Dusk'"),
        ("artwork:museum/1", "repeated_id", "c: another row says of it 'ashore'"),
        ("artwork:museum/1", "repeated_id", "c: another row shows it in 'museum:2.jpg'"),
    ]


MADE_BY = {"relation": "isCreatedByArtist", "column": "person", "table": "people"}


def joined(folder: Path, limit: int | None = None) -> tuple[list[Statement], SnapshotContext]:
    """Works, people, and a table between them that stands first."""
    write(folder / "works.csv", [{"number": str(n), "title": f"Work {n}"} for n in range(4)])
    write(folder / "people.csv", [{"id": str(n), "name": f"Painter {n}"} for n in range(2)])
    pairs = [
        ("0", "0", "artist"),
        ("1", "1", "artist"),
        ("2", "0", "donor"),
        ("9", "0", "artist"),
        ("3", "9", "artist"),
    ]
    write(folder / "pairs.csv", [{"work": w, "person": p, "role": r} for w, p, r in pairs])
    between = {"type": "artwork", "id": "work"}
    return read(folder, {
        "pairs": {"file": "pairs.csv", "only": {"role": ["artist"]}, "entity": between, "facts": [MADE_BY]},
        "works": {"file": "works.csv", "entity": WORKS},
        "people": {"file": "people.csv", "entity": {"type": "artist", "id": "id", "label": "name"}},
    }, limit=limit)  # fmt: skip


def test_tables_join_by_their_keys_whatever_their_order_and_strangers_are_listed(tmp_path: Path) -> None:
    things, reading = joined(tmp_path)
    assert facts(things) == [
        (f"artwork:museum/{number}", "isCreatedByArtist", f"artist:museum/{number}") for number in range(2)
    ]
    assert dropped(reading) == [
        ("artwork:museum/9", "unknown_id", "pairs: no table tells of it"),
        ("artwork:museum/3 isCreatedByArtist 9", "unreadable_value", "pairs: people tells of no 9"),
    ]


def test_rows_that_only_leaves_out_are_counted_in_a_note(tmp_path: Path) -> None:
    assert joined(tmp_path)[1].observations.notes == ["rows that `only` leaves out, and rows about such: pairs 1"]


def test_rows_about_what_another_table_leaves_out_are_counted_and_no_loss(tmp_path: Path) -> None:
    write(tmp_path / "works.csv", [{"number": "1", "title": "Dawn", "kind": "painting"},
                                   {"number": "2", "title": "Head", "kind": "bust"}])  # fmt: skip
    write(tmp_path / "styles.csv", [{"work": work, "style": "Cubism"} for work in "1223"])
    fact = {"relation": "hasStyle", "column": "style", "type": "style"}
    things, reading = read(tmp_path, {
        "works": {"file": "works.csv", "only": {"kind": ["painting"]}, "entity": WORKS},
        "styles": {"file": "styles.csv", "entity": {"type": "artwork", "id": "work"}, "facts": [fact]},
    })  # fmt: skip
    assert [head for head, _, _ in facts(things)] == ["artwork:museum/1"]
    assert dropped(reading) == [("artwork:museum/3", "unknown_id", "styles: no table tells of it")]
    assert reading.observations.notes == ["rows that `only` leaves out, and rows about such: styles 2, works 1"]


def test_a_limit_leaves_few_works_and_all_that_they_lead_to(tmp_path: Path) -> None:
    things, reading = joined(tmp_path, limit=1)
    assert [thing.id for thing in things if isinstance(thing, Entity)] == [
        "artwork:museum/0", "artist:museum/0", "artist:museum/1",
    ]  # fmt: skip
    assert dropped(reading) == [("artwork:museum/9", "unknown_id", "pairs: no table tells of it")]


def test_a_table_of_other_tables_things_adds_to_them(tmp_path: Path) -> None:
    write(tmp_path / "works.csv", [{"number": "1", "title": "Dawn"}])
    write(tmp_path / "more.csv", [{"work": "1", "qid": "Q1"}])
    things, _ = read(tmp_path, {
        "more": {"file": "more.csv", "entity": {"type": "artwork", "id": "work", "same_as": {"wikidata": "qid"}}},
        "works": {"file": "works.csv", "entity": WORKS},
    })  # fmt: skip
    assert Entity("artwork:museum/1", "artwork", "Dawn", same_as=("wikidata:Q1",), sources=("museum",)) in things


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"works\.csv: 'title'; did you mean 'tittle'\?"):
        works(tmp_path, [{"number": "1", "tittle": "Dawn"}])


def test_columns_that_are_neither_read_nor_ignored_are_reported(tmp_path: Path) -> None:
    row = {"number": "1", "title": "Dawn", "weight": "3", "notes": ""}
    assert works(tmp_path, [row], ignore=["notes"])[1].observations.leftovers == {"museum": {"works.weight"}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"number,title\n1,a,b\n", "line 2: 3 cells, 2 columns"),
        (b"number,title,title\n", "'title' stands twice"),
        (b"number,title\n1,\xe9t\xe9\n", "not UTF-8 .*; save it as UTF-8"),
        (b'number,title\n1,"Dawn\n', "not readable as csv"),
        (b"number;title\n1;Dawn\n", "one column, 'number;title'; where ';' parts cells, say delimiter: ';'"),
        (b'number,title\n1,"never closed\n', "not readable as csv"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, body: bytes, said: str) -> None:
    (tmp_path / "works.csv").write_bytes(body)
    with pytest.raises(DataError, match=said):
        read(tmp_path, {"works": {"file": "works.csv", "entity": WORKS}})


@pytest.mark.parametrize(
    ("name", "body", "place"),
    [
        ("works.jsonl", b'{"number": "1", "title": "\\ud83d\\ude00"}\n{"title": "\\ud83d"}\n', "line 2: "),
        ("works.json", b'[{"number": "1", "title": "\\uDE00"}]', ""),
    ],
)
def test_half_a_surrogate_pair_is_refused_where_it_stands(tmp_path: Path, name: str, body: bytes, place: str) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match=rf"{name}: .*\({place}.ud.{{3}} is half a surrogate pair"):
        read(tmp_path, {"works": {"file": name, "entity": WORKS}})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": "works.xlsx"}, "what is works.xlsx?"),
        ({"file": "https://museum.example/works.csv"}, "name its host among the source's `endpoints`"),
        ({"facts": [{"relation": "r", "column": "c"}]}, "name either the `type`"),
        ({"facts": [{"relation": "r", "column": "c", "table": "people"}]}, "leads to table 'people'"),
        ({"entity": {"type": "artwork", "id": "number"}}, "no table with a `label` tells of any artwork"),
        ({"entity": {**WORKS, "label": {"column": "t", "match": "("}}}, "no regular expression"),
        ({"fact": []}, "did you mean 'facts'"),
    ],
)
def test_options_that_do_not_hold_together_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError) as told:
        read(tmp_path, {"works": {"file": "works.csv", "entity": WORKS, **changes}})
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no file .*works\.csv; the files of a table source"):
        read(tmp_path, {"works": {"file": "works.csv", "entity": WORKS}})


def test_pictures_come_from_an_endpoint_or_from_beside_the_recipe_and_from_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    for path in (folder / "1.jpg", tmp_path / "secret.jpg"):
        path.write_bytes(jpeg(1))
    write(
        folder / "a.csv",
        [{"number": "1", "title": "a", "p": "1.jpg"}, {"number": "2", "title": "b", "p": "../secret.jpg"}],
    )
    write(
        folder / "b.csv",
        [{"number": "3", "title": "c", "p": "http://x/full/3.jpg"}, {"number": "4", "title": "d", "p": ""}],
    )
    away = {**WORKS, "image": {"column": "p", "endpoint": "site", "match": "http://x/(.+)"}}
    site = Site({"/full/3.jpg": answer(jpeg(3), Content_Type="image/jpeg")})
    things, reading = read(folder, {
        "a": {"file": "a.csv", "entity": {**WORKS, "image": "p"}}, "b": {"file": "b.csv", "entity": away},
    }, site)  # fmt: skip
    assert [t.image for t in things if isinstance(t, Entity)] == ["museum:1.jpg", None, "site:full/3.jpg", None]
    assert dropped(reading) == [
        ("artwork:museum/2", "picture_not_fetched", "a: ../secret.jpg: no such file beside the recipe")
    ]


def test_a_picture_by_its_whole_address_is_asked_of_the_hosts_that_the_recipe_names(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [{"number": "1", "title": "a", "p": "http://127.0.0.1:1/5.jpg"}])
    site = Site({"/5.jpg": answer(jpeg(5), Content_Type="image/jpeg")})
    things, _ = read(tmp_path, {"a": {"file": "a.csv", "entity": {**WORKS, "image": "p"}}}, site)
    assert [t.image for t in things if isinstance(t, Entity)] == ["museum:http://127.0.0.1:1/5.jpg"]
    write(tmp_path / "a.csv", [{"number": "1", "title": "a", "p": "http://secret.example/5.jpg"}])
    _, reading = read(tmp_path, {"a": {"file": "a.csv", "entity": {**WORKS, "image": "p"}}}, site)
    assert dropped(reading) == [
        ("artwork:museum/1", "picture_not_fetched", f"a: http://secret.example/5.jpg: {FOREIGN}")
    ]
    assert [path for path in site.asked if path != "/robots.txt"] == ["/5.jpg"]


def test_hosts_alone_are_enough_to_ask_for_pictures(tmp_path: Path) -> None:
    with serving({"/5.jpg": ok(jpeg(5), Content_Type="image/jpeg")}) as (base, _):
        write(tmp_path / "works.csv", [{"number": "1", "title": "Dawn", "p": f"{base}/5.jpg"}])
        options = {"tables": {"works": {"file": "works.csv", "entity": {**WORKS, "image": "p"}}}}
        source = {"use": "table", "hosts": [base.removeprefix("http://")], "options": options}
        report = fetch(Job(str(write_recipe(tmp_path, sources={"museum": source})), tmp_path / "w"))
    assert set(Snapshot(report.snapshot)) == {"museum:works.csv", f"museum:{base}/5.jpg"}


def test_a_cell_that_can_be_no_path_names_no_picture_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    cells = ["a\0b", "x" * 5000, "circle", "works.jsonl/1.jpg", "\0"]
    (tmp_path / "works.jsonl").write_text(
        "\n".join(json.dumps({"number": n, "title": "a", "p": cell}) for n, cell in enumerate(cells))
    )
    _, reading = read(tmp_path, {"a": {"file": "works.jsonl", "entity": {**WORKS, "image": "p"}}})
    assert dropped(reading) == [
        (f"artwork:museum/{n}", "picture_not_fetched", f"a: {cell}: no such file beside the recipe")
        for n, cell in enumerate(cells)
    ]


def test_a_picture_that_was_taken_away_is_in_no_later_release(tmp_path: Path) -> None:
    for path in ("1.jpg", "2.jpg"):
        (tmp_path / path).write_bytes(jpeg(1))
    write(tmp_path / "a.csv", [{"number": n, "title": "a", "p": p} for n, p in enumerate(("1.jpg", "2.jpg", "/1.jpg"))])
    pictured = {"a": {"file": "a.csv", "entity": {**WORKS, "image": "p"}}}
    assert [t.image for t in read(tmp_path, pictured)[0]] == ["museum:1.jpg", "museum:2.jpg", None]
    (tmp_path / "2.jpg").unlink()
    things, reading = read(tmp_path, pictured)
    assert [t.image for t in things] == ["museum:1.jpg", None, None]
    assert dropped(reading)[0] == (
        "artwork:museum/1",
        "picture_not_fetched",
        "a: 2.jpg: no such file beside the recipe",
    )


def encoded(kind: str, rows: list[dict[str, Any]]) -> bytes:
    """Rows as a file of a kind."""
    if kind in ("csv", "tsv"):
        delimiter = {"csv": ",", "tsv": "\t"}[kind]
        return "\n".join(delimiter.join(map(str, line)) for line in [rows[0], *(row.values() for row in rows)]).encode()
    if kind == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        return buffer.getvalue()
    return (json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))).encode()


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_a_table_is_fetched_from_an_endpoint_and_kept_as_received(tmp_path: Path, kind: str) -> None:
    body = encoded(kind, [{"number": "1", "title": "Dawn"}])
    site = Site({f"/data/works.{kind}": answer(body, Content_Type="application/octet-stream")})
    table = {"file": f"data/works.{kind}", "endpoint": "site", "entity": WORKS}
    things, _ = read(tmp_path, {"works": table}, site)
    assert [thing.label for thing in things if isinstance(thing, Entity)] == ["Dawn"]
    kept = Snapshot(tmp_path / "snapshot").get(f"site:data/works.{kind}")
    assert kept is not None
    assert kept.body == body


@pytest.mark.parametrize("fault", [answer(b"not now", 404), answer(b"<html>log in</html>", Content_Type="text/html")])
def test_what_is_no_table_is_a_failure_and_asked_again(tmp_path: Path, fault: Any) -> None:
    site = Site({"/a.csv": answer(b"number,title\n1,Dawn\n"), "/b.csv": fault})
    tables = {name: {"file": f"{name}.csv", "endpoint": "site", "entity": WORKS} for name in ("a", "b")}
    source, snapshot = Tables(TableOptions.model_validate({"tables": tables})), Snapshot(tmp_path / "snapshot")
    with snapshot.writing():
        fetching = context(tmp_path, snapshot, site)
        source.fetch(fetching)
        assert (len(fetching.failures), list(snapshot)) == (1, ["site:a.csv"])
        site.answers["/b.csv"] = answer(b"number,title\n")
        fetching = context(tmp_path, snapshot, site)
        source.fetch(fetching)
        assert (fetching.failures, list(snapshot)) == ([], ["site:a.csv", "site:b.csv"])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_without_rows_has_its_columns(tmp_path: Path, kind: str) -> None:
    nested = pa.struct([("name", pa.string())])
    for name, columns in {"good": {"number": pa.string(), "title": nested}, "bad": {"number": pa.string()}}.items():
        if kind == "parquet":
            pq.write_table(pa.schema(columns.items()).empty_table(), tmp_path / f"{name}.parquet")
        else:
            (tmp_path / f"{name}.csv").write_text(",".join(columns).replace("title", "title.name"))
    entity = {**WORKS, "label": "title.name"}
    assert read(tmp_path, {"works": {"file": f"good.{kind}", "entity": entity}})[0] == []
    with pytest.raises(DataError, match=f"unknown column in bad.{kind}: 'title.name'"):
        read(tmp_path, {"works": {"file": f"bad.{kind}", "entity": entity}})


FACTS: dict[str, dict[str, Any]] = {
    "isCreatedByArtist": {"column": "artist", "type": "artist"},
    "hasStyle": {"column": "style", "type": "style"},
    "isCreatedInYear": {"column": "year", "parse": "date"},
}


def built(folder: Path, *more: dict[str, Any], table: dict[str, Any] | None = None, **changes: Any) -> BuildReport:
    """A graph of forty works in one table."""
    write(folder / "works.csv", [
        {"number": n, "title": f"Work {n}", "artist": f"Painter {n % 3}", "style": "Cubism", "year": 1900 + n,
         "donor": "Ada Brill"}
        for n in range(40)
    ])  # fmt: skip
    facts = [*({"relation": relation, **column} for relation, column in FACTS.items()), *more]
    works = {"file": "works.csv", "entity": WORKS, "facts": facts, **(table or {})}
    sources = {"museum": {"use": "table", "options": {"tables": {"works": works}}}}
    recipe = write_recipe(folder, **{"sources": sources, "cleaning": RECIPE["cleaning"], **changes})
    return build(Job(str(recipe), folder / "w"))


def test_a_graph_is_built_from_tables_by_a_recipe_alone(tmp_path: Path) -> None:
    report = built(tmp_path)
    assert report.manifest["triples"]["kept"] == 120
    assert [finding.message for finding in report.findings] == ["museum: nobody reads works.donor"]
    assert report.manifest["leftovers"] == {"museum": ["works.donor"]}


def test_a_graph_without_a_fact_is_refused_with_what_became_of_it(tmp_path: Path) -> None:
    write(tmp_path / "works.csv", [{"number": n, "title": "x" if n else "", "made": "?"} for n in range(3)])
    facts = [{"relation": "isCreatedInYear", "column": "made", "parse": "date"}]
    tables = {"works": {"file": "works.csv", "entity": WORKS, "facts": facts}}
    recipe = write_recipe(tmp_path, sources={"museum": {"use": "table", "options": {"tables": tables}}})
    said = "told of 2 entities and 0 triples; dropped: required_fields 1, unreadable_value 2; look at"
    with pytest.raises(DataError, match=f"^no triple is left to release: the sources {said}"):
        build(Job(str(recipe), tmp_path / "w"))
    assert not (tmp_path / "w" / "releases").exists()


def test_files_are_read_offline_too_and_no_endpoint_is_asked(tmp_path: Path) -> None:
    write(tmp_path / "works.csv", [{"number": str(n), "title": f"Work {n}", "style": "Cubism"} for n in range(9)])
    facts = [{"relation": "hasStyle", "column": "style", "type": "style"}]
    tables = {"works": {"file": "works.csv", "entity": WORKS, "facts": facts}}
    museum = {"use": "table", "endpoints": {"site": "https://museum.example"}, "options": {"tables": tables}}
    recipe = write_recipe(tmp_path, sources={"museum": museum})
    assert build(Job(str(recipe), tmp_path / "w", offline=True)).manifest["triples"]["kept"] == 9
    write(tmp_path / "works.csv", [{"number": "0", "title": "Other", "style": "Cubism"}])
    recipe = write_recipe(tmp_path, sources={"museum": museum}, version="2.0.0")
    assert build(Job(str(recipe), tmp_path / "w", offline=True)).manifest["triples"]["kept"] == 1
    (tmp_path / "works.csv").unlink()
    with pytest.raises(RecipeError, match=r"no file .*works\.csv"):
        build(Job(str(recipe), tmp_path / "w", offline=True))


def test_a_relation_and_a_type_of_ones_own_need_only_be_declared(tmp_path: Path) -> None:
    given = {"relation": "wasGivenBy", "column": "donor", "type": "donor"}
    types = {**RECIPE["types"], "donor": {"prompt": "a painting given by {}"}}
    relations = {**RECIPE["relations"], "wasGivenBy": {"domain": "artwork", "range": "donor"}}
    manifest = built(tmp_path, given, types=types, relations=relations).manifest
    assert manifest["triples"]["kept"] == 160


def test_names_that_differ_and_make_one_id_are_counted_in_a_note(tmp_path: Path) -> None:
    names = {"C++": "C#", "Op Art": "op  art", "Café": "Cafe"}  # of which two differ
    lookup = {f"Painter {n}": name for n, name in enumerate(names)}
    other = {f"Painter {n}": name for n, name in enumerate(names.values())}
    facts = [{"relation": "hasStyle", "column": "artist", "type": "style", "lookup": each} for each in (lookup, other)]
    found = [finding.message for finding in built(tmp_path, *facts, table={"ignore": ["donor"]}).findings]
    assert found == ["2 names with the id of another, the first: 'C++' and 'C#' are both style:c"]


def test_what_the_recipe_expects_is_expected_of_tables(tmp_path: Path) -> None:
    with pytest.raises(ExpectationError, match="hasStyle"):
        built(tmp_path, expectations={"relations": {"hasStyle": {"min": 41}}})


@pytest.mark.parametrize(
    ("fact", "table", "said"),
    [
        ({"relation": "hasStile"}, {}, "works.facts.3.relation: unknown relation 'hasStile'; did you mean 'hasStyle'?"),
        ({"type": "styel"}, {}, "works.facts.3.type: unknown type 'styel'; did you mean 'style'?"),
        ({"type": "artist"}, {}, "works.facts.3: hasStyle leads to type 'style', and the values are of type 'artist'"),
        ({"type": None, "parse": "date"}, {}, "works.facts.3: hasStyle leads to dates: say under `cleaning.bins`"),
        ({"relation": "isPupilOf", "type": "artist"}, {}, "isPupilOf is said of type 'artist', and the rows are of"),
        ({}, {"entity": {**WORKS, "type": "artworks"}}, "works.entity.type: unknown type 'artworks'; did you mean"),
        ({}, {"endpoint": "site"}, "works.endpoint: unknown endpoint 'site'; known: none"),
        ({}, {"entity": {**WORKS, "image": {"column": "p", "endpoint": "x"}}}, "image.endpoint: unknown endpoint 'x'"),
        ({}, {"entity": {**WORKS, "type": "style", "image": "p"}}, "style.image: true`, or map no image"),
        ({}, {"entity": {**WORKS, "type": "artist", "text": "p"}},
         "works.entity.text: type 'artist' has `text: label`: say `types.artist.text: source`, or map no text"),
        ({}, {"entity": {**WORKS, "type": "style", "text": "p"}}, "works.entity.text: type 'style' has `text: none`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_recipe_is_told_before_anything_is_read(
    tmp_path: Path, fact: dict[str, Any], table: dict[str, Any], said: str
) -> None:
    stated = {"relation": "hasStyle", "column": "style", "type": "style", **fact}
    with pytest.raises(RecipeError, match=re.escape(said)) as told:
        built(tmp_path, {key: value for key, value in stated.items() if value}, table=table)
    assert str(told.value).startswith(f"{tmp_path / 'tiny.yaml'}: sources.museum.options: tables.works.")
    assert not (tmp_path / "w").exists()


def test_what_rows_share_an_id_for_is_told_at_the_end(tmp_path: Path) -> None:
    fact = {"relation": "hasStyle", "column": "style", "type": "style"}
    rows = [{"number": "1", "title": "Dawn", "style": "Cubism"}, {"number": "1", "title": "Dusk", "style": "Fauvism"}]
    _, reading = works(tmp_path, rows, facts=[fact])
    assert reading.observations.notes == [
        "works: 1 id in several rows, the first artwork:museum/1; what they state is taken together",
        "works: 1 id called otherwise than before, the first artwork:museum/1: 'Dusk', before 'Dawn'; "
        "if they are two things, give the ids of one table a `template`",
    ]


def test_a_key_that_two_tables_use_for_two_things_is_told_and_a_template_parts_them(tmp_path: Path) -> None:
    write(tmp_path / "painters.csv", [{"id": "1", "name": "Anna Painter"}])
    write(tmp_path / "sculptors.csv", [{"id": "1", "name": "Carl Chisel"}])
    write(tmp_path / "works.csv", [{"number": "9", "title": "Bust", "by": "1"}])
    person = {"type": "artist", "id": "id", "label": "name"}
    by = {"relation": "isCreatedByArtist", "column": "by", "table": "sculptors"}
    tables = {
        "painters": {"file": "painters.csv", "entity": person},
        "sculptors": {"file": "sculptors.csv", "entity": person},
        "works": {"file": "works.csv", "entity": WORKS, "facts": [by]},
    }
    _, reading = read(tmp_path, tables)
    (said,) = reading.observations.notes
    assert said.startswith("sculptors: 1 id called otherwise than before, the first artist:museum/1: 'Carl Chisel'")
    tables["sculptors"] = {**tables["sculptors"], "entity": {**person, "id": {"column": "id", "template": "s{}"}}}
    tables["works"] = {**tables["works"], "facts": [{**by, "template": "s{}"}]}
    things, reading = read(tmp_path, tables)
    assert facts(things) == [("artwork:museum/9", "isCreatedByArtist", "artist:museum/s1")]
    assert reading.observations.notes == []


def test_a_table_without_a_row_is_told(tmp_path: Path) -> None:
    (tmp_path / "works.csv").write_text("number,title\n")
    _, reading = read(tmp_path, {"works": {"file": "works.csv", "entity": WORKS}})
    assert reading.observations.notes == ["works: no row in works.csv"]


def test_pictures_of_hosts_that_may_not_be_asked_are_told_with_the_remedy(tmp_path: Path) -> None:
    rows = [{"number": str(n), "title": "a", "p": f"https://{host}/{n}.jpg"} for n, host in enumerate(("b.x", "a.x"))]
    write(tmp_path / "works.csv", rows)
    options = {"tables": {"works": {"file": "works.csv", "entity": {**WORKS, "image": "p"}}}}
    source = {"use": "table", "options": options}
    for hosts in ([], ["elsewhere.x"]):
        recipe = write_recipe(tmp_path, sources={**RECIPE["sources"], "museum": {**source, "hosts": hosts}})
        report = build(Job(str(recipe), tmp_path / f"w{len(hosts)}", contact="me@x.org"))
        assert (
            "museum: hosts that the source may not ask are left out; to ask them: hosts: [a.x, b.x]"
            in report.manifest["notes"]
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'number,title\n1,Dawn\n2,"Big" picture\n',
            "works.csv, line 3: not readable as csv .*the recipe says quoted: false",
        ),
        ('number,title\n1,"Dawn\n2,Dusk\n', "works.csv, line 2: not readable as csv .*the recipe says quoted: false"),
        ("number,title,,\n1,Dawn,,x\n", "works.csv, line 2: 'x' stands in a column without a name"),
    ],
)
def test_a_table_that_cannot_be_read_says_in_which_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "works.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read(tmp_path, {"works": {"file": "works.csv", "entity": WORKS}})


def test_blanks_around_column_names_and_empty_columns_without_one_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "works.csv").write_text(" number , title,,\n1,Dawn,,\n")
    things, reading = read(tmp_path, {"works": {"file": "works.csv", "entity": WORKS}})
    assert [thing.label for thing in things if isinstance(thing, Entity)] == ["Dawn"]
    assert reading.observations.leftovers == {}


def test_a_wrong_delimiter_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / "works.csv").write_text("number,title\n1,Dawn\n")
    with pytest.raises(DataError, match=r"unknown column in works.csv: 'number';.*; is the delimiter ';'\?"):
        read(tmp_path, {"works": {"file": "works.csv", "delimiter": ";", "entity": WORKS}})


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_whole_number_of_json_is_one_also_where_a_gap_made_it_a_fraction(tmp_path: Path, kind: str) -> None:
    line = '{"number": 1.0, "title": 1.50}'
    (tmp_path / f"works.{kind}").write_text(f"[{line}]" if kind == "json" else line)
    things, _ = read(tmp_path, {"works": {"file": f"works.{kind}", "entity": WORKS}})
    assert [(thing.id, thing.label) for thing in things if isinstance(thing, Entity)] == [("artwork:museum/1", "1.50")]
