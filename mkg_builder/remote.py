"""What both commands need of the Hub: its errors as one line, the tree of a commit, whether a file there is ours."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, errors, get_token
from huggingface_hub.hf_api import RepoFile

from mkg_builder.errors import UpstreamError

KEPT = ".gitattributes"
"""The Hub's own file, which nobody lists and no publication touches."""
_QUERY = re.compile(r"\?[^\s'\"<>)]+")
"""What stands behind an address: it may be a signature that lets anybody upload."""
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}")
_FAILURES: tuple[type[Exception], ...] = (errors.HfHubHTTPError.__bases__[0], OSError, RuntimeError, ValueError)
"""What the Hub's client raises; the first is the HTTP library's base, whichever library it is."""

Tree = Mapping[str, RepoFile]


@contextmanager
def telling(repo: str, api: HfApi) -> Iterator[None]:
    """Whatever the Hub's client raises, as one line that says what to do.

    Raises:
        UpstreamError: in place of it.
    """
    try:
        yield
    except _FAILURES as error:
        raise UpstreamError(f"{repo}: {_explain(error, api)}") from None


def read_tree(api: HfApi, where: Mapping[str, Any], commit: str) -> Tree:
    """Every file of a commit, by its path.

    Raises:
        UpstreamError: the Hub does not tell.
    """
    with telling(where["repo_id"], api):
        listed = api.list_repo_tree(**where, recursive=True, revision=commit)
        return {entry.path: entry for entry in listed if isinstance(entry, RepoFile)}


def is_same(path: Path, sha256: str, there: RepoFile | None) -> bool:
    """Whether the Hub holds this very file; for small files it tells only git's hash."""
    if there is None or there.size != path.stat().st_size:
        return False
    if there.lfs is not None:
        return bool(there.lfs.sha256 == sha256)
    body = path.read_bytes()  # small: the Hub keeps what is large elsewhere
    oid = hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
    return bool(there.blob_id == oid)


def _explain(error: BaseException, api: HfApi) -> str:
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__  # an upload's thread wraps what happened
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "the Hub is not asked while HF_HUB_OFFLINE is set; unset it"
    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    lines = (getattr(error, "server_message", None) or str(error)).split("\n")
    said = next((line.strip() for line in lines if line.strip()), type(error).__name__)
    for secret in filter(None, (api.token, get_token())):
        said = said.replace(str(secret), "hf_...")
    said = _QUERY.sub("?...", _TOKEN.sub("hf_...", said))
    if status in (401, 403, 404):
        return f"the Hub refuses ({status}: {said}); log in with a token that may write there: hf auth login"
    if status in (409, 412):
        return f"somebody else changed it meanwhile ({status}: {said}); nothing is mixed: run the same command again"
    went = "the Hub did not do it" if status else f"the Hub at {api.endpoint} does not answer"
    return f"{went} ({said}); what was uploaded before, if anything, is kept: run the same command again"
