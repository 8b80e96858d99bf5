"""Where a tensor's shape may not depend on what another one holds."""

import torch
from torch import Tensor


def fixed(tensor: Tensor) -> bool:
    """Whether work on it keeps to shapes that are known beforehand: what is absent is masked and not left out.

    On a GPU that is quicker, where to ask what a tensor holds is to wait for all that was asked before; `torch.compile`
    can do nothing else. On a CPU it is quicker to leave out what is absent.
    """
    return not tensor.is_cpu or torch.compiler.is_compiling()
