"""What lies on the Hugging Face Hub, downloaded once and then local."""

import re
from pathlib import Path
from typing import Literal

from mkg_builder.errors import DataError, UpstreamError, UsageError

NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^@\s]+))?")
"""`ORG/NAME[@REVISION]`."""

WORDS = {"dataset": "data set", "model": "model"}


def download(
    repo_id: str, revision: str | None, kind: Literal["dataset", "model"], failure: type[DataError]
) -> tuple[Path, str]:
    """The local copy of a repository and the commit that the revision (branch, tag or commit; main) stands for.

    Raises:
        DataError: as `failure`: no such repository or revision, or no access to it.
        UpstreamError: the Hub does not answer and the revision is not in the local cache.
        UsageError: the name is malformed.
    """
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415 - slow, and not needed for a folder

    what = f"{repo_id}@{revision}" if revision else repo_id
    try:
        folder = Path(snapshot_download(repo_id, repo_type=kind, revision=revision))
    except errors.GatedRepoError:
        raise failure(f"{what} is gated: accept its terms on the Hub, then: hf auth login") from None
    except errors.RevisionNotFoundError:
        raise failure(f"{repo_id} has no revision {revision!r}; its tags are listed on its Hub page") from None
    except errors.RepositoryNotFoundError:
        raise failure(f"no {WORDS[kind]} {repo_id} on the Hub, or it is private: hf auth login") from None
    except errors.HFValidationError as error:
        raise UsageError(f"{what!r} is no Hub name ({str(error).splitlines()[0]})") from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        reason = str(error).strip().splitlines()[0]
        raise UpstreamError(
            f"{what} is no folder in {Path.cwd()}, and as a name of the Hub it is not in the cache and was not "
            f"downloaded ({reason}); correct the path, or go online and retry"
        ) from None
    return folder, folder.name
