"""Classification of triples and entities equals plain counting, and a perfect model makes no mistake."""

from collections import Counter

import numpy as np
import pytest
import torch

from mkg_builder.errors import UnknownNameError, UsageError
from tests.vlkge_contracts import MatrixScores, make_dataset
from vlkge.errors import RunError
from vlkge.scores import FrequencyScores
from vlkge.tasks.classification import (
    _with_negatives,
    best_threshold,
    classify_entities,
    classify_triples,
    single_valued,
)

ART, SPLITS = [f"artwork:{i:02d}" for i in range(40)], ("train", "validation", "test")


def graph(seed: int = 0, setting: str = "inductive"):
    """Artworks with a painter each and some tags; some painters influence others."""
    rng = np.random.default_rng(seed)
    splits: dict[str, list] = {split: [] for split in SPLITS}
    for i, art in enumerate(ART):
        mine = splits["train" if i < 20 else "validation" if i < 30 else "test"]
        mine.append((art, "by", f"artist:{rng.integers(5)}"))
        mine += [(art, "tag", f"tag:{tag}") for tag in sorted(set(rng.integers(6, size=2).tolist()))]
    splits["train"] += [("artist:0", "influences", f"artist:{i}") for i in range(1, 4)]
    splits["test"] += [("artist:0", "influences", "artist:4")]
    return make_dataset(splits, setting)


def scores(dataset, seed: int = 0) -> MatrixScores:
    shape = (len(dataset.relations), len(dataset.entities), len(dataset.entities))
    return MatrixScores(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def oracle(dataset) -> MatrixScores:
    found = scores(dataset)
    head, relation, tail = torch.cat(list(dataset.triples.values())).unbind(1)
    found.table[relation, head, tail] += 100.0
    return found


def test_a_false_tail_is_of_the_right_type_and_stated_nowhere() -> None:
    for seed in range(5):
        dataset = graph(seed)
        stated = {tuple(t) for split in SPLITS for t in dataset.triples[split].tolist()}
        triples, tails = _with_negatives(dataset, "test", seed)
        assert len(triples) == len(tails) > 20
        for (head, relation, tail), false in zip(triples.tolist(), tails.tolist(), strict=True):
            assert (head, relation, false) not in stated
            assert dataset.types[false] == dataset.types[tail]


def test_false_tails_follow_the_seed() -> None:
    dataset = graph()
    once, again, other = (_with_negatives(dataset, "test", seed)[1].tolist() for seed in (1, 1, 2))
    assert once == again != other


def test_a_triple_without_any_false_tail_is_left_out() -> None:
    by = [(art, "by", f"artist:{i % 2}") for i, art in enumerate(ART)]
    every = [("artwork:00", "shows", f"artist:{i}") for i in range(2)]
    dataset = make_dataset({"train": by[:20], "validation": by[20:30], "test": by[30:] + every})
    triples, _ = _with_negatives(dataset, "test", 0)
    assert [dataset.relations[r] for r in set(triples[:, 1].tolist())] == ["by"]


def test_the_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        true, false = rng.integers(0, 6, 8).astype(float), rng.integers(-2, 4, 8).astype(float)
        right = {
            limit: int((true > limit).sum() + (false <= limit).sum()) for limit in np.arange(-3.5, 7.5, 0.5).tolist()
        }
        found = best_threshold(true, false)
        assert (true > found).sum() + (false <= found).sum() == max(right.values())


def test_accuracy_and_area_are_those_of_counting() -> None:
    dataset = graph()
    model = scores(dataset)
    found = classify_triples(dataset, "test", model, FrequencyScores(dataset), 3)
    triples, tails = _with_negatives(dataset, "test", 3)
    right, pairs = 0, 0
    for name in ("by", "tag"):
        index, result = dataset.relation_index(name), found[name]
        mine = triples[:, 1] == index
        true = model.table[index, triples[mine, 0], triples[mine, 2]].double().tolist()
        false = model.table[index, triples[mine, 0], tails[mine]].double().tolist()
        told = sum(value > result.threshold for value in true) + sum(value <= result.threshold for value in false)
        higher = sum((t > f) + (t == f) / 2 for t in true for f in false) / (len(true) * len(false))
        assert (result.triples, result.accuracy) == (len(true), told / (2 * len(true)))
        assert result.auc == pytest.approx(higher)
        right, pairs = right + told, pairs + 2 * len(true)
    influences = found["influences"]  # which validation lacks
    assert found[None].accuracy == pytest.approx((right + 2 * influences.accuracy) / (pairs + 2))


def test_a_perfect_model_makes_no_mistake_and_frequency_some() -> None:
    dataset = graph()
    found = classify_triples(dataset, "test", oracle(dataset), FrequencyScores(dataset), 0)
    assert {(one.accuracy, one.auc) for one in found.values()} == {(1.0, 1.0)}
    assert 0.3 < found[None].frequent < 0.9
    assert classify_entities(dataset, "test", oracle(dataset))["by"].accuracy == 1.0


def test_the_one_tail_is_named_as_by_counting() -> None:
    for seed in range(5):
        dataset = graph(seed)
        model = scores(dataset, seed)
        (name, found), *others = classify_entities(dataset, "test", model).items()
        assert (name, others) == ("by", [])
        index = dataset.relation_index("by")
        test, train = ([t for t in dataset.triples[s].tolist() if t[1] == index] for s in ("test", "train"))
        classes = sorted({t for _, _, t in train})
        said = [max(classes, key=lambda c, h=h: float(model.table[index, h, c])) for h, _, _ in test]
        most = max(classes, key=Counter(t for _, _, t in train).__getitem__)
        right = [t for _, _, t in test]
        assert (found.entities, found.classes) == (len(test), len(classes))
        assert found.accuracy == sum(map(int.__eq__, said, right)) / len(test)
        assert found.macro_f1 == pytest.approx(macro_f1(right, said))
        assert found.majority == right.count(most) / len(test)
        assert found.majority_f1 == pytest.approx(macro_f1(right, [most] * len(test)))


def macro_f1(right: list[int], said: list[int]) -> float:
    found = []
    for label in {*right, *said}:
        hits = sum(r == s == label for r, s in zip(right, said, strict=True))
        found.append(2 * hits / (right.count(label) + said.count(label)))
    return sum(found) / len(found)


def test_what_has_several_tails_or_starts_at_another_type_is_not_asked() -> None:
    assert [name for name in ("by", "influences", "tag") if single_valued(graph(), name)] == ["by"]
    assert list(classify_entities(graph(setting="transductive"), "test", scores(graph()))) == ["by"]


def test_the_split_that_thresholds_are_chosen_on_and_an_unknown_one_are_refused() -> None:
    dataset = graph()
    with pytest.raises(UsageError, match="thresholds are chosen on validation"):
        classify_triples(dataset, "validation", scores(dataset), FrequencyScores(dataset), 0)
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        classify_triples(dataset, "tset", scores(dataset), FrequencyScores(dataset), 0)


def test_a_graph_without_validation_and_scores_that_are_not_finite_are_refused() -> None:
    dataset = make_dataset({"train": [("artwork:a", "by", "artist:b")], "test": [("artwork:c", "by", "artist:b")]})
    with pytest.raises(RunError, match="no validation triple"):
        classify_triples(dataset, "test", scores(dataset), FrequencyScores(dataset), 0)
    dataset = graph()
    broken = scores(dataset)
    broken.table[:] = torch.nan
    with pytest.raises(RunError, match="not finite"):
        classify_triples(dataset, "test", broken, FrequencyScores(dataset), 0)
