"""The data card of a release: front matter that the Hub understands, and a page that people read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from mkg_builder import schema
from mkg_builder.clock import day
from mkg_builder.graph import SPLITS
from mkg_builder.markdown import cell, code
from mkg_builder.recipe import Recipe
from mkg_builder.statistics import Availability, pivot

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
         (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))  # fmt: skip


def template_folder() -> Path:
    """Where the card template lies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "data_cards"
    return inside if inside.is_dir() else package.parent / "data_cards"


@dataclass(frozen=True)
class Contents:
    """What a release holds, counted.

    Attributes:
        entities: type -> how many.
        triples: split -> relation -> how many.
        availability: which modality is there how often.
        dropped: rule -> how many it took out.
        filled: the splits of each table that have rows; `datasets` cannot load others, so none is offered.
    """

    entities: Mapping[str, int]
    triples: Mapping[str, Mapping[str, int]]
    availability: Sequence[Availability]
    dropped: Mapping[str, int]
    filled: Mapping[str, Sequence[str]]


def render_card(
    recipe: Recipe, version: str, marks: Sequence[str], contents: Contents, snapshot: Mapping[str, Any]
) -> str:
    """The card as Markdown with YAML front matter; all that comes from sources is escaped.

    `snapshot` is what the manifest says of the answers that the release was made from.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template_folder()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  (Markdown; the filters escape what is not ours)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": cell, "code": code, "day": day}
    totals = {split: sum(counts.values()) for split, counts in contents.triples.items()}
    return environment.get_template("TEMPLATE.md").render(
        front_matter=front_matter(recipe, sum(totals.values()), contents.filled),
        recipe=recipe,
        version=version,
        marks=marks,
        contents=contents,
        totals=totals,
        snapshot=snapshot,
        splits=SPLITS,
        entity_table=pivot(contents.availability, "entity_type"),
        relation_table=pivot(contents.availability, "relation"),
        tables=schema.TABLES.values(),
    )


def front_matter(recipe: Recipe, triples: int, filled: Mapping[str, Sequence[str]]) -> str:
    """The YAML block: licence, tags, size, and a config per table that has rows."""
    fields: dict[str, Any] = {
        "language": [recipe.language],
        "license": recipe.license,
        "license_name": recipe.license_name,
        "license_link": recipe.license_link,
        "pretty_name": recipe.title,
        "size_categories": [next((name for limit, name in SIZES if triples < limit), "n>100M")],
        "task_categories": ["graph-ml"],
        "tags": sorted({*recipe.tags, "knowledge-graph", "multimodal"}),
        "configs": [
            {
                "config_name": table,
                "data_files": [{"split": split, "path": f"{table}/{split}-*.parquet"} for split in splits],
                **({"default": True} if table == "triples" else {}),
            }
            for table, splits in filled.items()
        ],
        "dataset_info": [{"config_name": table, "features": schema.features(table)} for table in filled],
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return yaml.safe_dump(present, sort_keys=False, allow_unicode=True, width=100)
