"""Feature pickles of strangers: read in a process of its own, which has no network and runs nothing of theirs."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mkg_builder.errors import DataError

READER = Path(__file__).with_name("official_unpickle.py")
PATIENCE = 3600
"""Seconds; the reader's own limit of processor time comes first."""

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}


def read_vectors(pickle: Path, name: str) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
    """The vectors of a feature pickle, some thousand at a time: their keys, and float32 [keys, dimension].

    Args:
        pickle: the file; it is never opened in this process.
        name: what to call it in a message.

    Raises:
        DataError: it holds anything but float vectors of one length by name, or the reader met one of its limits.
    """
    with tempfile.TemporaryDirectory(prefix="vectors-") as scratch:
        target = Path(scratch) / "vectors.parquet"
        _run(pickle, target, name)
        try:
            file = pq.ParquetFile(target, page_checksum_verification=True)
            for batch in file.iter_batches(batch_size=4096):
                values = batch["vector"].flatten().to_numpy().reshape(len(batch), -1)
                yield batch["id"].to_pylist(), values
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{name}: its reader left no whole answer ({error})") from None


def _run(pickle: Path, target: Path, name: str) -> None:
    command = [sys.executable, "-I", str(READER), str(pickle.resolve()), str(target)]
    try:
        done = subprocess.run(  # noqa: S603 - our own program, in isolated mode
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
            cwd=target.parent, env=_ENVIRONMENT, timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DataError(f"{name} is refused: reading it took more than {PATIENCE} seconds") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1][:300] if said else f"its reader ended with {done.returncode}, a limit of memory, time or size"
        raise DataError(f"{name} is refused, nothing of it was run: it holds {why}")
