"""Loose triples and pictures join a trained run: as a release that holds them does, row by row, broken ones aside."""

import csv
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mkg_builder.errors import DataError, UsageError
from tests import painted
from tests.test_add import Room
from tests.test_vlkge_cli import told, vlkge
from vlkge.dataset import Dataset
from vlkge.encode import encode_release
from vlkge.evaluate import evaluate_run
from vlkge.export import export_run
from vlkge.gathering import gather
from vlkge.growth import Joined, Plan, join
from vlkge.newcomers import Loose
from vlkge.predict import Outside, Predictor
from vlkge.protocol import Strict
from vlkge.run import Run, load_run

SPLITS = ("train", "validation", "test")
NEW = "artist:painter-07"
FITTING = ("artwork:00-2", "isBy", "artist:painter-00")
HELD = "artwork:00-8"
"""A work of the test split."""


def quiet(*_: object) -> None:
    """Nobody wants to know."""


def write(path: Path, columns: str, rows: Iterable[Iterable[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns.split(","), *rows])
    return path


def works() -> list[str]:
    """The works that arrive later."""
    facts = [fact for split in SPLITS for fact in painted.facts()[split]]
    return sorted({head for head, _, _ in facts if head.startswith("artwork:") and painted.late(head)})


def lay_out(place: Path) -> Loose:
    """All that the newer release of the painted world adds, as loose things."""
    for work in works():
        name = work.removeprefix("artwork:")
        (place / "pictures").mkdir(parents=True, exist_ok=True)
        (place / "pictures" / f"{name}.png").write_bytes(painted.picture(*map(int, name.split("-"))))
    texts = [(work, f"Study {'abcdefghij'[int(work[-1])]}") for work in works() if int(work[-1]) % 2 == 0]
    facts = [(*fact, split) for split in SPLITS for fact in painted.facts()[split]]
    late = [fact for fact in facts if painted.late(fact[0]) or painted.late(fact[2])]
    return Loose(
        [write(place / "facts.csv", "head,relation,tail,mode", late)],
        [write(place / "works.csv", "id,text", texts)], [place / "pictures"], None, [NEW],
    )  # fmt: skip


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("loose"))


def grow(room: Room, name: str, loose: Loose, epochs: int = 0, run: Run | None = None) -> Joined:
    return join(run or room.run, Plan(loose, None, room.place / name, epochs), quiet)


@pytest.fixture(scope="module")
def loose(room: Room) -> Joined:
    return grow(room, "loose", lay_out(room.place / "handed"))


@pytest.mark.parametrize("epochs", [0, 3])
def test_loose_things_join_bit_for_bit_as_the_release_that_holds_them(room: Room, epochs: int) -> None:
    ours = grow(room, f"loose-{epochs}", lay_out(room.place / "handed"), epochs)
    theirs = room.join(f"release-{epochs}", epochs)
    everything = torch.arange(len(theirs.run.dataset.entities))
    assert ours.run.dataset.entities == theirs.run.dataset.entities
    with torch.no_grad():
        a, b = (joined.run.load_model() for joined in (ours, theirs))
        assert torch.equal(a.represent(everything), b.represent(everything))
    assert (ours.before, ours.after, ours.untrained) == (theirs.before, theirs.after, theirs.untrained)
    assert (ours.entities, ours.triples, ours.unknown) == (theirs.entities, theirs.triples, theirs.unknown)
    assert evaluate_run(ours.run, "test", Strict()).model == evaluate_run(theirs.run, "test", Strict()).model
    assert ours.run.parent["unlearned"] == theirs.run.parent["unlearned"]


def test_what_was_there_is_answered_as_before(room: Room, loose: Joined) -> None:
    assert loose.before == loose.after == evaluate_run(room.run, "test", Strict()).model
    old, new = (
        [(p.entity, p.score) for p in Predictor(run).tails_of(HELD, "hasStyle")] for run in (room.run, loose.run)
    )
    assert old == new


def test_a_picture_alone_is_an_artwork_that_is_asked_about_by_its_id(room: Room, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    (folder / "Hall 1").mkdir(parents=True)
    (folder / "Hall 1" / "Cafe\u0301.v2.png").write_bytes(painted.picture(3, 77))
    joined = grow(room, "one", Loose(pictures=[folder, *folder.glob("*/*.png")]))  # given twice, it is one
    by_id = Predictor(joined.run).tails_of("artwork:Hall 1/Caf\xe9.v2", "isBy")
    outside = Predictor(room.run).tails_of_outside(Outside(folder / "Hall 1" / "Cafe\u0301.v2.png"), "isBy")
    assert [(p.entity, p.score) for p in by_id] == [(p.entity, p.score) for p in outside]
    assert evaluate_run(joined.run, "test", Strict()).model == joined.before  # nobody new is an answer


def test_the_version_and_the_hash_say_what_joined_in_whatever_order(room: Room, loose: Joined, tmp_path: Path) -> None:
    facts = (room.place / "handed" / "facts.csv").read_text().splitlines()
    (tmp_path / "facts.csv").write_text("\n".join([facts[0], *facts[:0:-1]]))
    again = replace(lay_out(room.place / "handed"), triples=[tmp_path / "facts.csv"])
    dataset, _, _ = gather(room.run.dataset, room.run.features, again, quiet)
    ours = loose.run.dataset
    assert (dataset.version, dataset.content_sha256) == (ours.version, ours.content_sha256)
    assert ours.version == f"1.0.0+added-{ours.content_sha256[:6]}"
    work = room.place / "handed" / "pictures" / "07-0.png"
    whole = work.read_bytes()
    work.write_bytes(painted.picture(7, 99))
    assert gather(room.run.dataset, room.run.features, again, quiet)[0].version != ours.version
    work.write_bytes(whole)


def test_a_grown_run_grows_again_and_known_things_are_counted(room: Room, loose: Joined, tmp_path: Path) -> None:
    more = lay_out(tmp_path)
    (tmp_path / "pictures" / "99-1.png").write_bytes(painted.picture(9, 91))
    rows = [("artwork:99-1", "isBy", "artist:painter-09", "train")] * 2
    more = replace(more, triples=[*more.triples, write(tmp_path / "more.csv", "head,relation,tail,split", rows)])
    joined = grow(room, "again", more, run=loose.run)
    assert (joined.entities, joined.triples) == ({"artwork": 1}, {"train": 1, "validation": 0, "test": 0})
    stated = sum(loose.triples.values()) + 1
    assert (joined.account.known_triples, joined.account.pictures) == (stated, 1)
    assert joined.before == joined.after == evaluate_run(loose.run, "test", Strict()).model
    assert joined.run.dataset.version.startswith(f"{loose.run.dataset.version}.added-")
    said = f"nothing is new: in the graph already are 30 entities and {stated - 1} triples"
    with pytest.raises(UsageError, match=said):
        grow(room, "none", lay_out(tmp_path / "same"), run=loose.run)


def test_a_release_that_has_taken_them_up_joins_afterwards(room: Room, loose: Joined, tmp_path: Path) -> None:
    splits = painted.facts()
    splits["train"].append(("artist:painter-99", "belongsTo", "style:style-0"))
    newest = painted.write_release(tmp_path / "newest", "1.2.0", whole=True, splits=splits)
    encode_release(newest, painted.ENCODERS, tmp_path / "features")
    joined = join(loose.run, Plan(str(newest), tmp_path / "features", tmp_path / "grown"), quiet)
    assert (joined.entities, joined.before == joined.after) == ({"artist": 1}, True)
    assert joined.run.parent["loose"] is None


def test_a_given_away_run_grows_though_it_cannot_be_resumed(room: Room, loose: Joined, tmp_path: Path) -> None:
    given = load_run(export_run(loose.run, tmp_path / "export").folder)
    (tmp_path / "x.png").write_bytes(painted.picture(1, 70))
    joined = grow(room, "of-export", Loose(pictures=[tmp_path / "x.png"]), run=given)
    assert joined.before == joined.after == evaluate_run(loose.run, "test", Strict()).model
    assert joined.run.record["checkpoint"] is None
    assert json.loads((given.folder / "parent.json").read_text())["loose"]["pictures"] == len(works())


def test_broken_pictures_are_told_in_their_place_and_cost_no_other(room: Room, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    whole = painted.picture(2, 60)
    for name, body in (("a.png", whole), ("b.png", whole[:40]), ("c.txt", b"notes"), ("d.jpg", b""), ("e.png", whole),
                       ("a.jpeg", whole), ("f\u202e.png", whole), ("g.png", whole[:40])):  # fmt: skip
        (folder / name).write_bytes(body)
    facts = write(tmp_path / "facts.csv", "head,relation,tail", [("artwork:g", "isBy", "artist:painter-02")])
    joined = grow(room, "broken", Loose([facts], pictures=[folder]))
    names = {Path(broken.name).name for broken in joined.account.broken}
    assert names == {"b.png", "c.txt", "d.jpg", "a.png", "f\u202e.png", "g.png"}
    assert joined.account.pictures == 2
    assert (joined.entities, joined.unknown) == ({"artwork": 3}, {"artwork": 1})  # of g a triple tells, no picture
    assert [skipped.id for skipped in joined.run.features["image"].skipped] == ["artwork:g"]
    with pytest.raises(UsageError, match=r"of the pictures 1 cannot be used \(not a JPEG"):
        grow(room, "nothing", Loose(pictures=[folder / "c.txt"]))


def test_a_table_names_a_picture_and_what_is_read_of_it(room: Room, tmp_path: Path) -> None:
    (tmp_path / "IMG_1.png").write_bytes(painted.picture(4, 60))
    (tmp_path.parent / "secret.png").write_bytes(painted.picture(4, 61))
    rows = [("artwork:dawn", "IMG_1.png", "Dawn &amp; dusk", "Study b", "x"),
            ("artwork:b", "../secret.png", "", "", ""),
            ("artwork:c", "no.png", "=HYPERLINK(1)", "\x1b[31mred", "")]  # fmt: skip
    table = write(tmp_path / "works.csv", "ID,image,Title,text,room", rows)
    joined = grow(room, "table", Loose(entities=[table], pictures=[tmp_path]))
    dataset, account = joined.run.dataset, joined.account
    labels = dict(zip(dataset.entities, zip(dataset.labels, dataset.texts, strict=True), strict=True))
    assert labels["artwork:dawn"] == ("Dawn & dusk", "Study b")
    assert labels["artwork:c"] == ("=HYPERLINK(1)", "[31mred")
    assert joined.entities == {"artwork": 3}  # IMG_1.png is no work of its own
    said = [f"{table}, line {line}: {name}" for line, name in ((3, "../secret.png"), (4, "no.png"))]
    assert [broken.name for broken in account.broken] == said
    assert (account.pictures, account.unread) == (1, {str(table): ["room"]})
    assert set(joined.run.features["text"].ids) - set(room.run.features["text"].ids) == {"artwork:dawn", "artwork:c"}


@pytest.mark.parametrize(("other", "read"), [(None, True), ("born in 1840", False)])
def test_a_label_is_read_where_the_graph_has_nothing_else_of_its_type_read(
    room: Room, tmp_path: Path, other: str | None, read: bool
) -> None:
    was, given = room.run.dataset, {"artist:painter-00": "Painter 00", "artist:painter-01": other}
    texts = tuple(given.get(name, text) for name, text in zip(was.entities, was.texts, strict=True))
    rows = [("artist:jane", "Jane Doe", ""), ("artist:john", "John Roe", "a miniaturist")]
    table = write(tmp_path / "artists.csv", "id,label,text", rows)
    grown, _, _ = gather(replace(was, texts=texts), {}, Loose(entities=[table]), quiet)
    jane, john = (grown.entities.index(name) for name in ("artist:jane", "artist:john"))
    assert (grown.labels[jane], grown.texts[jane]) == ("Jane Doe", "Jane Doe" if read else None)
    assert (grown.labels[john], grown.texts[john]) == ("John Roe", "a miniaturist")


def test_ties_of_the_official_order_are_broken_as_before_and_the_new_come_last(room: Room, tmp_path: Path) -> None:
    was = replace(room.run.dataset, tie_order=torch.randperm(len(room.run.dataset.entities)))
    table = write(tmp_path / "new.csv", "id", [("artist:a",), ("artwork:b",)])
    grown, _, _ = gather(was, {}, Loose(entities=[table]), quiet)
    order = dict(zip(grown.entities, grown.tie_order.tolist(), strict=True))
    assert [order[name] for name in was.entities] == was.tie_order.tolist()
    assert (order["artist:a"], order["artwork:b"]) > (len(was.entities) - 1,) * 2
    assert len(set(order.values())) == len(order)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("artwork:00-2", "isby", "artist:painter-00"), "unknown relation 'isby'; did you mean 'isBy'?"),
        (("artwork:00-2", "isBy", "artist:painter-0O"), "unknown entity 'artist:painter-0O'; did you mean 'artist:p"),
        (("artwork:00-2", "isBy", "artist:jane"), "a picture, a row in --entities, or: --new artist:jane"),
        (("artwork:00-2", "isBy", "painter-00"), "'painter-00' says no type; an id is TYPE:NAME, as artwork:painter-0"),
        (("artwork:00-2", "isBy", "artits:x"), "unknown type 'artits'; did you mean 'artist'?"),
        (("artwork:00-2", "isBy", "style:style-0"), "the tail of isBy is of type 'artist', style:style-0 of type 'st"),
        (("artwork:00-2", "isBy", "artist:\x1b[31m"), r"'artist:\x1b[31m' holds characters that cannot be seen"),
        (("artwork:00-2", "isBy", "artist:painter-01", "trian"), "unknown split 'trian'; did you mean 'train'?"),
        (("artwork:00-2", "isBy", ""), "tail is empty"),
        ((HELD, "isBy", "artist:painter-01"), f"{HELD} is held out (split test), and this row is of split train"),
        (("artwork:00-1", "isBy", "artist:painter-01", "test"), "artwork:00-1 is learned from (split train), and this"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_fit_is_named_by_file_and_line_and_nothing_joins(
    room: Room, tmp_path: Path, row: tuple[str, ...], said: str
) -> None:
    rows = [(*each, "")[:4] for each in (FITTING, row)]
    table = write(tmp_path / "facts.csv", "head,relation,tail,split", rows)
    with pytest.raises(DataError) as refused:
        grow(room, "refused", Loose([table]))
    assert str(refused.value).startswith(f"{table}, line 3: ")
    assert said in str(refused.value)
    assert not (room.place / "refused").exists()


def test_further_wrong_rows_are_named_too(room: Room, tmp_path: Path) -> None:
    table = write(tmp_path / "facts.csv", "head,relation,tail", [("artwork:zz", "isBy", "artist:painter-00")] * 8)
    with pytest.raises(DataError) as refused:
        grow(room, "refused", Loose([table]))
    assert str(refused.value).endswith("; 7 more do not fit: line 3, line 4, line 5, line 6, line 7, …")


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        ("id,label", [("artwork:x", "X"), ("artwork:x", "Y")], "line 3: artwork:x stands twice, first in "),
        ("id,label", [("x", "X")], "line 2: 'x' says no type"),
        ("name,label", [("artwork:x", "X")], "line 2: no column 'id'; the columns are name, label"),
        ("id,label,title", [("artwork:x", "X", "Y")], "line 2: more than one label"),
        ("id,label", [("artwork:x", "X"), ("artwork:y",)], "line 3: 1 cells, 2 columns"),
    ],
)  # fmt: skip
def test_a_table_of_entities_that_cannot_be_read_is_refused(
    room: Room, tmp_path: Path, columns: str, rows: list[tuple[str, ...]], said: str
) -> None:
    table = write(tmp_path / "works.csv", columns, rows)
    with pytest.raises(DataError) as refused:
        grow(room, "refused", Loose(entities=[table]))
    assert str(refused.value).startswith(f"{table}, {said}")


@pytest.mark.parametrize("kind", ["csv", "semicolons", "tsv", "jsonl", "json", "parquet"])
def test_every_format_states_the_same_triples(room: Room, tmp_path: Path, kind: str) -> None:
    rows = [dict(zip(("head", "relation", "tail"), (f"artwork:n{i}", "isBy", "artist:painter-01"), strict=True))
            for i in range(3)]  # fmt: skip
    path = tmp_path / f"facts.{'csv' if kind == 'semicolons' else kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind.startswith("json"):
        path.write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)))
    else:
        sign = {"csv": ",", "semicolons": ";", "tsv": "\t"}[kind]
        path.write_text("\n".join(sign.join(line) for line in [rows[0].keys(), *(row.values() for row in rows)]))
    new = [row["head"] for row in rows]
    grown, _, _ = gather(room.run.dataset, {}, Loose([path], new=new), quiet)
    assert len(grown.triples["train"]) == len(room.run.dataset.triples["train"]) + 3
    assert _names(grown)[-3:] == [tuple(row.values()) for row in rows]


def _names(dataset: Dataset) -> list[tuple[str, str, str]]:
    return [(dataset.entities[h], dataset.relations[r], dataset.entities[t])
            for h, r, t in dataset.triples["train"].tolist()]  # fmt: skip


def test_a_transductive_graph_asks_what_pictures_show_and_any_split_may_name_anybody(
    room: Room, tmp_path: Path
) -> None:
    dataset = replace(room.run.dataset, setting="transductive", unseen_type=None)
    (tmp_path / "x.png").write_bytes(painted.picture(1, 70))
    with pytest.raises(UsageError, match="--type: artist, artwork, style"):
        gather(dataset, room.run.features, Loose(pictures=[tmp_path / "x.png"]), quiet)
    table = write(tmp_path / "facts.csv", "head,relation,tail", [(HELD, "isBy", "artist:painter-01")])
    loose = Loose([table], pictures=[tmp_path / "x.png"], kind="artist")
    grown, parts, _ = gather(dataset, room.run.features, loose, quiet)
    assert "artist:x" in parts["image"].ids
    assert (HELD, "isBy", "artist:painter-01") in _names(grown)


def test_a_run_without_pictures_says_so(room: Room, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(painted.picture(1, 70))
    with pytest.raises(UsageError, match="trained without pictures; its vectors: text"):
        gather(room.run.dataset, {"text": room.run.features["text"]}, Loose(pictures=[tmp_path / "x.png"]), quiet)


def test_the_command_tells_what_joined_what_was_set_aside_and_what_was_known(room: Room, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "dawn.png").write_bytes(painted.picture(5, 70))
    (tmp_path / "new" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    facts = [("artwork:dawn", "isBy", "artist:jane", "x"), (*FITTING, "x")]
    write(tmp_path / "facts.csv", "head,relation,tail,remark", facts)
    arguments = ("add", room.run.folder, "--pictures", "new", "--triples", "facts.csv", "--new", "artist:jane")
    done = vlkge(*arguments, "--out", "grown", "--epochs", 2, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "run: grown")
    assert done.stdout.startswith("new/torn.png: truncated")
    for said in ("1 picture encoded, 1 set aside", "0 entities, 1 triple", "facts.csv: not read: remark"):
        assert said in done.stderr
    found = told(*arguments, "--out", "again", cwd=tmp_path)
    assert (found["entities"], found["before"] == found["after"]) == ({"artist": 1, "artwork": 1}, True)
    assert found["account"]["broken"][0]["name"] == "new/torn.png"
    assert list(found["parent"]["loose"]["tables"]) == ["facts.csv"]
    for asked in (("evaluate", "grown", "--protocol", "reference"), ("evaluate", "grown", "--by-modality"),
                  ("predict", "grown", "--head", "artwork:dawn", "--relation", "isBy"), ("compare", "grown", "again"),
                  ("query", "grown", "?x: isBy(artwork:dawn, ?x)"), ("retrieve", "--run", "grown", "--type", "artwork"),
                  ("export", "grown", "--out", "export"), ("resume", "grown", "--epochs", 4)):  # fmt: skip
        assert told(*asked, cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "what is to join? a newer release, or --pictures"),
        (("new", "--pictures", "x.png"), 2, "give either a newer release, or --pictures"),
        (("--pictures", "x.png", "--features", "f"), 2, "--features are a release's"),
        (("pictures",), 2, "pictures is no release; give what is loose with --pictures"),
        (("--pictures", "nowhere"), 2, "no picture and no folder nowhere"),
        (("--triples", "nowhere.csv"), 2, "no file nowhere.csv"),
        (("--triples", "x.png"), 2, "what is x.png? a table is a file of csv, tsv"),
        (("--pictures", "x.png", "--type", "artwrok"), 2, "--type unknown type 'artwrok'; did you mean 'artwork'?"),
        (("--new", "jane"), 2, "--new 'jane' says no type"),
        (("--new", "artist:x", "--type", "artwork"), 2, "--type artwork says what --pictures show"),
        (("--new", "artist:painter-00"), 2, "nothing is new: in the graph already are 1 entity and 0 triples"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(room: Room, arguments: tuple[str, ...], code: int, said: str) -> None:
    (room.place / "pictures").mkdir(exist_ok=True)
    (room.place / "x.png").write_bytes(painted.picture(1, 70))
    done = vlkge("add", "run", *arguments, "--out", "nowhere", cwd=room.place)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert said in done.stderr


def test_one_fact_for_two_splits_is_refused_whichever_stands_first(room: Room) -> None:
    for splits in (("test", "train"), ("train", "test")):
        rows = [f"artist:painter-00,knows,artist:new,{split}" for split in splits]
        (room.place / "twice.csv").write_text("\n".join(["head,relation,tail,split", *rows]) + "\n")
        done = vlkge("add", "run", "--triples", "twice.csv", "--new", "artist:new", "--out", "no", cwd=room.place)
        assert (done.returncode, f"stated for {splits[1]}, and in twice.csv, line 2 for" in done.stderr) == (4, True)


def test_a_circle_of_links_is_one_broken_picture(room: Room) -> None:
    (folder := room.place / "circle").mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "good.png").write_bytes(painted.picture(1, 71))
    found = told("add", "run", "--pictures", "circle", "--out", "circled", cwd=room.place)
    assert found["account"]["pictures"] == 1
