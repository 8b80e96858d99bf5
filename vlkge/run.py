"""The run folder: everything that evaluate, predict and resume need, written so that a crash leaves it whole.

    run.json                    sealed by its own sha256; names every other file with its sha256
    experiment.yaml             what was trained, every value resolved
    environment.json            versions, threads, device
    dataset/, features/         what it was trained on
    parent.json                 of a run that others joined: the run it grew from, and who joined
    weights-<epoch>.safetensors     of the best validation epoch
    checkpoint-<epoch>.safetensors  of the last epoch: weights, optimiser and generator states
    metrics.jsonl               one line per epoch

An epoch is saved as new files first and then, in one step, by a new `run.json` that names them.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from mkg_builder.durable import file_sha256, write_durably
from mkg_builder.errors import UsageError
from vlkge import hub
from vlkge.config import Experiment, load_experiment
from vlkge.dataset import Dataset
from vlkge.encoders import Modality, foreign_code
from vlkge.errors import RunError
from vlkge.features import ModalityFeatures, load_features, save_features
from vlkge.files import (
    link_folder,
    read_sealed_json,
    read_tensors,
    refuse_executable,
    whole_folder,
    write_sealed_json,
    write_tensors,
)
from vlkge.fusion import REGISTRY as FUSIONS
from vlkge.model import KGEModel, build_model
from vlkge.protocol import REGISTRY as PROTOCOLS
from vlkge.scorers import REGISTRY as SCORERS

FORMAT = 1
RECORD, EXPERIMENT, ENVIRONMENT, METRICS = "run.json", "experiment.yaml", "environment.json", "metrics.jsonl"
PARENT = "parent.json"
_REMEDY = "train again with: vlkge train"


@dataclass(frozen=True)
class Growth:
    """What makes a new run of one that is trained.

    Attributes:
        parent: plain values; `unlearned` lists the entities that stand in train and have not been learned from.
        features: the vectors of all modalities, those of the parent's entities as they were.
    """

    parent: Mapping[str, Any]
    features: Sequence[ModalityFeatures]


@dataclass
class Run:
    """One training on disk.

    Attributes:
        folder: where it lies.
        experiment: what was trained, resolved.
        dataset: what on.
        features: the encoders' vectors by modality.
        record: the content of `run.json`; `progress` there is what training has to remember.
        parent: what the run grew from, None for one that was trained from its start.
    """

    folder: Path
    experiment: Experiment
    dataset: Dataset
    features: Mapping[Modality, ModalityFeatures]
    record: dict[str, Any] = field(repr=False)
    parent: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def progress(self) -> dict[str, Any]:
        """The state of training after the last saved epoch; empty before the first."""
        progress: dict[str, Any] = self.record["progress"]
        return progress

    def load_model(self) -> KGEModel:
        """The model with the weights of the best validation epoch.

        Raises:
            RunError: no epoch was finished, or the weights are altered, not finite or of another shape.
        """
        if not self.record["weights"]:
            raise RunError(f"{self.folder} has no finished epoch; go on with: vlkge resume {self.folder}")
        model = self.new_model()
        load_weights(model, self._read("weights"), str(self.folder))
        return model.eval()

    def new_model(self) -> KGEModel:
        """The model at its seeded start."""
        seed = self.experiment.training.seed
        return build_model(self.experiment.model, self.dataset, self.features, seed, self.learned())

    def learned(self) -> Tensor:
        """Which entities were learned from: those in train, but for those that joined later. bool [entities]."""
        learned = self.dataset.seen()
        unlearned = (self.parent or {}).get("unlearned", ())
        learned[[self.dataset.entity_index(entity) for entity in unlearned]] = False
        return learned

    def load_checkpoint(self) -> dict[str, Tensor]:
        """The tensors that `save_epoch` was given last.

        Raises:
            RunError: they are altered or missing.
        """
        self.require_checkpoint()
        return self._read("checkpoint")

    def require_checkpoint(self) -> None:
        """Refuse to go on with a run that has been trained and has no checkpoint.

        Raises:
            RunError: as it was exported.
        """
        if self.progress and not self.record["checkpoint"]:
            raise RunError(f"{self.folder} was exported without its checkpoint, so it cannot be trained on; {_REMEDY}")

    def _read(self, kind: str) -> dict[str, Tensor]:
        """What the record names; a training that goes on meanwhile replaces both."""
        while True:
            entry = self.record[kind]
            try:
                return read_tensors(self.folder / entry["file"], entry["sha256"], RunError, _REMEDY)
            except RunError:
                latest = read_sealed_json(self.folder / RECORD, RunError, _REMEDY)
                if latest[kind] == entry:
                    raise
                self.record = latest

    def save_epoch(
        self, progress: dict[str, Any], checkpoint: dict[str, Tensor] | None, best: dict[str, Tensor] | None
    ) -> None:
        """Save an epoch: all of it, or, when the machine stops on the way, nothing of it.

        Args:
            progress: plain values; `epoch` and `history` among them.
            checkpoint: what resuming needs; None where the run cannot be resumed.
            best: the weights, when this epoch is the best so far.
        """
        record = {**self.record, "progress": progress}
        name = f"checkpoint-{progress['epoch']:04d}.safetensors"
        record["checkpoint"] = None if checkpoint is None else self._write(name, checkpoint)
        if best is not None:
            record["weights"] = self._write(f"weights-{progress['epoch']:04d}.safetensors", best)
        write_sealed_json(self.folder / RECORD, record)
        self.record = record
        lines = "".join(json.dumps(epoch, sort_keys=True) + "\n" for epoch in progress["history"])
        write_durably(self.folder / METRICS, lines.encode())
        current = {record[kind]["file"] for kind in ("checkpoint", "weights") if record[kind]}
        for path in (*self.folder.glob("*.safetensors"), *self.folder.glob(".*.safetensors.*.tmp")):
            if path.name not in current:  # also what a process that was killed had begun to write
                path.unlink()

    def _write(self, name: str, tensors: dict[str, Tensor]) -> dict[str, str]:
        return {"file": name, "sha256": write_tensors(self.folder / name, tensors)}


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
    """
    require_free(folder, overwrite)
    with whole_folder(folder) as new:
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


def load_run(folder: Path) -> Run:
    """A run from its folder, verified: each file's sha256 first, then what it says.

    Raises:
        RunError: not a run folder, a checkpoint file of a kind that can run code, or a damaged run.
        DatasetError: its data set is damaged.
        FeaturesError: its features are damaged or of another data set.
    """
    refuse_executable(folder, RunError, "give the folder that vlkge train wrote")
    if not folder.is_dir() or not (folder / RECORD).is_file():
        raise RunError(f"{folder} is no run: it has no {RECORD}; {_REMEDY}")
    record = read_sealed_json(folder / RECORD, RunError, _REMEDY)
    if record.get("format") != FORMAT:
        raise RunError(f"{folder}: run format {record.get('format')!r}, this program reads {FORMAT}")
    for name, digest in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path} is missing; {_REMEDY}")
        if file_sha256(path) != digest:
            raise RunError(f"{path} is altered: its sha256 is not the recorded one; {_REMEDY}")
    dataset = Dataset.load(folder / "dataset")
    features = load_features(folder / "features") if (folder / "features").is_dir() else {}
    for modality in features.values():
        modality.require_match(dataset)
    parent = read_sealed_json(folder / PARENT, RunError, _REMEDY) if PARENT in record["files"] else None
    return Run(folder, load_experiment(folder / EXPERIMENT), dataset, features, record, parent)


def find_run(name: str | Path) -> Run:
    """A run from its folder, or from the Hub as `ORG/NAME[@REVISION]`.

    One of the Hub may only name what is installed here: a scorer or an encoder in a file would be code of its own.

    Raises:
        RunError: neither, code that is not installed is named, or as `load_run`.
        UpstreamError: the Hub does not answer.
    """
    found = hub.NAME.fullmatch(str(name))
    if Path(name).is_dir() or not found or Path(name).parent.is_dir():
        return load_run(Path(name))
    run = load_run(hub.download(found["repo"], found["revision"], "model", RunError)[0])
    model, features = run.experiment.model, run.features.values()
    named = ((SCORERS, model.scorer), (FUSIONS, model.fusion), (PROTOCOLS, run.experiment.protocol))
    foreign = [name for registry, name in named if name not in registry.names()]
    foreign += [spec for part in features if (spec := foreign_code(part.info.spec))]
    if foreign:
        raise RunError(f"{name} names {foreign[0]!r}, which is not installed; what a run brings along is never run")
    return run


def load_weights(model: KGEModel, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a model that is built alike.

    Raises:
        RunError: a name, a shape or a type differs, or a value is not finite.
    """
    expected = model.state_dict()
    if expected.keys() != tensors.keys():
        odd = sorted(expected.keys() ^ tensors.keys())[0]
        raise RunError(f"{source}: weights and experiment do not belong together ({odd}); {_REMEDY}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise RunError(f"{source}: {name} is {list(tensor.shape)}, not {list(expected[name].shape)}; {_REMEDY}")
        if tensor.dtype != expected[name].dtype:
            raise RunError(f"{source}: {name} is {tensor.dtype}, not {expected[name].dtype}; {_REMEDY}")
        if not bool(tensor.isfinite().all()):
            raise RunError(f"{source}: {name} holds values that are not finite; {_REMEDY}")
    model.load_state_dict(dict(tensors))


def _environment(experiment: Experiment) -> dict[str, Any]:
    return {
        "packages": {name: version(name) for name in ("vlkge", "torch", "numpy", "safetensors", "open_clip_torch")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "device": experiment.training.device,
        "seed": experiment.training.seed,
    }
