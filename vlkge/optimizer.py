"""Adagrad whose cost follows the rows that a step has touched, not the size of the table."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlkge import shapes
from vlkge.compiled import Array, Part, array, compiled, in_threads

EPSILON = 1e-10
SEEN_EPSILON = 1e-6
"""For what has almost no gradient where answers differ in nothing, whose rounding would be divided by itself."""


class RowAdagrad(torch.optim.Optimizer):
    """`w -= rate * g / (sqrt(sum of g^2) + 1e-10)`, for the rows of a sparse gradient, or for all of a dense one.

    A group of parameters with dense gradients may have another `eps` than 1e-10.

    Duchi et al., "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 2011.
    """

    def __init__(self, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], rate: float) -> None:
        super().__init__(parameters, {"lr": rate, "eps": EPSILON})
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["sum"] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update what has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, self.state[parameter]["sum"], parameter.grad, group["lr"], group["eps"])

    @staticmethod
    def _update(weight: Tensor, total: Tensor, gradient: Tensor, rate: float, epsilon: float) -> None:
        if not gradient.is_sparse:
            total.addcmul_(gradient, gradient)
            weight.addcdiv_(gradient, total.sqrt().add_(epsilon), value=-rate)
            return
        if shapes.fixed(weight):
            rows, values = _added(gradient)
            total.index_add_(0, rows, values.square())
            weight.index_add_(0, rows, values / total[rows].sqrt_().add_(EPSILON), alpha=-rate)
        else:
            rows, values = _distinct(gradient)
            in_threads(_add_rows, len(rows), *map(array, (weight, total, rows, values)), rate)


@compiled
def _add_rows(part: Part, weight: Array, total: Array, rows: Array, values: Array, rate: float) -> None:
    step, epsilon = weight.dtype.type(rate), weight.dtype.type(EPSILON)
    for place in range(part[1], part[2]):
        row = rows[place]
        for i in range(weight.shape[1]):
            slope = values[place, i]
            total[row, i] += slope * slope
            weight[row, i] -= step * slope / (np.sqrt(total[row, i]) + epsilon)


def _added(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """As many rows as a sparse gradient [n, d] has entries: its own first, each once with its sum; zeros for row 0."""
    rows, order = gradient._indices()[0].sort()
    first = torch.ones_like(rows)
    first[1:] = rows[1:] != rows[:-1]
    place = first.cumsum(0) - 1
    values = gradient._values()
    sums = torch.zeros_like(values).index_add_(0, place, values[order])
    return torch.zeros_like(rows).scatter_(0, place, rows), sums


def _distinct(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a sparse gradient, each once, and their values."""
    rows, values = gradient._indices()[0], gradient._values()
    if bool((rows[1:] > rows[:-1]).all()):  # as a lookup of distinct entities leaves them
        return rows, values
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()
