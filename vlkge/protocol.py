"""What is asked in an evaluation: directions, candidates, which known answers are filtered, and how ties count."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mkg_builder.registry import Registry
from vlkge.dataset import Dataset
from vlkge.ranking import Ties
from vlkge.scorers import Direction

REGISTRY = Registry(
    "protocol",
    "vlkge.protocols",
    {"strict": "vlkge.protocol:Strict", "reference": "vlkge.protocol:Reference"},
)

HEAD, RELATION, TAIL = 0, 1, 2


class KnownAnswers:
    """The entities that answer each (anchor, relation), as sorted keys: a lookup is a binary search.

    Args:
        anchors, relations, answers: int64 [n], one known fact each; repeats do no harm.
        relation_count: how many relations there are.
    """

    def __init__(self, anchors: Tensor, relations: Tensor, answers: Tensor, relation_count: int) -> None:
        self._relation_count = relation_count
        self._keys, order = (anchors * relation_count + relations).sort()
        self._answers = answers[order]

    def lookup(self, anchors: Tensor, relation: int | Tensor) -> tuple[Tensor, Tensor]:
        """The known answers of queries [q]: the query's row and the answering entity, both [k]."""
        keys = anchors * self._relation_count + relation
        start = torch.searchsorted(self._keys, keys)
        counts = torch.searchsorted(self._keys, keys, right=True) - start
        rows = torch.arange(len(keys), device=keys.device).repeat_interleave(counts)
        within = torch.arange(len(rows), device=keys.device) - (counts.cumsum(0) - counts)[rows]
        return rows, self._answers[start[rows] + within]


class EvaluationProtocol(ABC):
    """One way to rank; a number without its protocol's name and version means nothing.

    Attributes:
        name, version: a change of what is asked changes the version.
        ties: which rank counts among equal scores.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    ties: Ties

    def directions(self, dataset: Dataset) -> tuple[Direction, ...]:
        """Tails only where heads may be unseen (inductive), else both ends."""
        return ("tail",) if dataset.setting == "inductive" else ("tail", "head")

    @abstractmethod
    def candidates(self, dataset: Dataset, split: str, relation: int, direction: Direction) -> Tensor:
        """The entities that compete, sorted, int64 [m]; the answers of the split are among them."""

    @abstractmethod
    def known(self, dataset: Dataset, direction: Direction) -> KnownAnswers:
        """The answers that do not compete with a target."""


class Strict(EvaluationProtocol):
    """The default: an answer is filtered only if that very triple is known, in any split; ties are realistic.

    Inductive: the tails that the relation has in any split compete. Transductive: all entities.
    """

    name, version, ties = "strict", "1", "realistic"

    def candidates(self, dataset: Dataset, split: str, relation: int, direction: Direction) -> Tensor:  # noqa: ARG002
        """The relation's answers in any split (inductive) or every entity (transductive)."""
        if dataset.setting == "transductive":
            return torch.arange(len(dataset.entities))
        return _answers(all_triples(dataset), relation, direction)

    def known(self, dataset: Dataset, direction: Direction) -> KnownAnswers:
        """The triples of every split, this direction alone."""
        triples = all_triples(dataset)
        anchor, answer = (HEAD, TAIL) if direction == "tail" else (TAIL, HEAD)
        return KnownAnswers(triples[:, anchor], triples[:, RELATION], triples[:, answer], len(dataset.relations))


class Reference(EvaluationProtocol):
    """What the official VL-KGE code does (commit c78994e), to compare with the published numbers.

    It keeps one dictionary of known answers, keyed (entity, relation), for both directions: where an
    entity is a head and a tail of one relation, wrong answers are filtered too. Its stable sort lets
    the entity that its file names first win a tie; a release that keeps that order (`Dataset.tie_order`)
    is ranked by it, another by the order of the ids. In the inductive setting a relation that was divided
    by disjoint sets of entities is ranked among the tails of the evaluated split alone.
    """

    name, version, ties = "reference", "2", "first"

    def candidates(self, dataset: Dataset, split: str, relation: int, direction: Direction) -> Tensor:
        """The relation's answers in any split, or in this split where disjoint sets divide it.

        Transductive: all entities but those that only stand in held-out triples of relations that are
        not evaluated, which the official code leaves out before it counts its entities.
        """
        if dataset.setting == "transductive":
            read: Tensor = torch.unique(_read_by_reference(dataset)[:, [HEAD, TAIL]])
            return read
        info = dataset.relation_info[dataset.relations[relation]]
        triples = dataset.triples[split] if info.disjoint else all_triples(dataset)
        return _answers(triples, relation, direction)

    def known(self, dataset: Dataset, direction: Direction) -> KnownAnswers:  # noqa: ARG002
        """The triples of every split, both directions under one key."""
        triples = all_triples(dataset)
        head, relation, tail = triples.unbind(1)
        return KnownAnswers(
            torch.cat([head, tail]), torch.cat([relation, relation]), torch.cat([tail, head]), len(dataset.relations)
        )


class Mixture(EvaluationProtocol):
    """Between two protocols: filter, candidates and ties, each of one of them; to tell their gap by cause."""

    name, version = "mixture", "1"

    def __init__(self, known: EvaluationProtocol, candidates: EvaluationProtocol, ties: EvaluationProtocol) -> None:
        self._known, self._candidates = known, candidates
        self.ties: Ties = ties.ties

    def directions(self, dataset: Dataset) -> tuple[Direction, ...]:
        """As the one whose candidates compete."""
        return self._candidates.directions(dataset)

    def candidates(self, dataset: Dataset, split: str, relation: int, direction: Direction) -> Tensor:
        """As one of the two."""
        return self._candidates.candidates(dataset, split, relation, direction)

    def known(self, dataset: Dataset, direction: Direction) -> KnownAnswers:
        """As one of the two."""
        return self._known.known(dataset, direction)


def all_triples(dataset: Dataset) -> Tensor:
    """The triples of every split behind each other, [n, 3]."""
    return torch.cat(list(dataset.triples.values()))


def _read_by_reference(dataset: Dataset) -> Tensor:
    evaluated = torch.tensor([dataset.relation_info[name].evaluated for name in dataset.relations])
    kept = [t if split == "train" else t[evaluated[t[:, RELATION]]] for split, t in dataset.triples.items()]
    return torch.cat(kept)


def _answers(triples: Tensor, relation: int, direction: Direction) -> Tensor:
    column = TAIL if direction == "tail" else HEAD
    answers: Tensor = torch.unique(triples[triples[:, RELATION] == relation, column])
    return answers


@dataclass(frozen=True)
class QueryGroup:
    """The queries of one relation in one direction, sorted by anchor; they share their candidates.

    Attributes:
        direction: which end is asked for.
        relation: index.
        anchors: [q], the given end.
        candidates: [m], sorted.
        targets: [q], the right answer's place among the candidates.
    """

    direction: Direction
    relation: int
    anchors: Tensor
    candidates: Tensor
    targets: Tensor


def query_groups(protocol: EvaluationProtocol, dataset: Dataset, split: str) -> list[QueryGroup]:
    """Every query of a split whose relation is evaluated, grouped so that one candidate matrix serves each group."""
    triples = dataset.triples[split]
    groups = []
    for direction in protocol.directions(dataset):
        anchor, answer = (HEAD, TAIL) if direction == "tail" else (TAIL, HEAD)
        for relation in torch.unique(triples[:, RELATION]).tolist():
            if not dataset.relation_info[dataset.relations[relation]].evaluated:
                continue
            rows = triples[triples[:, RELATION] == relation]
            rows = rows[rows[:, anchor].argsort(stable=True)]
            candidates = protocol.candidates(dataset, split, relation, direction)
            targets = torch.searchsorted(candidates, rows[:, answer].contiguous())
            groups.append(QueryGroup(direction, relation, rows[:, anchor].contiguous(), candidates, targets))
    return groups


def make_protocol(name: str) -> EvaluationProtocol:
    """The protocol of this name.

    Raises:
        UnknownNameError: no protocol has this name.
    """
    protocol: EvaluationProtocol = REGISTRY.resolve(name)()
    return protocol
