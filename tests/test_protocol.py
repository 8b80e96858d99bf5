"""Protocols, compared rank by rank with plain Python that shares no code with them."""

import random
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from mkg_builder.errors import UnknownNameError
from tests.protocol_oracle import Answer, Graph, official, strict
from tests.vlkge_contracts import MatrixScores, ProtocolContract, make_dataset, random_dataset, random_scores
from vlkge.dataset import Dataset
from vlkge.errors import RunError
from vlkge.evaluate import Evaluator
from vlkge.protocol import REGISTRY, Direction, KnownAnswers, Reference, Strict, make_protocol

TRIPLES = [("artwork:a", "by", "artist:a"), ("artwork:a", "by", "artist:b")]


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


def random_graph(seed: int) -> Graph:
    """Rows of all splits mixed, relations within and between two types, self loops, one relation never asked for."""
    rng = random.Random(seed)
    works, artists = (
        [f"artwork:{i}" for i in range(rng.randint(1, 4))],
        [f"artist:{i}" for i in range(rng.randint(1, 6))],
    )
    ends = {"by": (works, artists), "influences": (artists, artists), "near": (works, works), "shows": (works, works)}
    excluded = {"shows"} if rng.random() < 0.7 else {"shows", rng.choice(list(ends))}
    rows = {}
    for relation in rng.choices(list(ends), k=rng.randint(3, 24)):
        triple = (rng.choice(ends[relation][0]), relation, rng.choice(ends[relation][1]))
        rows[triple] = rng.choice(("train", "validation", "test"))
    listed = [(*triple, split) for triple, split in rows.items()]
    rng.shuffle(listed)
    return Graph(listed, rng.random() < 0.5, excluded, {"influences", "near", "shows"})


def as_dataset(graph: Graph) -> Dataset:
    """The data set of a graph, with the published order of its entities."""
    splits = {split: [row[:3] for row in graph.rows if row[3] == split] for split in ("train", "validation", "test")}
    dataset = make_dataset(splits, "inductive" if graph.inductive else "transductive")
    info = {name: replace(info, evaluated=name not in graph.excluded) for name, info in dataset.relation_info.items()}
    asked = [row for row in graph.rows if row[3] == "train" or row[1] not in graph.excluded]
    names = dict.fromkeys([row[0] for row in asked] + [row[2] for row in asked] + list(dataset.entities))
    places = {name: place for place, name in enumerate(names)}
    order = torch.tensor([places[name] for name in dataset.entities])
    return replace(dataset, relation_info=info, tie_order=order)


@pytest.mark.parametrize(("protocol", "oracle"), [(Strict(), strict), (Reference(), official)])
def test_every_rank_equals_plain_python_on_random_graphs(protocol, oracle, monkeypatch) -> None:
    asked = 0
    for seed in range(1000):
        graph = random_graph(seed)
        dataset = as_dataset(graph)
        scores = random_scores(dataset, seed, levels=(2, 4, 1000)[seed % 3])
        value = {
            (h, r, t): scores.table[b, a, c].item()
            for a, h in enumerate(dataset.entities)
            for b, r in enumerate(dataset.relations)
            for c, t in enumerate(dataset.entities)
        }
        expected = list(oracle(graph, "test", value))
        if not expected:
            continue
        monkeypatch.setattr("vlkge.queries.COLUMNS_AT_ONCE", (2, 1000)[seed % 2])
        monkeypatch.setattr("vlkge.counting.COLUMNS_AT_ONCE", (2, 1000)[seed % 2])
        monkeypatch.setattr("vlkge.counting.WORTH_COMPILING", (0, 2**20)[seed % 5 % 2])
        evaluator = Evaluator(dataset, "test", protocol, scores_at_once=(1, 7, 1000)[seed % 3])
        found = []
        for group, ranks in zip(evaluator.groups, evaluator.rank(scores), strict=True):
            relation = dataset.relations[group.relation]
            by = ranks.by(protocol.ties).tolist()
            for row, (anchor, target) in enumerate(zip(group.anchors, group.candidates[group.targets], strict=True)):
                ends = dataset.entities[anchor], dataset.entities[target]
                head, tail = ends if group.direction == "tail" else ends[::-1]
                left = int(ranks.candidates[row])
                found.append(Answer(group.direction, (head, relation, tail), Fraction(by[row]), left))
        assert sorted(found) == sorted(expected), f"seed {seed}"
        asked += len(found)
    assert asked > 3000


def test_ties_are_broken_by_the_published_order_where_it_is_known() -> None:
    facts = {"train": [("artwork:1", "by", "artist:a"), ("artwork:2", "by", "artist:b")]}
    dataset = make_dataset(facts | {"test": [("artwork:3", "by", "artist:b")]})
    constant = MatrixScores(torch.ones(1, *[len(dataset.entities)] * 2))
    published = replace(dataset, tie_order=torch.arange(len(dataset.entities)).flip(0))
    ranks = [Evaluator(d, "test", Reference()).rank(constant)[0].first.item() for d in (dataset, published)]
    assert ranks == [2, 1]


class Unfiltered(Strict):
    def known(self, dataset: Dataset, direction: Direction) -> KnownAnswers:
        return KnownAnswers(*torch.empty(3, 0, dtype=torch.int64), len(dataset.relations))


def test_a_target_competes_with_other_answers_where_nothing_is_filtered_but_not_with_itself() -> None:
    dataset = make_dataset({"train": [TRIPLES[0]], "test": TRIPLES})
    constant = MatrixScores(torch.ones(1, *[len(dataset.entities)] * 2))
    (ranks,) = Evaluator(dataset, "test", Unfiltered()).rank(constant)
    assert (ranks.optimistic.tolist(), ranks.pessimistic.tolist()) == ([1, 1], [2, 2])
    assert ranks.candidates.tolist() == [2, 2]


def test_what_is_asked_of_no_evaluated_relation_is_an_error() -> None:
    dataset = as_dataset(Graph([(*TRIPLES[0], "train"), (*TRIPLES[1], "test")], True, {"by"}, set()))
    with pytest.raises(RunError, match="no test triple of tiny is of a relation that is evaluated"):
        Evaluator(dataset, "test", Strict())


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
