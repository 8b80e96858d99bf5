"""A site made of a dictionary: a transport that answers the client from memory, and keeps count."""

import io
from collections.abc import Callable
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

Answers = dict[str, Any]


def answer(body: bytes = b"", status: int = 200, **headers: str) -> Callable[[], tuple[int, dict[str, str], bytes]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: (status, named, body)


class Site(BaseAdapter):
    """Answers by path and query; a list of answers is given one by one, the last one for ever."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers, self.asked, self.headers = answers, [], []

    def send(self, request: PreparedRequest, **_: Any) -> Response:
        path = request.path_url
        self.asked.append(path)
        self.headers.append(dict(request.headers))
        found = self.answers.get(path, answer(b"not here", 404))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(found, Exception):
            raise found
        status, headers, body = found()
        response = Response()
        response.status_code, response.url, response.request = status, str(request.url), request
        response.headers = CaseInsensitiveDict(headers)
        framed = {"Content-Length": str(len(body)), **headers}
        response.raw = HTTPResponse(io.BytesIO(body), headers=framed, preload_content=False)
        return response

    def close(self) -> None:
        pass
