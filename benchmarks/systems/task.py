"""What each system is asked to do, and the measures that all take alike; needs torch and nothing else."""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

FEATURE_SIZE = 768
FEATURES = ("image", "text")


@dataclass(frozen=True)
class Task:
    """One training and validation to measure.

    Attributes:
        triples: a CSV of head, relation, tail, mode (train, val, test).
        release: the same graph as a release folder.
        workspace: where temporary files may lie.
        scorer: transe, distmult, complex or rotate.
        features: whether entities also have seeded vectors of 768 components for picture and text.
        dim: components of a structural vector.
        batch_size: positives per step.
        negatives: per positive.
        batches: so many steps of an epoch are timed, after one that is not; 0: all.
        queries: so many validation queries are asked, two of each triple; 0: all.
        epochs: of ours, timed, after one that is not.
        settings: further overrides of our experiment.
        target: train until this validation MRR is reached, for at most `epochs`, instead; 0: do not.
        threads: of torch.
        seed: of everything random.
    """

    triples: str
    release: str
    workspace: str
    scorer: str = "distmult"
    features: bool = False
    dim: int = 768
    batch_size: int = 512
    negatives: int = 100
    batches: int = 0
    queries: int = 0
    epochs: int = 3
    settings: tuple[str, ...] = ()
    target: float = 0.0
    threads: int = 2
    seed: int = 42

    def to_json(self) -> str:
        """The argument that the script of a system takes."""
        return json.dumps(asdict(self))


def read_task() -> Task:
    """The task of the command line; torch is told its threads."""
    task = Task(**json.loads(sys.argv[1]))
    torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    return task


def answer(**fields: Any) -> None:
    """Print the result as one JSON document, the last line."""
    print(json.dumps({**fields, "peak_mib": peak_mib(), "torch": torch.__version__}))


def peak_mib() -> float:
    """The most memory that this process has held so far, in MiB."""
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes / 1024


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of wall time that work took, and what it returned."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def feature_vectors(names: list[str], modality: str, seed: int) -> torch.Tensor:
    """Seeded vectors [names, 768] of length 1, the same in every system for names in one order."""
    generator = torch.Generator().manual_seed(seed + FEATURES.index(modality))
    vectors = torch.randn(len(names), FEATURE_SIZE, generator=generator)
    return torch.nn.functional.normalize(vectors)


def read_rows(path: str) -> dict[str, list[tuple[str, str, str]]]:
    """The triples of each mode."""
    rows: dict[str, list[tuple[str, str, str]]] = {"train": [], "val": [], "test": []}
    for line in Path(path).read_text().splitlines()[1:]:
        head, relation, tail, mode = line.split(",")
        rows[mode].append((head, relation, tail))
    return rows


def entity_names(path: str) -> list[str]:
    """Every entity of the CSV, sorted."""
    rows = read_rows(path)
    return sorted({end for facts in rows.values() for head, _, tail in facts for end in (head, tail)})
