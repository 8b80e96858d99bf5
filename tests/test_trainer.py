"""Every scorer with every fusion, set of modalities and way of learning: it trains, resumes bit for bit, evaluates."""

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.vlkge_contracts import make_dataset, make_features
from vlkge.config import load_experiment
from vlkge.errors import ExperimentError
from vlkge.evaluate import evaluate_run
from vlkge.features import save_features
from vlkge.fusion import REGISTRY as FUSIONS
from vlkge.new_run import create_run
from vlkge.protocol import make_protocol
from vlkge.run import Run, load_run
from vlkge.scorers import REGISTRY as SCORERS
from vlkge.train import fit, resolve
from vlkge.trainer import Material

MODALITIES = ("structural", "image", "text", "structural,image", "structural,text", "structural,image,text")
WAYS = (
    (),
    ("training.loss=softmax", "training.negatives=all", "model.reciprocal=true"),
    ("training.loss=softmax", "training.negatives=3", "training.share_negatives=true", "training.regularizer=n3",
     "training.regularizer_weight=0.1"),
    ("training.corrupt=both", "training.known=reference", "training.distinct=true", "training.negative_pool=entities"),
    ("model.structural=masked", "model.projection=fitting", "model.normalise=none", "model.dropout=0.0"),
)  # fmt: skip
CASES = [
    (scorer, fusion, MODALITIES[i % len(MODALITIES)], WAYS[i % len(WAYS)])
    for i, (scorer, fusion, _) in enumerate(itertools.product(SCORERS.names(), FUSIONS.names(), range(6)))
]
"""Each scorer with each fusion and each set of modalities; the ways of learning in turn."""

ART, BY = [f"artwork:{i:02d}" for i in range(24)], [f"artist:{i}" for i in range(4)]
FACTS = [(art, "by", BY[i % 4]) for i, art in enumerate(ART)]
KNOWS = [(BY[i], "knows", BY[(i + 1) % 4]) for i in range(4)]
DATASET = make_dataset({"train": [*FACTS[:16], *KNOWS], "validation": FACTS[16:20], "test": FACTS[20:]})
TEXTS = [*BY[:3], *ART[::3]]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trainer") / "features"
    save_features(folder, [make_features(DATASET, "image", ART[:-1], 6), make_features(DATASET, "text", TEXTS, 4)])
    return folder


def new_run(folder: Path, features: Path, *settings: str) -> Run:
    plan = load_experiment(None, [f"features={features}", "model.dim=4", "training.batch_size=7", *settings])
    return create_run(folder, resolve(plan, DATASET), DATASET)


def checkpoint(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / run.record["checkpoint"]["file"])


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("scorer", SCORERS.names())
@pytest.mark.parametrize("way", [(), ("training.loss=softmax", "training.negatives=all", "model.reciprocal=true")])
def test_batches_of_a_real_size_train_alike_every_time(scorer: str, way: tuple[str, ...], tmp_path: Path) -> None:
    """Above 32,768 numbers torch adds up in parallel, and in any order where an index has repeats."""
    facts = [(f"a:{i:04d}", f"r:{i % 2}", f"a:{i * 7 % 1024:04d}") for i in range(1024)]
    dataset = make_dataset({"train": facts}, "transductive")
    settings = [f"model.scorer={scorer}", "model.modalities=[structural]", "model.structural=own", "model.dim=128",
                "training.negatives=80", *way]  # fmt: skip
    states = []
    for name in ("one", "two", "three"):
        run = create_run(tmp_path / name, resolve(load_experiment(None, settings), dataset), dataset)
        list(fit(run, 2))
        states.append(checkpoint(load_run(run.folder)))
    for other in states[1:]:
        assert all(torch.equal(tensor, other[key]) for key, tensor in states[0].items())


@pytest.mark.parametrize(("scorer", "fusion", "modalities", "way"), CASES)
def test_it_trains_resumes_and_evaluates(
    scorer: str, fusion: str, modalities: str, way: tuple[str, ...], features: Path, tmp_path: Path
) -> None:
    settings = (f"model.scorer={scorer}", f"model.fusion={fusion}", f"model.modalities=[{modalities}]", *way)
    straight, broken = (new_run(tmp_path / name, features, *settings) for name in ("straight", "broken"))
    list(fit(straight, 2))
    list(fit(broken, 1))
    list(fit(load_run(broken.folder), 2))
    before, after = checkpoint(straight), checkpoint(load_run(broken.folder))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    result = evaluate_run(load_run(broken.folder), "test", make_protocol("strict"))
    assert 0 < result.model.overall.mrr <= 1


def test_an_epoch_takes_the_share_of_a_relation_that_is_asked_for() -> None:
    settings = load_experiment(None, ["training.sample={by: 0.25}", "training.corrupt=tail"]).training
    material = Material(DATASET, settings, reciprocal=False, device=torch.device("cpu"))
    taken = [
        torch.cat([batch for batch, _ in material.batches(torch.Generator().manual_seed(seed))]) for seed in range(8)
    ]
    relations = [torch.bincount(triples[:, 1]).tolist() for triples in taken]
    assert relations == [[4, 4]] * 8
    assert len({tuple(map(tuple, triples[triples[:, 1] == 0].tolist())) for triples in taken}) == 8


def test_a_run_of_another_kind_of_device_goes_on_with_draws_of_its_own(features: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", features)
    list(fit(run, 2))
    of_a_gpu = {**run.load_checkpoint(), "generator": torch.zeros(16, dtype=torch.uint8)}
    run.save_epoch(run.progress, of_a_gpu, None)
    assert [record.epoch for record in fit(load_run(run.folder), 4)] == [3, 4]


def test_shares_that_leave_nothing_to_learn_from_are_refused() -> None:
    relations = dict.fromkeys(DATASET.relations, 0.001)
    settings = load_experiment(None, [f"training.sample={relations}"]).training
    with pytest.raises(ExperimentError, match="leaves no triple to learn from"):
        Material(DATASET, settings, reciprocal=False, device=torch.device("cpu"))


def test_reciprocal_triples_are_the_triples_the_other_way_round() -> None:
    settings = load_experiment(None, ["training.corrupt=both"]).training
    material = Material(DATASET, settings, reciprocal=True, device=torch.device("cpu"))
    forward, backward = material.triples.chunk(2)
    assert torch.equal(backward, torch.stack([forward[:, 2], forward[:, 1] + 2, forward[:, 0]], 1))


@pytest.mark.parametrize("known", ["train", "all", "reference"])
def test_what_is_known_is_never_a_negative(known: str) -> None:
    lived = {"train": [("b:0", "r", "b:1")], "validation": [("b:0", "r", "b:2")], "test": [("b:3", "r", "b:0")]}
    dataset = make_dataset({**lived, "train": [*lived["train"], ("b:2", "s", "b:3")]}, "transductive")
    pool, drawing = "training.negative_pool=entities", "training.negatives=40"
    settings = load_experiment(None, [f"training.known={known}", pool, drawing, "training.corrupt=tail"]).training
    sampler = Material(dataset, settings, reciprocal=False, device=torch.device("cpu")).sampler
    drawn = sampler.sample(dataset.triples["train"][:1], torch.Generator().manual_seed(0))
    expected = {"train": {0, 2, 3}, "all": {0, 3}, "reference": {0}}
    assert set(drawn.entities[drawn.valid].tolist()) == expected[known]


def test_only_validated_epochs_are_kept_and_waited_for(features: Path, tmp_path: Path) -> None:
    settings = ("training.validate_every=3", "training.patience=2", "training.learning_rate=1e-7")
    run = new_run(tmp_path / "run", features, *settings)
    records = list(fit(run, 20))
    assert [record.epoch for record in records if record.validation_mrr is not None] == [3, 6]
    assert [record.epoch for record in records if record.best] == [3]
    assert run.record["weights"]["file"] == "weights-0003.safetensors"
