"""What a linear probe reads off a vector: a class, labels or a number; its loss, its metrics, its baseline."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from vlkge.tasks.metrics import average_precision, label_precision

Scaling = Literal["none", "minmax", "zscore"]
ROWS_AT_ONCE = 4096
"""Vectors that are read at a time outside training."""


class Target(ABC):
    """What is read off a vector."""

    kind: str
    width: int

    @abstractmethod
    def losses(self, outputs: Tensor, answers: Tensor) -> Tensor:
        """What is minimised, of each of n rows."""

    @abstractmethod
    def goodness(self, outputs: Tensor, answers: Tensor) -> Tensor:
        """What the best epoch is chosen by, of each of n rows; larger is better, NaN where a row says nothing."""

    @abstractmethod
    def read(self, outputs: Tensor) -> Tensor:
        """What is kept of outputs [n, width] to be measured."""

    @abstractmethod
    def measure(self, read: Tensor, answers: Tensor) -> dict[str, float]:
        """The metrics of what was read of a whole split."""

    @abstractmethod
    def baseline(self, train: Tensor, count: int) -> Tensor:
        """What one would read without looking at `count` vectors, knowing the train answers alone."""


class Classes(Target):
    """One of several classes."""

    kind = "class"

    def __init__(self, count: int) -> None:
        self.width = count

    def losses(self, outputs: Tensor, answers: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(outputs, answers, reduction="none")

    def goodness(self, outputs: Tensor, answers: Tensor) -> Tensor:
        """Whether it is right."""
        return (outputs.argmax(1) == answers).float()

    def read(self, outputs: Tensor) -> Tensor:
        """The likeliest class."""
        return outputs.argmax(1)

    def measure(self, read: Tensor, answers: Tensor) -> dict[str, float]:
        """Accuracy; a class that train does not have counts as wrong."""
        return {"accuracy": (read == answers).double().mean().item()}

    def baseline(self, train: Tensor, count: int) -> Tensor:
        """The majority class."""
        return torch.bincount(train, minlength=self.width).argmax().expand(count)


class Labels(Target):
    """Any number of labels."""

    kind = "labels"

    def __init__(self, count: int) -> None:
        self.width = count

    def losses(self, outputs: Tensor, answers: Tensor) -> Tensor:
        """Mean binary cross-entropy."""
        return binary_cross_entropy_with_logits(outputs, answers.float(), reduction="none").mean(1)

    def goodness(self, outputs: Tensor, answers: Tensor) -> Tensor:
        """The average precision of the labels as they are ordered for one row."""
        ordered = answers.gather(1, outputs.argsort(dim=1, descending=True, stable=True))
        return average_precision(ordered).where(answers.any(1), torch.nan)

    def read(self, outputs: Tensor) -> Tensor:
        """Every label's score."""
        return outputs

    def measure(self, read: Tensor, answers: Tensor) -> dict[str, float]:
        """Mean average precision over rows, over labels (macro), and over all pairs of both (micro)."""
        parts = zip(torch.split(read, ROWS_AT_ONCE), torch.split(answers, ROWS_AT_ONCE), strict=True)
        instances = torch.cat([self.goodness(scores, true) for scores, true in parts])
        return {"instance mAP": instances.double().nanmean().item(), **label_precision(read, answers)}

    def baseline(self, train: Tensor, count: int) -> Tensor:
        """How frequent each label is."""
        return train.float().mean(0).expand(count, -1)


class Number(Target):
    """A number, learned as `(number - shift) / scale`.

    Args:
        train: the train answers [n].
        scaling: `minmax` brings them to 0..1, where what is read also stays; `zscore` to mean 0 and deviation 1.
    """

    kind, width = "number", 1

    def __init__(self, train: Tensor, scaling: Scaling) -> None:
        low, high = train.min().item(), train.max().item()
        deviation = train.double().std(correction=0).item()
        self._shift, scale = {
            "none": (0.0, 1.0), "minmax": (low, high - low), "zscore": (train.double().mean().item(), deviation),
        }[scaling]  # fmt: skip
        self._scale, self._clamped = scale or 1.0, scaling == "minmax"

    def losses(self, outputs: Tensor, answers: Tensor) -> Tensor:
        """Squared error of the scaled number."""
        return (outputs[:, 0] - (answers - self._shift) / self._scale).square()

    def goodness(self, outputs: Tensor, answers: Tensor) -> Tensor:
        """The absolute error, negative."""
        return -(self.read(outputs) - answers).abs()

    def read(self, outputs: Tensor) -> Tensor:
        """The number in its own unit."""
        scaled = outputs[:, 0].clamp(0, 1) if self._clamped else outputs[:, 0]
        return scaled * self._scale + self._shift

    def measure(self, read: Tensor, answers: Tensor) -> dict[str, float]:
        """Mean absolute error, root of the mean squared error, and the share of the variance that is explained."""
        true = answers.double()
        error, spread = read.double() - true, (true - true.mean()).square().mean()
        squared = error.square().mean()
        explained = (1 - squared / spread).item() if spread > 0 else 0.0
        return {"MAE": error.abs().mean().item(), "RMSE": squared.sqrt().item(), "R2": explained}

    def baseline(self, train: Tensor, count: int) -> Tensor:
        """The median."""
        return train.median().expand(count)
