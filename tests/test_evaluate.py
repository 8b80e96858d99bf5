"""Evaluation: model and baselines through one code, per relation and overall."""

import pytest
import torch

from mkg_builder.errors import UnknownNameError
from tests.vlkge_contracts import make_dataset, make_features, random_dataset, random_scores
from vlkge.config import ModelConfig
from vlkge.errors import RunError
from vlkge.evaluate import Evaluator, evaluate
from vlkge.model import build_model
from vlkge.protocol import Strict
from vlkge.ranking import Ranks, summarise
from vlkge.scores import FrequencyScores, ModelScores

TRAIN = [(f"artwork:{i}", "by", f"artist:{'aaabbc'[i]}") for i in range(6)]
TEST = [("artwork:7", "by", "artist:a"), ("artwork:8", "by", "artist:b"), ("artwork:9", "by", "artist:c")]
DATASET = make_dataset({"train": TRAIN, "test": TEST})


def ranked(scores, dataset=DATASET, split: str = "test"):
    evaluator = Evaluator(dataset, split, Strict())
    return evaluator.rank(scores)


def test_the_most_frequent_tail_is_ranked_first_for_every_query() -> None:
    assert Ranks.joined(ranked(FrequencyScores(DATASET))).realistic.tolist() == [1.0, 2.0, 3.0]


def test_equally_frequent_tails_share_their_rank() -> None:
    dataset = make_dataset({"train": [TRAIN[0], TRAIN[3]], "test": TEST[:2]})
    assert Ranks.joined(ranked(FrequencyScores(dataset), dataset)).realistic.tolist() == [1.5, 1.5]


def test_the_overall_metrics_are_over_queries_not_over_relations() -> None:
    dataset = random_dataset(3, "transductive")
    evaluator = Evaluator(dataset, "test", Strict())
    ranks = evaluator.rank(random_scores(dataset, 0))
    breakdown, whole = evaluator.summarise(ranks), Ranks.joined(ranks)
    assert breakdown.overall == summarise(whole.realistic, whole.candidates)
    counted = {name: metrics.queries for name, metrics in breakdown.relations.items()}
    names = [dataset.relations[r] for r in dataset.triples["test"][:, 1].tolist()]
    assert counted == {name: 2 * names.count(name) for name in set(names)}


def model_of(dataset, **config):
    features = {"image": make_features(dataset, "image", [e for e in dataset.entities if e.startswith("artwork")], 4)}
    settings = ModelConfig(**{"dim": 4, "modalities": ["structural", "image"]} | config)
    return build_model(settings, dataset, features, 0)


@pytest.mark.parametrize("scorer", ["transe", "distmult", "complex", "rotate"])
def test_a_models_scores_are_those_of_its_triples(scorer: str) -> None:
    dataset = random_dataset(5, "transductive")
    model = model_of(dataset, scorer=scorer)
    everything = torch.arange(len(dataset.entities))
    scores, anchors = ModelScores(model, everything), torch.tensor([2, 0, 2])
    candidates = everything[model.real.has_any(everything)]
    for direction in ("tail", "head"):
        found = scores.score(direction, 0, anchors, candidates)
        pairs = torch.cartesian_prod(anchors, candidates)
        head, tail = pairs.unbind(1) if direction == "tail" else pairs.flip(1).unbind(1)
        one_by_one = model.scorer.score(model.represent(head), model.relations[0], model.represent(tail))
        torch.testing.assert_close(found.flatten(), one_by_one.detach())


def test_a_candidate_of_which_nothing_is_known_comes_last() -> None:
    dataset = make_dataset({"train": TRAIN, "test": [*TEST, ("artwork:8", "by", "artist:never-seen")]})
    scores = ModelScores(model_of(dataset), torch.arange(len(dataset.entities)))
    candidates = Strict().candidates(dataset, "test", 0, "tail")
    row = scores.score("tail", 0, torch.tensor([dataset.entity_index("artwork:7")]), candidates)[0]
    assert dataset.entities[candidates[row.argmin()]] == "artist:never-seen"


def test_the_result_says_what_it_depends_on() -> None:
    result = evaluate(model_of(DATASET), DATASET, "test", Strict(), seed=5).to_json()
    assert result["protocol"] == {"name": "strict", "version": "1", "ties": "realistic"}
    assert (result["dataset"]["content_sha256"], result["split"], result["seed"]) == ("c" * 64, "test", 5)
    assert result["baselines"]["chance"]["overall"]["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert result["relations"]["by"]["queries"] == 3


def test_rows_are_overall_then_each_relation_beside_the_baselines() -> None:
    rows = evaluate(model_of(DATASET), DATASET, "test", Strict()).rows()
    assert [row[:3] for row in rows] == [("all", 3, 3), ("by", 3, 3)]
    assert rows[0][-2:] == (pytest.approx(11 / 18), pytest.approx(11 / 18))


def test_an_empty_or_unknown_split_is_refused() -> None:
    with pytest.raises(RunError, match="tiny has no validation triples"):
        Evaluator(DATASET, "validation", Strict())
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        Evaluator(DATASET, "tests", Strict())
