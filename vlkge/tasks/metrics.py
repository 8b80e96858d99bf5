"""Average precision: of ordered lists, and of label scores."""

import torch
from torch import Tensor


def average_precision(relevant: Tensor) -> Tensor:
    """Of each list: the precision at its relevant places, averaged over these; 0 where there is none.

    Args:
        relevant: bool [..., k], best place first.

    Returns:
        float32 [...].
    """
    ranks = torch.arange(1, relevant.shape[-1] + 1, device=relevant.device)
    precision = relevant.cumsum(-1) / ranks
    return (precision * relevant).sum(-1) / relevant.sum(-1).clamp(min=1)


def label_precision(scores: Tensor, true: Tensor) -> dict[str, float]:
    """Mean average precision over the labels that occur (macro), and over all rows and labels at once (micro).

    Args:
        scores: [n, labels].
        true: bool [n, labels].
    """
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 - slow, only needed here

    occurring = true.any(0)
    if not bool(occurring.any()):
        return {"macro mAP": 0.0, "micro mAP": 0.0}
    said, answer = scores.numpy(), true.numpy()
    return {
        "macro mAP": float(average_precision_score(answer[:, occurring], said[:, occurring], average="macro")),
        "micro mAP": float(average_precision_score(answer, said, average="micro")),
    }
