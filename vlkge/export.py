"""A run made ready to be given away: its weights without its checkpoint, its embeddings as Parquet, a card."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from mkg_builder.durable import file_sha256, write_durably
from mkg_builder.errors import MkgError, UsageError
from vlkge.evaluate import EvaluationResult, evaluate_run
from vlkge.files import whole_folder, write_sealed_json
from vlkge.model import KGEModel
from vlkge.model_card import render_card
from vlkge.protocol import Strict
from vlkge.run import EXPERIMENT, METRICS, PARENT, RECORD, Run, load_run

CARD, NUMBERS, EMBEDDINGS = "README.md", "evaluation.json", "embeddings"
_OF_READERS = ("calibration.json", "lock")
"""What those who use an export leave in it."""
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: a run folder again, which every command but `resume` takes.
        files: how many.
        bytes: together.
        entities: how many have a vector.
        result: the numbers on its card.
    """

    folder: Path
    files: int
    bytes: int
    entities: int
    result: EvaluationResult


def export_run(run: Run, out: Path, license_id: str | None = None, overwrite: bool = False) -> Exported:
    """Write a run as a folder that can be read, shared and predicted with.

    Args:
        run: a trained run.
        out: where; it must not exist.
        license_id: an SPDX-like id of the Hub for the card; none is claimed by default.
        overwrite: replace a folder that an export wrote.

    Raises:
        UsageError: the folder exists.
        RunError: the run has no finished epoch, is damaged, or its data set has no test triples to measure it by.
    """
    if out.exists():
        _require_replaceable(run, out, overwrite)
    model, result = run.load_model(), evaluate_run(run, "test", Strict())
    with whole_folder(out, overwrite) as new:
        _copy_run(run, new)
        (new / EMBEDDINGS).mkdir()
        _write_table(new / EMBEDDINGS / "entities.parquet", _entity_batches(run, model))
        _write_table(new / EMBEDDINGS / "relations.parquet", iter([_relations(run, model)]))
        write_durably(new / NUMBERS, (json.dumps(result.to_json(), indent=2, sort_keys=True) + "\n").encode())
        write_durably(new / CARD, render_card(run, model, result, license_id).encode())
    files = [path for path in out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return Exported(out, len(files), size, len(run.dataset.entities), result)


def _require_replaceable(run: Run, out: Path, overwrite: bool) -> None:
    """Refuse to replace anything but an export, and nothing but what an export writes."""
    if out.resolve() == run.folder.resolve():
        raise UsageError(f"{out} is the run itself; name another folder with --out")
    if not overwrite:
        raise UsageError(f"{out} exists; name another folder with --out, or replace an export with --overwrite")
    try:
        record = load_run(out).record
    except MkgError:
        raise UsageError(f"{out} exists and is no export; name another folder with --out") from None
    if record["checkpoint"] or not (out / NUMBERS).is_file():
        raise UsageError(f"{out} is a run and no export; name another folder with --out")
    own = {*record["files"], RECORD, METRICS, NUMBERS, CARD, *_OF_READERS, (record["weights"] or {}).get("file")}
    within = ("dataset", "features", EMBEDDINGS)
    files = (path.relative_to(out) for path in out.rglob("*") if not path.is_dir())
    if other := next((path for path in files if str(path) not in own and path.parts[0] not in within), None):
        raise UsageError(f"{out} holds {other}, which no export writes; name another folder with --out")


def _copy_run(run: Run, new: Path) -> None:
    """The run's files but its checkpoint; where its data lay on this machine is nobody's business."""
    weights = run.record["weights"]["file"]
    for name in (*run.record["files"], weights):
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(run.folder / name, new / name)
    write_durably(new / METRICS, run.metrics().encode())
    for folder in ("dataset", "features"):
        if (run.folder / folder).is_dir():
            shutil.copytree(run.folder / folder, new / folder, dirs_exist_ok=True)
    source = run.experiment.dataset
    if source and not run.dataset.revision:
        source = Path(source).name
    experiment = run.experiment.model_copy(update={"dataset": source, "features": None})
    text = yaml.safe_dump(experiment.model_dump(), sort_keys=False, allow_unicode=True)
    write_durably(new / EXPERIMENT, text.encode())
    changed = [EXPERIMENT]
    if run.parent is not None:
        write_sealed_json(new / PARENT, {**run.parent, "folder": Path(run.parent["folder"]).name})
        changed.append(PARENT)
    files = {**run.record["files"], **{name: file_sha256(new / name) for name in changed}}
    write_sealed_json(new / RECORD, {**run.record, "files": files, "checkpoint": None})


def _entity_batches(run: Run, model: KGEModel) -> Iterator[pa.RecordBatch]:
    """Every entity with its vector, and whether anything is known of it itself."""
    dataset, seen = run.dataset, run.dataset.seen()
    for chosen in torch.split(torch.arange(len(dataset.entities)), ROWS_AT_ONCE):
        rows = chosen.tolist()
        yield pa.record_batch({
            "entity": [dataset.entities[i] for i in rows],
            "type": [dataset.types[i] for i in rows],
            "label": [dataset.labels[i] for i in rows],
            "seen_in_train": seen[chosen].numpy(),
            "known": model.real.has_any(chosen).numpy(),
            "vector": _vectors(model.represent_all(chosen)),
        })  # fmt: skip


def _relations(run: Run, model: KGEModel) -> pa.RecordBatch:
    names = list(run.dataset.relations)
    inverse = [False] * len(names) + [True] * (len(model.relations) - len(names))
    names *= len(model.relations) // len(names)
    return pa.record_batch({"relation": names, "inverse": inverse, "vector": _vectors(model.relations.detach())})


def _vectors(rows: torch.Tensor) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1).numpy()), rows.shape[1])


def _write_table(path: Path, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches)
    with pq.ParquetWriter(path, first.schema, compression="zstd", write_page_index=True) as writer:
        for batch in (first, *batches):
            writer.write_batch(batch)
