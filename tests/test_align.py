"""Alignment: against a plain specification on generated sources, and through a build with people's decisions."""

import random
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mkg_builder.align import align, name_key
from mkg_builder.build import BuildReport, Job, build
from mkg_builder.decisions import COLUMNS, read_decisions
from mkg_builder.errors import DataError, RecipeError
from mkg_builder.facts import Facts
from mkg_builder.graph import Entity, Triple
from mkg_builder.recipe import Recipe
from mkg_builder.triples import Triples
from tests.tiny_recipe import RECIPE, jpeg, write_recipe

DATES = ["wasBornOnDate", "diedOnDate"]
SOURCES = ("site", "museum", "archive", "library")
RULE = {"identifiers": ["wikidata"], "dates": DATES}


def recipe(*sources: str, **rule: Any) -> Recipe:
    used = {name: {"use": "table"} for name in sources or ("site", "museum")}
    relations = {**RECIPE["relations"], **{n: {"domain": "artist", "range": "timeframe"} for n in DATES}}
    alignment = {"artist": {**RULE, **rule}}
    return Recipe.model_validate({**RECIPE, "sources": used, "relations": relations, "alignment": alignment})


def artist(name: str, source: str, label: str, *same_as: str, aliases: tuple[str, ...] = ()) -> Entity:
    return Entity(f"artist:{name}", "artist", label, same_as=same_as, sources=(source,), aliases=aliases)


def facts(*entities: Entity, **dates: tuple[str | None, str | None]) -> Facts:
    """The entities, with years of birth and death by what stands behind `artist:`."""
    stated = [
        (f"artist:{name}", relation, f"date:{year}")
        for name, years in dates.items() for relation, year in zip(DATES, years, strict=True) if year
    ]  # fmt: skip
    known = {entity.id: entity for entity in entities}
    known |= {tail: Entity(tail, "date", tail, sources=("site",)) for _, _, tail in stated}
    return Facts(known, Triples.of(Triple(*fact, "site") for fact in stated))


def outcome(given: Facts, rules: Recipe, **decisions: bool) -> tuple[dict[str, str], set[tuple[str, str]]]:
    """Which id became which, and the pairs that wait."""
    found = align(given, rules, {tuple(f"artist:{n}" for n in pair.split("_")): d for pair, d in decisions.items()})
    joined = {lost.id: lost.detail.partition(": ")[0] for lost in found.facts.dropped if lost.rule == "aligned"}
    assert joined.keys() == given.entities.keys() - found.facts.entities.keys()
    return joined, {(pair.left, pair.right) for pair in found.waiting}


MONET = artist("monet", "site", "Claude Monet", "wikidata:Q296")


def test_a_shared_identifier_joins_whatever_the_names_and_the_first_source_stands_for_both() -> None:
    given = facts(MONET, artist("a1", "museum", "Oscar-Claude M.", "wikidata:Q296"))
    found = align(given, recipe(), {})
    assert found.facts.entities["artist:monet"].aliases == ("Oscar-Claude M.",)
    assert found.facts.entities["artist:monet"].sources == ("museum", "site")
    assert outcome(given, recipe()) == ({"artist:a1": "artist:monet"}, set())
    assert outcome(given, recipe("museum", "site")) == ({"artist:monet": "artist:a1"}, set())


@pytest.mark.parametrize("same", ["wikidata:Q296", "ulan:500019484", "viaf:24605513", "wikiart:claude-monet"])
def test_any_kind_of_identifier_that_the_recipe_names_joins_and_no_other_kind(same: str) -> None:
    given = facts(artist("monet", "site", "Claude Monet", same), artist("a1", "museum", "O.-C. M.", same))
    kinds = ["wikidata", "ulan", "viaf", "wikiart"]
    assert outcome(given, recipe(identifiers=kinds))[0] == {"artist:a1": "artist:monet"}
    others = [kind for kind in kinds if not same.startswith(kind)]
    assert outcome(given, recipe(identifiers=others)) == ({}, set())


@pytest.mark.parametrize(
    ("accept", "review", "joined", "waits"), [(0.95, 0.85, 0, 1), (0.9, 0.85, 1, 0), (1, 0.99, 0, 0)]
)
def test_the_recipe_says_how_alike_names_must_be(accept: float, review: float, joined: int, waits: int) -> None:
    given = facts(MONET, artist("a1", "museum", "Claud Monnet"), monet=("1840", None), a1=("1840", None))
    found = outcome(given, recipe(accept=accept, review=review))
    assert (len(found[0]), len(found[1])) == (joined, waits)


@pytest.mark.parametrize(
    ("label", "born", "joined", "waits"),
    [
        ("Monet, Claude", "1840", True, False),
        ("MONET  Claude", "1840", True, False),
        ("Claude Monet", "c. 1840", True, False),
        ("Claude Monnet", "1840", True, False),  # one letter in twenty-five
        ("Claud Monnet", "1840", False, True),
        ("Claude Monet", None, False, True),  # nothing but the name
        ("Claude Monet", "1867", False, False),  # his son's year
        ("Edouard Manet", "1840", False, False),
    ],
)
def test_a_name_joins_with_a_date_and_waits_without_and_never_against_one(
    label: str, born: str | None, joined: bool, waits: bool
) -> None:
    given = facts(
        MONET, artist("a1", "museum", label), monet=("1840", "1926"), a1=(born and born.replace("c. ", ""), None)
    )
    pair = ("artist:a1", "artist:monet")
    assert outcome(given, recipe()) == ({pair[0]: pair[1]} if joined else {}, {pair} if waits else set())


def test_another_name_of_either_counts() -> None:
    given = facts(
        MONET, artist("a1", "museum", "C.M.", aliases=("Monet, Claude",)), monet=("1840", None), a1=("1840", None)
    )
    assert outcome(given, recipe())[0] == {"artist:a1": "artist:monet"}


def test_who_has_another_identifier_is_another() -> None:
    given = facts(MONET, artist("a1", "museum", "Claude Monet", "wikidata:Q9"), monet=("1840", None), a1=("1840", None))
    assert outcome(given, recipe()) == ({}, set())


def test_two_of_one_source_are_never_joined_by_name() -> None:
    given = facts(MONET, artist("twin", "site", "Claude Monet"), monet=("1840", None), twin=("1840", None))
    assert outcome(given, recipe()) == ({}, set())


TWINS = facts(
    MONET, artist("a1", "museum", "Claude Monet"), artist("a2", "museum", "Monet, Claude"),
    monet=("1840", None), a1=("1840", None), a2=("1840", None),
)  # fmt: skip


def test_two_that_are_as_likely_wait_and_neither_is_joined() -> None:
    pairs = {("artist:a1", "artist:monet"), ("artist:a2", "artist:monet")}
    assert outcome(TWINS, recipe()) == ({}, pairs)


def test_a_decision_settles_both_and_a_refusal_leaves_the_other() -> None:
    assert outcome(TWINS, recipe(), a1_monet=True) == ({"artist:a1": "artist:monet"}, set())
    assert outcome(TWINS, recipe(), a1_monet=False) == ({"artist:a2": "artist:monet"}, set())
    assert outcome(TWINS, recipe(), a1_monet=False, a2_monet=False) == ({}, set())


def test_a_refusal_is_stronger_than_an_identifier_also_by_way_of_a_third() -> None:
    third = [artist(name, name, f"Somebody {name}", "wikidata:Q296") for name in ("museum", "archive")]
    given, rules = facts(MONET, *third), recipe("site", "museum", "archive")
    assert len(outcome(given, rules)[0]) == 2
    assert outcome(given, rules, archive_monet=False)[0] == {"artist:archive": "artist:museum"}


@pytest.mark.parametrize(
    ("left", "right", "born"),
    [(("ulan:1",), ("ulan:2",), ("1800", "1800", "1800")), ((), (), ("1800", "1795/1815", "1810"))],
)
def test_who_is_as_like_two_that_contradict_each_other_joins_neither(
    left: tuple[str, ...], right: tuple[str, ...], born: tuple[str, str, str]
) -> None:
    given = facts(
        artist("a", "site", "Jan de Vries", *left), artist("b", "museum", "Jan de Vries"),
        artist("c", "archive", "Jan de Vries", *right), a=(born[0], None), b=(born[1], None), c=(born[2], None),
    )  # fmt: skip
    rules = recipe("site", "museum", "archive", identifiers=["ulan"])
    a_b, b_c = ("artist:a", "artist:b"), ("artist:b", "artist:c")
    assert outcome(given, rules) == ({}, {a_b, b_c})
    assert outcome(given, rules, a_c=False) == ({}, {a_b, b_c})
    assert outcome(given, rules, a_b=True) == ({"artist:b": "artist:a"}, set())
    assert outcome(given, rules, b_c=False) == ({"artist:b": "artist:a"}, set())


def test_a_chain_of_likenesses_joins_no_two_that_contradict_each_other() -> None:
    names = [("Jan de Vries", ()), ("Jan de Vries", ("Frisius",)), ("Frisius", ("Frizo",)), ("Frizo", ())]
    people = [
        artist(letter, source, label, aliases=aliases)
        for letter, source, (label, aliases) in zip("abcd", SOURCES, names, strict=True)
    ]
    born = {"a": ("1800", None), "b": ("1795/1815", None), "c": ("1795/1815", None), "d": ("1810", None)}
    joined = {"artist:b": "artist:a", "artist:c": "artist:a"}
    assert outcome(facts(*people, **born), recipe(*SOURCES)) == (joined, {("artist:c", "artist:d")})


def similarity(one: str, other: str) -> float:
    """One less the letters to insert and delete, of all letters: by the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for letter in one:
        previous, row = row, [0]
        for place, against in enumerate(other):
            row.append(previous[place] + 1 if letter == against else max(previous[place + 1], row[-1]))
    return 2 * row[-1] / (len(one) + len(other))


def known_of_both(dates: dict[tuple[str, str], str], one: str, other: str) -> list[tuple[str, str]]:
    known = [(dates.get((one, relation)), dates.get((other, relation))) for relation in DATES]
    return [(a, b) for a, b in known if a and b]


def specified(given: Facts, sources: tuple[str, ...]) -> tuple[dict[str, str], set[tuple[str, str]]]:
    """Joins and waiting pairs of people without identifiers, pair by pair, as the documentation says it."""
    people = {name: entity for name, entity in given.entities.items() if entity.type == "artist"}
    dates = {(t.head, t.relation): t.tail for t in given.triples}

    def contradict(one: str, other: str) -> bool:
        return any(a != b for a, b in known_of_both(dates, one, other))

    alike = {}
    for one, other in combinations(sorted(people), 2):
        names = [name_key(people[name].label) for name in (one, other)]
        starts = [{word[:3] for word in name.split()} for name in names]
        if people[one].sources == people[other].sources or not starts[0] & starts[1] or contradict(one, other):
            continue
        if (score := similarity(*names)) >= 0.85:
            alike[one, other] = (score, bool(known_of_both(dates, one, other)))
    strong = {pair for pair, (score, dated) in alike.items() if dated and score >= 0.95}
    ends = [(a, b, pair) for pair in strong for a, b in (pair, pair[::-1])]
    rivals = {
        pair for a, b, pair in ends for c, d, other in ends
        if pair != other and a == c and (people[b].sources == people[d].sources or contradict(b, d))
    }  # fmt: skip
    groups, refused = {name: {name} for name in people}, alike.keys() - (strong - rivals)

    def overlap(pair: tuple[str, str]) -> bool:
        mine, theirs = ({people[name].sources for name in groups[side]} for side in pair)
        return bool(mine & theirs)

    for pair in sorted(strong - rivals, key=lambda pair: (-alike[pair][0], pair)):
        if overlap(pair):
            continue
        if any(contradict(a, b) for a in groups[pair[0]] for b in groups[pair[1]]):
            refused.add(pair)
        else:
            for name in (both := groups[pair[0]] | groups[pair[1]]):
                groups[name] = both
    first = {name: min(group, key=lambda n: (sources.index(people[n].sources[0]), n)) for name, group in groups.items()}
    waits = {pair for pair in refused if not overlap(pair)}
    return {name: other for name, other in first.items() if name != other}, waits


def generated(seed: int) -> Facts:
    """People of four sources, many of them namesakes or misspelt."""
    dice = random.Random(seed)
    people, dates = [], {}
    for number in range(30):
        label = " ".join(
            dice.choice(words) for words in (["Johannes", "Johanna", "Maria"], ["Vermeer", "Vermeers", "Hals"])
        )
        if dice.random() < 0.3:
            place = dice.randrange(1, len(label))
            label = label[:place] + dice.choice("xeé ,") + label[place:]
        people.append(artist(f"p{number:02}", dice.choice(SOURCES), label))
        dates[f"p{number:02}"] = (
            dice.choice((None, *map(str, range(1630, 1639)))),
            dice.choice((None, "1675", "1676")),
        )
    return facts(*people, **dates)


def test_generated_people_are_joined_and_wait_as_the_specification_says() -> None:
    joined = waiting = 0
    for seed in range(150):
        given = generated(seed)
        expected = specified(given, SOURCES)
        assert outcome(given, recipe(*SOURCES)) == expected, seed
        joined, waiting = joined + len(expected[0]), waiting + len(expected[1])
    assert min(joined, waiting) > 150


WORKS = {"type": "artwork", "id": "number", "label": "title"}
PEOPLE = 'id,name,born\n1,Ann of the Museum,1800\n2,"Museum, Bob of the",1801\n3,Catt,\n'


def museum(file: str) -> dict[str, Any]:
    fact = {"relation": "wasBornOnDate", "column": "born", "parse": "date"}
    people = {"file": file, "entity": {"type": "artist", "id": "id", "label": "name"}, "facts": [fact]}
    return {"use": "table", "options": {"tables": {"people": people}}}


def built(folder: Path, **changes: Any) -> BuildReport:
    """The tiny graph, whose painters are Ann, Bob and Cat, with those of two museums."""
    for name, people in (("one", PEOPLE), ("two", PEOPLE.replace("1,Ann", "7,Ann").replace("3,Catt,\n", ""))):
        (folder / f"{name}.csv").write_text(people)
    sources = {name: museum(f"{name}.csv") for name in ("one", "two")}
    met = {"domain": "artist", "range": "timeframe"}
    path = write_recipe(folder, **{
        "sources": {**RECIPE["sources"], **sources}, "relations": {**RECIPE["relations"], "wasBornOnDate": met},
        "cleaning": {"bins": {"wasBornOnDate": {"into": "wasBornOnDate"}}},
        "alignment": {"artist": {"dates": ["wasBornOnDate"], "review": 0.6}}, **changes,
    })  # fmt: skip
    return build(Job(str(path), folder / "w"))


def lines(report: BuildReport) -> list[tuple[str, str]]:
    rows = pq.read_table(report.release / "dropped").to_pylist()
    return [(row["id"], row["detail"]) for row in rows if row["rule"] == "aligned"]


JOINED = [
    ("artist:two/2", "artist:one/2: named alike (1.000), dates agree"),
    ("artist:two/7", "artist:one/1: named alike (1.000), dates agree"),
]


def test_a_build_joins_lists_each_and_lays_out_what_waits(tmp_path: Path) -> None:
    report = built(tmp_path)
    assert lines(report) == JOINED
    review = read_decisions(tmp_path / "w" / "review" / "tiny.csv")
    assert [(pair, one.same) for pair, one in review.items()] == [(("artist:cat", "artist:one/3"), None)]
    assert "2 by name); to be decided in review/tiny.csv: 1 pair" in report.manifest["notes"][-1]


def works_of(file: str) -> dict[str, Any]:
    entity = {"type": "artwork", "id": "number", "label": "title", "image": "file", "same_as": {"wikidata": "q"}}
    fact = {"relation": "hasStyle", "column": "style", "type": "style"}
    return {"use": "table", "options": {"tables": {"works": {"file": file, "entity": entity, "facts": [fact]}}}}


def test_of_two_pictures_of_one_thing_the_whole_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "whole.jpg").write_bytes(jpeg(1))
    (tmp_path / "cut.jpg").write_bytes(jpeg(2)[:200])
    head, first, second = "number,title,style,file,q\n", "1,Dawn,Cubism,cut.jpg,Q1\n", "2,Dusk,Cubism,whole.jpg,Q2\n"
    (tmp_path / "one.csv").write_text(head + first + second)
    (tmp_path / "two.csv").write_text(head + "9,Dawn,Cubism,whole.jpg,Q1\n")
    recipe = write_recipe(
        tmp_path, sources={name: works_of(f"{name}.csv") for name in ("one", "two")},
        types={"artwork": {"image": True, "text": "none"}, "style": {}},
        relations={"hasStyle": {"domain": "artwork", "range": "style"}},
        alignment={"artwork": {"identifiers": ["wikidata"]}}, cleaning={"require_image": True},
        split={"policy": "transductive"},
    )  # fmt: skip
    release = build(Job(str(recipe), tmp_path / "w")).release
    pictures = pq.read_table(release / "artworks", columns=["id", "image_status"]).to_pylist()
    assert pictures == [{"id": f"artwork:one/{number}", "image_status": "ok"} for number in (1, 2)]


def decide(folder: Path, answer: str) -> None:
    review = folder / "w" / "review" / "tiny.csv"
    head, line = review.read_text().splitlines()
    left, right, score, _, reason = line.split(",", 4)
    review.write_text("\n".join([head, ",".join([left, right, score, answer, reason])]) + "\n")


def test_a_decision_is_kept_in_file_and_snapshot_and_taken_back_by_deleting_it(tmp_path: Path) -> None:
    built(tmp_path)
    decide(tmp_path, "yes")
    with pytest.raises(DataError, match="a version never changes"):
        built(tmp_path)
    said = built(tmp_path, version="2.0.0")
    assert ("artist:one/3", "artist:cat: decision") in lines(said)
    assert "yes" in (tmp_path / "w" / "review" / "tiny.csv").read_text()
    decide(tmp_path, "")
    assert lines(built(tmp_path, version="3.0.0")) == JOINED


def test_a_recipe_brings_decisions_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text(",".join(COLUMNS) + "\nartist:two/7,artist:one/1,,no,two of a name\n")
    report = built(tmp_path, decisions="known.csv")
    assert lines(report) == JOINED[:1]
    with pytest.raises(RecipeError, match=r"no file .*none\.csv"):
        built(tmp_path, decisions="none.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("left,right\na,b\n", "the columns should be left, right, score, decision, reason"),
        (",".join(COLUMNS) + "\na,b,,maybe,\n", "write yes, no or nothing"),
        (",".join(COLUMNS) + "\na,b,,yes,\nb,a,,no,\n", "decides on this pair otherwise"),
    ],
)
def test_a_broken_file_of_decisions_names_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_decisions(tmp_path / "d.csv")


def test_decisions_that_contradict_each_other_are_refused() -> None:
    given = facts(*(artist(name, source, name.upper()) for name, source in zip("abc", SOURCES, strict=False)))
    with pytest.raises(DataError, match="decisions contradict each other: artist:b and artist:c are to be one"):
        outcome(given, recipe(*SOURCES), a_b=True, b_c=True, a_c=False)


def test_a_no_holds_against_an_identifier_that_cleaning_merges_by(tmp_path: Path) -> None:
    (tmp_path / "no.csv").write_text(",".join(COLUMNS) + "\nartist:one/1,artist:two/7,,no,\n")
    both = {"bins": {"wasBornOnDate": {"into": "wasBornOnDate"}}, "merge": {"artist:one/1": ["artist:two/7"]}}
    report = built(tmp_path, cleaning=both, decisions="no.csv")
    ids = pq.read_table(report.release / "entities", columns=["id"])["id"].to_pylist()
    assert {"artist:one/1", "artist:two/7"} <= {*ids}


def test_decisions_without_effect_are_told(tmp_path: Path) -> None:
    answers = ["artist:one/1,artwork:w00,,yes,", "artist:nobody,artist:one/1,,no,"]
    (tmp_path / "d.csv").write_text("\n".join([",".join(COLUMNS), *answers]) + "\n")
    notes = built(tmp_path, decisions="d.csv").manifest["notes"]
    assert "alignment: no source tells of the entities of 1 decision" in notes
    assert any(
        note.startswith("alignment: 1 yes without effect, the first on artist:one/1 and artwork:") for note in notes
    )
    with pytest.raises(RecipeError, match="decisions change nothing without `alignment`"):
        built(tmp_path, decisions="d.csv", alignment={})
