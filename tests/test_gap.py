"""Two protocols side by side: the same scores, and a gap whose causes add up."""

import pytest
import torch

from tests.test_evaluate import model_of
from tests.vlkge_contracts import make_dataset, random_dataset
from vlkge.errors import ExperimentError
from vlkge.evaluate import evaluate
from vlkge.gap import compare_protocols
from vlkge.protocol import Direction, Reference, Strict

STRICT, REFERENCE = Strict(), Reference()


def influences(setting: str):
    """Artists that influence each other, so that the official filter removes wrong answers."""
    names = [f"artist:{place}" for place in range(8)]
    facts = [(a, "influences", b) for i, a in enumerate(names) for j, b in enumerate(names) if (i + 2 * j) % 5 == 0]
    return make_dataset({"train": facts[::2], "test": facts[1::2]}, setting)


@pytest.mark.parametrize("setting", ["inductive", "transductive"])
def test_the_causes_add_up_to_the_gap_over_all_and_by_relation(setting: str) -> None:
    for seed in range(8):
        dataset = random_dataset(seed, setting)
        found = compare_protocols(model_of(dataset), dataset, "test", (STRICT, REFERENCE))
        gap = found.to_json()["gap"]
        assert sum(step["mrr_change"] for step in gap["steps"]) == pytest.approx(gap["mrr"], abs=1e-12)
        for name, steps in found.relations.items():
            changed = sum(step.mrr_change for step in steps)
            assert changed == pytest.approx(found.second.model.of(name).mrr - found.first.model.of(name).mrr, abs=1e-12)


def test_both_results_are_those_of_each_protocol_alone() -> None:
    dataset = influences("inductive")
    model = model_of(dataset)
    found = compare_protocols(model, dataset, "test", (STRICT, REFERENCE), seed=3)
    assert found.first == evaluate(model, dataset, "test", STRICT, seed=3)
    assert found.second == evaluate(model, dataset, "test", REFERENCE, seed=3)


def test_the_shared_filter_only_ever_betters_a_rank() -> None:
    dataset = influences("transductive")
    step = compare_protocols(model_of(dataset), dataset, "test", (STRICT, REFERENCE)).steps[0]
    assert step.cause == "filter"
    assert step.ranks_changed == step.better > 0
    assert step.mrr_change > 0


def test_equal_scores_are_told_as_the_ties_share() -> None:
    dataset = influences("transductive")
    model = model_of(dataset, scorer="distmult", modalities=["structural"])
    torch.nn.init.ones_(model.real.modalities["structural"].weight)
    filtered, _, ties = compare_protocols(model, dataset, "test", (STRICT, REFERENCE)).steps
    assert ties.ranks_changed > filtered.ranks_changed
    assert ties.mrr_change > 0


def test_a_protocol_differs_from_itself_in_nothing() -> None:
    dataset = influences("inductive")
    found = compare_protocols(model_of(dataset), dataset, "test", (STRICT, STRICT))
    assert [(step.ranks_changed, step.mrr_change) for step in found.steps] == [(0, 0.0)] * 3
    assert [row[0] for row in found.causes()] == ["all"] * 3


def test_rows_hold_both_and_the_gap() -> None:
    dataset = influences("inductive")
    found = compare_protocols(model_of(dataset), dataset, "test", (STRICT, REFERENCE))
    assert [row[0] for row in found.rows()] == ["all", "influences"]
    assert all(row[4] == row[3] - row[2] for row in found.rows())


class TailsOnly(Strict):
    name = "tails-only"

    def directions(self, dataset) -> tuple[Direction, ...]:
        return ("tail",)


def test_protocols_that_ask_for_other_ends_are_not_compared() -> None:
    dataset = influences("transductive")
    with pytest.raises(ExperimentError, match="strict and tails-only ask for different ends"):
        compare_protocols(model_of(dataset), dataset, "test", (STRICT, TailsOnly()))


def test_protocols_that_ask_for_tails_alone_are_compared_on_tails_alone() -> None:
    dataset = influences("transductive")
    found = compare_protocols(model_of(dataset), dataset, "test", (TailsOnly(), TailsOnly()))
    assert [row[1] for row in found.rows()] == [len(dataset.triples["test"])] * 2
