"""Runs side by side: metrics with bootstrap confidence, per relation and per modality, beside published ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap

from vlkge.availability import ByModality, evaluate_by_modality
from vlkge.config import Published
from vlkge.evaluate import EvaluationResult, Evaluator, describe
from vlkge.model import STRUCTURAL
from vlkge.protocol import EvaluationProtocol
from vlkge.ranking import Ranks
from vlkge.run import Run
from vlkge.scores import ModelScores

RESAMPLES, LEVEL = 1_000, 0.95
AT_ONCE = 2**23
"""How many resampled values are held at a time."""

Interval = tuple[float, float]
Row = tuple[str | int | float | None, ...]
Values = npt.NDArray[np.float64]
"""Of each question in its order, the reciprocal of the answer's rank."""
PerRelation = Mapping[str, tuple[int, float]]


class Difference(NamedTuple):
    """How far one run's MRR is from another's.

    Attributes:
        mrr: the second's less the first's.
        interval: of it, over resampled questions.
        queries: how many questions both are asked.
    """

    mrr: float
    interval: Interval
    queries: int


@dataclass(frozen=True)
class Compared:
    """One run of a comparison.

    Attributes:
        name: its folder's name; the whole path where two runs share one.
        result: its metrics, per relation too, with what they depend on.
        interval: of its MRR, over resampled queries.
        difference: of its MRR to the first run's, over the questions that both are asked; None for the first, and
            where there are none.
        relations: relation -> how many questions all runs are asked, and this one's MRR on them; all of its own where
            they are asked nothing in common.
        by_modality: None for a run of structural vectors alone.
        published: what a paper reports for its experiment, if it does under this protocol.
    """

    name: str
    result: EvaluationResult
    interval: Interval
    difference: Difference | None
    relations: PerRelation
    by_modality: ByModality | None
    published: Published | None

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return {
            **self.result.about, **self.result.model.to_json(), "run": self.name, "mrr_interval": self.interval,
            "difference_to_first": None if self.difference is None
            else self.difference._asdict(),
            "shared": {name: {"queries": queries, "mrr": mrr} for name, (queries, mrr) in self.relations.items()},
            "by_modality": None if self.by_modality is None else self.by_modality.to_json(),
            "published": None if self.published is None else self.published.model_dump(),
        }  # fmt: skip


def compare_runs(runs: Sequence[Run], split: str, protocol: EvaluationProtocol, seed: int = 0) -> list[Compared]:
    """Evaluate runs under one protocol, beside each other.

    The intervals hold the middle 95 % of what 1,000 resamplings of the queries give; a difference is taken between
    the same questions, so that what both runs find hard does not widen it. Of runs on different data those are the
    triples that both hold out, by name; each run ranks their answers among its own candidates.

    Args:
        runs: the first is what the others are compared with.
        split: whose triples are asked.
        protocol: how they are ranked.
        seed: of the resampling.

    Raises:
        RunError: the split of a run's data set is empty, or a run is damaged.
    """
    compared: list[Compared] = []
    answered: list[tuple[Evaluator, Values]] = []
    for run in runs:
        evaluator, model = Evaluator(run.dataset, split, protocol), run.load_model()
        ranks = evaluator.rank(ModelScores(model, evaluator.entities()))
        values = Ranks.joined(ranks).by(protocol.ties).reciprocal().numpy()
        difference = None
        if answered and len(gaps := _gaps(answered[0], (evaluator, values))):
            difference = Difference(float(gaps.mean()), interval_of_mean(gaps, seed), len(gaps))
        answered.append((evaluator, values))
        published = run.experiment.published
        result = describe(evaluator, ranks, run.experiment.training.seed)
        compared.append(Compared(
            _name(run, runs), result, interval_of_mean(values, seed), difference,
            {name: (found.queries, found.mrr) for name, found in result.model.relations.items()},
            evaluate_by_modality(model, evaluator) if set(model.real.modalities) - {STRUCTURAL} else None,
            published if published and published.protocol == protocol.name and split == "test" else None,
        ))  # fmt: skip
    shared = _per_relation(answered)
    return [replace(one, relations=table) for one, table in zip(compared, shared, strict=True)] if shared else compared


def _gaps(first: tuple[Evaluator, Values], second: tuple[Evaluator, Values]) -> Values:
    """Of each question that both are asked, by how much the second answers it better."""
    if first[0].dataset.content_sha256 == second[0].dataset.content_sha256:
        return second[1] - first[1]
    known, own = (dict(zip(_questions(one), values.tolist(), strict=True)) for one, values in (first, second))
    return np.array([value - known[question] for question, value in own.items() if question in known], np.float64)


def _per_relation(answered: Sequence[tuple[Evaluator, Values]]) -> list[PerRelation]:
    """Of runs on different graphs, the MRR per relation over the questions that all are asked; empty without such."""
    if len({evaluator.dataset.content_sha256 for evaluator, _ in answered}) == 1:
        return []
    known = [dict(zip(_questions(evaluator), values.tolist(), strict=True)) for evaluator, values in answered]
    common = sorted(set.intersection(*map(set, known)), key=itemgetter(1, 2, 3, 0))
    parts = [(relation, list(asked)) for relation, asked in groupby(common, key=itemgetter(1))]
    return (
        [
            {relation: (len(asked), float(np.mean([own[q] for q in asked]))) for relation, asked in parts}
            for own in known
        ]
        if parts
        else []
    )


def _questions(evaluator: Evaluator) -> Iterator[tuple[str, str, str, str]]:
    """What is asked, by name, in the order of the ranks: the direction, the relation, the given end and the answer."""
    names, relations = evaluator.dataset.entities, evaluator.dataset.relations
    for group in evaluator.groups:
        for given, answer in zip(group.anchors.tolist(), group.candidates[group.targets].tolist(), strict=True):
            yield group.direction, relations[group.relation], names[given], names[answer]


def _name(run: Run, runs: Sequence[Run]) -> str:
    alike = [other for other in runs if other.name == run.name]
    return str(run.folder) if len(alike) > 1 else run.name


def interval_of_mean(values: npt.NDArray[np.float64], seed: int) -> Interval:
    """The percentile bootstrap interval of a mean (Efron 1979)."""
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    found = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile",
        batch=max(1, AT_ONCE // len(values)), rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def rows(compared: Sequence[Compared]) -> list[Row]:
    """A row per run: what it is, MRR and interval, Hits, the difference to the first; below it what is published."""
    found: list[Row] = []
    for one in compared:
        m, about = one.result.model.overall, one.result.about
        gap = "" if one.difference is None else f"{one.difference.mrr:+.3f} {_said(one.difference.interval, '+.3f')}"
        if one.difference is not None and one.difference.queries < m.queries:
            gap += f" on {one.difference.queries:,}"
        found.append((one.name, f"{about['dataset']['name']} {about['dataset']['version']}", about["seed"], m.queries,
                      m.mrr, _said(one.interval), m.hits_at_1, m.hits_at_3, m.hits_at_10, gap))  # fmt: skip
        if (p := one.published) is not None:
            hits = (p.hits_at_1, p.hits_at_3, p.hits_at_10)
            found.append((f"  {p.source}", "", None, None, p.mrr, "", *hits, f"{p.mrr - m.mrr:+.3f} to the run"))
    return found


def relation_rows(compared: Sequence[Compared]) -> list[Row]:
    """A row per relation that is asked for: how many questions, and the MRR of each run on them."""
    return _beside([one.relations for one in compared])


def modality_rows(compared: Sequence[Compared]) -> list[Row]:
    """A row per set of modalities that an asked entity may have: queries, and the MRR of each run.

    Runs that know other modalities of an entity are asked other questions in a row, which then stand behind each MRR.
    """
    available = [one.by_modality.available if one.by_modality else {} for one in compared]
    return _beside([{name: (m.queries, m.mrr) for name, (m, _) in kinds.items()} for kinds in available])


def _beside(tables: Sequence[Mapping[str, tuple[int, float]]]) -> list[Row]:
    names = dict.fromkeys(name for table in tables for name in table)
    found: list[Row] = []
    for name in names:
        own = [table.get(name) for table in tables]
        counts = {one[0] for one in own if one}
        if len(counts) == 1:
            found.append((name, counts.pop(), *(one and one[1] for one in own)))
        else:
            found.append((name, None, *(one and f"{one[1]:.3f} of {one[0]:,}" for one in own)))
    return found


def _said(interval: Interval, form: str = ".3f") -> str:
    return f"[{interval[0]:{form}}, {interval[1]:{form}}]"
