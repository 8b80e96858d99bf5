"""Asking the query service about many things: in batches, and in halves where a batch is too expensive."""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from mkg_builder.errors import DataError
from mkg_builder.graph import Dropped
from mkg_builder.source import Answer, Request, SourceContext
from mkg_builder.sources.wikidata_queries import QID, Question
from mkg_builder.strict import parse_json

Row = dict[str, str]
Things = tuple[str, ...]

ITEM = "http://www.wikidata.org/entity/"
SKOLEM = "http://www.wikidata.org/.well-known/genid/"
UNKNOWN = "unknown value"
"""What a row says where the statement is that there is a value, but nobody knows it."""

AT_A_TIME = 4
"""So many batches are asked before the halves of those among them that were too expensive."""
MEDIA_TYPE = "application/sparql-results+json"


class UnansweredError(Exception):
    """Some batches of a question were not answered, which the context has written down."""


class Batches:
    """Questions about many things, by POST, a batch at a time.

    A batch that the service gives up on is asked in halves, down to one thing. The snapshot keeps what was answered,
    each under the sha256 of its own query, so that reading walks the same tree: where a batch is absent, its halves.

    Args:
        context: the source's.
        address: the query service.
        size: things in a batch.
        asking: whether this is the step that may ask the network.
    """

    def __init__(self, context: SourceContext, address: str, size: int, *, asking: bool) -> None:
        self._context, self._address, self._size, self._asking = context, address, size, asking

    def rows(self, question: Question, things: Sequence[str]) -> Iterator[Row]:
        """The rows of the answers, as text; in no order, and some may come twice.

        A thing that no answer speaks of, because even alone it was too expensive or never asked, is written down
        when reading.

        Raises:
            DataError: a kept answer that is no SPARQL result.
            UnansweredError: while fetching, after all batches were asked: what is asked next depends on all answers,
                and would be another question, of other batches, when these are there.
        """
        waiting = deque(self._whole(things))
        answered, whole = 0, True
        while waiting:
            some = [waiting.popleft() for _ in range(min(AT_A_TIME, len(waiting)))]
            if self._asking:
                some = [part for batch in some for part in self._resumed(question, batch)]
            halves: list[Things] = []
            answers = self._context.get_all([self._request(question, batch) for batch in some])
            for batch, answer in zip(some, answers, strict=True):
                if answer.ok:
                    yield from self._read(question, answer)
                elif len(batch) > 1 and (answer.too_expensive or not self._asking):
                    halves += _halves(batch)
                    continue
                elif self._asking:
                    whole &= answer.too_expensive
                else:
                    self._context.drop(Dropped(f"wikidata:{batch[0]}", "not_answered", question.name))
                answered += len(batch)
                self._context.progress(answered, len(things))
            waiting.extendleft(reversed(halves))
        if not whole:
            raise UnansweredError

    def doubt(self, question: Question, things: Sequence[str], why: str) -> None:
        """Say that what was answered about these things cannot be: told while fetching, and then asked again.

        When reading it is noted. Nothing is said where nothing was answered, which is told already.
        """
        answered = [key for batch in self._whole(things) for key in self._parts(question, batch)]
        if answered and not self._asking:
            self._context.note(f"{why}; mkgb fetch asks again")
        elif answered:
            for key in answered:
                self._context.forget(key)
            self._context.fail(f"{self._address}: {why}; this is not kept and will be asked again")

    def _whole(self, things: Sequence[str]) -> Iterator[Things]:
        return (tuple(things[start : start + self._size]) for start in range(0, len(things), self._size))

    def _parts(self, question: Question, batch: Things) -> Iterator[str]:
        """The keys of what is kept of a batch: its own, or those of its halves."""
        if self._kept(question, batch):
            yield self._request(question, batch).key
        elif len(batch) > 1:
            for half in _halves(batch):
                yield from self._parts(question, half)

    def _resumed(self, question: Question, batch: Things) -> list[Things]:
        """A batch that an earlier run found too expensive is not asked whole again."""
        if self._kept(question, batch) or not self._was_halved(question, batch):
            return [batch]
        return [part for half in _halves(batch) for part in self._resumed(question, half)]

    def _was_halved(self, question: Question, batch: Things) -> bool:
        return len(batch) > 1 and any(
            self._kept(question, half) or self._was_halved(question, half) for half in _halves(batch)
        )

    def _kept(self, question: Question, batch: Things) -> bool:
        return self._context.has(self._request(question, batch).key)

    def _request(self, question: Question, batch: Things) -> Request:
        query = question.text(batch)
        digest = hashlib.sha256(query.encode()).hexdigest()
        key = f"wikidata:{question.name}/{digest}"
        return Request(key, self._address, accept=MEDIA_TYPE, query=query, divisible=len(batch) > 1)

    def _read(self, question: Question, answer: Answer) -> Iterator[Row]:
        """The rows of one answer.

        Raises:
            DataError: it is no SPARQL result; while fetching it is taken back, so that the next run asks again.
        """
        try:
            bindings = _bindings(answer, question)
        except DataError:
            if self._asking:
                self._context.forget(answer.key)
            raise
        for binding in bindings:
            for name in binding.keys() - question.always - question.sometimes:
                self._context.leftover(name)
            yield {name: _text(term) for name, term in binding.items()}


def qid(address: str) -> str | None:
    """The id of the item that an address names; None when it names anything else."""
    name = address.removeprefix(ITEM)
    return name if name != address and QID.fullmatch(name) else None


def number(item: str) -> int:
    """By what QIDs are ordered: Q9 stands before Q10."""
    return int(item[1:])


def _halves(batch: Things) -> list[Things]:
    middle = (len(batch) + 1) // 2
    return [batch[:middle], batch[middle:]]


def _bindings(answer: Answer, question: Question) -> list[dict[str, Any]]:
    """The rows of an answer to the question; one that is about something else, or about nothing, is none."""
    try:
        result = parse_json(answer.body)
        columns, told = set(result["head"]["vars"]), result["results"]["bindings"]
        rows = [{name: term for name, term in row.items() if isinstance(term["value"], str)} for row in told]
        if question.always <= columns and all(question.always <= row.keys() for row in rows):
            return rows
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise DataError(f"the kept answer {answer.key} is no result of its query; mkgb fetch asks again")


def _text(term: dict[str, Any]) -> str:
    value = str(term["value"])
    return UNKNOWN if term.get("type") == "bnode" or value.startswith(SKOLEM) else value
