"""Small worlds with everything that goes wrong in real ones, and recipes with every switch on and off."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

from mkg_builder.facts import Facts
from mkg_builder.graph import SPLITS, Entity, Literal, Triple, entity_type
from mkg_builder.recipe import Recipe
from mkg_builder.triples import Triples

SOURCES = ("a", "b", "NA")
ARTWORKS = ("artwork:1", "artwork:x/y", "artwork:X/y", "artwork:None", "artwork:2", "artwork:1e5")
ARTISTS = ("artist:a", "artist:B", "artist:null", "artist:01", "artist:é")
DATES = (
    "date:1849", "date:1850", "date:1849-12-31", "date:1850-01-01", "date:1852~", "date:1800?", "date:1800%",
    "date:184X", "date:18XX", "date:1840/1849", "date:1849/1850", "date:../1480", "date:1900/..", "date:-0030",
    "date:0000", "date:", "date:nonsense", "date:1900/1890", "date:1900", "date:9999~",
)  # fmt: skip
PLACES = {
    "place:vinci": "Vinci, Florence, Italy", "place:paris": "ParisFrance", "place:prague": "Prague, Czechoslovakia",
    "place:nowhere": "Nowhere", "place:empty": "",
}  # fmt: skip
COUNTRIES = {"country:it": ("iso3166:IT",), "country:two": ("iso3166:BE", "iso3166:NL"), "country:italy": (),
             "country:none": ("wikidata:Q1",), "country:kosovo": ("iso3166:XK",),
             "country:old": ("iso3166:SU", "iso3166:fr")}  # fmt: skip
OTHERS = ("style:x", "style:None", "timeframe:1800-1850", "timeframe:1849")
IDS = (*ARTWORKS, *ARTISTS, *DATES, *PLACES, *COUNTRIES, *OTHERS)

NAMES = (
    "Sunrise", "sunrise", "Sunrise ", "Sun\u200brise", "Sun\xa0rise", "Sunr\u0456se", "Caf\u00e9", "Cafe\u0301",
    "\u0130stanbul", "i\u0307stanbul", "\ufb01nal", "None", "NA", "1e5", "", " ", "\u200b", "&amp;", "&lt;i&gt;",
    "Tom &amp;amp; Eve", "\x00", "\u202esdrawkcab",
)  # fmt: skip
IDENTIFIERS = ("wikidata:Q1", "wikidata:Q1", "wikidata:Q1", "wikidata:Q2", "ulan:1", "viaf:1", "iso3166:FR", "artist:a")

RELATIONS: dict[str, tuple[str, str]] = {
    "isCreatedByArtist": ("artwork", "artist"), "hasStyle": ("artwork", "style"),
    "isRelatedToArtwork": ("artwork", "artwork"), "isCreatedInYear": ("artwork", "date"),
    "belongsToTimeframe": ("artwork", "timeframe"), "wasBornOnDate": ("artist", "date"),
    "diedOnDate": ("artist", "date"), "wasBornIn": ("artist", "country"), "isPupilOf": ("artist", "artist"),
    "isTeacherOf": ("artist", "artist"), "isStudentOf": ("artist", "artist"),
    "isFriendOf": ("artist", "artist"), "isInCountry": ("place", "country"),
}  # fmt: skip
SYMMETRIC = {"isFriendOf": "isFriendOf", "isRelatedToArtwork": "isRelatedToArtwork"}
INVERSES = (
    {**SYMMETRIC, "isPupilOf": "isTeacherOf", "isTeacherOf": "isPupilOf"},
    {**SYMMETRIC, "isPupilOf": "isTeacherOf", "isStudentOf": "isTeacherOf"},
    {},
)
MEMBERS = {kind: [name for name in IDS if entity_type(name) == kind] for kind in map(entity_type, IDS)}
FEW = {kind: names if kind == "date" else names[:4] for kind, names in MEMBERS.items()}
TAILS = {
    **{relation: FEW[kind] for relation, (_, kind) in RELATIONS.items()},
    "wasBornIn": [*PLACES, "country:italy"],
    "belongsToTimeframe": [*MEMBERS["timeframe"], *DATES[:3]],
    "isOdd": IDS,
}

changes = st.one_of(
    st.tuples(st.just("label"), st.sampled_from(NAMES)),
    st.tuples(st.just("text"), st.sampled_from(NAMES)),
    st.tuples(st.just("aliases"), st.tuples(st.sampled_from(NAMES))),
    st.tuples(st.just("same_as"), st.tuples(st.sampled_from(IDENTIFIERS))),
    st.tuples(st.just("same_as"), st.tuples(st.sampled_from(IDENTIFIERS[:4]))),
    st.tuples(st.just("image"), st.sampled_from(["image:1", "image:2"])),
    st.tuples(st.just("sources"), st.tuples(st.sampled_from(SOURCES))),
)


def stated_with(relation: str) -> st.SearchStrategy[Triple]:
    """Facts of one relation between few enough things that they meet."""
    heads = MEMBERS[RELATIONS[relation][0]][:3] if relation in RELATIONS else IDS
    columns = (heads, [relation], TAILS[relation], SOURCES, (None, *SPLITS))
    return st.builds(Triple, *map(st.sampled_from, columns))


FACTS = {relation: stated_with(relation) for relation in TAILS}
THEMES = (
    ("wasBornIn", "isInCountry"), ("wasBornOnDate", "diedOnDate"), ("isCreatedInYear", "belongsToTimeframe"),
    ("isPupilOf", "isTeacherOf", "isStudentOf"), ("isFriendOf", "isRelatedToArtwork"),
    ("isCreatedByArtist", "hasStyle"), ("isOdd",),
)  # fmt: skip
"""Relations that a rule brings together; a world has few of them, so that its facts meet."""
triples = st.lists(st.sampled_from(THEMES), min_size=1, max_size=2).flatmap(
    lambda themes: st.lists(
        st.one_of([FACTS[relation] for theme in themes for relation in theme]), min_size=4, max_size=30
    )
)


def facts_of(odd: Iterable[tuple[str, tuple[str, Any]]], stated: Iterable[Triple], values: Iterable[Literal]) -> Facts:
    """The facts, every id an entity, some of them oddly told of."""
    entities = {
        name: Entity(name, entity_type(name), PLACES.get(name, name.partition(":")[2] or "?"),
                     same_as=COUNTRIES.get(name, ()))
        for name in IDS
    }  # fmt: skip
    for name, (what, value) in odd:
        entities[name] = replace(entities[name], **{what: value})
    return Facts(entities, Triples.of(stated), tuple(values))


literals = st.builds(
    Literal,
    st.sampled_from(ARTISTS),
    st.sampled_from(["born", "died"]),
    st.sampled_from(NAMES),
    st.sampled_from(SOURCES),
)
worlds = st.builds(
    facts_of,
    st.lists(st.tuples(st.sampled_from([*ARTISTS, *ARTWORKS, *ARTISTS, *IDS]), changes), max_size=16),
    triples,
    st.lists(literals, max_size=5),
)


def some(names: Iterable[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(sorted(names)), unique=True, max_size=3)


def sometimes(strategy: st.SearchStrategy[Any], otherwise: Any) -> st.SearchStrategy[Any]:
    return st.booleans().flatmap(lambda yes: strategy if yes else st.just(otherwise))


bin_rules = st.fixed_dictionaries({"years": st.sampled_from([1, 10, 50])})
merges = st.dictionaries(st.sampled_from([*ARTISTS, "artist:absent"]), some([*ARTISTS, "artist:gone"]), max_size=3)
cleaning = st.fixed_dictionaries(
    {
        "countries": st.sampled_from([["wasBornIn"], ["wasBornIn"], []]),
        "in_order": st.sampled_from([{"wasBornOnDate": "diedOnDate"}, {}, {"wasBornOnDate": "isCreatedInYear"},
                                     {"wasBornOnDate": "diedOnDate", "diedOnDate": "wasBornOnDate"}]),
        "acyclic": some(["isPupilOf", "isTeacherOf", "isRelatedToArtwork"]),
    },
    optional={
        "require_image": st.booleans(),
        "require": some(["isCreatedByArtist", "hasStyle", "wasBornIn"]),
        "normalise_names": st.booleans(),
        "drop_self_references": st.booleans(),
        "merge": merges,
        "merge_by": st.sampled_from([[], ["wikidata"], ["wikidata"], ["ulan", "wikidata"]]),
        "prefer": st.permutations(SOURCES).map(lambda order: order[:2]),
        "inverses": st.sampled_from(["keep", "complete"]),
        "min_frequency": st.dictionaries(
            st.sampled_from(["artist", "style", "timeframe", "country", "artwork"]), st.integers(1, 3), max_size=2),
        "frequency_exempt": some(["isPupilOf", "hasStyle"]),
        "circa_years": st.integers(0, 6),
        "bins": st.fixed_dictionaries({}, optional={
            "isCreatedInYear": bin_rules.map(lambda rule: {**rule, "into": "belongsToTimeframe"}),
            "wasBornOnDate": bin_rules.map(lambda rule: {**rule, "into": "wasBornOnDate"}),
            "diedOnDate": bin_rules.map(lambda rule: {**rule, "into": "diedOnDate"}),
        }),
    },
)  # fmt: skip
splits = st.fixed_dictionaries(
    {"seed": st.integers(0, 99), "validation": st.sampled_from([0, 0.1, 0.3]), "test": st.sampled_from([0, 0.2, 0.4])},
    optional={
        "together": some(["isCreatedByArtist", "hasStyle"]),
        "near_duplicates": st.booleans(),
        "disjoint": some(["isPupilOf", "isTeacherOf", "isRelatedToArtwork"]),
        "unanswerable": st.sampled_from(["keep", "drop"]),
        "rest": st.dictionaries(
            st.sampled_from(["hasStyle", "isCreatedByArtist"]), st.sampled_from(["style:rest", "artist:a"]), max_size=2
        ),
    },
)  # fmt: skip
pictures = st.dictionaries(
    st.sampled_from([*ARTWORKS, "artist:a"]), st.sampled_from(["artwork:1", "artwork:None", "cluster:1"]), max_size=4
)
policies = st.sampled_from(
    [{"policy": "inductive", "unseen": "artwork"}, {"policy": "inductive", "unseen": "artist"},
     {"policy": "transductive"}, {"policy": "given"}]
)  # fmt: skip


def recipe_of(
    rules: dict[str, Any],
    split: dict[str, Any],
    functional: Iterable[str] = (),
    texts: Mapping[str, str] = MappingProxyType({}),
    inverses: Mapping[str, str] = INVERSES[0],
) -> Recipe:
    """A recipe that declares everything but `isOdd` and, where the bins rename it, `isCreatedInYear`."""
    renamed = {"isCreatedInYear"} & {*rules.get("bins", {})}
    relations = {
        name: {"domain": domain, "range": kind, "inverse": inverses.get(name), "functional": name in functional}
        for name, (domain, kind) in RELATIONS.items()
        if name not in renamed
    }
    types = {kind: {"text": texts.get(kind, "label"), "image": kind == "artwork"} for kind in MEMBERS}
    return Recipe.model_validate({
        "name": "nasty", "title": "Nasty", "version": "1.0.0", "license": "cc0-1.0", "description": "A test.",
        "sources": {name: {"use": "none:None"} for name in SOURCES},
        "types": types, "relations": relations, "cleaning": rules, "split": split,
    })  # fmt: skip


texts = st.dictionaries(
    st.sampled_from(["artwork", "artist", "country", "timeframe"]), st.sampled_from(["label", "source", "none"])
)
recipes = st.builds(
    recipe_of,
    cleaning,
    st.builds(lambda policy, rest: {**rest, **policy}, policies, splits),
    st.sets(st.sampled_from(["hasStyle", "belongsToTimeframe", "wasBornOnDate", "wasBornIn", "isTeacherOf"])),
    texts,
    st.sampled_from(INVERSES),
)
