"""The Wikidata source: its quirks on triples written here, and the whole walk on the stand-in query service."""

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pyoxigraph
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from requests.adapters import BaseAdapter
from typing_extensions import override

from mkg_builder.context import SnapshotContext
from mkg_builder.errors import DataError, TooExpensiveError
from mkg_builder.graph import Dropped, Entity, Literal, Statement, Triple
from mkg_builder.http import Client
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer, Request
from mkg_builder.sources.wikidata import Wikidata, WikidataOptions
from mkg_builder.sources.wikidata_batches import Batches
from mkg_builder.sources.wikidata_queries import FIRST_SIGNS, any_labels, countries, crosswalk, facts, labels
from mkg_builder.testing import SourceContract
from tests.conftest import SHARED
from tests.query_service import SOMETHING, QueryService, dated, named, stated, time
from tests.site import Site, answer

MONET = [stated("Q296", "P6002", '"claude-monet"'), named("Q296", '"Claude Monet"@mul')]
BOUDIN = [stated("Q505246", "P6002", '"eugene-boudin"'), named("Q505246", '"Eugène Boudin"@en')]
PARIS = [
    named("Q90", '"Paris"@en'), named("Q142", '"France"@en'),
    stated("Q90", "P17", "wd:Q142"), stated("Q142", "P297", '"FR"'),
]  # fmt: skip
ARTIST = [
    *MONET, *BOUDIN, *PARIS,
    dated("Q296", "P569", "1840-11-14", 11), stated("Q296", "P19", "wd:Q90"), stated("Q296", "P1066", "wd:Q505246"),
]  # fmt: skip


def source(**options: object) -> Wikidata:
    return Wikidata(WikidataOptions.model_validate(options))


def fetched(folder: Path, triples: list[str], **options: object) -> Snapshot:
    snapshot = Snapshot(folder / "snapshot")
    with snapshot.writing():
        source(**options).fetch(QueryService(snapshot, triples))
    return snapshot


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Statement]]:
    """Fetch from triples, then read offline."""

    def of(*triples: str, **options: object) -> list[Statement]:
        snapshot = fetched(tmp_path, list(triples), **options)
        return list(source(**options).read(QueryService(snapshot)))

    return of


def facts_of(statements: list[Statement]) -> set[tuple[str, str, str]]:
    return {(said.head, said.relation, said.tail) for said in statements if isinstance(said, Triple)}


def raw_of(statements: list[Statement]) -> set[tuple[str, str, str]]:
    return {(said.entity, said.name, said.value) for said in statements if isinstance(said, Literal)}


def entity(statements: list[Statement], name: str) -> Entity:
    return next(said for said in statements if isinstance(said, Entity) and said.id == name)


class TestWikidataContract(SourceContract):
    name = "wikidata"

    def source(self) -> Wikidata:
        return source()

    def fetching(self, snapshot: Snapshot) -> SnapshotContext:
        return QueryService(snapshot, ARTIST)

    def reading(self, snapshot: Snapshot) -> SnapshotContext:
        endpoints = {"wdqs": "http://unreachable.invalid"}
        return SnapshotContext(self.name, self.folder, snapshot, endpoints)

    def spoil(self, snapshot: Snapshot) -> None:
        key = next(key for key in snapshot if key.startswith("wikidata:labels/"))
        kept = snapshot.get(key)
        assert kept is not None
        answer = json.loads(kept.body)
        answer["results"]["bindings"][0]["surprise"] = {"type": "literal", "value": "1"}
        snapshot.put(Answer(key, 200, json.dumps(answer).encode(), kept.media_type))


def test_an_artist_becomes_an_entity_with_its_facts(read) -> None:
    more = [
        'wd:Q296 skos:altLabel "Oscar Monet"@en, "Monet"@mul, "Клод Моне"@ru .',
        stated("Q296", "P245", '"500019484"'), stated("Q296", "P214", '"24605513"'), stated("Q296", "P650", '"56654"'),
        "<https://en.wikipedia.org/wiki/Claude_Monet> schema:about wd:Q296 ;"
        " schema:isPartOf <https://en.wikipedia.org/> .",
        stated("Q296", "P135", "wd:Q40415"), named("Q40415", '"Impressionism"@en'),
        stated("Q296", "P69", "wd:Q273593"), named("Q273593", '"Beaux-Arts de Paris"@en'),
        stated("Q296", "P101", "wd:Q11629"), named("Q11629", '"painting"@en'),
    ]  # fmt: skip
    statements = read(*ARTIST, *more)
    assert entity(statements, "artist:claude-monet") == Entity(
        "artist:claude-monet", "artist", "Claude Monet", text="Claude Monet",
        same_as=("rkd:56654", "ulan:500019484", "viaf:24605513", "wikidata:Q296"), sources=("wikidata",),
        aliases=("Monet", "Oscar Monet"),
    )  # fmt: skip
    assert facts_of(statements) == {
        ("artist:claude-monet", "wasBornOnDate", "date:1840-11-14"),
        ("artist:claude-monet", "wasBornIn", "place:wikidata-q90"),
        ("place:wikidata-q90", "isInCountry", "country:france"),
        ("artist:claude-monet", "isAssociatedWithArtMovement", "movement:impressionism"),
        ("artist:claude-monet", "isAffiliatedWithArtInstitution", "institution:beaux-arts-de-paris"),
        ("artist:claude-monet", "isAssociatedWithField", "field:painting"),
        ("artist:claude-monet", "isPupilOf", "artist:eugene-boudin"),
        ("artist:eugene-boudin", "isTeacherOf", "artist:claude-monet"),
    }
    assert raw_of(statements) == {
        ("artist:claude-monet", "wikipediaUrl", "https://en.wikipedia.org/wiki/Claude_Monet"),
        ("artist:claude-monet", "wasBornOnDate", "1840-11-14T00:00:00Z, precision 11, calendar Q1985727"),
        ("artist:claude-monet", "wasBornIn", "Paris (Q90)"),
        ("place:wikidata-q90", "isInCountry", "France (Q142) FR"),
    }


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        ('"Claude Monet"@mul', "Claude Monet"),
        ('"Monet"@mul, "Claude Monet"@en', "Claude Monet"),
        ('"Клод Моне"@ru, "Monet"@nl, "Monet, C."@nl', "Monet"),
        ("", "Claude Monet"),
    ],
    ids=["only mul", "English before mul", "the first other language", "none: the slug"],
)
def test_the_label_is_the_english_one_then_the_one_for_all_languages_then_any(read, labels: str, label: str) -> None:
    statements = read(MONET[0], *([named("Q296", labels)] if labels else []))
    assert entity(statements, "artist:claude-monet").label == label
    assert set(entity(statements, "artist:claude-monet").aliases) <= {"Monet"}  # nothing in other languages


def test_the_recipe_may_prefer_another_language(read) -> None:
    statements = read(MONET[0], named("Q296", '"Monet"@en, "Claude Monet"@fr'), languages=["fr", "en"])
    assert entity(statements, "artist:claude-monet").label == "Claude Monet"
    assert entity(statements, "artist:claude-monet").aliases == ("Monet",)


@pytest.mark.parametrize(
    ("day", "precision", "date"),
    [
        ("1840-11-14", 11, "1840-11-14"),
        ("1840-11-01", 10, "1840-11"),
        ("1840-01-01", 9, "1840"),
        ("1848-01-01", 8, "184X"),
        ("1750-01-01", 7, "17XX"),
        ("1800-01-01", 7, "17XX"),  # the last year of the 18th century
        ("0099-01-01", 9, "0099"),
        ("-0099-01-01", 9, "-0099"),
    ],
)
def test_a_date_says_no_more_than_its_precision(read, day: str, precision: int, date: str) -> None:
    statements = read(*MONET, dated("Q296", "P569", day, precision))
    assert facts_of(statements) == {("artist:claude-monet", "wasBornOnDate", f"date:{date}")}


def test_what_is_known_to_the_millennium_is_kept_only_as_it_was_said(read) -> None:
    statements = read(*MONET, dated("Q296", "P569", "1000-01-01", 6))
    assert facts_of(statements) == set()
    assert raw_of(statements) == {
        ("artist:claude-monet", "wasBornOnDate", "1000-01-01T00:00:00Z, precision 6, calendar Q1985727")
    }


EARLIEST, LATEST = f"pq:P1319 {time('1475-01-01T00:00:00Z')}", f"pq:P1326 {time('1480-01-01T00:00:00Z')}"


@pytest.mark.parametrize(
    ("qualifiers", "date"),
    [
        ("pq:P1480 wd:Q5727902", "1477~"),
        ("pq:P1480 wd:Q18122778", "1477"),  # "presumably" is no "about"
        (f"{EARLIEST} ; {LATEST}", "1475/1480"),
        (f"{EARLIEST} ; {LATEST} ; pq:P1480 wd:Q5727902", "1475/1480"),
        (f"{EARLIEST} ; pq:P1319 {time('1470-01-01T00:00:00Z')} ; {LATEST}", "1470/1480"),
        (f"{EARLIEST} ; {LATEST} ; pq:P1326 {time('1485-01-01T00:00:00Z')}", "1475/1485"),
        (f"{LATEST} ; pq:P1319 {time('1490-01-01T00:00:00Z')}", "1477"),
        (f"pq:P1319 {time('1477-01-01T00:00:00Z')} ; pq:P1326 {time('1477-01-01T00:00:00Z')}", "1477"),
        (EARLIEST, "1475/.."),
        (LATEST, "../1480"),
    ],
)
def test_about_and_bounds_qualify_a_date(read, qualifiers: str, date: str) -> None:
    statements = read(*MONET, dated("Q296", "P569", "1477-01-01", 9, qualifiers))
    assert facts_of(statements) == {("artist:claude-monet", "wasBornOnDate", f"date:{date}")}


@pytest.mark.parametrize("value", ["_:unknown", SOMETHING])
def test_an_unknown_value_is_no_fact_but_said_to_be_unknown(read, value: str) -> None:
    statements = read(*MONET, stated("Q296", "P569", value), stated("Q296", "P19", value))
    assert facts_of(statements) == set()
    assert raw_of(statements) == {
        ("artist:claude-monet", "wasBornOnDate", "unknown value"),
        ("artist:claude-monet", "wasBornIn", "unknown value"),
    }


def test_an_unknown_date_between_bounds_is_an_interval(read) -> None:
    statements = read(*MONET, stated("Q296", "P569", SOMETHING, f"{EARLIEST} ; {LATEST}"))
    assert facts_of(statements) == {("artist:claude-monet", "wasBornOnDate", "date:1475/1480")}


def test_only_the_best_rank_counts(read) -> None:
    statements = read(
        *MONET,
        dated("Q296", "P569", "1838-01-01", 9, rank="Deprecated", best=False),
        dated("Q296", "P569", "1839-01-01", 9, best=False),
        dated("Q296", "P569", "1840-01-01", 9, rank="Preferred"),
    )
    assert facts_of(statements) == {("artist:claude-monet", "wasBornOnDate", "date:1840")}


def test_two_dates_of_one_rank_are_both_told(read) -> None:
    statements = read(*MONET, dated("Q296", "P569", "1839-01-01", 9), dated("Q296", "P569", "1840-01-01", 9))
    assert {tail for _, _, tail in facts_of(statements)} == {"date:1839", "date:1840"}


@pytest.mark.parametrize(
    "said", [stated("Q296", "P1066", "wd:Q505246"), stated("Q505246", "P802", "wd:Q296")], ids=["P1066", "P802"]
)
def test_teacher_and_pupil_may_be_said_from_either_side(read, said: str) -> None:
    assert facts_of(read(*MONET, *BOUDIN, said)) == {
        ("artist:claude-monet", "isPupilOf", "artist:eugene-boudin"),
        ("artist:eugene-boudin", "isTeacherOf", "artist:claude-monet"),
    }


def test_a_person_without_an_identifier_is_no_tail(read) -> None:
    statements = read(*MONET, stated("Q296", "P1066", "wd:Q42"), stated("Q296", "P737", SOMETHING))
    assert facts_of(statements) == set()


HISTORICAL = stated("Q15180", "P31", "wd:Q3024240") + named("Q15180", '"Soviet Union"@en')
GERMANY = named("Q183", '"Germany"@en') + stated("Q183", "P297", '"DE"')
BORN = [*MONET, *PARIS[:2], PARIS[3], stated("Q296", "P19", "wd:Q90"), GERMANY]


@pytest.mark.parametrize(
    ("triples", "country"),
    [
        ([stated("Q90", "P17", "wd:Q142"), stated("Q90", "P131", "wd:Q1"), stated("Q1", "P17", "wd:Q183")], "france"),
        ([stated("Q90", "P131", "wd:Q1"), stated("Q1", "P131", "wd:Q2"), stated("Q2", "P17", "wd:Q183")], "germany"),
        ([stated("Q90", "P17", "wd:Q15180"), HISTORICAL, stated("Q90", "P17", "wd:Q142")], "france"),
        ([stated("Q90", "P17", "wd:Q142", f"pq:P582 {time('1918-01-01T00:00:00Z')}"),
          stated("Q90", "P17", "wd:Q183")], "germany"),
        ([stated("Q90", "P17", "wd:Q9"), named("Q9", '"Elsewhere"@en'), stated("Q90", "P17", "wd:Q183")], "germany"),
        ([stated("Q90", "P17", "wd:Q183"), stated("Q90", "P17", "wd:Q142")], "france"),
        ([stated("Q90", "P17", "wd:Q15180"), HISTORICAL], None),
    ],
    ids=["its own", "up the chain", "not a historical one", "not one that ended", "with a code first",
         "the older item", "none"],
)  # fmt: skip
def test_a_place_lies_in_the_country_of_today(read, triples: list[str], country: str | None) -> None:
    found = {tail for _, relation, tail in facts_of(read(*BORN, *triples)) if relation == "isInCountry"}
    assert found == ({f"country:{country}"} if country else set())


def test_a_country_carries_its_code(read) -> None:
    assert entity(read(*ARTIST), "country:france").same_as == ("iso3166:FR", "wikidata:Q142")


def test_citizenship_is_kept_as_it_was_said_and_makes_no_nationality(read) -> None:
    statements = read(*MONET, stated("Q296", "P27", "wd:Q15180"), HISTORICAL)
    assert facts_of(statements) == set()
    assert raw_of(statements) == {("artist:claude-monet", "countryOfCitizenship", "Soviet Union (Q15180)")}


def test_an_occupation_is_a_field_only_where_the_recipe_says_so(read, tmp_path: Path) -> None:
    triples = [*MONET, stated("Q296", "P106", "wd:Q1028181"), named("Q1028181", '"painter"@en')]
    assert facts_of(read(*triples)) == set()
    assert facts_of(list(source(occupations=True).read(QueryService(
        fetched(tmp_path / "other", triples, occupations=True))))) == {
        ("artist:claude-monet", "isAssociatedWithField", "field:painter")
    }  # fmt: skip


def test_only_the_relations_asked_for_are_asked_and_told(tmp_path: Path) -> None:
    snapshot = Snapshot(tmp_path)
    with snapshot.writing():
        service = QueryService(snapshot, ARTIST)
        source(relations=["isPupilOf"]).fetch(service)
    assert not any("P569" in query or "P27" in query for query in service.asked)
    assert facts_of(list(source(relations=["isPupilOf"]).read(QueryService(snapshot)))) == {
        ("artist:claude-monet", "isPupilOf", "artist:eugene-boudin")
    }


def test_artworks_are_not_asked_about_where_nothing_of_them_is_wanted(read) -> None:
    assert {said.type for said in read(*WORK, artworks=True, relations=["isPupilOf"]) if isinstance(said, Entity)} == {
        "artist"
    }


def test_a_value_that_nobody_has_named_is_dropped_with_its_reason(tmp_path: Path) -> None:
    context = QueryService(fetched(tmp_path, [*MONET, stated("Q296", "P135", "wd:Q5")]))
    assert facts_of(list(source().read(context))) == set()
    assert context.observations.dropped == [
        Dropped("wikidata:Q5", "no_label", "a value of isAssociatedWithArtMovement")
    ]


WORK = [
    *MONET, stated("Q1268430", "P6002", '"claude-monet/impression-sunrise"'),
    named("Q1268430", '"Impression, Sunrise"@en'),
]  # fmt: skip


def test_two_things_of_one_label_are_two_and_the_older_has_the_name_alone(read) -> None:
    academies = [
        line for item, label in (("Q10", "Academy of Fine Arts"), ("Q9", "Academy (of fine arts)"), ("Q200", "Academy"))
        for line in (named(item, f'"{label}"@en'), stated("Q296", "P69", f"wd:{item}"))
    ]  # fmt: skip
    statements = read(
        *MONET, *BOUDIN, *academies, stated("Q505246", "P463", "wd:Q10"), stated("Q296", "P101", "wd:Q10")
    )
    relation, institution = "isAffiliatedWithArtInstitution", "institution:academy-of-fine-arts"
    assert facts_of(statements) == {
        ("artist:claude-monet", relation, institution), ("artist:claude-monet", relation, f"{institution}-q10"),
        ("artist:claude-monet", relation, "institution:academy"),
        ("artist:eugene-boudin", relation, f"{institution}-q10"),
        ("artist:claude-monet", "isAssociatedWithField", "field:academy-of-fine-arts"),
    }  # fmt: skip
    assert entity(statements, institution).same_as == ("wikidata:Q9",)
    assert entity(statements, f"{institution}-q10").same_as == ("wikidata:Q10",)


def test_an_artwork_becomes_an_entity_with_its_facts(read) -> None:
    more = [
        dated("Q1268430", "P571", "1872-01-01", 9), stated("Q1268430", "P170", "wd:Q296"),
        stated("Q1268430", "P135", "wd:Q40415"), named("Q40415", '"Impressionism"@en'),
        stated("Q1268430", "P136", "wd:Q158607"), named("Q158607", '"marine art"@en'),
        stated("Q1268430", "P186", "wd:Q296955"), named("Q296955", '"oil paint"@en'),
        stated("Q1268430", "P186", "wd:Q12321255", "pq:P518 wd:Q861259"), named("Q12321255", '"canvas"@en'),
        stated("Q1268430", "P180", "wd:Q525"), named("Q525", '"Sun"@en'),
        stated("Q1268430", "P195", "wd:Q1327886"), named("Q1327886", '"Musée Marmottan Monet"@en'),
    ]  # fmt: skip
    statements = read(*WORK, *more, artworks=True)
    work = "artwork:claude-monet/impression-sunrise"
    assert (entity(statements, work).label, entity(statements, work).same_as) == (
        "Impression, Sunrise", ("wikidata:Q1268430",)
    )  # fmt: skip
    assert facts_of(statements) == {
        (work, "isCreatedByArtist", "artist:claude-monet"),
        ("artist:claude-monet", "hasCreatedArtwork", work),
        (work, "isCreatedInYear", "date:1872"),
        (work, "hasStyle", "style:impressionism"),
        (work, "belongsToGenre", "genre:marine-art"),
        (work, "isCreatedWithMedium", "medium:oil-paint"),
        (work, "isAssociatedWithTag", "tag:sun"),
        (work, "isLocatedIn", "gallery:musee-marmottan-monet"),
    }
    assert (work, "isLocatedIn", "Musée Marmottan Monet (Q1327886)") in raw_of(statements)


@pytest.mark.parametrize("creator", ["_:somebody", SOMETHING])
def test_an_unknown_creator_is_no_artist(read, creator: str) -> None:
    statements = read(*WORK, stated("Q1268430", "P170", creator, "pq:P1774 wd:Q296"), artworks=True)
    assert facts_of(statements) == set()


ENDED, UNKNOWN_END = f"pq:P582 {time('1936-01-01T00:00:00Z')}", f"pq:P582 {SOMETHING}"
POSSIBLY = "pq:P5102 wd:Q30230067"


@pytest.mark.parametrize(
    ("key", "value", "qualifiers", "rule"),
    [
        ("P195", "Q777", ENDED, "ended"),
        ("P276", "Q777", f"{ENDED} ; {POSSIBLY}", "ended"),
        ("P276", "Q777", UNKNOWN_END, "ended"),
        ("P195", "Q777", POSSIBLY, "uncertain"),
        ("P170", "Q505246", POSSIBLY, "uncertain"),
        ("P170", "Q505246", f"{POSSIBLY}, wd:Q18912752", "uncertain"),
    ],
)
def test_what_holds_no_more_or_only_perhaps_is_left_out_with_its_reason(
    tmp_path: Path, key: str, value: str, qualifiers: str, rule: str
) -> None:
    certain = [
        stated("Q1268430", "P195", "wd:Q19675", f"pq:P580 {time('1990-01-01T00:00:00Z')}"),
        stated("Q1268430", "P170", "wd:Q296"),
    ]
    doubted = stated("Q1268430", key, f"wd:{value}", qualifiers)
    names = [named("Q19675", '"Louvre"@en'), named("Q777", '"Ryerson Collection"@en')]
    snapshot = fetched(tmp_path, [*WORK, *BOUDIN, *names, *certain, doubted], artworks=True)
    context = QueryService(snapshot, shuffle=0)
    statements, work = list(source(artworks=True).read(context)), "artwork:claude-monet/impression-sunrise"
    assert facts_of(statements) == {
        (work, "isLocatedIn", "gallery:louvre"), (work, "isCreatedByArtist", "artist:claude-monet"),
        ("artist:claude-monet", "hasCreatedArtwork", work),
    }  # fmt: skip
    assert raw_of(statements) == {(work, "isLocatedIn", "Louvre (Q19675)")}
    assert context.observations.dropped == [Dropped("wikidata:Q1268430", rule, f"{key} {value}")]


def test_what_came_back_to_its_owner_is_there(read) -> None:
    owned = [stated("Q1268430", "P195", "wd:Q777", qualifiers) for qualifiers in (ENDED, "")]
    assert facts_of(read(*WORK, named("Q777", '"Ryerson Collection"@en'), *owned, artworks=True)) == {
        ("artwork:claude-monet/impression-sunrise", "isLocatedIn", "gallery:ryerson-collection")
    }


@pytest.mark.parametrize("key", ["P170", "P195", "P276"])
def test_of_owner_place_and_maker_too_only_the_best_rank_counts(read, key: str) -> None:
    said = [
        stated("Q1268430", key, "wd:Q505246", best=False),
        stated("Q1268430", key, "wd:Q505246", rank="Deprecated", best=False),
    ]
    assert facts_of(read(*WORK, *BOUDIN, *said, artworks=True)) == set()


def test_what_speaks_against_a_statement_is_asked_for_only_where_it_may_be_said() -> None:
    """The key of an answer is that of its query: what is kept of artists is not asked anew."""
    assert "?end" not in facts("artists/facts", ["P569", "P69"], ["P569"]).text(["Q1"])
    assert "?end" in facts("artworks/facts", ["P571", "P170"], ["P571"]).text(["Q1"])


def test_artworks_are_asked_about_only_where_the_recipe_says_so_and_up_to_the_limit(tmp_path: Path) -> None:
    triples = [*WORK, stated("Q9", "P6002", '"claude-monet/another"')]
    for artworks, limit, expected in ((False, None, 0), (True, None, 2), (True, 1, 1)):
        snapshot = Snapshot(tmp_path / f"{artworks}-{limit}")
        with snapshot.writing():
            source(artworks=artworks).fetch(QueryService(snapshot, triples, limit))
        told = source(artworks=artworks).read(QueryService(snapshot, limit=limit))
        assert sum(isinstance(said, Entity) and said.type == "artwork" for said in told) == expected


def test_of_two_items_with_one_slug_the_older_has_it(tmp_path: Path) -> None:
    triples = [*MONET, stated("Q1000", "P6002", '"claude-monet"'), dated("Q1000", "P569", "1900-01-01", 9)]
    context = QueryService(fetched(tmp_path, triples))
    statements = list(source().read(context))
    assert entity(statements, "artist:claude-monet").same_as == ("wikidata:Q296",)
    assert context.observations.dropped == [Dropped("wikidata:Q1000", "shared_identifier", "claude-monet is Q296's")]


def test_an_item_with_two_slugs_tells_of_both(read) -> None:
    statements = read(*ARTIST, stated("Q505246", "P6002", '"eugene-louis-boudin"'))
    assert {head for head, relation, _ in facts_of(statements) if relation == "isTeacherOf"} == {
        "artist:eugene-boudin", "artist:eugene-louis-boudin",
    }  # fmt: skip


@pytest.mark.parametrize("spelled", ["andr%C3%A9-lhote", "andr%c3%a9-lhote", "Andre\u0301-Lhote", "ANDR%C3%89-LHOTE"])
def test_an_identifier_has_the_form_of_the_sites_own_however_it_is_spelled(read, spelled: str) -> None:
    statements = read(
        stated("Q5", "P6002", f'"{spelled}"'), stated("Q5", "P6002", '"andr\u00e9-lhote"'),
        stated("Q6", "P6002", f'"{spelled}/Plage"'), stated("Q6", "P170", "wd:Q5"), artworks=True,
    )  # fmt: skip
    artist, work = "artist:andr\u00e9-lhote", "artwork:andr\u00e9-lhote/plage"
    assert facts_of(statements) == {(work, "isCreatedByArtist", artist), (artist, "hasCreatedArtwork", work)}
    assert sorted(one.id for one in statements if isinstance(one, Entity)) == [artist, work]


@pytest.mark.parametrize("spelled", ["andr%2Flhote", "andr%20lhote", "a//b", "/a", "%00", "a%22b", ""])
def test_an_identifier_that_hides_what_no_slug_holds_is_none(tmp_path: Path, spelled: str) -> None:
    context = QueryService(fetched(tmp_path, [stated("Q5", "P6002", f'"{spelled}"')]))
    assert list(source().read(context)) == []
    assert [(one.rule, one.detail) for one in context.observations.dropped] == [
        ("unreadable_identifier", repr(spelled))
    ]


HOSTILE = r"x\" } SERVICE <http://127.0.0.1/> { #"
LISTS = re.compile(r"VALUES \?item \{[^}]*\}|IN \([^)]*\)")


def test_hostile_names_and_ids_never_reach_a_query(tmp_path: Path) -> None:
    triples = [
        *ARTIST, stated("Q7", "P6002", f'"{HOSTILE}"'), named("Q296", f'"{HOSTILE}"@en', r'"\u0022\n\\"@mul'),
        stated("Q296", "P135", "<http://www.wikidata.org/entity/Q1%20%7D>"), stated("Q296", "P19", f'"{HOSTILE}"'),
        "<http://www.wikidata.org/entity/Q0> wdt:P6002 'nobody' . <http://example.org/Q5> wdt:P6002 'somebody' .",
    ]  # fmt: skip
    queries = {}
    for name, some in (("plain", ARTIST), ("hostile", triples)):
        snapshot = Snapshot(tmp_path / name)
        with snapshot.writing():
            service = QueryService(snapshot, some)
            source().fetch(service)
        queries[name] = {LISTS.sub("", query) for query in service.asked}
    assert queries["hostile"] == queries["plain"]
    context = QueryService(snapshot)
    list(source().read(context))
    assert sorted(dropped.id for dropped in context.observations.dropped) == [
        "http://example.org/Q5", "http://www.wikidata.org/entity/Q0", "http://www.wikidata.org/entity/Q7",
    ]  # fmt: skip


@given(st.text() | st.from_regex(r"Q[0-9]{1,3}\W?", fullmatch=True))
def test_only_a_qid_can_be_put_into_a_query(thing: str) -> None:
    if re.fullmatch(r"Q[1-9][0-9]{0,11}", thing, re.ASCII):
        assert f"wd:{thing} " in countries().text([thing])
    else:
        with pytest.raises(ValueError, match="no QID"):
            countries().text([thing])


def test_ten_thousand_hostile_names_are_each_refused_as_a_qid() -> None:
    chance = random.Random(0)
    signs = (*'Q1"\\}{<>#\n\r\0 ;.', "SERVICE <http://127.0.0.1/>", r"\u0022", "wd:", "\u200b", "\u0661")
    names = ["".join(chance.choices(signs, k=chance.randint(0, 8))) for _ in range(10_000)]
    hostile = [name for name in names if not re.fullmatch("Q[1-9][0-9]*", name, re.ASCII)]
    refused = 0
    for name in hostile:
        with pytest.raises(ValueError, match="no QID"):
            countries().text([name])
        refused += 1
    assert refused == len(hostile) > 9_000


def test_a_language_is_a_language_code() -> None:
    with pytest.raises(ValidationError):
        WikidataOptions(languages=('en") } SERVICE',))


def test_no_query_uses_what_only_one_service_knows() -> None:
    wanted = ["P569", "P19", "P186", "enwiki"]
    questions = [facts("facts", wanted, ["P569"]), countries(), labels(("en",)), any_labels()]
    texts = [crosswalk().text(FIRST_SIGNS), *(question.text(["Q1"]) for question in questions)]
    assert not [text for text in texts if re.search(r"SERVICE|isSomeValue|hint:|bd:|ORDER BY", text)]


def many(number: int) -> list[str]:
    """Artists who are each other's pupils, born in different years."""
    return [
        line
        for one in range(1, number + 1)
        for line in (
            stated(f"Q{one}", "P6002", f'"artist-{one}"'), named(f"Q{one}", f'"Artist {one}"@mul'),
            dated(f"Q{one}", "P569", f"{1800 + one}-01-01", 9), stated(f"Q{one}", "P1066", f"wd:Q{one % number + 1}"),
        )
    ]  # fmt: skip


def test_no_order_of_rows_and_no_repetition_changes_what_is_read(tmp_path: Path) -> None:
    odd = [stated(f"Q{n}", "P6002", f'"{slug}"') for n, slug in ((7, "a b"), (8, "a/b/c"), (9, "artist-1"))]
    snapshot = fetched(tmp_path, [*many(6), *ARTIST[4:], *odd])
    contexts = [QueryService(snapshot, shuffle=seed) for seed in (None, *range(100))]
    expected, *others = [(list(source().read(one)), one.observations.dropped) for one in contexts]
    assert all(other == expected for other in others)


@pytest.mark.parametrize("most", [1, 3, 7])
def test_what_is_too_expensive_is_asked_in_halves_and_loses_nothing(tmp_path: Path, most: int) -> None:
    whole = fetched(tmp_path / "whole", many(25))
    snapshot = Snapshot(tmp_path / "halves")
    with snapshot.writing():
        service = QueryService(snapshot, many(25), too_expensive=lambda query: _things(query) > most)
        source(batch=20).fetch(service)
    read = [list(source(**options).read(QueryService(kept)))
            for kept, options in ((whole, {}), (snapshot, {"batch": 20}))]  # fmt: skip
    assert read[0] == read[1]
    with snapshot.writing():
        again = QueryService(snapshot, many(25), too_expensive=lambda query: True)
        source(batch=20).fetch(again)
    assert again.asked == []  # a batch once found too expensive is not asked whole again


class Narrow(BaseAdapter):
    """A service that answers questions about at most so many things, and of each that nothing is known."""

    def __init__(self, most: int) -> None:
        self._most = most

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        things = str(request.body).count("wd%3AQ") // 2  # each stands in both branches
        body = json.dumps({"head": {"vars": sorted(labels(["en"]).always)}, "results": {"bindings": []}}).encode()
        result = answer(body, Content_Type="application/sparql-results+json")
        return Site({"/sparql": result if things <= self._most else answer(status=504)}).send(request)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("most", "kept"), [(4, 128), (0, 0)])
def test_halves_are_asked_however_many_there_are_and_only_single_things_end_the_run(
    tmp_path: Path, most: int, kept: int
) -> None:
    snapshot = Snapshot(tmp_path)
    client = Client(None, ["127.0.0.1:*"], {}, transport=Narrow(most))
    with snapshot.writing():
        context = SnapshotContext("s", Path(), snapshot, {}, client=client)
        asking = Batches(context, "http://127.0.0.1:1/sparql", 160, asking=True)
        with pytest.raises(TooExpensiveError) if most == 0 else nullcontext():
            assert list(asking.rows(labels(["en"]), [f"Q{n}" for n in range(1, 321)])) == []
    assert (len(snapshot), context.failures) == (kept, [])


def _things(query: str) -> int:
    """How many things a query asks about, in each branch; of the crosswalk, how many first signs."""
    found = re.search(r"VALUES \?item \{([^}]*)\}| (NOT )?IN \(([^)]*)\)", query)
    if found is None:
        return len(FIRST_SIGNS)
    if found[1] is not None:
        return len(found[1].split())
    signs = len(re.findall('"[^"]*"', found[3]))
    return len(FIRST_SIGNS) - signs if found[2] else signs


def test_the_parts_of_the_crosswalk_make_up_the_whole(tmp_path: Path) -> None:
    odd = [stated(f"Q{n}", "P6002", f'"{slug}"') for n, slug in enumerate(("abc", "Xyz", "9", "éa", "-z"), 1)]
    snapshot = Snapshot(tmp_path)
    with snapshot.writing():
        source().fetch(QueryService(snapshot, odd, too_expensive=lambda query: "P6002" in query and _things(query) > 1))
    told = source().read(QueryService(snapshot))
    assert {said.id for said in told if isinstance(said, Entity)} == {
        "artist:abc", "artist:xyz", "artist:9", "artist:éa", "artist:-z",
    }  # fmt: skip


def test_what_is_too_expensive_even_alone_is_dropped_with_its_reason(tmp_path: Path) -> None:
    snapshot = Snapshot(tmp_path)
    with snapshot.writing():
        source().fetch(
            QueryService(snapshot, many(4), too_expensive=lambda query: "P569" in query and "wd:Q3 " in query)
        )
    context = QueryService(snapshot)
    born = {said.head for said in source().read(context) if isinstance(said, Triple) and "Born" in said.relation}
    assert born == {"artist:artist-1", "artist:artist-2", "artist:artist-4"}
    assert context.observations.dropped == [Dropped("wikidata:Q3", "not_answered", "artists/facts")]


NO_TEXT = (
    b'{"head": {"vars": ["item", "slug"]}, "results": {"bindings": [{"item": {"type": "uri", "value": '
    b'"http://www.wikidata.org/entity/Q1"}, "slug": {"type": "literal", "value": 5}}]}}'
)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"head": {"vars": []}, "results": {"bindings": []}}',  # as a service answers that has lost its data
        b'{"head": {"vars": ["item", "slug"]}, "results": {}}',
        b'{"head": {"vars": ["item", "slug"]}, "results": {"bindings": [{"item": 1, "slug": 1}]}}',
        b'{"head": {"vars": ["item", "slug"]}, "results": {"bindings": [{}]}}',
        NO_TEXT,
        b'{"head": {"vars": ["item", "slug"]}, "results": {"bindings": [{"item": {"value": "http://www.wikidata.org/'
        b'entity/Q1"}, "slug": {"value": "\\ud800"}}]}}',
    ],
)
def test_a_kept_answer_that_is_no_result_is_named(tmp_path: Path, body: bytes) -> None:
    snapshot = fetched(tmp_path, ARTIST)
    key = next(key for key in snapshot if "crosswalk" in key)
    with snapshot.writing():
        snapshot.put(Answer(key, 200, body, "application/sparql-results+json"))
    with pytest.raises(DataError, match=f"the kept answer {key}"):
        list(source().read(QueryService(snapshot)))


def test_an_answer_that_is_no_result_is_taken_back_by_the_fetch_and_asked_again(tmp_path: Path) -> None:
    snapshot = fetched(tmp_path, ARTIST)
    for part in ("crosswalk", "artists/facts", "places/countries", "labels"):
        key = next(key for key in snapshot if part in key)
        with snapshot.writing():
            snapshot.put(Answer(key, 200, NO_TEXT.replace(b'"slug"', b'"nothing"'), "application/sparql-results+json"))
            with pytest.raises(DataError, match=f"the kept answer {key}"):
                source().fetch(QueryService(snapshot, ARTIST))
            again = QueryService(snapshot, ARTIST)
            source().fetch(again)
        assert len(again.asked) == 1
    assert entity(list(source().read(QueryService(snapshot))), "artist:claude-monet").same_as == ("wikidata:Q296",)


@pytest.mark.parametrize("most", [len(FIRST_SIGNS), 5])
@pytest.mark.parametrize("batch", [200, 20])
def test_an_empty_crosswalk_is_told_and_asked_again(tmp_path: Path, most: int, batch: int) -> None:
    snapshot = Snapshot(tmp_path)
    with snapshot.writing():
        empty = QueryService(snapshot, [], too_expensive=lambda query: _things(query) > most)
        source(batch=batch).fetch(empty)
        assert (len(snapshot), len(empty.failures)) == (0, 1)
        assert "no item at all has an identifier P6002" in empty.failures[0]
        whole = QueryService(snapshot, ARTIST)
        source(batch=batch).fetch(whole)
    assert whole.failures == []
    told = list(source(batch=batch).read(QueryService(snapshot)))
    assert entity(told, "artist:claude-monet").same_as == ("wikidata:Q296",)


def test_an_empty_crosswalk_that_an_earlier_version_kept_is_noted(tmp_path: Path) -> None:
    snapshot = fetched(tmp_path, MONET)
    key = next(key for key in snapshot if "crosswalk" in key)
    empty = b'{"head": {"vars": ["item", "slug"]}, "results": {"bindings": []}}'
    with snapshot.writing():
        snapshot.put(Answer(key, 200, empty, "application/sparql-results+json"))
    context = QueryService(snapshot)
    assert list(source().read(context)) == []
    assert context.observations.notes == ["no item at all has an identifier P6002; mkgb fetch asks again"]


def test_a_crosswalk_that_was_never_answered_is_not_called_empty(tmp_path: Path) -> None:
    snapshot = Snapshot(tmp_path)
    with snapshot.writing():
        silent = QueryService(snapshot, ARTIST, too_expensive=lambda query: True)
        source().fetch(silent)
    reading = QueryService(snapshot)
    assert list(source().read(reading)) == []
    assert (silent.failures, reading.observations.notes) == ([], [])
    assert {one.rule for one in reading.observations.dropped} == {"not_answered"}


def test_keys_name_the_question_and_neither_machine_nor_service(tmp_path: Path) -> None:
    keys = [set(fetched(tmp_path / name, ARTIST, service=name)) for name in ("wdqs", "qlever")]
    assert keys[0] == keys[1]
    assert Counter(key.rpartition("/")[0] for key in keys[0]) == {
        "wikidata:crosswalk": 1, "wikidata:artists/facts": 1, "wikidata:places/countries": 1, "wikidata:labels": 1,
    }  # fmt: skip
    assert all(re.fullmatch(r"wikidata:[a-z/]+/[0-9a-f]{64}", key) for key in keys[0])


TRIPLES = sorted((SHARED / "world" / "wikidata").glob("*.ttl.gz"))
COUNT = """
PREFIX wdt: <http://www.wikidata.org/prop/direct/> PREFIX p: <http://www.wikidata.org/prop/>
PREFIX psv: <http://www.wikidata.org/prop/statement/value/> PREFIX wikibase: <http://wikiba.se/ontology#>
PREFIX pq: <http://www.wikidata.org/prop/qualifier/> PREFIX wd: <http://www.wikidata.org/entity/>
"""


@pytest.fixture(scope="module")
def store() -> pyoxigraph.Store:
    """The stand-in's triples, to be counted without our queries."""
    store = pyoxigraph.Store()
    for path in TRIPLES:
        store.bulk_load(gzip.decompress(path.read_bytes()), pyoxigraph.RdfFormat.TURTLE)
    return store


@pytest.fixture(scope="module")
def told(store: pyoxigraph.Store, tmp_path_factory: pytest.TempPathFactory) -> list[Statement]:
    """All that the source tells of the stand-in's triples."""
    snapshot = Snapshot(tmp_path_factory.mktemp("wikidata"))
    with snapshot.writing():
        source(artworks=True).fetch(QueryService(snapshot, store))
    return list(source(artworks=True).read(QueryService(snapshot)))


def counted(store: pyoxigraph.Store, select: str) -> dict[tuple[str, ...], int]:
    """The rows of a query, its last column as numbers by the others."""
    rows = [[term.value for term in row] for row in store.query(COUNT + select)]
    return {tuple(row[:-1]): int(row[-1]) for row in rows}


def artists_with(pattern: str) -> str:
    return f"SELECT (COUNT(DISTINCT *) AS ?n) {{ ?item wdt:P6002 ?slug . FILTER(!CONTAINS(?slug, '/')) {pattern} }}"


@pytest.mark.shared
def test_every_artist_and_artwork_of_the_stand_in_is_told_of(store: pyoxigraph.Store, told: list[Statement]) -> None:
    kinds = Counter(said.type for said in told if isinstance(said, Entity))
    artworks = "SELECT (COUNT(*) AS ?n) { ?item wdt:P6002 ?slug . FILTER(CONTAINS(?slug, '/')) }"
    assert {"artist": kinds["artist"], "artwork": kinds["artwork"]} == {
        "artist": counted(store, artists_with(""))[()], "artwork": counted(store, artworks)[()],
    } == {"artist": 1408, "artwork": 305}  # fmt: skip


PRECISIONS = {
    "11": r"date:\d{4}-\d\d-\d\d", "10": r"date:\d{4}-\d\d", "9": r"date:\d{4}", "8": r"date:\d{3}X",
}  # fmt: skip


@pytest.mark.shared
@pytest.mark.parametrize(("key", "relation"), [("P569", "wasBornOnDate"), ("P570", "diedOnDate")])
def test_the_dates_of_the_stand_in_have_the_precision_that_they_have_there(
    store: pyoxigraph.Store, told: list[Statement], key: str, relation: str
) -> None:
    select = f"""SELECT ?precision ?circa (COUNT(DISTINCT *) AS ?n) {{
        ?item wdt:P6002 ?slug ; p:{key} ?statement . FILTER(!CONTAINS(?slug, "/"))
        ?statement a wikibase:BestRank ; psv:{key} ?time . ?time wikibase:timePrecision ?precision .
        BIND(EXISTS {{ ?statement pq:P1480 wd:Q5727902 }} AS ?circa)
        FILTER NOT EXISTS {{ ?statement pq:P1319|pq:P1326 ?bound }} }} GROUP BY ?precision ?circa"""
    expected = counted(store, select)
    tails = [said.tail for said in told if isinstance(said, Triple) and said.relation == relation]
    found = {
        (precision, circa): sum(bool(re.fullmatch(form + sign, tail)) for tail in tails)
        for precision, form in PRECISIONS.items()
        for circa, sign in (("true", "~"), ("false", ""))
    }
    assert {key: n for key, n in found.items() if n} == expected


@pytest.mark.shared
@pytest.mark.parametrize(
    ("key", "relation"),
    [("P19", "wasBornIn"), ("P20", "diedIn"), ("P135", "isAssociatedWithArtMovement")],
)
def test_the_things_of_the_stand_in_are_all_told_of(
    store: pyoxigraph.Store, told: list[Statement], key: str, relation: str
) -> None:
    labelled = "?value <http://www.w3.org/2000/01/rdf-schema#label> ?label"
    select = artists_with(f"?item wdt:{key} ?value . FILTER EXISTS {{ {labelled} }}")
    stated_there = counted(store, select)[()]
    assert sum(isinstance(said, Triple) and said.relation == relation for said in told) == stated_there


@pytest.mark.shared
def test_pupils_and_teachers_of_the_stand_in_are_the_union_of_both_directions(
    store: pyoxigraph.Store, told: list[Statement]
) -> None:
    select = "SELECT (COUNT(*) AS ?n) { SELECT DISTINCT ?pupil ?teacher { ?pupil wdt:P6002 ?a . ?teacher wdt:P6002 ?b ."
    both = counted(store, f"{select} {{ ?pupil wdt:P1066 ?teacher }} UNION {{ ?teacher wdt:P802 ?pupil }} }} }}")[()]
    one = counted(store, f"{select} ?pupil wdt:P1066 ?teacher }} }}")[()]
    for relation in ("isPupilOf", "isTeacherOf"):
        assert sum(isinstance(said, Triple) and said.relation == relation for said in told) == both > one


@pytest.mark.shared
def test_nearly_every_place_of_the_stand_in_has_its_country(told: list[Statement]) -> None:
    places = {said.id for said in told if isinstance(said, Entity) and said.type == "place"}
    placed = {said.head for said in told if isinstance(said, Triple) and said.relation == "isInCountry"}
    assert (len(places), len(placed)) == (337, 309)


@pytest.mark.shared
@pytest.mark.parametrize(("sequence", "answers"), [(["ok"], 25), (["ok", "wdqs_timeout", "wdqs_truncated"], 27)])
def test_the_whole_walk_over_http(
    tmp_path: Path, world: dict, told: list[Statement], sequence: list[str], answers: int
) -> None:
    faults = {"wdqs": {"sequence": sequence, "scope": "pattern"}}
    requests.post(f"{world['base']}/_world/faults", json=faults, timeout=10).raise_for_status()
    snapshot = Snapshot(tmp_path)
    client = Client("tests@example.org", ["127.0.0.1:*"], {})
    online = SnapshotContext("wikidata", Path(), snapshot, {"wdqs": world["sparql"]}, client=client)
    with snapshot.writing():
        source(artworks=True).fetch(online)
    assert (online.failures, len(snapshot)) == ([], answers)  # each halving makes two of one
    offline = SnapshotContext("wikidata", Path(), snapshot, {"wdqs": world["sparql"]})
    assert list(source(artworks=True).read(offline)) == told


class Failing(QueryService):
    """Does not answer one question about one thing."""

    @override
    def get(self, request: Request) -> Answer:
        if "P569" in request.query and "wd:Q3 " in request.query:
            self.fail("no answer")
            return Answer(request.key, 0, b"", "")
        return super().get(request)


def test_after_a_batch_without_an_answer_the_next_run_asks_only_what_is_missing(tmp_path: Path) -> None:
    whole, snapshot = Snapshot(tmp_path / "whole"), Snapshot(tmp_path / "broken")
    with whole.writing():
        source(batch=2).fetch(straight := QueryService(whole, many(6)))
    with snapshot.writing():
        source(batch=2).fetch(broken := Failing(snapshot, many(6)))
        assert broken.failures == ["no answer"]
        source(batch=2).fetch(resumed := QueryService(snapshot, many(6)))
    assert sorted([*broken.asked, *resumed.asked]) == sorted(straight.asked)
    assert {*snapshot} == {*whole}
