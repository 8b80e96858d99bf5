"""A Hub on this machine: data sets and models over real HTTP, kept in memory, strict where the real one is.

It answers what huggingface_hub asks (commits with their parent checked, git LFS with its sums verified, refs,
trees, gates), and it can be told to fail: `before` and `after` are called around each request.
"""

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = Path(__file__).parent.parent
SERVER = ROOT.parent / "shared" / "hub" / "serve.py"
TOKEN = "api_canary-CANARY-canary"  # not of the form that a pattern would find


def environment(url: str) -> dict[str, str]:
    """What makes a process of its own talk to the Hub at this address."""
    return {
        "HF_ENDPOINT": url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip


class Refused(Exception):
    """An answer that is an error: status, message, the Hub's code for it, and what else its JSON holds."""

    def __init__(self, status: int, message: str, code: str = "", **more: str) -> None:
        super().__init__(message)
        self.status, self.code, self.body = status, code, {"error": message, **more}


@dataclass
class Repository:
    """Commits (tree and parent), branches and tags of one data set or model."""

    gated: Any = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, tree: dict[str, bytes]) -> str:
        named = {path: hashlib.sha1(body).hexdigest() for path, body in tree.items()}
        sha = hashlib.sha1(json.dumps([len(self.commits), branch, sorted(named.items())]).encode()).hexdigest()
        self.commits[sha], self.branches[branch] = tree, sha
        return sha

    def find(self, revision: str) -> str:
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.branches.get(name) or self.tags.get(name) or name
        if sha not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha

    @property
    def main(self) -> dict[str, bytes]:
        return self.commits[self.branches["main"]]


def is_lfs(path: str) -> bool:
    return path.endswith((".parquet", ".safetensors", ".bin"))


def entry(path: str, body: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "file", "path": path, "size": len(body)}
    told["oid"] = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    if is_lfs(path):
        told["lfs"] = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
    return told


class Hub:
    """The server's state, and what a test may set or look at."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}  # "datasets/org/name"
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.agents: list[str] = []
        self.readers: set[str] = set()  # tokens for whom gates open, besides the owner's
        self.before: Callable[[str], None] = lambda line: None
        self.after: Callable[[str], None] = lambda line: None
        self.lock = threading.RLock()
        self.url = ""

    def __getitem__(self, name: str) -> Repository:
        """A data set by its name."""
        return self.repositories[f"datasets/{name}"]

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process of its own talk to this Hub."""
        return environment(self.url)

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = f"{asked.get('type', 'model')}s/{asked.get('organization') or 'tester'}/{asked['name']}"
        told = {"url": f"{self.url}/{name.removeprefix('models/')}", "name": name, "id": name.partition("/")[2]}
        if name in self.repositories:
            raise Refused(409, "You already created this repo", url=told["url"])
        self.repositories[name] = Repository()
        self.repositories[name].commit("main", {".gitattributes": b"*.parquet filter=lfs\n"})
        return told

    def batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        told = [{"oid": wanted["oid"], "size": wanted["size"]} for wanted in asked["objects"]]
        for one in told:
            if one["oid"] not in self.objects:
                one["actions"] = {"upload": {"href": f"{self.url}/objects/{one['oid']}", "header": {}}}
        return {"transfer": "basic", "objects": told}

    def commit(self, repository: Repository, branch: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        parent = lines[0]["value"].get("parentCommit")
        if parent is not None and parent != repository.branches[branch]:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        tree = dict(repository.commits[repository.branches[branch]])
        for line in lines[1:]:
            kind, value = line["key"], line["value"]
            if kind == "deletedFile":
                del tree[value["path"]]
            elif kind == "lfsFile":
                tree[value["path"]] = self.objects[value["oid"]]
            elif kind == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            else:
                raise Refused(400, f"unknown operation {kind}")
        sha = repository.commit(branch, tree)
        return {
            "success": True,
            "commitOid": sha,
            "commitUrl": f"{self.url}/datasets/org/name/commit/{sha}",
            "hookOutput": "",
        }


def listing(tree: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, Any]]:
    """The files and folders below a folder, or right in it."""
    top = PurePosixPath(folder)
    inside = [PurePosixPath(path) for path in sorted(tree) if top in PurePosixPath(path).parents]
    if folder and not inside:
        raise Refused(404, f"{folder} not found", "EntryNotFound")
    folders = sorted({str(up) for path in inside for up in path.parents if top in up.parents})
    told = [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in folders]
    told += [entry(str(path), tree[str(path)]) for path in inside]
    return [one for one in told if recursive or PurePosixPath(one["path"]).parent == top]


def git_command(  # noqa: C901
    hub: Hub, repository: Repository, method: str, command: str, query: str, body: bytes
) -> Any:
    """What is asked below /api/datasets/org/name/."""
    verb, _, rest = command.partition("/")
    asked = json.loads(body) if body.startswith(b"{") and verb != "commit" else parse_qs(body.decode("latin-1"))
    if verb == "refs":
        kinds = {"branches": ("heads", repository.branches), "tags": ("tags", repository.tags)}
        return {"converts": []} | {
            kind: [{"name": n, "ref": f"refs/{place}/{n}", "targetCommit": sha} for n, sha in named.items()]
            for kind, (place, named) in kinds.items()
        }
    if verb == "settings" and method == "PUT":
        repository.gated = asked["gated"]
    elif verb == "tag" and method == "POST":
        if asked["tag"] in repository.tags:
            raise Refused(409, "Tag reference exists already")
        repository.tags[asked["tag"]] = repository.find(rest)
    elif verb == "branch" and method == "POST":
        if rest in repository.branches:
            raise Refused(409, "Reference already exists")
        repository.branches[rest] = repository.find(asked.get("startingPoint", "main"))
    elif verb == "branch" and method == "DELETE":
        del repository.branches[rest]
    elif verb == "preupload":
        repository.find(rest)
        modes = [(wanted["path"], "lfs" if is_lfs(wanted["path"]) else "regular") for wanted in asked["files"]]
        return {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]}
    elif verb == "commit":
        return hub.commit(repository, rest, [json.loads(line) for line in body.splitlines() if line.strip()])
    elif verb == "tree":
        revision, _, folder = rest.partition("/")
        return listing(repository.commits[repository.find(revision)], folder, "recursive=true" in query.lower())
    elif verb == "paths-info":
        tree = repository.commits[repository.find(rest)]
        return [entry(path, tree[path]) for path in asked["paths"] if path in tree]
    elif verb in ("", "revision"):
        sha = repository.find(rest or "main")
        files = [{"rfilename": path} for path in repository.commits[sha]]
        return {"id": "org/name", "sha": sha, "gated": repository.gated, "private": False, "siblings": files,
                "tags": [], "downloads": 0, "likes": 0, "disabled": False}  # fmt: skip
    else:
        raise Refused(404, f"no route {command}")
    return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: in two, each waits 40 ms for the other side's acknowledgement
    hub: Hub

    def log_message(self, *told: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.read_body()
        line = f"{self.command} {unquote(self.path)}"
        if "agent-harnesses" in line:  # asked now and then, of no interest
            self.send_error(404)
            return
        with self.hub.lock:
            self.hub.requests.append(line)
            self.hub.agents.append(self.headers.get("User-Agent", ""))
            try:
                self.hub.before(line)
                status, headers, answer = self.route(unquote(urlsplit(self.path).path), body)
            except Refused as no:
                status, answer = no.status, json.dumps(no.body).encode()
                headers = {"X-Error-Code": no.code, "X-Error-Message": str(no), "Content-Length": str(len(answer))}
            except ConnectionError:  # a test wants the line to break
                self.close_connection = True
                return
            self.hub.after(line)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else answer)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def route(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if found := re.fullmatch(r"/objects/(\w+)", path):
            if hashlib.sha256(body).hexdigest() != found[1]:
                raise Refused(400, "the object's sha256 is another")
            self.hub.objects[found[1]] = body
            return self.told({})
        if found := re.fullmatch(r"/(?:(datasets|models)/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path):
            repository = self.find(found[1] or "models", found[2])
            if repository.gated and token not in {TOKEN, *self.hub.readers}:
                raise Refused(403, "Access to this data set is restricted", "GatedRepo")
            return self.file(repository, found[3], found[4])
        if self.command not in ("GET", "HEAD") and token != TOKEN:
            raise Refused(403, "This token has no write access") if token else Refused(401, "Invalid credentials")
        if path == "/api/repos/create":
            return self.told(self.hub.create(json.loads(body)))
        if path == "/api/validate-yaml":
            return self.told({"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            return self.told(self.hub.batch(json.loads(body)))
        if found := re.fullmatch(r"/api/(datasets|models)/([\w.-]+/[\w.-]+)(?:/(.*))?", path):
            repository = self.find(found[1], found[2])
            return self.told(
                git_command(self.hub, repository, self.command, found[3] or "", urlsplit(self.path).query, body)
            )
        raise Refused(404, f"no route {path}")

    def find(self, kind: str, name: str) -> Repository:
        if f"{kind}/{name}" not in self.hub.repositories:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return self.hub.repositories[f"{kind}/{name}"]

    def told(self, answer: Any) -> tuple[int, dict[str, str], bytes]:
        body = json.dumps(answer).encode()
        return 200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body

    def file(self, repository: Repository, revision: str, path: str) -> tuple[int, dict[str, str], bytes]:
        sha = repository.find(revision)
        if path not in repository.commits[sha]:
            raise Refused(404, "Entry not found", "EntryNotFound")
        body = repository.commits[sha][path]
        about = entry(path, body)
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes", "ETag": f'"{about.get("lfs", about)["oid"]}"'}
        part, status = body, 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or len(body) - 1), len(body) - 1)
            part, status = body[first : last + 1], 206
            headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        return status, headers | {"Content-Length": str(len(part))}, part


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed does not read its answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def local_hub() -> Iterator[Hub]:
    """A Hub that holds nothing yet, in a thread of this process."""
    hub = Hub()
    server = Server(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def shared_hub() -> Iterator[str]:
    """The address of the stand-in Hub of ../shared, empty."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SERVER), str(port)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def run_python(script: str, environment: dict[str, str]) -> str:
    """What a script prints, run in a process of its own: huggingface_hub reads its environment at import."""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **environment},
        cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout
