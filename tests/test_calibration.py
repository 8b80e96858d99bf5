"""Probabilities: fitted as a plain search would, measured by hand, kept beside the run and never in it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mkg_builder.durable import file_sha256
from tests import painted
from tests.vlkge_contracts import SPLITS, make_dataset
from vlkge.calibration import (
    FILE,
    Asked,
    RelationCalibration,
    _fit,
    ask,
    calibrate,
    calibrate_run,
    expected_error,
    fit_sigmoid,
    fit_temperature,
    single_valued,
)
from vlkge.config import ModelConfig
from vlkge.model import build_model
from vlkge.predict import Predictor
from vlkge.protocol import Strict
from vlkge.run import Run, load_run
from vlkge.scores import ModelScores


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    place = tmp_path_factory.mktemp("calibration")
    release = painted.write_release(place / "release", "1.0.0", whole=True)
    return painted.train_run(place / "run", release, place / "features", 6)


def all_scores(run: Run) -> ModelScores:
    return ModelScores(run.load_model(), torch.arange(len(run.dataset.entities)))


def drawn(queries: int, temperature: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, and targets drawn from their softmax at a temperature."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(queries, 8, generator=generator, dtype=torch.float64) * 5
    return scores, torch.multinomial((scores / temperature).softmax(1), 1, generator=generator)[:, 0]


def test_the_temperature_of_drawn_answers_is_found_again() -> None:
    assert fit_temperature(*drawn(20_000, 2.5)) == pytest.approx(2.5, rel=0.05)


def test_no_other_temperature_has_a_smaller_cross_entropy() -> None:
    scores, targets = drawn(30, 2.0)
    rows, count = torch.arange(30), 30
    rivals = scores.clone()
    rivals[rows, targets] = -torch.inf
    wanted = torch.zeros_like(scores)
    wanted[rows, targets] = (count + 1) / (count + 2)
    wanted[rows, rivals.argmax(1)] = 1 / (count + 2)

    def cost(temperature: float) -> float:
        return -float((wanted * (scores / temperature).log_softmax(1)).sum())

    found = fit_temperature(scores, targets)
    grid = np.exp(np.linspace(np.log(found / 4), np.log(found * 4), 2001))
    assert min(map(cost, grid)) >= cost(found) - 1e-9


def test_a_few_answers_without_a_mistake_do_not_make_certainty() -> None:
    scores = torch.tensor([[9.0, 1.0, 0.0], [8.0, 0.0, 1.0]])
    likely = (scores / fit_temperature(scores, torch.tensor([0, 0]))).softmax(1)
    assert likely[:, 0].mean() == pytest.approx(3 / 4, abs=0.02)  # Platt's (n + 1) / (n + 2)


def test_one_candidate_alone_and_equal_scores_are_no_trouble() -> None:
    assert fit_temperature(torch.ones(3, 1), torch.zeros(3, dtype=torch.int64)) == 1.0
    flat = RelationCalibration("softmax", 1 / fit_temperature(torch.ones(3, 4), torch.tensor([0, 1, 2])), 0.0, 3)
    assert flat.probabilities(torch.ones(1, 4), torch.zeros(1, 4, dtype=torch.bool)).tolist() == [[0.25] * 4]


def test_scores_that_are_all_alike_give_no_probabilities() -> None:
    """A model without vectors for what is unseen scores 0; any scale fits that, and would be sure of all others."""
    facts = {split: [(f"artwork:{split}{i}", "by", f"artist:{i % 2}") for i in range(4)] for split in SPLITS}
    dataset = make_dataset(facts)
    blind = ModelConfig(scorer="distmult", dim=3, structural="own", modalities=["structural"])
    assert calibrate(dataset, build_model(blind, dataset, {}, 0)) == {}


def test_no_other_sigmoid_has_a_smaller_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(4000, generator=generator, dtype=torch.float64) * 3 - 7
    true = torch.rand(4000, generator=generator) < (0.8 * scores + 4).sigmoid()
    target = torch.where(true, (true.sum() + 1) / (true.sum() + 2), 1 / ((~true).sum() + 2)).double()

    def cost(scale: float, offset: float) -> float:
        likely = (scale * scores + offset).sigmoid()
        return -float((target * likely.log() + (1 - target) * (1 - likely).log()).mean())

    scale, offset = fit_sigmoid(scores, true)
    assert (scale, offset) == pytest.approx((0.8, 4), rel=0.25)
    for change in (-0.01, 0.01):
        assert cost(scale + change, offset) > cost(scale, offset)
        assert cost(scale, offset + change) > cost(scale, offset)


def test_a_higher_score_is_never_less_likely() -> None:
    """Where the truth falls with the scores, every answer is as likely as the base rate."""
    scores, true = torch.arange(40.0), torch.arange(40) < 10
    scale, offset = fit_sigmoid(scores, true)
    assert scale == 0.0
    target = (10 * 11 / 12 + 30 / 32) / 40
    assert torch.tensor(offset).sigmoid().item() == pytest.approx(target)


def test_the_expected_error_is_that_of_a_count_by_hand() -> None:
    likely = torch.tensor([[0.95, 0.05], [0.93, 0.07], [0.35, 0.65], [0.8, 0.1]], dtype=torch.float64)
    true = torch.tensor([[True, False], [False, True], [False, True], [False, True]])
    known = torch.tensor([[False] * 2, [False] * 2, [False] * 2, [True, False]])
    asked = Asked(likely, true, known)
    by_hand = (abs(0.95 + 0.93 - 1) + abs(0.65 - 1) + abs(0.1 - 1)) / 4  # the last one's first answer is known
    assert expected_error(likely, asked) == pytest.approx(by_hand)


def test_calibration_brings_probabilities_nearer_to_how_often_they_hold() -> None:
    (scores, targets), (more, answers) = drawn(2_000, 4.0), drawn(2_000, 4.0, seed=1)
    fitted = RelationCalibration("softmax", 1 / fit_temperature(scores, targets), 0.0, 0)
    true = torch.nn.functional.one_hot(answers, 8).bool()
    asked = Asked(more, true, torch.zeros_like(true))
    before = expected_error(more.softmax(1), asked)
    after = expected_error(fitted.probabilities(more, asked.known), asked)
    assert (before > 0.2, after < 0.03) == (True, True)


def test_a_relation_is_single_valued_when_no_head_has_two_tails_or_the_graph_says_so() -> None:
    facts = [("artwork:1", "by", "artist:1"), ("artwork:1", "shows", "thing:1"), ("artwork:1", "shows", "thing:2")]
    dataset = make_dataset({"train": facts})
    assert [single_valued(dataset, dataset.relation_index(name)) for name in ("by", "shows")] == [True, False]
    info = {name: replace(about, functional=True) for name, about in dataset.relation_info.items()}
    assert single_valued(replace(dataset, relation_info=info), dataset.relation_index("shows"))


def test_what_validation_states_is_asked_and_what_train_states_is_known(run: Run) -> None:
    relation = run.dataset.relation_index("isBy")
    asked = ask(run.dataset, "validation", relation, all_scores(run))
    assert asked is not None
    assert (len(asked.scores), int(asked.true.sum()), int(asked.known.sum())) == (20, 20, 0)
    stated = [tail for head, name, tail in painted.facts()["validation"] if name == "isBy"]
    candidates = Strict().candidates(run.dataset, "validation", relation, "tail")
    found = [run.dataset.entities[candidates[row.nonzero()[0, 0]]] for row in asked.true]
    assert found == sorted(stated)


def test_what_an_earlier_split_states_is_known_and_what_a_later_one_states_is_not_looked_at() -> None:
    facts = [(f"artist:{i}", "knows", f"artist:{i + 1}") for i in range(4)]
    more = {split: [("artist:0", "knows", f"artist:{i}")] for split, i in (("validation", 2), ("test", 3))}
    dataset = make_dataset({"train": facts, **more})
    model = build_model(ModelConfig(modalities=["structural"], dim=4), dataset, {}, 0)
    scores, tails = ModelScores(model, torch.arange(5)), {"validation": ([2], [1]), "test": ([3], [1, 2])}
    for split, (true, known) in tails.items():
        asked = ask(dataset, split, 0, scores)
        assert asked is not None
        candidates = Strict().candidates(dataset, split, 0, "tail").tolist()
        assert [candidates[i] for i in asked.true[0].nonzero()[:, 0]] == true
        assert [candidates[i] for i in asked.known[0].nonzero()[:, 0]] == known


def test_what_is_known_from_before_is_no_wrong_answer_to_learn_from() -> None:
    scores, true = torch.tensor([[3.0, 9.0, 0.0], [1.0, 2.0, -1.0]]), torch.tensor([[True, False, False]] * 2)
    known = torch.tensor([[False, True, False], [False, False, False]])
    fitted = _fit(Asked(scores, true, known), single=False)
    values = {"sigmoid": [3.0, 0.0, 1.0, 2.0, -1.0], "relative sigmoid": [*log_softmax(3, 0), *log_softmax(1, 2, -1)]}
    expected = fit_sigmoid(torch.tensor(values[fitted.method]), torch.tensor([True, False, True, False, False]))
    assert (fitted.scale, fitted.offset) == pytest.approx(expected, rel=1e-3)


def log_softmax(*scores: float) -> list[float]:
    return list(np.array(scores) - np.log(np.exp(scores).sum()))


@pytest.mark.parametrize("common_zero", [True, False])
def test_of_both_sigmoids_the_one_that_fits_better_is_taken(common_zero: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    asked = []
    for _ in range(2):
        scores = torch.randn(2000, 30, generator=generator, dtype=torch.float64) * 2
        relative = torch.from_numpy(np.array([log_softmax(*row) for row in scores.tolist()]))
        logit = 2 * scores - 4 if common_zero else 2 * relative + 2
        true = torch.rand(scores.shape, generator=generator) < logit.sigmoid()
        # what a softmax learns has no common zero: each query's scores may lie anywhere
        shift = 0 if common_zero else 5 * torch.randn(2000, 1, generator=generator)
        asked.append(Asked(scores + shift, true, torch.zeros_like(true)))
    fitted = _fit(asked[0], single=False)
    assert fitted.method == ("sigmoid" if common_zero else "relative sigmoid")
    assert (fitted.scale, fitted.offset) == pytest.approx((2, -4 if common_zero else 2), rel=0.15)
    assert expected_error(fitted.probabilities(asked[1].scores, asked[1].known), asked[1]) < 0.05


def test_what_is_known_takes_nothing_from_the_others_chance() -> None:
    fitted = RelationCalibration("relative sigmoid", 1.0, 0.5, 0)
    found = fitted.probabilities(torch.tensor([[9.0, 1.0, 2.0]]), torch.tensor([[True, False, False]]))
    by_hand = 1 / (1 + np.exp(-np.array(log_softmax(1.0, 2.0)) - 0.5))
    assert found[0, 1:].tolist() == pytest.approx(by_hand)
    assert found[0, 0] > 0.99


def test_the_fit_does_not_look_at_the_test_split(run: Run) -> None:
    moved = run.dataset.triples["test"].clone()
    moved[:, 2] = moved[:, 2].roll(1)
    by = run.dataset.relation_index("isBy")
    moved = moved[(moved[:, 1] == by) & torch.tensor([run.dataset.types[t] == "artist" for t in moved[:, 2]])]
    other = replace(run.dataset, triples={**run.dataset.triples, "test": moved})
    model = run.load_model()
    first, second = calibrate(run.dataset, model)["isBy"], calibrate(other, model)["isBy"]
    assert (first.scale, first.queries) == (second.scale, second.queries)
    assert first.error_after != second.error_after


def test_probabilities_of_an_answer_add_up_and_follow_the_score(run: Run) -> None:
    predictor = Predictor(run)
    answers = predictor.tails_of("artwork:03-9", "isBy", top=painted.PAINTERS)
    likely = [answer.probability for answer in answers]
    assert sum(likely) == pytest.approx(1.0)
    assert likely == sorted(likely, reverse=True)
    assert predictor.tails_of("artist:painter-00", "knows")[0].probability is None  # nothing of it in validation


def test_what_may_have_several_tails_is_judged_answer_by_answer(run: Run) -> None:
    predictor = Predictor(run)
    fitted = predictor.calibration["hasStyle"]
    answers = predictor.tails_of("artwork:03-9", "hasStyle")
    assert (fitted.method, fitted.queries, fitted.test_queries) == ("sigmoid", 20, 40)
    expected = [1 / (1 + np.exp(-fitted.scale * answer.score - fitted.offset)) for answer in answers]
    assert [answer.probability for answer in answers] == pytest.approx(expected)
    assert fitted.error_after < fitted.error_before


def test_it_is_kept_beside_the_run_and_made_again_when_the_weights_change(run: Run, monkeypatch) -> None:
    sealed, model = file_sha256(run.folder / "run.json"), run.load_model()
    first = calibrate_run(run, model)
    monkeypatch.setattr("vlkge.calibration.calibrate", lambda *_: {})
    assert calibrate_run(run, model) == first
    changed = replace(run, record={**run.record, "weights": {**run.record["weights"], "sha256": "0" * 64}})
    assert calibrate_run(changed, model) == {}
    assert calibrate_run(run, model) == {}  # the kept one is of other weights now
    assert file_sha256(run.folder / "run.json") == sealed
    load_run(run.folder)


@pytest.mark.parametrize("harm", ["alter", "folder"])
def test_a_damaged_or_impossible_file_is_no_hindrance(run: Run, harm: str) -> None:
    path, model = run.folder / FILE, run.load_model()
    path.unlink(missing_ok=True)
    expected = calibrate_run(run, model)
    if harm == "alter":
        path.write_text(path.read_text().replace("softmax", "sigmoid"))
    else:
        path.unlink()
        path.mkdir()
    assert calibrate_run(run, model) == expected
    if harm == "folder":
        path.rmdir()


def test_many_queries_are_sampled_and_the_same_each_time(run: Run, monkeypatch) -> None:
    monkeypatch.setattr("vlkge.calibration.LEAST_QUERIES", 7)
    monkeypatch.setattr("vlkge.calibration.SCORES_AT_ONCE", 1)
    scores = all_scores(run)
    first, second = (ask(run.dataset, "test", run.dataset.relation_index("isBy"), scores) for _ in range(2))
    assert first is not None
    assert second is not None
    assert len(first.scores) == 7
    assert torch.equal(first.scores, second.scores)
