"""What each implementation of a seam of vlkge promises, and small graphs to try it on.

A test of a scorer, a fusion or a protocol inherits the contract and says which implementation it tests.
"""

import random
from typing import ClassVar

import numpy as np
import pytest
import torch

from vlkge.dataset import Dataset, RelationInfo, TypeInfo
from vlkge.encoders import EncoderInfo
from vlkge.evaluate import Breakdown, Evaluator
from vlkge.features import DatasetIdentity, ModalityFeatures
from vlkge.fusion import Fusion
from vlkge.protocol import EvaluationProtocol
from vlkge.scorers import Scorer

Fact = tuple[str, str, str]
SPLITS = ("train", "validation", "test")


def make_dataset(splits: dict[str, list[Fact]], setting: str = "inductive", extra: tuple[str, ...] = ()) -> Dataset:
    """The graph of these facts; an id's type stands before its colon, artworks may be unseen."""
    facts = [fact for split in SPLITS for fact in splits.get(split, [])]
    entities = sorted({end for head, _, tail in facts for end in (head, tail)} | set(extra))
    relations = sorted({relation for _, relation, _ in facts})
    kinds = tuple(entity.partition(":")[0] for entity in entities)
    joins = {r: (h.partition(":")[0], t.partition(":")[0]) for h, r, t in facts}
    triples = {
        split: torch.tensor(
            [(entities.index(h), relations.index(r), entities.index(t)) for h, r, t in splits.get(split, [])],
            dtype=torch.int64,
        ).reshape(-1, 3)
        for split in SPLITS
    }
    return Dataset(
        name="tiny", version="1.0.0", content_sha256="c" * 64, revision=None, setting=setting,
        unseen_type="artwork" if setting == "inductive" else None, entities=tuple(entities), labels=tuple(entities),
        types=kinds, texts=(None,) * len(entities), relations=tuple(relations),
        relation_info={r: RelationInfo(*joins[r], None, None, disjoint=joins[r][0] == joins[r][1]) for r in relations},
        type_info={kind: TypeInfo(None) for kind in kinds}, triples=triples,
    )  # fmt: skip


def make_features(dataset: Dataset, modality: str, ids: list[str], dimension: int, seed: int = 0) -> ModalityFeatures:
    """Seeded vectors of these entities."""
    vectors = np.random.default_rng(seed).normal(size=(len(ids), dimension)).astype(np.float32)
    info = EncoderInfo("seeded", "seeded", "1", modality, dimension, "none")
    return ModalityFeatures(info, DatasetIdentity.of(dataset), tuple(sorted(ids)), vectors)


def random_dataset(seed: int, setting: str = "inductive") -> Dataset:
    """A few entities of two types under relations within and between them, repeats and self loops included."""
    rng = random.Random(seed)
    a, b = [f"artwork:{i}" for i in range(rng.randint(1, 5))], [f"artist:{i}" for i in range(rng.randint(1, 6))]
    joins = {"by": (a, b), "influences": (b, b), "near": (a, a)}
    splits = {
        split: [
            (rng.choice(joins[relation][0]), relation, rng.choice(joins[relation][1]))
            for relation in rng.choices(list(joins), k=rng.randint(least, 8))
        ]
        for split, least in (("train", 1), ("validation", 0), ("test", 1))
    }
    return make_dataset(splits, setting, extra=("artist:alone",))


class ScorerContract:
    """A scorer equals its formula, and its three ways to score agree."""

    scorer: ClassVar[Scorer]

    def formula(self, head: list[float], relation: list[float], tail: list[float]) -> float:
        """The paper's formula on plain numbers."""
        raise NotImplementedError

    def vectors(self, count: int, dim: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        sizes = (dim * self.scorer.parts, self.scorer.relation_size(dim), dim * self.scorer.parts)
        return tuple(torch.randn(count, size, generator=generator, dtype=torch.float64) for size in sizes)

    def test_equals_the_papers_formula(self) -> None:
        head, relation, tail = self.vectors(20)
        triples = zip(head.tolist(), relation.tolist(), tail.tolist(), strict=True)
        expected = [self.formula(*triple) for triple in triples]
        assert self.scorer.score(head, relation, tail).tolist() == pytest.approx(expected)

    def test_scores_against_all_tails_are_the_scores_of_the_triples(self) -> None:
        (head, relation, _), (_, _, tails) = self.vectors(4), self.vectors(7, seed=1)
        matrix = self.scorer.score_tails(head, relation, tails)
        for j, tail in enumerate(tails):
            torch.testing.assert_close(matrix[:, j], self.scorer.score(head, relation, tail))

    def test_scores_against_all_heads_are_the_scores_of_the_triples(self) -> None:
        (_, relation, tail), (heads, _, _) = self.vectors(4), self.vectors(7, seed=1)
        matrix = self.scorer.score_heads(heads, relation, tail)
        for j, head in enumerate(heads):
            torch.testing.assert_close(matrix[:, j], self.scorer.score(head, relation, tail))

    def test_broadcasts(self) -> None:
        head, relation, tail = self.vectors(6)
        lists = self.scorer.score(head[:2, None], relation[:2, None], tail.view(2, 3, -1))
        assert lists.shape == (2, 3)
        torch.testing.assert_close(lists[1, 2], self.scorer.score(head[1], relation[1], tail[5]))

    def test_its_gradient_is_that_of_the_formula(self) -> None:
        inputs = tuple(vector.requires_grad_() for vector in self.vectors(2))
        assert torch.autograd.gradcheck(self.scorer.score, inputs)
        assert torch.autograd.gradcheck(self.scorer.score_tails, inputs)
        assert torch.autograd.gradcheck(self.scorer.score_heads, inputs)

    def test_relations_start_finite_and_different(self) -> None:
        weight = torch.full((4, self.scorer.relation_size(8)), float("nan"))
        self.scorer.init_relations(weight)
        assert weight.isfinite().all()
        assert len(weight.unique()) == weight.numel()


class FusionContract:
    """What is masked never matters; the rest equals a naive loop."""

    fusion: ClassVar[type[Fusion]]

    def naive(self, vectors: list[list[float] | None], fusion: Fusion) -> list[float]:
        """One entity, modality by modality; None where it is absent."""
        raise NotImplementedError

    def case(self) -> tuple[Fusion, torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        fusion = self.fusion(3, 4)
        for parameter in fusion.parameters():
            torch.nn.init.normal_(parameter, generator=generator)
        present = torch.tensor([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=torch.bool).T
        return fusion, torch.randn(3, 8, 4, generator=generator), present

    def test_equals_a_naive_loop(self) -> None:
        fusion, vectors, present = self.case()
        for n, fused in enumerate(fusion(vectors, present)):
            parts = [vectors[m, n].tolist() if present[m, n] else None for m in range(3)]
            assert fused.tolist() == pytest.approx(self.naive(parts, fusion), abs=1e-6)

    def test_nothing_present_gives_zeros_of_the_promised_size(self) -> None:
        fusion, vectors, present = self.case()
        assert fusion(vectors, present).shape == (8, fusion.out_dim)
        assert fusion(vectors, present)[0].tolist() == [0.0] * fusion.out_dim

    @pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), 1e30])
    def test_what_is_masked_never_matters(self, rubbish: float) -> None:
        fusion, vectors, present = self.case()
        spoiled = torch.where(present[..., None], vectors, rubbish)
        assert torch.equal(fusion(spoiled, present), fusion(vectors, present))

    def test_what_is_masked_gets_no_gradient(self) -> None:
        fusion, vectors, present = self.case()
        spoiled = torch.where(present[..., None], vectors, float("nan")).requires_grad_()
        fusion(spoiled, present).square().sum().backward()
        assert spoiled.grad[~present].abs().max() == 0
        assert spoiled.grad[present].abs().min() > 0
        assert all(parameter.grad.isfinite().all() for parameter in fusion.parameters())


class MatrixScores:
    """Scores that are looked up in one table [relations, entities, entities]: head, then tail."""

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table

    def score(self, direction: str, relation: int, anchors: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        table = self.table[relation] if direction == "tail" else self.table[relation].T
        return table[anchors][:, candidates]


def random_scores(dataset: Dataset, seed: int, levels: int = 4) -> MatrixScores:
    """Scores with many ties: whole numbers below `levels`."""
    shape = (len(dataset.relations), len(dataset.entities), len(dataset.entities))
    return MatrixScores(torch.randint(levels, shape, generator=torch.Generator().manual_seed(seed)).float())


class ProtocolContract:
    """A protocol rewards the right answers, whatever the batch size."""

    protocol: ClassVar[EvaluationProtocol]

    def ranked(self, dataset: Dataset, scores: MatrixScores, at_once: int = 1000) -> Breakdown:
        evaluator = Evaluator(dataset, "test", self.protocol, at_once)
        return evaluator.summarise(evaluator.rank(scores))

    @pytest.mark.parametrize("setting", ["inductive", "transductive"])
    def test_an_oracle_gets_mrr_one(self, setting: str) -> None:
        for seed in range(50):
            dataset = random_dataset(seed, setting)
            scores = random_scores(dataset, seed)
            head, relation, tail = torch.cat(list(dataset.triples.values())).unbind(1)
            scores.table[relation, head, tail] = 9.0
            assert self.ranked(dataset, scores).overall.mrr == 1.0

    def test_candidates_are_sorted_and_hold_every_answer(self) -> None:
        for seed in range(50):
            dataset = random_dataset(seed)
            for _, relation, tail in dataset.triples["test"].tolist():
                candidates = self.protocol.candidates(dataset, "test", relation, "tail").tolist()
                assert candidates == sorted(set(candidates))
                assert tail in candidates

    def test_the_chunk_size_changes_nothing(self) -> None:
        for seed in range(50):
            dataset = random_dataset(seed, "transductive")
            scores = random_scores(dataset, seed)
            assert self.ranked(dataset, scores, 1) == self.ranked(dataset, scores)

    def test_it_names_itself(self) -> None:
        assert self.protocol.name
        assert self.protocol.version
