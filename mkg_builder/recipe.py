"""Recipe: all that makes one knowledge graph, as publishable metadata; strict about what it does not know."""

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mkg_builder.errors import UnknownNameError
from mkg_builder.graph import SPLITS
from mkg_builder.layers import Layer, lay_over, read_layers, stated_in
from mkg_builder.strict import Strict, set_dotted, validate

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")]


class Limit(Strict):
    """How often a host may be asked; what is said together holds together.

    Attributes:
        windows: pairs (calls, seconds): at most so many calls in any so many seconds, `[[10, 2.5], [400, 3600]]`.
    """

    per_second: float | None = Field(None, gt=0)
    per_hour: int | None = Field(None, gt=0)
    parallel: int = Field(1, ge=1, le=16)
    windows: list[tuple[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]]] = []


class SourceRecipe(Strict):
    """One source: what reads it, its options, where it is, how politely it is asked."""

    use: str
    options: dict[str, Any] = {}
    endpoints: dict[Name, str] = {}
    hosts: list[str] = []
    limits: dict[str, Limit] = {}


class TypeRecipe(Strict):
    """One entity type: what a text encoder may read of it, and whether it may have a picture."""

    text: Literal["label", "source", "none"] = "label"
    image: bool = False
    prompt: str | None = None


class RelationRecipe(Strict):
    """One relation: the types it joins, the sentence that asks for its tail, its mirror.

    `functional`: a head has one tail, so that two sources may contradict each other. `evaluated`: whether its held-out
    triples count in an evaluation.
    """

    domain: str
    range: str
    prompt: str | None = None
    inverse: str | None = None
    functional: bool = False
    evaluated: bool = True


class BinRule(Strict):
    """Dates become periods of so many years, under a relation and of a type of their own; 1 year is a year."""

    into: str
    years: int = Field(50, ge=1)
    type: Name = "timeframe"


class CleaningRecipe(Strict):
    """What is taken out or rewritten, each rule on its own switch.

    Attributes:
        merge: an id -> other ids that mean the same thing.
        merge_by: kinds of identifiers that belong to one thing only ("wikidata"): who shares one is one.
        countries: relations whose tails are places, which become countries.
        prefer: sources, the most trusted first, for functional relations on which they differ.
        in_order: a relation to a date -> one whose date must not be earlier.
        acyclic: relations that cannot run in a circle.
        inverses: `complete` states the mirror of every fact whose relation has an inverse.
        frequency_exempt: relations whose triples keep their ends, however rare.
        circa_years: how far a "circa" may be off.
    """

    require_image: bool = False
    require: list[str] = []
    normalise_names: bool = True
    drop_self_references: bool = True
    merge: dict[str, list[str]] = {}
    merge_by: list[str] = []
    countries: list[str] = []
    prefer: list[str] = []
    in_order: dict[str, str] = {}
    acyclic: list[str] = []
    inverses: Literal["keep", "complete"] = "keep"
    min_frequency: dict[str, Annotated[int, Field(ge=1)]] = {}
    frequency_exempt: list[str] = []
    circa_years: int = Field(5, ge=0)
    bins: dict[str, BinRule] = {}


class AlignmentRecipe(Strict):
    """When two entities of one type are one thing.

    Attributes:
        identifiers: kinds of identifiers that belong to one thing only.
        dates: relations to dates; two that contradict each other on one are not one thing.
        accept: how alike names must be, of 1, to be joined; besides, a date must agree and no other be as likely.
        review: how alike they must be for people to be asked.
    """

    identifiers: list[str] = []
    dates: list[str] = []
    accept: float = Field(0.95, gt=0, le=1)
    review: float = Field(0.85, gt=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> "AlignmentRecipe":
        if self.review > self.accept:
            raise ValueError("`review` should not be more than `accept`")
        return self


class SplitRecipe(Strict):
    """How triples are divided.

    Attributes:
        policy: `inductive` (held-out members of the `unseen` type occur in no training triple), `transductive`
            (by the ends of each triple), or `given` (as the source, a published benchmark, has it). Members of the
            `unseen` type that share an identifier, or whose ids differ in nothing but case, accents and punctuation,
            are always on one side.
        together: relations to the maker; same-named works of one maker are on one side.
        near_duplicates: whether works with the same picture, or nearly, are on one side.
        disjoint: relations within one type, divided by disjoint sets of entities; what joins two sets is dropped.
        unanswerable: what becomes of held-out triples whose tail training never meets.
        rest: relation -> the entity that stands for all its tails that are not in every split.
    """

    policy: Literal["inductive", "transductive", "given"]
    unseen: str | None = None
    seed: int = 0
    validation: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)
    together: list[str] = []
    near_duplicates: bool = False
    disjoint: list[str] = []
    unanswerable: Literal["keep", "drop"] = "keep"
    rest: dict[str, str] = {}

    @model_validator(mode="after")
    def _whole(self) -> "SplitRecipe":
        if self.policy != "given" and (self.policy == "inductive") != (self.unseen is not None):
            raise ValueError("an inductive split names its `unseen` type, a transductive one does not")
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave something to train on")
        return self


class ImagesRecipe(Strict):
    """What becomes of pictures: their size, how near two must be to be one, who may have them.

    Attributes:
        longest_side: pixels that larger pictures are reduced to; originals stay byte for byte when None.
        near_duplicate_distance: bits of 64 by which the perceptual hashes of one picture may differ.
        redistribute: `files` (with the graph), `gated` (in a repository of their own), `urls-only` (not at all).
    """

    longest_side: int | None = Field(None, ge=16)
    near_duplicate_distance: int = Field(6, ge=0, le=16)
    redistribute: Literal["files", "gated", "urls-only"] = "files"
    license: str | None = None
    license_link: str | None = None


class Bounds(Strict):
    """The least and the most that is believable."""

    min: int | None = None
    max: int | None = None


class Expectations(Strict):
    """How many entities of each type and triples of each relation and of each split there should be."""

    entities: dict[str, Bounds] = {}
    relations: dict[str, Bounds] = {}
    splits: dict[str, Bounds] = {}


class Recipe(Strict):
    """One knowledge graph, from its sources to its card.

    `decisions` is a CSV file beside the recipe: pairs of entities that people decided to be one thing or not.
    """

    name: Name
    title: str
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    license: str
    license_name: str | None = None
    license_link: str | None = None
    description: str
    language: str = "en"
    tags: list[str] = []
    homepage: str | None = None
    citation: str | None = None
    sources: dict[Name, SourceRecipe] = Field(min_length=1)
    types: dict[Name, TypeRecipe] = Field(min_length=1)
    relations: dict[Name, RelationRecipe] = Field(min_length=1)
    alignment: dict[Name, AlignmentRecipe] = {}
    decisions: str | None = None
    cleaning: CleaningRecipe = CleaningRecipe()
    split: SplitRecipe
    images: ImagesRecipe = ImagesRecipe()
    biases: list[str] = []
    expectations: Expectations = Expectations()

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        for kind, known, named in self._names():
            for where, names in named.items():
                for name in names:
                    if name is not None and name not in known:
                        raise UnknownNameError(f"{kind} in {where}:", name, known)
        if self.decisions is not None and not self.alignment:
            raise ValueError("decisions change nothing without `alignment`; say which types are aligned")
        endpoints: dict[str, str] = {}
        for part in self.sources.values():
            for name, address in part.endpoints.items():
                if (first := endpoints.setdefault(name, address)) != address:
                    raise ValueError(f"endpoint {name!r} is {first} and {address}; give each a name of its own")
        return self

    def _names(self) -> Iterator[tuple[str, Collection[str], dict[str, Iterable[str | None]]]]:
        """What is named where: its kind, what there is of it, and the names that each key says."""
        rules, split, expected, relations = self.cleaning, self.split, self.expectations, self.relations.items()
        yield "type", self.types, {
            **{f"relations.{name}.domain": [relation.domain] for name, relation in relations},
            **{f"relations.{name}.range": [relation.range] for name, relation in relations},
            **{f"split.rest.{name}": [rest.partition(":")[0]] for name, rest in split.rest.items()},
            "alignment": self.alignment, "cleaning.min_frequency": rules.min_frequency, "split.unseen": [split.unseen],
            "expectations.entities": expected.entities,
        }  # fmt: skip
        yield "relation", self.relations, {
            **{f"relations.{name}.inverse": [relation.inverse] for name, relation in relations},
            **{f"cleaning.bins.{name}.into": [rule.into] for name, rule in rules.bins.items()},
            "cleaning.require": rules.require, "cleaning.acyclic": rules.acyclic,
            "cleaning.frequency_exempt": rules.frequency_exempt, "split.together": split.together,
            "split.disjoint": split.disjoint, "split.rest": split.rest, "expectations.relations": expected.relations,
        }  # fmt: skip
        yield "relation", {*self.relations, *rules.bins}, {  # these rules come before a bin renames a relation
            **{f"alignment.{kind}.dates": rule.dates for kind, rule in self.alignment.items()},
            "cleaning.countries": rules.countries, "cleaning.in_order": [*rules.in_order, *rules.in_order.values()],
        }  # fmt: skip
        yield "source", self.sources, {"cleaning.prefer": rules.prefer}
        yield "split", SPLITS, {"expectations.splits": expected.splits}


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe with all that it extends, and apply `dotted.key=value` overrides, of which null takes away.

    Raises:
        RecipeError: not YAML, not a recipe; the message names the file, the path in it and the nearest known key.
    """
    layers = read_layers(path)
    data = lay_over(layers)
    for override in overrides:
        set_dotted(data, override, null_removes=True)
        layers.append(Layer(Path(f"--set {override}"), {}))
        set_dotted(layers[-1].data, override)
    return validate(Recipe, data, lambda location: str(stated_in(layers, location)))


def canonical(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values, for the manifest and for hashing."""
    return json.loads(recipe.model_dump_json())  # type: ignore[no-any-return]
