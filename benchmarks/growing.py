"""A graph that grows after training: part of a release is held back, trained without, and joins later.

    python benchmarks/growing.py RELEASE FEATURES --workspace /tmp/growing [--artworks 0.1] [--artists 0.05]
                                 [--epochs 30] [--seed 0] [--train OPTIONS OF vlkge train]

Of the type with unseen members ("artworks") and of the type that made them ("artists") some are held back, an artist
with all works; makers whose works would be more than the share are passed over. Of a release without such a relation,
the share of works is taken of all its entities. The rest is a release of its own, on which a run is trained; then
`vlkge add` lets the whole release join, first without training, then with some epochs of the new vectors alone; at
last a run is trained on the whole from its start. Prints Markdown.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from published_size.graph import write_manifest, write_table

from mkg_builder import schema
from mkg_builder.graph import SPLITS
from vlkge.dataset import load_dataset
from vlkge.features import DatasetIdentity, load_features, save_features

BIN = Path(sys.executable).parent
MADE_BY = "isCreatedByArtist"


@dataclass(frozen=True)
class Shares:
    """How much is held back."""

    artworks: float
    artists: float
    seed: int


def held_back(release: Path, shares: Shares) -> set[str]:
    """The ids that come later."""
    facts = pa.concat_tables(
        [schema.read_table(release, "triples", split, ["head", "relation", "tail"]) for split in SPLITS]
    )
    made = facts.filter(pc.equal(facts["relation"], MADE_BY))
    works: dict[str, list[str]] = {}
    for work, artist in zip(made["head"].to_pylist(), made["tail"].to_pylist(), strict=True):
        works.setdefault(artist, []).append(work)
    dice, later = np.random.default_rng(shares.seed), set[str]()
    if not works:
        names = sorted({*facts["head"].to_pylist(), *facts["tail"].to_pylist()})
        return set(dice.choice(names, round(len(names) * shares.artworks), replace=False).tolist())
    artworks, wanted = sorted({work for some in works.values() for work in some}), len(works) * shares.artists
    room = len(artworks) * shares.artworks
    artists = set[str]()
    for artist in dice.permutation(sorted(works)).tolist():
        if len(artists) < wanted and len(later) + len(works[artist]) <= room / 2:
            artists.add(artist)
            later.update(works[artist])
    for work in dice.permutation(artworks).tolist():
        if len(later) < room:
            later.add(work)
    return later | artists


def write_earlier(release: Path, folder: Path, later: set[str]) -> None:
    """The release without what comes later, and without what only that has a triple with."""
    gone = pa.array(sorted(later))
    counts: dict[str, Counter[str]] = {}
    ends: set[str] = set()
    for split in SPLITS:
        rows = schema.read_table(release, "triples", split)
        rows = rows.filter(pc.invert(pc.or_(pc.is_in(rows["head"], gone), pc.is_in(rows["tail"], gone))))
        counts[split] = Counter(rows["relation"].to_pylist())
        ends.update(rows["head"].to_pylist(), rows["tail"].to_pylist())
        write_table(folder, "triples", split, rows)
    entities = schema.read_table(release, "entities")
    write_table(folder, "entities", "full", entities.filter(pc.is_in(entities["id"], pa.array(sorted(ends)))))
    relations = schema.read_table(release, "relations").to_pylist()
    rows = [{**row, **{split: counts[split][row["name"]] for split in SPLITS}} for row in relations]
    write_table(folder, "relations", "full", pa.Table.from_pylist(rows, schema.arrow_schema("relations")))
    literals = schema.read_table(release, "literals")
    write_table(folder, "literals", "full", literals.filter(pc.is_in(literals["entity"], pa.array(sorted(ends)))))
    manifest = schema.read_manifest(release)
    write_manifest(folder, {name: manifest[name] for name in ("name", "version", "marks", "recipe")})


def write_earlier_features(features: Path, folder: Path, earlier: Path) -> None:
    """The vectors of what the earlier release holds."""
    dataset, parts = load_dataset(str(earlier)), []
    there = set(dataset.entities)
    for part in load_features(features).values():
        kept = np.array([name in there for name in part.ids])
        ids = tuple(name for name in part.ids if name in there)
        parts.append(
            replace(part, dataset=DatasetIdentity.of(dataset), ids=ids, vectors=part.vectors[kept], skipped=())
        )
    save_features(folder, parts)


def told(*command: str | Path) -> tuple[dict[str, Any], float]:
    """A command's JSON and its seconds."""
    began = time.monotonic()
    done = subprocess.run([BIN / "vlkge", *map(str, command), "--json", "--quiet"], capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"vlkge {' '.join(map(str, command))}: {done.stderr.decode()}")
    return json.loads(done.stdout), time.monotonic() - began


def main() -> None:
    """Hold back, train, add, train again; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--artworks", type=float, default=0.1)
    parser.add_argument("--artists", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", nargs=argparse.REMAINDER, default=[], help="options of vlkge train; comes last")
    asked = parser.parse_args()
    place, later = asked.workspace, held_back(asked.release, Shares(asked.artworks, asked.artists, asked.seed))
    write_earlier(asked.release, place / "earlier", later)
    write_earlier_features(asked.features, place / "earlier-features", place / "earlier")
    kinds = Counter(name.partition(":")[0] for name in later)
    print(f"held back: {', '.join(f'{count:,} {kind}' for kind, count in sorted(kinds.items()))}\n")
    run, whole = place / "run", place / "whole"
    _, trained = told("train", "--dataset", place / "earlier", "--features", place / "earlier-features", "--out", run,
                      "--overwrite", *asked.train)  # fmt: skip
    added = {}
    for epochs in (0, asked.epochs):
        out = place / f"grown-{epochs}"
        added[epochs], _ = told("add", run, asked.release, "--features", asked.features, "--out", out,
                                "--epochs", epochs, "--overwrite")  # fmt: skip
    _, again = told("train", "--dataset", asked.release, "--features", asked.features, "--out", whole, "--overwrite",
                    *asked.train)  # fmt: skip
    result, _ = told("evaluate", whole)
    show(added, asked.epochs, {"first training": trained, "training on the whole": again}, result)


def show(added: dict[int, Any], epochs: int, seconds: dict[str, float], whole: dict[str, Any]) -> None:
    """The tables."""
    print(json.dumps({"joined": added[epochs]["entities"], "triples": added[epochs]["triples"]}), "\n")
    print("| | seconds | MRR | Hits@1 | Hits@10 |\n|---|---:|---:|---:|---:|")
    none, some = added[0], added[epochs]
    learned = f"{epochs} epochs of what is new"
    rows = [
        ("former test split, before", seconds["first training"], none["before"]),
        ("former test split, joined", none["seconds"], none["after"]),
        (f"former test split, {learned}", some["seconds"], some["after"]),
        ("new test triples, nothing trained", none["seconds"], none["untrained"]),
        (f"new test triples, {learned}", some["seconds"], some["trained"]),
        ("whole test split, all trained again", seconds["training on the whole"], whole),
    ]
    for name, spent, part in rows:
        if part is not None:
            m = part["overall"]
            print(f"| {name} | {spent:.1f} | {m['mrr']:.3f} | {m['hits_at_1']:.3f} | {m['hits_at_10']:.3f} |")


if __name__ == "__main__":
    main()
