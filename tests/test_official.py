import csv
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from mkg_builder import schema
from mkg_builder.build import Job, build
from mkg_builder.checks import check_release
from mkg_builder.context import SnapshotContext
from mkg_builder.errors import DataError, RecipeError, UsageError
from mkg_builder.graph import SPLITS, Entity, Literal, Triple
from mkg_builder.layers import shipped_recipes
from mkg_builder.recipe import load_recipe
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Source
from mkg_builder.sources.official import Official, OfficialOptions
from mkg_builder.strict import validate
from mkg_builder.testing import SourceContract
from tests.conftest import SHARED
from vlkge.dataset import load_folder

TRIPLES = b"""head,relation,tail,mode\r
n11669921,_hyponym,n11992806,train\r
n10499355,_hypernym,n10083823,val\r
n11992806,_hypernym,n11669921,test\r
"""
DEFINITIONS = b"""entity\tss_type\tlemmas\tdefinition\texamples
n11669921\tn\tflower\ta plant cultivated for its blooms or blossoms\t
n10499355\tn\tqueen|queen_regnant|female_monarch\ta "female" sovereign ruler\t
"""
ENDS = {"head": "synset", "tail": "synset"}
FAMILIAR = ["None", "NA", "N/A", "nan", "NaN", "null", "NULL", "n/a", "1e5", "01", "true", "-nan"]


def options(files: Mapping[str, bytes], **changes: Any) -> OfficialOptions:
    said = {"triples": "t.csv", "relations": {"_hypernym": ENDS, "_hyponym": ENDS}} | changes
    pins = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
    return validate(OfficialOptions, {"sha256": pins, **said}, "test")


def fetched(folder: Path, source: Official, files: Mapping[str, bytes]) -> SnapshotContext:
    """The context of a source that has fetched these files from a folder."""
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    context = SnapshotContext("published", Path(), Snapshot(folder / "snapshot"), {})
    context.files = folder
    with context._snapshot.writing():
        source.fetch(context)
    return context


def read(folder: Path, triples: bytes, **changes: Any) -> list[Any]:
    source = Official(options({"t.csv": triples}, **changes))
    return list(source.read(fetched(folder, source, {"t.csv": triples})))


class TestOfficialKeepsTheContract(SourceContract):
    name = "published"
    files: Mapping[str, bytes] = {"t.csv": TRIPLES, "d.tsv": DEFINITIONS}

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path

    @override
    def source(self) -> Source:
        return Official(options(self.files, definitions="d.tsv"))

    @override
    def fetching(self, snapshot: Snapshot) -> SnapshotContext:
        for name, body in self.files.items():
            (self.place / name).write_bytes(body)
        context = super().fetching(snapshot)
        context.files = self.place
        return context

    @override
    def spoil(self, snapshot: Snapshot) -> None:
        spoilt = b"".join(line + b"\tsurprise\n" for line in DEFINITIONS.splitlines())
        self.files = {**self.files, "d.tsv": spoilt}
        self.source().fetch(self.fetching(snapshot))


def test_a_row_is_a_triple_on_its_published_side(tmp_path: Path) -> None:
    triples = [thing for thing in read(tmp_path, TRIPLES) if isinstance(thing, Triple)]
    assert triples == [
        Triple("synset:n11669921", "_hyponym", "synset:n11992806", "published", "train"),
        Triple("synset:n10499355", "_hypernym", "synset:n10083823", "published", "validation"),
        Triple("synset:n11992806", "_hypernym", "synset:n11669921", "published", "test"),
    ]


def test_lemmas_are_label_and_aliases_and_the_definition_is_the_text(tmp_path: Path) -> None:
    files = {"t.csv": TRIPLES, "d.tsv": DEFINITIONS}
    source = Official(options(files, definitions="d.tsv"))
    entities = {e.id: e for e in source.read(fetched(tmp_path, source, files)) if isinstance(e, Entity)}
    assert entities["synset:n10499355"] == Entity(
        "synset:n10499355", "synset", "queen", text='a "female" sovereign ruler', sources=("published",),
        aliases=("queen regnant", "female monarch"),
    )  # fmt: skip
    assert (entities["synset:n11992806"].label, entities["synset:n11992806"].text) == ("n11992806", None)


def test_the_reference_index_counts_all_heads_and_then_all_tails(tmp_path: Path) -> None:
    found = [(thing.entity, thing.value) for thing in read(tmp_path, TRIPLES) if isinstance(thing, Literal)]
    names = ["n11669921", "n10499355", "n11992806", "n10083823"]  # heads of rows 1, 2, 3, then the one other tail
    assert found == [(f"synset:{name}", str(index)) for index, name in enumerate(names)]


def test_names_that_look_like_missing_values_or_numbers_stay_as_they_are(tmp_path: Path) -> None:
    body = "head,relation,tail,mode\n" + "".join(f"{name},_hyponym,x,train\n" for name in FAMILIAR)
    heads = [thing.head for thing in read(tmp_path, body.encode()) if isinstance(thing, Triple)]
    assert heads == [f"synset:{name}" for name in FAMILIAR]


def test_a_quoted_name_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    body = b'head,relation,tail,mode\n"a, ""b""\nc",_hyponym,d e,train\n'
    assert read(tmp_path, body)[0] == Triple('synset:a, "b"\nc', "_hyponym", "synset:d e", "published", "train")


def test_a_relation_may_be_renamed_and_gives_its_ends_their_types(tmp_path: Path) -> None:
    relations = {"isCreatedInYear": {"head": "artwork", "tail": "timeframe", "name": "belongsToTimeframe"}}
    body = b"head,relation,tail,mode\nw,isCreatedInYear,1850-1900,train\n"
    assert read(tmp_path, body, relations=relations)[0] == Triple(
        "artwork:w", "belongsToTimeframe", "timeframe:1850-1900", "published", "train"
    )


def test_one_published_name_is_one_entity_of_one_type(tmp_path: Path) -> None:
    relations = {"hasTag": {"head": "artwork", "tail": "tag"}, "belongsToGenre": {"head": "artwork", "tail": "genre"}}
    body = b"head,relation,tail,mode\nw,hasTag,landscape,train\nw,belongsToGenre,landscape,train\n"
    with pytest.raises(DataError, match="'landscape' is one published entity, but of type tag in"):
        read(tmp_path, body, relations=relations)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"head,relation,tail,split\n", "no column 'mode'; it has head, relation, tail, split"),
        (b"", "no column 'head'; it has none"),
        (b"head,relation,tail,mode\na,_hyponym,b\n", "line 2: 3 cells, 4 columns"),
        (b"head,relation,tail,mode\na,_hyponym,b,dev\n", "'dev' is no triple of this graph"),
        (b"head,relation,tail,mode\na,_antonym,b,train\n", "relations: _hypernym, _hyponym"),
        (b"head,relation,tail,mode\n,_hyponym,b,train\n", "is no triple of this graph"),
        (b'head,relation,tail,mode\n"a,_hyponym,b,train\n', "not readable as a table"),
        (b"head,relation,tail,mode\n\xff,_hyponym,b,train\n", "not readable as a table"),
    ],
)
def test_a_table_that_is_none_of_ours_is_refused_with_what_is_wrong(tmp_path: Path, body: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, body)


def test_another_content_is_refused_with_both_hashes(tmp_path: Path) -> None:
    source = Official(options({"t.csv": TRIPLES}))
    got, wanted = (hashlib.sha256(body).hexdigest() for body in (TRIPLES + b"\n", TRIPLES))
    with pytest.raises(DataError, match=f"its sha256 is {got}, the published file's is {wanted}"):
        fetched(tmp_path, source, {"t.csv": TRIPLES + b"\n"})
    assert len(Snapshot(tmp_path / "snapshot")) == 0


def test_a_pointer_in_place_of_the_file_says_git_lfs_pull(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:c06d9a50\nsize 526004\n"
    with pytest.raises(DataError, match=r"is a Git LFS pointer, not the file itself; .*: git lfs pull"):
        fetched(tmp_path, Official(options({"t.csv": TRIPLES})), {"t.csv": pointer})


def test_a_file_that_is_nowhere_names_the_places_and_the_option(tmp_path: Path) -> None:
    source = Official(options({"data/t.csv": TRIPLES}, triples="data/t.csv"))
    with pytest.raises(UsageError, match=rf"looked for {tmp_path}/data/t.csv, {tmp_path}/t.csv.*--files FOLDER"):
        fetched(tmp_path, source, {})


def test_a_file_is_found_under_the_last_part_of_its_path(tmp_path: Path) -> None:
    source = Official(options({"data/t.csv": TRIPLES}, triples="data/t.csv"))
    assert len(list(source.read(fetched(tmp_path, source, {"t.csv": TRIPLES})))) == 3 + 2 * 4


def test_what_was_fetched_is_not_looked_for_again(tmp_path: Path) -> None:
    source = Official(options({"t.csv": TRIPLES}))
    context = fetched(tmp_path, source, {"t.csv": TRIPLES})
    (tmp_path / "t.csv").unlink()
    with context._snapshot.writing():
        source.fetch(context)
    assert next(iter(source.read(context))).relation == "_hyponym"


def test_a_snapshot_of_another_content_is_not_read(tmp_path: Path) -> None:
    context = fetched(tmp_path, Official(options({"t.csv": TRIPLES})), {"t.csv": TRIPLES})
    with pytest.raises(DataError, match=r"does not hold t\.csv as the recipe names it"):
        list(Official(options({"t.csv": b"other"})).read(context))


@pytest.mark.parametrize("name", ["../t.csv", "/etc/passwd"])
def test_a_path_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="should be a path inside the folder"):
        options({name: b""}, triples=name)


def test_a_file_without_a_sha256_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"sha256 says nothing of d\.tsv"):
        options({"t.csv": TRIPLES}, definitions="d.tsv")


@pytest.fixture(scope="module")
def wn9(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Job("wn9-img", tmp_path_factory.mktemp("wn9"), files=SHARED / "wn9")).release


@pytest.mark.shared
def test_the_release_has_the_published_triples_on_the_published_sides(wn9: Path) -> None:
    with (SHARED / "wn9" / "wn9_img_triples.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    published = {(f"synset:{h}", r, f"synset:{t}", m.replace("val", "validation")) for h, r, t, m in rows}
    assert header == ["head", "relation", "tail", "mode"]
    released = [
        (row["head"], row["relation"], row["tail"], split)
        for split in SPLITS for row in schema.read_table(wn9, "triples", split).to_pylist()
    ]  # fmt: skip
    assert Counter(split for *_, split in released) == {"train": 11741, "validation": 1337, "test": 1319}
    assert (set(released), len(released)) == (published, len(published))
    assert {(finding.level, finding.check) for finding in check_release(wn9)} == {("warning", "leakage")}


@pytest.mark.shared
def test_every_synset_is_defined_and_the_graph_is_transductive(wn9: Path) -> None:
    dataset = load_folder(wn9)
    assert (len(dataset.entities), len(dataset.relations), dataset.setting) == (6555, 9, "transductive")
    assert all(dataset.texts)
    flower = dataset.entity_index("synset:n11669921")
    assert dataset.texts[flower] == "a plant cultivated for its blooms or blossoms"
    assert dataset.labels[flower] == "flower"


@pytest.mark.shared
def test_the_location_of_the_files_leaves_no_mark(wn9: Path) -> None:
    assert (wn9.name, schema.read_manifest(wn9)["marks"]) == ("wn9-img-1.0.0", [])


def test_the_recipes_pin_files_of_the_official_source() -> None:
    recipes = {name: load_recipe(path) for name, path in shipped_recipes().items()}
    pinned = [name for name, recipe in recipes.items() if "official" in {s.use for s in recipe.sources.values()}]
    assert pinned
    for name in pinned:
        for part in recipes[name].sources.values():
            said = validate(OfficialOptions, part.options, name)
            assert {relation.name or key for key, relation in said.relations.items()} == set(recipes[name].relations)
            assert recipes[name].split.policy == "given"


def test_a_recipe_that_reads_no_published_files_is_given_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--files .*: demo reads no published files; leave it out"):
        build(Job("demo", tmp_path / "w", files=tmp_path))
