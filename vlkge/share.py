"""An exported run on the Hugging Face Hub: one commit that is verified file by file; dry run unless told otherwise."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors

from mkg_builder.durable import file_sha256
from mkg_builder.errors import UpstreamError
from mkg_builder.remote import KEPT, Tree, is_same, read_tree, telling
from vlkge.errors import RunError
from vlkge.export import NUMBERS
from vlkge.run import RECORD


@dataclass(frozen=True)
class Shared:
    """What a model repository would get, or got.

    Attributes:
        repo: its name.
        new: files that it does not hold yet.
        new_bytes: their size together.
        removed: files that it would lose.
        commit: what holds all of it now; None after a dry run.
    """

    repo: str
    new: tuple[str, ...]
    new_bytes: int
    removed: tuple[str, ...]
    commit: str | None = None


def share(folder: Path, repo: str, execute: bool = False) -> Shared:
    """Bring a model repository to what an exported run's folder holds.

    Args:
        folder: what `export_run` wrote.
        repo: `ORG/NAME`.
        execute: do it; else only say what would be done.

    Raises:
        RunError: the repository holds something else than an exported run.
        UpstreamError: the Hub refuses or does not answer, or holds something else afterwards.
    """
    api = HfApi()
    where: dict[str, Any] = {"repo_id": repo, "repo_type": "model"}
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    with telling(repo, api):
        try:
            head = api.model_info(repo).sha
        except errors.RepositoryNotFoundError:
            head = None
    tree = read_tree(api, where, head) if head else {}
    if set(tree) - {KEPT, "README.md"} and not {RECORD, NUMBERS} <= set(tree):
        raise RunError(f"{repo} holds no exported run ({sorted(set(tree))[0]}); give a repository of its own")
    new, removed = _differing(files, tree)
    size = sum(files[name].stat().st_size for name in new)
    if not execute or not (new or removed):
        return Shared(repo, tuple(new), size, tuple(removed), head if execute else None)
    operations: list[Any] = [
        *(CommitOperationAdd(n, str(files[n])) for n in new),
        *(CommitOperationDelete(n) for n in removed),
    ]
    with telling(repo, api), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")  # embeddings, yes
        api.create_repo(**where, exist_ok=True)
        made = api.create_commit(**where, operations=operations, commit_message=folder.name, parent_commit=head)
    wrong = [name for part in _differing(files, read_tree(api, where, made.oid)) for name in part]
    if wrong:
        raise UpstreamError(f"{repo}: {wrong[0]} is not what was sent; run the same command again")
    return Shared(repo, tuple(new), size, tuple(removed), str(made.oid))


def _differing(files: dict[str, Path], tree: Tree) -> tuple[Sequence[str], Sequence[str]]:
    """The files that a tree lacks or has otherwise, and those that it should not have."""
    new = [name for name, path in files.items() if not is_same(path, file_sha256(path), tree.get(name))]
    return new, sorted(set(tree) - set(files) - {KEPT})
