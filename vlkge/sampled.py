"""Each query with entities drawn for it: dot products and distances without gathering every entity's vector."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

ROWS_AT_ONCE = 800
"""Entity vectors gathered at a time: few enough to stay in a core's cache."""


def sampled_products(queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
    """`queries[i] . entities[index[i, j]]`, [b, k], of [b, d], [n, d] and int64 [b, k]; differentiable."""
    if queries.is_cuda:
        return torch.einsum("bd,bkd->bk", queries, entities[index])
    if index.shape[1] > len(entities):  # a sparse matrix cannot hold more entries than there are places
        return (queries @ entities.T).gather(1, index)
    products: Tensor = _Products.apply(queries, entities, index)  # type: ignore[no-untyped-call]
    return products


def sampled_distances(queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
    """`|queries[i] - entities[index[i, j]]|_1`, [b, k], of [b, d], [n, d] and int64 [b, k]; differentiable."""
    if queries.is_cuda:
        return (queries[:, None] - entities[index]).abs().sum(-1)
    distances: Tensor = _Distances.apply(queries, entities, index)  # type: ignore[no-untyped-call]
    return distances


class _Products(torch.autograd.Function):
    """`products[i, j] = queries[i] . entities[index[i, j]]`, and its gradients, without a [b, k, d] in memory."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(queries, entities, index)
        pattern = _pattern(index, queries.new_zeros(index.numel()), len(entities))
        sampled: Tensor = torch.sparse.sampled_addmm(pattern, queries, entities.T, beta=0.0)
        return sampled.values().view(index.shape)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        queries, entities, index = ctx.saved_tensors
        weights = upstream[0].contiguous()
        of_queries = embedding_bag(index, entities, per_sample_weights=weights, mode="sum")
        ordered, order = index.reshape(-1).sort(stable=True)
        counts = torch.bincount(ordered, minlength=len(entities))
        rows, starts = order // index.shape[1], counts.cumsum(0) - counts
        of_entities = embedding_bag(rows, queries, starts, per_sample_weights=weights.reshape(-1)[order], mode="sum")
        return of_queries, of_entities, None


class _Distances(torch.autograd.Function):
    """`distances[i, j] = |queries[i] - entities[index[i, j]]|_1`, and its gradients."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(queries, entities, index)
        distances = queries.new_empty(index.shape)
        for part, differences in _differences(queries, entities, index):
            torch.linalg.vector_norm(differences, 1, -1, out=distances[part])
        return distances

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        queries, entities, index = ctx.saved_tensors
        of_queries, of_entities = torch.empty_like(queries), torch.zeros_like(entities)
        for part, differences in _differences(queries, entities, index):
            slopes = differences.sign_().mul_(upstream[0][part][..., None])
            torch.sum(slopes, 1, out=of_queries[part])
            of_entities.index_add_(0, index[part].reshape(-1), slopes.flatten(0, 1), alpha=-1)
        return of_queries, of_entities, None


def _pattern(index: Tensor, values: Tensor, columns: int) -> Tensor:
    """A matrix [b, columns] in compressed rows whose row i has its entries at `index[i]`."""
    starts = torch.arange(0, index.numel() + 1, index.shape[1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        size = (len(index), columns)
        pattern: Tensor = torch.sparse_csr_tensor(starts, index.reshape(-1), values, size, check_invariants=False)
    return pattern


def _differences(queries: Tensor, entities: Tensor, index: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """`queries[i] - entities[index[i, j]]` for a few i at a time: the slice, and a buffer that is used again."""
    step = max(1, ROWS_AT_ONCE // max(1, index.shape[1]))
    buffer = queries.new_empty(step * index.shape[1], queries.shape[1])
    for start in range(0, len(index), step):
        part = slice(start, start + step)
        chosen = index[part].reshape(-1)
        rows = torch.index_select(entities, 0, chosen, out=buffer[: len(chosen)])
        yield part, rows.view(*index[part].shape, -1).neg_().add_(queries[part, None])
