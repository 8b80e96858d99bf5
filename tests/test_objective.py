"""The objective: whatever scorer, loss and negatives, it is the formula summed over plain scores."""

import pytest
import torch
from torch.nn.functional import softplus

from tests.vlkge_contracts import make_dataset
from vlkge.candidates import SharedCandidates
from vlkge.config import ModelConfig
from vlkge.model import KGEModel, build_model
from vlkge.negatives import Negatives
from vlkge.objective import Objective
from vlkge.scorers import REGISTRY, Scorer, make_scorer

DATASET = make_dataset({"train": [(f"a:{i}", "r" if i % 2 else "s", f"b:{i % 3}") for i in range(6)]}, "transductive")
POSITIVES = DATASET.triples["train"][:3]
DRAWN = Negatives(
    torch.tensor([[0, 1], [2, 5], [4, 4]]),
    torch.tensor([False, True, True]),
    torch.tensor([[True, True], [False, True], [True, True]]),
)


def made(scorer: str, reciprocal: bool = False) -> KGEModel:
    config = ModelConfig(scorer=scorer, dim=4, modalities=["structural"], structural="own", reciprocal=reciprocal)
    return build_model(config, DATASET, {}, 0).double()


class FormulaAlone(Scorer):
    """A scorer that says nothing of queries, as a plug-in may be."""

    def __init__(self, scorer: Scorer) -> None:
        self.score, self.parts = scorer.score, scorer.parts

    score = None


def plain(model: KGEModel, head: int, relation: int, tail: int) -> torch.Tensor:
    vectors = model.represent(torch.tensor([head, tail]))
    return model.scorer.score(vectors[0], model.relations[relation], vectors[1])


def test_a_formula_is_given_so_much_at_once_whatever_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, given = FormulaAlone(make_scorer("distmult")), []
    monkeypatch.setattr("vlkge.scorers.FORMULA_VALUES", 12)
    whole, formula = make_scorer("distmult"), scorer.score
    monkeypatch.setattr(scorer, "score", lambda h, r, t: given.append((h * r * t).numel()) or formula(h, r, t))
    queries, candidates = torch.randn(2, 2, 3), torch.randn(7, 3)
    torch.testing.assert_close(scorer.score_tails(*queries, candidates), whole.score_tails(*queries, candidates))
    torch.testing.assert_close(scorer.score_heads(candidates, *queries), whole.score_heads(candidates, *queries))
    assert max(given) <= 12


@pytest.mark.parametrize("scorer", REGISTRY.names())
@pytest.mark.parametrize("formula_alone", [False, True])
def test_sampled_negatives(scorer: str, formula_alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(scorer)
    if formula_alone:
        monkeypatch.setattr(model, "scorer", FormulaAlone(model.scorer))
    terms = []
    for row, (h, r, t) in enumerate(POSITIVES.tolist()):
        terms.append(softplus(-plain(model, h, r, t)))
        for entity, valid in zip(DRAWN.entities[row].tolist(), DRAWN.valid[row].tolist(), strict=True):
            if valid:
                ends = (entity, r, t) if DRAWN.heads[row] else (h, r, entity)
                terms.append(softplus(plain(model, *ends)))
    cost = Objective()(model, POSITIVES, DRAWN)
    torch.testing.assert_close((cost.loss, cost.terms.item()), (torch.stack(terms).sum(), len(terms)))


@pytest.mark.parametrize("scorer", REGISTRY.names())
@pytest.mark.parametrize("formula_alone", [False, True])
@pytest.mark.parametrize("direction", ["tail", "head"])
def test_shared_candidates(scorer: str, formula_alone: bool, direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(scorer)
    if formula_alone:
        monkeypatch.setattr(model, "scorer", FormulaAlone(model.scorer))
    known = (torch.tensor([0, 1]), torch.tensor([1, 0]))
    shared = [SharedCandidates(direction, torch.tensor([0, 2]), torch.tensor([1, 4, 6]), known)]
    expected = torch.zeros((), dtype=torch.float64)
    for place, row in enumerate((0, 2)):
        h, r, t = POSITIVES[row].tolist()
        kept = [entity for i, entity in enumerate((1, 4, 6)) if i != known[1][place]]
        scores = [
            plain(model, h, r, t),
            *(plain(model, *((h, r, e) if direction == "tail" else (e, r, t))) for e in kept),
        ]
        expected = expected - torch.stack(scores).log_softmax(0)[0]
    cost = Objective("softmax")(model, POSITIVES, shared)
    torch.testing.assert_close((cost.loss, cost.terms.item()), (expected, 2))


def test_the_regularizer_is_a_mean_over_positives_in_the_mean_loss() -> None:
    model = made("distmult")
    cost = Objective(regularizer="n3", weight=0.5)(model, POSITIVES, DRAWN)
    added = (cost.total(cost.terms, len(POSITIVES)) - cost.loss) / cost.terms
    vectors = model.represent(torch.arange(len(DATASET.entities)))
    cubes = [
        vectors[[h, t]].abs().pow(3).sum() + model.relations[r].abs().pow(3).sum() for h, r, t in POSITIVES.tolist()
    ]
    torch.testing.assert_close(added, 0.5 * torch.stack(cubes).mean())


@pytest.mark.parametrize("regularizer", ["none", "n3", "dura"])
def test_parts_of_a_batch_cost_what_the_whole_costs(regularizer: str) -> None:
    """Also where one part has no triple at all, and where their numbers of valid negatives differ."""
    model, objective = made("complex"), Objective("logistic", regularizer, 0.5)
    whole = objective(model, POSITIVES, DRAWN)
    cuts = [slice(0, 0), slice(0, 1), slice(1, len(POSITIVES))]
    parts = [objective(model, POSITIVES[cut], DRAWN.part(cut)) for cut in cuts]
    terms = torch.stack([part.terms for part in parts]).sum()
    assert terms == whole.terms
    together = torch.stack([part.total(terms, len(POSITIVES)) for part in parts]).sum()
    torch.testing.assert_close(together, whole.total(whole.terms, len(POSITIVES)))


def test_every_parameter_learns() -> None:
    for scorer in REGISTRY.names():
        model = made(scorer)
        cost = Objective()(model, POSITIVES, DRAWN)
        (cost.loss / cost.terms).backward()
        assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "map" not in name)
