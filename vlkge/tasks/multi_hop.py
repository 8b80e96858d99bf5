"""Questions over several facts at once, answered by Continuous Query Decomposition on the scores of single facts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from vlkge.protocol import KnownAnswers
from vlkge.scorers import Direction

Norm = Literal["product", "min"]
UNKNOWN = 1e-30
"""So little that such a tail comes last, and not nothing, so that the other facts of a question still count."""
SCORES_AT_ONCE = 2**22
"""How many scores are held at a time."""

Truth = Callable[[Direction, int, Tensor, Tensor], Tensor]
"""Truth values [q, m] between 0 and 1 of a relation between anchors [q] and candidates [m] for its asked end."""

AND: Mapping[Norm, Callable[[Tensor, Tensor], Tensor]] = {"product": torch.mul, "min": torch.minimum}
"""t-norms: the truth of `a and b`."""
OR: Mapping[Norm, Callable[[Tensor, Tensor], Tensor]] = {
    "product": lambda a, b: a + b - a * b,
    "min": torch.maximum,
}
"""Their t-conorms: the truth of `a or b`."""


@dataclass(frozen=True, eq=False)
class Node:
    """A variable and what is said of it, as the root of a tree.

    Attributes:
        name: the variable's.
        candidates: int64 [m], the entities that it may stand for, sorted.
        steps: the facts that join it to what is further from the question's target; all of them hold.
    """

    name: str
    candidates: Tensor
    steps: tuple["Step", ...]


@dataclass(frozen=True, eq=False)
class Step:
    """A fact that joins a variable to an entity or to a variable.

    Attributes:
        relation: index.
        direction: the end at which the variable stands.
        source: what stands at the other end.
    """

    relation: int
    direction: Direction
    source: "Node | int"


@dataclass(frozen=True, eq=False)
class Solved:
    """How true it is that a variable stands for each of its candidates.

    Attributes:
        node: the variable.
        truth: [m].
        choices: for each step to a variable, what that is and which of its candidates [m] is best for each of ours.
    """

    node: Node
    truth: Tensor
    choices: tuple[tuple["Solved", Tensor], ...]

    def path(self, place: int) -> dict[str, int]:
        """The entities that the variables stand for when this one stands for the candidate at a place."""
        found = {self.node.name: int(self.node.candidates[place])}
        for solved, best in self.choices:
            found |= solved.path(int(best[place]))
        return found


def solve(node: Node, truth: Truth, beam: int, norm: Norm = "product") -> Solved:
    """The truth of each candidate of a variable: CQD-Beam on a tree.

    Of conjuncts e_1 ... e_n over the target A and variables V the answer is argmax over A of
    max over V of e_1 T ... T e_n, T a t-norm (Arakelyan, Daza, Minervini, Cochez, "Complex Query Answering with Neural
    Link Predictors", ICLR 2021, section 3). On a tree this is exact when each variable on the way keeps all of its
    candidates; it keeps the `beam` likeliest.
    """
    conjunction = AND[norm]
    total = torch.ones(len(node.candidates), dtype=torch.float64)
    choices = []
    for step in node.steps:
        if isinstance(step.source, int):
            anchor = torch.tensor([step.source])
            total = conjunction(total, truth(step.direction, step.relation, anchor, node.candidates)[0])
            continue
        inner = solve(step.source, truth, beam, norm)
        # a stable sort: of equals the first ids stay, whatever the device and the number of threads
        kept = inner.truth.sort(descending=True, stable=True).indices[:beam]
        facts = truth(step.direction, step.relation, step.source.candidates[kept], node.candidates)
        best = conjunction(inner.truth[kept, None], facts).max(0)
        total = conjunction(total, best.values)
        choices.append((inner, kept[best.indices]))
    return Solved(node, total, tuple(choices))


def solve_either(
    branches: Sequence[Node], truth: Truth, beam: int, norm: Norm = "product"
) -> tuple[Tensor, list[Solved]]:
    """The truth [m] of each candidate of a target of which one branch or another is said, and each branch's own."""
    solved = [solve(branch, truth, beam, norm) for branch in branches]
    total = solved[0].truth
    for other in solved[1:]:
        total = OR[norm](total, other.truth)
    return total, solved


class Scores(Protocol):
    """Whatever scores candidates of any range; as in `vlkge.evaluate`."""

    def score(self, direction: Direction, relation: int, anchors: Tensor, candidates: Tensor) -> Tensor:
        """Scores [q, m] of m candidates for the asked end of q queries."""


class ScoredTruth:
    """The truth of a fact by a model's scores: `n softmax(scores)` over the tails of its head, at most 1.

    n is how many tails the head has in train, at least 1: a model that gives equal shares to all of them is right
    (Bai, Lv, Li, Hou, "Answering Complex Logical Queries on Knowledge Graphs via Query Computation Tree Optimization",
    ICML 2023). Whichever end is asked for, the shares are those among tails, which is what was learned: a fact has one
    truth. That of a tail of which the model knows nothing is `UNKNOWN`.

    Args:
        scores: of the model.
        train: int64 [n, 3], the facts that are learned from.
        tails: by relation, the entities that compete for its tail.
        unknown: bool [entities], of which the model knows nothing.
        hybrid: whether a fact of train is true whatever the model says.
    """

    def __init__(
        self, scores: Scores, train: Tensor, tails: Sequence[Tensor], unknown: Tensor, hybrid: bool = True
    ) -> None:
        self._scores, self._tails, self._unknown, self._hybrid = scores, tails, unknown, hybrid
        head, relation, tail = train.unbind(1)
        self._known = KnownAnswers(head, relation, tail, len(tails))
        self._sums: dict[int, Tensor] = {}

    def __call__(self, direction: Direction, relation: int, anchors: Tensor, candidates: Tensor) -> Tensor:
        """Truth values [q, m], float64."""
        heads, tails = (anchors, candidates) if direction == "tail" else (candidates, anchors)
        scores = self._of(relation, heads, tails) - self._log_sums(relation, heads)[:, None]
        rows, answers = self._known.lookup(heads, relation)
        counts = torch.bincount(rows, minlength=len(heads)).clamp(min=1)
        truth = (scores.exp() * counts[:, None]).clamp(max=1)
        truth[:, self._unknown[tails]] = UNKNOWN
        if self._hybrid:
            ordered, order = tails.sort()
            places = torch.searchsorted(ordered, answers).clamp(max=len(tails) - 1)
            among = ordered[places] == answers
            truth[rows[among], order[places[among]]] = 1.0
        return truth if direction == "tail" else truth.T

    def _of(self, relation: int, heads: Tensor, tails: Tensor) -> Tensor:
        return self._scores.score("tail", relation, heads, tails).cpu().double()

    def _log_sums(self, relation: int, heads: Tensor) -> Tensor:
        """The logarithm of what the exponentials of each head's scores add up to; reckoned once."""
        sums = self._sums.setdefault(relation, torch.full((len(self._unknown),), torch.nan, dtype=torch.float64))
        tails = self._tails[relation]
        for part in torch.split(heads[sums[heads].isnan()], max(1, SCORES_AT_ONCE // len(tails))):
            sums[part] = self._of(relation, part, tails).logsumexp(1)
        return sums[heads]
