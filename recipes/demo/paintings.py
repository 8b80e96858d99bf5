"""The demo's source: facts about painters from a file, and invented pictures in their manner from a seed.

No artwork in here exists. Titles, years and pictures are thrown by dice, so that a graph of useful size ships with the
package and needs no network; what is said of the painters themselves is true, and `painters.yaml` holds it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from mkg_builder.errors import DataError, RecipeError, UnknownNameError
from mkg_builder.graph import Dropped, Entity, Triple
from mkg_builder.registry import Registry
from mkg_builder.source import Request, Source, SourceContext, SourceOptions

if TYPE_CHECKING:
    from brush import paint
    from scenes import Chance
else:
    # a recipe's files are found by path; its folder is not, and need not be, on the import path
    _beside = Registry("drawing", "mkg_builder.drawings", {})
    paint = _beside.resolve("brush.py:paint", Path(__file__).parent)
    Chance = _beside.resolve("scenes.py:Chance", Path(__file__).parent)

Qid = Annotated[str, StringConstraints(pattern=r"^Q[1-9]\d*$")]

LOST, UNTITLED = 12, 30
"""Of a hundred artworks, so many have no picture and so many no title, each by its own throw."""

TITLES = {
    "abstract": ("Composition|Improvisation|Movement|Rhythm", "|in four parts|with circles|with a red accent"),
    "cityscape": ("Rooftops|Street|Square|Houses", "|after rain|by the water|in the morning|with passers-by"),
    "flower-painting": ("Bouquet|Flowers|Blossoms", "|in a jug|in a vase|on a table|with leaves"),
    "genre-painting": ("Interior|Conversation|Letter|Lesson|Meal", "|at a table|by the window|with a visitor"),
    "history-painting": ("Battle|Oath|Procession|Triumph", "|before the gates|under a banner|with many figures"),
    "landscape": ("Landscape|Hills|Path|Valley|Fields", "|after rain|by a river|under clouds|with trees"),
    "marina": ("Harbour|Sails|Coast|Boats", "|at dusk|at low tide|in a breeze|under clouds"),
    "mythological-painting": ("Nymphs|Bathers|Feast|Sleeper|Shepherds", "|by a spring|in a grove|with a red cloak"),
    "portrait": ("Woman|Man|Scholar|Girl|Merchant", "|in a dark coat|looking up|with a hat|with a white collar"),
    "religious-painting": ("Madonna|Saint|Annunciation|Adoration", "|between columns|enthroned|with two angels"),
    "self-portrait": ("Self-portrait", "|at the easel|in working clothes|with a hat|with palette"),
    "still-life": ("Still life|Jug and fruit|Breakfast table|Kitchen piece", "|on a cloth|with a bowl|with apples"),
}
"""Per genre, first words and last words of titles; none of them tells painter, style, place or year."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(_Strict):
    """A movement or a place."""

    label: str
    wikidata: Qid | None = None


class Event(_Strict):
    """Birth or death: what is known of its year and place."""

    year: int | None = None
    place: str | None = None


class Painter(_Strict):
    """What the facts file says of one painter."""

    label: str
    wikidata: Qid
    movements: tuple[str, ...] = Field(min_length=1)
    nationality: tuple[str, ...] = Field(min_length=1)
    born: Event
    died: Event
    working: tuple[int, int]
    genres: tuple[str, ...] = Field(min_length=1)
    teachers: tuple[str, ...] = ()
    influenced_by: tuple[str, ...] = ()


class Facts(_Strict):
    """The facts file; every name it uses is explained in it."""

    movements: dict[str, Named]
    places: dict[str, Named]
    painters: dict[str, Painter]

    @model_validator(mode="after")
    def _names_exist(self) -> "Facts":
        for slug, painter in self.painters.items():
            places = {event.place for event in (painter.born, painter.died) if event.place}
            people = {*painter.teachers, *painter.influenced_by}
            unknown = {*painter.movements} - self.movements.keys() | (places - self.places.keys())
            unknown |= people - (self.painters.keys() - {slug})
            if unknown:
                raise ValueError(f"{slug} names {', '.join(sorted(unknown))}, which the file does not explain")
        return self


class Work(BaseModel):
    """One invented artwork, as the catalogue lists it; a field unknown here is kept, to be reported."""

    model_config = ConfigDict(extra="allow", frozen=True)

    slug: str
    number: int
    title: str | None
    style: str
    genre: str
    year: int
    has_picture: bool


class Catalogue(BaseModel):
    """The invented works of one painter."""

    model_config = ConfigDict(extra="allow", frozen=True)

    note: str
    works: tuple[Work, ...]


class Listed(NamedTuple):
    """A work beside its painter."""

    artist: str
    work: Work


class Paintings(Source):
    """True facts about painters, with generated pictures in their manner."""

    class Options(SourceOptions):
        """What the recipe may set.

        Attributes:
            works_per_painter: how many pictures are invented for each painter.
            facts: the facts file, from the recipe's folder.
            seed: another seed, other works and pictures.
        """

        works_per_painter: int = Field(default=15, ge=1, le=99)
        facts: str = "demo/painters.yaml"
        seed: int = 1

    options: "Paintings.Options"

    def fetch(self, context: SourceContext) -> None:
        """Keep the facts file, invent the catalogues and paint the pictures that are not kept yet.

        Raises:
            RecipeError: there is no facts file where the options say.
            DataError: the facts file does not hold together.
        """
        path = context.folder / self.options.facts
        if not path.is_file():
            raise RecipeError(f"no file {path}; the option `facts` is looked up beside the recipe")
        context.put(self._facts_key(context), path.read_bytes(), "application/yaml")
        facts = self._facts(context)
        for slug, painter in facts.painters.items():
            body = self._invent(slug, painter).model_dump_json(indent=1).encode()
            context.put(self._catalogue_key(context, slug), body, "application/json")
        listed = self._listed(context, facts)
        for done, (artist, work) in enumerate(listed):
            context.progress(done, len(listed))
            key = self._picture_key(context, artist, work)
            if work.has_picture and not context.has(key):
                name = f"{self.options.seed}/{artist}/{work.slug}"
                context.put(key, paint(artist, work.style, work.genre, work.year, name), "image/png")
        context.progress(len(listed), len(listed))

    def read(self, context: SourceContext) -> Iterator[Entity | Triple]:
        """Painters with their facts, then the artworks, from the kept answers."""
        if not context.has(self._facts_key(context)):
            return
        facts = self._facts(context)
        listed = self._listed(context, facts)
        yield from _attributes(facts, listed, context.name)
        for slug, painter in facts.painters.items():
            yield from _of_painter(slug, painter, context.name)
        for artist, work in listed:
            for field_name in sorted(work.model_extra or ()):
                context.leftover(field_name)
            image = self._picture_key(context, artist, work) if work.has_picture else None
            yield from _of_work(artist, work, image, context.name)

    def _facts_key(self, context: SourceContext) -> str:
        return f"{context.name}:painters.yaml"

    def _catalogue_key(self, context: SourceContext, artist: str) -> str:
        # what the options change is part of the question, else a changed recipe would get the old answer
        return f"{context.name}:catalogue/{artist}?seed={self.options.seed}&works={self.options.works_per_painter}"

    def _picture_key(self, context: SourceContext, artist: str, work: Work) -> str:
        # likewise all that the picture depends on: an edited fact must not show the old picture
        asked = f"seed={self.options.seed}&style={work.style}&year={work.year}"
        return f"{context.name}:pictures/{artist}/{work.slug}.png?{asked}"

    def _facts(self, context: SourceContext) -> Facts:
        body = context.get(Request(key=self._facts_key(context), url="")).body
        try:
            return Facts.model_validate(yaml.safe_load(body))
        except (yaml.YAMLError, ValidationError) as error:
            raise DataError(f"{self.options.facts}: {' '.join(str(error).split())}") from None

    def _listed(self, context: SourceContext, facts: Facts) -> list[Listed]:
        """The works within the limit: the first of every painter, then the second of every painter, and so on."""
        listed: list[Listed] = []
        for artist in facts.painters:
            answer = context.get(Request(key=self._catalogue_key(context, artist), url=""))
            if not answer.ok:
                context.drop(Dropped(f"artwork:{artist}", "not_fetched", "no catalogue with these options"))
                continue
            catalogue = Catalogue.model_validate_json(answer.body)
            for field_name in sorted(catalogue.model_extra or ()):
                context.leftover(field_name)
            listed.extend(Listed(artist, work) for work in catalogue.works)
        listed.sort(key=lambda item: item.work.number)
        return listed if context.limit is None else listed[: context.limit]

    def _invent(self, artist: str, painter: Painter) -> Catalogue:
        numbers = range(1, self.options.works_per_painter + 1)
        works = tuple(_invent_work(artist, painter, number, self.options.seed) for number in numbers)
        note = f"generated pictures in the manner of {painter.label}; no such paintings exist"
        return Catalogue(note=note, works=works)


def _invent_work(artist: str, painter: Painter, number: int, seed: int) -> Work:
    chance = Chance("work", seed, artist, number)
    genre = chance.pick(painter.genres)
    if genre not in TITLES:
        raise UnknownNameError("genre", genre, TITLES)
    first, last = TITLES[genre]
    title = f"{chance.pick(first.split('|'))} {chance.pick(last.split('|'))}".strip()
    return Work(
        slug=f"{genre}-{number:02}",
        number=number,
        title=title if chance.one(0, 100) >= UNTITLED else None,
        style=chance.pick(painter.movements),
        genre=genre,
        year=chance.one(painter.working[0], painter.working[1] + 1),
        has_picture=chance.one(0, 100) >= LOST,
    )


def _attributes(facts: Facts, listed: list[Listed], source: str) -> Iterator[Entity]:
    """Every style, place, nationality, genre and year that a painter or a work speaks of, once."""
    lives = [event.year for painter in facts.painters.values() for event in (painter.born, painter.died)]
    years = {year for year in lives if year is not None} | {item.work.year for item in listed}
    for slug, movement in facts.movements.items():
        yield _entity("style", slug, movement.label, source, movement.wikidata)
    for slug, place in facts.places.items():
        # honest asymmetry: a place has a name to show, but no text for an encoder
        yield _entity("place", slug, place.label, source, place.wikidata, with_text=False)
    for name in sorted({name for painter in facts.painters.values() for name in painter.nationality}):
        yield _entity("nationality", name.lower(), name, source)
    for genre in sorted({item.work.genre for item in listed}):
        yield _entity("genre", genre, genre.replace("-", " "), source)
    for year in sorted(years):
        yield _entity("date", str(year), str(year), source)


def _entity(
    kind: str, slug: str, label: str, source: str, wikidata: str | None = None, with_text: bool = True
) -> Entity:
    same_as = (f"wikidata:{wikidata}",) if wikidata else ()
    text = label if with_text else None
    return Entity(f"{kind}:{slug}", kind, label, text=text, same_as=same_as, sources=(source,))


def _of_painter(slug: str, painter: Painter, source: str) -> Iterator[Entity | Triple]:
    artist = f"artist:{slug}"
    yield _entity("artist", slug, painter.label, source, painter.wikidata)
    for movement in painter.movements:
        yield Triple(artist, "isAssociatedWithArtMovement", f"style:{movement}", source)
    for name in painter.nationality:
        yield Triple(artist, "hasNationality", f"nationality:{name.lower()}", source)
    for verb, event in (("wasBorn", painter.born), ("died", painter.died)):
        if event.place:
            yield Triple(artist, f"{verb}In", f"place:{event.place}", source)
        if event.year:
            yield Triple(artist, f"{verb}OnDate", f"date:{event.year}", source)
    for teacher in painter.teachers:
        yield Triple(artist, "isPupilOf", f"artist:{teacher}", source)
        yield Triple(f"artist:{teacher}", "isTeacherOf", artist, source)
    for other in painter.influenced_by:
        yield Triple(artist, "isInfluencedBy", f"artist:{other}", source)
        yield Triple(f"artist:{other}", "isInfluencedOn", artist, source)


def _of_work(artist: str, work: Work, image: str | None, source: str) -> Iterator[Entity | Triple]:
    artwork = f"artwork:{artist}/{work.slug}"
    yield Entity(artwork, "artwork", work.title or "Untitled", text=work.title, image=image, sources=(source,))
    yield Triple(artwork, "isCreatedByArtist", f"artist:{artist}", source)
    yield Triple(artwork, "hasStyle", f"style:{work.style}", source)
    yield Triple(artwork, "belongsToGenre", f"genre:{work.genre}", source)
    yield Triple(artwork, "isCreatedInYear", f"date:{work.year}", source)
