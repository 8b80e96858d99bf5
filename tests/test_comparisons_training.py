"""Comparisons in training: sampled and all-with-all are the numbers of the pairs, and so are their gradients."""

import pytest
import torch

from vlkge.comparisons import Euclidean, Manhattan, Product
from vlkge.scorers import REGISTRY, make_scorer

ALL = [Product(), Euclidean(), Manhattan()]
INDEX = torch.tensor([[3, 3, 0], [1, 4, 3], [2, 2, 2], [0, 1, 4]])


def vectors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = (torch.randn(rows, 7, generator=generator, dtype=torch.float64) for rows in (4, 5))
    return tuple(one.requires_grad_() for one in made)


@pytest.mark.parametrize("comparison", ALL)
def test_sampled_and_matrix_are_the_numbers_of_the_pairs(comparison) -> None:
    queries, entities = vectors()
    pairs = comparison.pairs(queries[:, None], entities[None])
    torch.testing.assert_close(comparison.matrix(queries, entities), pairs)
    torch.testing.assert_close(comparison.sampled(queries, entities, INDEX), pairs.gather(1, INDEX))


@pytest.mark.parametrize("comparison", ALL)
def test_gradients_are_finite_differences(comparison) -> None:
    assert torch.autograd.gradcheck(lambda q, e: comparison.sampled(q, e, INDEX), vectors())
    assert torch.autograd.gradcheck(comparison.matrix, vectors())


@pytest.mark.parametrize("comparison", ALL)
def test_more_may_be_drawn_than_there_are_entities(comparison) -> None:
    queries, entities = vectors()
    index = torch.tensor([[0, 1, 4, 4, 2, 3, 0, 0]] * 4)
    expected = comparison.matrix(queries, entities).gather(1, index)
    torch.testing.assert_close(comparison.sampled(queries, entities, index), expected)


def test_a_distance_of_nothing_has_a_finite_gradient() -> None:
    queries = torch.ones(1, 3, requires_grad=True)
    Euclidean().sampled(queries, torch.ones(2, 3), torch.tensor([[0]])).sum().backward()
    assert queries.grad.isfinite().all()


@pytest.mark.parametrize("name", REGISTRY.names())
@pytest.mark.parametrize("direction", ["tail", "head"])
def test_a_scorers_queries_and_keys_compare_to_its_formula(name: str, direction: str) -> None:
    scorer, generator = make_scorer(name), torch.Generator().manual_seed(1)
    head, tail = (torch.randn(6, 4 * scorer.parts, generator=generator) for _ in range(2))
    relation = torch.randn(6, scorer.relation_size(4), generator=generator)
    anchor, answer = (head, tail) if direction == "tail" else (tail, head)
    compared = scorer.margin + scorer.comparison.pairs(
        scorer.query(anchor, relation, direction), scorer.compared(answer)
    )
    torch.testing.assert_close(compared, scorer.score(head, relation, tail), atol=1e-5, rtol=1e-5)
