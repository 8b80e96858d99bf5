"""The spine: recipe -> fetch -> read -> pictures -> clean -> assemble -> split -> check -> write."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkg_builder.checks import expectation_findings
from mkg_builder.clean import clean, drop_unused
from mkg_builder.context import SnapshotContext
from mkg_builder.errors import DataError, UnknownNameError, UpstreamError
from mkg_builder.facts import Facts
from mkg_builder.findings import Finding, raise_on_errors
from mkg_builder.graph import Entity, Literal, Triple
from mkg_builder.http import Client
from mkg_builder.images import BrokenPicture, Picture, inspect_all
from mkg_builder.knowledge_graph import KnowledgeGraph, relations_of
from mkg_builder.recipe import SourceRecipe, find_recipe, load_recipe
from mkg_builder.registry import Registry
from mkg_builder.schema import MANIFEST, read_manifest
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Observations, Progress, Source, Vectors
from mkg_builder.split import sides_of, split_facts
from mkg_builder.strict import validate
from mkg_builder.triples import TriplesBuilder
from mkg_builder.write import Draft, write_release

SOURCES = Registry(
    "source",
    "mkg_builder.sources",
    {
        "official": "mkg_builder.sources.official:Official",
        "wikiart": "mkg_builder.sources.wikiart:WikiArt",
        "wikidata": "mkg_builder.sources.wikidata:Wikidata",
    },
)


@dataclass(frozen=True)
class Job:
    """What the user asked for.

    Attributes:
        recipe: a shipped recipe's name or a path.
        workspace: the folder that holds snapshots and releases.
        limit: at most so many artworks.
        offline: never touch the network; what the snapshot lacks is left out.
        endpoints: name -> address, in place of the recipe's.
        overrides: `dotted.key=value` changes to the recipe.
        contact: who asks, for live hosts.
        files: the folder of the published files that the recipe names and does not bring.
    """

    recipe: str
    workspace: Path
    limit: int | None = None
    offline: bool = False
    endpoints: Mapping[str, str] | None = None
    overrides: tuple[str, ...] = ()
    contact: str | None = None
    files: Path | None = None


@dataclass(frozen=True)
class FetchReport:
    """What a fetch left behind: the snapshot and how many answers it added."""

    snapshot: Path
    added: int
    answers: int


@dataclass(frozen=True)
class BuildReport:
    """A finished build: the release, its manifest, and what the checks found."""

    release: Path
    manifest: Mapping[str, Any]
    findings: tuple[Finding, ...]
    fetched: int


class Workshop:
    """A recipe opened for work: its sources, its snapshot, the endpoints that apply."""

    def __init__(self, job: Job, advance: Progress | None = None) -> None:
        self.job, self.advance = job, advance
        path = find_recipe(job.recipe)
        self.folder = path.resolve().parent
        self.recipe = load_recipe(path, job.overrides)
        self.snapshot = Snapshot(job.workspace / "snapshots" / self.recipe.name)
        self.sources = {name: self._source(name, part) for name, part in self.recipe.sources.items()}
        self.endpoints = self._endpoints()

    def _source(self, name: str, part: SourceRecipe) -> Source:
        kind: type[Source] = SOURCES.resolve(part.use, self.folder)
        return kind(validate(kind.Options, part.options, f"{self.job.recipe}: sources.{name}.options"))

    def _endpoints(self) -> dict[str, str]:
        """The recipe's endpoints, then what the snapshot was fetched from, then what the user says."""
        own = self.own_endpoints()
        for name in self.job.endpoints or {}:
            if name not in own:
                raise UnknownNameError("endpoint", name, own)
        return {**own, **(self.job.endpoints or self.snapshot.origin() or {})}

    def own_endpoints(self) -> dict[str, str]:
        """The endpoints that the recipe names, of all its sources."""
        return {name: url for part in self.recipe.sources.values() for name, url in part.endpoints.items()}

    def marks(self) -> tuple[str, ...]:
        """How this build differs from the recipe, in words; empty when it does not."""
        own = self.own_endpoints()
        moved = sorted(name for name, url in self.endpoints.items() if url != own[name])
        return (
            *([f"limited to {self.job.limit} artworks"] if self.job.limit is not None else []),
            *(f"set {override}" for override in self.job.overrides),
            *(f"endpoint {name} is not the recipe's" for name in moved),
        )

    def version(self) -> str:
        """The recipe's version; behind a plus sign what marks this build, so that no two kinds share a folder."""
        parts = [f"limit-{self.job.limit}"] if self.job.limit is not None else []
        if self.job.overrides:
            parts.append("set-" + hashlib.sha256("\n".join(sorted(self.job.overrides)).encode()).hexdigest()[:6])
        if any(mark.startswith("endpoint") for mark in self.marks()):
            parts.append("endpoint")
        return self.recipe.version + ("+" + ".".join(parts) if parts else "")

    def context(self, name: str, online: bool) -> SnapshotContext:
        """What a source is given: with a client while it fetches, without one while it reads."""
        context = SnapshotContext(
            name, self.folder, self.snapshot, self.endpoints, self.job.limit,
            self._client(name) if online and self.recipe.sources[name].endpoints else None, self.advance,
        )  # fmt: skip
        context.files = self.job.files
        return context

    def _client(self, name: str) -> Client:
        part = self.recipe.sources[name]
        hosts = [urlsplit(self.endpoints[name]).netloc for name in part.endpoints]
        if all(self.endpoints[name] == url for name, url in part.endpoints.items()):
            hosts += part.hosts  # a stand-in server must not lead us to the live hosts
        memory = self.snapshot.folder / f"asked-{name}.log"
        return Client(self.job.contact, hosts, part.limits, memory=memory)


def fetch(job: Job, advance: Progress | None = None) -> FetchReport:
    """Fetch every source of a recipe into its snapshot; what is there already is not asked again.

    Raises:
        UpstreamError: some answers could not be had; the rest is kept, and the next fetch asks only for them.
        LockedError: another process works on this snapshot.
    """
    workshop = Workshop(job, advance)
    with workshop.snapshot.writing():
        return _fetch(workshop)


def build(job: Job, advance: Progress | None = None) -> BuildReport:
    """Build a release: the way from sources to a published folder.

    Raises:
        ExpectationError: the graph is not what an unmarked build of the recipe must be; nothing is written.
        UpstreamError, LockedError: as for `fetch`.
    """
    workshop = Workshop(job, advance)
    recipe, snapshot = workshop.recipe, workshop.snapshot
    with snapshot.writing():
        fetched = 0 if job.offline else _fetch(workshop).added
        facts, observations = _read(workshop)
        read = len(facts.triples)
        facts, pictures = _verify_pictures(facts, snapshot, advance)
        facts, sides = split_facts(clean(facts, recipe), recipe.split, {})
        facts = drop_unused(facts, recipe)
        graph = KnowledgeGraph(facts.entities, relations_of(recipe), facts.triples, facts.literals, facts.dropped)
        marks = workshop.marks()
        parts = sides_of(graph.triples, sides)
        sizes = {split: len(part) for split, part in parts.items()}
        findings = expectation_findings(recipe, graph.count_entities(), graph.triples.count(), sizes, strict=not marks)
        raise_on_errors(findings)
        leftovers = {name: sorted(fields) for name, fields in observations.leftovers.items()}
        account = {"read": read, "kept": len(graph.triples), "gone": dict(sorted(facts.gone.items()))}
        draft = Draft(
            recipe, workshop.version(), marks, graph, parts, pictures,
            lambda picture: _bytes(snapshot, picture), snapshot.describe(), leftovers, account,
            _vectors(workshop, graph),
        )  # fmt: skip
        release = job.workspace / "releases" / f"{recipe.name}-{draft.version}"
        _require_replaceable(release, draft)
        manifest = write_release(draft, release)
    return BuildReport(release, manifest, tuple(findings), fetched)


def _fetch(workshop: Workshop) -> FetchReport:
    snapshot, before, failures = workshop.snapshot, len(workshop.snapshot), []
    if workshop.endpoints:
        snapshot.claim_origin(workshop.endpoints)
    for name, source in workshop.sources.items():
        context = workshop.context(name, online=True)
        source.fetch(context)
        failures += context.failures
    if failures:
        raise UpstreamError(
            f"{len(failures)} answers could not be had, the first: {failures[0]}; the rest is kept: "
            "run the same command again, or add --offline to go on without them"
        )
    return FetchReport(snapshot.folder, len(snapshot) - before, len(snapshot))


def _read(workshop: Workshop) -> tuple[Facts, Observations]:
    """Every entity and triple of every source, accounts of one entity merged."""
    entities: dict[str, Entity] = {}
    triples, literals, seen = TriplesBuilder(), list[Literal](), Observations()
    for name, source in workshop.sources.items():
        context = workshop.context(name, online=False)
        for statement in source.read(context):
            if isinstance(statement, Triple):
                triples.add(statement)
            elif isinstance(statement, Entity):
                known = entities.setdefault(statement.id, statement)
                if known is not statement and known != statement:
                    entities[statement.id] = known.merged(statement)
            else:
                literals.append(statement)
        seen.dropped += context.observations.dropped
        seen.leftovers |= context.observations.leftovers
    if not len(workshop.snapshot):
        raise DataError(
            f"{workshop.snapshot.folder}: nothing was fetched yet: "
            f"mkgb fetch {workshop.job.recipe} --workspace {workshop.job.workspace}"
        )
    return Facts(entities, triples.triples(), tuple(literals), tuple(seen.dropped)), seen


def _vectors(workshop: Workshop, graph: KnowledgeGraph) -> Iterator[Vectors]:
    """The feature vectors that the sources publish of the graph's entities."""
    for name, source in workshop.sources.items():
        yield from source.vectors(workshop.context(name, online=False), graph.entities.keys())


def _verify_pictures(
    facts: Facts, snapshot: Snapshot, advance: Progress | None
) -> tuple[Facts, dict[str, Picture | BrokenPicture]]:
    """Decode every picture; an entity whose picture is broken has none."""
    pictured = [entity for entity in facts.entities.values() if entity.image is not None]
    verdicts: dict[str, Picture | BrokenPicture] = {}
    entities = dict(facts.entities)
    for entity, verdict in zip(pictured, inspect_all(snapshot, [str(e.image) for e in pictured]), strict=True):
        verdicts[entity.id] = verdict
        if isinstance(verdict, BrokenPicture):
            entities[entity.id] = replace(entity, image=None)
        if advance is not None:
            advance("pictures", len(verdicts), len(pictured))
    return replace(facts, entities=entities), verdicts


def _bytes(snapshot: Snapshot, picture: Picture) -> bytes:
    answer = snapshot.get(picture.key)
    if answer is None:
        raise DataError(f"{snapshot.folder}: the picture {picture.key} was altered during the build; run it again")
    return answer.body


def _require_replaceable(release: Path, draft: Draft) -> None:
    """A published version is immutable: only the same snapshot and recipe may write it again."""
    if draft.marks or not (release / MANIFEST).exists():
        return
    old = read_manifest(release)
    new_recipe = json.loads(draft.recipe.model_dump_json())
    if old["snapshot"]["sha256"] != draft.snapshot["sha256"] or old["recipe"] != new_recipe:
        raise DataError(
            f"{release} exists and was made from another snapshot or recipe; a version never changes: "
            "raise `version` in the recipe, or move that folder away"
        )
