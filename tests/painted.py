"""A made-up world of painters, each with a colour, and a release of it: what a picture shows is who painted it."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.tiny_release import Fact, write_manifest, write_tiny_release
from vlkge.config import load_experiment
from vlkge.dataset import load_folder
from vlkge.encode import encode_release
from vlkge.encoders import Encoder
from vlkge.new_run import create_run
from vlkge.run import Run, load_run
from vlkge.train import fit, resolve

ENCODERS = ("tests.painted:Colour", "tests.painted:Letters")
PAINTERS, WORKS, STYLES = 20, 10, 5


class Colour(Encoder):
    """The mean colour of a picture, and how it differs from grey."""

    name, revision, modality, dimension, preprocessing = "colour", "1", "image", 6, "none"

    def encode(self, batch: Sequence[Image.Image]) -> np.ndarray:
        means = [np.asarray(picture, np.float32).mean((0, 1)) / 255 for picture in batch]
        rows = [np.concatenate([mean, mean - mean.mean()]) for mean in means]
        return np.stack(rows) if rows else np.empty((0, 6), np.float32)


class Letters(Encoder):
    """Which letters a text has."""

    name, revision, modality, dimension, preprocessing = "letters", "1", "text", 26, "none"

    def encode(self, batch: Sequence[str]) -> np.ndarray:
        counts = [[text.lower().count(chr(97 + i)) for i in range(26)] for text in batch]
        return np.array(counts, np.float32).reshape(-1, 26)


def picture(painter: int, work: int) -> bytes:
    """A patch of the painter's colour, a little different from work to work."""
    colour = np.random.default_rng(painter).integers(30, 226, 3)
    noise = np.random.default_rng(1000 * painter + work).integers(-8, 9, 3)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), tuple(int(value) for value in np.clip(colour + noise, 0, 255))).save(buffer, "PNG")
    return buffer.getvalue()


def facts() -> dict[str, list[Fact]]:
    """By split: each work's painter and styles, each painter's movements and whom they knew."""
    splits: dict[str, list[Fact]] = {"train": [], "validation": [], "test": []}
    for painter in range(PAINTERS):
        who, style = f"artist:painter-{painter:02d}", f"style:style-{painter % STYLES}"
        splits["train"].append((who, "belongsTo", style))
        splits["train"].append((who, "knows", f"artist:painter-{(painter + STYLES) % PAINTERS:02d}"))
        splits["train"].append((who, "knows", f"artist:painter-{(painter + 2 * STYLES) % PAINTERS:02d}"))
        for work in range(WORKS):
            split = {7: "validation", 8: "test", 9: "test"}.get(work, "train")
            what = f"artwork:{painter:02d}-{work}"
            splits[split] += [(what, "isBy", who), (what, "hasStyle", style)]
            if work % 2:
                splits[split].append((what, "hasStyle", f"style:style-{(painter + 1) % STYLES}"))
    return splits


def late(entity: str) -> bool:
    """What arrives later: 5 % of the painters with their works, 10 % of the other works."""
    if entity.startswith("artwork:"):
        painter, work = map(int, entity.removeprefix("artwork:").split("-"))
        return painter == 7 or (painter + 3 * work) % 10 == 0
    return entity == "artist:painter-07"


def write_release(
    folder: Path, version: str, whole: bool, splits: dict[str, list[Fact]] | None = None, policy: str = "inductive"
) -> Path:
    """The release of this version: all of the world, or what is there before the rest arrives."""
    stated = {
        split: sorted(fact for fact in rows if whole or not (late(fact[0]) or late(fact[2])))
        for split, rows in (splits or facts()).items()
    }
    ids = {end for rows in stated.values() for head, _, tail in rows for end in (head, tail)}
    works = sorted(entity for entity in ids if entity.startswith("artwork:"))
    pictures = {work: picture(*map(int, work.removeprefix("artwork:").split("-"))) for work in works}
    texts = {work: f"Study {'abcdefghij'[int(work[-1])]}" for work in works if int(work[-1]) % 2 == 0}
    write_tiny_release(folder, stated, pictures, texts)
    recipe = {"types": {kind: {"prompt": None} for kind in ("artist", "artwork", "style")},
              "split": {"policy": policy, "unseen": "artwork" if policy == "inductive" else None}}  # fmt: skip
    write_manifest(folder, {"name": "painted", "version": version, "marks": [], "recipe": recipe})
    return folder


def train_run(folder: Path, release: Path, features: Path, epochs: int = 30, *settings: str) -> Run:
    """A run on a release, its features made where there are none."""
    if not features.exists():
        encode_release(release, ENCODERS, features)
    options = [f"dataset={release}", f"features={features}", "model.dim=16", "training.batch_size=64",
               "training.validate_every=5", *settings]  # fmt: skip
    dataset = load_folder(release)
    run = create_run(folder, resolve(load_experiment(None, options), dataset), dataset)
    list(fit(run, epochs))
    return load_run(folder)
