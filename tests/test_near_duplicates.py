import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkg_builder import near_duplicates as module
from mkg_builder.errors import UsageError
from mkg_builder.near_duplicates import near_duplicates


def written(values) -> dict[str, str]:
    return {f"artwork:{i:05}": f"{int(value):016x}" for i, value in enumerate(values)}


def brute_force(hashes: dict[str, str], distance: int) -> dict[str, str]:
    """The definition, in words of its own: every two are compared, and the smaller name goes round until it rests."""
    bits = {name: int(text, 16) for name, text in hashes.items()}
    near = {a: [b for b in bits if (bits[a] ^ bits[b]).bit_count() <= distance] for a in bits}
    cluster = {name: name for name in bits}
    while (spread := {a: min(cluster[b] for b in near[a]) for a in near}) != cluster:
        cluster = spread
    return {name: cluster[name] for name in bits if len(near[name]) > 1}


hashes = st.lists(
    st.one_of(
        st.integers(0, 2**64 - 1),
        st.sets(st.integers(0, 63), max_size=4).map(lambda bits: sum(1 << bit for bit in bits)),
        st.integers(0, 2**10),
    ),
    max_size=40,
).map(written)


@given(hashes, st.integers(0, 16))
def test_clusters_are_those_of_comparing_every_two(some: dict[str, str], distance: int) -> None:
    assert near_duplicates(some, distance) == brute_force(some, distance)


@given(hashes, st.randoms())
def test_the_order_does_not_count(some: dict[str, str], random) -> None:
    shuffled = list(some.items())
    random.shuffle(shuffled)
    assert near_duplicates(dict(shuffled), 4) == near_duplicates(some, 4)


def family(random: np.random.Generator, count: int, bits: int, shared: int) -> np.ndarray:
    """Hashes that agree but for so many bits; every third is a near copy of the one before."""
    values = random.integers(0, 2**bits, count, dtype=np.uint64) ^ np.uint64(shared)
    flips = np.uint64(1) << random.integers(0, bits, count, dtype=np.uint64)
    values[1::3] = values[:-1:3][: len(values[1::3])] ^ flips[1::3]
    return values


@pytest.mark.parametrize("distance", [0, 2, 6])
def test_large_buckets_are_divided_or_walked_to_the_same_clusters(
    distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(distance)
    values = np.concatenate([family(random, 250, bits, 0x0123456789ABCDEF) for bits in (12, 24, 40, 60)])
    monkeypatch.setattr(module, "SMALL", 20)
    monkeypatch.setattr(module, "CROWD", 8)
    assert near_duplicates(written(values), distance) == brute_force(written(values), distance)


def test_a_cluster_is_a_chain_named_by_its_smallest_id() -> None:
    chain = {"c": "0000000000000000", "b": "000000000000000f", "a": "00000000000000ff", "alone": "f" * 16}
    assert near_duplicates(chain, 4) == {"a": "a", "b": "a", "c": "a"}
    assert near_duplicates(chain, 3) == {}


def test_equal_hashes_are_one_cluster_however_many() -> None:
    assert set(near_duplicates(written([7] * 100_000), 4).values()) == {"artwork:00000"}


def test_a_hundred_thousand_hashes_take_seconds_not_minutes() -> None:
    random = np.random.default_rng(0)
    values = family(random, 100_000, 63, 0)
    found = near_duplicates(written(values), 6)
    assert len(found) >= 2 * (100_000 // 3)


def test_nothing_has_no_duplicates() -> None:
    assert near_duplicates({}, 4) == {}


@pytest.mark.parametrize("distance", [-1, 17])
def test_a_senseless_distance_is_refused(distance: int) -> None:
    with pytest.raises(UsageError, match="it goes from 0 to 16"):
        near_duplicates({}, distance)
