"""Metrics by what is known of the entity that is asked about, against the same counted one query at a time."""

import statistics

import pytest
import torch

from tests.test_trainer import ART, BY, DATASET, TEXTS
from tests.vlkge_contracts import make_features
from vlkge.availability import evaluate_by_modality
from vlkge.config import ModelConfig
from vlkge.errors import RunError
from vlkge.evaluate import Evaluator
from vlkge.model import KGEModel, build_model
from vlkge.protocol import Strict
from vlkge.scores import ModelScores

PICTURED = ART[:22]
EVALUATOR = Evaluator(DATASET, "test", Strict())


def model(pictured: list[str], written: list[str], modalities: str = "structural,image,text") -> KGEModel:
    image, text = make_features(DATASET, "image", pictured, 6), make_features(DATASET, "text", written, 4)
    config = ModelConfig(dim=4, modalities=modalities.split(","), normalise="l2", dropout=0.0)
    return build_model(config, DATASET, {"image": image, "text": text}, seed=0)


def reciprocal_ranks(of: KGEModel) -> dict[str, float]:
    """Each test artwork's, by the protocol's own ranks."""
    ranks = EVALUATOR.rank(ModelScores(of, EVALUATOR.entities()))
    anchors = [DATASET.entities[a] for group in EVALUATOR.groups for a in group.anchors.tolist()]
    values = torch.cat([part.by("realistic") for part in ranks]).reciprocal().tolist()
    return dict(zip(anchors, values, strict=True))


def test_queries_are_told_apart_by_what_their_entity_has() -> None:
    of = model(PICTURED, TEXTS)
    found, single = evaluate_by_modality(of, EVALUATOR).available, reciprocal_ranks(of)
    expected = {"image + text": {"artwork:21"}, "image": {"artwork:20"}, "none": {"artwork:22", "artwork:23"}}
    assert {kind: metrics.queries for kind, (metrics, _) in found.items()} == {k: len(v) for k, v in expected.items()}
    for kind, artworks in expected.items():
        assert found[kind][0].mrr == pytest.approx(statistics.mean(single[artwork] for artwork in artworks))


def test_relations_are_told_apart_too_and_add_up() -> None:
    found = evaluate_by_modality(model(PICTURED, TEXTS), EVALUATOR)
    by = {kind: metrics.queries for kind, metrics in found.relations["by"].items()}
    assert by == {"image + text": 1, "image": 1, "none": 2}
    assert sum(metrics.queries for metrics, _ in found.available.values()) == found.withheld["nothing"].queries


@pytest.mark.parametrize(("withheld", "pictured", "written"), [
    ("nothing", PICTURED, TEXTS), ("image", [], TEXTS), ("text", PICTURED, BY[:3]), ("image + text", [], BY[:3]),
])  # fmt: skip
def test_withholding_a_modality_is_as_if_the_artworks_had_none(
    withheld: str, pictured: list[str], written: list[str]
) -> None:
    whole, poorer = model(PICTURED, TEXTS), model(pictured or ART[:1], written)
    poorer.load_state_dict(whole.state_dict())
    if not pictured:  # a modality needs one vector to exist
        poorer.real.modalities["image"].rows.fill_(-1)
    expected = statistics.mean(reciprocal_ranks(poorer).values())
    assert evaluate_by_modality(whole, EVALUATOR).withheld[withheld].mrr == pytest.approx(expected)
    assert statistics.mean(reciprocal_ranks(whole).values()) == pytest.approx(
        evaluate_by_modality(whole, EVALUATOR).withheld["nothing"].mrr
    )


def test_a_run_without_encoded_modalities_has_nothing_to_tell_apart() -> None:
    with pytest.raises(RunError, match="structural vectors alone"):
        evaluate_by_modality(model(PICTURED, TEXTS, "structural"), EVALUATOR)
