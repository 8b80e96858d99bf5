"""WikiArt's pages of artists and of paintings, in the structure that the site's readers describe."""

import time

import pytest

from mkg_builder.context import SnapshotContext
from mkg_builder.graph import Entity, Literal, Statement, Triple
from mkg_builder.snapshot import Snapshot
from mkg_builder.sources.wikiart_artists import artist_statements, other_artists, report
from mkg_builder.sources.wikiart_pages import TAGS, Page, link_path, read_artist_page, read_painting_page
from mkg_builder.sources.wikiart_statements import Scribe

ARTIST = """<!DOCTYPE html><html><body>
<div class="wiki-breadcrumbs-links"><a href="/en">Home</a> <a href="/en/alphabet">Artists</a></div>
<div class="wiki-layout-artist-info"><article><h1>Vincent van Gogh</h1><ul>
<li><s>Born:</s> <span itemprop="birthDate">March 30, 1853</span>;
    <span itemprop="birthPlace">Zundert, Netherlands</span></li>
<li><s>Died:</s> <span itemprop="deathDate">July 29, 1890</span>;
    <span itemprop="deathPlace">Auvers-sur-Oise, France</span></li>
<li><s>Active Years:</s> 1880 - 1890</li>
<li><s>Nationality:</s> <span itemprop="nationality">Dutch</span></li>
<li class="dictionary-values"><s>Art Movement:</s>
    <span><a href="/en/artists-by-art-movement/post-impressionism#!#resultType:masonry">Post-Impressionism</a></span>,
    <span><a href="/en/artists-by-art-movement/na-ve-art-primitivism">Na\u00efve Art (Primitivism)</a></span></li>
<li><s>Field:</s> <a href="/en/artists-by-field/painting">painting</a></li>
<li><s>Influenced by:</s> <a href="/en/jean-francois-millet">Jean-Fran\u00e7ois Millet</a>,
    <a href="/en/artists-by-art-movement/byzantine-art">Byzantine Art</a>, <a href="/en/hidden">Nobody</a></li>
<li><s>Teachers:</s> <a href="https://www.wikiart.org/en/andr-lhote">Andr\u00e9 Lhote</a></li>
<li><s>Art institution:</s> <a href="/en/artists-by-art-institution/royal-academy-antwerp-belgium">Royal Academy of
    Fine Arts, Antwerp, Belgium</a></li>
<li><s>Shoe size:</s> 43</li>
<li><s>Share:</s> <div></div></li></ul></article></div>
<a class="btn-view-all" href="/en/vincent-van-gogh/all-works">View all 1931 artworks</a></body></html>"""

FILM = """<div class="wiki-layout-artwork-info"><article class="film-promo"><ul>
<li><s>Media:</s> <a href="/en">film</a></li></ul></article></div>"""

PAINTING = f"""<!DOCTYPE html><html><body><main ng-controller="ArtworkViewCtrl">{FILM}
<div class="wiki-layout-artwork-info" itemscope itemtype="https://schema.org/Painting">
<article ng-init="paintingId = '5772716CEDC2CB3880C1907F'"><h3>The Starry Night</h3><ul>
<li><s>Original Title:</s> De sterrennacht</li>
<li><s>Date:</s> <span itemprop="dateCreated">1882 - 1883</span>;
    <span itemprop="locationCreated">Saint-R\u00e9my-de-Provence, France</span></li>
<li class="dictionary-values"><s>Media:</s> <span><a href="/en/paintings-by-media/oil">oil</a></span>,
    <span><a href="/en/paintings-by-media/canvas">canvas</a></span></li>
<li class="dictionary-values-gallery"><s>Location:</s> <span>Louvre, Paris, France</span></li></ul>
<div class="tags-cheaps"><div class="tags-cheaps__item">
<a class="tags-cheaps__item__ref" href="/en/Search/x">William-Blake-&quot;Europe,&nbsp;a-Prophecy&quot;</a></div></div>
</article></div>{FILM}</main></body></html>"""


def page(html: str = ARTIST) -> Page:
    found = read_artist_page(html.encode())
    assert found is not None
    return found


def statements(record: dict | None = None, html: str = ARTIST) -> list[Statement]:
    return list(artist_statements(Scribe("wikiart"), "vincent-van-gogh", record or {}, page(html)))


def facts(things: list[Statement]) -> list[tuple[str, str]]:
    return [(thing.relation, thing.tail) for thing in things if isinstance(thing, Triple)]


def literals(things: list[Statement], name: str) -> list[str]:
    return [thing.value for thing in things if isinstance(thing, Literal) and thing.name == name]


@pytest.fixture
def context(tmp_path) -> SnapshotContext:
    return SnapshotContext("wikiart", tmp_path, Snapshot(tmp_path), {})


def test_an_artists_rows_become_facts_by_where_they_lead() -> None:
    assert facts(statements()) == [
        ("wasBornOnDate", "date:1853-03-30"),
        ("wasBornIn", "place:zundert-netherlands"),
        ("diedOnDate", "date:1890-07-29"),
        ("diedIn", "place:auvers-sur-oise-france"),
        ("hasNationality", "nationality:dutch"),
        ("isAssociatedWithField", "field:painting"),
        ("isAssociatedWithArtMovement", "movement:post-impressionism"),
        ("isAssociatedWithArtMovement", "movement:na-ve-art-primitivism"),
        ("isAffiliatedWithArtInstitution", "institution:royal-academy-antwerp-belgium"),
    ]


def test_a_row_keeps_the_name_that_people_read_and_the_text_as_given() -> None:
    things = statements()
    labels = {thing.id: thing.label for thing in things if isinstance(thing, Entity)}
    assert labels["movement:na-ve-art-primitivism"] == "Na\u00efve Art (Primitivism)"
    assert labels["institution:royal-academy-antwerp-belgium"] == "Royal Academy of Fine Arts, Antwerp, Belgium"
    assert labels["place:zundert-netherlands"] == "Zundert, Netherlands"
    assert literals(things, "wasBornOnDate") == ["March 30, 1853"]
    assert literals(things, "activeYears") == ["1880 - 1890"]


def test_an_influence_that_is_no_artist_is_dropped_with_what_it_is(context: SnapshotContext) -> None:
    known = {"jean-francois-millet", "andr-lhote"}
    found = list(other_artists(context, "vincent-van-gogh", page(), known))
    assert found == [("isInfluencedBy", "jean-francois-millet"), ("isPupilOf", "andr-lhote")]
    assert [(d.rule, d.detail) for d in context.observations.dropped] == [
        ("not_an_artist", "'Byzantine Art' is of the facet art-movement"),
        ("not_an_artist", "'Nobody' is no artist of the alphabet"),
    ]


def test_a_row_with_an_unknown_label_is_reported(context: SnapshotContext) -> None:
    report(context, "vincent-van-gogh", {}, page(), {})
    assert context.observations.leftovers == {"wikiart": {"artist page row 'Shoe size:'"}}


def test_a_collection_says_that_it_is_one_and_the_page_how_many_works_there_are() -> None:
    collection = page(ARTIST.replace(">Artists<", ">Collections<"))
    assert (page().collection, collection.collection, collection.works) == (False, True, 1931)
    assert literals(statements(html=ARTIST.replace(">Artists<", ">Collections<")), "kind") == ["collection"]


def test_a_paintings_page_gives_rows_tags_and_the_second_id_and_no_films() -> None:
    found = read_painting_page(PAINTING.encode())
    assert found is not None
    assert [value.text for value in found.rows["Media:"]] == ["oil", "canvas"]
    assert [value.text for value in found.rows["Location:"]] == ["Louvre, Paris, France"]
    assert [value.text for value in found.rows[TAGS]] == ['William-Blake-"Europe, a-Prophecy"']
    assert found.properties["dateCreated"] == "1882 - 1883"
    assert found.hex_id == "5772716cedc2cb3880c1907f"


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"<html>Just a moment...</html>", b"<div>" * 100_000])
def test_what_is_no_such_page_is_none_and_quickly_so(body: bytes) -> None:
    start = time.perf_counter()
    assert read_artist_page(body) is None
    assert read_painting_page(body) is None
    assert time.perf_counter() - start < 5


def test_a_page_too_deep_to_be_parsed_in_time_is_none() -> None:
    assert read_artist_page(ARTIST.replace("<article>", "<article>" + "<div>" * 5000).encode()) is None


@pytest.mark.parametrize(
    "more",
    ["<svg>" + '<path d="M0 0"/>' * 600 + "</svg>", "<script>" + "for(i=0;i<n;i++)" * 600 + "</script>",
     "<!--" + "<div>" * 600 + "-->", "<style>" + "a<b" * 600 + "</style>"],
    ids=["svg", "script", "comment", "style"],
)  # fmt: skip
def test_what_opens_no_tag_makes_no_page_deep(more: str) -> None:
    page, expected = ARTIST.replace("<article>", more + "<article>"), read_artist_page(ARTIST.encode())
    assert expected is not None
    assert read_artist_page(page.encode()) == expected


@pytest.mark.parametrize(
    ("href", "expected"),
    [("/en/th%C3%A9odore-g%C3%A9ricault", ("th\u00e9odore-g\u00e9ricault",)), ("/en/a/b?json=2#x", ("a", "b")),
     ("https://www.wikiart.org/en/a", ("a",)), ("https://en.wikipedia.org/en/a", ()), ("/ru/a", ()), ("", ()),
     (None, ()), ("http://[", ()), ("javascript:x", ())],
)  # fmt: skip
def test_a_link_is_read_by_its_path(href: object, expected: tuple[str, ...]) -> None:
    assert link_path(href) == expected
