"""Is a triple true, and which is the one tail of an entity: the scores of a model as classifiers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from torch import Tensor

from mkg_builder.errors import UnknownNameError, UsageError
from mkg_builder.progress import watched
from vlkge.dataset import Dataset
from vlkge.errors import RunError
from vlkge.evaluate import SCORES_AT_ONCE
from vlkge.negatives import TripleSet
from vlkge.protocol import RELATION, all_triples
from vlkge.scores import CandidateScores

VERSION = "1"
"""Of what is asked; another one where the numbers may differ for the same scores."""
DRAWS = 32
"""How often a false tail is drawn again that is true; a triple for which none is found is left out."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TripleResult:
    """How well true triples of a relation are told from false ones, of which there is one for each.

    Attributes:
        triples: how many true ones.
        threshold: scores over it count as true; chosen on validation, None for all relations together.
        accuracy: share that is told right; balanced, for there are as many false ones as true ones.
        auc: chance that a true one scores higher than a false one, of all relations relative to their thresholds.
        frequent: the accuracy where a tail's frequency in train is the score.
    """

    triples: int
    threshold: float | None
    accuracy: float
    auc: float
    frequent: float


@dataclass(frozen=True)
class EntityResult:
    """How well the one tail of a relation is told, among those that it has in train.

    Attributes:
        entities: how many were asked about.
        classes: how many tails the relation has in train.
        accuracy, macro_f1: of the model; F1 is the mean over the tails that are right or were given.
        majority, majority_f1: of always giving the most frequent tail of train.
    """

    entities: int
    classes: int
    accuracy: float
    macro_f1: float
    majority: float
    majority_f1: float


@dataclass(frozen=True)
class _Judged:
    """Scores of true triples and of the false one that stands against each."""

    true: Values
    false: Values

    def accuracy(self, threshold: float) -> float:
        return float(accuracy_score(self._labels, np.concatenate([self.true, self.false]) > threshold))

    def auc(self) -> float:
        return float(roc_auc_score(self._labels, np.concatenate([self.true, self.false])))

    @property
    def _labels(self) -> npt.NDArray[np.bool_]:
        return np.repeat([True, False], [len(self.true), len(self.false)])


def best_threshold(true: Values, false: Values) -> float:
    """The threshold with the best accuracy: between two scores, the lowest of those that are equally good."""
    scores = np.unique(np.concatenate([true, false]))
    middles = np.concatenate([[scores[0] - 1], (scores[:-1] + scores[1:]) / 2, [scores[-1] + 1]])
    right = len(true) - np.searchsorted(np.sort(true), middles, side="right")
    right += np.searchsorted(np.sort(false), middles, side="right")
    return float(middles[np.argmax(right)])


def classify_triples(
    dataset: Dataset, split: str, model: CandidateScores, baseline: CandidateScores, seed: int
) -> dict[str | None, TripleResult]:
    """Tell the triples of a split from false ones, by relation; under None all together.

    For each triple a tail of the same type is drawn that no split states. The threshold of a relation is the best on
    validation; a relation that validation lacks takes the best of all.

    Raises:
        UnknownNameError: no such split.
        UsageError: the split is validation.
        RunError: validation or the split has no triple of an evaluated relation, or a score is not finite.
    """
    if split == "validation":
        raise UsageError("thresholds are chosen on validation; give --split test")
    asked = {name: _with_negatives(dataset, name, seed) for name in ("validation", split)}
    judged = [{name: _judge(scores, *pairs) for name, pairs in asked.items()} for scores in (model, baseline)]
    mine, frequent = (_thresholds(one["validation"]) for one in judged)
    found: dict[str | None, TripleResult] = {}
    shifted = [_shifted(one[split], limits) for one, limits in zip(judged, (mine, frequent), strict=True)]
    found[None] = _result(shifted[0], None, shifted[1].accuracy(0.0))
    for relation, part in judged[0][split].items():
        limit, other = (limits.get(relation, limits[None]) for limits in (mine, frequent))
        name = dataset.relations[relation]
        found[name] = _result(part, limit, judged[1][split][relation].accuracy(other))
    return found


def _result(judged: _Judged, threshold: float | None, frequent: float) -> TripleResult:
    return TripleResult(len(judged.true), threshold, judged.accuracy(threshold or 0.0), judged.auc(), frequent)


def _shifted(judged: Mapping[int, _Judged], limits: Mapping[int | None, float]) -> _Judged:
    """All relations together, their scores relative to their thresholds."""
    parts = [(one, limits.get(relation, limits[None])) for relation, one in judged.items()]
    return _Judged(
        np.concatenate([one.true - limit for one, limit in parts]),
        np.concatenate([one.false - limit for one, limit in parts]),
    )


def _thresholds(judged: Mapping[int, _Judged]) -> dict[int | None, float]:
    limits: dict[int | None, float] = {name: best_threshold(one.true, one.false) for name, one in judged.items()}
    every = [np.concatenate(side) for side in zip(*((one.true, one.false) for one in judged.values()), strict=True)]
    limits[None] = best_threshold(*every)
    return limits


def _with_negatives(dataset: Dataset, split: str, seed: int) -> tuple[Tensor, Tensor]:
    """The triples [n, 3] of a split that are asked about, and a false tail [n] for each."""
    if split not in dataset.triples:
        raise UnknownNameError("split", split, dataset.triples)
    triples = dataset.triples[split]
    evaluated = torch.tensor([dataset.relation_info[name].evaluated for name in dataset.relations])
    triples = triples[evaluated[triples[:, RELATION]]]
    known = TripleSet(all_triples(dataset), len(dataset.entities), len(dataset.relations))
    generator, kinds = torch.Generator().manual_seed(seed), np.array(dataset.types)
    tails = torch.full((len(triples),), -1)
    for relation in torch.unique(triples[:, RELATION]).tolist():
        pool = torch.from_numpy(np.flatnonzero(kinds == dataset.relation_info[dataset.relations[relation]].range))
        rows = (triples[:, RELATION] == relation).nonzero()[:, 0]
        for _ in range(DRAWS):
            drawn = pool[torch.randint(len(pool), (len(rows),), generator=generator)]
            false = ~known.contains(triples[rows, 0], triples[rows, RELATION], drawn)
            tails[rows[false]] = drawn[false]
            rows = rows[~false]
    if not bool((tails >= 0).any()):
        raise RunError(f"{dataset.name} has no {split} triple of an evaluated relation with a false one beside it")
    return triples[tails >= 0], tails[tails >= 0]


def _judge(scores: CandidateScores, triples: Tensor, tails: Tensor) -> dict[int, _Judged]:
    found = {}
    for relation in watched("relations", torch.unique(triples[:, RELATION]).tolist()):
        mine = triples[:, RELATION] == relation
        heads = triples[mine, 0]
        true = _pairs(scores, relation, heads, torch.stack([triples[mine, 2], tails[mine]]))
        found[relation] = _Judged(true[0], true[1])
    return found


def _pairs(scores: CandidateScores, relation: int, heads: Tensor, tails: Tensor) -> Values:
    """Scores [2, n] of two tails [2, n] for each of n heads."""
    candidates, places = torch.unique(tails, return_inverse=True)
    size, parts = max(1, SCORES_AT_ONCE // len(candidates)), []
    for head, place in zip(torch.split(heads, size), torch.split(places, size, dim=1), strict=True):
        parts.append(scores.score("tail", relation, head, candidates).cpu().double().gather(1, place.T).T)
    joined = torch.cat(parts, dim=1)
    if not bool(joined.isfinite().all()):
        raise RunError("the model gives scores that are not finite (NaN or infinite); its training diverged")
    return joined.numpy()


def single_valued(dataset: Dataset, relation: str) -> bool:
    """Whether a head has one tail: by the recipe, or in all splits as they are."""
    index, triples = dataset.relation_index(relation), all_triples(dataset)
    heads = triples[triples[:, RELATION] == index, 0]
    return dataset.relation_info[relation].functional or len(torch.unique(heads)) == len(heads)


def classify_entities(dataset: Dataset, split: str, model: CandidateScores) -> dict[str, EntityResult]:
    """Name the one tail of each head in a split, for every single-valued relation of the unseen type.

    In the transductive setting relations of every type are asked. A relation with fewer than two tails in train is not.

    Raises:
        UnknownNameError: no such split.
    """
    if split not in dataset.triples:
        raise UnknownNameError("split", split, dataset.triples)
    found = {}
    for index, name in enumerate(dataset.relations):
        info, triples = dataset.relation_info[name], dataset.triples[split]
        asked, train = (t[t[:, RELATION] == index] for t in (triples, dataset.triples["train"]))
        classes, counts = torch.unique(train[:, 2], return_counts=True)
        theirs = dataset.unseen_type in (None, info.domain) and info.evaluated and single_valued(dataset, name)
        if not theirs or not len(asked) or len(classes) < 2:
            continue
        size = max(1, SCORES_AT_ONCE // len(classes))
        best = [model.score("tail", index, heads, classes).argmax(1).cpu() for heads in torch.split(asked[:, 0], size)]
        given, most = classes[torch.cat(best)], classes[counts.argmax()].expand(len(asked))
        quality = [_quality(asked[:, 2], said) for said in (given, most)]
        found[name] = EntityResult(len(asked), len(classes), *quality[0], *quality[1])
    return found


def _quality(right: Tensor, said: Tensor) -> tuple[float, float]:
    f1 = f1_score(right.numpy(), said.numpy(), average="macro", zero_division=0.0)
    return float(accuracy_score(right.numpy(), said.numpy())), float(f1)
