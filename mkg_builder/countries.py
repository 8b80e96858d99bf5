"""How many entities each country has, by every relation of a release that leads to countries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mkg_builder import schema
from mkg_builder.graph import SPLITS
from mkg_builder.places import country_of, country_of_people, country_of_qid, is_country_code, refusal

LOOKED_AT = 200
"""The most frequent tails of a relation, by which it is told whether it leads to countries."""
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Home:
    """What is known of where a tail is.

    Attributes:
        country: the ISO 3166-1 alpha-2 code of the country that it is, lies in or is a people of; empty for none.
        why: why it has none, where it names a state or a people.
    """

    country: str
    why: str | None = None


class Stray(NamedTuple):
    """A tail that counts for no country of today, how many heads it has, and why, if it names a state or people."""

    name: str
    number: int
    why: str | None = None


@dataclass(frozen=True)
class ByCountry:
    """The heads of a relation by the country that its tails are, lie in or are a people of.

    Attributes:
        heads: how many have a country; one that has several counts in each.
        countries: ISO 3166-1 alpha-2 code -> its heads.
        strays: tails without a country, the most frequent first.
    """

    relation: str
    heads: int
    countries: Mapping[str, int]
    strays: Sequence[Stray]


def home(entity: str, label: str, same_as: Sequence[str]) -> Home:
    """Where an entity is, by its identifiers, else by its name, else by the words of its id."""
    codes = [one.removeprefix("iso3166:") for one in same_as if one.startswith("iso3166:")]
    if stated := [code for code in codes if is_country_code(code)]:
        return Home(min(stated))
    items = (country_of_qid(one.removeprefix("wikidata:")) for one in same_as if one.startswith("wikidata:"))
    names = (label, entity.partition(":")[2].replace("-", " "))
    by_name = (found for name in names for found in (country_of(name), country_of_people(name)))
    country = next(filter(None, (*items, *by_name)), "")
    why = None if country else refusal(label)
    return Home(country, why and why.removeprefix(f"{label}: "))


def count_by_country(release: Path, tails: Mapping[str, Counts]) -> list[ByCountry]:
    """Each relation of which at least half of the frequent tails name a country, a state of the past or a people.

    One that leads to a single country is left out: there is nothing to compare.

    Args:
        release: its folder.
        tails: relation -> how often each entity is its tail, in the order of the table `entities`.

    Raises:
        ReleaseError: it cannot be read.
    """
    entities = schema.read_table(release, "entities", columns=["id", "label", "same_as"])
    homes = {name: _homes(entities, counts) for name, counts in tails.items()}
    homes = {name: found for name, found in homes.items() if len({one.country for one in found.values()} - {""}) > 1}
    labels = entities["label"]
    return [
        _counted(relation, homes[relation], pairs, {place: labels[place].as_py() for place in homes[relation]})
        for relation, pairs in _pairs(release, entities["id"].combine_chunks(), sorted(homes)).items()
    ]


def _homes(entities: pa.Table, counts: Counts) -> dict[int, Home]:
    """Each tail's place among the entities, and where it is; nothing when the relation does not lead to countries."""
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    first = _look(entities, order[:LOOKED_AT])
    if 2 * sum(bool(found.country or found.why) for found in first.values()) < max(len(first), 1):
        return {}
    return first | _look(entities, order[LOOKED_AT:])


def _look(entities: pa.Table, places: Counts) -> dict[int, Home]:
    rows = entities.take(pa.array(places)).to_pylist()
    return {place: home(*row.values()) for place, row in zip(places.tolist(), rows, strict=True)}


def _pairs(release: Path, ids: pa.Array, relations: Sequence[str]) -> dict[str, Counts]:
    """Relation -> the different pairs [n, 2] of head and tail, by their places among the entities."""
    found: dict[str, list[Counts]] = {relation: [] for relation in relations}
    for split in SPLITS if relations else ():
        for batch in schema.iter_batches(release, "triples", split, ["head", "relation", "tail"]):
            for relation in relations:
                chosen = batch.filter(pc.equal(batch["relation"], relation))
                ends = [pc.index_in(chosen[end], ids).fill_null(-1).to_numpy() for end in ("head", "tail")]
                pairs = np.stack(ends, axis=1).astype(np.int64)
                found[relation].append(pairs[(pairs >= 0).all(axis=1)])
    return {relation: np.unique(np.concatenate(pairs), axis=0) for relation, pairs in found.items()}


def _counted(relation: str, homes: Mapping[int, Home], pairs: Counts, labels: Mapping[int, str]) -> ByCountry:
    codes = sorted({found.country for found in homes.values()} - {""})
    numbers = {code: -1 - number for number, code in enumerate(codes)}  # a country instead of its tails
    places = np.array([numbers.get(homes[tail].country, tail) for tail in pairs[:, 1].tolist()], np.int64)
    kept = np.unique(np.stack([pairs[:, 0], places], axis=1), axis=0)
    counts = dict(zip(*(values.tolist() for values in np.unique(kept[:, 1], return_counts=True)), strict=True))
    strays = [Stray(labels[tail], number, homes[tail].why) for tail, number in counts.items() if tail >= 0]
    return ByCountry(
        relation,
        len(np.unique(kept[kept[:, 1] < 0, 0])),
        {code: counts[number] for code, number in numbers.items()},
        sorted(strays, key=lambda stray: (-stray.number, stray.name)),
    )
