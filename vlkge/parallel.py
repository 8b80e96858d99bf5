"""Several processes that train one model: each takes a part of every batch, all make the same step."""

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Group:
    """The processes of one training, as torchrun starts them.

    Attributes:
        rank: this process's number, 0 is the first; it alone writes.
        size: how many they are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls) -> "Group":
        """The group that torchrun's environment names, or this process alone."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not dist.is_initialized():
            # optimisers import it, and its functions' defaults would keep a group that is there by then for ever
            importlib.import_module("torch.distributed.nn.functional")
            if torch.cuda.is_available():  # `cuda` is this process's own; those that stay on the CPU may be more
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
            dist.init_process_group("cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo")
        return cls(dist.get_rank(), size)

    def leave(self) -> None:
        """Be of no group any more: at the end of what went well, for a process that gloo still serves may abort there.

        After an error it is left out: it could wait for ever for the others, and torchrun stops them all in any case.
        """
        if self.size > 1:
            dist.destroy_process_group()

    def part(self, count: int) -> slice:
        """This process's part of `count` things in order."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """What stands under it is done by the first process before the others."""
        if self.rank > 0:
            self.wait()
        yield
        if self.rank == 0:
            self.wait()

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def of_first(self, value: float) -> float:
        """The value that the first process has."""
        shared = torch.tensor([value], dtype=torch.float64)
        if self.size > 1:
            dist.broadcast(shared, 0)
        return float(shared)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all gradients; sparse ones as the rows of all."""
        if self.size == 1:
            return
        for parameter in parameters:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            if self._any_sparse(gradient):
                parameter.grad = self._gather_rows(parameter, gradient)
            else:
                parameter.grad = self.sum(gradient)

    def _any_sparse(self, gradient: Tensor) -> bool:
        """Whether any process has rows; one whose part of the batch touched none has a dense zero."""
        return bool(self.sum(torch.tensor(int(gradient.is_sparse))))

    def _gather_rows(self, parameter: nn.Parameter, gradient: Tensor) -> Tensor:
        rows = gradient._indices()[0] if gradient.is_sparse else parameter.new_zeros(0, dtype=torch.int64)
        values = gradient._values() if gradient.is_sparse else parameter.new_zeros(0, *parameter.shape[1:])
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(rows)]))
        longest = max(int(count) for count in counts)
        all_rows, all_values = self._gather(rows, longest), self._gather(values, longest)
        kept = [int(count) for count in counts]
        indices = torch.cat([part[:count] for part, count in zip(all_rows, kept, strict=True)])
        entries = torch.cat([part[:count] for part, count in zip(all_values, kept, strict=True)])
        return torch.sparse_coo_tensor(indices[None], entries, parameter.shape, check_invariants=False).coalesce()

    def _gather(self, values: Tensor, longest: int) -> list[Tensor]:
        padded = values.new_zeros(longest, *values.shape[1:])
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return parts


ALONE = Group()
"""This process, whatever others there are."""
