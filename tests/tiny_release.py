"""A release of a few entities, written by the format alone, for tests that need no builder."""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mkg_builder import schema
from mkg_builder.content import combine_hashes
from mkg_builder.durable import file_sha256
from mkg_builder.graph import SPLITS, entity_type

Fact = tuple[str, str, str]


def picture_bytes(seed: int, size: tuple[int, int] = (40, 32)) -> bytes:
    """A small seeded PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_tiny_release(
    folder: Path,
    splits: dict[str, list[Fact]],
    pictures: dict[str, bytes] | None = None,
    texts: dict[str, str] | None = None,
    policy: str = "inductive",
    prompts: dict[str, str] | None = None,
) -> Path:
    """Write a release whose entities, types and relations follow from its triples.

    `pictures` and `texts` say which entities have which modality; `prompts` gives a prompt per type.
    """
    pictures, texts = pictures or {}, texts or {}
    ids = sorted({end for facts in splits.values() for head, _, tail in facts for end in (head, tail)})
    split_of = {
        end: split for split in reversed(SPLITS) for head, _, tail in splits.get(split, ()) for end in (head, tail)
    }
    relations = {r: (entity_type(h), entity_type(t)) for facts in splits.values() for h, r, t in facts}
    counts = {split: Counter(r for _, r, _ in splits.get(split, ())) for split in SPLITS}
    tables = {("triples", split): [
        {"head": h, "relation": r, "tail": t, "source": "test"} for h, r, t in splits.get(split, [])
    ] for split in SPLITS}  # fmt: skip
    tables["entities", "full"] = [
        {"id": e, "type": entity_type(e), "label": e.partition(":")[2].replace("-", " ").title(), "text": texts.get(e),
         "aliases": [], "same_as": [], "sources": ["test"], "split": split_of[e], "has_image": e in pictures,
         "has_text": e in texts}
        for e in ids
    ]  # fmt: skip
    tables["relations", "full"] = [
        {
            "name": r,
            "domain": d,
            "range": t,
            "prompt": None,
            "inverse": None,
            "functional": False,
            "evaluated": True,
            **{s: counts[s][r] for s in SPLITS},
        }
        for r, (d, t) in sorted(relations.items())
    ]
    tables["artworks", "full"] = [
        {"id": e, "label": e, "image": {"bytes": pictures[e], "path": f"{e}.png"} if e in pictures else None,
         "image_status": "ok" if e in pictures else "none", "split": split_of[e]}
        for e in ids if entity_type(e) == "artwork"
    ]  # fmt: skip
    tables["modality_availability", "full"] = []
    tables["literals", "full"] = tables["dropped", "full"] = []
    for (table, split), rows in tables.items():
        path = folder / schema.shard_path(table, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema.arrow_schema(table)), path, write_page_checksum=True)
    types = {kind: {"prompt": (prompts or {}).get(kind)} for kind in sorted({entity_type(e) for e in ids})}
    recipe = {"types": types, "split": {"policy": policy, "unseen": "artwork" if policy == "inductive" else None}}
    write_manifest(folder, {"name": "tiny", "version": "1.0.0", "marks": [], "recipe": recipe})
    return folder


def write_manifest(folder: Path, fields: dict) -> None:
    """(Re)write the manifest so that it covers every file of the folder."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*.parquet"))
    }
    content = combine_hashes((name, entry["sha256"]) for name, entry in files.items())
    always = {"format_version": schema.FORMAT_VERSION, "marks": [], "content_sha256": content, "files": files}
    manifest = {**always, **fields}
    (folder / schema.MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True))
