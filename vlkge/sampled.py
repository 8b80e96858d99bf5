"""Each query with entities drawn for it: dot products and Manhattan distances without a copy of every entity's vector.

On a CPU these are compiled loops that go from entity to entity: each vector is read once, and the queries, which are
few, stay in the processor's cache. torch has no kernel for chosen pairs of vectors; to gather them, and to write every
product or difference down, takes several times as long (decisions/0017).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlkge import shapes
from vlkge.compiled import Array, Kernel, Part, array, compiled, in_threads

Pair = tuple[Array, Array]

ENTITIES_AT_ONCE = 128
"""Entities that every query is compared with before the next ones: few enough to stay in a core's cache."""


def sampled_products(queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
    """`queries[i] . entities[index[i, j]]`, [b, k], of [b, d], [n, d] and int64 [b, k]; differentiable."""
    if shapes.fixed(queries):
        return torch.einsum("bd,bkd->bk", queries, entities[index])
    products: Tensor = _Sampled.apply(_wide(queries), _wide(entities), index, _multiply, _add_factors)  # type: ignore[no-untyped-call]
    return products


def sampled_distances(queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
    """`|queries[i] - entities[index[i, j]]|_1`, [b, k], of [b, d], [n, d] and int64 [b, k]; differentiable."""
    if shapes.fixed(queries):
        return (queries[:, None] - entities[index]).abs().sum(-1)
    distances: Tensor = _Sampled.apply(_wide(queries), _wide(entities), index, _measure, _add_signs)  # type: ignore[no-untyped-call]
    return distances


def measure_open(queries: Tensor, entities: Tensor, floor: Tensor, out: Tensor) -> None:
    """Write the negative distance into `out` [b, n] wherever that holds a bound not under `floor` [b]; on a CPU."""
    in_threads(_measure_open, len(queries), *map(array, (queries, entities, floor, out)))


def _wide(vectors: Tensor) -> Tensor:
    """Vectors that NumPy has a type for: what matrix products leave in bfloat16 it has not."""
    return vectors.float() if vectors.dtype == torch.bfloat16 else vectors


class _Sampled(torch.autograd.Function):
    """Numbers of chosen pairs by one kernel, their gradients by another."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, entities: Tensor, index: Tensor, kernel: Kernel, slopes: Kernel) -> Tensor:
        order = index.reshape(-1).argsort(stable=True)
        starts = torch.bincount(index.reshape(-1), minlength=len(entities)).cumsum(0)
        starts = torch.cat([starts.new_zeros(1), starts])
        ctx.save_for_backward(queries, entities, order, starts)
        ctx.slopes = slopes
        numbers = queries.new_empty(index.shape)
        vectors, chosen = _pair(queries, entities), _pair(order, starts)
        in_threads(kernel, len(entities), vectors, chosen, numbers.numpy())
        return numbers

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        queries, entities, order, starts = ctx.saved_tensors
        of_queries = queries.new_zeros(torch.get_num_threads(), *queries.shape)  # a sum of each thread's
        of_entities = torch.zeros_like(entities)
        vectors, chosen = _pair(queries, entities), _pair(order, starts)
        slopes, weights = _pair(of_queries, of_entities), array(upstream[0])
        in_threads(ctx.slopes, len(entities), vectors, chosen, weights, slopes)
        return of_queries.sum(0), of_entities, None, None, None


def _pair(first: Tensor, second: Tensor) -> Pair:
    return array(first), array(second)


# The places of a flattened index [b, k] stand in the order of the entities they name; those of entity e are
# `order[starts[e]:starts[e + 1]]`.


@compiled
def _multiply(part: Part, vectors: Pair, chosen: Pair, out: Array) -> None:
    queries, entities = vectors
    order, starts = chosen
    for entity in range(part[1], part[2]):
        for place in order[starts[entity] : starts[entity + 1]]:
            row, column = divmod(place, out.shape[1])
            product = queries.dtype.type(0)
            for i in range(queries.shape[1]):
                product += queries[row, i] * entities[entity, i]
            out[row, column] = product


@compiled
def _add_factors(part: Part, vectors: Pair, chosen: Pair, weights: Array, slopes: Pair) -> None:
    queries, entities = vectors
    order, starts = chosen
    of_queries, of_entities = slopes[0][part[0]], slopes[1]
    for entity in range(part[1], part[2]):
        for place in order[starts[entity] : starts[entity + 1]]:
            row, column = divmod(place, weights.shape[1])
            weight = weights[row, column]
            for i in range(queries.shape[1]):
                of_queries[row, i] += weight * entities[entity, i]
                of_entities[entity, i] += weight * queries[row, i]


@compiled
def _measure(part: Part, vectors: Pair, chosen: Pair, out: Array) -> None:
    queries, entities = vectors
    order, starts = chosen
    for entity in range(part[1], part[2]):
        for place in order[starts[entity] : starts[entity + 1]]:
            row, column = divmod(place, out.shape[1])
            distance = queries.dtype.type(0)
            for i in range(queries.shape[1]):
                distance += abs(queries[row, i] - entities[entity, i])
            out[row, column] = distance


@compiled
def _add_signs(part: Part, vectors: Pair, chosen: Pair, weights: Array, slopes: Pair) -> None:
    queries, entities = vectors
    order, starts = chosen
    of_queries, of_entities = slopes[0][part[0]], slopes[1]
    zero = queries.dtype.type(0)
    for entity in range(part[1], part[2]):
        for place in order[starts[entity] : starts[entity + 1]]:
            row, column = divmod(place, weights.shape[1])
            weight = weights[row, column]
            for i in range(queries.shape[1]):
                difference = queries[row, i] - entities[entity, i]
                slope = weight if difference > 0 else (-weight if difference < 0 else zero)
                of_queries[row, i] += slope
                of_entities[entity, i] -= slope


@compiled
def _measure_open(part: Part, queries: Array, entities: Array, floor: Array, out: Array) -> None:
    open_ = np.empty(ENTITIES_AT_ONCE, np.int64)
    zero = queries.dtype.type(0)
    for block in range(0, len(entities), ENTITIES_AT_ONCE):
        for row in range(part[1], part[2]):
            count = 0
            for entity in range(block, min(block + ENTITIES_AT_ONCE, len(entities))):
                if out[row, entity] >= floor[row]:
                    open_[count] = entity
                    count += 1
            for i in range(count, count + -count % 4):
                open_[i] = open_[count - 1]
            for i in range(0, count, 4):  # each component of the query is loaded once for four entities
                a, b, c, d = open_[i], open_[i + 1], open_[i + 2], open_[i + 3]
                to_a = to_b = to_c = to_d = zero
                for j in range(queries.shape[1]):
                    component = queries[row, j]
                    to_a += abs(component - entities[a, j])
                    to_b += abs(component - entities[b, j])
                    to_c += abs(component - entities[c, j])
                    to_d += abs(component - entities[d, j])
                out[row, a], out[row, b], out[row, c], out[row, d] = -to_a, -to_b, -to_c, -to_d
