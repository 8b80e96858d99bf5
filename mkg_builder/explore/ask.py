"""Asks a run about a picture, by the other command: this package knows nothing of models."""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from mkg_builder.errors import DataError

HOW = ("--explain", "--top", "5", "--json", "--quiet")
"""All relations, their five likeliest answers, and the nearest of training."""

PATIENCE = 180
"""Seconds that an answer may take."""


class Asker:
    """Puts one question at a time to `vlkge predict`, each in a process of its own."""

    def __init__(self, run: Path) -> None:
        self.run = run.resolve()
        self._one_at_a_time = threading.Lock()

    def ask(self, jpeg: bytes) -> dict[str, Any]:
        """What the run says of a picture that our own workers have written.

        Raises:
            DataError: the run cannot answer; the other command's line says why.
        """
        with tempfile.TemporaryDirectory() as folder, self._one_at_a_time:
            picture = Path(folder) / "picture.jpg"
            picture.write_bytes(jpeg)
            command = [sys.executable, "-m", "vlkge", "predict", str(self.run), "--image", str(picture), *HOW]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603
            except subprocess.TimeoutExpired:
                raise DataError(f"{self.run} gave no answer in {PATIENCE} s") from None
        if done.returncode:
            raise DataError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "vlkge gave no answer")
        told = json.loads(done.stdout)
        (thing,) = told["things"]
        return {"run": self.run.name, "dataset": told["dataset"], "relations": thing["answers"],
                "nearest": thing["explanation"]["nearest"]}  # fmt: skip
