"""The shipped experiments: each loads, says what it is, and says what to type when something is not there."""

import re
from pathlib import Path

import pytest

from mkg_builder.errors import UnknownNameError
from tests.test_trainer import DATASET, features
from vlkge.config import find_experiment, load_experiment, shipped_experiments
from vlkge.errors import ExperimentError, FeaturesError
from vlkge.train import check_names, resolve, start

__all__ = ["features"]
SHIPPED = shipped_experiments()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_experiment_loads_and_opens_with_its_command_time_and_number(name: str) -> None:
    experiment = load_experiment(SHIPPED[name])
    check_names(experiment)
    head = SHIPPED[name].read_text().partition("dataset:")[0]
    assert f"#   vlkge train --experiment {name}\n" in head
    assert re.search(r"# Takes +\S", head)
    assert re.search(r"# (Published|Measured) +\S", head)
    assert experiment.needs


def test_every_published_row_has_its_experiment() -> None:
    rows = {
        *(f"wn9-img-{scorer}-{kind}" for scorer in SCORERS for kind in ("structural", "clip")),
        *(f"wikiart-{v}-{scorer}-{kind}" for v in ("v1", "v2") for scorer in SCORERS for kind in ENCODERS),
    }
    assert rows <= set(SHIPPED)


SCORERS, ENCODERS = ("transe", "distmult", "complex", "rotate"), ("clip", "blip", "vit-bert")


def test_what_is_not_there_is_said_with_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExperimentError, match=r"data set \S+ is not here; type: mkgb build wn9-img --files FOLDER"):
        start(load_experiment(SHIPPED["wn9-img-distmult-structural"]))
    (tmp_path / "workspace" / "releases" / "wn9-img-1.0.0").mkdir(parents=True)
    with pytest.raises(ExperimentError, match=r"features \S+-clip is not here; .*vlkge encode .* --encoder published"):
        start(load_experiment(SHIPPED["wn9-img-distmult-clip"]))


@pytest.mark.parametrize(
    ("overrides", "kept"),
    [
        (["training.seed=43", "training.device=cpu", 'dataset="elsewhere/wn9-img-1.0.0"'], True),
        (["model.dim=16"], False), (["training.epochs=2"], False), (["dataset=releases/demo-1.0.0"], False),
    ],
)  # fmt: skip
def test_a_published_number_stands_beside_what_it_was_reported_of(overrides: list[str], kept: bool) -> None:
    plan = load_experiment(SHIPPED["wn9-img-distmult-structural"], overrides)
    assert (plan.published is not None) is kept


def test_an_unknown_experiment_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'wn9-img-rotate-clip'"):
        find_experiment("wn9-img-rotat-clip")


def test_coverage_is_enforced_among_the_types_that_have_the_modality(features: Path) -> None:
    plan = [f"features={features}", "model.coverage={image: 0.95}"]
    assert resolve(load_experiment(None, plan), DATASET).model.coverage == {"image": 0.95}
    with pytest.raises(FeaturesError, match=r"cover 95\.8% of 24 entities, 99\.0% is asked for; artwork:23 has none"):
        resolve(load_experiment(None, [*plan, "model.coverage={image: 0.99}"]), DATASET)
