"""Which parameters of a pretrained model learn: its last blocks, or low-rank additions to all of its blocks."""

from collections.abc import Callable
from typing import Any

import torch

from mkg_builder.errors import UsageError

LORA_MODULES = r".*resblocks\.\d+\.(attn|mlp\.c_fc|mlp\.c_proj)"
_OTHER = "name a CLIP of open_clip whose towers are transformers of its own"


def unlock_blocks(model: Any, blocks: int) -> None:
    """Let the last blocks of both towers, the projections and the scale learn, and nothing else.

    Raises:
        UsageError: the model's blocks cannot be told apart.
    """
    try:
        model.lock_image_tower(unlocked_groups=blocks + 1)
        model.lock_text_tower(unlocked_layers=blocks + 1)
    except (AttributeError, AssertionError, RuntimeError, TypeError) as error:
        raise UsageError(f"the blocks of this model cannot be told apart ({error}); {_OTHER}") from None


def add_lora(model: Any, rank: int, seed: int) -> Callable[[], Any]:
    """Put additions of a low rank beside the matrices of all blocks; they alone learn.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. At the start they add nothing.

    Returns:
        What adds them to the matrices, so that the model is again of its own form.

    Raises:
        UsageError: peft is not installed, or the model has no such blocks.
    """
    try:
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow, only needed here
    except ImportError as error:
        raise UsageError(f"--lora needs peft ({error}); type: pip install 'vlkge[lora]'") from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            wrapped = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LORA_MODULES))
        except ValueError as error:
            raise UsageError(f"LoRA finds no blocks in this model ({str(error).splitlines()[0]}); {_OTHER}") from None
    merge: Callable[[], Any] = wrapped.merge_and_unload
    return merge
