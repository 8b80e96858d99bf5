"""WikiArt's documented API, v2, for whoever has a key: sessions, quota, pages, and what only it knows.

It counts by 24-hexadecimal ids; the slugs join them to the rest. Its list of artists breaks off after about 5,100 of
them; the ids of the others are found by searching for their works.
"""

import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from mkg_builder.errors import UpstreamError
from mkg_builder.source import Answer, Request, SourceContext
from mkg_builder.sources.wikiart_requests import Record, clean_slug, document, hex_id
from mkg_builder.sources.wikiart_statements import tidy
from mkg_builder.strict import parse_json

ACCESS_CODE, SECRET_CODE = "WIKIART_ACCESS_CODE", "WIKIART_SECRET_CODE"
LOGINS_PER_HOUR = 10
_QUOTA = b"API limit exceeded"
_FAULT = '"Exception"'
_BROKEN_END = b"un-representable Date"

_TOKEN = re.compile(r"[A-Za-z0-9%._~+/=-]{1,500}")


class StoppedError(Exception):
    """The API gives no more in this run; the text says why and when to go on."""


@dataclass(frozen=True)
class Part:
    """One page of a list: its records, and the token of the next; None at the end."""

    records: list[Record]
    token: str | None


Get = Callable[[str], Answer]


def list_path(method: str, token: str | None = None, **parameters: str) -> str:
    """The path of a list; its token goes in as it came, percent-encoded already: encoded twice it is HTTP 500."""
    query = "&".join(
        [urllib.parse.urlencode(parameters)] * bool(parameters) + [f"paginationToken={token}"] * bool(token)
    )
    return f"/en/api/2/{method}" + (f"?{query}" if query else "")


def _list_of(path: str) -> str:
    """The list that a page's path belongs to: another list may well give the same tokens."""
    return re.split(r"[?&]paginationToken=", path)[0]


def read_part(answer: Answer, seen: set[str]) -> Part:
    """One page of a list; an answer that is no page counts as the end.

    Raises:
        StoppedError: a token that came before, or an empty page that promises more: following it would never end.
    """
    try:
        data = parse_json(answer.body) if answer.ok else None
    except ValueError:
        data = None
    if not isinstance(data, dict) or not isinstance(data.get("data"), list):
        return Part([], None)
    records = [record for record in data["data"] if isinstance(record, dict)]
    token = data.get("paginationToken")
    if data.get("hasMore") is not True or not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return Part(records, None)
    if token in seen or not records:
        what = "the same page for ever" if records else "an empty page that promises more"
        raise StoppedError(f"{answer.key}: {what}; the list may be incomplete: run the same command again later")
    return Part(records, token)


def records(get: Get, method: str, **parameters: str) -> Iterator[Record]:
    """Every record of a list, page by page."""
    seen: set[str] = set()
    token: str | None = None
    while True:
        part = read_part(get(list_path(method, token, **parameters)), seen)
        yield from part.records
        token = part.token
        if token is None:
            return
        seen.add(token)


def kept(context: SourceContext) -> Get:
    """The answers that the snapshot has."""
    return lambda path: context.get(_request(context, path))


def _request(context: SourceContext, path: str) -> Request:
    url = context.endpoint("wikiart") + path
    return Request(f"wikiart:{path}", url, accept="application/json", final=_FAULT, optional=True)


class Session:
    """A login to the API, renewed when it has run out; keeps good answers and answers that will never change."""

    def __init__(self, context: SourceContext, access_code: str, secret_code: str) -> None:
        self._context = context
        self._codes = {"accessCode": access_code, "secretCode": secret_code}
        self._key: str | None = None
        self._logins: list[float] = []
        self._tokens: dict[str, set[str]] = {}

    def get(self, path: str) -> Answer:
        """The answer to one question.

        Raises:
            StoppedError: the quota is spent, the codes are refused, the network does not answer, or the answer must
                not be kept.
        """
        request = _request(self._context, path)
        if self._context.file(request.key) is not None:  # whole: `get` would ask for a damaged one, without the session
            answer = self._context.get(request)
            self._remember(path, read_part(answer, set()))
            return answer
        answer = self._ask(path)
        if answer.status == 401:
            self._key = None  # a session lasts an hour
            answer = self._ask(path)
        if _QUOTA in answer.body and not answer.ok:
            raise StoppedError(f"{path.partition('?')[0]}: the hour's quota is spent; run the same command in an hour")
        if answer.status == 401:
            raise StoppedError("a session is refused as soon as it is given; run the same command again later")
        if not answer.ok and not _is_final(path, answer):
            raise StoppedError(f"{path.partition('?')[0]}: HTTP {answer.status} {_message(answer)}")
        seen = self._tokens.get(_list_of(path), set())
        self._remember(path, read_part(answer, seen))  # a page that leads back is not kept
        try:
            self._context.put(request.key, answer.body, answer.media_type, answer.status)
        except UpstreamError as fault:
            raise StoppedError(str(fault)) from None
        return answer

    def _remember(self, path: str, part: Part) -> None:
        if part.token is not None:
            self._tokens.setdefault(_list_of(path), set()).add(part.token)

    def _ask(self, path: str) -> Answer:
        if self._key is None:
            self._key = self._login()
        answer = self._unkept(path, {"authSessionKey": self._key})
        if answer.status == 0:
            raise StoppedError(f"{path.partition('?')[0]}: no answer; run the same command again later")
        return answer

    def _unkept(self, path: str, secrets: Mapping[str, str]) -> Answer:
        request = _request(self._context, path)
        return replace(self._context.get(replace(request, key="", secrets=secrets)), key=request.key)

    def _login(self) -> str:
        now = time.monotonic()
        self._logins = [then for then in self._logins if now - then < 3600]
        if len(self._logins) >= LOGINS_PER_HOUR:
            raise StoppedError(f"{LOGINS_PER_HOUR} sessions within an hour, the most allowed; go on in an hour")
        self._logins.append(now)
        answer = self._unkept("/en/Api/2/login", self._codes)
        data = document(self._context, answer)
        key = data.get("SessionKey") if isinstance(data, dict) else None
        if isinstance(key, str) and key:
            return key
        if answer.status in (400, 401):
            raise StoppedError(f"the API refuses the login; check {ACCESS_CODE} and {SECRET_CODE}")
        raise StoppedError(f"the API gives no session: HTTP {answer.status} {_message(answer)}; go on in an hour")


def _is_final(path: str, answer: Answer) -> bool:
    """Whether a failing answer will never change: the list's broken end, a search that finds nothing, a work gone."""
    found_nothing = answer.status == 500 and "/PaintingSearch?" in path
    return found_nothing or _BROKEN_END in answer.body or (answer.status == 404 and "/Painting?" in path)


def _message(answer: Answer) -> str:
    found = re.search(rb'"Message"\s*:\s*"([^"]{1,120})', answer.body)
    return found[1].decode("utf-8", "replace") if found else ""


def fetch_api(context: SourceContext, wanted: Mapping[str, str], artworks: bool) -> None:
    """Ask the API for all artists, for the ids of those it does not list, and for every work where that is wanted.

    Without the two codes in the environment nothing is asked.

    Args:
        context: where to ask, and what keeps the answers.
        wanted: slug -> name of the artists that have works.
        artworks: whether each work's record is asked, too.
    """
    codes = os.environ.get(ACCESS_CODE, ""), os.environ.get(SECRET_CODE, "")
    if not all(codes):
        return
    session = Session(context, *codes)
    try:
        found = artists_by_slug(records(session.get, "UpdatedArtists"))
        numbers = {name: str(record["id"]) for name, record in found.items()}
        numbers |= search(session.get, {name: label for name, label in wanted.items() if name not in found})
        for name in wanted if artworks else ():
            for short in records(session.get, "PaintingsByArtist", id=numbers[name]) if name in numbers else ():
                if number := hex_id(short.get("id")):
                    session.get(list_path("Painting", id=number))
    except StoppedError as stop:
        context.fail(f"WikiArt's API: {stop}")


def read_artists(context: SourceContext) -> dict[str, Record]:
    """The artists that the kept answers list, by slug."""
    return artists_by_slug(_patiently(context, "UpdatedArtists"))


def read_works(context: SourceContext, artist_id: str) -> dict[str, Record]:
    """An artist's works in the API by slug, each as full as the kept answers have it."""
    found: dict[str, Record] = {}
    for short in _patiently(context, "PaintingsByArtist", id=artist_id):
        number, name = hex_id(short.get("id")), clean_slug(short.get("url"))
        if number and name:
            full = document(context, kept(context)(list_path("Painting", id=number)))
            found[name] = full if isinstance(full, dict) else short
    return found


def _patiently(context: SourceContext, method: str, **parameters: str) -> Iterator[Record]:
    try:
        yield from records(kept(context), method, **parameters)
    except StoppedError as stop:
        context.note(str(stop))


def artists_by_slug(found: Iterable[Record]) -> dict[str, Record]:
    """Records that have both a slug and an id, without their long prose."""
    named = ((clean_slug(record.get("url")), record) for record in found if hex_id(record.get("id")))
    return {name: record | {"biography": None} for name, record in named if name is not None}


def search(get: Get, missing: Mapping[str, str]) -> dict[str, str]:
    """The ids of artists that no list holds, slug -> id: a search for the name finds a work, which names its artist."""
    numbers: dict[str, str] = {}
    for name, label in missing.items():
        answer = get(list_path("PaintingSearch", term=label))
        try:
            hits = read_part(answer, set()).records
        except StoppedError:
            hits = []
        for hit in hits:
            number = hex_id(hit.get("artistId"))
            if number and _is_by(hit, name, label):
                numbers.setdefault(name, number)
    return numbers


def _is_by(hit: Record, name: str, label: str) -> bool:
    """Whether a found work is the artist's: by slug, or by name where the answer has no slug."""
    given = clean_slug(hit.get("artistUrl"))
    spoken = hit.get("artistName")
    return given == name if given else isinstance(spoken, str) and tidy(spoken).casefold() == label.casefold()


def related_artists(record: Record, names: Mapping[str, str]) -> tuple[list[str], int]:
    """The slugs of the artists that a record calls related, and how many of them nothing is known of."""
    listed = record.get("relatedArtists")
    numbers = [hex_id(number) for number in listed] if isinstance(listed, list) else []
    found = [names[number] for number in numbers if number and number in names]
    return found, len([number for number in numbers if number]) - len(found)
