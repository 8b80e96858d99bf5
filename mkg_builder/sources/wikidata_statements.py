"""What Wikidata knows, in the graph's words: entities named by slug, dates in EDTF, raw values beside."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mkg_builder.graph import Dropped, Entity, Literal, Statement, Triple
from mkg_builder.names import slug
from mkg_builder.source import SourceContext
from mkg_builder.sources.wikidata_batches import UNKNOWN, number, qid
from mkg_builder.sources.wikidata_dates import Moment
from mkg_builder.sources.wikidata_findings import Country, Findings
from mkg_builder.sources.wikidata_queries import ENGLISH_ARTICLE

ARTIST_DATES = {"P569": "wasBornOnDate", "P570": "diedOnDate"}
ARTIST_THINGS = {
    "P19": ("wasBornIn", "place"),
    "P20": ("diedIn", "place"),
    "P101": ("isAssociatedWithField", "field"),
    "P135": ("isAssociatedWithArtMovement", "movement"),
    "P69": ("isAffiliatedWithArtInstitution", "institution"),
    "P463": ("isAffiliatedWithArtInstitution", "institution"),
    "P1416": ("isAffiliatedWithArtInstitution", "institution"),
}
OCCUPATION = {"P106": ("isAssociatedWithField", "field")}
PEOPLE = {
    "P737": ("isInfluencedBy", "isInfluencedOn"),
    "P1066": ("isPupilOf", "isTeacherOf"),
    "P802": ("isTeacherOf", "isPupilOf"),
}
"""Property -> the relation to its value, and the relation back: each of P1066 and P802 is filled only in part."""
WORK_DATES = {"P571": "isCreatedInYear"}
WORK_THINGS = {
    "P135": ("hasStyle", "style"),
    "P136": ("belongsToGenre", "genre"),
    "P186": ("isCreatedWithMedium", "medium"),
    "P180": ("isAssociatedWithTag", "tag"),
    "P195": ("isLocatedIn", "gallery"),
    "P276": ("isLocatedIn", "gallery"),
}
CREATOR = {"P170": ("isCreatedByArtist", "hasCreatedArtwork")}
CITIZENSHIP = "P27"
IDENTIFIERS = {"P245": "ulan", "P214": "viaf", "P650": "rkd"}
PLACES = ("P19", "P20")

RAW = frozenset({"place", "gallery"})
"""Types whose raw value, the name and the item, is kept beside the triple."""


@dataclass
class Scribe:
    """Writes statements in the name of one source; what many share is told of once.

    Args:
        context: the source's, to sign with and to write down what is left out.
        found: the answers.
        chosen: whether a relation is wanted.
    """

    context: SourceContext
    found: Findings
    chosen: Callable[[str], bool]
    _told: set[tuple[str, str]] = field(default_factory=set)

    def artist(self, item: str, name: str) -> Iterator[Statement]:
        """All about an artist, whose slug is `name`."""
        artist, stated = f"artist:{name}", self.found.artists
        known = stated.values[item]
        yield self._entity(artist, item, name, _identifiers(known))
        for article in sorted(known[ENGLISH_ARTICLE]):
            yield self._literal(artist, "wikipediaUrl", article)
        yield from self._dates(artist, stated.moments[item], ARTIST_DATES)
        yield from self._things(artist, known, ARTIST_THINGS | OCCUPATION)
        for value in sorted(known[CITIZENSHIP]):
            yield self._literal(artist, "countryOfCitizenship", self._named(value))
        yield from self._people(artist, known, PEOPLE)

    def artwork(self, item: str, name: str) -> Iterator[Statement]:
        """All about an artwork, whose slug is `name`, `artist/work`."""
        work, stated = f"artwork:{name}", self.found.artworks
        yield self._entity(work, item, name.partition("/")[2], ())
        yield from self._dates(work, stated.moments[item], WORK_DATES)
        yield from self._things(work, stated.values[item], WORK_THINGS)
        yield from self._people(work, stated.values[item], CREATOR)

    def _entity(self, name: str, item: str, spelled: str, more: tuple[str, ...]) -> Entity:
        """An artist or artwork; one that Wikidata has no name for is called by its slug."""
        names, kind = self.found.names.get(item), name.partition(":")[0]
        label = names.label if names else spelled.replace("-", " ").title()
        return Entity(
            name, kind, label, text=label, same_as=tuple(sorted({f"wikidata:{item}", *more})),
            sources=(self.context.name,), aliases=names.aliases if names else (),
        )  # fmt: skip

    def _dates(self, head: str, stated: Mapping[str, set[Moment]], relations: Mapping[str, str]) -> Iterator[Statement]:
        for key, relation in relations.items():
            moments = sorted(stated[key]) if key in stated else []
            for raw in sorted({moment.raw for moment in moments}):
                yield self._literal(head, relation, raw)
            for edtf in sorted({moment.edtf for moment in moments if moment.edtf is not None}):
                date = f"date:{edtf}"
                if self._first(date, edtf):
                    yield Entity(date, "date", edtf, text=edtf, sources=(self.context.name,))
                yield Triple(head, relation, date, self.context.name)

    def _things(
        self, head: str, stated: Mapping[str, set[str]], relations: Mapping[str, tuple[str, str]]
    ) -> Iterator[Statement]:
        """Facts whose tail is named: what nobody has named in any language is left out."""
        for key, (relation, kind) in relations.items():
            for value in sorted(stated[key]) if key in stated and self.chosen(relation) else ():
                item = qid(value)
                names = self.found.names.get(item) if item is not None else None
                if value == UNKNOWN or kind in RAW:
                    yield self._literal(head, relation, self._named(value))
                if item is None:
                    continue
                if names is None or not slug(names.label):
                    self._drop_nameless(item, relation)
                    continue
                tail = f"place:wikidata-{item.lower()}" if kind == "place" else self._id(kind, item, names.label)
                yield from self._tell(tail, item)
                yield Triple(head, relation, tail, self.context.name)

    def _id(self, kind: str, item: str, label: str) -> str:
        """A thing's id, made of its label, as sources without items make theirs; the oldest of its namesakes has it."""
        name = f"{kind}:{slug(label)}"
        return name if item == self._oldest[name] else f"{name}-{item.lower()}"

    @cached_property
    def _oldest(self) -> dict[str, str]:
        """An id made of a label -> the oldest of the items that have it."""
        oldest: dict[str, str] = {}
        for stated, relations in ((self.found.artists, ARTIST_THINGS | OCCUPATION), (self.found.artworks, WORK_THINGS)):
            for key, (_, kind) in relations.items():
                for item in stated.items([key]) & self.found.names.keys():
                    name = f"{kind}:{slug(self.found.names[item].label)}"
                    oldest[name] = min(item, oldest.get(name, item), key=number)
        return oldest

    def _tell(self, name: str, item: str, same_as: tuple[str, ...] = ()) -> Iterator[Statement]:
        """An entity that is a tail, when it comes up first; of a place also the country it lies in."""
        names, kind = self.found.names[item], name.partition(":")[0]
        if not self._first(name, item):
            return
        yield Entity(
            name, kind, names.label, text=names.label, same_as=tuple(sorted({f"wikidata:{item}", *same_as})),
            sources=(self.context.name,), aliases=names.aliases,
        )  # fmt: skip
        if kind == "place":
            yield from self._lies_in(name, self.found.countries.get(item, []))

    def _lies_in(self, place: str, candidates: list[Country]) -> Iterator[Statement]:
        """The country of a place; of several the first, and all of them as raw values."""
        candidates = [one for one in candidates if (n := self.found.names.get(one.item)) and slug(n.label)]
        for country in candidates:
            raw = " ".join([self._name(country.item), country.code]).strip()
            yield self._literal(place, "isInCountry", raw)
        for country in candidates[:1]:
            tail = f"country:{slug(self.found.names[country.item].label)}"
            yield from self._tell(tail, country.item, (f"iso3166:{country.code}",) if country.code else ())
            yield Triple(place, "isInCountry", tail, self.context.name)

    def _people(
        self, head: str, stated: Mapping[str, set[str]], relations: Mapping[str, tuple[str, str]]
    ) -> Iterator[Statement]:
        """Facts whose tail is an artist, said both ways; an unknown person, or one without a slug, is none."""
        for key, (there, back) in relations.items():
            for value in sorted(stated[key]) if key in stated else ():
                for name in self.found.crosswalk.artists.get(qid(value) or "", ()):
                    yield from self._person(head, there, f"artist:{name}")
                    yield from self._person(f"artist:{name}", back, head)

    def _person(self, head: str, relation: str, tail: str) -> Iterator[Triple]:
        """One fact between two, once, though each may speak of the other."""
        if self.chosen(relation) and self._first(f"{head} {relation}", tail):
            yield Triple(head, relation, tail, self.context.name)

    def _first(self, name: str, item: str) -> bool:
        """Whether this pair was not told of yet."""
        if (name, item) in self._told:
            return False
        self._told.add((name, item))
        return True

    def _drop_nameless(self, item: str, relation: str) -> None:
        if self._first("", item):
            self.context.drop(Dropped(f"wikidata:{item}", "no_label", f"a value of {relation}"))

    def _named(self, value: str) -> str:
        item = qid(value)
        return value if item is None else self._name(item)

    def _name(self, item: str) -> str:
        names = self.found.names.get(item)
        return f"{names.label} ({item})" if names else item

    def _literal(self, entity: str, name: str, value: str) -> Literal:
        return Literal(entity, name, value, self.context.name)


def _identifiers(stated: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Numbers of other catalogues; anything else is none."""
    return tuple(
        f"{catalogue}:{value}"
        for key, catalogue in IDENTIFIERS.items()
        for value in stated.get(key, ())
        if value.isascii() and value.isdecimal()
    )
