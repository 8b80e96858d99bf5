"""Questions of every shape made from a graph's splits, and how well a model ranks the answers that train lacks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mkg_builder.progress import watched
from vlkge.dataset import Dataset
from vlkge.protocol import KnownAnswers, all_triples
from vlkge.query_language import Atom, Binder, Query, Term
from vlkge.ranking import Metrics, expect_by_chance, summarise
from vlkge.scorers import Direction
from vlkge.tasks.multi_hop import Node

Link = tuple[int, int]
Fact = tuple[int, int, int]
SHAPES: Mapping[str, tuple[tuple[Link, ...], ...]] = {
    "1p": (((0, 1),),),
    "2p": (((0, 1), (1, 2)),),
    "3p": (((0, 1), (1, 2), (2, 3)),),
    "2i": (((0, 1), (0, 2)),),
    "3i": (((0, 1), (0, 2), (0, 3)),),
    "ip": (((0, 1), (1, 2), (1, 3)),),
    "pi": (((0, 1), (1, 2), (0, 3)),),
    "2u": (((0, 1),), ((0, 2),)),
    "up": (((0, 1), (1, 2)), ((0, 1), (1, 3))),
}
"""By name (Ren, Hu, Leskovec, "Query2box", ICLR 2020), the branches of a question as links between places.

Place 0 is the target; places without a further link are given entities; branches share places and what joins them.
"""
MOST_ANSWERS = 100
"""Questions with more answers are left out, as in the benchmarks of the field."""
DRAWS = 50
"""How many draws are made at most for each question that is asked for."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Question:
    """A question with its answers.

    Attributes:
        query: as one may type it.
        branches: the same as trees.
        easy: int64 [e], what the train triples alone answer.
        hard: int64 [h], what needs a triple of validation or test.
    """

    query: Query
    branches: list[Node]
    easy: Tensor
    hard: Tensor


class Facts:
    """Some triples, asked for the end of many facts at a time."""

    def __init__(self, triples: Tensor, relations: int) -> None:
        head, relation, tail = triples.unbind(1)
        self.by: dict[Direction, KnownAnswers] = {
            "tail": KnownAnswers(head, relation, tail, relations),
            "head": KnownAnswers(tail, relation, head, relations),
        }

    def answers(self, branches: Sequence[Node]) -> Tensor:
        """The entities of which one branch or another holds, sorted."""
        return torch.unique(torch.cat([self._of(branch) for branch in branches]))  # type: ignore[no-any-return]

    def _of(self, node: Node) -> Tensor:
        found = node.candidates
        for step in node.steps:
            anchors = torch.tensor([step.source]) if isinstance(step.source, int) else self._of(step.source)
            _, reached = self.by[step.direction].lookup(anchors, step.relation)
            found = found[torch.isin(found, reached)]
        return found


class QuestionMaker:
    """Draws questions whose answers need a triple of validation or test.

    A triple of those splits is drawn for one link of the shape, and the other links from what is joined to it; of a
    given entity's relations each is as likely. No triple stands twice, no entity twice on the way to the target.

    Args:
        dataset: the graph; relations that are not evaluated are left out.
        tails_only: whether facts are asked for their tail alone, as in the inductive protocol.
    """

    def __init__(self, dataset: Dataset, tails_only: bool = False) -> None:
        self.dataset, self.tails_only, self._binder = dataset, tails_only, Binder(dataset)
        self.train = Facts(dataset.triples["train"], len(dataset.relations))
        self.all = Facts(all_triples(dataset), len(dataset.relations))
        evaluated = np.array([dataset.relation_info[name].evaluated for name in dataset.relations])
        new = torch.cat([dataset.triples["validation"], dataset.triples["test"]]).numpy()
        self._new: Indices = new[evaluated[new[:, 1]]]
        head, relation, tail = all_triples(dataset).numpy().T
        keep = evaluated[relation]
        head, relation, tail = head[keep], relation[keep], tail[keep]
        # every triple as seen from its head and from its tail; a code tells the relation and the end
        self._codes = 2 * len(dataset.relations)
        keys = np.concatenate([head * self._codes + 2 * relation, tail * self._codes + 2 * relation + 1])
        order = np.argsort(keys, kind="stable")
        self._keys, self._others = keys[order], np.concatenate([tail, head])[order]

    def possible(self, shape: str) -> bool:
        """Whether the types of the relations allow a question of this shape."""
        info = [info for info in self.dataset.relation_info.values() if info.evaluated]
        steps = {(one.domain, one.range) for one in info}
        if not self.tails_only:
            steps |= {(one.range, one.domain) for one in info}
        links = {link for branch in SHAPES[shape] for link in branch}

        def kinds(place: int) -> set[str]:
            further = [kinds(child) for parent, child in links if parent == place]
            found = [{to for start, to in steps if start in inner} for inner in further]
            return set.intersection(*found) if found else set(self.dataset.types)

        return bool(kinds(0))

    def make(self, shape: str, count: int, seed: int) -> list[Question]:
        """At most `count` distinct questions of a shape; fewer where `DRAWS` draws for each find no more."""
        generator = np.random.default_rng([seed, list(SHAPES).index(shape)])
        found: dict[str, Question] = {}
        for _ in range(count * DRAWS if len(self._new) and self.possible(shape) else 0):
            query = self._draw(shape, generator)
            if query is None or str(query) in found:
                continue
            question = self._question(query)
            if len(question.hard) and len(question.easy) + len(question.hard) <= MOST_ANSWERS:
                found[str(query)] = question
            if len(found) == count:
                break
        return list(found.values())

    def _question(self, query: Query) -> Question:
        branches = self._binder.bind(query)
        easy, every = self.train.answers(branches), self.all.answers(branches)
        return Question(query, branches, easy, every[~torch.isin(every, easy)])

    def _draw(self, shape: str, generator: np.random.Generator) -> Query | None:
        links = sorted({link for branch in SHAPES[shape] for link in branch})
        head, relation, tail = self._new[generator.integers(len(self._new))].tolist()
        first = links[generator.integers(len(links))]
        forward = self.tails_only or bool(generator.integers(2))
        at = {first[0]: tail, first[1]: head} if forward else {first[0]: head, first[1]: tail}
        facts: dict[Link, Fact] = {first: (head, relation, tail)}
        while len(facts) < len(links):
            link = next(one for one in links if one not in facts and (one[0] in at or one[1] in at))
            grown = link[0] if link[0] in at else link[1]
            drawn = self._neighbour(at[grown], grown == link[0], generator)
            if drawn is None:
                return None
            facts[link], at[sum(link) - grown] = drawn
        parents = {child: parent for parent, child in links}
        ways = [list(_way(place, parents)) for place in at]
        if len(set(facts.values())) < len(facts) or any(len({at[p] for p in way}) < len(way) for way in ways):
            return None
        return self._written(shape, facts, at)

    def _written(self, shape: str, facts: Mapping[Link, Fact], at: Mapping[int, int]) -> Query:
        asked = sorted({parent for parent, _ in facts})
        terms = {
            place: Term("?" + "xyz"[asked.index(place)], True) if place in asked else Term(self._id(entity), False)
            for place, entity in at.items()
        }

        def atom(link: Link) -> Atom:
            head, relation, _ = facts[link]
            ends = link if at[link[0]] == head else link[::-1]
            return Atom(self.dataset.relations[relation], terms[ends[0]], terms[ends[1]])

        return Query(terms[0].text, tuple(tuple(map(atom, branch)) for branch in SHAPES[shape]))

    def _id(self, entity: int) -> str:
        return self.dataset.entities[entity]

    def _neighbour(self, entity: int, asked: bool, generator: np.random.Generator) -> tuple[Fact, int] | None:
        """A triple of an entity that is asked for, or given, and what stands at its other end."""
        bounds = np.searchsorted(self._keys, entity * self._codes + np.arange(self._codes + 1))
        possible = np.diff(bounds) > 0
        if self.tails_only:
            possible[int(not asked) :: 2] = False  # an asked entity is a tail, a given one a head
        codes = np.flatnonzero(possible)
        if not len(codes):
            return None
        code = int(generator.choice(codes))
        other = int(self._others[generator.integers(bounds[code], bounds[code + 1])])
        relation, at_tail = divmod(code, 2)
        return ((other, relation, entity) if at_tail else (entity, relation, other)), other


def _way(place: int, parents: Mapping[int, int]) -> Iterator[int]:
    """A place and those on the way to the target."""
    yield place
    if place in parents:
        yield from _way(parents[place], parents)


Answerer = Callable[[Sequence[Node]], Tensor]
"""How true it is [m] that each candidate of a question's target answers it."""


@dataclass(frozen=True)
class ShapeResult:
    """How well the hard answers to the questions of one shape are ranked; metrics are means over questions.

    Attributes:
        shape: its name.
        questions: how many.
        answers: how many hard ones they have.
        model, chance: None where there is no question.
        absent: why there is none.
    """

    shape: str
    questions: int = 0
    answers: int = 0
    model: Metrics | None = None
    chance: Metrics | None = None
    absent: str | None = None


def measure(shape: str, questions: Sequence[Question], answer: Answerer) -> ShapeResult:
    """Rank every hard answer among the candidates of the target that are no other answer; ties are realistic."""
    found = [_ranks(question, answer(question.branches)) for question in watched(f"questions {shape}", questions)]
    model = _mean([summarise(ranks, candidates) for ranks, candidates in found])
    chance = _mean([expect_by_chance(candidates) for _, candidates in found])
    return ShapeResult(shape, len(questions), model.queries, model, chance)


def _ranks(question: Question, truth: Tensor) -> tuple[Tensor, Tensor]:
    candidates = question.branches[0].candidates
    others = truth[~torch.isin(candidates, torch.cat([question.easy, question.hard]))].sort().values
    mine = truth[torch.searchsorted(candidates, question.hard)]
    under, up_to = torch.searchsorted(others, mine), torch.searchsorted(others, mine, right=True)
    return 1 + len(others) - (under + up_to).double() / 2, torch.full_like(mine, len(others) + 1, dtype=torch.int64)


def _mean(metrics: Sequence[Metrics]) -> Metrics:
    """The mean over questions, so that one with many answers counts as one with few; queries are summed."""
    fields = {name: float(np.mean([getattr(one, name) for one in metrics])) for name in Metrics.__dataclass_fields__}
    return Metrics(**{**fields, "queries": sum(one.queries for one in metrics)})  # type: ignore[arg-type]
