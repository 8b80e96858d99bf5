"""Runs side by side: what is compared, with which confidence, beside which published numbers."""

from pathlib import Path

import numpy as np
import pytest

from tests.test_trainer import features, new_run
from tests.vlkge_contracts import make_dataset
from vlkge.compare import compare_runs, interval_of_mean, modality_rows, relation_rows, rows
from vlkge.config import load_experiment
from vlkge.protocol import make_protocol
from vlkge.run import Run, create_run, load_run
from vlkge.train import fit, resolve

__all__ = ["features"]
PUBLISHED = "published={source: A paper, mrr: 0.9, hits_at_1: 0.8, hits_at_3: 0.85, hits_at_10: 0.95}"


def trained(folder: Path, features: Path, *settings: str) -> Run:
    run = new_run(folder, features, *settings)
    list(fit(run, 2))
    return load_run(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, features: Path) -> list[Run]:
    place = tmp_path_factory.mktemp("runs")
    plain, modalities = trained(place / "whole", features, PUBLISHED), "model.modalities=[structural]"
    return [plain, trained(place / "structural", features, modalities)]


def test_the_interval_is_that_of_resampled_means() -> None:
    values = np.random.default_rng(0).random(400)
    means = [np.random.default_rng(i).choice(values, 400).mean() for i in range(4000)]
    assert interval_of_mean(values, 0) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.003)
    assert interval_of_mean(values, 0) == interval_of_mean(values, 0)
    assert interval_of_mean(np.full(9, 0.25), 0) == (0.25, 0.25)


def test_a_difference_is_taken_between_the_same_queries(runs: list[Run]) -> None:
    first, second = compare_runs(runs, "test", make_protocol("strict"))
    assert first.difference is None
    assert second.difference is not None
    gap, (low, high) = second.difference
    assert gap == pytest.approx(second.result.model.overall.mrr - first.result.model.overall.mrr)
    assert low <= gap <= high
    assert compare_runs([runs[0], runs[0]], "test", make_protocol("strict"))[1].difference == (0.0, (0.0, 0.0))


def test_runs_on_other_data_are_shown_without_a_difference(runs: list[Run], tmp_path: Path) -> None:
    facts = [(f"artwork:{i}", "by", f"artist:{i % 2}") for i in range(9)]
    other = make_dataset({"train": facts[:7], "validation": [], "test": facts[7:]})
    other.__dict__["content_sha256"] = "d" * 64
    plan = load_experiment(None, ["model.dim=4"])
    alien = create_run(tmp_path / "other", resolve(plan, other), other)
    list(fit(alien, 1))
    assert [one.difference for one in compare_runs([runs[0], alien], "test", make_protocol("strict"))] == [None, None]


@pytest.mark.parametrize(("protocol", "split", "shown"), [
    ("reference", "test", True), ("strict", "test", False), ("reference", "validation", False),
])  # fmt: skip
def test_published_numbers_stand_beside_what_was_measured_alike(
    runs: list[Run], protocol: str, split: str, shown: bool
) -> None:
    found = compare_runs(runs, split, make_protocol(protocol))
    assert [one.published is not None for one in found] == [shown, False]
    assert [row[0] for row in rows(found)] == ["whole", *["  A paper"] * shown, "structural"]


def test_a_run_of_structural_vectors_has_no_row_by_modality(runs: list[Run]) -> None:
    found = compare_runs(runs, "test", make_protocol("strict"))
    assert relation_rows(found) == [
        ("by", 4, found[0].result.model.relations["by"].mrr, found[1].result.model.relations["by"].mrr)
    ]
    assert {row[3] for row in modality_rows(found)} == {None}
    assert sum(int(row[1] or 0) for row in modality_rows(found)) == 4
