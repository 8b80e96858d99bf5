"""A query service in the process: triples written in Wikidata's shape, answered by a real SPARQL engine."""

import itertools
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pyoxigraph
from typing_extensions import override

from mkg_builder.context import SnapshotContext
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer, Request
from mkg_builder.strict import parse_json

PREFIXES = """
@prefix wd: <http://www.wikidata.org/entity/> . @prefix wds: <http://www.wikidata.org/entity/statement/> .
@prefix wdv: <http://www.wikidata.org/value/> . @prefix wdt: <http://www.wikidata.org/prop/direct/> .
@prefix p: <http://www.wikidata.org/prop/> . @prefix ps: <http://www.wikidata.org/prop/statement/> .
@prefix psv: <http://www.wikidata.org/prop/statement/value/> . @prefix pq: <http://www.wikidata.org/prop/qualifier/> .
@prefix wikibase: <http://wikiba.se/ontology#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> . @prefix schema: <http://schema.org/> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""
SOMETHING = "<http://www.wikidata.org/.well-known/genid/e1>"
"""How the query service shows an unknown value; in dumps it is a blank node."""

_numbers = itertools.count(1)


def stated(item: str, key: str, value: str, qualifiers: str = "", rank: str = "Normal", best: bool = True) -> str:
    """One statement of an item; what is of the best rank is also there directly."""
    statement = f"wds:S{next(_numbers)}"
    direct = f"wd:{item} wdt:{key} {value} ." if best else ""
    return (
        f"wd:{item} p:{key} {statement} . {statement} a wikibase:Statement{', wikibase:BestRank' if best else ''} ;"
        f" wikibase:rank wikibase:{rank}Rank ; ps:{key} {value} {f'; {qualifiers}' if qualifiers else ''} . {direct}"
    )


def time(text: str) -> str:
    return f'"{text}"^^xsd:dateTime'


def dated(item: str, key: str, day: str, precision: int, qualifiers: str = "", **rank: object) -> str:
    """One statement of a date, with its value node."""
    node = f"wdv:V{next(_numbers)}"
    value = time(f"{day}T00:00:00Z")
    whole = f"psv:{key} {node} {f'; {qualifiers}' if qualifiers else ''}"
    return (
        f"{node} a wikibase:TimeValue ; wikibase:timeValue {value} ; wikibase:timePrecision {precision} ;"
        f" wikibase:timeCalendarModel wd:Q1985727 . {stated(item, key, value, whole, **rank)}"  # type: ignore[arg-type]
    )


def named(item: str, *labels: str) -> str:
    return f"wd:{item} rdfs:label {', '.join(labels)} ."


class QueryService(SnapshotContext):
    """A context whose network is a store of triples.

    Args:
        snapshot: where answers are kept.
        triples: in Turtle, without the prefixes, or in a store; None for a context that is offline.
        limit: of artworks.
        too_expensive: which queries it gives up on.
        shuffle: the seed of the order in which the rows of an answer come; each then comes twice, too.

    Attributes:
        asked: every query that reached it.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        triples: Iterable[str] | pyoxigraph.Store | None = None,
        limit: int | None = None,
        too_expensive: Callable[[str], bool] = lambda query: False,
        shuffle: int | None = None,
    ) -> None:
        super().__init__("wikidata", Path(), snapshot, dict.fromkeys(("wdqs", "qlever"), "http://unreachable.invalid"))
        self.limit, self._limited, self._shuffle = limit, too_expensive, shuffle
        self.asked: list[str] = []
        self._store = triples if isinstance(triples, pyoxigraph.Store) else None
        if triples is not None and self._store is None:
            self._store = pyoxigraph.Store()
            self._store.load("\n".join((PREFIXES, *triples)).encode(), format=pyoxigraph.RdfFormat.TURTLE)

    @override
    def get(self, request: Request) -> Answer:
        kept = super().get(request)
        if kept.ok or self._store is None:
            return kept if self._shuffle is None else self._shuffled(kept)
        self.asked.append(request.query)
        if self._limited(request.query):
            return Answer(request.key, 504, b"", "")
        body = self._store.query(request.query).serialize(format=pyoxigraph.QueryResultsFormat.JSON)
        answer = Answer(request.key, 200, body, request.accept)
        self._snapshot.put(answer)
        return answer

    def _shuffled(self, kept: Answer) -> Answer:
        result = parse_json(kept.body)
        result["results"]["bindings"] *= 2
        random.Random(self._shuffle).shuffle(result["results"]["bindings"])
        return replace(kept, body=json.dumps(result).encode())
