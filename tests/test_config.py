"""Experiments: strict, and helpful about it."""

from pathlib import Path

import pytest

from vlkge.config import Experiment, load_experiment, parse_experiment
from vlkge.errors import ExperimentError


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


def test_a_file_gives_what_it_says_and_defaults_for_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, "dataset: releases/a\nmodel: {scorer: rotate}\ntraining: {learning_rate: 1e-3}\n")
    experiment = load_experiment(path)
    assert (experiment.dataset, experiment.model.scorer) == ("releases/a", "rotate")
    assert (experiment.training.learning_rate, experiment.training.seed) == (0.001, 42)


def test_an_override_goes_over_the_file_and_the_last_one_counts(tmp_path: Path) -> None:
    path = written(tmp_path, "model: {dim: 8}\n")
    experiment = load_experiment(path, ["model.dim=16", "training.seed=7", "model.dim=32"])
    assert (experiment.model.dim, experiment.training.seed) == (32, 7)


def test_what_is_dumped_is_read_back() -> None:
    experiment = load_experiment(None, ["model.modalities=[image]", "training.corrupt=both"])
    assert parse_experiment(experiment.model_dump()) == experiment


def test_no_file_gives_the_defaults() -> None:
    assert load_experiment() == Experiment()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle: {}", "did you mean 'model'"),
        ("model: {dimm: 3}", "did you mean 'dim'"),
        ("model: {dim: many}", "model.dim"),
        ("model: {dim: 0}", "model.dim"),
        ("training: {negatives: ALL}", "training.negatives: Input should be a valid integer"),
        ("training: {negatives: 0}", "training.negatives: Input should be greater than or equal to 1, or 'all'"),
        ("model: {coverage: {imge: 1}}", "model.coverage.imge: Input should be 'image' or 'text'"),
        ("model: {modalities: []}", "model.modalities"),
        ("model: {modalities: [sound]}", "model.modalities"),
        ("training: {learning_rate: .inf}", "training.learning_rate"),
        ("training: {learning_rate: .nan}", "training.learning_rate"),
        ("training: {patience: 1, patience: 2}", "twice"),
        ("model: &a {dim: 3}\ntraining: *a", "aliases"),
        ("model: !!python/object/apply:os.system [ls]", "python/object"),
        ("- a\n- b", "mapping"),
        ("a: [", "experiment.yaml"),
        ("x" * 1_100_000, "larger than"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(written(tmp_path, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_override_without_a_value_are_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no experiment file"):
        load_experiment(tmp_path / "none.yaml")
    with pytest.raises(ExperimentError, match=r"dotted\.key=value"):
        load_experiment(None, ["model.dim"])
    with pytest.raises(ExperimentError, match="did you mean 'scorer'"):
        load_experiment(None, ["model.scorerr=complex"])
