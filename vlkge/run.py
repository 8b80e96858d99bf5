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
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mkg_builder.durable import file_sha256, write_durably
from vlkge import hub
from vlkge.config import Experiment, load_experiment
from vlkge.dataset import Dataset
from vlkge.encoders import Modality, foreign_code
from vlkge.errors import RunError
from vlkge.features import ModalityFeatures, load_features
from vlkge.files import put_back, read_sealed_json, read_tensors, refuse_executable, write_sealed_json, write_tensors
from vlkge.fusion import REGISTRY as FUSIONS
from vlkge.model import KGEModel, build_model
from vlkge.protocol import REGISTRY as PROTOCOLS
from vlkge.scorers import REGISTRY as SCORERS

FORMAT = 1
RECORD, EXPERIMENT, ENVIRONMENT, METRICS = "run.json", "experiment.yaml", "environment.json", "metrics.jsonl"
PARENT = "parent.json"
_OWN = re.compile(r"(?:(?:dataset|features)/)?[A-Za-z0-9][\w.-]*\.(?:json|yaml|safetensors)")
REMEDY = "train again with: vlkge train"


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
        of_hub: its name on the Hub, None for one of this machine.
    """

    folder: Path
    experiment: Experiment
    dataset: Dataset
    features: Mapping[Modality, ModalityFeatures]
    record: dict[str, Any] = field(repr=False)
    parent: Mapping[str, Any] | None = field(default=None, repr=False)
    of_hub: str | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return self.of_hub or self.folder.resolve().name

    @property
    def progress(self) -> dict[str, Any]:
        """The state of training after the last saved epoch; empty before the first."""
        progress: dict[str, Any] = self.record["progress"]
        return progress

    def load_model(self) -> KGEModel:
        """The model with the weights of the best validation epoch.

        Raises:
            RunError: no epoch was validated, or the weights are altered, not finite or of another shape.
        """
        if not self.record["weights"]:
            raise RunError(f"no epoch of {self.folder} was validated yet; go on with: vlkge resume {self.folder}")
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
            raise RunError(f"{self.folder} was exported without its checkpoint, so it cannot be trained on; {REMEDY}")

    def _read(self, kind: str) -> dict[str, Tensor]:
        """What the record names; a training that goes on meanwhile replaces both."""
        while True:
            entry = self.record[kind]
            try:
                return read_tensors(self.folder / entry["file"], entry["sha256"], RunError, REMEDY)
            except RunError:
                latest = read_sealed_json(self.folder / RECORD, RunError, REMEDY)
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
        self.tidy()

    def metrics(self) -> str:
        """What is told of each epoch, a line of JSON each."""
        return "".join(json.dumps(epoch, sort_keys=True) + "\n" for epoch in self.progress.get("history", ()))

    def refresh(self) -> None:
        """Read again how far it is: another process may have gone on with it.

        Raises:
            RunError: another run lies there by now.
        """
        latest = read_sealed_json(self.folder / RECORD, RunError, REMEDY)
        if latest["files"] != self.record["files"]:
            raise RunError(f"{self.folder} holds another run by now; run the same command again")
        self.record = latest

    def tidy(self) -> None:
        """Bring the other files to what the record says, also where a process was killed while it saved.

        Only for who holds the run's lock.
        """
        write_durably(self.folder / METRICS, self.metrics().encode())
        current = {self.record[kind]["file"] for kind in ("checkpoint", "weights") if self.record[kind]}
        for path in (*self.folder.glob("*.safetensors"), *self.folder.glob(".*.safetensors.*.tmp")):
            if path.name not in current:  # also what a process that was killed had begun to write
                path.unlink()

    def _write(self, name: str, tensors: dict[str, Tensor]) -> dict[str, str]:
        return {"file": name, "sha256": write_tensors(self.folder / name, tensors)}


def load_run(folder: Path) -> Run:
    """A run from its folder, verified: each file's sha256 first, then what it says.

    Raises:
        RunError: not a run folder, a checkpoint file of a kind that can run code, or a damaged run.
        DatasetError: its data set is damaged.
        FeaturesError: its features are damaged or of another data set.
    """
    refuse_executable(folder, RunError, "give the folder that vlkge train wrote")
    if not folder.exists():
        put_back(folder.resolve())
    if not folder.is_dir() or not (folder / RECORD).is_file():
        raise RunError(f"{folder} is no run: it has no {RECORD}; {REMEDY}")
    record = read_sealed_json(folder / RECORD, RunError, REMEDY)
    if record.get("format") != FORMAT:
        raise RunError(f"{folder}: run format {record.get('format')!r}, this program reads {FORMAT}")
    _require_own_files(record, folder)
    for name, digest in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path} is missing; {REMEDY}")
        if file_sha256(path) != digest:
            raise RunError(f"{path} is altered: its sha256 is not the recorded one; {REMEDY}")
    dataset = Dataset.load(folder / "dataset")
    features = load_features(folder / "features") if (folder / "features").is_dir() else {}
    for modality in features.values():
        modality.require_match(dataset)
    parent = read_sealed_json(folder / PARENT, RunError, REMEDY) if PARENT in record["files"] else None
    return Run(folder, load_experiment(folder / EXPERIMENT), dataset, features, record, parent)


def _require_own_files(record: Mapping[str, Any], folder: Path) -> None:
    """Refuse a record that lacks something, or that names what no training writes: a file elsewhere, say."""
    try:
        names = [*record["files"], *(entry["file"] for kind in ("weights", "checkpoint") if (entry := record[kind]))]
        whole = isinstance(record["progress"], dict) and all(isinstance(one, str) for one in record["files"].values())
    except (KeyError, TypeError, AttributeError) as problem:
        raise RunError(f"{folder / RECORD} is no record of a run ({problem!r}); {REMEDY}") from None
    odd = next((name for name in names if not (isinstance(name, str) and _OWN.fullmatch(name))), None)
    if odd is not None or not whole:
        raise RunError(f"{folder / RECORD} is no record of a run: it names {odd!r}; {REMEDY}")


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
    return replace(run, of_hub=found["repo"])


def load_weights(model: KGEModel, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a model that is built alike.

    Raises:
        RunError: a name, a shape or a type differs, or a value is not finite.
    """
    expected = model.state_dict()
    if expected.keys() != tensors.keys():
        odd = sorted(expected.keys() ^ tensors.keys())[0]
        raise RunError(f"{source}: weights and experiment do not belong together ({odd}); {REMEDY}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise RunError(f"{source}: {name} is {list(tensor.shape)}, not {list(expected[name].shape)}; {REMEDY}")
        if tensor.dtype != expected[name].dtype:
            raise RunError(f"{source}: {name} is {tensor.dtype}, not {expected[name].dtype}; {REMEDY}")
        if not bool(tensor.isfinite().all()):
            raise RunError(f"{source}: {name} holds values that are not finite; {REMEDY}")
    model.load_state_dict(dict(tensors))
