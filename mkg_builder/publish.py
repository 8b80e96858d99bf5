"""A release is published: checked, held against its pictures' licence, sent to the Hub as one or two data sets."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token

from mkg_builder import schema
from mkg_builder.checks import check_release
from mkg_builder.errors import UpstreamError, UsageError
from mkg_builder.findings import ExpectationError, raise_on_errors
from mkg_builder.hub import Cargo, Outcome, PublishError, Target, Tell
from mkg_builder.recipe import Recipe
from mkg_builder.strict import validate
from mkg_builder.variant import has_pictures, write_without_pictures

_REPOSITORY = re.compile(r"[A-Za-z0-9](?:[\w.-]*\w)?/[A-Za-z0-9](?:[\w.-]*\w)?")
_SAFE = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")


@dataclass(frozen=True)
class Publication:
    """What the user asked for.

    Attributes:
        release: a release folder.
        repo: the data set on the Hub, `org/name`.
        images_repo: a second data set, gated, for the release with its pictures; `repo` then gets it without.
        without_images: publish addresses and sha256 in the place of the pictures.
        allow_marked: publish even a build that differs from its recipe.
    """

    release: Path
    repo: str
    images_repo: str | None = None
    without_images: bool = False
    allow_marked: bool = False


def publish(
    asked: Publication, execute: bool = False, api: HfApi | None = None, tell: Tell | None = None
) -> list[Outcome]:
    """Publish a release, or, unless told to execute, find out what that would do.

    Nothing is sent before everything is known to be in order. Readers of main see the old release or the new
    one, never a mixture. Killed at any moment, the same call goes on where it was; a published version is final.

    Returns:
        One outcome per data set, that of the pictures first.

    Raises:
        UsageError: a name that is none, or options that exclude each other.
        PublishError: the release does not pass its checks or is marked, its pictures' licence forbids it,
            its version is published with other content, or the data set holds something else.
        UpstreamError: no access, no space, no answer, or somebody else published meanwhile.
    """
    manifest = _require_publishable(asked)
    hub = api or HfApi()
    if execute and not (hub.token or get_token()):
        raise UpstreamError("no Hugging Face token: hf auth login, or set HF_TOKEN to one with write access")
    with tempfile.TemporaryDirectory(prefix="mkgb-publish-") as scratch:
        targets = [Target(hub, cargo, tell) for cargo in _load(asked, manifest, Path(scratch))]
        plans = [target.plan() for target in targets]
        return [target.carry_out(plan) for target, plan in zip(targets, plans, strict=True)] if execute else plans


def _require_publishable(asked: Publication) -> dict[str, Any]:
    """The manifest of a release that is whole, sound, unmarked and of files that are its own."""
    for name in filter(None, (asked.repo, asked.images_repo)):
        if not _REPOSITORY.fullmatch(name) or "--" in name or ".." in name:
            raise UsageError(f"{name!r} is no name of a data set on the Hub; write it as ORG/NAME")
    if asked.images_repo and (asked.without_images or asked.images_repo == asked.repo):
        raise UsageError("--images-repo names a second data set, and excludes --without-images")
    try:
        raise_on_errors(check_release(asked.release))
    except ExpectationError as error:
        raise PublishError(f"{asked.release} must not be published: {error}; see: mkgb check") from None
    manifest = schema.read_manifest(asked.release)
    if manifest["marks"] and not asked.allow_marked:
        raise PublishError(
            f"{manifest['name']} {manifest['version']} differs from its recipe ({'; '.join(manifest['marks'])}); "
            "build it without, or publish it as what it is with --allow-marked"
        )
    inside = asked.release.resolve()
    for name in manifest["files"]:
        if not _SAFE.fullmatch(name) or not (asked.release / name).resolve().is_relative_to(inside):
            raise PublishError(f"{asked.release}: the manifest lists {name!r}, which is no file of a release")
    return manifest


def _load(asked: Publication, manifest: Mapping[str, Any], scratch: Path) -> Iterator[Cargo]:
    """What goes where, as the pictures' licence allows; that of the pictures first."""
    policy = validate(Recipe, manifest["recipe"], str(asked.release / schema.MANIFEST)).images.redistribute
    pictures = has_pictures(asked.release)
    says = f"{manifest['name']} {manifest['version']} holds pictures, and its recipe says images.redistribute: {policy}"
    alone = "publish their addresses alone with --without-images"
    if not pictures:
        if asked.images_repo:
            raise UsageError(f"{asked.release} holds no pictures; leave --images-repo out")
    elif policy == "urls-only" and not asked.without_images:
        raise PublishError(f"{says}; {alone}")
    elif policy == "gated" and not (asked.without_images or asked.images_repo):
        raise PublishError(f"{says}; name a second, gated data set for them with --images-repo, or {alone}")
    if not pictures or not (asked.without_images or asked.images_repo):
        yield Cargo(asked.repo, asked.release, manifest, False, pictures)
        return
    whole = f"{asked.images_repo}@v{manifest['version']}" if asked.images_repo else None
    bare = write_without_pictures(asked.release, scratch, whole)
    if asked.images_repo:
        yield Cargo(asked.images_repo, asked.release, manifest, True, True)
    yield Cargo(asked.repo, scratch, bare, False, False)
