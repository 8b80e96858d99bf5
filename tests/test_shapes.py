"""The step of a GPU, made on a CPU: the same as its own, and without a question that a GPU would be waited for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.test_trainer import ART, DATASET, TEXTS, new_run
from tests.vlkge_contracts import make_features
from vlkge import shapes
from vlkge.config import load_experiment
from vlkge.features import save_features
from vlkge.fusion import REGISTRY as FUSIONS
from vlkge.model import KGEModel, build_model
from vlkge.objective import Objective
from vlkge.optimizer import RowAdagrad
from vlkge.parallel import ALONE
from vlkge.scorers import REGISTRY as SCORERS
from vlkge.train import fit
from vlkge.trainer import Material, Trainer

ASKING = {
    "_local_scalar_dense",
    "nonzero",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "masked_select",
    "is_nonzero",
}
"""What a GPU has to have done everything else for."""


class Asked(TorchDispatchMode):
    """Notes what is asked of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        places = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(place is not None and place.dtype == torch.bool for place in places)
        if name in ASKING or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


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


@pytest.mark.parametrize("scorer", SCORERS.names())
@pytest.mark.parametrize("structural", ["shared", "own", "masked"])
def test_nothing_is_asked_between_two_draws_of_negatives(
    scorer: str, structural: str, features: Path, tmp_path: Path
) -> None:
    settings = (f"model.scorer={scorer}", f"model.structural={structural}", "training.corrupt=both")
    trainer = Trainer(new_run(tmp_path / "run", features, *settings), ALONE)
    trainer.model.train()
    with as_on_a_gpu():
        (first, *_), asked = list(trainer.material.batches(trainer.generator)), Asked()
        with asked:
            trainer._step(*first)
    assert asked.found == []
    with Asked() as asked:
        trainer._step(*next(trainer.material.batches(trainer.generator)))
    assert asked.found  # as a CPU may


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
