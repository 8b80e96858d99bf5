"""What splitting must do, in plain Python: slow, and to be read beside the documentation of SplitRecipe."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from hashlib import blake2b

from mkg_builder.facts import Facts
from mkg_builder.graph import SPLITS, Entity, Triple, entity_type, merge_entities
from mkg_builder.names import slug
from mkg_builder.recipe import SplitRecipe
from tests.clean_specification import World, groups_of


def specified_split(
    facts: Facts, policy: SplitRecipe, near: dict[str, str], sources: Sequence[str] = ()
) -> tuple[World, dict[Triple, str]]:
    """The facts that stay, each with its side."""
    world = World(dict(facts.entities), list(facts.triples), list(facts.literals))
    if policy.policy == "given":
        return world, {triple: str(triple.split) for triple in world.triples}
    unseen = {one for one in world.entities if entity_type(one) == policy.unseen}
    cluster = clusters(world, policy, unseen, near, sources)
    crossing = set()
    sides: dict[Triple, int] = {}
    for triple in world.triples:
        ends = (triple.head, triple.tail)
        if unseen & {*ends}:
            side = max(hashed_side(policy, cluster.get(end, end)) for end in ends if end in unseen)
        elif triple.relation in policy.disjoint:
            side, other = (hashed_side(policy, end) for end in ends)
            if side != other:
                crossing.add(triple)
        else:
            side = hashed_side(policy, " ".join(sorted(ends)))
        sides[triple] = side
    world.drop("split_crossing", lambda triple: triple in crossing)
    sides = rest(world, policy, sides)
    if policy.unanswerable == "drop":
        trained = {end for t in world.triples if sides[t] == 0 for end in (t.head, t.tail)}
        world.drop("unanswerable", lambda t: sides[t] > 0 and t.tail not in trained | unseen)
    return world, {triple: SPLITS[sides[triple]] for triple in world.triples}


def hashed_side(policy: SplitRecipe, key: str) -> int:
    """0 train, 1 validation, 2 test: by a hash of the seed and the key alone."""
    digest = blake2b(f"{policy.seed}\0{key}".encode(), digest_size=8).digest()
    fraction = int.from_bytes(digest, "big") / 2**64
    return 2 if fraction < policy.test else 1 if fraction < policy.test + policy.validation else 0


def clusters(
    world: World, policy: SplitRecipe, unseen: set[str], near: dict[str, str], sources: Sequence[str]
) -> dict[str, str]:
    """The name under which an unseen entity is divided: of its twins', of the earliest source, the smallest."""
    links: list[tuple[Hashable, str]] = []
    if policy.near_duplicates:
        links += [(name, one) for one, name in near.items()] + [(name, name) for name in near.values()]
    for triple in world.triples:
        name = slug(world.entities[triple.head].label)
        if triple.relation in policy.together and triple.head in unseen and name:
            links.append(((triple.tail, name), triple.head))
    for one in unseen:
        links += [(("identifier", known), one) for known in world.entities[one].same_as]
        parts = one.partition(":")[2].split("/")
        links.append((("id", *(slug(part) or part for part in parts)), one))

    def place(name: str) -> tuple[int, str]:
        known = [sources.index(source) for source in world.entities[name].sources if source in sources]
        return min(known, default=len(sources)), name

    groups = {name: group & unseen for name, group in groups_of(links).items()}
    return {name: min(group, key=place) for name, group in groups.items() if group}


def rest(world: World, policy: SplitRecipe, sides: dict[Triple, int]) -> dict[Triple, int]:
    """Tails that are not in every split become one entity; of what is then said twice the least held out stays."""
    for relation, stand_in in policy.rest.items():
        where: dict[str, set[int]] = defaultdict(set)
        for triple in world.triples:
            if triple.relation == relation:
                where[triple.tail].add(sides[triple])
        rare = {tail for tail, found in where.items() if len(found) < 3}
        speakers = {triple.source for triple in world.triples if triple.relation == relation and triple.tail in rare}
        if rare:
            made = Entity(stand_in, entity_type(stand_in), stand_in.partition(":")[2], sources=tuple(sorted(speakers)))
            world.entities |= merge_entities([world.entities.get(stand_in, made), made])
        kept: dict[tuple[str, str, str], tuple[Triple, int]] = {}
        for triple in sorted(world.triples, key=lambda triple: (sides[triple], triple.source)):
            masked = triple.relation == relation and triple.tail in rare
            new = triple._replace(tail=stand_in) if masked else triple
            kept.setdefault(new[:3], (new, sides[triple]))
        world.gone["duplicate"] += len(world.triples) - len(kept)
        sides = dict(kept.values())
        world.triples = list(sides)
    return sides
