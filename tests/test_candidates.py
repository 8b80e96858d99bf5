"""Shared candidates: the whole pool or some of it, what is true marked, parts that add up."""

import torch

from vlkge.candidates import CandidateSampler, SharedCandidates
from vlkge.negatives import Draw
from vlkge.protocol import KnownAnswers

TRAIN = torch.tensor([[0, 0, 5], [0, 0, 6], [1, 0, 5], [2, 0, 7], [3, 1, 8], [4, 1, 9]])
HEAD, RELATION, TAIL = TRAIN.unbind(1)
KNOWN = {"tail": KnownAnswers(HEAD, RELATION, TAIL, 2), "head": KnownAnswers(TAIL, RELATION, HEAD, 2)}


def drawn(count: int, pool: str, corrupt: str, seed: int = 0) -> list[SharedCandidates]:
    sampler = CandidateSampler(TRAIN, KNOWN, 2, Draw(count, pool, corrupt))
    return sampler.sample(TRAIN, torch.Generator().manual_seed(seed))


def true_ones(one: SharedCandidates) -> set[tuple[int, int]]:
    queries, columns = one.known
    return set(zip(one.rows[queries].tolist(), one.entities[columns].tolist(), strict=True))


def test_all_means_every_entity_of_train_in_both_directions() -> None:
    tails, heads = drawn(0, "entities", "both")
    assert [tails.direction, heads.direction] == ["tail", "head"]
    assert tails.entities.tolist() == heads.entities.tolist() == list(range(10))
    assert true_ones(tails) == {(0, 5), (0, 6), (1, 5), (1, 6), (2, 5), (3, 7), (4, 8), (5, 9)}
    assert true_ones(heads) == {(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (3, 2), (4, 3), (5, 4)}


def test_each_relation_has_its_own_pool() -> None:
    first, second = drawn(0, "relation", "tail")
    assert (first.rows.tolist(), first.entities.tolist()) == ([0, 1, 2, 3], [5, 6, 7])
    assert (second.rows.tolist(), second.entities.tolist()) == ([4, 5], [8, 9])


def test_some_are_distinct_members_of_the_pool_and_change_with_the_draw() -> None:
    draws = [drawn(4, "entities", "tail", seed)[0] for seed in range(20)]
    assert all(len(set(one.entities.tolist())) == 4 for one in draws)
    assert {entity for one in draws for entity in one.entities.tolist()} == set(range(10))
    for one in draws:
        everything = true_ones(drawn(0, "entities", "tail")[0])
        assert true_ones(one) == {(row, entity) for row, entity in everything if entity in one.entities.tolist()}


def test_parts_of_a_batch_are_together_the_batch() -> None:
    for whole in drawn(0, "relation", "both"):
        parts = [(start, whole.part(slice(start, start + 2))) for start in (0, 2, 4)]
        assert [row + start for start, part in parts for row in part.rows.tolist()] == whole.rows.tolist()
        together = {(row + start, entity) for start, part in parts for row, entity in true_ones(part)}
        assert together == true_ones(whole)
