"""Adagrad on rows: the same steps as torch's on the whole table, at the cost of the rows."""

import pytest
import torch
from torch.nn.functional import embedding

from vlkge.optimizer import RowAdagrad

ROWS = 800


@pytest.mark.parametrize("rows", [[2, 5, 9], [5, 5, 2], list(range(ROWS))])
def test_sparse_steps_are_the_dense_steps_of_torch(rows: list[int]) -> None:
    start = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    for sparse, weight, optimizer in (
        (True, ours, RowAdagrad([ours], 0.1)),
        (False, theirs, torch.optim.Adagrad([theirs], 0.1)),
    ):
        for _ in range(3):
            optimizer.zero_grad()
            embedding(torch.tensor(rows), weight, sparse=sparse).pow(2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_a_row_without_a_gradient_is_not_touched() -> None:
    weight = torch.nn.Parameter(torch.ones(5, 2))
    optimizer = RowAdagrad([weight], 0.1)
    embedding(torch.tensor([1, 3]), weight, sparse=True).sum().backward()
    optimizer.step()
    assert (weight != 1).any(1).tolist() == [False, True, False, True, False]
    assert (optimizer.state[weight]["sum"] != 0).any(1).tolist() == [False, True, False, True, False]
