"""A growing graph: a newer release, or loose things, join a trained run, with no training or epochs of their own.

What was learned stays as it is, bit for bit. What joins is represented by its modalities, through the projections and
relations that are there; its own vectors, where it is of a type that has such, can be learned from its triples alone.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mkg_builder.errors import UsageError
from vlkge.additions import find_additions, merge_features
from vlkge.dataset import Dataset, load_dataset
from vlkge.encoders import Modality
from vlkge.errors import FeaturesError, RunError
from vlkge.evaluate import Breakdown, Evaluator
from vlkge.features import DatasetIdentity, ModalityFeatures, load_features
from vlkge.files import whole_folder
from vlkge.gathering import gather
from vlkge.model import KGEModel, build_model
from vlkge.negatives import TripleSet
from vlkge.new_run import Growth, create_run, require_free, taking
from vlkge.newcomers import Account, Loose
from vlkge.protocol import Strict, make_protocol
from vlkge.ranking import Ranks
from vlkge.rows import carry_over, learn_rows
from vlkge.run import Run, load_run
from vlkge.scores import ModelScores
from vlkge.trainer import Advance, EpochRecord


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        release: the newer release, a folder or a name of the Hub; or what lies in none.
        features: a release's, of the run's encoders; None where the run has none. Loose things are encoded here.
        out: the new run folder.
        epochs: over the train triples of what is new; 0: nothing is trained.
        overwrite: replace a run that is at `out`.
    """

    release: str | Loose
    features: Path | None
    out: Path
    epochs: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class Joined:
    """What came of it; metrics are those of the protocol `strict`.

    Attributes:
        run: the new run.
        entities: how many joined, by type.
        triples: how many joined, by split.
        learned: how many of the entities learned a vector of their own, by type.
        unknown: of how many nothing is known, by type: no picture, no text, no vector of their own.
        before, after: of the former test split, by the former run and by the new one; None where it has none.
        untrained, trained: of the new test triples, before the epochs and after them; None where there are none.
        seconds: of joining and of the epochs; reading, encoding and evaluation left out.
        account: what came of loose things; None where a release joined.
    """

    run: Run
    entities: Mapping[str, int]
    triples: Mapping[str, int]
    learned: Mapping[str, int]
    unknown: Mapping[str, int]
    before: Breakdown | None
    after: Breakdown | None
    untrained: Breakdown | None
    trained: Breakdown | None
    seconds: float
    account: Account | None

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        parts = {name: getattr(self, name) for name in ("before", "after", "untrained", "trained")}
        counts = {name: dict(getattr(self, name)) for name in ("entities", "triples", "learned", "unknown")}
        return {
            "run": str(self.run.folder),
            "parent": {**self.run.parent, "unlearned": None} if self.run.parent else None,
            "protocol": {"name": Strict.name, "version": Strict.version},
            "seed": self.run.experiment.training.seed,
            "seconds": self.seconds,
            **counts,
            "account": None if self.account is None else asdict(self.account),
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
        }


def join(run: Run, plan: Plan, progress: Advance) -> Joined:
    """A new run in which everything that a newer release adds, or that is loose, has joined a trained one.

    Raises:
        UsageError: the run scores what it observes, the release does not only add, the folder is taken; as `gather`.
        DataError: as `gather`.
        FeaturesError: the features are of another encoder or another data set.
        RunError: the run has no finished epoch, or the loss is not finite.
    """
    require_free(plan.out, plan.overwrite, resumable=False)
    if run.experiment.model.observed:  # what joins is seen too, so that former answers would move
        raise UsageError(f"{run.folder} scores what it sees in the graph (model.observed); train the grown graph anew")
    if plan.out.resolve() == run.folder.resolve():
        raise UsageError(f"{plan.out} is the run itself; name another folder with --out")
    growing = _Growing(run, plan, progress)
    began = time.perf_counter()
    model, seconds = growing.model(with_new=False), time.perf_counter() - began
    untrained, trained = growing.rank_new(model), None
    history: list[dict[str, Any]] = []
    sums: dict[str, Tensor] = {}
    if plan.epochs:
        began = time.perf_counter()
        model = growing.model(with_new=True)
        settings = run.experiment.training
        history, sums = learn_rows(model, growing.dataset, settings, growing.added.entities, plan.epochs, progress)
        seconds, trained = seconds + time.perf_counter() - began, growing.rank_new(model)
    grown = growing.save(model, history, sums)
    return Joined(
        grown, growing.count(growing.added.entities),
        {split: int(rows.sum()) for split, rows in growing.added.triples.items()},
        growing.count(growing.owners(model)), growing.count(growing.added.entities & ~growing.has_any(model)),
        _rank(growing.former, run.dataset), _rank(model, run.dataset, places=growing.added.places),
        untrained, trained, round(seconds, 3), growing.account,
    )  # fmt: skip


class _Growing:
    """A run and all that joins it."""

    def __init__(self, run: Run, plan: Plan, progress: Advance) -> None:
        self.run, self.plan, self.former = run, plan, run.load_model()
        self.account: Account | None = None
        given: Mapping[Modality, ModalityFeatures]
        if isinstance(plan.release, Loose):
            self.dataset, given, self.account = gather(run.dataset, run.features, plan.release, progress)
            self.added = find_additions(run.dataset, self.dataset)
        else:
            self.dataset = load_dataset(plan.release)
            self.added = find_additions(run.dataset, self.dataset)
            given = _features_of(run, plan.release, plan.features)
        merged = merge_features(run.features, given, run.dataset, self.dataset)
        self.features: dict[Modality, ModalityFeatures] = {one.info.modality: one for one in merged}

    def learned(self, with_new: bool) -> Tensor:
        """Which entities have been learned from: bool [entities]."""
        learned = torch.zeros(len(self.dataset.entities), dtype=torch.bool)
        learned[self.added.places[self.run.learned()]] = True
        return learned | (self.added.entities & self.dataset.seen()) if with_new else learned

    def model(self, with_new: bool) -> KGEModel:
        """The former model over all entities; new ones with vectors of their own, at their seeded start, or without."""
        plan = self.run.experiment
        model = build_model(plan.model, self.dataset, self.features, plan.training.seed, self.learned(with_new))
        weights = self.former.state_dict()
        model.load_state_dict(carry_over(self.former, model, self.added.places, weights, model.state_dict()))
        return model.eval()

    def has_any(self, model: KGEModel) -> Tensor:
        """Of which entities anything is known: bool [entities]."""
        return model.real.has_any(torch.arange(len(self.dataset.entities)))

    def owners(self, model: KGEModel) -> Tensor:
        """Which of the new entities have a vector of their own: bool [entities]."""
        own = torch.zeros_like(self.added.entities)
        if "structural" in model.real.modalities:
            place = list(model.real.modalities).index("structural")
            own = model.real.has(torch.arange(len(self.dataset.entities)))[place]
        return own & self.added.entities

    def count(self, entities: Tensor) -> dict[str, int]:
        """How many of these there are of each type."""
        found = Counter(self.dataset.types[entity] for entity in entities.nonzero()[:, 0].tolist())
        return dict(sorted(found.items()))

    def rank_new(self, model: KGEModel) -> Breakdown | None:
        """The metrics of the new test triples alone, among all candidates of the newer release."""
        dataset = self.dataset
        rows = dataset.triples["test"][self.added.triples["test"]]
        chosen = TripleSet(rows, len(dataset.entities), len(dataset.relations))
        return _rank(model, dataset, chosen)

    def save(self, model: KGEModel, history: list[dict[str, Any]], sums: Mapping[str, Tensor]) -> Run:
        """The new run folder, whole or not at all."""
        run, plan, said = self.run, self.plan, dict[str, Any](needs=[], published=None)
        if not isinstance(plan.release, Loose):  # else it stays named what the run was first trained on
            said |= {"dataset": plan.release, "features": str(plan.features) if self.features else None}
        experiment = run.experiment.model_copy(update=said)
        with taking(plan.out, plan.overwrite, resumable=False), whole_folder(plan.out, plan.overwrite) as place:
            growth = Growth(self._parent(bool(history)), list(self.features.values()))
            grown = create_run(place, experiment, self.dataset, growth=growth)
            weights = model.state_dict()
            grown.save_epoch(self._progress(model, history), self._checkpoint(model, weights, sums), dict(weights))
        return load_run(plan.out)

    def _parent(self, trained: bool) -> dict[str, Any]:
        unlearned = (self.dataset.seen() & ~self.learned(bool(self.plan.epochs))).nonzero()[:, 0].tolist()
        loose = {"tables": self.account.tables, "pictures": self.account.pictures} if self.account else None
        return {
            "folder": str(self.run.folder),
            "weights_sha256": self.run.record["weights"]["sha256"],
            "dataset": asdict(DatasetIdentity.of(self.run.dataset)),
            "grown_to": asdict(DatasetIdentity.of(self.dataset)),
            "entities": self.count(self.added.entities),
            "triples": {split: int(rows.sum()) for split, rows in self.added.triples.items()},
            "loose": loose,
            "epochs": self.plan.epochs if trained else 0,
            "unlearned": [self.dataset.entities[entity] for entity in unlearned],
        }

    def _progress(self, model: KGEModel, history: list[dict[str, Any]]) -> dict[str, Any]:
        """The state of training: its epochs count from the joining on, and any later one is compared with this."""
        mrr = None
        if self.dataset.can_evaluate("validation"):
            evaluator = Evaluator(self.dataset, "validation", make_protocol(self.run.experiment.protocol))
            ranks = evaluator.rank(ModelScores(model, evaluator.entities()))
            mrr = evaluator.summarise(ranks).overall.mrr
        history = history or [{**asdict(EpochRecord(0, 0.0, None, True, 0.0, 0.0)), "loss": None}]
        history[-1] |= {"validation_mrr": mrr, "best": True}
        best = -1.0 if mrr is None else mrr
        return {"epoch": history[-1]["epoch"], "since_best": 0, "best_mrr": best, "history": history}

    def _checkpoint(
        self, model: KGEModel, weights: Mapping[str, Tensor], sums: Mapping[str, Tensor]
    ) -> dict[str, Tensor] | None:
        """What resuming needs: the optimiser's sums are the former run's, and nothing for rows that are untrained.

        None of a run that was exported without.
        """
        if not self.run.record["checkpoint"]:
            return None
        last = self.run.load_checkpoint()
        former = {name: last[f"optimizer.{name}.sum"] for name, _ in self.former.named_parameters()}
        start = {name: sums.get(name, torch.zeros_like(weight)) for name, weight in model.named_parameters()}
        carried = carry_over(self.former, model, self.added.places, former, start)
        checkpoint = {f"model.{name}": tensor for name, tensor in weights.items()}
        checkpoint |= {f"optimizer.{name}.sum": tensor for name, tensor in carried.items()}
        return checkpoint | {"generator": last["generator"]}


def _features_of(run: Run, release: str, folder: Path | None) -> Mapping[Modality, ModalityFeatures]:
    """The vectors of a newer release; none for a run that has none."""
    if not run.features:
        if folder is not None:
            raise FeaturesError(f"the run was trained without features; leave --features {folder} out")
        return {}
    if folder is None:
        raise FeaturesError(f"the run has features; encode {release} alike and name the folder (--features)")
    return load_features(folder)


def _rank(
    model: KGEModel, dataset: Dataset, chosen: TripleSet | None = None, places: Tensor | None = None
) -> Breakdown | None:
    """The metrics of the test split, or of some of its triples; None where there are none."""
    try:
        evaluator = Evaluator(dataset, "test", Strict())
    except RunError:  # nothing to evaluate
        return None
    ranks = evaluator.rank(ModelScores(model, evaluator.entities(), places))
    if chosen is not None:
        for place, group in enumerate(evaluator.groups):
            answers = group.candidates[group.targets]
            head, tail = (group.anchors, answers) if group.direction == "tail" else (answers, group.anchors)
            mine = chosen.contains(head, torch.tensor(group.relation), tail)
            ranks[place] = Ranks(**{name: values[mine] for name, values in vars(ranks[place]).items()})
    found = evaluator.summarise(ranks)
    return (
        replace(found, relations={k: v for k, v in found.relations.items() if v.queries})
        if found.overall.queries
        else None
    )
