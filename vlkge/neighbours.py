"""The entities whose vectors point the same way as a given one: exact, by cosine, a chunk at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize


@torch.no_grad()
def nearest(
    queries: Tensor, entities: Tensor, represent: Callable[[Tensor], Tensor], count: int, chunk: int = 8192
) -> tuple[Tensor, Tensor]:
    """The `count` entities whose vectors have the greatest cosine with each query's, the greatest first.

    Args:
        queries: [q, d].
        entities: int64 [n], those that may be found.
        represent: the vectors [k, d] of entities [k].
        count: how many; fewer where there are fewer entities.
        chunk: entities represented at a time.

    Returns:
        Cosines [q, count] and entities [q, count]; of equal ones those that stand first in `entities`.
    """
    directions = normalize(queries, dim=-1)
    best = directions.new_empty(len(queries), 0)
    found = torch.empty(len(queries), 0, dtype=torch.int64)
    for part in torch.split(entities, chunk):
        cosines = directions @ normalize(represent(part), dim=-1).T
        best, found = torch.cat([best, cosines], 1), torch.cat([found, part.expand(len(queries), -1)], 1)
        best, order = best.sort(dim=1, descending=True, stable=True)
        best, found = best[:, :count], found.gather(1, order[:, :count])
    return best, found
