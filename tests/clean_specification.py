"""What cleaning and splitting must do, in plain Python: slow, and to be read beside the recipe's documentation.

Written from the documents, without sight of `mkg_builder/clean.py` and `split.py`, by which it shares no rule. Only
dates, names and places are read by the library's own public functions.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace

from mkg_builder.dates import bounds, period, reach
from mkg_builder.facts import Facts
from mkg_builder.graph import SPLITS, Entity, Literal, Triple, entity_type, merge_entities
from mkg_builder.names import normalise
from mkg_builder.places import country_id, country_name, country_of, is_country_code
from mkg_builder.recipe import CleaningRecipe, Recipe


@dataclass
class World:
    """The facts while the rules work on them."""

    entities: dict[str, Entity]
    triples: list[Triple]
    literals: list[Literal]
    dropped: list[tuple[str, str]] = field(default_factory=list)
    gone: Counter[str] = field(default_factory=Counter)

    def drop(self, rule: str, condemned: Callable[[Triple], bool], *, listed: bool = True) -> None:
        """Take out the triples that a rule condemns; each is counted, and listed as `head relation tail`."""
        for triple in self.triples:
            if condemned(triple):
                self.gone[rule] += 1
                if listed:
                    self.dropped.append((rule, f"{triple.head} {triple.relation} {triple.tail}"))
        self.triples = [triple for triple in self.triples if not condemned(triple)]

    def drop_entities(self, rule: str, ids: set[str]) -> None:
        """Take out entities, each listed by its id, and the triples that name them, only counted."""
        self.dropped += [(rule, one) for one in ids]
        self.drop(rule, lambda triple: triple.head in ids or triple.tail in ids, listed=False)
        self.entities = {one: entity for one, entity in self.entities.items() if one not in ids}


def groups_of(links: Iterable[tuple[Hashable, str]]) -> dict[str, set[str]]:
    """Whom each name is one with, given pairs of a group and a name: groups that overlap are one group."""
    groups: dict[str, set[str]] = {}
    named: dict[Hashable, str] = {}
    for group, name in links:
        joined = groups.get(name, {name}) | groups.get(named.setdefault(group, name), set())
        groups |= dict.fromkeys(joined, joined)
    return groups


def specified_clean(facts: Facts, recipe: Recipe) -> World:
    """The rules in their order."""
    rules = recipe.cleaning
    world = World(dict(facts.entities), list(facts.triples), list(facts.literals))
    merge_aliases(world, rules)
    idle = set(world.entities) - ends(world)
    countries(world, rules)
    conflicts(world, recipe)
    contradictions(world, rules)
    bins(world, rules)
    conflicts(world, recipe)  # two relations may have become one
    world.drop("not_declared", lambda triple: triple.relation not in recipe.relations, listed=False)
    if rules.normalise_names:
        normalise_names(world)
    if rules.drop_self_references:
        world.drop("self_reference", lambda triple: triple.head == triple.tail)
    duplicates(world)
    cycles(world, recipe)
    if rules.inverses == "complete":
        mirror(world, recipe)
    while too_little(world, recipe):
        pass
    unnamed(world, recipe, idle)
    for entity in world.entities.values():
        policy = recipe.types[entity.type].text
        text = {"label": entity.label, "source": entity.text, "none": None}[policy] or None
        world.entities[entity.id] = replace(entity, text=text)
    return world


def merge_aliases(world: World, rules: CleaningRecipe) -> None:
    """Who is named together in the recipe, or is of one type and shares an identifier that tells things apart.

    Each that becomes another is listed.
    """
    links: list[tuple[Hashable, str]] = [
        (one, name) for one, others in rules.merge.items() for name in (one, *others) if name in world.entities
    ]
    for entity in world.entities.values():
        telling = [one for one in entity.same_as if one.partition(":")[0] in rules.merge_by]
        links += [((entity.type, identifier), entity.id) for identifier in telling]
    new = {name: min(group) for name, group in groups_of(links).items()}
    merged: dict[str, Entity] = {}
    for one in sorted(world.entities):
        entity, into = world.entities[one], new.get(one, one)
        if into == one:
            merged[one] = entity
        else:
            known = replace(entity, id=into, same_as=(*entity.same_as, one), aliases=(*entity.aliases, entity.label))
            merged[into] = merged[into].merged(known)
    world.dropped += [("merged", one) for one in world.entities if new.get(one, one) != one]
    world.entities = merged
    world.triples = [t._replace(head=new.get(t.head, t.head), tail=new.get(t.tail, t.tail)) for t in world.triples]
    world.literals = [replace(value, entity=new.get(value.entity, value.entity)) for value in world.literals]


def countries(world: World, rules: CleaningRecipe) -> None:
    """Places become countries: by a source that says in which one they are, else by what their name ends with."""
    stated: dict[str, set[str]] = defaultdict(set)
    for triple in world.triples:
        if triple.relation == "isInCountry":
            for identifier in world.entities[triple.tail].same_as:
                kind, _, code = identifier.partition(":")
                if kind == "iso3166" and is_country_code(code):
                    stated[triple.head].add(code)

    def country(place: str) -> str | None:
        return min(stated[place]) if stated[place] else country_of(world.entities[place].label)

    def concerned(triple: Triple) -> bool:
        return triple.relation in rules.countries and entity_type(triple.tail) == "place"

    world.drop("countries", lambda triple: concerned(triple) and country(triple.tail) is None)
    for index, triple in enumerate(world.triples):
        if concerned(triple):
            code = country(triple.tail) or ""
            sources = world.entities[triple.tail].sources
            name = country_name(code)
            made = Entity(country_id(code), "country", name, name, None, (f"iso3166:{code}",), sources)
            world.entities |= merge_entities([world.entities.get(made.id, made), made])
            world.triples[index] = triple._replace(tail=made.id)


def conflicts(world: World, recipe: Recipe) -> None:
    """Of a relation with one tail, the word of the most trusted source stands, or the narrowest date that agrees.

    If that source has several, the one that most others bear out, else that leaves the fewest years, else the longest.
    """
    rules, relations = recipe.cleaning, recipe.relations
    functional = {name for name, relation in relations.items() if relation.functional}
    functional |= {name for name, rule in rules.bins.items() if relations[rule.into].functional}

    def trust(triple: Triple) -> tuple[int, str, str]:
        place = rules.prefer.index(triple.source) if triple.source in rules.prefer else len(rules.prefer)
        return place, triple.source, triple.tail

    said: dict[tuple[str, str], list[Triple]] = defaultdict(list)
    for triple in sorted(world.triples, key=trust):
        if triple.relation in functional:
            said[triple.head, triple.relation].append(triple)
    stands: dict[tuple[str, str], str] = {}
    for about, words in said.items():
        borne_out = {
            word: len({
                other.source for other in words if other.source != word.source
                and (other.tail == word.tail or same_year(other.tail, word.tail, rules.circa_years))
            }) for word in words
        }  # fmt: skip
        most_trusted = [word for word in words if trust(word)[0] == trust(words[0])[0]]
        first = sorted(
            most_trusted,
            key=lambda word: (-borne_out[word], width(word.tail, rules.circa_years), -word.tail.count("-")),
        )[0].tail
        stands[about], narrowest = first, width(first, rules.circa_years)
        for tail in [word.tail for word in words]:
            if same_year(tail, first, rules.circa_years) and width(tail, rules.circa_years) < narrowest:
                stands[about], narrowest = tail, width(tail, rules.circa_years)

    def other(triple: Triple) -> bool:
        return stands.get((triple.head, triple.relation), triple.tail) != triple.tail

    def agrees(triple: Triple) -> bool:
        return other(triple) and same_year(triple.tail, stands[triple.head, triple.relation], rules.circa_years)

    world.drop("duplicate", agrees, listed=False)
    world.drop("conflict", other)


def same_year(one: str, other: str, circa_years: int) -> bool:
    """Whether two ids are dates that may name the same year."""
    spans = [reach(name.removeprefix("date:"), circa_years) for name in (one, other) if name.startswith("date:")]
    return len(spans) == 2 and None not in spans and spans[0][0] <= spans[1][1] and spans[1][0] <= spans[0][1]


def width(name: str, circa_years: int) -> float:
    """How many years a date leaves open, one less than it allows."""
    span = reach(name.removeprefix("date:"), circa_years) if name.startswith("date:") else None
    return span[1] - span[0] if span else 0


def years_of(name: str, circa_years: int) -> tuple[int, int] | None:
    """The first and last year of an entity that is a date."""
    kind, _, edtf = name.partition(":")
    return bounds(edtf, circa_years) if kind == "date" else None


def contradictions(world: World, rules: CleaningRecipe) -> None:
    """Who died before they can have been born has neither a birth nor a death."""
    impossible: set[tuple[str, str]] = set()
    for earlier, later in rules.in_order.items():
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for triple in world.triples:
            span = years_of(triple.tail, rules.circa_years)
            if span and triple.relation == earlier:
                first[triple.head] = min(first.get(triple.head, span[0]), span[0])
            if span and triple.relation == later:
                last[triple.head] = max(last.get(triple.head, span[1]), span[1])
        wrong = [head for head in first if head in last and first[head] > last[head]]
        impossible |= {(head, name) for head in wrong for name in (earlier, later)}
    world.drop("contradiction", lambda triple: (triple.head, triple.relation) in impossible)


def bins(world: World, rules: CleaningRecipe) -> None:
    """Dates become periods, where one period holds them."""

    def start(triple: Triple) -> int | None:
        rule = rules.bins[triple.relation]
        return period(triple.tail.partition(":")[2], rule.years, rules.circa_years)

    def concerned(triple: Triple) -> bool:
        return triple.relation in rules.bins and entity_type(triple.tail) == "date"

    world.drop("bins", lambda triple: concerned(triple) and start(triple) is None)
    for index, triple in enumerate(world.triples):
        if concerned(triple):
            rule, first = rules.bins[triple.relation], start(triple)
            label = f"{first}" if rule.years == 1 else f"{first}-{first + rule.years}"
            made = Entity(f"{rule.type}:{label}", rule.type, label, label, sources=world.entities[triple.tail].sources)
            world.entities |= merge_entities([world.entities.get(made.id, made), made])
            world.triples[index] = triple._replace(relation=rule.into, tail=made.id)


def normalise_names(world: World) -> None:
    """Names as people would type them, the raw one kept as a literal; what has none left is dropped."""
    for one, entity in world.entities.items():
        label = normalise(entity.label)
        if label != entity.label:
            world.literals += [Literal(one, "label", entity.label, source) for source in entity.sources[:1]]
        aliases = {normalise(alias) for alias in entity.aliases} - {label, ""}
        text = normalise(entity.text or "") or None
        world.entities[one] = replace(entity, label=label, text=text, aliases=tuple(sorted(aliases)))
    world.drop_entities("normalise_names", {one for one, entity in world.entities.items() if not entity.label})


def duplicates(world: World) -> None:
    """A fact that several sources state is kept once, as the smallest source's, in the least held out of its splits."""
    kept: dict[tuple[str, str, str], Triple] = {}
    for triple in sorted(world.triples, key=standing):
        kept.setdefault(triple[:3], triple)
    world.gone["duplicate"] += len(world.triples) - len(kept)
    world.triples = list(kept.values())


def standing(triple: Triple) -> tuple[str, int]:
    """Its source and, should that source give it twice, its place among the splits; no split is the last."""
    return triple.source, (*SPLITS, None).index(triple.split)


def cycles(world: World, recipe: Recipe) -> None:
    """A fact is in a circle when its relation, or a mirror of it, leads from its tail back to its head."""
    doomed: set[tuple[str, str, str]] = set()
    for name in recipe.cleaning.acyclic:
        mirrors = {other for other, relation in recipe.relations.items() if relation.inverse == name}
        mirrors |= {recipe.relations[name].inverse or name}
        arrows = [(t.head, t.tail) for t in world.triples if t.relation == name]
        arrows += [(t.tail, t.head) for t in world.triples if t.relation in mirrors - {name}]
        if recipe.relations[name].inverse == name:
            arrows += [(tail, head) for head, tail in arrows]
        tails: dict[str, set[str]] = defaultdict(set)
        for head, tail in arrows:
            tails[head].add(tail)
        circular = {(head, tail) for head, tail in arrows if head in reachable(tail, tails)}
        doomed |= {t[:3] for t in world.triples if t.relation == name and (t.head, t.tail) in circular}
        doomed |= {t[:3] for t in world.triples if t.relation in mirrors and (t.tail, t.head) in circular}
    world.drop("cycle", lambda triple: triple[:3] in doomed)


def reachable(start: str, tails: dict[str, set[str]]) -> set[str]:
    """Where one can get to, the start included."""
    seen, ahead = {start}, [start]
    while ahead:
        new = tails.get(ahead.pop(), set()) - seen
        seen |= new
        ahead += new
    return seen


def mirror(world: World, recipe: Recipe) -> None:
    """The mirror of each fact, unless it is stated."""
    known = {triple[:3] for triple in world.triples}
    for triple in sorted(world.triples, key=standing):
        inverse = recipe.relations[triple.relation].inverse
        mirrored = triple._replace(head=triple.tail, relation=inverse or "", tail=triple.head)
        if inverse and mirrored[:3] not in known:
            known.add(mirrored[:3])
            world.triples.append(mirrored)
            world.gone["mirrored"] -= 1


def too_little(world: World, recipe: Recipe) -> bool:
    """One round of the rules on what an entity must have; whether any was dropped."""
    rules, before = recipe.cleaning, len(world.entities)
    if rules.require_image:
        of_image = {name for name, kind in recipe.types.items() if kind.image}
        world.drop_entities(
            "require_image", {one for one, e in world.entities.items() if e.type in of_image and e.image is None}
        )
    for relation in rules.require:
        heads = {triple.head for triple in world.triples if triple.relation == relation}
        domain = recipe.relations[relation].domain
        world.drop_entities(
            "require", {one for one, e in world.entities.items() if e.type == domain and one not in heads}
        )
    while rare := too_rare(world, rules):
        world.drop_entities("min_frequency", rare)
    return len(world.entities) < before


def too_rare(world: World, rules: CleaningRecipe) -> set[str]:
    """Who is named less often than its type must be, and by no fact that keeps its ends."""
    found = Counter(end for triple in world.triples for end in (triple.head, triple.tail))
    exempt = {end for t in world.triples if t.relation in rules.frequency_exempt for end in (t.head, t.tail)}
    return {one for one, e in world.entities.items() if found[one] < rules.min_frequency.get(e.type, 0)} - exempt


def ends(world: World) -> set[str]:
    """What some fact names."""
    return {end for triple in world.triples for end in (triple.head, triple.tail)}


def unnamed(world: World, recipe: Recipe, idle: set[str]) -> None:
    """What no fact names leaves, unless it may have a picture; literals leave with their entity.

    What no fact named from the start is listed.
    """
    leaving = {one for one in set(world.entities) - ends(world) if not recipe.types[world.entities[one].type].image}
    world.drop_entities("unused", leaving & idle)
    world.entities = {one: e for one, e in world.entities.items() if one not in leaving}
    world.literals = [value for value in world.literals if value.entity in world.entities]
