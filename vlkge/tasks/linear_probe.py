"""Linear probes: what a single linear layer reads off vectors."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mkg_builder.errors import UnknownNameError
from vlkge.tasks.targets import ROWS_AT_ONCE, Scaling, Target

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ProbeProtocol:
    """How a probe is trained; a number without its protocol's name and version means nothing.

    Attributes:
        name, version: a change of how changes the version.
        standardise: components to mean 0 and deviation 1 on the train vectors, weights from zero;
            else vectors as they are, weights from the seed.
        batch_size, learning_rate, epochs: of Adam; batches are smaller where an epoch has fewer than `least_steps`.
        patience: stop after so many epochs without a better one; None: never.
        chosen_by: the epoch kept has the least validation loss, or the best validation metric.
        scaling: of numbers, while they are learned.
    """

    name: str
    version: str
    standardise: bool
    batch_size: int
    least_steps: int
    learning_rate: float
    epochs: int
    patience: int | None
    chosen_by: Literal["loss", "metric"]
    scaling: Scaling


PROTOCOLS = {
    # the probes are convex: from zero and to the least validation loss, the seed hardly matters
    "strict": ProbeProtocol("strict", "1", True, 512, 8, 1e-3, 500, 20, "loss", "zscore"),
    # what the official code does (commit c78994e)
    "reference": ProbeProtocol("reference", "1", False, 512, 1, 1e-3, 100, None, "metric", "minmax"),
}


def find_protocol(name: str) -> ProbeProtocol:
    """The protocol of this name.

    Raises:
        UnknownNameError: none has it.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of a table of vectors with their answers.

    Attributes:
        rows: int64 [n].
        answers: classes int64 [n], -1 (in test alone) for one that train does not have; labels bool [n, labels];
            numbers float32 [n].
    """

    rows: Tensor
    answers: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Probe:
    """A trained probe: the layer over standardised vectors, and the epoch that was kept."""

    layer: nn.Linear
    shift: Tensor
    scale: Tensor
    epoch: int

    @torch.no_grad()
    def outputs(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """What the layer says [n, width] of some rows."""
        return self.layer((vectors[rows] - self.shift) * self.scale)  # type: ignore[no-any-return]


def train_probe(
    target: Target,
    vectors: Tensor,
    parts: tuple[Examples, Examples],
    protocol: ProbeProtocol,
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> Probe:
    """Train a probe and keep its best epoch.

    Args:
        target: what is read.
        vectors: float32 [m, d], of which the examples name rows; on the device to train on.
        parts: train and validation; without validation examples the train examples choose the epoch.
        protocol: how.
        seed: of the order of the examples and, where it is not zero, the start.
        progress: told of the epoch, of how many at most.
    """
    generator, device = torch.Generator().manual_seed(seed), vectors.device
    train, validation = (Examples(part.rows.to(device), part.answers.to(device)) for part in parts)
    probe = _start(target, vectors, train, protocol, seed)
    optimiser = torch.optim.Adam(probe.layer.parameters(), lr=protocol.learning_rate, fused=True)
    size = min(protocol.batch_size, -(-len(train) // protocol.least_steps))
    best, kept, epoch_kept = -torch.inf, copy.deepcopy(probe.layer), 0
    for epoch in range(1, protocol.epochs + 1):
        for batch in torch.split(torch.randperm(len(train), generator=generator).to(device), size):
            optimiser.zero_grad()
            inputs = (vectors[train.rows[batch]] - probe.shift) * probe.scale
            loss = target.losses(probe.layer(inputs), train.answers[batch]).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        found = _quality(target, probe, vectors, validation if len(validation) else train, protocol)
        if found > best:
            best, kept, epoch_kept = found, copy.deepcopy(probe.layer), epoch
        progress(epoch, protocol.epochs)
        if protocol.patience is not None and epoch - epoch_kept >= protocol.patience:
            break
    return Probe(kept, probe.shift, probe.scale, epoch_kept)


def measure(target: Target, probe: Probe, vectors: Tensor, examples: Examples) -> dict[str, float]:
    """The metrics of a probe on some examples."""
    read = [target.read(probe.outputs(vectors, rows)).cpu() for rows in torch.split(examples.rows, ROWS_AT_ONCE)]
    return target.measure(torch.cat(read), examples.answers)


def _start(target: Target, vectors: Tensor, train: Examples, protocol: ProbeProtocol, seed: int) -> Probe:
    size = vectors.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(size, target.width)
    shift, scale = torch.zeros(size), torch.ones(size)
    if protocol.standardise:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        distinct = vectors[torch.unique(train.rows)]
        deviation, shift = torch.std_mean(distinct, 0, correction=0)
        scale = torch.where(deviation > 0, 1 / deviation, 0.0)
    return Probe(layer.to(vectors.device), shift.to(vectors.device), scale.to(vectors.device), 0)


def _quality(target: Target, probe: Probe, vectors: Tensor, examples: Examples, protocol: ProbeProtocol) -> float:
    judge = target.goodness if protocol.chosen_by == "metric" else target.losses
    values = [
        judge(probe.outputs(vectors, rows), answers)
        for rows, answers in zip(
            *(torch.split(part, ROWS_AT_ONCE) for part in (examples.rows, examples.answers)), strict=True
        )
    ]
    mean = torch.cat(values).mean().item()
    return mean if protocol.chosen_by == "metric" else -mean
