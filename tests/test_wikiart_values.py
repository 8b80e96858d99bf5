"""Every inconsistency that WikiArt's data are known for, by an example from the site."""

import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mkg_builder.graph import Entity, Literal, Statement, Triple, merge_entities
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer
from mkg_builder.sources.wikiart import WikiArtOptions
from mkg_builder.sources.wikiart_requests import (
    clean_slug,
    document,
    hex_id,
    image_address,
    image_request,
    number_id,
)  # fmt: skip
from mkg_builder.sources.wikiart_statements import Scribe, place_of_creation, tidy
from tests.site import Site, answer
from tests.test_wikiart_pages import ARTIST, PAINTING
from tests.wikiart_site import (
    ALPHABET,
    ARTISTS,
    BASE,
    ITEM,
    JSON,
    WORK,
    facts,
    listing,
    literals,
    read_all,
    reread,
    site,
)

SPAM = {"spam_words": ("gmail", "airbnb", "onlyfans", "buy verified")}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The site, fetched once; the tests change answers on top of it."""
    folder = tmp_path_factory.mktemp("site")
    read_all(folder, site())
    return Snapshot(folder)


def read(snapshot: Snapshot, changes: Site, **options: Any) -> list[Statement]:
    return reread(snapshot, changes, **options)[0]


def serve(things: Any, **work: object) -> Site:
    """The site with another alphabet (a list of artists) or another list of van Gogh's works."""
    transport = site(**work)
    path = ALPHABET if "artistName" in things[0] and "url" in things[0] else listing("vincent-van-gogh")
    transport.answers[path] = answer(json.dumps(things).encode(), **JSON)
    return transport


def artist(**fields: object) -> dict[str, Any]:
    return {"contentId": 195896, "artistName": "Ivan Aivazovsky", "url": "vincent-van-gogh"} | fields


def work_of(things: list) -> Entity:
    return next(thing for thing in things if isinstance(thing, Entity) and thing.type == "artwork")


def test_a_name_broken_by_ffff_is_the_alphabets(kept: Snapshot) -> None:
    things = read(kept, site(artistName="van Gogh\uffffVincent"))
    assert {t.label for t in things if isinstance(t, Entity) and t.type == "artist"} == {"Vincent van Gogh"}


def test_a_broken_name_of_the_alphabet_itself_is_tidied_and_kept_raw(kept: Snapshot) -> None:
    things = read(kept, serve([artist(artistName="Vincent\uffffvan  Gogh", lastNameFirst="van Gogh Vincent ")]))
    assert next(t.label for t in things if isinstance(t, Entity) and t.type == "artist") == "Vincent van Gogh"
    assert literals(things, "label") == ["Vincent\uffffvan  Gogh"]
    assert literals(things, "lastNameFirst") == ["van Gogh Vincent "]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("Milton`s Mysterious Dream", "Milton's Mysterious Dream"),
     ("Sir Robert Liston,  Diplomat", "Sir Robert Liston, Diplomat"),
     ("Japan's\xa0(Camille\xa0Monet)", "Japan's (Camille Monet)"), ("L&#39;&#224; bas", "L'\u00e0 bas"),
     ("The grenouille\u0300re", "The grenouill\u00e8re"), ("`quoted`", "`quoted`")],
)  # fmt: skip
def test_a_title_is_as_people_would_type_it_and_its_raw_form_kept(kept: Snapshot, raw: str, expected: str) -> None:
    things = read(kept, site(title=raw))
    assert work_of(things).label == tidy(raw) == expected
    assert literals(things, "label") == [raw] * (raw != expected)


@pytest.mark.parametrize(
    ("glued", "expected"),
    [("ParisFrance", "Paris, France"), ("Nunen / NuenenNetherlands", "Nunen / Nuenen, Netherlands"),
     ("Arles, Bouches-du-Rh\u00f4neFrance", "Arles, Bouches-du-Rh\u00f4ne, France"), ("McLean", "McLean"),
     ("Italy", "Italy"),
     ("Haag / Den Haag / La Haye / The HagueNetherlands", "Haag / Den Haag / La Haye / The Hague, Netherlands"),
     ("RamsgateUnited Kingdom", "Ramsgate, United Kingdom")],
)  # fmt: skip
def test_a_place_of_creation_is_parted_from_its_country(kept: Snapshot, glued: str, expected: str) -> None:
    assert literals(read(kept, site(location=glued)), "wasCreatedIn") == [expected] == [place_of_creation(glued)]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [("William-Blake-\"Europe-a-Prophecy\"", ["william-blake-europe-a-prophecy"]),
     ("female-portraits, Woody\xa0plant", ["female-portraits", "woody-plant"]),
     ("Cynthia (subgenus), Rosa \u00d7 centifolia", ["cynthia-subgenus", "rosa-centifolia"]), (", ,  ", []),
     (None, [])],
)  # fmt: skip
def test_tags_are_parted_at_comma_and_blank(kept: Snapshot, tags: str | None, expected: list[str]) -> None:
    assert facts(read(kept, site(tags=tags)), "isAssociatedWithTag") == [f"tag:{tag}" for tag in expected]


def test_the_raw_spelling_of_a_tag_is_kept(kept: Snapshot) -> None:
    things = read(kept, site(tags="Woody\xa0plant, tree"))
    assert [thing for thing in things if isinstance(thing, Literal) and thing.entity.startswith("tag:")] == [
        Literal("tag:woody-plant", "label", "Woody\xa0plant", "wikiart")
    ]


@pytest.mark.parametrize("spellings", list(permutations(["Paris France", "Paris, France", "PARIS FRANCE"])))
def test_every_spelling_of_a_place_is_kept_whichever_is_read_first(spellings: tuple[str, ...]) -> None:
    scribe = Scribe("wikiart")
    things = [
        thing for name in (*spellings, *spellings) for thing in scribe.named("artist:a", "wasBornIn", "place", name)
    ]
    (place,) = merge_entities(thing for thing in things if isinstance(thing, Entity)).values()
    assert (place.id, place.label, place.aliases) == ("place:paris-france", spellings[0], tuple(sorted(spellings[1:])))
    other = Entity("place:paris-france", "place", "Paris (France)", sources=("other",))  # of a source read before
    (joined,) = merge_entities([other, *(thing for thing in things if isinstance(thing, Entity))]).values()
    assert joined.aliases == tuple(sorted(spellings))


def test_a_place_of_one_spelling_has_no_other_name() -> None:
    scribe = Scribe("wikiart")
    things = [thing for _ in "ab" for thing in scribe.named("artist:a", "wasBornIn", "place", "Paris, France")]
    assert [thing.aliases for thing in things if isinstance(thing, Entity)] == [()]


def test_the_page_says_what_the_record_cannot(kept: Snapshot) -> None:
    transport = site(tags='William-Blake-"Europe, a-Prophecy"')
    page = PAINTING.replace("1882 - 1883", "c.1872")
    transport.answers["/en/vincent-van-gogh/the-starry-night-1889"] = answer(page.encode(), Content_Type="text/html")
    things = read(kept, transport, painting_pages=True)
    assert facts(things, "isAssociatedWithTag") == ["tag:william-blake-europe-a-prophecy"]
    assert facts(things, "isCreatedInYear") == ["date:1872~"]
    assert facts(things, "isCreatedWithMedium") == ["medium:oil", "medium:canvas"]
    assert facts(things, "isLocatedIn") == ["gallery:louvre-paris-france"]
    assert literals(things, "originalTitle") == ["De sterrennacht"]
    assert work_of(things).same_as == ("wikiart-content:207190", "wikiart-id:5772716cedc2cb3880c1907f")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1827-1828", "1827/1828"), ("1882 - 1883", "1882/1883"), ("XIX cent.", "18XX"), ("XVI-XVII cent.", "15XX/16XX"),
     ("c.1872", "1872~"), ("31 BC", "-0030"), ("somewhen", "1889")],
)  # fmt: skip
def test_a_pages_date_may_be_a_range_or_a_century(kept: Snapshot, text: str, expected: str) -> None:
    things = dated(kept, text, 2000 if expected != "1889" else 1889)
    assert facts(things, "isCreatedInYear") == [f"date:{expected}"]
    assert literals(things, "isCreatedInYear") == [text]


@pytest.mark.parametrize(
    ("text", "year", "expected"),
    [("c.1890", 1889, "1889"), ("1889?", 1889, "1889"), ("1888 - 1889", 1889, "1889"), ("XIX cent.", 1889, "1889"),
     ("before 1900", "1889", "1889"), ("31 - 30 BC", -30, "-0029"), ("c.1890", 1896, "1890~"),
     ("XIX cent.", 1900, "18XX"), ("XIX cent.", None, "18XX"), ("XIX cent.", "1880s", "18XX"),
     ("July 1889", 1889, "1889-07"), ("1888", 1889, "1888")],
)  # fmt: skip
def test_of_a_pages_several_years_the_records_is_stated(kept: Snapshot, text: str, year: object, expected: str) -> None:
    things = dated(kept, text, year)
    assert facts(things, "isCreatedInYear") == [f"date:{expected}"]
    assert literals(things, "isCreatedInYear") == ([text] if text != expected else [])


def dated(kept: Snapshot, text: str, year: object) -> list[Statement]:
    """What is read of a work whose page and whose record are dated."""
    transport = site(completitionYear=year)
    page = PAINTING.replace("1882 - 1883", text)
    transport.answers["/en/vincent-van-gogh/the-starry-night-1889"] = answer(page.encode(), Content_Type="text/html")
    return read(kept, transport, painting_pages=True)


@pytest.mark.parametrize(
    ("year", "expected"),
    [(1889, ["date:1889"]), (975, ["date:0975"]), (-31, ["date:-0030"]), (-1, ["date:0000"]), (-3050, ["date:-3049"]),
     ("1889", ["date:1889"]), (0, []), (None, []), (True, []), (1889.0, []), ([1889], []), (10**30, [])],
)  # fmt: skip
def test_completition_year_is_a_year_of_astronomers_or_nothing(kept: Snapshot, year: object, expected: list) -> None:
    assert facts(read(kept, site(completitionYear=year)), "isCreatedInYear") == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"birthDayAsString": "29 July 1817", "birthDay": "/Date(-4810154400000)/"}, ["date:1817-07-29"]),
     ({"birthDayAsString": "05 May 1900", "birthDay": "/Date(-61998660000000)/"}, ["date:1900-05-05"]),
     ({"birthDayAsString": "", "birthDay": "/Date(-5330448000000)/"}, ["date:1801-02-01"]),
     ({"birthDayAsString": "", "birthDay": "/Date(-62135596800000)/"}, []),
     ({"birthDayAsString": "", "birthDay": "/Date(253402300799999)/"}, []),
     ({"birthDayAsString": "c.1251"}, ["date:1251~"]), ({"birthDayAsString": "c.May 1, 1425"}, ["date:1425-05-01~"]),
     ({"birthDayAsString": "March, 1880"}, ["date:1880-03"]), ({"birthDayAsString": "c.900 BC"}, ["date:-0899~"]),
     ({"birthDayAsString": 1880, "birthDay": 5}, [])],
)  # fmt: skip
def test_a_birth_is_read_from_its_text_and_else_from_the_machines_date(
    kept: Snapshot, fields: dict[str, object], expected: list[str]
) -> None:
    assert facts(read(kept, serve([artist(**fields)])), "wasBornOnDate") == expected


@pytest.mark.parametrize("words", ["Buy Verified PayPal Accounts", "how to hack GMAIL", "cheap airbnb, cheap"])
def test_spam_is_dropped_as_work_and_as_artist(kept: Snapshot, words: str) -> None:
    things, reading = reread(kept, site(title=words), **SPAM)
    assert not facts(things, "isCreatedByArtist")
    things, reading_artist = reread(kept, serve([artist(artistName=words)]), **SPAM)
    assert things == []
    assert [d.rule for d in reading.observations.dropped + reading_artist.observations.dropped] == ["spam", "spam"]


def test_no_honest_title_is_spam(kept: Snapshot) -> None:
    things, reading = reread(kept, site(title="Self-portrait, buying verified gmailed letters"), **SPAM)
    assert work_of(things).label and reading.observations.dropped == []


def test_a_work_listed_twice_is_one_and_ids_above_2_to_53_stay_exact(kept: Snapshot) -> None:
    number = 9223372032559808515
    transport = serve([ITEM | {"contentId": number}] * 2)
    transport.answers[f"/en/App/Painting/ImageJson/{number}"] = answer(
        json.dumps(WORK | {"contentId": number}).encode(), **JSON
    )
    things = read(kept, transport)
    assert [t.same_as for t in things if isinstance(t, Entity) and t.type == "artwork"] == [
        (f"wikiart-content:{number}",)
    ]


def test_two_works_under_one_slug_stay_two(kept: Snapshot) -> None:
    transport = serve([ITEM, ITEM | {"contentId": 5}])
    same = WORK | {"contentId": 5, "url": "the-starry-night-1889"}
    transport.answers["/en/App/Painting/ImageJson/5"] = answer(json.dumps(same).encode(), **JSON)
    works = [t.id for t in read(kept, transport) if isinstance(t, Entity) and t.type == "artwork"]
    assert works == ["artwork:vincent-van-gogh/the-starry-night-1889", "artwork:vincent-van-gogh/content-5"]


def test_a_work_listed_under_two_artists_has_both(kept: Snapshot) -> None:
    transport = site()
    transport.answers[listing("a-nobody")] = answer(json.dumps([ITEM]).encode(), **JSON)
    things = read(kept, transport)
    assert len([t for t in things if isinstance(t, Entity) and t.type == "artwork"]) == 1
    assert sorted(facts(things, "isCreatedByArtist")) == ["artist:a-nobody", "artist:vincent-van-gogh"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("the-grenouill\u00e8re", "the-grenouill\u00e8re"), ("the-grenouille\u0300re", "the-grenouill\u00e8re"),
     ("the-grenouill%C3%A8re", "the-grenouill\u00e8re"), ("a/b", None), ("", None), (None, None), (5, None),
     ("a b", None), ("a\n", None), ("%2e%2e%2f", None)],
)  # fmt: skip
def test_a_slug_has_one_form(value: object, expected: str | None) -> None:
    assert clean_slug(value) == expected


def test_an_id_is_what_an_id_can_be() -> None:
    assert [number_id({"contentId": n}) for n in (5, "5", 5.0, True, -1, 0, 2**63, None)] == [5, *[None] * 7]
    assert hex_id("57726D82EDC2CB3880B486A0") == "57726d82edc2cb3880b486a0"
    assert [hex_id(value) for value in ("57726d82", None, 5, "z" * 24)] == [None] * 4


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"a": NaN}', b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}', b"[" * 100_000, b"\xff", b"\xef\xbb\xbf{}",
     b"1" * 5000],
)  # fmt: skip
def test_an_unreadable_answer_is_dropped_with_its_reason(kept: Snapshot, body: bytes) -> None:
    _, reading = reread(kept, site())
    assert document(reading, Answer("wikiart:/x", 200, body, "application/json")) is None
    assert [(d.id, d.rule) for d in reading.observations.dropped] == [("wikiart:/x", "unreadable")]


MUTATIONS: tuple[object, ...] = ("1889", True, 1889.5, None, ["a"], {"a": 1})


@pytest.mark.parametrize("name", sorted(WORK))
@pytest.mark.parametrize("value", MUTATIONS, ids=repr)
def test_a_field_of_another_type_costs_at_most_its_own_work(kept: Snapshot, name: str, value: object) -> None:
    things, reading = reread(kept, site(**{name: value}))
    told = {thing.id for thing in things if isinstance(thing, Entity)}
    ends = {end for thing in things if isinstance(thing, Triple) for end in (thing.head, thing.tail)}
    assert ends <= told
    assert facts(things, "isCreatedByArtist") or [d.rule for d in reading.observations.dropped] == ["required_fields"]


REMOVED, RENAMED = object(), object()


def drifted(record: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    """A record in which a field is of another type, gone, or under another name."""
    rest = {key: held for key, held in record.items() if key != name}
    if value is RENAMED:
        return rest | {f"{name}New": record[name]}
    return rest if value is REMOVED else rest | {name: value}


LONG = {
    "lastNameFirst": "Gogh van",
    "birthDayAsString": "30 March 1853",
    "birthDay": "/Date(-3684614400000)/",
    "deathDayAsString": "",
    "deathDay": None,
    "image": f"{BASE}/x.jpg",
    "wikipediaUrl": "",
    "dictonaries": [1],
}
ACCOUNTS = {"alphabet": ARTISTS[0] | LONG, "listing": ITEM | {"width": 5, "height": 4}, "record": WORK}


@pytest.mark.parametrize(("account", "name"), [(a, name) for a, fields in ACCOUNTS.items() for name in sorted(fields)])
def test_a_field_that_drifts_costs_a_line_and_never_more_than_its_own_thing(
    kept: Snapshot, account: str, name: str
) -> None:
    for value in (*MUTATIONS, REMOVED, RENAMED):
        record = drifted(ACCOUNTS[account], name, value)
        if account == "record":
            transport = site()
            body = answer(json.dumps(record).encode(), **JSON)
            transport.answers["/en/App/Painting/ImageJson/207190"] = body
        else:
            transport = serve([record])
            if account == "alphabet":  # however it names itself
                transport.answers[ALPHABET] = answer(json.dumps([record, ARTISTS[1]]).encode(), **JSON)
                transport.answers.pop(listing("vincent-van-gogh"), None)
        things, reading = reread(kept, transport)
        told = {thing.id for thing in things if isinstance(thing, Entity)}
        assert {end for t in things if isinstance(t, Triple) for end in (t.head, t.tail)} <= told
        other = (account, name, value) == ("alphabet", "url", "1889")  # an artist like any other, without works
        assert other or facts(things, "isCreatedByArtist") or reading.observations.dropped, value
        told_of = f"{name}New" in str(reading.observations.leftovers) or reading.observations.dropped
        assert value is not RENAMED or told_of or account == "listing"  # of which the record says the same


@pytest.mark.parametrize("body", [b"{}", b'{"Paintings": []}', b"5", b'"x"', b"[5, null]"])
@pytest.mark.parametrize("path", [ALPHABET, listing("vincent-van-gogh"), "/en/App/Painting/ImageJson/207190"])
def test_an_answer_of_another_form_is_written_down(kept: Snapshot, path: str, body: bytes) -> None:
    transport = site()
    transport.answers[path] = answer(body, **JSON)
    _, reading = reread(kept, transport)
    wrong = {(d.id, d.rule) for d in reading.observations.dropped if d.rule != "required_fields"}
    assert wrong == {(f"wikiart:{path}", "wrong_type")} or (path.endswith("207190") and body.startswith(b"{"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(sorted(WORK)), anything), st.dictionaries(st.sampled_from(sorted(LONG)), anything)
)
def test_whatever_a_record_says_it_is_read_or_written_down(
    kept: Snapshot, work: dict[str, Any], painter: dict[str, Any]
) -> None:
    transport = site(**work)
    transport.answers[ALPHABET] = answer(json.dumps([ARTISTS[0] | LONG | painter, ARTISTS[1]]).encode(), **JSON)
    things, reading = reread(kept, transport)
    assert facts(things, "isCreatedByArtist") or reading.observations.dropped
    assert all(thing.label for thing in things if isinstance(thing, Entity))


def test_a_value_of_another_type_is_written_down(kept: Snapshot) -> None:
    _, reading = reread(kept, site(style=["Realism"], sizeX="92"))
    assert [(d.rule, d.detail) for d in reading.observations.dropped] == [("wrong_type", "style is list: ['Realism']")]


def test_an_entry_without_a_usable_number_is_dropped_with_its_reason(kept: Snapshot) -> None:
    _, reading = reread(kept, serve([{**ITEM, "contentId": "207190"}, ITEM]))
    assert [(d.rule, d.detail) for d in reading.observations.dropped] == [
        ("required_fields", "'The Starry Night' has contentId '207190'")
    ]


def test_a_list_shorter_than_the_artists_page_says_is_noted(kept: Snapshot) -> None:
    transport = site()
    transport.answers["/en/vincent-van-gogh"] = answer(ARTIST.encode(), Content_Type="text/html")
    _, reading = reread(kept, transport, artist_pages=True)
    assert reading.observations.notes == [
        "1 list of fewer works than the artist's page says: vincent-van-gogh 1 of 1931"
    ]


def test_related_works_are_those_of_the_walk(kept: Snapshot) -> None:
    transport = serve([ITEM, ITEM | {"contentId": 5}])
    other = WORK | {"contentId": 5, "url": "the-grenouill\u00e8re"}
    transport.answers["/en/App/Painting/ImageJson/5"] = answer(json.dumps(other).encode(), **JSON)
    links = ["/en/vincent-van-gogh/the-grenouill%C3%A8re", "/en/vincent-van-gogh/gone", None]
    related = {"Paintings": [{"paintingUrl": link} for link in links]}
    path = "/en/vincent-van-gogh/the-starry-night-1889?json=2"
    transport.answers[path] = answer(json.dumps(related).encode(), **JSON)
    things, reading = reread(kept, transport, related_artworks=True)
    assert facts(things, "isRelatedToArtwork") == ["artwork:vincent-van-gogh/the-grenouill\u00e8re"]
    assert {d.rule for d in reading.observations.dropped} == {"not_in_the_walk"}


@pytest.mark.parametrize(
    ("name", "kept_as"),
    [("images/a/not_detected_235597.jpg!Large.jpg", "images:/images/a/not_detected_235597.jpg"),
     ("images/a/help!.jpg", "images:/images/a/help!.jpg"), ("images/a/x.JPG!HalfHD.JPG", "images:/images/a/x.JPG"),
     ("images/a/help!.jpg!PinterestSmall.jpg", "images:/images/a/help!.jpg"),
     ("images/a/x.jpg", "images:/images/a/x.jpg"),
     ("Content/images/FRAME-600x480.jpg", None)],
)  # fmt: skip
def test_a_picture_that_is_named_like_none_is_one_and_the_placeholder_is_none(name: str, kept_as: str | None) -> None:
    address = image_address({"image": f"https://uploads3.wikiart.org/{name}"})
    assert (image_request(address, "original").key if address else None) == kept_as


@pytest.mark.parametrize(
    "address", ["https://[x/a.jpg!Large.jpg", "https://ex\u2100mple.org/a.jpg", "https://[a!b]/c.jpg", "https:///a.jpg"]
)
def test_what_is_no_address_of_a_picture_costs_the_picture_alone(kept: Snapshot, address: str) -> None:
    assert image_address({"image": address}) is None
    assert work_of(read(kept, site(image=address))).image is None


def test_a_size_that_cannot_be_is_nothing_that_we_say(kept: Snapshot) -> None:
    things, reading = reread(kept, site(sizeX=70.5, sizeY=-1920))
    assert not [t for t in things if isinstance(t, Literal) and "-1920" in t.value]
    assert (work_of(things).label, reading.observations.dropped) == ("The Starry Night", [])


@pytest.mark.parametrize("address", ["http://en.wikipedia.org/wiki/Ann", "https://ann.example/", ""])
def test_what_is_called_a_wikipedia_address_is_kept_as_it_is_said(kept: Snapshot, address: str) -> None:
    things = read(kept, serve([artist(wikipediaUrl=address)]))
    assert literals(things, "wikipediaUrl") == [address] * bool(address)


def test_nothing_is_spam_unless_the_recipe_says_so() -> None:
    assert WikiArtOptions().spam() is None
