"""Wikidata through its query service: what it knows of the artists and artworks that have a WikiArt identifier.

The walk is crosswalk (P6002) -> facts -> countries of places -> names, each question put in batches. Values are those
of the best rank. Of a person as a value only those with a WikiArt identifier are kept. Where a work was once, and who
only perhaps made it, is left out.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, ClassVar
from typing import Literal as OneOf

from pydantic import Field
from typing_extensions import override

from mkg_builder.graph import Statement
from mkg_builder.recipe import Limit
from mkg_builder.source import Source, SourceContext, SourceOptions
from mkg_builder.sources.wikidata_batches import Batches, UnansweredError, number
from mkg_builder.sources.wikidata_findings import (
    Crosswalk,
    Findings,
    ask_countries,
    ask_crosswalk,
    ask_facts,
    ask_names,
)
from mkg_builder.sources.wikidata_queries import ENGLISH_ARTICLE, facts
from mkg_builder.sources.wikidata_statements import (
    ARTIST_DATES,
    ARTIST_THINGS,
    CITIZENSHIP,
    CREATOR,
    IDENTIFIERS,
    OCCUPATION,
    PEOPLE,
    PLACES,
    WORK_DATES,
    WORK_THINGS,
    Scribe,
)

Relation = OneOf[
    "wasBornOnDate", "diedOnDate", "wasBornIn", "diedIn", "hasNationality", "isAssociatedWithField",
    "isAssociatedWithArtMovement", "isAffiliatedWithArtInstitution", "isInfluencedBy", "isInfluencedOn", "isPupilOf",
    "isTeacherOf", "isCreatedInYear", "hasStyle", "belongsToGenre", "isCreatedWithMedium", "isAssociatedWithTag",
    "isLocatedIn", "isCreatedByArtist", "hasCreatedArtwork",
]  # fmt: skip
Language = Annotated[str, Field(pattern=r"^[a-z]{2,8}(-[a-z0-9]{1,8})*$")]


class WikidataOptions(SourceOptions):
    """What a recipe may set.

    Attributes:
        service: which of the recipe's endpoints is asked, Wikimedia's query service or QLever.
        batch: items in one query; halved where it proves too expensive.
        languages: in which a label is looked for, the first that has one; `mul` is Wikidata's "for all languages".
            Where none has one, the first of the others by its code.
        artworks: whether to ask about artworks too, or about artists alone.
        occupations: whether an occupation (painter) counts as a field; it is far better filled than the field of work.
        relations: what to ask for; all when absent. Of `hasNationality` only the country of citizenship is known, a
            state of its time, and kept as a raw value.
    """

    service: OneOf["wdqs", "qlever"] = "wdqs"
    batch: int = Field(200, ge=1, le=500)
    languages: tuple[Language, ...] = Field(("en", "mul"), min_length=1)
    artworks: bool = False
    occupations: bool = False
    relations: tuple[Relation, ...] | None = None


class Wikidata(Source):
    """Facts about the artists and artworks of WikiArt, from one query service."""

    Options: ClassVar[type[SourceOptions]] = WikidataOptions
    limits: ClassVar[Mapping[str, Limit]] = {
        "query.wikidata.org": Limit(per_second=1),
        "qlever.dev": Limit(per_second=1),
    }

    @override
    def fetch(self, context: SourceContext) -> None:
        with suppress(UnansweredError):  # the next run goes on from there
            self._find(context, asking=True)

    @override
    def read(self, context: SourceContext) -> Iterator[Statement]:
        found = self._find(context, asking=False)
        scribe = Scribe(context, found, self._chosen)
        for item in sorted(found.crosswalk.artists, key=number):
            for name in found.crosswalk.artists[item]:
                yield from scribe.artist(item, name)
        for item in sorted(found.crosswalk.artworks, key=number):
            for name in found.crosswalk.artworks[item]:
                yield from scribe.artwork(item, name)

    def _chosen(self, relation: str) -> bool:
        return self.options.relations is None or relation in self.options.relations

    def _properties(self, *tables: dict[str, str] | dict[str, tuple[str, str]]) -> list[str]:
        """The properties of tables whose relation, or the relation back, is asked for."""
        return [
            key
            for table in tables
            for key, relations in table.items()
            if any(self._chosen(one) for one in ([relations] if isinstance(relations, str) else relations))
        ]

    def _find(self, context: SourceContext, *, asking: bool) -> Findings:
        batches = Batches(context, context.endpoint(self.options.service), self.options.batch, asking=asking)
        who = ask_crosswalk(batches, context)
        things = ARTIST_THINGS | (OCCUPATION if self.options.occupations else {})
        known = [*self._properties(ARTIST_DATES, things, PEOPLE), *IDENTIFIERS, ENGLISH_ARTICLE]
        known += [CITIZENSHIP] if self._chosen("hasNationality") else []
        artists = ask_facts(batches, context, facts("artists/facts", known, ARTIST_DATES), who.artists, ARTIST_DATES)
        stated = self._properties(WORK_DATES, WORK_THINGS, CREATOR)
        works = sorted(who.artworks, key=number)[: context.limit] if self.options.artworks and stated else []
        who = Crosswalk(who.artists, {work: who.artworks[work] for work in works})
        artworks = ask_facts(batches, context, facts("artworks/facts", stated, WORK_DATES), works, WORK_DATES)
        countries = ask_countries(batches, artists.items(PLACES))
        named = {*who.artists, *works, *artists.items({*things, CITIZENSHIP}), *artworks.items(WORK_THINGS)}
        named |= {country.item for some in countries.values() for country in some}
        return Findings(who, artists, artworks, countries, ask_names(batches, named, self.options.languages))
