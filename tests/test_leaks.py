"""Fifteen leaks of different kinds, and four more, each planted into a sound release and found."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mkg_builder.build import Job, build
from mkg_builder.checks import check_release
from mkg_builder.graph import Entity, Triple
from mkg_builder.source import Source, SourceContext
from tests.hostile_pictures import encoded
from tests.planting import Row, rewrite, rows
from tests.tiny_recipe import RECIPE, Works, write_recipe

SPLIT = {**RECIPE["split"], "together": ["isCreatedByArtist"], "near_duplicates": True, "unanswerable": "drop"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    found = build(Job(str(write_recipe(folder, split=SPLIT)), folder / "w")).release
    assert check_release(found) == []
    return found


@pytest.fixture
def release(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "release"))


def leaks(release: Path) -> list[str]:
    findings = check_release(release)
    assert {finding.check for finding in findings} <= {"leakage"}
    return [finding.message for finding in findings]


def fact(head: str, relation: str, tail: str) -> Row:
    return {"head": head, "relation": relation, "tail": tail, "source": "planted"}


def plant(release: Path, split: str, *facts: Row) -> None:
    rewrite(release, "triples", split, [*rows(release, "triples", split), *facts])


def remove(release: Path, split: str, *facts: Row) -> None:
    rewrite(release, "triples", split, [row for row in rows(release, "triples", split) if row not in facts])


def first(release: Path, split: str, relation: str) -> Row:
    return next(row for row in rows(release, "triples", split) if row["relation"] == relation)


def change(release: Path, table: str, name: str, **values: object) -> None:
    changed = [row | (values if row["id"] == name else {}) for row in rows(release, table, "full")]
    rewrite(release, table, "full", changed)


def work(release: Path, split: str, place: int = 0) -> str:
    named = sorted({row["head"] for row in rows(release, "triples", split) if row["head"].startswith("artwork:")})
    return named[place]


def test_1_a_held_out_artwork_is_a_head_in_train(release: Path) -> None:
    style = first(release, "test", "hasStyle")
    remove(release, "test", style)
    plant(release, "train", style)
    assert f"{style['head']} is held out for test but a head in train" in leaks(release)


def with_relation(folder: Path, name: str, **relation: object) -> Path:
    relations = {**RECIPE["relations"], name: relation}
    return build(Job(str(write_recipe(folder, split=SPLIT, relations=relations)), folder / "w")).release


def test_2_a_held_out_artwork_is_a_tail_in_train(tmp_path: Path) -> None:
    release = with_relation(tmp_path, "isRelatedTo", domain="artwork", range="artwork", evaluated=False)
    hidden = work(release, "test")
    plant(release, "train", fact(work(release, "train"), "isRelatedTo", hidden))
    assert f"{hidden} is held out for test but a tail in train" in leaks(release)


def test_3_an_artwork_is_in_validation_and_in_test(release: Path) -> None:
    style = first(release, "test", "hasStyle")
    remove(release, "test", style)
    plant(release, "validation", style)
    assert f"{style['head']} is in validation and in test" in leaks(release)


def test_4_a_fact_is_in_train_and_in_test(tmp_path: Path) -> None:
    release = with_relation(tmp_path, "admires", domain="artist", range="artist")
    same = fact("artist:ann", "admires", "artist:bob")
    plant(release, "train", same)
    plant(release, "test", same)
    messages = [finding.message for finding in check_release(release)]
    assert "test: (artist:ann, admires, artist:bob) is in train too" in messages


def test_5_the_declared_inverse_of_a_held_out_fact_is_in_train(tmp_path: Path) -> None:
    release = with_relation(tmp_path, "admires", domain="artist", range="artist")
    for split in ("train", "validation", "test"):
        remove(release, split, *(row for row in rows(release, "triples", split) if row["relation"].endswith("Of")))
    plant(release, "train", fact("artist:ann", "isPupilOf", "artist:cat"))
    plant(release, "test", fact("artist:cat", "isTeacherOf", "artist:ann"))
    assert leaks(release) == ["test: the mirror of (artist:cat, isTeacherOf, artist:ann) is in train"]


def test_6_a_fact_with_head_and_tail_exchanged_is_in_train(tmp_path: Path) -> None:
    release = with_relation(tmp_path, "isRelatedToArtist", domain="artist", range="artist")
    plant(release, "train", fact("artist:ann", "isRelatedToArtist", "artist:cat"))
    plant(release, "test", fact("artist:cat", "isRelatedToArtist", "artist:ann"))
    assert leaks(release) == ["test: the reverse of (artist:cat, isRelatedToArtist, artist:ann) is in train"]


def between_artists(count: int) -> list[tuple[str, str]]:
    return [(f"artist:p{n}", f"artist:q{n}") for n in range(count)]


def with_pairs(folder: Path) -> Path:
    """A release with ten pairs of artists more, named by a relation of their own in train."""
    release = with_relation(folder, "isInfluencedBy", domain="artist", range="artist")
    ann = next(row for row in rows(release, "entities", "full") if row["id"] == "artist:ann")
    more = [ann | {"id": name, "label": name} for pair in between_artists(10) for name in pair]
    rewrite(release, "entities", "full", rows(release, "entities", "full") + more)
    return release


@pytest.mark.parametrize("turned", [False, True])
def test_7_and_8_another_relation_says_the_same_straight_or_reversed(tmp_path: Path, turned: bool) -> None:
    release = with_pairs(tmp_path)
    pairs = between_artists(10)
    plant(release, "train", *(fact(a, "isPupilOf", b) for a, b in pairs))
    held_out = [(b, a) if turned else (a, b) for a, b in pairs]
    plant(release, "test", *(fact(a, "isInfluencedBy", b) for a, b in held_out))
    way = "reversed" if turned else "as it is"
    assert f"100% of held-out isInfluencedBy stand {way} in train as isPupilOf" in leaks(release)


def test_9_an_artist_is_in_two_of_the_disjoint_sets(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, split={**SPLIT, "disjoint": ["isPupilOf"]})
    release = build(Job(str(recipe), tmp_path / "w")).release
    plant(release, "train", fact("artist:cat", "isPupilOf", "artist:bob"))
    plant(release, "test", fact("artist:bob", "isPupilOf", "artist:ann"))
    assert any("is in two splits of relations divided by sets" in message for message in leaks(release))


def pictured(release: Path, split: str) -> Row:
    return next(row for row in rows(release, "artworks", "full") if row["split"] == split and row["image_sha256"])


def test_10_one_picture_is_on_two_sides(release: Path) -> None:
    one, other = pictured(release, "train"), pictured(release, "test")
    change(release, "artworks", other["id"], image=one["image"], image_sha256=one["image_sha256"])
    assert [m.partition(":")[0] for m in leaks(release)] == ["one picture on two sides of the split"]


def test_11_nearly_one_picture_is_on_two_sides(release: Path) -> None:
    one, other = pictured(release, "train"), pictured(release, "test")
    change(release, "artworks", one["id"], image_phash="00000000000000ff")
    change(release, "artworks", other["id"], image_phash="00000000000000fe")
    assert [m.partition(":")[0] for m in leaks(release)] == ["nearly one picture on two sides of the split"]


def test_12_one_identifier_is_on_two_sides(release: Path) -> None:
    for split in ("train", "test"):
        change(release, "entities", work(release, split), same_as=["somewhere:1"])
    assert [m.partition(":")[0] for m in leaks(release)] == ["one identifier on two sides of the split"]


def test_13_ids_that_differ_in_nothing_but_case_are_on_two_sides(release: Path) -> None:
    one = work(release, "train")
    twin = one.upper().replace("ARTWORK", "artwork")
    known = next(row for row in rows(release, "entities", "full") if row["id"] == one)
    rewrite(release, "entities", "full", [*rows(release, "entities", "full"), known | {"id": twin, "split": "test"}])
    plant(release, "test", fact(twin, "hasStyle", "style:new"))
    assert any(m.startswith("twin ids on two sides") for m in leaks(release))


def test_14_one_title_by_one_maker_is_on_two_sides(release: Path) -> None:
    hidden = first(release, "test", "isCreatedByArtist")
    known = next(r for r in rows(release, "triples", "train")
                 if r["relation"] == hidden["relation"] and r["tail"] == hidden["tail"])  # fmt: skip
    for row in (hidden, known):
        change(release, "entities", row["head"], label="The same")
    assert [m.partition(":")[0] for m in leaks(release)] == ["one title by one maker on two sides of the split"]


def test_15_the_text_of_a_head_tells_the_answer(release: Path) -> None:
    made = first(release, "test", "isCreatedByArtist")
    change(release, "entities", made["tail"], label="Anna Ancher")
    change(release, "entities", made["head"], text="A picture by Anna  ANCHER, 1880")
    assert leaks(release) == [f"the text of {made['head']} tells the answer, isCreatedByArtist {made['tail']}"]


def test_16_the_text_of_a_head_tells_another_name_of_the_answer(release: Path) -> None:
    made = first(release, "test", "isCreatedByArtist")
    change(release, "entities", made["tail"], aliases=["Anna Brøndum"])
    change(release, "entities", made["head"], text="Signed Anna Brøndum")
    assert any("tells another name of the answer" in message for message in leaks(release))


def test_17_the_tail_of_a_held_out_fact_never_occurs_in_train(release: Path) -> None:
    made = first(release, "test", "hasStyle")
    known = next(row for row in rows(release, "entities", "full") if row["id"] == made["tail"])
    new = known | {"id": "style:never", "split": "test"}
    rewrite(release, "entities", "full", [*rows(release, "entities", "full"), new])
    plant(release, "test", fact(made["head"], "hasStyle", "style:never"))
    assert leaks(release) == [f"the tail of ({made['head']}, hasStyle, style:never) never occurs in train"]


@pytest.mark.parametrize("table", ["entities", "artworks"])
def test_18_and_19_a_table_puts_a_held_out_artwork_into_train(release: Path, table: str) -> None:
    hidden = work(release, "test")
    change(release, table, hidden, split="train")
    assert leaks(release) == [f"{table}: {hidden} is said to be of train, its triples say test"]


def test_one_title_by_one_of_two_makers_is_on_two_sides(release: Path) -> None:
    hidden = first(release, "test", "isCreatedByArtist")
    known = next(r for r in rows(release, "triples", "train")
                 if r["relation"] == hidden["relation"] and r["tail"] == hidden["tail"])  # fmt: skip
    others = {"artist:ann", "artist:bob", "artist:cat"} - {hidden["tail"]}
    plant(release, "train", *(fact(known["head"], "isCreatedByArtist", other) for other in others))
    for row in (hidden, known):
        change(release, "entities", row["head"], label="The same")
    assert [m.partition(":")[0] for m in leaks(release)] == ["one title by one maker on two sides of the split"]


PLAIN = Image.new("RGB", (64, 48), "navy")


class Twins(Works):
    """The sixty works, among them what is one thing in every way, and what only looks like it."""

    def fetch(self, context: SourceContext) -> None:
        super().fetch(context)
        context.put("works:plain", encoded(PLAIN, "PNG"), "image/png")
        context.put("works:as plain", encoded(PLAIN, "PNG", compress_level=0), "image/png")

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        for said in super().read(context):
            number = int(said.id[-2:]) if isinstance(said, Entity) and said.type == "artwork" else 60
            if number < 10:
                yield replace(said, image="works:plain" if number % 2 else "works:as plain")
            elif number < 20:
                yield replace(said, label="?" * number)
            else:
                yield replace(said, same_as=("inventory:7",)) if number < 30 else said
        for number in range(20):
            for form in (f"ann/pond({number})", f"Ann/pond-{number}", f"a-nn/{number}", f"a/nn-{number}"):
                work = f"artwork:{form}"
                yield Entity(work, "artwork", f"Titled {form.encode().hex()}", sources=(context.name,))
                yield Triple(work, "isCreatedByArtist", "artist:ann", context.name)


@pytest.mark.parametrize("images", [{}, {"longest_side": 32}])
def test_what_the_search_calls_one_thing_the_split_keeps_together(tmp_path: Path, images: dict[str, int]) -> None:
    sources = {"works": {"use": "tests.test_leaks:Twins"}}
    recipe = write_recipe(tmp_path, sources=sources, split=SPLIT, images=images)
    assert check_release(build(Job(str(recipe), tmp_path / "w")).release) == []


class Beside(Source):
    """Pairs of one thing; of the even ones nothing can be asked but a relation to a work that may be in test."""

    def fetch(self, context: SourceContext) -> None:
        context.put("beside", b"x", "text/plain")

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        yield Entity("style:old", "style", "old", sources=(context.name,))
        for number in range(300):
            work, maker = f"artwork:{number:03d}", f"artist:{number // 2:03d}"
            yield Entity(maker, "artist", maker, sources=(context.name,))
            yield Entity(work, "artwork", f"Title {number}", sources=(context.name,), same_as=(f"x:{number // 2}",))
            yield Triple(work, "isCreatedByArtist", maker, context.name)
            if number % 2:
                yield Triple(work, "hasStyle", "style:old", context.name)
            else:
                yield Triple(work, "isRelatedToArtwork", f"artwork:{(number * 7 + 3) % 300:03d}", context.name)


def test_who_stands_only_beside_a_more_held_out_one_is_not_on_its_side(tmp_path: Path) -> None:
    relations = {name: RECIPE["relations"][name] for name in ("isCreatedByArtist", "hasStyle")}
    recipe = write_recipe(
        tmp_path, sources={"works": {"use": "tests.test_leaks:Beside"}}, cleaning={},
        relations={**relations, "isRelatedToArtwork": {"domain": "artwork", "range": "artwork", "evaluated": False}},
        types={"artwork": {"text": "none"}, "artist": {}, "style": {}}, split={**SPLIT, "unanswerable": "drop"},
    )  # fmt: skip
    release = build(Job(str(recipe), tmp_path / "w")).release
    assert [finding.message for finding in check_release(release) if finding.level == "error"] == []


class Untitled(Works):
    """Each of the sixty works is by an artist of its own, and untitled."""

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        for said in super().read(context):
            if isinstance(said, Triple) and said.relation == "isCreatedByArtist":
                maker = f"artist:of-{said.head[-2:]}"
                yield Entity(maker, "artist", maker, sources=(context.name,))
                yield said._replace(tail=maker)
            else:
                untitled = isinstance(said, Entity) and said.type == "artwork"
                yield replace(said, label="Untitled", text=None) if untitled else said


def test_rare_makers_in_one_group_are_not_one_maker(tmp_path: Path) -> None:
    split = {**SPLIT, "rest": {"isCreatedByArtist": "artist:rest"}}
    sources = {"works": {"use": "tests.test_leaks:Untitled"}}
    release = build(Job(str(write_recipe(tmp_path, sources=sources, split=split)), tmp_path / "w")).release
    makers = [row["tail"] for part in ("train", "test") for row in rows(release, "triples", part)]
    assert makers.count("artist:rest") > 20
    assert check_release(release) == []
