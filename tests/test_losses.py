"""Losses and regularisers: their formulas, number by number."""

import math

import pytest
import torch

from vlkge.losses import dura, logistic, n3, softmax
from vlkge.scorers import make_scorer

POSITIVE = torch.tensor([1.0, -2.0])
NEGATIVE = torch.tensor([[0.5, -torch.inf], [3.0, -1.0]])


def test_logistic_is_the_sum_of_softplus_over_what_is_there() -> None:
    total, count = logistic(POSITIVE, NEGATIVE)
    signed = [-1.0, 2.0, 0.5, 3.0, -1.0]
    assert (total.item(), count.item()) == (pytest.approx(sum(math.log1p(math.exp(x)) for x in signed)), 5)


def test_softmax_is_the_cross_entropy_of_the_positive() -> None:
    total, count = softmax(POSITIVE, NEGATIVE)
    first = -math.log(math.exp(1) / (math.exp(1) + math.exp(0.5)))
    second = -math.log(math.exp(-2) / (math.exp(-2) + math.exp(3) + math.exp(-1)))
    assert (total.item(), count.item()) == (pytest.approx(first + second), 2)


def test_a_positive_without_any_negative_costs_nothing_and_has_a_finite_gradient() -> None:
    positive = torch.zeros(1, requires_grad=True)
    total, _ = softmax(positive, torch.full((1, 3), -torch.inf))
    total.backward()
    assert (total.item(), positive.grad.item()) == (0.0, 0.0)


def test_n3_cubes_moduli_and_leaves_angles_out() -> None:
    head, tail = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])  # one complex component: moduli 5 and 2
    assert n3(make_scorer("complex"), head, torch.tensor([[1.0, 0.0]]), tail).item() == pytest.approx(125 + 1 + 8)
    assert n3(make_scorer("rotate"), head, torch.tensor([[9.0]]), tail).item() == pytest.approx(125 + 8)
    assert n3(make_scorer("distmult"), head, tail, tail).item() == pytest.approx(27 + 64 + 8 + 8)


def test_dura_sums_the_squares_of_both_queries_and_both_ends() -> None:
    head, relation, tail = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]]), torch.tensor([[0.5, 4.0]])
    expected = (9 + 4) + (0.25 + 16) + (2.25 + 16) + (1 + 4)
    assert dura(make_scorer("distmult"), head, relation, tail).item() == pytest.approx(expected)
