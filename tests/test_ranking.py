"""Ranks: ties explicit, known answers out of the way, non-finite scores refused."""

from fractions import Fraction

import pytest
import torch

from vlkge.counting import Counter
from vlkge.errors import RunError
from vlkge.keys import ExactKeys
from vlkge.queries import Asked, Batch
from vlkge.ranking import Ranks, expect_by_chance, summarise


def rank_one(scores: list[float], target: int, known: tuple[int, ...] = ()) -> Ranks:
    columns = torch.tensor(known, dtype=torch.int64)
    row, order = torch.zeros(1, dtype=torch.int64), torch.arange(len(scores))
    left = torch.tensor([len(scores) - len(set(known) - {target})])
    batch = Batch(
        [Asked("tail", 0, row)], order, order, row, torch.tensor([target]), torch.zeros_like(columns), columns, left
    )
    return Counter(torch.device("cpu")).rank(ExactKeys(torch.tensor([scores])), batch)


def test_the_best_score_has_rank_one() -> None:
    assert rank_one([0.1, 0.9, 0.5], 1).realistic.tolist() == [1.0]
    assert rank_one([0.1, 0.9, 0.5], 0).realistic.tolist() == [3.0]


def test_ties_are_won_lost_shared_or_in_order() -> None:
    ranks = rank_one([5.0, 7.0, 5.0, 5.0, 1.0], 2)
    assert {ties: ranks.by(ties).item() for ties in ("optimistic", "pessimistic", "realistic", "first")} == {
        "optimistic": 2, "pessimistic": 4, "realistic": 3, "first": 3,
    }  # fmt: skip


def test_known_answers_do_not_compete_and_are_not_candidates() -> None:
    ranks = rank_one([9.0, 8.0, 7.0, 7.0], 2, known=(0, 2, 3))
    assert (ranks.pessimistic.item(), ranks.candidates.item()) == (2, 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_is_an_error(bad: float) -> None:
    with pytest.raises(RunError, match="not finite"):
        rank_one([1.0, bad], 0)


def test_metrics_are_means_over_the_queries() -> None:
    metrics = summarise(torch.tensor([1.0, 2.0, 4.0, 20.0]), torch.tensor([10, 10, 30, 30]))
    assert metrics.mrr == float((1 + Fraction(1, 2) + Fraction(1, 4) + Fraction(1, 20)) / 4)
    assert (metrics.hits_at_1, metrics.hits_at_3, metrics.hits_at_10) == (0.25, 0.5, 0.75)
    assert (metrics.queries, metrics.candidates, metrics.mean_rank) == (4, 20.0, 6.75)


def test_a_shared_first_place_is_no_hit_at_one() -> None:
    assert summarise(rank_one([3.0, 3.0], 0).realistic, torch.tensor([2])).hits_at_1 == 0.0


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40])
def test_chance_is_the_mean_over_every_rank(n: int) -> None:
    every_rank = summarise(torch.arange(1, n + 1).double(), torch.full((n,), n))
    chance = expect_by_chance(torch.tensor([n]))
    for field in ("mrr", "hits_at_1", "hits_at_3", "hits_at_10", "mean_rank", "candidates"):
        assert getattr(chance, field) == pytest.approx(getattr(every_rank, field), rel=1e-12)
