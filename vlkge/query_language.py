"""The language of questions over several facts: text to a query, and a query to trees over a graph's entities."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken
from torch import Tensor

from mkg_builder.errors import UnknownNameError, UsageError
from vlkge.dataset import Dataset
from vlkge.scorers import Direction
from vlkge.tasks.multi_hop import Node, Step

_NAME = r"""[^\s(),|"?:][^\s(),|"]*"""
GRAMMAR = rf"""
    start: VARIABLE ":" either
    either: both ("|" both)*
    both: part ("," part)*
    ?part: atom | "(" either ")"
    atom: (NAME | QUOTED) "(" _term "," _term ")"
    _term: VARIABLE | NAME | QUOTED
    VARIABLE: /\?\w+/
    NAME: /{_NAME}/
    QUOTED: /"(\\.|[^"\\\x00-\x1f])*"/
    %ignore /\s+/
"""
EXAMPLE = "?x: isPupilOf(?x, ?y), isInfluencedBy(?y, artist:claude-monet)"
_WORDS = {
    "VARIABLE": "a variable such as ?x", "NAME": "a name", "COLON": "':'", "LPAR": "'('", "RPAR": "')'",
    "COMMA": "a comma", "VBAR": "'|'", "$END": "the end",
}  # fmt: skip
MOST_BRANCHES = 64


@dataclass(frozen=True)
class Term:
    """What stands at an end of a fact: a variable, with its question mark, or the id of an entity; where it stands."""

    text: str
    variable: bool
    column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.text if self.variable else _written(self.text)


@dataclass(frozen=True)
class Atom:
    """One fact that is asked for; `column` is where it stands in the text, for messages."""

    relation: str
    head: Term
    tail: Term
    column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{_written(self.relation)}({self.head}, {self.tail})"


@dataclass(frozen=True)
class Query:
    """What is asked for, and what is said of it: one branch or another, each of facts that all hold.

    A variable other than the target belongs to its branch alone.
    """

    target: str
    branches: tuple[tuple[Atom, ...], ...]

    def __str__(self) -> str:
        return f"{self.target}: " + " | ".join(", ".join(map(str, branch)) for branch in self.branches)


def _written(name: str) -> str:
    return name if re.fullmatch(_NAME, name) else json.dumps(name, ensure_ascii=False)


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr")


def parse(text: str) -> Query:
    """The query of a text such as `?x: isPupilOf(?x, ?y), isInfluencedBy(?y, artist:claude-monet)`.

    `,` is and, `|` is or and binds less; parentheses group. A name with blanks, commas, parentheses or quotes in it
    stands in double quotes, as in JSON.

    Raises:
        UsageError: the text is not of this form; names the column.
    """
    try:
        tree = _parser().parse(text)
    except UnexpectedToken as error:
        got = "the end" if error.token.type == "$END" else repr(str(error.token))
        column = len(text) + 1 if error.token.type == "$END" else _column(error.token)
        expected = set(error.accepts or error.expected)
        expected |= {"COMMA", "VBAR"} if "$END" in expected else set()  # the parser has let go of them by then
        raise _refuse(column, f"expected {_either(expected)}, got {got}") from None
    except UnexpectedCharacters as error:
        raise _refuse(
            (error.pos_in_stream or 0) + 1, f"expected {_either(error.allowed)}, got {error.char!r}"
        ) from None
    target, either = tree.children
    try:
        return Query(str(target), tuple(map(tuple, _branches(either))))
    except RecursionError:
        raise UsageError("question: parentheses are nested too deep; leave out those that group nothing") from None


def _refuse(column: int, problem: str) -> UsageError:
    return UsageError(f"question, column {column}: {problem}; example: {EXAMPLE}")


def _column(token: Token) -> int:
    return (token.start_pos or 0) + 1  # a character's place in the whole text, whatever lines it has


def _either(terminals: Any) -> str:
    words = [word for terminal, word in _WORDS.items() if terminal in terminals]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _branches(tree: Any) -> list[list[Atom]]:
    """The conjunctions of which one is to hold: and is distributed over or."""
    if tree.data == "atom":
        return [[_atom(tree)]]
    parts = [_branches(child) for child in tree.children]
    if tree.data == "either":
        found = [branch for part in parts for branch in part]
    else:
        if np.prod([float(len(part)) for part in parts]) > MOST_BRANCHES:
            raise UsageError(f"question: more than {MOST_BRANCHES} combinations of and and or; ask in parts")
        found = [[atom for branch in chosen for atom in branch] for chosen in product(*parts)]
    if len(found) > MOST_BRANCHES:
        raise UsageError(f"question: more than {MOST_BRANCHES} combinations of and and or; ask in parts")
    return found


def _atom(tree: Tree[Token]) -> Atom:
    relation, *ends = (token for token in tree.children if isinstance(token, Token))
    head, tail = (Term(_unquoted(end), end.type == "VARIABLE", _column(end)) for end in ends)
    return Atom(_unquoted(relation), head, tail, _column(relation))


def _unquoted(token: Token) -> str:
    if token.type != "QUOTED":
        return str(token)
    try:
        return str(json.loads(token))
    except ValueError:
        raise _refuse(_column(token), f'{token} is not quoted as in JSON: write \\" and \\\\') from None


class Binder:
    """Puts queries to a graph: names become indices, and each branch a tree whose root is the target."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._kinds = np.array(dataset.types)
        self._members: dict[str, Tensor] = {}

    def members(self, kind: str) -> Tensor:
        """The entities of a type, sorted."""
        if kind not in self._members:
            self._members[kind] = torch.from_numpy(np.flatnonzero(self._kinds == kind))
        return self._members[kind]

    def bind(self, query: Query) -> list[Node]:
        """The tree of each branch.

        Raises:
            UnknownNameError: an unknown relation or entity; names the nearest.
            UsageError: a branch is no tree with the target as its root and entities as its leaves, or types differ.
        """
        nodes = [_Branch(self, branch, query.target).tree() for branch in query.branches]
        kinds = {self.dataset.types[int(node.candidates[0])] for node in nodes}
        if len(kinds) > 1:
            of = " and ".join(sorted(kinds))
            raise UsageError(f"question: {query.target} is of type {of} in different branches; ask two questions")
        return nodes


class _Branch:
    """One conjunction on its way to a tree."""

    def __init__(self, binder: Binder, atoms: Sequence[Atom], target: str) -> None:
        self._binder, self._dataset, self._target = binder, binder.dataset, target
        self._left, self._seen = list(atoms), {target}

    def tree(self) -> Node:
        """The whole branch, from the target."""
        root = self._node(self._target, self._left[0])
        if self._left:
            atom = self._left[0]
            raise _refuse(atom.column, f"{atom} is not joined with {self._target} by variables")
        return root

    def _node(self, variable: str, arriving: Atom) -> Node:
        """A variable reached by a fact, with all that is said of it beyond that fact."""
        mine = [a for a in self._left if variable in (t.text for t in (a.head, a.tail) if t.variable)]
        if not mine:
            raise _refuse(arriving.column, f"{arriving} says of {variable} nothing that leads to an entity")
        self._left = [atom for atom in self._left if not any(atom is taken for taken in mine)]
        for atom in mine:
            other = atom.tail if atom.head == Term(variable, True) else atom.head
            if other.variable and other.text in self._seen:
                raise _refuse(atom.column, f"{atom} leads back to {other.text}; a question in circles is not answered")
            self._seen.add(other.text if other.variable else "")
        members = self._binder.members(self._kind(variable, mine))
        return Node(variable, members, tuple(self._step(variable, atom) for atom in mine))

    def _step(self, variable: str, atom: Atom) -> Step:
        direction: Direction = "head" if atom.head == Term(variable, True) else "tail"
        other = atom.tail if direction == "head" else atom.head
        relation = self._dataset.relation_index(atom.relation)
        if not other.variable:
            return Step(relation, direction, self._entity(atom, other, "tail" if direction == "head" else "head"))
        return Step(relation, direction, self._node(other.text, atom))

    def _entity(self, atom: Atom, term: Term, end: Direction) -> int:
        try:
            index = self._dataset.entity_index(term.text)
        except UnknownNameError:
            raise UnknownNameError(f"entity in column {term.column}", term.text, self._dataset.entities) from None
        expected, got = self._end(atom, end), self._dataset.types[index]
        if expected != got:
            said = f"{atom.relation} has a {end} of type {expected!r}"
            raise _refuse(term.column, f"{said}, {term} is of type {got!r}")
        return index

    def _kind(self, variable: str, atoms: Sequence[Atom]) -> str:
        """The one type that a variable can be of."""
        kinds = {self._end(atom, "head" if atom.head == Term(variable, True) else "tail"): atom for atom in atoms}
        if len(kinds) > 1:
            of = " and ".join(f"of type {kind!r} in {atom}" for kind, atom in kinds.items())
            raise _refuse(atoms[0].column, f"{variable} would be {of}")
        kind = next(iter(kinds))
        if not len(self._binder.members(kind)):
            raise _refuse(atoms[0].column, f"{variable} would be of type {kind!r}, of which nothing is in the graph")
        return kind

    def _end(self, atom: Atom, end: Direction) -> str:
        """The type of what stands at an end of a relation."""
        try:
            info = self._dataset.relation_info[atom.relation]
        except KeyError:
            known = self._dataset.relations
            raise UnknownNameError(f"relation in column {atom.column}", atom.relation, known) from None
        return info.domain if end == "head" else info.range
