"""The step of a GPU, made on a CPU: the same as its own, and without a question that a GPU would be waited for."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_trainer import ART, DATASET, TEXTS, WAYS, new_run
from tests.vlkge_contracts import make_features
from vlkge import shapes
from vlkge.config import load_experiment
from vlkge.errors import RunError
from vlkge.features import save_features
from vlkge.fusion import REGISTRY as FUSIONS
from vlkge.model import KGEModel, build_model
from vlkge.objective import Objective
from vlkge.optimizer import RowAdagrad
from vlkge.scorers import REGISTRY as SCORERS
from vlkge.train import fit
from vlkge.trainer import Material


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "fixed", lambda _: True)
        yield


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "features"
    save_features(folder, [make_features(DATASET, "image", ART[:-1], 6), make_features(DATASET, "text", TEXTS, 4)])
    return folder


def made(*settings: str) -> tuple[KGEModel, Material]:
    plan = load_experiment(None, ["model.dim=4", "model.dropout=0.0", "model.modalities=[structural, image, text]",
                                  "training.corrupt=both", "training.negatives=3", *settings])  # fmt: skip
    held = {"image": make_features(DATASET, "image", ART[:-1], 6), "text": make_features(DATASET, "text", TEXTS, 4)}
    model = build_model(plan.model, DATASET, held, 0).double()  # Adagrad makes much of a rounding
    return model, Material(DATASET, plan.training, plan.model.reciprocal, torch.device("cpu"))


def stepped(model: KGEModel, material: Material) -> dict[str, torch.Tensor]:
    """The parameters after two steps with the same negatives."""
    optimizer, generator = RowAdagrad(model.parameters(), 0.1), torch.Generator().manual_seed(0)
    model.train()
    for _ in range(2):
        opponents = material.sampler.sample(material.triples, generator)
        cost = Objective(regularizer="n3", weight=0.1)(model, material.triples, opponents)
        optimizer.zero_grad()
        (cost.total(cost.terms, len(material.triples)) / cost.terms).backward()
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("scorer", SCORERS.names())
@pytest.mark.parametrize("fusion", FUSIONS.names())
@pytest.mark.parametrize("way", [
    (), ("model.structural=masked",), ("model.structural=own", "model.imaginary=fused"),
    ("model.reciprocal=true", "model.observed=[degree, links]"),
    ("model.reciprocal=true", "training.loss=softmax", "training.negatives=all"),
    ("training.share_negatives=true", "training.negative_pool=entities"),
])  # fmt: skip
@pytest.mark.parametrize("few", [4096, 0])
def test_its_steps_are_those_of_a_cpu(
    scorer: str, fusion: str, way: tuple[str, ...], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlkge.objective.FEW", few)
    settings = (f"model.scorer={scorer}", f"model.fusion={fusion}", *way)
    expected = stepped(*made(*settings))
    with as_on_a_gpu():
        found = stepped(*made(*settings))
    for name, parameter in expected.items():
        torch.testing.assert_close(found[name], parameter, rtol=1e-4, atol=1e-5, msg=name)


WAYS_HERE = (
    *WAYS,
    ("model.reciprocal=true", "model.observed=[degree, links]"),
    ("model.structural=own", "model.imaginary=fused", "model.modality_dropout=0.2", "model.fusion=gated"),
)
CASES = [
    [f"model.scorer={scorer}", *way]
    for number, scorer in enumerate(SCORERS.names())
    for way in WAYS_HERE[number % 2 :: 2]  # each way with two of the scorers
]


@pytest.fixture(scope="module")
def elsewhere(features: Path) -> list[dict[str, Any]]:
    """What came of every case on a second device."""
    command = [sys.executable, "-m", "tests.second_device", features.parent]
    ended = subprocess.run(command, input=json.dumps(CASES), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[" ".join(case) for case in CASES])
def test_a_second_device_trains_resumes_and_evaluates_as_the_first(
    number: int, elsewhere: list[dict[str, Any]], features: Path, tmp_path: Path
) -> None:
    """Where tensors of two devices meet, that one refuses."""
    case, found = CASES[number], elsewhere[number]
    with as_on_a_gpu():
        expected = [record.loss for record in fit(new_run(tmp_path / "run", features, *case), 3)]
    assert found["losses"] == pytest.approx(expected, rel=1e-5)  # a sum may be rounded by where its numbers lie
    assert found["far"] == found["near"]
    if not {"training.negatives=all", "training.share_negatives=true"} & set(case) and "observed" not in str(case):
        assert found["asked"] == 0  # a step waits for nothing


def test_it_trains_and_goes_on_as_if_it_had_not_stopped(features: Path, tmp_path: Path) -> None:
    with as_on_a_gpu():
        straight, broken = (new_run(tmp_path / name, features) for name in ("straight", "broken"))
        whole = list(fit(straight, 4))
        first = list(fit(broken, 2))
        rest = list(fit(broken, 4))
    assert [record.loss for record in whole] == [record.loss for record in [*first, *rest]]
    assert whole[-1].loss < whole[0].loss


def test_negatives_drawn_for_many_batches_are_those_of_each(features: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", features, "training.corrupt=both")
    with as_on_a_gpu():
        material = Material(DATASET, run.experiment.training, False, torch.device("cpu"))
        batches = list(material.batches(torch.Generator().manual_seed(0)))
    assert len(batches) == material.steps
    assert sorted(map(tuple, torch.cat([one for one, _ in batches]).tolist())) == sorted(
        map(tuple, material.triples.tolist())
    )
    known = set(map(tuple, material.triples.tolist()))
    for triples, drawn in batches:
        for (h, r, t), entities, heads, valid in zip(
            triples.tolist(), drawn.entities.tolist(), drawn.heads.tolist(), drawn.valid.tolist(), strict=True
        ):
            false = [(e, r, t) if heads else (h, r, e) for e, right in zip(entities, valid, strict=True) if right]
            assert not known & set(false)


@pytest.fixture
def fresh_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and g++ is not here")
def test_a_compiled_step_is_the_step(features: Path, tmp_path: Path) -> None:
    settings = ("model.scorer=distmult", "model.structural=masked", "model.dropout=0.0", "training.batch_size=10")
    losses = {}
    for mode in ("none", "default"):
        run = new_run(tmp_path / mode, features, *settings, f"training.compile={mode}")
        losses[mode] = [record.loss for record in fit(run, 3)]
    assert losses["default"] == pytest.approx(losses["none"], rel=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_without_a_compiler_it_says_what_does_without_one(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/nonexistent"))
    run = new_run(tmp_path / "run", features, "training.compile=default", "model.dropout=0.0")
    with pytest.raises(RunError, match=r"torch\.compile failed: .*No working C\+\+ compiler.*training\.compile=none"):
        list(fit(run, 1))
