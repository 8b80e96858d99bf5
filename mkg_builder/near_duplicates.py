"""Which pictures are nearly the same: clusters of 64-bit perceptual hashes that differ in few bits."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mkg_builder.errors import UsageError

MAX_DISTANCE = 16
"""Half of what two unrelated pictures differ by, on average."""

SMALL = 500
"""In a bucket of so many hashes every two are compared; a larger one is divided further."""

SORTING = 10
"""What it costs to sort a value into its bucket, in comparisons of two values."""

CROWD = 64
"""With more neighbours than so many each, hashes are few clusters, which a walk from one to the next finds quickly."""

CUBE = 20
"""In so few bits there is no room for many hashes that are not near each other."""

Array = np.ndarray[Any, np.dtype[Any]]


def near_duplicates(hashes: Mapping[str, str], distance: int) -> dict[str, str]:
    """Id -> its cluster, named by the cluster's smallest id, for every id that is not alone.

    Two ids are in one cluster when a chain of hashes, each at most `distance` bits from the next, joins them.
    Exact, and independent of the mapping's order.

    Args:
        hashes: id -> 16 hexadecimal digits. Leave out pictures without a hash (of one colour, broken).
        distance: bits that two hashes of one picture may differ in.

    Raises:
        UsageError: a distance at which everything would be one cluster.
    """
    if not 0 <= distance <= MAX_DISTANCE:
        raise UsageError(f"a near-duplicate distance of {distance} bits; it goes from 0 to {MAX_DISTANCE}")
    ids = sorted(hashes)
    values, place = np.unique(np.array([int(hashes[i], 16) for i in ids], np.uint64), return_inverse=True)
    labels = _clusters(values, distance)[place]
    _, first, label, members = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    return {i: ids[first[k]] for i, k in zip(ids, label.tolist(), strict=True) if members[k] > 1}


def _clusters(values: Array, distance: int) -> Array:
    """A label per hash, the same for all hashes of a cluster."""
    labels = np.arange(len(values))
    if len(values) < 2:
        return labels
    heads, tails, waiting = [], [], 0
    for head, tail in _links(values, distance):
        new = labels[head] != labels[tail]
        heads.append(head[new])
        tails.append(tail[new])
        waiting += len(heads[-1])
        if waiting > len(values):
            labels = _merge(labels, heads, tails)
            heads, tails, waiting = [], [], 0
    return _merge(labels, heads, tails) if heads else labels


def _merge(labels: Array, heads: list[Array], tails: list[Array]) -> Array:
    """The labels after these links are made."""
    head, tail = labels[np.concatenate(heads)], labels[np.concatenate(tails)]
    size = len(labels)
    merged: Array = connected_components(coo_array((np.ones(len(head), bool), (head, tail)), (size, size)), False)[1]
    return merged[labels]


def _links(values: Array, distance: int) -> Iterator[tuple[Array, Array]]:
    """Pairs of places at most `distance` apart, enough of them to join every cluster.

    The bits in which the values vary are dealt to `distance` + k bands. Of two values at most `distance` apart,
    k bands at least are equal (the pigeonhole principle): for every k bands, only values that agree there are
    compared.
    """
    bits = np.flatnonzero((np.bitwise_or.reduce(values ^ values[0]) >> np.arange(64, dtype=np.uint64)) & np.uint64(1))
    if len(values) > SMALL and (len(bits) <= CUBE or _crowded(values, distance)):
        yield from _walk(values, distance)
        return
    equal = _bands_to_agree(len(values), len(bits), distance)
    masks = [sum(1 << int(bit) for bit in band) for band in np.array_split(bits, distance + equal)]
    for chosen in combinations(masks, equal):
        keys = values & np.uint64(sum(chosen))
        order = np.argsort(keys, kind="stable")
        _, start, size = np.unique(keys[order], return_index=True, return_counts=True)
        yield from _small_buckets(values, order, start, size, distance)
        for begin, count in zip(start[size > SMALL].tolist(), size[size > SMALL].tolist(), strict=True):
            bucket = order[begin : begin + count]
            for head, tail in _links(values[bucket], distance):
                yield bucket[head], bucket[tail]


def _crowded(values: Array, distance: int) -> bool:
    """Whether a value has many others near it, by a sample: then nearly all are one cluster, or a few."""
    sample = values[:: len(values) // CROWD]
    near = sum(int((np.bitwise_count(values ^ value) <= distance).sum()) for value in sample)
    return near > len(sample) * CROWD


def _bands_to_agree(count: int, bits: int, distance: int) -> int:
    """The cheapest k: more bands that must be equal mean smaller buckets, but more ways to choose the bands."""

    def cost(k: int) -> float:
        sorting, pairs = count * SORTING, count**2 / 2 ** (1 + bits * k / max(distance + k, 1))
        return comb(distance + k, k) * (sorting + pairs)

    return min(range(count > SMALL, 5), key=cost)


def _small_buckets(
    values: Array, order: Array, start: Array, size: Array, distance: int
) -> Iterator[tuple[Array, Array]]:
    """Compare each value with the next in its bucket, then with the one after that, until no bucket is so long."""
    left = np.repeat(np.where(size <= SMALL, size, 0), size) - 1 - (np.arange(len(order)) - np.repeat(start, size))
    places = np.arange(len(order))
    for shift in range(1, SMALL):
        places = places[left[places] >= shift]
        if not len(places):
            return
        head, tail = order[places], order[places + shift]
        close = np.bitwise_count(values[head] ^ values[tail]) <= distance
        yield head[close], tail[close]


def _walk(values: Array, distance: int) -> Iterator[tuple[Array, Array]]:
    """Go from value to value, never back to one that was reached: each cluster as a tree."""
    free = np.arange(len(values))
    while len(free):
        reached, free = [int(free[0])], free[1:]
        while reached and len(free):
            here = reached.pop()
            close = np.bitwise_count(values[free] ^ values[here]) <= distance
            if close.any():
                found, free = free[close], free[~close]
                yield np.full(len(found), here), found
                reached += found.tolist()
