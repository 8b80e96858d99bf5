"""Fusions: one vector out of several, absent ones never counting."""

import math

import pytest
import torch

from mkg_builder.errors import UnknownNameError
from tests.vlkge_contracts import FusionContract
from vlkge.fusion import REGISTRY, Addition, Average, Concat, Gated, Weighted, make_fusion

ZERO = [0.0] * 4


class TestAddition(FusionContract):
    fusion = Addition

    def naive(self, vectors, fusion):
        return [sum(column) for column in zip(*(vector or ZERO for vector in vectors), strict=True)]


class TestAverage(FusionContract):
    fusion = Average

    def naive(self, vectors, fusion):
        there = [vector for vector in vectors if vector]
        return [sum(column) / len(there) for column in zip(*there, strict=True)] or ZERO


class TestConcat(FusionContract):
    fusion = Concat

    def naive(self, vectors, fusion):
        return [x for vector in vectors for x in vector or ZERO]


class TestWeighted(FusionContract):
    fusion = Weighted

    def naive(self, vectors, fusion):
        logits = fusion.logits.tolist()
        there = {m: math.exp(logits[m]) for m, vector in enumerate(vectors) if vector}
        total = sum(there.values())
        return [sum(there[m] / total * vectors[m][i] for m in there) for i in range(4)]

    def test_what_is_absent_never_matters_however_heavy(self) -> None:
        fusion = Weighted(2, 3)
        fusion.logits.data = torch.tensor([-110.0, 0.0])
        vectors, present = torch.ones(2, 1, 3), torch.tensor([[True], [False]])
        assert fusion(vectors, present).tolist() == [[1.0, 1.0, 1.0]]

    def test_its_weights_learn(self) -> None:
        fusion, vectors, present = self.case()
        fusion(vectors, present).square().sum().backward()
        assert fusion.logits.grad.abs().min() > 0


class TestGated(FusionContract):
    fusion = Gated

    def naive(self, vectors, fusion):
        gates, biases = fusion.gates.tolist(), fusion.biases.tolist()
        there = {
            m: math.exp(biases[m] + sum(g * x for g, x in zip(gates[m], vector, strict=True)))
            for m, vector in enumerate(vectors)
            if vector
        }
        return [sum(there[m] / sum(there.values()) * vectors[m][i] for m in there) for i in range(4)]

    def test_at_its_start_it_is_the_mean(self) -> None:
        _, vectors, present = self.case()
        torch.testing.assert_close(Gated(3, 4)(vectors, present), Average(3, 4)(vectors, present))


def test_every_registered_fusion_has_a_contract_test() -> None:
    tested = {contract.fusion for contract in FusionContract.__subclasses__()}
    assert {type(make_fusion(name, 2, 4)) for name in REGISTRY.names()} <= tested


def test_an_unknown_fusion_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'average'"):
        make_fusion("averge", 2, 4)
