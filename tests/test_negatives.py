"""Negatives: from the right pool, never a known triple, always an end to the drawing."""

from collections import Counter

import pytest
import torch

from vlkge.negatives import Draw, NegativeSampler, TripleSet

TRAIN = torch.tensor([[0, 0, 5], [0, 0, 6], [1, 0, 5], [2, 0, 7], [3, 1, 8], [4, 1, 9]])


def sampler(
    count: int = 50, pool: str = "relation", corrupt: str = "tail", known: torch.Tensor = TRAIN
) -> NegativeSampler:
    return NegativeSampler(TRAIN, TripleSet(known, 10, 2), 2, Draw(count, pool, corrupt))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_membership_equals_a_python_set() -> None:
    triples = torch.randint(0, 6, (40, 3), generator=seeded())
    known, listed = TripleSet(triples, 6, 6), {tuple(triple) for triple in triples.tolist()}
    h, r, t = torch.cartesian_prod(*[torch.arange(6)] * 3).unbind(1)
    every = zip(h.tolist(), r.tolist(), t.tolist(), strict=True)
    assert known.contains(h, r, t).tolist() == [triple in listed for triple in every]


def test_nothing_is_known_of_no_triples() -> None:
    assert not TripleSet(TRAIN[:0], 10, 2).contains(*TRAIN.unbind(1)).any()


def test_replacements_are_the_relations_own_tails_in_train() -> None:
    drawn = sampler().sample(TRAIN, seeded())
    kept = [set(drawn.entities[row][drawn.valid[row]].tolist()) for row in (0, 2, 4)]
    assert kept == [{7}, {6, 7}, {9}]


def test_the_whole_graph_as_pool_reaches_every_entity_of_train() -> None:
    drawn = sampler(count=500, pool="entities").sample(TRAIN[:1], seeded())
    assert set(drawn.entities[0].tolist()) == set(range(10)) - {5, 6}


def test_draws_are_uniform() -> None:
    drawn = sampler(count=20000).sample(TRAIN[2:3], seeded())
    assert Counter(drawn.entities[0].tolist())[6] == pytest.approx(10000, abs=400)


def test_a_fair_coin_replaces_heads_or_tails_never_making_a_known_triple() -> None:
    positives = TRAIN.repeat(200, 1)
    drawn = sampler(count=4, corrupt="both", pool="entities").sample(positives, seeded())
    assert drawn.heads.double().mean().item() == pytest.approx(0.5, abs=0.05)
    known = {tuple(triple) for triple in TRAIN.tolist()}
    for (h, r, t), head, entities, valid in zip(
        positives.tolist(), drawn.heads, drawn.entities, drawn.valid, strict=True
    ):
        made = {(e, r, t) if head else (h, r, e) for e in entities[valid].tolist()}
        assert not made & known
    assert drawn.valid.all()


def test_validation_and_test_triples_are_drawn_unless_they_are_said_to_be_known() -> None:
    held_out = torch.tensor([[1, 0, 6]])
    for known, expected in ((TRAIN, {6, 7}), (torch.cat([TRAIN, held_out]), {7})):
        drawn = sampler(known=known).sample(TRAIN[2:3], seeded())
        assert set(drawn.entities[drawn.valid].tolist()) == expected


@pytest.mark.parametrize("count", [1, 100])
def test_where_no_negative_exists_all_are_masked(count: int) -> None:
    only = torch.tensor([[0, 0, 1]])
    drawn = NegativeSampler(only, TripleSet(only, 2, 1), 1, Draw(count, "relation", "tail")).sample(only, seeded())
    assert (drawn.entities.shape, drawn.valid.any().item()) == ((1, count), False)


def test_the_same_generator_state_gives_the_same_negatives() -> None:
    first, second = (sampler(corrupt="both").sample(TRAIN, seeded(7)) for _ in range(2))
    assert torch.equal(first.entities, second.entities)
    assert torch.equal(first.heads, second.heads)


def test_more_entities_than_keys_can_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        TripleSet(TRAIN, 2**31, 2)
