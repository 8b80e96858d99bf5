"""Rankings by definition, in plain Python, and as the official code does them; nothing of ours is used here.

Triples are (head, relation, tail) of names, scores a dictionary of every such triple.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

Triple = tuple[str, str, str]


class Graph(NamedTuple):
    """A published file, row by row, and what its experiment says of it."""

    rows: list[tuple[str, str, str, str]]  # head, relation, tail, split
    inductive: bool
    excluded: set[str]  # relations that are learned from and never asked for
    split_local: set[str]  # relations whose candidates are the asked split's tails


class Answer(NamedTuple):
    direction: str
    triple: Triple
    rank: Fraction
    candidates: int


def strict(graph: Graph, split: str, scores: dict[Triple, float]) -> Iterator[Answer]:
    """Each triple with one end replaced: it competes unless it is known. Ties share the mean of their ranks."""
    everyone = sorted({end for h, _, t, _ in graph.rows for end in (h, t)})
    known = {(h, r, t) for h, r, t, _ in graph.rows}
    for h, r, t, mode in graph.rows:
        if mode != split or r in graph.excluded:
            continue
        tails = sorted({b for _, a, b, _ in graph.rows if a == r}) if graph.inductive else everyone
        made = {"tail": [(h, r, other) for other in tails]}
        if not graph.inductive:
            made["head"] = [(other, r, t) for other in everyone]
        for direction, triples in made.items():
            rivals = [scores[triple] for triple in triples if triple not in known]
            mine = scores[h, r, t]
            better, tied = sum(x > mine for x in rivals), rivals.count(mine)
            yield Answer(direction, (h, r, t), 1 + better + Fraction(tied, 2), len(rivals) + 1)


def official(graph: Graph, split: str, scores: dict[Triple, float]) -> Iterator[Answer]:
    """Step by step what the published code does, an infinity and a stable sort included."""
    rows = [row for row in graph.rows if row[3] == "train" or row[1] not in graph.excluded]
    index: dict[str, int] = {}
    for name in [row[0] for row in rows] + [row[2] for row in rows]:
        index.setdefault(name, len(index))
    names = list(index)
    filters: dict[tuple[int, str], set[int]] = {}
    for h, r, t, _ in rows:
        filters.setdefault((index[h], r), set()).add(index[t])
        filters.setdefault((index[t], r), set()).add(index[h])
    pools: dict[str, set[int]] = {}
    for _, r, t, mode in rows:
        if r not in graph.split_local or mode == split:
            pools.setdefault(r, set()).add(index[t])
    for h, r, t, mode in rows:
        if mode != split:
            continue
        for direction in ("tail",) if graph.inductive else ("tail", "head"):
            anchor, target = (index[h], index[t]) if direction == "tail" else (index[t], index[h])
            correct = filters.get((anchor, r), set())
            if graph.inductive:
                left = sorted((pools[r] - correct) | {target})
                values = [scores[h, r, names[other]] for other in left]
                place, count = left.index(target), len(left)
            else:
                ends = [(h, r, other) if direction == "tail" else (other, r, t) for other in names]
                values = [scores[triple] for triple in ends]
                for other in correct - {target}:
                    values[other] = float("-inf")
                place, count = target, len(names) - len(correct - {target})
            order = sorted(range(len(values)), key=lambda at: -values[at])
            yield Answer(direction, (h, r, t), Fraction(order.index(place) + 1), count)
