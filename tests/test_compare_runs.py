"""Runs side by side: what is compared, with which confidence, beside which published numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_trainer import features, new_run
from tests.tiny_release import Fact
from tests.vlkge_contracts import make_dataset
from vlkge.compare import _beside, compare_runs, interval_of_mean, modality_rows, relation_rows, rows
from vlkge.config import load_experiment
from vlkge.new_run import create_run
from vlkge.protocol import make_protocol
from vlkge.run import Run, load_run
from vlkge.scores import ModelScores
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
    gap, (low, high), queries = second.difference
    assert queries == second.result.model.overall.queries
    assert gap == pytest.approx(second.result.model.overall.mrr - first.result.model.overall.mrr)
    assert low <= gap <= high
    assert compare_runs([runs[0], runs[0]], "test", make_protocol("strict"))[1].difference == (0.0, (0.0, 0.0), queries)


def on_other_data(folder: Path, facts: list[Fact], held_out: list[Fact]) -> Run:
    """A run on a graph of its own."""
    other = make_dataset({"train": facts, "validation": [], "test": held_out})
    other.__dict__["content_sha256"] = "d" * 64
    alien = create_run(folder, resolve(load_experiment(None, ["model.dim=4"]), other), other)
    list(fit(alien, 1))
    return alien


def test_runs_that_are_asked_nothing_in_common_have_no_difference(runs: list[Run], tmp_path: Path) -> None:
    facts = [(f"artwork:other-{i}", "by", f"artist:{i % 2}") for i in range(9)]
    alien = on_other_data(tmp_path / "other", facts[:7], facts[7:])
    assert [one.difference for one in compare_runs([runs[0], alien], "test", make_protocol("strict"))] == [None, None]


def test_runs_on_other_data_differ_by_the_questions_that_both_are_asked(runs: list[Run], tmp_path: Path) -> None:
    first = runs[0].dataset
    held_out = [tuple(names[i] for names, i in zip((first.entities, first.relations, first.entities), row, strict=True))
                for row in first.triples["test"].tolist()]  # fmt: skip
    asked, more = held_out[1:], [(f"artwork:more-{i}", "by", "artist:0") for i in range(5)]
    alien = on_other_data(tmp_path / "other", [*more[:4], *(("artwork:x", "by", tail) for _, _, tail in asked)],
                          [more[4], *asked])  # fmt: skip
    found = compare_runs([runs[0], alien], "test", make_protocol("strict"))
    second = found[1]
    assert second.difference is not None
    assert second.difference.queries == len(asked) == len(held_out) - 1
    own, theirs = reciprocals(alien), reciprocals(runs[0])
    gaps = [own[question] - theirs[question] for question in own.keys() & theirs.keys()]
    assert second.difference.mrr == pytest.approx(np.mean(gaps))
    assert rows(found)[-1][-1].endswith(f" on {len(asked)}")
    both = own.keys() & theirs.keys()
    means = [np.mean([answers[question] for question in both]) for answers in (theirs, own)]
    assert relation_rows(found) == [("by", len(asked), pytest.approx(means[0]), pytest.approx(means[1]))]


def reciprocals(run: Run) -> dict[Fact, float]:
    """Of each held-out triple, the reciprocal of its tail's rank among the answers, one by one."""
    found = {}
    model, data, protocol = run.load_model(), run.dataset, make_protocol("strict")
    known = {tuple(row) for split in data.triples.values() for row in split.tolist()}
    for head, relation, tail in data.triples["test"].tolist():
        candidates = protocol.candidates(data, "test", relation, "tail")
        scores = ModelScores(model, torch.arange(len(data.entities))).score(
            "tail", relation, torch.tensor([head]), candidates
        )[0]
        own = float(scores[candidates == tail])
        others = [float(score) for score, entity in zip(scores, candidates.tolist(), strict=True)
                  if entity != tail and (head, relation, entity) not in known]  # fmt: skip
        rank = 1 + sum(score > own for score in others) + sum(score == own for score in others) / 2
        found[data.entities[head], data.relations[relation], data.entities[tail]] = 1 / rank
    return found


@pytest.mark.parametrize(("protocol", "split", "shown"), [
    ("reference", "test", True), ("strict", "test", False), ("reference", "validation", False),
])  # fmt: skip
def test_published_numbers_stand_beside_what_was_measured_alike(
    runs: list[Run], protocol: str, split: str, shown: bool
) -> None:
    found = compare_runs(runs, split, make_protocol(protocol))
    assert [one.published is not None for one in found] == [shown, False]
    assert [row[0] for row in rows(found)] == ["whole", *["  A paper"] * shown, "structural"]


def test_runs_that_know_other_modalities_tell_of_how_many_questions_each_mean_is() -> None:
    tables = [{"image": (3, 0.5), "none": (2, 0.25)}, {"image": (5, 0.125), "none": (2, 0.5)}, {}]
    assert _beside(tables) == [("image", None, "0.500 of 3", "0.125 of 5", None), ("none", 2, 0.25, 0.5, None)]


def test_a_run_of_structural_vectors_has_no_row_by_modality(runs: list[Run]) -> None:
    found = compare_runs(runs, "test", make_protocol("strict"))
    assert relation_rows(found) == [
        ("by", 4, found[0].result.model.relations["by"].mrr, found[1].result.model.relations["by"].mrr)
    ]
    assert {row[3] for row in modality_rows(found)} == {None}
    assert sum(int(row[1] or 0) for row in modality_rows(found)) == 4
