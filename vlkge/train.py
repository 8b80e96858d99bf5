"""Training: an experiment becomes a run, and a run learns, an epoch at a time."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from mkg_builder.lock import locked
from vlkge.config import Experiment
from vlkge.dataset import HUB_SCHEME, Dataset, load_dataset
from vlkge.errors import ExperimentError, FeaturesError
from vlkge.features import load_features
from vlkge.fusion import REGISTRY as FUSIONS
from vlkge.model import STRUCTURAL
from vlkge.new_run import create_run
from vlkge.parallel import Group
from vlkge.protocol import make_protocol
from vlkge.run import Run, load_run
from vlkge.scorers import REGISTRY as SCORERS
from vlkge.scorers import QueryScorer
from vlkge.trainer import Advance, EpochRecord, Trainer

__all__ = ["Advance", "EpochRecord", "check_names", "fit", "on_device", "resolve", "start"]


def start(experiment: Experiment, out: Path | None = None, overwrite: bool = False) -> Run:
    """A run folder for an experiment; nothing is trained yet.

    Args:
        experiment: names its data set, and its features where it uses any.
        out: the run folder; default `runs/<dataset>-<scorer>-<fusion>`.
        overwrite: replace a run that is there.

    Raises:
        ExperimentError: no data set is named, or the experiment does not fit it.
        UnknownNameError: an unknown scorer, fusion or protocol.
        UsageError: the folder exists.
    """
    check_names(experiment)
    if not experiment.dataset:
        raise ExperimentError("no data set: name a release folder (--dataset) or one of the Hub (--hf-dataset)")
    require_needs(experiment)
    dataset = load_dataset(experiment.dataset)
    resolved = resolve(experiment, dataset)
    model = resolved.model
    default = Path("runs") / "-".join(part.replace(":", "_") for part in (dataset.name, model.scorer, model.fusion))
    folder, group = out or default, Group.join()
    if group.rank == 0:
        create_run(folder, resolved, dataset, overwrite)
    group.wait()
    return load_run(folder)


def require_needs(experiment: Experiment) -> None:
    """Say what to type when an experiment's data set or features are not there.

    Raises:
        ExperimentError: one of them is not.
    """
    for name, place in (("data set", experiment.dataset), ("features", experiment.features)):
        if experiment.needs and place and not place.startswith(HUB_SCHEME) and not Path(place).exists():
            raise ExperimentError(f"the {name} {place} is not here; type: {' && '.join(experiment.needs)}")


def check_names(experiment: Experiment) -> None:
    """Refuse an unknown scorer, fusion, protocol or device before anything is read.

    Raises:
        UnknownNameError: names what exists and the nearest.
        ExperimentError: torch knows no such device, or this machine has none; a regulariser without a weight, or a
            weight without one; what this scorer or this device passes over.
    """
    SCORERS.resolve(experiment.model.scorer)
    FUSIONS.resolve(experiment.model.fusion)
    make_protocol(experiment.protocol)
    regularizer, weight = experiment.training.regularizer, experiment.training.regularizer_weight
    if (regularizer == "none") != (weight == 0.0):
        raise ExperimentError(
            f"training.regularizer is {regularizer} and training.regularizer_weight {weight:g}: "
            "one does nothing without the other (--regularizer, --regularizer-weight)"
        )
    _require_device(experiment)
    _require_effect(experiment)


def _require_effect(experiment: Experiment) -> None:
    """Refuse what the scorer or the device could only pass over."""
    scorer, model, training = SCORERS.resolve(experiment.model.scorer), experiment.model, experiment.training
    if training.regularizer == "dura" and not issubclass(scorer, QueryScorer):
        raise ExperimentError(f"training.regularizer dura needs a scorer that makes queries; {model.scorer} does not")
    if model.imaginary == "fused" and scorer.parts == 1:
        raise ExperimentError(f"model.imaginary is fused, and the vectors of {model.scorer} are real")
    if training.precision == "tf32" and torch.device(training.device).type == "cpu":
        raise ExperimentError("training.precision is tf32, which a CPU does not have; choose float32 or bfloat16")


def _require_device(experiment: Experiment) -> None:
    try:
        torch.zeros(1, device=experiment.training.device)
        torch.Generator(experiment.training.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ExperimentError(f"training.device is {experiment.training.device!r}: {reason}") from None


def resolve(experiment: Experiment, dataset: Dataset) -> Experiment:
    """The experiment with every value that depends on the data filled in.

    Raises:
        ExperimentError: a modality that the features do not hold; mentions in a graph without texts.
        UnknownNameError: a relation to sample that the data set has not.
        FeaturesError: they cover less than `model.coverage` asks for.
    """
    for relation in experiment.training.sample:
        dataset.relation_index(relation)
    features = load_features(Path(experiment.features)) if experiment.features else {}
    held = sorted(features)
    for modality, least in experiment.model.coverage.items():
        if modality not in features:
            there = ", ".join(held) or "none"
            raise FeaturesError(f"model.coverage asks for {modality} features; those here: {there} (--features)")
        features[modality].require_coverage(_due(dataset, features[modality].ids), least)
    modalities = experiment.model.modalities or ["structural", *held]
    if "mentions" in experiment.model.observed and not any(dataset.texts):
        raise ExperimentError(f"model.observed asks for mentions, and no entity of {dataset.name} has a text")
    if experiment.model.modality_dropout and len(modalities) == 1:
        raise ExperimentError(f"model.modality_dropout does nothing: {modalities[0]} is all that an entity has")
    missing = [modality for modality in modalities if modality not in (STRUCTURAL, *held)]
    if missing:
        hint = "the features hold: " + (", ".join(held) or "none; name a features folder (--features)")
        raise ExperimentError(f"model.modalities asks for {missing[0]!r}; {hint}")
    corrupt = experiment.training.corrupt
    if corrupt == "auto":
        corrupt = "tail" if dataset.setting == "inductive" else "both"
    model = experiment.model.model_copy(update={"modalities": modalities})
    training = experiment.training.model_copy(update={"corrupt": corrupt})
    return experiment.model_copy(update={"model": model, "training": training})


def _due(dataset: Dataset, ids: tuple[str, ...]) -> list[str]:
    """The entities of every type of which some have a vector."""
    kinds = dict(zip(dataset.entities, dataset.types, strict=True))
    some = {kinds[entity] for entity in ids}
    return [entity for entity, kind in kinds.items() if kind in some]


def on_device(run: Run, device: str) -> Run:
    """The same run, to be trained on another torch device from now on; it draws its own numbers there."""
    training = run.experiment.training.model_copy(update={"device": device})
    return replace(run, experiment=run.experiment.model_copy(update={"training": training}))


def fit(run: Run, epochs: int | None = None, progress: Advance | None = None) -> Iterator[EpochRecord]:
    """Train a run from where it stands, an epoch at a time; each is saved before it is yielded.

    Args:
        run: new, or stopped after any epoch; going on gives bit for bit what an unbroken training gives (CPU). Where
            not every epoch is validated, the last one of a shorter training is, and may be the one that is kept.
        epochs: in all; default the experiment's.
        progress: told of every batch.

    Raises:
        RunError: the loss is not finite, or the checkpoint is damaged.
        ExperimentError: this machine has no such device.
        LockedError: another process trains this run.
    """
    _require_device(run.experiment)
    run.require_checkpoint()  # before anything is written
    group = Group.join()
    with locked(run.folder) if group.rank == 0 else nullcontext():
        group.wait()  # until the lock is ours
        run.refresh()
        if group.rank == 0 and run.progress:
            run.tidy()
        trainer = Trainer(run, group)
        last = epochs or run.experiment.training.epochs
        while trainer.epoch < last and not trainer.finished:
            yield trainer.run_epoch(progress or _ignore, last)


def _ignore(stage: str, done: int, total: int | None) -> None:
    """Nobody wants to know."""
