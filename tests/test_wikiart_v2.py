"""WikiArt's keyed API: sessions, quota, pages that lead nowhere, and what only it knows."""

import json
import random
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from mkg_builder.graph import Entity
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer
from mkg_builder.sources import wikiart_v2
from mkg_builder.sources.wikiart import WikiArt, WikiArtOptions
from mkg_builder.sources.wikiart_v2 import ACCESS_CODE, SECRET_CODE, StoppedError, list_path, read_part, search
from tests.site import Site, answer
from tests.wikiart_site import JSON, context, facts, literals, read_all, site

LOGIN = "/en/Api/2/login?accessCode=code-5c1f90ab&secretCode=code-77e0d3b2"
KEY = "authSessionKey=session-0001"
TOKEN = "iHUa6WAPF%2fzgSNu%2fzkfPRaS0MDRZMQk922gJj%2bOD2Jo%3d"
NEXT = f"/en/api/2/UpdatedArtists?paginationToken={TOKEN.replace('%2f', '%2F').replace('%2b', '%2B')[:-3]}%3D"
"""The token as it came, but for the client's large letters in percent-encoding, which mean the same."""
VINCENT, NOBODY, THIRD = "57726D82edc2cb3880b486a0", "57726d7fedc2cb3880b481f6", "57726d84edc2cb3880b48a5b"
QUOTA = answer(json.dumps({"Exception": {"Message": "Free API limit exceeded"}}).encode(), 500, **JSON)
EXPIRED = answer(json.dumps({"Exception": {"Message": "Session is expired or does not exist"}}).encode(), 401, **JSON)
WALL = answer(
    json.dumps(
        {"Exception": {"Message": "Year, Month, and Day parameters describe an un-representable Date"}}
    ).encode(),
    500,
    **JSON,
)


def page(*records: dict, token: str | None = None, more: bool = False) -> object:
    return answer(json.dumps({"data": records, "paginationToken": token, "hasMore": more}).encode(), **JSON)


def artist(number: str, slug: str, **fields: object) -> dict:
    return {"id": number, "artistName": slug, "url": slug, "relatedArtists": []} | fields


def keyed(**answers: object) -> Site:
    """The site with a login and, by default, a whole list of its two artists on two pages."""
    transport = site()
    more = {"gender": "male", "activeYearsStart": 1880, "series": [{"id": "x", "title": "Sunflowers"}]}
    vincent = artist(VINCENT, "vincent-van-gogh", relatedArtists=[NOBODY, "0" * 24], **more)
    transport.answers |= {
        LOGIN: answer(b'{"SessionKey": "session-0001"}', **JSON),
        f"/en/api/2/UpdatedArtists?{KEY}": page(vincent, token=TOKEN, more=True),
        f"{NEXT}&{KEY}": page(artist(NOBODY, "a-nobody"), token=TOKEN),
        **answers,
    }
    return transport


def asked(transport: Site, part: str) -> list[str]:
    return [path for path in transport.asked if part in path]


def fetch(folder: Path, transport: Site, **options: object) -> list[str]:
    """The failures of a fetch."""
    snapshot = Snapshot(folder)
    with snapshot.writing():
        fetching = context(snapshot, transport)
        WikiArt(WikiArtOptions.model_validate({"api": "artists", **options})).fetch(fetching)
    return fetching.failures


@pytest.fixture(autouse=True)
def codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCESS_CODE, "code-5c1f90ab")
    monkeypatch.setenv(SECRET_CODE, "code-77e0d3b2")


def test_related_artists_are_joined_by_slug_and_the_unknown_are_counted(tmp_path: Path) -> None:
    things, reading = read_all(tmp_path, keyed(), api="artists")
    assert facts(things, "isRelatedToArtist") == ["artist:a-nobody"]
    assert [literals(things, name) for name in ("gender", "activeYearsStart", "series")] == [
        ["male"], ["1880"], ["Sunflowers"]
    ]  # fmt: skip
    ids = {name for thing in things if isinstance(thing, Entity) for name in thing.same_as if "wikiart-id" in name}
    assert ids == {f"wikiart-id:{VINCENT.lower()}", f"wikiart-id:{NOBODY}"}
    assert reading.observations.notes == [
        "the API's list lacks 0 artists with works; a search found the ids of 0; unknown stay: 1 related artist"
    ]


def test_without_codes_nothing_is_asked_and_the_release_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET_CODE)
    transport = keyed()
    things, reading = read_all(tmp_path, transport, api="artists")
    assert asked(transport, "pi/2/") == facts(things, "isRelatedToArtist") == []
    assert len(reading.observations.notes) == 1
    assert SECRET_CODE in reading.observations.notes[0]


def test_a_token_goes_back_as_it_came(tmp_path: Path) -> None:
    transport = keyed()
    assert fetch(tmp_path, transport) == []
    assert asked(transport, "paginationToken=") == [f"{NEXT}&{KEY}"]


def test_no_secret_is_kept_or_told(tmp_path: Path) -> None:
    transport = keyed(**{f"{NEXT}&{KEY}": answer(b"", 403)})
    failures = fetch(tmp_path, transport)
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()).decode("latin-1")
    for secret in ("code-77e0d3b2", "authSessionKey", "session-0001"):
        assert secret not in held
        assert secret not in " ".join(failures)


def test_an_answer_that_repeats_the_session_is_not_kept_and_ends_the_apis_part(tmp_path: Path) -> None:
    body = json.dumps({"data": [artist(VINCENT, "vincent-van-gogh")], "self": f"/en/api/2/UpdatedArtists?{KEY}"})
    transport = keyed(**{f"/en/api/2/UpdatedArtists?{KEY}": answer(body.encode(), **JSON)})
    assert fetch(tmp_path, transport) == [
        "WikiArt's API: wikiart:/en/api/2/UpdatedArtists: the answer repeats a secret, so it is not kept"
    ]
    assert not any(b"session-0001" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_session_that_has_run_out_is_renewed_once(tmp_path: Path) -> None:
    second = f"{NEXT}&authSessionKey="
    logins = [answer(b'{"SessionKey": "session-0001"}', **JSON), answer(b'{"SessionKey": "session-0002"}', **JSON)]
    transport = keyed(
        **{LOGIN: logins, second + "session-0001": EXPIRED, second + "session-0002": page(artist(NOBODY, "a-nobody"))}
    )
    assert fetch(tmp_path, transport) == []
    assert len(asked(transport, "login")) == 2


def test_a_session_that_is_refused_at_once_ends_the_apis_part(tmp_path: Path) -> None:
    transport = keyed(**{f"/en/api/2/UpdatedArtists?{KEY}": EXPIRED})
    assert fetch(tmp_path, transport) == [
        "WikiArt's API: a session is refused as soon as it is given; run the same command again later"
    ]


def test_a_damaged_answer_is_asked_again_with_the_session_and_never_without(tmp_path: Path) -> None:
    first = "/en/api/2/UpdatedArtists"
    fetch(tmp_path, keyed())
    snapshot, transport = Snapshot(tmp_path), keyed(**{first: QUOTA})
    with snapshot.writing():
        path = snapshot.file(f"wikiart:{first}")
        assert path is not None
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        fetching = context(snapshot, transport)
        wikiart_v2.fetch_api(fetching, {"vincent-van-gogh": "Van Gogh"}, artworks=False)
        assert (fetching.failures, asked(transport, first)) == ([], [f"{first}?{KEY}"])
        again = snapshot.get(f"wikiart:{first}")
    assert again is not None
    assert again.ok


def test_a_fault_that_nobody_knows_is_told_and_asked_again_next_time(tmp_path: Path) -> None:
    transport = keyed(**{f"{NEXT}&{KEY}": answer(b'{"Exception": {"Message": "Out of order"}}', 500, **JSON)})
    assert fetch(tmp_path, transport) == ["WikiArt's API: /en/api/2/UpdatedArtists: HTTP 500 Out of order"]
    transport.answers[f"{NEXT}&{KEY}"] = page(artist(NOBODY, "a-nobody"))
    assert fetch(tmp_path, transport) == []


def test_refused_codes_are_named(tmp_path: Path) -> None:
    failures = fetch(tmp_path, keyed(**{LOGIN: EXPIRED}))
    assert failures == [f"WikiArt's API: the API refuses the login; check {ACCESS_CODE} and {SECRET_CODE}"]


def test_at_most_ten_sessions_within_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikiart_v2, "LOGINS_PER_HOUR", 1)
    transport = keyed(**{f"/en/api/2/UpdatedArtists?{KEY}": EXPIRED})
    assert fetch(tmp_path, transport) == [
        "WikiArt's API: 1 sessions within an hour, the most allowed; go on in an hour"
    ]


def test_the_quota_ends_the_apis_part_and_the_next_run_goes_on(tmp_path: Path) -> None:
    last = f"{NEXT}&{KEY}"
    transport = keyed()
    good, transport.answers[last] = transport.answers[last], QUOTA
    assert fetch(tmp_path, transport) == [
        "WikiArt's API: /en/api/2/UpdatedArtists: the hour's quota is spent; run the same command in an hour"
    ]
    assert len(asked(transport, "paginationToken")) == 1  # not asked again and again
    transport.answers[last] = good
    transport.asked.clear()
    assert fetch(tmp_path, transport) == []
    assert asked(transport, "UpdatedArtists") == [last]


def test_the_list_that_dies_is_made_up_for_by_searches(tmp_path: Path) -> None:
    term = f"/en/api/2/PaintingSearch?term=Vincent+van+Gogh&{KEY}"
    hits = [{"artistUrl": "marcel-duchamp", "artistId": THIRD}, {"artistUrl": "vincent-van-gogh", "artistId": VINCENT}]
    transport = keyed(**{f"/en/api/2/UpdatedArtists?{KEY}": page(artist(NOBODY, "a-nobody", relatedArtists=[VINCENT]),
                      token=TOKEN, more=True), f"{NEXT}&{KEY}": WALL,
                      term: page(*hits)})  # fmt: skip
    things, reading = read_all(tmp_path, transport, api="artists", artist_pages=True)
    assert facts(things, "isRelatedToArtist") == ["artist:vincent-van-gogh"]
    assert "lacks 1 artist with works; a search found the ids of 1;" in reading.observations.notes[-1]
    transport.asked.clear()
    assert fetch(tmp_path, transport) == []
    assert asked(transport, "pi/2/") == []  # the broken end is final: a second run asks nothing


def test_ten_thousand_hostile_names_are_asked_for_as_they_are() -> None:
    chance = random.Random(0)
    signs = ("&authSessionKey=x", "#", "?", "%", "%00", "=", "+", ";", "\r\nHost: x", "\0", " ", "é", "/../", '"', "a")
    names = ["".join(chance.choices(signs, k=chance.randint(1, 6))) for _ in range(10_000)]
    asked = [urlsplit(f"http://h{list_path('PaintingSearch', term=name)}") for name in names]
    assert [parse_qs(one.query, keep_blank_values=True) for one in asked] == [{"term": [name]} for name in names]
    assert {(one.netloc, one.path, one.fragment) for one in asked} == {("h", "/en/api/2/PaintingSearch", "")}


def test_a_search_without_slugs_is_matched_by_name_and_a_fruitless_one_is_final(tmp_path: Path) -> None:
    answers = {
        list_path("PaintingSearch", term="H. Daumier"): {"artistName": "h.  Daumier", "artistId": VINCENT},
        list_path("PaintingSearch", term="Other"): {"artistName": "Daumier", "artistId": THIRD},
        list_path("PaintingSearch", term="Henry Moore"): {"artistName": "Henry Moore", "artistUrl": "henry-moore-1",
                                                          "artistId": THIRD},
    }  # fmt: skip
    names = {"honore-daumier": "H. Daumier", "other": "Other", "henry-moore": "Henry Moore"}
    found = search(lambda path: Answer(path, 200, json.dumps({"data": [answers[path]]}).encode(), ""), names)
    assert found == {"honore-daumier": VINCENT.lower()}
    fruitless = answer(b'{"Exception": {"Message": "Object reference not set to an instance"}}', 500, **JSON)
    transport = keyed(**{f"/en/api/2/UpdatedArtists?{KEY}": page(),
                         f"/en/api/2/PaintingSearch?term=Vincent+van+Gogh&{KEY}": fruitless})  # fmt: skip
    assert fetch(tmp_path, transport) == []
    transport.asked.clear()
    assert fetch(tmp_path, transport) == []
    assert asked(transport, "pi/2/") == []


def test_a_list_that_leads_back_to_itself_ends_and_is_asked_again_next_time(tmp_path: Path) -> None:
    stuck = f"{NEXT}&{KEY}"
    transport = keyed(**{stuck: page(artist(NOBODY, "a-nobody"), token=TOKEN, more=True)})
    (failure,) = fetch(tmp_path, transport)
    assert "the same page for ever; the list may be incomplete: run the same command again later" in failure
    transport.answers[stuck] = page(artist(NOBODY, "a-nobody"))
    assert fetch(tmp_path, transport) == []
    assert asked(transport, "paginationToken") == [stuck, stuck]


def test_two_lists_may_give_the_same_token(tmp_path: Path) -> None:
    works, second = [{"id": f"{n:024x}", "url": f"w{n}"} for n in range(4)], NEXT.partition("?")[2]
    answers = {f"/en/api/2/UpdatedArtists?{KEY}": page(artist(VINCENT, "vincent-van-gogh"), artist(NOBODY, "a-nobody"))}
    for one, number in enumerate((VINCENT, NOBODY)):
        listing = f"/en/api/2/PaintingsByArtist?id={number}"
        answers |= {f"{listing}&{KEY}": page(works[one], token=TOKEN, more=True),
                    f"{listing}&{second}&{KEY}": page(works[2 + one])}  # fmt: skip
    transport = keyed(**answers)
    snapshot = Snapshot(tmp_path)
    with snapshot.writing():
        fetching = context(snapshot, transport)
        wikiart_v2.fetch_api(fetching, {"vincent-van-gogh": "Van Gogh", "a-nobody": "Nobody"}, artworks=True)
    assert fetching.failures == []
    assert len(asked(transport, "/Painting?")) == 4


def test_an_empty_page_that_promises_more_ends_the_list() -> None:
    body = json.dumps({"data": [], "paginationToken": TOKEN, "hasMore": True}).encode()
    with pytest.raises(StoppedError, match="an empty page that promises more"):
        read_part(Answer("k", 200, body, ""), set())


@pytest.mark.parametrize("token", [None, 5, "a b", "x&authSessionKey=y", "x\r\nHost: y", "", "x" * 501])
def test_a_token_that_is_none_ends_the_list(token: object) -> None:
    body = json.dumps({"data": [{}], "paginationToken": token, "hasMore": True}).encode()
    assert read_part(Answer("k", 200, body, ""), set()).token is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"data": 5}', b'{"data": [5, null]}'])
def test_an_answer_that_is_no_page_holds_nothing(body: bytes) -> None:
    assert read_part(Answer("k", 200, body, ""), set()).records == []


def test_the_api_gives_media_places_and_tags_as_lists(tmp_path: Path) -> None:
    short = {"id": THIRD, "url": "the-starry-night-1889"}
    full = short | {"media": ["oil", "canvas"], "galleries": ["Louvre, Paris, France"], "tags": ["Bath, Somerset", ""],
                    "styles": ["Cubism"], "genres": [""]}  # fmt: skip
    transport = keyed(**{
        f"/en/api/2/PaintingsByArtist?id={VINCENT}&{KEY}": page(short),
        f"/en/api/2/Painting?id={THIRD}&{KEY}": answer(json.dumps(full).encode(), **JSON),
    })  # fmt: skip
    things, _ = read_all(tmp_path, transport, api="artworks")
    assert facts(things, "isCreatedWithMedium") == ["medium:oil", "medium:canvas"]
    assert facts(things, "isLocatedIn") == ["gallery:louvre-paris-france"]
    assert facts(things, "isAssociatedWithTag") == ["tag:bath-somerset"]
    assert (facts(things, "hasStyle"), facts(things, "belongsToGenre")) == (["style:cubism"], ["genre:cloudscape"])
    work = next(t for t in things if isinstance(t, Entity) and t.type == "artwork")
    assert work.same_as == ("wikiart-content:207190", f"wikiart-id:{THIRD}")


def test_a_work_that_the_api_has_no_more_is_not_asked_again(tmp_path: Path) -> None:
    gone = f"/en/api/2/Painting?id={THIRD}&{KEY}"
    listed = page({"id": THIRD, "url": "the-starry-night-1889", "title": "x"})
    transport = keyed(**{f"/en/api/2/PaintingsByArtist?id={VINCENT}&{KEY}": listed,
                         gone: answer(b'{"message": "Painting not found", "status": 404}', 404, **JSON)})  # fmt: skip
    assert [fetch(tmp_path, transport, api="artworks") for _ in range(2)] == [[], []]
    assert asked(transport, gone) == [gone]


def test_a_field_of_the_api_that_nobody_reads_is_reported(tmp_path: Path) -> None:
    transport = keyed(**{f"/en/api/2/UpdatedArtists?{KEY}": page(artist(VINCENT, "vincent-van-gogh", surprise=1))})
    _, reading = read_all(tmp_path, transport, api="artists")
    assert reading.observations.leftovers == {"wikiart": {"surprise"}}
