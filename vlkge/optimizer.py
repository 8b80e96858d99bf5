"""Adagrad whose cost follows the rows that a step has touched, not the size of the table."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-10

ROWS_AT_ONCE = 512
"""Rows updated at a time: few enough to stay in a core's cache."""


class RowAdagrad(torch.optim.Optimizer):
    """`w -= rate * g / (sqrt(sum of g^2) + 1e-10)`, for the rows of a sparse gradient, or for all of a dense one.

    Duchi et al., "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 2011.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, {"lr": rate})
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["sum"] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update what has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, self.state[parameter]["sum"], parameter.grad, group["lr"])

    @staticmethod
    def _update(weight: Tensor, total: Tensor, gradient: Tensor, rate: float) -> None:
        if not gradient.is_sparse:
            _add(weight, total, gradient, rate)
            return
        rows, values = _distinct(gradient)
        at_once = len(rows) if weight.is_cuda else ROWS_AT_ONCE
        for chosen, some in zip(*(torch.split(part, at_once or 1) for part in (rows, values)), strict=True):
            new_weight, new_total = weight[chosen], total[chosen]
            _add(new_weight, new_total, some, rate)
            weight.index_copy_(0, chosen, new_weight)
            total.index_copy_(0, chosen, new_total)


def _add(weight: Tensor, total: Tensor, gradient: Tensor, rate: float) -> None:
    total.addcmul_(gradient, gradient)
    weight.addcdiv_(gradient, total.sqrt().add_(EPSILON), value=-rate)


def _distinct(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a sparse gradient, each once, and their values."""
    rows, values = gradient._indices()[0], gradient._values()
    if bool((rows[1:] > rows[:-1]).all()):  # as a lookup of distinct entities leaves them
        return rows, values
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()
