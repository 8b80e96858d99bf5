"""How likely an answer is, from its score: for each relation a softmax or a sigmoid, fitted on the validation split.

Where a head has one tail, the candidates exclude each other: a softmax over all of them, divided by a temperature
(Guo et al., "On Calibration of Modern Neural Networks", ICML 2017). Where it may have several, each candidate is true
or false by itself: a sigmoid (Platt 1999; for graph embeddings Tabacof and Costabello, ICLR 2020), of the score or of
what it is among the query's others, whichever fits better: a model that learned by softmax has no common zero. All
are fitted with Platt's smoothed targets, so that a few queries answered without a mistake do not make certainty.
The test split is not looked at but to measure the error that is left.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import brentq, minimize
from torch import Tensor

from mkg_builder.errors import StorageError
from vlkge.dataset import Dataset
from vlkge.errors import RunError
from vlkge.evaluate import SCORES_AT_ONCE
from vlkge.files import read_sealed_json, write_sealed_json
from vlkge.model import KGEModel
from vlkge.protocol import HEAD, RELATION, TAIL, KnownAnswers, Strict
from vlkge.run import Run
from vlkge.scores import ModelScores

Method = Literal["softmax", "sigmoid", "relative sigmoid"]
SPLITS = ("train", "validation", "test")
FILE, FORMAT = "calibration.json", 4
EQUAL = 1e-6
"""Of the largest score, a difference that is none."""
BINS = 10
LEAST_QUERIES = 100
"""So many are taken of a relation, however many candidates each has."""


@dataclass(frozen=True)
class RelationCalibration:
    """What turns the scores of one relation into probabilities.

    Attributes:
        method: `softmax` over the candidates of a query, `sigmoid` of each score, or `relative sigmoid`, of its
            log-softmax over those candidates that are not known already.
        scale: the score is multiplied with it; 1 / temperature.
        offset: then added; 0 for a softmax.
        queries: of the validation split that it was fitted on.
        test_queries: of the test split that its error was measured on.
        error_before: expected calibration error of the first answer's probability by a plain softmax or sigmoid.
        error_after: by this one; None where nothing was measured.
    """

    method: Method
    scale: float
    offset: float
    queries: int
    test_queries: int = 0
    error_before: float | None = None
    error_after: float | None = None

    def probabilities(self, scores: Tensor, known: Tensor) -> Tensor:
        """The probabilities [q, m] of all candidates of queries, from their scores and which are known [q, m]."""
        values = relative(scores, known) if self.method == "relative sigmoid" else scores.double()
        values = self.scale * values + self.offset
        return values.softmax(1) if self.method == "softmax" else values.sigmoid()


@dataclass(frozen=True)
class Asked:
    """Queries of one split: their scores [q, m], which candidates the split states, which an earlier one does."""

    scores: Tensor
    true: Tensor
    known: Tensor


def calibrate_run(run: Run, model: KGEModel) -> Mapping[str, RelationCalibration]:
    """The calibration of a run's relations; kept in its folder, fitted again when its weights have changed.

    A relation without validation triples has none. A folder that cannot be written to is no hindrance.
    """
    made_of = {"format": FORMAT, "weights": run.record["weights"]["sha256"], "dataset": run.dataset.content_sha256}
    with suppress(RunError, OSError, KeyError, TypeError):
        kept = read_sealed_json(run.folder / FILE, RunError, "")
        if kept["made_of"] == made_of:
            return {name: RelationCalibration(**values) for name, values in kept["relations"].items()}
    found = calibrate(run.dataset, model)
    with suppress(OSError, StorageError):
        relations = {name: asdict(one) for name, one in found.items()}
        write_sealed_json(run.folder / FILE, {"made_of": made_of, "relations": relations})
    return found


def calibrate(dataset: Dataset, model: KGEModel) -> dict[str, RelationCalibration]:
    """Fit every relation's calibration on the validation split and measure it on the test split."""
    relations = range(len(dataset.relations))
    entities = [Strict().candidates(dataset, "validation", relation, "tail") for relation in relations]
    entities += [dataset.triples[split][:, HEAD] for split in ("validation", "test")]
    scores = ModelScores(model, torch.unique(torch.cat(entities)))
    found = {}
    for relation, name in enumerate(dataset.relations):
        asked = ask(dataset, "validation", relation, scores)
        if asked is None or not dataset.relation_info[name].evaluated or _tell_nothing(asked.scores):
            continue
        fitted = _fit(asked, single_valued(dataset, relation))
        tested = ask(dataset, "test", relation, scores)
        found[name] = fitted if tested is None else _measured(fitted, tested)
    return found


def _tell_nothing(scores: Tensor) -> bool:
    """Whether scores differ by no more than float32 rounds: any scale would fit them, and be certain of all others."""
    return float(scores.double().std(correction=0)) <= EQUAL * float(scores.abs().max())


def single_valued(dataset: Dataset, relation: int) -> bool:
    """Whether a head has one tail: by the graph's word, or as far as train and validation show."""
    if dataset.relation_info[dataset.relations[relation]].functional:
        return True
    triples = torch.cat([dataset.triples["train"], dataset.triples["validation"]])
    heads = triples[triples[:, RELATION] == relation, HEAD]
    return len(torch.unique(heads)) == len(heads)


def ask(dataset: Dataset, split: Literal["validation", "test"], relation: int, scores: ModelScores) -> Asked | None:
    """Some of a split's heads, seeded where there are too many, and the scores of all candidates for their tails.

    What an earlier split states of a head is known; what a later one states is not looked at.
    """
    mine = {name: rows[rows[:, RELATION] == relation] for name, rows in dataset.triples.items()}
    if not len(mine[split]):
        return None
    candidates = Strict().candidates(dataset, split, relation, "tail")
    heads = torch.unique(mine[split][:, HEAD])
    most = max(LEAST_QUERIES, SCORES_AT_ONCE // len(candidates))
    chosen = torch.randperm(len(heads), generator=torch.Generator().manual_seed(relation))[:most]
    heads = heads[chosen.sort().values]
    earlier = torch.cat([mine[name] for name in SPLITS[: SPLITS.index(split)]])
    true, known = (_stated(rows, heads, candidates, len(dataset.relations)) for rows in (mine[split], earlier))
    found = scores.score("tail", relation, heads, candidates).cpu()
    if not bool(found.isfinite().all()):
        raise RunError("the model gives scores that are not finite; its training diverged")
    return Asked(found, true, known & ~true)


def _stated(triples: Tensor, heads: Tensor, candidates: Tensor, relations: int) -> Tensor:
    """Which candidates these triples of one relation state of each head: bool [q, m]."""
    answers = KnownAnswers(triples[:, HEAD], triples[:, RELATION], triples[:, TAIL], relations)
    stated = torch.zeros(len(heads), len(candidates), dtype=torch.bool)
    if len(triples):
        rows, tails = answers.lookup(heads, int(triples[0, RELATION]))
        stated[rows, torch.searchsorted(candidates, tails)] = True
    return stated


def _fit(asked: Asked, single: bool) -> RelationCalibration:
    queries = len(asked.scores)
    if single:
        rows, targets = asked.true.nonzero().unbind(1)
        return RelationCalibration("softmax", fit_temperature(asked.scores[rows], targets) ** -1, 0.0, queries)
    new = ~asked.known
    ways: dict[Method, Tensor] = {"sigmoid": asked.scores, "relative sigmoid": relative(asked.scores, asked.known)}
    fits = [
        RelationCalibration(method, *fit_sigmoid(values[new], asked.true[new]), queries)
        for method, values in ways.items()
    ]
    return min(fits, key=lambda one: _cross_entropy(one, asked))


def relative(scores: Tensor, known: Tensor) -> Tensor:
    """Each score [q, m] less the logsumexp of its query's candidates that are not known."""
    values = scores.double()
    return values - values.masked_fill(known, -torch.inf).logsumexp(1, keepdim=True)


def _cross_entropy(fitted: RelationCalibration, asked: Asked) -> float:
    likely, new = fitted.probabilities(asked.scores, asked.known), ~asked.known
    return float(torch.nn.functional.binary_cross_entropy(likely[new], asked.true[new].double()))


def fit_temperature(scores: Tensor, targets: Tensor) -> float:
    """The temperature that makes the cross-entropy of targets [q] among candidates with scores [q, m] least.

    The target is (n + 1) / (n + 2) of the right answer and 1 / (n + 2) of its strongest rival, for n queries.
    """
    if scores.shape[1] < 2:
        return 1.0
    scores = scores.double()
    right = scores.gather(1, targets[:, None])[:, 0]
    rival = scores.scatter(1, targets[:, None], -torch.inf).max(1).values
    aim, spread = float((right - (right - rival) / (len(scores) + 2)).mean()), max(float(scores.std()), 1e-12)

    def slope(logarithm: float) -> float:  # it rises with the inverse temperature: the cross-entropy is convex
        weights = (scores * (np.exp(logarithm) / spread)).softmax(1)
        return float((weights * scores).sum(1).mean()) - aim

    low, high = np.log(1e-3), np.log(1e3)
    if slope(low) >= 0 or slope(high) <= 0:
        return spread / float(np.exp(low if slope(low) >= 0 else high))
    return spread / float(np.exp(brentq(slope, low, high, xtol=1e-9)))


def fit_sigmoid(scores: Tensor, true: Tensor) -> tuple[float, float]:
    """Scale and offset of the sigmoid that makes the cross-entropy of scores [n] with their truth [n] least.

    The scale is at least 0, for a higher score never says that an answer is less likely. Targets are
    (n+ + 1) / (n+ + 2) and 1 / (n- + 2) for n+ true and n- false ones.
    """
    values = scores.double()
    mean, spread = float(values.mean()), max(float(values.std()) if len(values) > 1 else 0.0, 1e-12)
    values, right, wrong = (values - mean) / spread, int(true.sum()), int((~true).sum())
    target = torch.where(true, (right + 1) / (right + 2), 1 / (wrong + 2)).double()

    def cost(parameters: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, Any]:
        logits = float(parameters[0]) * values + float(parameters[1])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        error = logits.sigmoid() - target
        return float(loss), np.array([float((error * values).mean()), float(error.mean())])

    start = np.array([1.0, float(np.log((right + 1) / (wrong + 1)))])
    scale, offset = minimize(cost, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x
    if scale <= 0:  # the cost is convex: the best one that is allowed lies at 0, where every answer is as likely
        scale, offset = 0.0, float(target.mean().logit())
    return float(scale) / spread, float(offset) - float(scale) * mean / spread


def _measured(fitted: RelationCalibration, asked: Asked) -> RelationCalibration:
    plain = RelationCalibration("softmax" if fitted.method == "softmax" else "sigmoid", 1.0, 0.0, 0)
    before, after = (expected_error(one.probabilities(asked.scores, asked.known), asked) for one in (plain, fitted))
    return RelationCalibration(
        fitted.method, fitted.scale, fitted.offset, fitted.queries, len(asked.scores), before, after
    )


def expected_error(probabilities: Tensor, asked: Asked) -> float:
    """How far the first answer's probability is from how often it is right, over ten bins of equal width.

    What an earlier split states of a head is not counted as an answer.
    """
    likelihood, first = probabilities.masked_fill(asked.known, -1.0).max(1)
    right = asked.true.gather(1, first[:, None])[:, 0].double()
    bins = (likelihood * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, likelihood - right)
    return float(gaps.abs().sum() / len(bins))
