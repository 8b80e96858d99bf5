"""The release as one web page that people look at before they read: counts, gaps, leaks, samples, what was dropped."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from mkg_builder import schema
from mkg_builder.checks import check_release
from mkg_builder.countries import Counts, count_by_country
from mkg_builder.graph import SPLITS
from mkg_builder.page import Histogram, environment, histogram
from mkg_builder.picture import PictureError
from mkg_builder.picture_pool import PicturePool
from mkg_builder.statistics import Availability, over_splits, pivot
from mkg_builder.summary import summarise, why_no_pictures
from mkg_builder.world_map import draw, outlines

THUMBNAIL = 220
"""Pixels of a sample's longer side."""
MOST_FREQUENT = 10
EXAMPLES = 3
"""Of what each rule dropped."""
MOST_BARS = 60
_YEARS = re.compile(r"(-?\d{1,4})s?(?:\s*[-–]\s*(-?\d{1,4}))?")


@dataclass(frozen=True, eq=False)
class Census:
    """What the triples of a release come to, counted a piece at a time.

    Attributes:
        labels: of every entity.
        places: the index of each entity's id in `labels`.
        degrees: of every entity, the ends of facts that it is.
        tails: relation -> how often each entity is its tail.
    """

    labels: Sequence[str]
    places: Mapping[str, int]
    degrees: Counts
    tails: Mapping[str, Counts]

    def label(self, entity: str) -> str:
        """The name of an entity; the id where it is none of the release."""
        place = self.places.get(entity)
        return entity if place is None else self.labels[place]


def render_report(release: Path, samples: int = 12, checked: bool = True) -> str:
    """The page: one HTML document that asks for nothing, without script.

    Args:
        release: its folder.
        samples: how many artworks to show.
        checked: search for leaks and prove the rest, which takes most of the time; else the page says it was not done.

    Raises:
        ReleaseError: it cannot be read.
    """
    manifest, facts, census = schema.read_manifest(release), summarise(release, samples), take_census(release)
    availability = [Availability(**row) for row in facts["modality_availability"]]
    recipe = _with_none(manifest.get("recipe"))
    return environment().get_template("report.html").render(
        manifest=manifest,
        recipe=recipe,
        split=_with_none(recipe["split"]),
        facts=facts,
        splits=SPLITS,
        sizes={split: sum(row[split] for row in facts["relations"]) for split in SPLITS},
        by_type=pivot(availability, "entity_type"),
        by_relation=pivot(over_splits(availability), "relation"),
        by_relation_and_split=pivot(availability, "relation"),
        degrees=degree_histogram(census.degrees),
        years=list(year_histograms(census)),
        maps=[draw(counted) for counted in count_by_country(release, census.tails)],
        outlines=outlines(),
        frequent=dict(most_frequent(census)),
        checked=checked,
        findings=check_release(release) if checked else [],
        samples=with_thumbnails(release, facts["samples"]),
        label=census.label,
        dropped=dropped_examples(release),
    )  # fmt: skip


def _with_none(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values, and None for any other key: the manifest of a release from elsewhere may say less."""
    return defaultdict(lambda: None, values or {})


def take_census(release: Path) -> Census:
    """Count the ends of all triples; memory does not grow with their number."""
    entities = schema.read_table(release, "entities", columns=["id", "label"])
    ids = entities["id"].combine_chunks()
    degrees = np.zeros(len(ids), np.int64)
    tails: dict[str, Counts] = defaultdict(lambda: np.zeros(len(ids), np.int64))
    for split in SPLITS:
        for batch in schema.iter_batches(release, "triples", split, ["head", "relation", "tail"]):
            heads, ends = (_codes(pc.index_in(batch[end], ids)) for end in ("head", "tail"))
            for codes in (heads, ends):
                degrees += np.bincount(codes[codes >= 0], minlength=len(ids))
            for relation in pc.unique(batch["relation"]).to_pylist():
                of_relation = ends[pc.equal(batch["relation"], relation).to_numpy(zero_copy_only=False) & (ends >= 0)]
                tails[relation] += np.bincount(of_relation, minlength=len(ids))
    places = {name: place for place, name in enumerate(ids.to_pylist())}
    return Census(entities["label"].to_pylist(), places, degrees, dict(sorted(tails.items())))


def _codes(found: Any) -> Counts:
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]


def degree_histogram(degrees: Counts) -> Histogram:
    """How many entities have how many facts, in steps of two."""
    steps = np.where(degrees > 0, np.floor(np.log2(np.maximum(degrees, 1))).astype(int) + 1, 0)
    counts = np.bincount(steps, minlength=1).tolist()
    names = ["0", *(f"{2**i}" if i == 0 else f"{2**i}–{2 ** (i + 1) - 1}" for i in range(len(counts) - 1))]
    return histogram("Entities by how many facts name them", list(zip(names, counts, strict=True)))


def year_histograms(census: Census) -> Iterator[Histogram]:
    """The relations whose tails are years or spans of years, in their order in time."""
    for relation, counts in census.tails.items():
        found = [(census.labels[place], int(counts[place])) for place in np.flatnonzero(counts).tolist()]
        years = [(years_of(label), label, number) for label, number in found]
        if not years or any(year is None for year, _, _ in years):
            continue
        yield histogram(f"{relation}: facts by time", _in_time([(y, n, c) for y, n, c in years if y is not None]))


def years_of(label: str) -> int | None:
    """The year that a label is, or the first of the span that it is."""
    match = _YEARS.fullmatch(label.strip())
    return int(match[1]) if match else None


def _in_time(years: Sequence[tuple[int, str, int]]) -> list[tuple[str, int]]:
    """Counts per year in order; per so many years where there are many."""
    if len(years) <= MOST_BARS:
        return [(label, number) for _, label, number in sorted(years)]
    first, last = min(year for year, _, _ in years), max(year for year, _, _ in years)
    step = next(s for s in (5, 10, 25, 50, 100, 250, 1000) if (last - first) / s < MOST_BARS or s == 1000)
    bins: Counter[int] = Counter()
    for year, _, number in years:
        bins[year // step * step] += number
    return [(f"{start}–{start + step - 1}", bins[start]) for start in range(min(bins), max(bins) + 1, step)]


def most_frequent(census: Census) -> Iterator[tuple[str, tuple[list[tuple[str, int]], int, int]]]:
    """Of each relation its most frequent tails, how many different ones it has, and its facts."""
    for relation, counts in census.tails.items():
        order = np.argsort(-counts, kind="stable")[:MOST_FREQUENT].tolist()
        rows = [(census.labels[place], int(counts[place])) for place in order if counts[place]]
        yield relation, (rows, int((counts > 0).sum()), int(counts.sum()))


def with_thumbnails(release: Path, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples, each with `jpeg`, its picture made small by the confined workers, or None and a `reason`."""
    if (why := why_no_pictures(release)) is not None:
        return [{**sample, "jpeg": None, "reason": why} for sample in samples]
    places = locate(release, [sample["id"] for sample in samples if sample["image_status"] == "ok"])
    with PicturePool() as pool:
        return list(pool.map(partial(_with_thumbnail, release, pool, places), samples))


def locate(release: Path, entities: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Shard and row group of the artworks with these ids."""
    wanted = set(entities)
    places: dict[str, tuple[int, int]] = {}
    for shard, group, ids in schema.find_rows(release, "artworks") if wanted else ():
        places |= dict.fromkeys(wanted.intersection(ids.to_pylist()), (shard, group))
    return places


def _with_thumbnail(
    release: Path, pool: PicturePool, places: Mapping[str, tuple[int, int]], sample: dict[str, Any]
) -> dict[str, Any]:
    place = places.get(sample["id"])
    data = schema.read_picture(release, *place, sample["id"]) if place else None
    if data is None:
        return {**sample, "jpeg": None, "reason": sample["image_status"]}
    try:
        return {**sample, "jpeg": pool.ask(data, THUMBNAIL)[1], "reason": None}
    except PictureError as error:
        return {**sample, "jpeg": None, "reason": str(error)}


def dropped_examples(release: Path) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """Each rule that dropped something, how often, and its first examples."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for batch in schema.iter_batches(release, "dropped"):
        for found in pc.value_counts(batch["rule"]).to_pylist():
            rule = found["values"]
            counts[rule] += found["counts"]
            if (lacking := EXAMPLES - len(examples[rule])) > 0:
                rows = batch.filter(pc.equal(batch["rule"], rule)).slice(0, lacking).to_pylist()
                examples[rule] += [(row["id"], row["detail"]) for row in rows]
    return [(rule, number, examples[rule]) for rule, number in sorted(counts.items(), key=lambda item: -item[1])]
