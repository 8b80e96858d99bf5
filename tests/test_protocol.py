"""Protocols, compared with a ranking in plain Python that shares no code with them."""

from fractions import Fraction

import pytest
import torch

from mkg_builder.errors import UnknownNameError
from tests.vlkge_contracts import MatrixScores, ProtocolContract, make_dataset, random_dataset, random_scores
from vlkge.dataset import Dataset
from vlkge.evaluate import Evaluator
from vlkge.protocol import REGISTRY, Reference, Strict, make_protocol

Triple = tuple[int, int, int]


class TestStrict(ProtocolContract):
    protocol = Strict()

    def test_a_constant_scorer_gets_the_middle_rank(self) -> None:
        for seed in range(50):
            dataset = random_dataset(seed, "transductive")
            constant = MatrixScores(torch.ones(len(dataset.relations), *[len(dataset.entities)] * 2))
            evaluator = Evaluator(dataset, "test", self.protocol)
            for ranks in evaluator.rank(constant):
                assert torch.equal(ranks.realistic, (ranks.candidates + 1) / 2)

    def test_relabelling_entities_changes_nothing(self) -> None:
        for seed in range(50):
            dataset = random_dataset(seed, "transductive")
            scores = random_scores(dataset, seed)
            order = torch.randperm(len(dataset.entities), generator=torch.Generator().manual_seed(seed))
            table = torch.empty_like(scores.table)
            table[:, order[:, None], order[None, :]] = scores.table
            before, after = self.ranked(dataset, scores), self.ranked(relabelled(dataset, order), MatrixScores(table))
            assert after.overall.mrr == pytest.approx(before.overall.mrr, rel=1e-12)


class TestReference(ProtocolContract):
    protocol = Reference()


def relabelled(dataset: Dataset, order: torch.Tensor) -> Dataset:
    triples = {s: torch.stack([order[t[:, 0]], t[:, 1], order[t[:, 2]]], 1) for s, t in dataset.triples.items()}
    fields = {name: getattr(dataset, name) for name in dataset.__dataclass_fields__}
    return Dataset(**fields | {"triples": triples})


def plain(dataset: Dataset) -> dict[str, list[Triple]]:
    return {split: [tuple(triple) for triple in triples.tolist()] for split, triples in dataset.triples.items()}


def oracle_strict(dataset: Dataset, splits: dict, table: list, direction: str, triple: Triple) -> tuple[Fraction, int]:
    """Rank and number of candidates by definition: drop what makes a known triple, share ties."""
    head, relation, tail = triple
    known = {fact for facts in splits.values() for fact in facts}
    target = tail if direction == "tail" else head
    pool = range(len(dataset.entities))
    if dataset.setting == "inductive":
        pool = {t for _, r, t in known if r == relation}
    scores = {}
    for other in pool:
        made = (head, relation, other) if direction == "tail" else (other, relation, tail)
        if other == target or made not in known:
            scores[other] = table[relation][made[0]][made[2]]
    better = sum(score > scores[target] for score in scores.values())
    tied = sum(score == scores[target] for score in scores.values()) - 1
    return better + 1 + Fraction(tied, 2), len(scores)


def oracle_reference(
    dataset: Dataset, splits: dict, table: list, direction: str, triple: Triple
) -> tuple[Fraction, int]:
    """As the official code: one dictionary for both directions, and a stable sort."""
    head, relation, tail = triple
    known: dict[tuple[int, int], set[int]] = {}
    for h, r, t in (fact for facts in splits.values() for fact in facts):
        known.setdefault((h, r), set()).add(t)
        known.setdefault((t, r), set()).add(h)
    pool = list(range(len(dataset.entities)))
    if dataset.setting == "inductive":
        info = dataset.relation_info[dataset.relations[relation]]
        used = splits["test"] if info.domain == info.range else [f for facts in splits.values() for f in facts]
        pool = sorted({t for _, r, t in used if r == relation})
    anchor, target = (head, tail) if direction == "tail" else (tail, head)
    left = [other for other in pool if other == target or other not in known[anchor, relation]]
    value = {o: table[relation][head][o] if direction == "tail" else table[relation][o][tail] for o in left}
    order = sorted(left, key=lambda other: -value[other])
    return Fraction(order.index(target) + 1), len(left)


@pytest.mark.parametrize(("protocol", "oracle"), [(Strict(), oracle_strict), (Reference(), oracle_reference)])
@pytest.mark.parametrize("setting", ["inductive", "transductive"])
def test_ranks_equal_plain_python_on_random_graphs(protocol, oracle, setting: str) -> None:
    for seed in range(1000):
        dataset = random_dataset(seed, setting)
        scores = random_scores(dataset, seed)
        evaluator = Evaluator(dataset, "test", protocol, scores_at_once=(7, 1000)[seed % 2])
        table, splits = scores.table.tolist(), plain(dataset)
        found, expected = [], []
        for group, ranks in zip(evaluator.groups, evaluator.rank(scores), strict=True):
            found += zip(ranks.by(protocol.ties).tolist(), ranks.candidates.tolist(), strict=True)
            side = 0 if group.direction == "tail" else 2
            asked = sorted((t for t in splits["test"] if t[1] == group.relation), key=lambda t: t[side])
            expected += [oracle(dataset, splits, table, group.direction, triple) for triple in asked]
        assert found == expected, f"seed {seed}"
        assert len(found) == len(splits["test"]) * len(protocol.directions(dataset))


def test_the_reference_filter_removes_wrong_answers_too() -> None:
    influences = [("artist:a", "influences", "artist:b"), ("artist:b", "influences", "artist:c")]
    dataset = make_dataset({"train": influences, "test": [("artist:b", "influences", "artist:a")]}, "transductive")
    known = {p.name: p.known(dataset, "tail").lookup(torch.tensor([1]), 0)[1].tolist() for p in (Strict(), Reference())}
    assert {name: sorted(set(answers)) for name, answers in known.items()} == {"strict": [0, 2], "reference": [0, 2]}
    only_head = {
        p.name: p.known(dataset, "tail").lookup(torch.tensor([2]), 0)[1].tolist() for p in (Strict(), Reference())
    }
    assert only_head == {"strict": [], "reference": [1]}


def test_every_registered_protocol_has_a_contract_test() -> None:
    tested = {type(contract.protocol) for contract in ProtocolContract.__subclasses__()}
    assert {type(make_protocol(name)) for name in REGISTRY.names()} <= tested


def test_an_unknown_protocol_names_what_exists() -> None:
    with pytest.raises(UnknownNameError, match="unknown protocol 'strickt'; did you mean 'strict'"):
        make_protocol("strickt")
