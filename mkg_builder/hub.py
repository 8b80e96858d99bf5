"""A data set on the Hub, brought to what a folder holds: a staging branch, its verification, one merge, a tag."""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, errors

from mkg_builder import schema
from mkg_builder.durable import file_sha256
from mkg_builder.errors import DataError, UpstreamError
from mkg_builder.remote import KEPT, Tree, is_same, read_tree, telling
from mkg_builder.wording import counted

Tell = Callable[[str], None]


class PublishError(DataError):
    """A release that must not be published, or a place that holds something else."""


@dataclass(frozen=True)
class Outcome:
    """What one data set on the Hub would get, or got.

    Attributes:
        files, bytes: the whole release; of which `new_files` and `new_bytes` are not on main.
        removed: what main holds now and the release does not.
        holds: the version that main held before.
        commit: what the tag names; None as long as there is no tag.
        left: a staging branch that the Hub would not delete.
    """

    repo: str
    tag: str
    state: Literal["to publish", "to gate", "published", "gated", "already published"]
    gated: bool
    pictures: bool
    files: int
    bytes: int
    new_files: int
    new_bytes: int
    removed: tuple[str, ...]
    holds: str | None
    commit: str | None = None
    left: str | None = None


@dataclass(frozen=True)
class Cargo:
    """What one data set is to hold, file by file; nothing else is ever sent."""

    repo: str
    folder: Path
    manifest: Mapping[str, Any]
    gated: bool
    pictures: bool

    @property
    def tag(self) -> str:
        """The tag that names this version."""
        return f"v{self.manifest['version']}"

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Size and sha256 of each file: the manifest's, and the manifest."""
        path = self.folder / schema.MANIFEST
        own = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        return {**self.manifest["files"], schema.MANIFEST: own}

    def compare(self, tree: Tree) -> tuple[list[str], list[str]]:
        """The files that a tree lacks or has otherwise, and those that it should not have."""
        wrong = [
            name for name, entry in sorted(self.files.items())
            if not is_same(self.folder / name, entry["sha256"], tree.get(name))
        ]  # fmt: skip
        return wrong, sorted(set(tree) - set(self.files) - {KEPT})


@dataclass(frozen=True)
class State:
    """What a data set on the Hub holds at one moment: its refs, main's tree and the release that it is."""

    gated: bool
    branches: Mapping[str, str]
    tags: Mapping[str, str]
    tree: Tree
    holds: tuple[str, str] | None


class Target:
    """One data set on the Hub, and what it is to hold."""

    def __init__(self, api: HfApi, cargo: Cargo, tell: Tell | None = None) -> None:
        self.api, self.cargo, self.repo = api, cargo, cargo.repo
        self.tell = tell or (lambda _: None)
        self.where: dict[str, Any] = {"repo_id": cargo.repo, "repo_type": "dataset"}
        self.staging = f"staging/{cargo.tag}"

    def plan(self) -> Outcome:
        """What publishing would do; refuses what it must not do."""
        state, cargo = self._state(), self.cargo
        wrong, extra = cargo.compare(state.tree if state else {})
        sizes = {name: entry["bytes"] for name, entry in cargo.files.items()}
        plan = Outcome(
            self.repo, cargo.tag, "to publish", cargo.gated, cargo.pictures, len(sizes), sum(sizes.values()),
            len(wrong), sum(sizes[name] for name in wrong), tuple(extra),
            state.holds[1] if state and state.holds else None,
        )  # fmt: skip
        if state is None:
            return plan
        if cargo.tag in state.tags:
            wrong, extra = cargo.compare(self._tree(state.tags[cargo.tag]))
            if wrong or extra:
                raise PublishError(
                    f"{self.repo} has {cargo.tag} already, and its {[*wrong, *extra][0]} is another; a published "
                    "version never changes: raise `version` in the recipe and build again"
                )
            open_to_all = cargo.gated and not state.gated
            return replace(plan, state="to gate" if open_to_all else "already published", commit=state.tags[cargo.tag])
        self._require_ours(state)
        return plan

    def carry_out(self, plan: Outcome) -> Outcome:
        """Do it, beginning with whatever an earlier call has not done."""
        if plan.commit is None:
            staged = self._stage(self._open())
            commit = self._merge(staged)
            with self._telling():
                self.api.create_tag(**self.where, tag=self.cargo.tag, revision=commit)
            plan = replace(plan, state="published", commit=commit)
        elif plan.state == "to gate":
            self._open()
            plan = replace(plan, state="gated")
        return replace(plan, left=self._clear())

    def _open(self) -> State:
        """The data set, made where there is none, and gated before anything lies in it where it must be."""
        state = self._state()
        ready = state is not None and (state.gated or not self.cargo.gated)
        with self._telling():
            if state is None:
                self.api.create_repo(**self.where, exist_ok=True)
            if not ready and self.cargo.gated:
                self.api.update_repo_settings(**self.where, gated="auto")
        state = state if ready else self._state()
        if state is None or (self.cargo.gated and not state.gated):
            raise UpstreamError(f"{self.repo} is not the gated data set it must be; make it one on its page, run again")
        return state

    def _stage(self, state: State) -> str:
        """The commit of the staging branch that holds the release, verified against the manifest."""
        if self.staging not in state.branches:
            with self._telling():
                self.api.create_branch(**self.where, branch=self.staging, revision=state.branches["main"])
        head = state.branches.get(self.staging, state.branches["main"])
        wrong, extra = self.cargo.compare(self._tree(head))
        if wrong or extra:
            self.tell(f"{self.repo}: uploading {counted(len(wrong), 'file')} to {self.staging}")
            additions = [CommitOperationAdd(name, str(self.cargo.folder / name)) for name in wrong]
            head = self._commit([*additions, *map(CommitOperationDelete, extra)], self.staging, head)
        self.tell(f"{self.repo}: {self.staging} is verified against the manifest")
        return head

    def _merge(self, staged: str) -> str:
        """The commit to tag: main, brought to what was staged by one commit, which sends no file again."""
        state = self._state()  # the upload may have taken hours
        if state is None:
            raise UpstreamError(f"{self.repo} was removed during the upload; run the same command again")
        self._require_ours(state)
        if state.holds and _order(state.holds[1]) > _order(self.cargo.manifest["version"]):
            self.tell(f"{self.repo}: main keeps {state.holds[1]}, which is newer")
            return staged
        head = state.branches["main"]
        wrong, extra = self.cargo.compare(state.tree)
        if not wrong and not extra:
            return head
        copies = [CommitOperationCopy(name, name, src_revision=staged) for name in wrong]
        return self._commit([*copies, *map(CommitOperationDelete, extra)], "main", head)

    def _commit(self, operations: list[Any], branch: str, parent: str) -> str:
        title = f"{self.cargo.manifest['name']} {self.cargo.manifest['version']}"
        with self._telling():
            made = self.api.create_commit(
                **self.where, operations=operations, revision=branch, parent_commit=parent, commit_message=title,
            )  # fmt: skip
        wrong, extra = self.cargo.compare(self._tree(made.oid))
        if wrong or extra:
            raise UpstreamError(
                f"{self.repo}: on {branch}, {[*wrong, *extra][0]} is not what the manifest says; "
                "run the same command again"
            )
        return str(made.oid)

    def _clear(self) -> str | None:
        """Delete the staging branch; its name when the Hub would not."""
        with self._telling():
            branches = self.api.list_repo_refs(**self.where).branches
        if self.staging not in {branch.name for branch in branches}:
            return None
        try:
            self.api.delete_branch(**self.where, branch=self.staging)
        except errors.HfHubHTTPError:  # all is published; what is left hurts nobody
            return self.staging
        return None

    def _require_ours(self, state: State) -> None:
        """Refuse to replace what is no earlier version of this release."""
        strangers = sorted(set(state.tree) - {KEPT, schema.CARD})
        if state.holds is None and strangers:
            raise PublishError(
                f"{self.repo} holds files of no release ({strangers[0]}); publish to a data set of its own"
            )
        if state.holds and state.holds[0] != self.cargo.manifest["name"]:
            ours = self.cargo.manifest["name"]
            raise PublishError(f"{self.repo} holds {state.holds[0]!r}, not {ours!r}; publish to a data set of its own")

    def _state(self) -> State | None:
        with self._telling():
            try:
                info = self.api.dataset_info(self.repo)
                refs = self.api.list_repo_refs(**self.where)
            except errors.RepositoryNotFoundError:
                return None
        branches = {ref.name: ref.target_commit for ref in refs.branches}
        tree = self._tree(branches["main"])
        holds = self._release_at(branches["main"]) if schema.MANIFEST in tree else None
        return State(bool(info.gated), branches, {tag.name: tag.target_commit for tag in refs.tags}, tree, holds)

    def _tree(self, commit: str) -> Tree:
        return read_tree(self.api, self.where, commit)

    def _release_at(self, commit: str) -> tuple[str, str] | None:
        with tempfile.TemporaryDirectory(prefix="mkgb-publish-") as scratch, self._telling():
            path = self.api.hf_hub_download(**self.where, filename=schema.MANIFEST, revision=commit, local_dir=scratch)
            try:
                manifest = json.loads(Path(path).read_bytes())
                return str(manifest["name"]), str(manifest["version"])
            except (ValueError, KeyError, TypeError):
                return None

    def _telling(self) -> AbstractContextManager[None]:
        return telling(self.repo, self.api)


def _order(version: str) -> tuple[int, ...]:
    """Versions in their order; what marks a build does not count."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))
