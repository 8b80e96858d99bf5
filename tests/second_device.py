"""A device called `far`, for machines that have no GPU: its tensors lie in memory, and say that they do not.

An operation that mixes them with tensors of the CPU fails, as on a GPU. What asks them for a number or for a shape that
depends on their numbers is counted: on a GPU that is a wait. The device is one of the process, so tests use it in
processes of their own:

    python -m tests.second_device FOLDER < CASES    trains, resumes, evaluates by each case's settings; answers in JSON
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

FAR = "far"
ASKS = {"_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "unique_consecutive", "masked_select", "bincount"}
MOVES = {"_to_copy", "copy_", "_copy_from", "index", "index_put_", "_index_put_impl_"}
"""What may take tensors of both devices; places for an index are brought over by torch."""
UNDER_TORCH = ("empty_strided", "empty.memory_format", "copy_")
"""What torch calls under the modes of Python."""

asked: Counter[str] = Counter()
_library = torch.library.Library("aten", "IMPL")


class Far(torch.Tensor):
    """A tensor of the device."""

    near: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> "Far":
        place = {"strides": near.stride(), "storage_offset": near.storage_offset()} if not near.is_sparse else {}
        far = torch.Tensor._make_wrapper_subclass(
            cls, near.shape, dtype=near.dtype, layout=near.layout, device=torch.device(FAR, 0), **place
        )
        far.near = near
        return far

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carry_out(operation, args, kwargs or {})

    def tolist(self) -> Any:
        """Numbers, for which a GPU would be waited for."""
        asked["tolist"] += 1
        return self.near.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        """Not from another device."""
        raise TypeError("a tensor of another device is no array")


class Everywhere(TorchDispatchMode):
    """Lets what makes new tensors make them on the device, if that is asked for."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carry_out(operation, args, kwargs or {})


def carry_out(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do in memory what is asked of tensors of the device."""
    name, given = operation.overloadpacket.__name__, tree_leaves((args, kwargs))
    where = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if not any(isinstance(one, Far) for one in given) and (where is None or where.type != FAR):
        return operation(*args, **kwargs)
    tensors = [one for one in given if isinstance(one, torch.Tensor) and one.dim()]
    if name not in MOVES and len({isinstance(one, Far) for one in tensors}) > 1:
        raise RuntimeError(f"{name}: tensors of two devices")
    places = tree_leaves(args[1]) if name.startswith("index") and len(args) > 1 else []
    by_mask = any(isinstance(place, Far) and place.dtype == torch.bool for place in places)
    asked[name] += name in ASKS or by_mask
    here = {**tree_map(_near, kwargs), **({} if where is None else {"device": torch.device("cpu")})}
    found = operation(*tree_map(_near, args), **here)
    if name.endswith("_") and isinstance(args[0], Far):
        return args[0]
    if where is not None and where.type != FAR:
        return found
    return tree_map(lambda one: Far(one) if isinstance(one, torch.Tensor) else one, found)


def _near(one: Any) -> Any:
    return one.near if isinstance(one, Far) else one


def install() -> None:
    """Make the device known to torch."""
    _setup_privateuseone_for_python_backend(FAR)
    torch.far.get_amp_supported_dtype = lambda: [torch.bfloat16]  # type: ignore[attr-defined]
    for name in UNDER_TORCH:
        packet, _, overload = name.partition(".")
        operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
        _library.impl(name, lambda *args, _of=operation, **kwargs: carry_out(_of, args, kwargs), "PrivateUse1")
    of_cpu = torch.Generator
    torch.Generator = type("Generator", (of_cpu,), {"__new__": lambda cls, _="cpu": of_cpu.__new__(cls)})  # type: ignore[misc]


def try_out(folder: Path, features: Path, settings: list[str]) -> dict[str, Any]:
    """Two epochs, a third one of the run as it then lies there, everything that `vlkge evaluate` measures."""
    from tests.test_trainer import new_run
    from vlkge.run import load_run
    from vlkge.train import fit
    from vlkge.trainer import Trainer

    counts, step = [], Trainer._step

    def counted(*of: Any) -> Any:
        before = asked.total()
        done = step(*of)
        counts.append(asked.total() - before)
        return done

    new = new_run(folder, features, *settings, f"training.device={FAR}")
    Trainer._step = counted  # type: ignore[method-assign]
    with Everywhere():
        losses = [record.loss for record in [*fit(new, 2), *fit(load_run(new.folder), 3)]]
        far = measured(load_run(new.folder), FAR)
    Trainer._step = step  # type: ignore[method-assign]
    return {"asked": max(counts), "losses": losses, "far": far, "near": measured(load_run(new.folder), "cpu")}


def measured(run: Any, device: str) -> list[dict[str, Any]]:
    """An evaluation, one by modality and two protocols side by side."""
    from vlkge.availability import evaluate_by_modality
    from vlkge.evaluate import Evaluator, evaluate_run
    from vlkge.gap import compare_run
    from vlkge.protocol import make_protocol

    strict, reference = make_protocol("strict"), make_protocol("reference")
    parts = evaluate_by_modality(run.load_model().to(device), Evaluator(run.dataset, "test", strict))
    found = evaluate_run(run, "test", strict, device), parts, compare_run(run, "test", (reference, strict), device)
    return [one.to_json() for one in found]


def main(folder: Path) -> None:
    """Try the cases of the standard input."""
    install()
    cases = json.load(sys.stdin)
    json.dump([try_out(folder / str(i), folder / "features", case) for i, case in enumerate(cases)], sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
