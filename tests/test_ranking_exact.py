"""Ranks of a model: quick products and a bound on their error give what exact scores of single triples give."""

import pytest
import torch

from tests.vlkge_contracts import make_dataset
from vlkge.comparisons import Manhattan
from vlkge.dataset import Dataset
from vlkge.errors import RunError
from vlkge.evaluate import Evaluator
from vlkge.protocol import Strict
from vlkge.ranking import Ranks
from vlkge.scorers import REGISTRY, QueryScorer, make_scorer
from vlkge.scores import ModelScores

SCORERS = sorted(REGISTRY.names())
MANY, DIM = 203, 37


class Vectors:
    """As much of a model as ranking needs: given vectors, of some of which nothing is known."""

    def __init__(self, scorer: str, vectors: torch.Tensor, relations: torch.Tensor, unknown: tuple[int, ...] = ()):
        self.scorer, self.vectors, self.relations, self.unknown = make_scorer(scorer), vectors, relations, unknown
        self.real, self.reciprocal, self.relation_count, self.observed = self, False, 1, None

    def has_any(self, entities: torch.Tensor) -> torch.Tensor:
        return ~torch.isin(entities, torch.tensor(self.unknown, dtype=torch.int64))

    def represent_all(self, entities: torch.Tensor) -> torch.Tensor:
        return self.vectors[entities]

    def eval(self) -> "Vectors":
        return self


def graph(targets: list[int]) -> Dataset:
    """Entity 0 under one relation with these answers; the others stand by themselves."""
    names = [f"e:{place:03d}" for place in range(MANY)]
    facts = {"train": [(names[1], "r", names[1])], "test": [(names[0], "r", names[target]) for target in targets]}
    return make_dataset(facts, "transductive", tuple(names))


def seeded(scorer: str, seed: int = 0) -> Vectors:
    generator = torch.Generator().manual_seed(seed)
    rules = make_scorer(scorer)
    vectors = torch.randn(MANY, DIM * rules.parts, generator=generator)
    return Vectors(scorer, vectors, torch.randn(1, rules.relation_size(DIM), generator=generator))


def ranked(model: Vectors, dataset: Dataset, at_once: int = 2**22) -> Ranks:
    evaluator = Evaluator(dataset, "test", Strict(), at_once)
    return Ranks.joined(evaluator.rank(ModelScores(model, evaluator.entities())))


def by_single_triples(model: Vectors, dataset: Dataset) -> list[tuple[int, int]]:
    """Optimistic and pessimistic ranks from float64 scores of one triple after the other."""
    found = []
    known = {tuple(triple) for triples in dataset.triples.values() for triple in triples.tolist()}
    vectors, relation = model.vectors.double(), model.relations[0].double()
    for side in (2, 0):
        for triple in sorted(dataset.triples["test"].tolist(), key=lambda triple: triple[2 - side]):
            made = [(*triple[:side], other, *triple[side + 1 :]) for other in range(MANY)]
            scores = {t: model.scorer.score(vectors[t[0]], relation, vectors[t[2]]).item() for t in made}
            mine = scores[tuple(triple)]
            rivals = [score for t, score in scores.items() if t not in known]
            better = sum(score > mine + 1e-13 for score in rivals)
            found.append((better + 1, better + sum(abs(score - mine) <= 1e-13 for score in rivals) + 1))
    return found


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("twins", [0, 5])
def test_targets_are_told_from_candidates_that_differ_in_the_last_bit(scorer: str, twins: int) -> None:
    model, dataset = seeded(scorer), graph([7])
    for place in range(8, MANY):
        model.vectors[place] = model.vectors[7]
        if place >= 8 + twins:
            component = place % model.vectors.shape[1]
            far = torch.inf if place % 2 else -torch.inf
            model.vectors[place, component] = model.vectors[7, component].nextafter(torch.tensor(far))
    ranks = ranked(model, dataset)
    assert list(zip(ranks.optimistic.tolist(), ranks.pessimistic.tolist(), strict=True)) == by_single_triples(
        model, dataset
    )
    assert (ranks.pessimistic - ranks.optimistic)[0] >= twins


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_ranks_are_those_of_single_triples(scorer: str, size: float) -> None:
    model, dataset = seeded(scorer, 1), graph([3, 50, 100, 202])
    model.vectors *= size * torch.logspace(-2, 2, MANY)[:, None]
    ranks = ranked(model, dataset)
    assert ranks.optimistic.tolist() == [rank for rank, _ in by_single_triples(model, dataset)]


@pytest.mark.parametrize("scorer", SCORERS)
def test_equal_vectors_tie_wherever_they_stand(scorer: str) -> None:
    model = seeded(scorer)
    model.vectors[2:] = model.vectors[2]
    for target in (2, 3, MANY // 2, MANY - 1):
        ranks = ranked(model, graph([target]))
        assert (ranks.pessimistic - ranks.optimistic)[0] == MANY - 3


@pytest.mark.parametrize("scorer", SCORERS)
def test_no_size_of_a_block_changes_a_rank(scorer: str, monkeypatch) -> None:
    model, dataset = seeded(scorer), graph(list(range(0, MANY, 3)))
    expected = ranked(model, dataset)
    monkeypatch.setattr("vlkge.queries.COLUMNS_AT_ONCE", 10)
    monkeypatch.setattr("vlkge.counting.COLUMNS_AT_ONCE", 10)
    monkeypatch.setattr("vlkge.counting.WORTH_COMPILING", 0)
    monkeypatch.setattr("vlkge.keys.PAIR_VALUES", 100)
    monkeypatch.setattr("vlkge.comparisons.PAIR_VALUES", 100)
    for at_once in (1, 70, 10**6):
        found = ranked(model, dataset, at_once)
        for name in ("optimistic", "pessimistic", "first", "candidates"):
            assert torch.equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e8])
def test_no_quick_key_is_further_off_than_its_bound(scorer: str, scale: float) -> None:
    rules = make_scorer(scorer)
    assert isinstance(rules, QueryScorer)
    comparison, generator = rules.comparison, torch.Generator().manual_seed(0)
    for common in (0.0, 1e4):
        queries = (torch.randn(20, 768, generator=generator).double() + common) * scale
        entities = (torch.randn(30, 768, generator=generator) + common) * scale
        out, floor = torch.empty(20, 30), torch.full((20,), -torch.inf)
        quick = comparison.approximate(queries.float(), entities, comparison.offsets(entities), floor, out).double()
        row, column = torch.cartesian_prod(torch.arange(20), torch.arange(30)).unbind(1)
        exact = (comparison.exact(queries[row], entities[column].double()) + comparison.shift(queries)[row]).view(
            20, 30
        )
        bound = comparison.error_bound(comparison.size(queries)[:, None], comparison.size(entities), 768)
        assert bool(((quick - exact).abs() <= bound).all())


def test_a_distance_that_a_product_bounds_is_only_wrong_under_the_floor() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, entities = torch.randn(40, 20, generator=generator), torch.randn(300, 20, generator=generator)
    entities[:40] = queries + 0.1 * torch.randn(40, 20, generator=generator)
    exact = -torch.cdist(queries, entities, p=1.0)
    comparison = Manhattan()
    for nearest in (1, 5, 100):
        floor = exact.topk(nearest).values[:, -1] - 1e-3
        found = comparison.approximate(queries, entities, comparison.offsets(entities), floor, torch.empty(40, 300))
        above = exact >= floor[:, None]
        torch.testing.assert_close(found[above], exact[above])
        assert bool((found < floor[:, None])[~above].all())


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize(("place", "value"), [(0, "nan"), (5, "nan"), (0, "inf"), (5, "-inf")])
def test_vectors_that_are_not_finite_are_an_error(scorer: str, place: int, value: str) -> None:
    model = seeded(scorer)
    model.vectors[place, 3] = float(value)
    with pytest.raises(RunError, match="not finite"):
        ranked(model, graph([4]))


@pytest.mark.parametrize("scorer", ["distmult", "complex", "rotate"])
def test_products_that_overflow_are_an_error(scorer: str) -> None:
    model = seeded(scorer)
    model.vectors *= 1e30
    with pytest.raises(RunError, match="not finite"):
        ranked(model, graph([4]))


@pytest.mark.parametrize("scorer", SCORERS)
def test_what_nothing_is_known_of_comes_last_and_ties_there(scorer: str) -> None:
    model = seeded(scorer)
    model.unknown = (5, 6, 7)
    model.vectors[[5, 6, 7]] = 0.0
    ranks = ranked(model, graph([5, 9]))
    assert (ranks.optimistic[0], ranks.pessimistic[0]) == (MANY - 3, MANY - 1)
    assert ranks.pessimistic[1] <= MANY - 4


@pytest.mark.parametrize("scorer", SCORERS)
def test_an_inverse_relation_answers_for_the_head(scorer: str) -> None:
    model, dataset = seeded(scorer), graph([4])
    inverse = torch.randn_like(model.relations)
    twice = Vectors(scorer, model.vectors, torch.cat([model.relations, inverse]))
    twice.reciprocal = True
    scores = ModelScores(twice, torch.arange(MANY))
    found = scores.score("head", 0, torch.tensor([4]), torch.arange(MANY))
    expected = model.scorer.score(model.vectors[4], inverse[0], model.vectors)
    torch.testing.assert_close(found[0], expected)
    left = [place for place in range(MANY) if place != 0]
    assert ranked(twice, dataset).optimistic[1] == (expected[left] > expected[0]).sum() + 1
