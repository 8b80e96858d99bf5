"""Training: it learns what the pictures tell, repeats bit for bit, and resumes as if it had not stopped."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mkg_builder.errors import DataError, UnknownNameError
from tests.test_run import DATASET, FACTS, new_run
from tests.vlkge_contracts import make_dataset, make_features
from vlkge.config import ModelConfig, load_experiment
from vlkge.errors import ExperimentError, RunError
from vlkge.evaluate import evaluate_run
from vlkge.features import save_features
from vlkge.model import build_model
from vlkge.negatives import Negatives
from vlkge.new_run import create_run
from vlkge.objective import Objective
from vlkge.protocol import Strict
from vlkge.run import Run, load_run
from vlkge.scorers import Scorer
from vlkge.train import check_names, fit, resolve, start


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / run.record["checkpoint"]["file"])


def assert_equal_bits(first: Run, second: Run) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("scorer", ["complex", "transe"])
def test_three_epochs_and_a_resume_to_six_are_six_straight_bit_for_bit(tmp_path: Path, scorer: str) -> None:
    settings = (f"model.scorer={scorer}", "model.structural=own", "training.corrupt=both", "training.patience=99")
    straight, broken = new_run(tmp_path, *settings, name="straight"), new_run(tmp_path, *settings, name="broken")
    list(fit(straight, 6))
    list(fit(broken, 3))
    torch.rand(100)  # whatever another process has drawn
    resumed = load_run(broken.folder)
    epochs = [record.epoch for record in fit(resumed, 6)]
    assert epochs == [4, 5, 6]
    assert_equal_bits(straight, resumed)
    assert straight.record["weights"] == resumed.record["weights"]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    first, second, other = (new_run(tmp_path, f"training.seed={s}", name=n) for s, n in ((1, "a"), (1, "b"), (2, "c")))
    for run in (first, second, other):
        list(fit(run, 2))
    assert_equal_bits(first, second)
    assert not torch.equal(weights(first)["model.relations"], weights(other)["model.relations"])


@pytest.mark.parametrize("scorer", ["transe", "distmult", "complex", "rotate"])
def test_it_learns_to_tell_the_painter_of_an_unseen_picture(tmp_path: Path, scorer: str) -> None:
    facts = [(f"artwork:{i:03d}", "by", f"artist:{i % 5}") for i in range(150)]
    dataset = make_dataset({"train": facts[:100], "validation": facts[100:125], "test": facts[125:]})
    pictures = make_features(dataset, "image", [head for head, _, _ in facts], 8)
    pictures.vectors[range(150), [i % 5 for i in range(150)]] += 4.0  # they tell the painter, through noise
    save_features(tmp_path / "features", [pictures])
    settings = [f"model.scorer={scorer}", "training.batch_size=16"]
    plan = load_experiment(None, [f"features={tmp_path / 'features'}", *settings])
    run = create_run(tmp_path / "run", resolve(plan, dataset), dataset)
    losses = [record.loss for record in fit(run, 25)]
    result = evaluate_run(run, "test", Strict())
    assert losses[-1] < losses[0]
    assert result.model.overall.mrr > 0.8
    assert result.baselines["chance"].overall.mrr < 0.5
    assert result.baselines["most_frequent"].overall.mrr < 0.5


def test_it_stops_when_validation_gets_no_better_and_stays_stopped(tmp_path: Path) -> None:
    run = new_run(tmp_path, "training.patience=2", "training.learning_rate=1e-6")
    records = list(fit(run, 50))
    assert [record.best for record in records][-2:] == [False, False]
    assert len(records) < 50
    assert list(fit(load_run(run.folder), 50)) == []


def test_without_a_validation_split_the_last_epoch_is_kept(tmp_path: Path) -> None:
    dataset = make_dataset({"train": FACTS[:20], "test": FACTS[20:]})
    run = create_run(tmp_path / "run", resolve(load_experiment(None, ["model.dim=4"]), dataset), dataset)
    assert [(record.validation_mrr, record.best) for record in fit(run, 2)] == [(None, True)] * 2
    assert run.record["weights"]["file"] == "weights-0002.safetensors"


def test_the_loss_is_the_mean_of_softplus_over_what_is_valid() -> None:
    model = build_model(
        ModelConfig(scorer="distmult", dim=4, modalities=["structural"], structural="own"), DATASET, {}, 0
    )
    positives = DATASET.triples["train"][:2]
    negatives = Negatives(
        torch.tensor([[0, 1], [2, 5]]), torch.tensor([False, True]), torch.tensor([[True, True], [False, True]])
    )
    vectors, relation = model.represent(torch.arange(len(DATASET.entities))), model.relations[0]

    def score(head: int, tail: int) -> torch.Tensor:
        return (vectors[head] * relation * vectors[tail]).sum()

    (h0, _, t0), (h1, _, t1) = positives.tolist()
    signed = [-score(h0, t0), -score(h1, t1), score(h0, 0), score(h0, 1), score(5, t1)]
    expected = torch.stack([(1 + value.exp()).log() for value in signed]).mean()
    cost = Objective()(model, positives, negatives)
    torch.testing.assert_close(cost.loss / cost.terms, expected)


def test_an_unseen_entity_has_no_weight_at_all_and_training_never_touches_it(tmp_path: Path) -> None:
    run = new_run(tmp_path, "model.structural=own", "training.negative_pool=entities")
    list(fit(run, 1))
    owners = run.new_model().real.modalities["structural"].rows >= 0
    assert torch.equal(owners, DATASET.seen())


def test_progress_is_told_of_every_batch(tmp_path: Path) -> None:
    told = []
    list(fit(new_run(tmp_path), 1, lambda *said: told.append(said)))
    assert told == [("epoch 1 of 1", 1, 3), ("epoch 1 of 1", 2, 3), ("epoch 1 of 1", 3, 3)]


def test_what_depends_on_the_data_is_filled_in(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    assert (run.experiment.model.modalities, run.experiment.training.corrupt) == (["structural", "image"], "tail")
    both_ways = make_dataset({"train": FACTS}, "transductive")
    assert resolve(load_experiment(), both_ways).training.corrupt == "both"


def test_a_loss_that_diverges_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"smaller learning rate|not finite"):
        list(fit(new_run(tmp_path, "training.learning_rate=1e30"), 5))


@pytest.mark.parametrize(
    ("setting", "error", "said"),
    [
        ("model.scorer=complx", UnknownNameError, "did you mean 'complex'"),
        ("model.fusion=avg", UnknownNameError, "known: addition, average"),
        ("protocol=official", UnknownNameError, "known: reference, strict"),
        ("training.device=tpu9", ExperimentError, "training.device is 'tpu9'"),
        ("training.precision=tf32", ExperimentError, "tf32, which a CPU does not have"),
        ("model.imaginary=fused model.scorer=distmult", ExperimentError, "the vectors of distmult are real"),
        (
            f"training.regularizer=dura training.regularizer_weight=1 model.scorer={__name__}:Plain",
            ExperimentError,
            "dura needs a scorer that makes queries",
        ),
    ],
)
def test_a_name_that_nothing_answers_to_is_refused_at_once(setting: str, error, said: str) -> None:
    with pytest.raises(error, match=said):
        check_names(load_experiment(None, setting.split()))


class Plain(Scorer):
    """Makes no queries."""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["model.modality_dropout=0.5", "model.modalities=[structural]"], "modality_dropout does nothing: structural"),
        (["model.coverage={text: 0.5}"], "model.coverage asks for text features; those here: image"),
        (["model.modalities=[image,image]"], "modalities names one twice: image, image"),
    ],
)
def test_what_would_be_passed_over_is_refused(tmp_path: Path, settings: list[str], said: str) -> None:
    with pytest.raises(DataError if "coverage" in said else ExperimentError, match=said):
        new_run(tmp_path, *settings)


def test_no_data_set_and_a_missing_modality_are_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="--dataset"):
        start(load_experiment(), tmp_path / "run")
    with pytest.raises(ExperimentError, match="asks for 'text'; the features hold: image"):
        new_run(tmp_path, "model.modalities=[text]")


@pytest.mark.parametrize("negatives", ["share_negatives=true", "negatives=4", "negatives=all"])
@pytest.mark.parametrize("scorer", ["transe", "distmult", "complex", "rotate"])
def test_matrix_products_of_half_precision_learn_about_the_same_and_resume(
    tmp_path: Path, scorer: str, negatives: str
) -> None:
    settings = [f"model.scorer={scorer}", f"training.{negatives}"]
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = new_run(tmp_path, *settings, f"training.precision={precision}", name=precision)
        losses[precision] = [record.loss for record in fit(run, 4)]
    assert losses["float32"] != losses["bfloat16"]
    assert losses["float32"] == pytest.approx(losses["bfloat16"], rel=0.02)
    broken = new_run(tmp_path, *settings, "training.precision=bfloat16", name="broken")
    list(fit(broken, 2))
    list(fit(load_run(broken.folder), 4))
    assert_equal_bits(load_run(tmp_path / "bfloat16"), load_run(broken.folder))


@pytest.mark.parametrize("scorer", ["transe", "distmult", "complex", "rotate"])
@pytest.mark.parametrize("vectors", ["modalities=[image]", "fusion=gated", "fusion=weighted"])
def test_half_precision_may_leave_vectors_in_it(tmp_path: Path, scorer: str, vectors: str) -> None:
    run = new_run(tmp_path, f"model.scorer={scorer}", f"model.{vectors}", "training.precision=bfloat16")
    assert all(record.loss > 0 for record in fit(run, 2))
