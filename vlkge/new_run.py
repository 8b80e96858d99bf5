"""A new run: its place, which nobody else may be using, and its folder before the first epoch."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from mkg_builder.durable import file_sha256, write_durably
from mkg_builder.errors import UsageError
from mkg_builder.lock import locked
from vlkge.config import Experiment
from vlkge.dataset import Dataset
from vlkge.features import ModalityFeatures, save_features
from vlkge.files import link_folder, whole_folder, write_sealed_json
from vlkge.run import ENVIRONMENT, EXPERIMENT, FORMAT, PARENT, RECORD, Run, load_run


@dataclass(frozen=True)
class Growth:
    """What makes a new run of one that is trained.

    Attributes:
        parent: plain values; `unlearned` lists the entities that stand in train and have not been learned from.
        features: the vectors of all modalities, those of the parent's entities as they were.
    """

    parent: Mapping[str, Any]
    features: Sequence[ModalityFeatures]


def create_run(
    folder: Path, experiment: Experiment, dataset: Dataset, overwrite: bool = False, growth: Growth | None = None
) -> Run:
    """A new run folder, before its first epoch.

    Args:
        folder: where; it must not exist yet.
        experiment: resolved; `features` names the folder that is hard-linked (else copied) into the run.
        dataset: the graph.
        overwrite: replace a run that is there.
        growth: what it grew from, with the features to keep instead.

    Raises:
        UsageError: the folder exists, or is something else than a run.
        FeaturesError: the features are damaged or of another data set.
        LockedError: another process trains the run that is there.
    """
    with taking(folder, overwrite), whole_folder(folder, overwrite) as new:
        (new / "dataset").mkdir()
        dataset.save(new / "dataset")
        if growth is not None:
            write_sealed_json(new / PARENT, dict(growth.parent))
            if growth.features:
                save_features(new / "features", growth.features)
        elif experiment.features:
            link_folder(Path(experiment.features), new / "features")
        text = yaml.safe_dump(experiment.model_dump(), sort_keys=False, allow_unicode=True)
        write_durably(new / EXPERIMENT, text.encode())
        write_durably(new / ENVIRONMENT, (json.dumps(_environment(experiment), indent=2) + "\n").encode())
        described = [path for path in new.rglob("*") if path.suffix in (".json", ".yaml")]
        files = {str(path.relative_to(new)): file_sha256(path) for path in sorted(described)}
        record = {"format": FORMAT, "files": files, "weights": None, "checkpoint": None, "progress": {}}
        write_sealed_json(new / RECORD, record)
        run = load_run(new)  # before it takes its place: a run that cannot be read would only be in the way
    return replace(run, folder=folder)


@contextmanager
def taking(folder: Path, overwrite: bool, resumable: bool = True) -> Iterator[None]:
    """Hold the place of a new run, and the run that it replaces, so that nobody trains that one meanwhile.

    Raises:
        UsageError: as `require_free`.
        LockedError: another process trains the run that is there.
    """
    require_free(folder, overwrite, resumable)
    with locked(folder) if (folder / RECORD).is_file() else nullcontext():
        yield


def require_free(folder: Path, overwrite: bool, resumable: bool = True) -> None:
    """Refuse a place for a new run that is taken; `resumable`, whether to go on with what is there is the same.

    Raises:
        UsageError: the folder holds something else than a run, or one that is not to be replaced.
    """
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        if not (folder / RECORD).is_file():
            raise UsageError(f"{folder} exists and is no run; name another folder with --out")
        if not overwrite:
            other = f"go on with: vlkge resume {folder}" if resumable else "name another folder with --out"
            raise UsageError(f"{folder} exists; {other}, or replace it with --overwrite")


def _environment(experiment: Experiment) -> dict[str, Any]:
    return {
        "packages": {name: version(name) for name in ("vlkge", "torch", "numpy", "safetensors", "open_clip_torch")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "device": experiment.training.device,
        "seed": experiment.training.seed,
    }
