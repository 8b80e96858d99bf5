"""The pages of the explorer: search, an entity with its facts and neighbours, and what a run says of a picture."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import python_multipart  # noqa: F401  # Starlette reads forms with it, and says so only when one is sent
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mkg_builder import schema
from mkg_builder.errors import MkgError, UnknownNameError, UsageError
from mkg_builder.explore.ask import Asker
from mkg_builder.explore.index import Index
from mkg_builder.page import content_policy, environment
from mkg_builder.picture import PictureError
from mkg_builder.picture_pool import PicturePool

HOST = "127.0.0.1"
SIDES = {"small": 220, "large": 900}
MAX_UPLOAD = 20 * 2**20
"""Bytes of a request; the largest photographs of a telephone have ten million."""
FARTHEST = 2**40
"""No list of facts goes on beyond it."""
SHOWN, PAGE, FOUND = 12, 100, 40
"""Facts of a relation on an entity's page, on a page of their own; entities that a search shows."""
HEADERS = {
    "content-security-policy": content_policy("'self' data:", "'self'") + "; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(eq=False)
class Explorer:
    """The answers behind the pages; one for each served release."""

    release: Path
    index: Index
    asker: Asker | None
    pool: PicturePool
    manifest: Mapping[str, Any] = field(init=False)
    types: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.manifest = schema.read_manifest(self.release)
        self.types = self.index.types()
        self.picture = lru_cache(maxsize=512)(self._picture)
        self._templates = environment()

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page from its template."""
        known = {"manifest": self.manifest, "types": self.types, "can_ask": self.asker is not None, "served": True}
        text = self._templates.get_template(f"explore_{template}.html").render(
            {"words": request.query_params.get("q", ""), "kind": request.query_params.get("type", ""),
             **known, **values}
        )  # fmt: skip
        return HTMLResponse(text, status)

    def home(self, request: Request) -> Response:
        """The release, its types and some of its pictures."""
        return self.page(request, "home", samples=self.index.pictured(SHOWN), relations=self.index.relations())

    def search(self, request: Request) -> Response:
        """Entities by their words, or those of a type."""
        words, kind = request.query_params.get("q", "")[:200], request.query_params.get("type", "")
        hits = self.index.search(words, kind, FOUND) if words.strip() else self.index.of_type(kind, FOUND)
        return self.page(request, "search", hits=hits, most=FOUND)

    def entity(self, request: Request) -> Response:
        """One entity: picture, facts, neighbours, sources."""
        name = request.query_params.get("id", "")
        return self.page(request, "entity", entity=self.index.entity(name), groups=self.index.groups(name, SHOWN))

    def facts(self, request: Request) -> Response:
        """All facts of an entity under one relation, a page at a time."""
        asked = request.query_params
        name, relation, outgoing = asked.get("id", ""), asked.get("relation", ""), asked.get("end") != "tail"
        said = asked.get("from", "0")
        start = min(int(said[:20]), FARTHEST) if said.isdecimal() else 0  # int() refuses thousands of digits
        rows = self.index.facts(name, relation, outgoing, PAGE + 1, start)
        following = start + PAGE if len(rows) > PAGE else None
        return self.page(request, "facts", entity=self.index.entity(name), relation=relation, outgoing=outgoing,
                         rows=rows[:PAGE], start=start, following=following)  # fmt: skip

    def show_picture(self, request: Request) -> Response:
        """A picture of the release, made smaller by the confined workers, without metadata."""
        side = SIDES.get(request.query_params.get("size", "small"), SIDES["small"])
        try:
            jpeg = self.picture(request.query_params.get("id", ""), side)
        except PictureError as error:
            raise HTTPException(404, f"this picture cannot be shown: {error}") from None
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def _picture(self, name: str, side: int) -> bytes:
        place = self.index.picture(name)
        if place is None or place["shard"] is None:
            raise PictureError("there is none")
        data = schema.read_picture(self.release, place["shard"], place["row_group"], name)
        if data is None:
            raise PictureError("there is none")
        return self.pool.ask(data, side)[1]

    async def ask(self, request: Request) -> Response:
        """The form for a picture, and, when one was sent, what the run says of it."""
        if self.asker is None:
            raise HTTPException(404, "no run was given; start again with: mkgb explore RELEASE --run RUN")
        if request.method == "GET":
            return self.page(request, "ask", found=None, jpeg=None)
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise HTTPException(403, "this form is only taken from its own page")
        async with request.form(max_files=1, max_fields=2) as form:
            upload = form.get("picture")
            data = await upload.read() if isinstance(upload, UploadFile) else b""
        if not data:
            raise HTTPException(400, "no picture was sent; choose a file first")
        jpeg, found = await run_in_threadpool(self._answer, self.asker, data)
        return await run_in_threadpool(self.page, request, "ask", found=found, jpeg=jpeg)

    def _answer(self, asker: Asker, data: bytes) -> tuple[bytes, Mapping[str, Any]]:
        try:
            jpeg = self.pool.ask(data, SIDES["large"])[1]
        except PictureError as error:
            raise HTTPException(400, f"this picture cannot be read: {error}") from None
        return jpeg, asker.ask(jpeg)

    def failed(self, request: Request, error: Exception) -> Response:
        """An error as a page."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        if isinstance(error, UnknownNameError):
            status = 404
        said = error.detail if isinstance(error, HTTPException) else str(error)
        return self.page(request, "error", status, said=said)


class Guard:
    """Puts our headers on every answer, and refuses a request larger than it may be before it is read."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        sent = dict(scope["headers"])
        length = sent.get(b"content-length", b"0")
        if b"transfer-encoding" in sent or not length.isdigit() or int(length) > MAX_UPLOAD:
            refusal = Response(f"at most {MAX_UPLOAD:,} bytes, and their number first", 413, media_type="text/plain")
            await refusal(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)


def make_app(explorer: Explorer) -> Starlette:
    """The web application; it answers only to this machine's own name."""
    routes = [
        Route("/", explorer.home),
        Route("/search", explorer.search),
        Route("/entity", explorer.entity),
        Route("/facts", explorer.facts),
        Route("/picture", explorer.show_picture),
        Route("/ask", explorer.ask, methods=["GET", "POST"]),
    ]
    guards = [Middleware(Guard), Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])]
    return Starlette(routes=routes, middleware=guards,
                     exception_handlers={HTTPException: explorer.failed, MkgError: explorer.failed})  # fmt: skip


@contextmanager
def serving(release: Path, index: Index, run: Path | None, port: int) -> Iterator[tuple[uvicorn.Server, socket.socket]]:
    """A server for a release, bound to this machine alone and ready to run with the socket given beside it.

    Args:
        release: its folder.
        index: of that release.
        run: the run that answers questions about pictures.
        port: of 127.0.0.1; 0 takes any that is free.

    Raises:
        UsageError: the port is taken, or the run is no folder.
    """
    if run is not None and not run.is_dir():
        raise UsageError(f"--run {run} is no folder; give one that vlkge train wrote")
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise UsageError(f"port {port} of {HOST} cannot be used ({error.strerror}); name another with --port") from None
    with listening, PicturePool() as pool:
        app = make_app(Explorer(release, index, Asker(run) if run else None, pool))
        yield uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, server_header=False)), listening


def address(listening: socket.socket) -> str:
    """What to type into a browser."""
    return f"http://{HOST}:{listening.getsockname()[1]}/"
