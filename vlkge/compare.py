"""Runs side by side: metrics with bootstrap confidence, per relation and per modality, beside published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap

from vlkge.availability import ByModality, evaluate_by_modality
from vlkge.config import Published
from vlkge.evaluate import EvaluationResult, Evaluator, ModelScores, describe
from vlkge.model import STRUCTURAL
from vlkge.protocol import EvaluationProtocol
from vlkge.ranking import Ranks
from vlkge.run import Run

RESAMPLES, LEVEL = 1_000, 0.95
AT_ONCE = 2**23
"""How many resampled values are held at a time."""

Interval = tuple[float, float]
Row = tuple[str | int | float | None, ...]


@dataclass(frozen=True)
class Compared:
    """One run of a comparison.

    Attributes:
        name: its folder's name; the whole path where two runs share one.
        result: its metrics, per relation too, with what they depend on.
        interval: of its MRR, over resampled queries.
        difference: of its MRR to the first run's, over the same resampled queries; None for the first, and where
            the two answer different questions.
        by_modality: None for a run of structural vectors alone.
        published: what a paper reports for its experiment, if it does under this protocol.
    """

    name: str
    result: EvaluationResult
    interval: Interval
    difference: tuple[float, Interval] | None
    by_modality: ByModality | None
    published: Published | None

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return {
            **self.result.about, **self.result.model.to_json(), "run": self.name, "mrr_interval": self.interval,
            "difference_to_first": None if self.difference is None
            else {"mrr": self.difference[0], "interval": self.difference[1]},
            "by_modality": None if self.by_modality is None else self.by_modality.to_json(),
            "published": None if self.published is None else self.published.model_dump(),
        }  # fmt: skip


def compare_runs(runs: Sequence[Run], split: str, protocol: EvaluationProtocol, seed: int = 0) -> list[Compared]:
    """Evaluate runs under one protocol, beside each other.

    The intervals hold the middle 95 % of what 1,000 resamplings of the queries give; a difference is taken between
    the same queries, so that what both runs find hard does not widen it.

    Args:
        runs: the first is what the others are compared with.
        split: whose triples are asked.
        protocol: how they are ranked.
        seed: of the resampling.

    Raises:
        RunError: the split of a run's data set is empty, or a run is damaged.
    """
    compared: list[Compared] = []
    first: tuple[str, npt.NDArray[np.float64]] | None = None
    for run in runs:
        evaluator, model = Evaluator(run.dataset, split, protocol), run.load_model()
        ranks = evaluator.rank(ModelScores(model, evaluator.entities()))
        values = Ranks.joined(ranks).by(protocol.ties).reciprocal().numpy()
        asked = f"{run.dataset.content_sha256} {len(values)}"
        first = first or (asked, values)
        difference = None
        if compared and first[0] == asked:
            gaps = values - first[1]
            difference = float(gaps.mean()), interval_of_mean(gaps, seed)
        published = run.experiment.published
        compared.append(Compared(
            _name(run, runs), describe(evaluator, ranks, run.experiment.training.seed),
            interval_of_mean(values, seed), difference,
            evaluate_by_modality(model, evaluator) if set(model.real.modalities) - {STRUCTURAL} else None,
            published if published and published.protocol == protocol.name and split == "test" else None,
        ))  # fmt: skip
    return compared


def _name(run: Run, runs: Sequence[Run]) -> str:
    alike = [other for other in runs if other.folder.name == run.folder.name]
    return str(run.folder) if len(alike) > 1 else run.folder.name


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
        gap = "" if one.difference is None else f"{one.difference[0]:+.3f} {_said(one.difference[1], '+.3f')}"
        found.append((one.name, f"{about['dataset']['name']} {about['dataset']['version']}", about["seed"], m.queries,
                      m.mrr, _said(one.interval), m.hits_at_1, m.hits_at_3, m.hits_at_10, gap))  # fmt: skip
        if (p := one.published) is not None:
            hits = (p.hits_at_1, p.hits_at_3, p.hits_at_10)
            found.append((f"  {p.source}", "", None, None, p.mrr, "", *hits, f"{p.mrr - m.mrr:+.3f} to the run"))
    return found


def relation_rows(compared: Sequence[Compared]) -> list[Row]:
    """A row per relation that any run was asked for: queries, and the MRR of each run."""
    return _beside([{name: (m.queries, m.mrr) for name, m in one.result.model.relations.items()} for one in compared])


def modality_rows(compared: Sequence[Compared]) -> list[Row]:
    """A row per set of modalities that an asked entity may have: queries, and the MRR of each run."""
    available = [one.by_modality.available if one.by_modality else {} for one in compared]
    return _beside([{name: (m.queries, m.mrr) for name, (m, _) in kinds.items()} for kinds in available])


def _beside(tables: Sequence[Mapping[str, tuple[int, float]]]) -> list[Row]:
    names = dict.fromkeys(name for table in tables for name in table)
    return [
        (name, next(table[name][0] for table in tables if name in table),
         *(table[name][1] if name in table else None for table in tables))
        for name in names
    ]  # fmt: skip


def _said(interval: Interval, form: str = ".3f") -> str:
    return f"[{interval[0]:{form}}, {interval[1]:{form}}]"
