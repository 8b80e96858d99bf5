"""An environment of its own for each peer, kept between runs, and the scripts that run inside."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from systems.task import Task

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
CONSTRAINTS = ROOT / "constraints-cpu.txt"
NEEDS = {
    "official": ("torch", "numpy", "pandas", "tqdm"),
    "pykeen": ("torch", "pykeen"),
}


@dataclass(frozen=True)
class System:
    """One of those that are compared.

    Attributes:
        name: ours, official or PyKEEN.
        python: the interpreter of its environment.
        script: what runs in it, of this folder.
        environment: further variables.
    """

    name: str
    python: Path
    script: str
    environment: dict[str, str] = field(default_factory=dict)

    def measure(self, task: Task) -> dict[str, Any]:
        """The answer of its script; `refused` says why there is none."""
        with tempfile.TemporaryFile("w+") as errors:
            command = [str(self.python), str(FOLDER / self.script), task.to_json()]
            environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **self.environment}
            ended = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, check=False
            )
            errors.seek(0)
            said = errors.read().strip().splitlines()
        if ended.returncode or not ended.stdout:
            return {"refused": f"ended with {ended.returncode}: {said[-1] if said else 'no reason given'}"}
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return found


def ours() -> System:
    """This checkout, in the environment that this program runs in."""
    return System("ours", Path(sys.executable), "ours.py", {"PYTHONPATH": str(ROOT)})


def official(clone: Path, workspace: Path) -> System:
    """The official code of a clone.

    Raises:
        SystemExit: the folder is no clone of it, or its environment cannot be made.
    """
    clone = clone.resolve()
    if not (clone / "vlkge" / "helpers.py").is_file():
        sys.exit(f"{clone} has no vlkge/helpers.py; clone github.com/thefth/vl-kge and name the clone's folder")
    python = prepare("official", workspace)
    return System("official", python, "official.py", {"PYTHONPATH": str(clone)})


def pykeen(workspace: Path) -> System:
    """PyKEEN of the package registry.

    Raises:
        SystemExit: its environment cannot be made.
    """
    home = {"PYSTOW_HOME": str(workspace.resolve() / "pystow")}
    return System("PyKEEN", prepare("pykeen", workspace), "pykeen_system.py", home)


def prepare(peer: str, workspace: Path) -> Path:
    """The Python of a peer's environment; made once, and again when what it needs has changed.

    Raises:
        SystemExit: pip cannot install it.
    """
    folder = workspace.resolve() / "environments" / peer
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = f"{sys.version}\n{CONSTRAINTS.read_text()}\n{' '.join(NEEDS[peer])}"
    if done.is_file() and done.read_text() == wanted:
        return python
    print(f"installing {peer} into {folder}", file=sys.stderr)
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, *NEEDS[peer]]
    for command in ([sys.executable, "-m", "venv", "--clear", folder], pip):
        if subprocess.run([str(part) for part in command], stdout=sys.stderr, check=False).returncode:
            sys.exit(f"{peer} could not be installed; see above, or leave it out")
    done.write_text(wanted)
    return python
