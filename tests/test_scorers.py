"""Scorers: the formulas of the papers, three agreeing ways to apply them."""

import cmath
import math

import pytest

from mkg_builder.errors import UnknownNameError
from tests.vlkge_contracts import ScorerContract
from vlkge.scorers import REGISTRY, ComplEx, DistMult, RotatE, TransE, make_scorer


def to_complex(vector: list[float]) -> list[complex]:
    half = len(vector) // 2
    return [complex(a, b) for a, b in zip(vector[:half], vector[half:], strict=True)]


def unit(vector: list[float]) -> list[float]:
    return [x / math.hypot(*vector) for x in vector]


class TestTransE(ScorerContract):
    scorer = TransE()

    def formula(self, head, relation, tail):
        triples = zip(unit(head), unit(relation), unit(tail), strict=True)
        return 12 - sum(abs(h + r - t) for h, r, t in triples)


class TestDistMult(ScorerContract):
    scorer = DistMult()

    def formula(self, head, relation, tail):
        return sum(h * r * t for h, r, t in zip(head, relation, tail, strict=True))


class TestComplEx(ScorerContract):
    scorer = ComplEx()

    def formula(self, head, relation, tail):
        triples = zip(to_complex(head), to_complex(relation), to_complex(tail), strict=True)
        return sum(h * r * t.conjugate() for h, r, t in triples).real


class TestRotatE(ScorerContract):
    scorer = RotatE()

    def formula(self, head, relation, tail):
        triples = zip(to_complex(head), relation, to_complex(tail), strict=True)
        return 12 - math.sqrt(sum(abs(h * cmath.exp(1j * angle) - t) ** 2 for h, angle, t in triples))


def test_every_registered_scorer_has_a_contract_test() -> None:
    tested = {type(contract.scorer) for contract in ScorerContract.__subclasses__()}
    assert {type(make_scorer(name)) for name in REGISTRY.names()} <= tested


def test_an_unknown_scorer_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'complx'; did you mean 'complex'"):
        make_scorer("complx")
