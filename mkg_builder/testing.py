"""The contract of a source, as tests for pytest: inherit the class, say which source and how to feed it."""

from abc import ABC, abstractmethod
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

import pytest

from mkg_builder.context import SnapshotContext
from mkg_builder.graph import Entity, Triple
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Source
from mkg_builder.statements import accepted


class SourceContract(ABC):
    """What every source promises, once it has fetched.

    A subclass, whose name begins with `Test`, gives `source()` and `spoil(snapshot)`, and `fetching(snapshot)` where
    the source needs endpoints, a client or a folder.
    """

    name: ClassVar[str] = "tested"
    folder: ClassVar[Path] = Path()

    @abstractmethod
    def source(self) -> Source:
        """The source, with its options."""

    def fetching(self, snapshot: Snapshot) -> SnapshotContext:
        """The context that the source fetches with."""
        return SnapshotContext(self.name, self.folder, snapshot, {})

    @abstractmethod
    def spoil(self, snapshot: Snapshot) -> None:
        """Store an answer of the source with one more field, named `surprise`."""

    @pytest.fixture
    def snapshot(self, tmp_path: Path) -> Snapshot:
        snapshot = Snapshot(tmp_path / "snapshot")
        with snapshot.writing():
            self.source().fetch(self.fetching(snapshot))
        return snapshot

    def reading(self, snapshot: Snapshot) -> SnapshotContext:
        """The context that the source reads with: no client, and endpoints that nobody answers at."""
        return SnapshotContext(self.name, self.folder, snapshot, defaultdict(lambda: "http://unreachable.invalid"))

    def test_reads_something_without_the_network_after_fetch(self, snapshot: Snapshot) -> None:
        reading = self.reading(snapshot)
        things = list(self.source().read(reading))
        assert any(isinstance(thing, Entity) for thing in things)
        assert any(isinstance(thing, Triple) for thing in things)
        assert reading.gaps() == []

    def test_every_statement_is_well_formed(self, snapshot: Snapshot) -> None:
        for _ in accepted(self.source().read(self.reading(snapshot)), self.name):
            pass  # what is no statement, or has an id that does not begin with its type, raises

    def test_reads_twice_the_same(self, snapshot: Snapshot) -> None:
        first = list(self.source().read(self.reading(snapshot)))
        assert list(self.source().read(self.reading(snapshot))) == first

    def test_a_second_fetch_adds_nothing(self, snapshot: Snapshot) -> None:
        before = snapshot.describe()["sha256"]
        with snapshot.writing():
            self.source().fetch(self.fetching(snapshot))
        assert snapshot.describe()["sha256"] == before

    def test_every_fact_names_its_source(self, snapshot: Snapshot) -> None:
        for thing in self.source().read(self.reading(snapshot)):
            assert (thing.sources[0] if isinstance(thing, Entity) else thing.source) == self.name

    def test_both_ends_of_every_triple_are_told_of(self, snapshot: Snapshot) -> None:
        things = list(self.source().read(self.reading(snapshot)))
        known = {thing.id for thing in things if isinstance(thing, Entity)}
        ends = {end for thing in things if isinstance(thing, Triple) for end in (thing.head, thing.tail)}
        assert ends <= known

    def test_a_surprise_field_is_reported(self, snapshot: Snapshot) -> None:
        with snapshot.writing():
            self.spoil(snapshot)
        context = self.reading(snapshot)
        list(self.source().read(context))
        found = context.observations.leftovers.get(self.name, set())
        assert any("surprise" in field for field in found)
