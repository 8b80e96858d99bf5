"""The spine: recipe -> fetch -> read -> pictures -> clean -> split -> assemble -> check -> write."""

import gc
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mkg_builder.align import align
from mkg_builder.checks import expectation_findings, name_findings
from mkg_builder.clean import clean, drop_pictures, drop_unused
from mkg_builder.decisions import decided, idle_decisions, read_decisions, record, write_review
from mkg_builder.entity_pictures import clusters_of, pictures_of, verify_pictures
from mkg_builder.errors import DataError, UpstreamError
from mkg_builder.facts import Facts
from mkg_builder.findings import Finding, raise_on_errors
from mkg_builder.graph import Dropped, Entity, Literal, Triple
from mkg_builder.knowledge_graph import KnowledgeGraph, relations_of
from mkg_builder.picture_pool import PicturePool
from mkg_builder.schema import MANIFEST, read_manifest
from mkg_builder.source import Answer, Observations, Progress, Vectors
from mkg_builder.split import sides_of, split_facts
from mkg_builder.statements import Namesakes, accepted
from mkg_builder.triples import Triples, TriplesBuilder
from mkg_builder.unions import Pair
from mkg_builder.wording import counted
from mkg_builder.workshop import Job, Workshop
from mkg_builder.write import Draft, write_release

DECISIONS = "alignment:decisions"
"""Where the snapshot keeps what people decided on pairs of entities."""


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
    with workshop.snapshot.writing():
        fetched = _fetch(workshop).added
        return replace(_make(workshop, advance), fetched=fetched)


@contextmanager
def _without_search_for_cycles() -> Iterator[None]:
    """Rows form no cycles; looking for some among millions of them takes a quarter of a build's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_search_for_cycles()
def _make(workshop: Workshop, advance: Progress | None) -> BuildReport:
    """From the snapshot to the release folder."""
    recipe, snapshot = workshop.recipe, workshop.snapshot
    facts, observations = _read(workshop)
    entities, read = len(facts.entities), len(facts.triples)
    # before they are joined: of two pictures of one thing the whole one is taken
    facts, whole, broken = verify_pictures(drop_pictures(facts, recipe), snapshot, advance)
    facts, apart = _align(workshop, facts, observations)
    facts = clean(facts, recipe, apart)
    pictures = pictures_of(facts, whole, broken)
    twins = clusters_of(pictures, recipe.images.near_duplicate_distance)
    facts, sides = split_facts(facts, recipe.split, twins, [*recipe.sources])
    facts = drop_unused(facts, recipe)
    graph = KnowledgeGraph(facts.entities, relations_of(recipe), facts.triples, facts.literals, facts.dropped)
    parts = sides_of(graph.triples, sides)
    findings = _findings(workshop, graph, parts, observations)
    _require_triples(graph, entities, read, facts.gone)
    account = {"read": read, "kept": len(graph.triples), "gone": dict(sorted(facts.gone.items()))}
    draft = Draft(
        recipe, workshop.version(), workshop.marks(), graph, parts, pictures, snapshot, observations, account,
        _vectors(workshop, graph),
    )  # fmt: skip
    release = workshop.job.workspace / "releases" / f"{recipe.name}-{draft.version}"
    _require_replaceable(release, draft)
    return BuildReport(release, write_release(draft, release), findings, 0)


def _findings(
    workshop: Workshop, graph: KnowledgeGraph, parts: Mapping[str, Triples], observations: Observations
) -> tuple[Finding, ...]:
    """What the recipe's expectations and the sources have to say; the former stop an unmarked build."""
    sizes = {split: len(part) for split, part in parts.items()}
    strict = not workshop.marks()
    found = expectation_findings(workshop.recipe, graph.count_entities(), graph.triples.count(), sizes, strict)
    raise_on_errors(found)
    unread = (
        Finding("warning", "source", f"{name}: nobody reads {', '.join(sorted(fields))}")
        for name, fields in sorted(observations.leftovers.items())
    )
    notes = (Finding("warning", "source", note) for note in observations.notes)
    names = name_findings((entity.type, entity.label) for entity in graph.entities.values())
    return (*found, *notes, *unread, *names)


def _require_triples(graph: KnowledgeGraph, entities: int, read: int, gone: Mapping[str, int]) -> None:
    """Refuse a graph without a fact: nothing can be learnt from it, and mostly a table was empty or misread."""
    if not len(graph.triples):
        rules = Counter(lost.rule for lost in graph.dropped) | Counter(gone)  # some rules list nothing, or list more
        dropped = ", ".join(f"{rule} {count:,}" for rule, count in sorted(rules.items())) or "nothing"
        raise DataError(
            f"no triple is left to release: the sources told of {entities:,} entities and {read:,} triples; "
            f"dropped: {dropped}; look at what the sources hold and at what the recipe reads of it"
        )


def _fetch(workshop: Workshop) -> FetchReport:
    """Fetch every source; offline only those that have files to read, which are no network."""
    snapshot, before, failures = workshop.snapshot, len(workshop.snapshot), []
    online = not workshop.job.offline
    if workshop.endpoints and online:
        snapshot.claim_origin(workshop.endpoints)
    with PicturePool() as pool:
        for name, source in workshop.sources.items():
            if not (online or source.reads_files or not workshop.recipe.sources[name].endpoints):
                continue
            context = workshop.context(name, online)
            context.pictures = pool
            source.fetch(context)
            failures += context.failures
    if failures:
        raise UpstreamError(
            f"{counted(len(failures), 'answer')} could not be had, the first: {failures[0]}; the rest is kept: "
            "run the same command again, or add --offline to go on without them"
        )
    return FetchReport(snapshot.folder, max(len(snapshot) - before, 0), len(snapshot))


def _read(workshop: Workshop) -> tuple[Facts, Observations]:
    """Every entity and triple of every source, accounts of one entity merged."""
    entities: dict[str, Entity] = {}
    triples, literals, seen, namesakes = TriplesBuilder(), list[Literal](), Observations(), Namesakes()
    for name, source in workshop.sources.items():
        context = workshop.context(name, online=False)
        for statement in accepted(source.read(context), name):
            if isinstance(statement, Triple):
                triples.add(statement)
            elif isinstance(statement, Entity):
                known = entities.setdefault(statement.id, statement)
                if known is not statement and known != statement:
                    entities[statement.id] = known.merged(statement)
                    namesakes.meet(known, statement)
            else:
                literals.append(statement)
        seen.dropped += context.observations.dropped
        for source_name, fields in context.observations.leftovers.items():
            seen.leftovers.setdefault(source_name, set()).update(fields)
        seen.notes += [f"{name}: {note}" for note in (*context.observations.notes, *context.gaps())]
    seen.notes += namesakes.notes()
    if not len(workshop.snapshot):
        raise DataError(
            f"{workshop.snapshot.folder}: nothing was fetched yet: "
            f"mkgb fetch {workshop.job.recipe} --workspace {workshop.job.workspace}"
        )
    seen.dropped += (
        Dropped(f"{said.entity} {said.name}", "unknown_id", f"no source tells of it: {said.source} has {said.value!r}")
        for said in literals
        if said.entity not in entities
    )
    facts = Facts(entities, triples.triples(), tuple(literals), tuple(seen.dropped))
    _require_ends(facts)
    return facts, seen


def _require_ends(facts: Facts) -> None:
    """Refuse a triple of a source that says nothing of one of its ends."""
    for triple in facts.triples.where(
        facts.triples.naming(facts.triples.mark(lambda name: name not in facts.entities))
    ):
        stranger = triple.head if triple.head not in facts.entities else triple.tail
        raise DataError(
            f"source {triple.source!r} states {triple.head} {triple.relation} {triple.tail}, and no source says what "
            f"{stranger} is; its read() must yield an Entity of this id"
        )


def _align(workshop: Workshop, facts: Facts, observations: Observations) -> tuple[Facts, Collection[Pair]]:
    """Join what is one thing across sources, and tell what people decided is not.

    What they decided is kept in the snapshot, what they should is laid out. So the same snapshot and recipe give the
    same release, whatever becomes of the file of decisions afterwards.
    """
    recipe, snapshot = workshop.recipe, workshop.snapshot
    if not recipe.alignment:
        return facts, ()
    review = workshop.job.workspace / "review" / f"{recipe.name}.csv"
    own, shipped = read_decisions(review), workshop.decisions()
    answers = decided(read_decisions(shipped).values() if shipped else ()) | decided(own.values())
    if answers or DECISIONS in snapshot:
        snapshot.put(Answer(DECISIONS, 200, record(answers), "text/csv"))
    found = align(facts, recipe, answers)
    write_review(review, own, found.waiting)
    by = ", ".join(f"{count} by {way}" for way, count in sorted(found.joined.items()) if count)
    note = (
        f"alignment: {counted(found.joined.total(), 'entity', 'entities')} joined to others{f' ({by})' if by else ''}"
    )
    if found.waiting:
        note += f"; to be decided in {review.parent.name}/{review.name}: {counted(len(found.waiting), 'pair')}"
    observations.notes.append(note)
    observations.notes += idle_decisions(answers, facts, recipe)
    return found.facts, [pair for pair, same in answers.items() if not same]


def _vectors(workshop: Workshop, graph: KnowledgeGraph) -> Iterator[Vectors]:
    """The feature vectors that the sources publish of the graph's entities."""
    for name, source in workshop.sources.items():
        yield from source.vectors(workshop.context(name, online=False), graph.entities.keys())


def _require_replaceable(release: Path, draft: Draft) -> None:
    """A published version is immutable: only the same snapshot and recipe may write it again."""
    if draft.marks or not (release / MANIFEST).exists():
        return
    old = read_manifest(release)
    new_recipe = json.loads(draft.recipe.model_dump_json())
    if old["snapshot"]["sha256"] != draft.snapshot.describe()["sha256"] or old["recipe"] != new_recipe:
        raise DataError(
            f"{release} exists and was made from another snapshot or recipe; a version never changes: "
            "raise `version` in the recipe, or move that folder away"
        )
