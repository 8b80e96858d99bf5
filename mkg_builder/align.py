"""Which entities of different sources are one thing: by identifier, by what people decided, by name and dates."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from rapidfuzz import fuzz, process

from mkg_builder.errors import DataError
from mkg_builder.facts import Facts
from mkg_builder.graph import Dropped, Entity
from mkg_builder.names import label_key
from mkg_builder.recipe import AlignmentRecipe, Recipe
from mkg_builder.reconcile import Span, merge, spans
from mkg_builder.unions import Pair

Named = list[tuple[str, str]]
"""Names, each with its entity."""

BLOCK = 3
"""Names are compared when a word of each begins with the same letters, so many of them."""

RULE = "aligned"


@dataclass(frozen=True)
class Likeness:
    """Two entities that may be one: how alike their names are, and what else is known."""

    left: str
    right: str
    score: float
    reason: str


@dataclass(frozen=True)
class Alignment:
    """Facts whose entities are aligned.

    Attributes:
        joined: in which way -> how many entities became another one: `identifier`, `decision`, `name`.
        waiting: the pairs that people should decide on.
    """

    facts: Facts
    joined: Counter[str]
    waiting: tuple[Likeness, ...]


def align(facts: Facts, recipe: Recipe, decisions: Mapping[Pair, bool]) -> Alignment:
    """Join the entities that are one thing; what stands in the recipe's earliest source stands for all.

    First by decisions and shared identifiers, then, of different sources, by name and dates: a pair that is alike
    enough, whose dates agree and that has no rival is joined; one that is less alike, has a rival or shares no date
    waits for a decision, as does one that would join a third that contradicts. A pair that was decided against is
    never joined by any other evidence.
    Pure and free of order.

    Raises:
        DataError: decisions contradict each other.
    """
    found = Alignment(facts, Counter(), ())
    for kind, rule in sorted(recipe.alignment.items()):
        found = _Joiner(recipe, kind, rule, decisions).align(found)
    return found


class _Groups:
    """Entities that are joined, pair by pair, unless that would join two that are apart."""

    def __init__(self, entities: Mapping[str, Entity], apart: Callable[[Pair], bool]) -> None:
        self._entities, self._apart = entities, apart
        self.members: dict[str, set[str]] = {}
        self.evidence: dict[str, set[str]] = defaultdict(set)

    def of(self, name: str) -> set[str]:
        return self.members.get(name, {name})

    def overlap(self, one: str, other: str) -> bool:
        """Whether a source speaks of something on both sides, which it takes for two things."""
        ours, theirs = ({s for name in self.of(side) for s in self._entities[name].sources} for side in (one, other))
        return bool(ours & theirs)

    def join(self, one: str, other: str, why: str) -> bool:
        """Make both one group, unless two of them are apart."""
        mine, theirs = self.of(one), self.of(other)
        if any(self._apart(_ids(a, b)) for a in mine for b in theirs):
            return False
        for name in (one, other):
            self.evidence[name].add(why)
        both = mine | theirs
        self.members |= dict.fromkeys(both, both)
        return True


@dataclass(frozen=True)
class _Joiner:
    """Aligns the entities of one type."""

    recipe: Recipe
    kind: str
    rule: AlignmentRecipe
    decisions: Mapping[Pair, bool]

    def align(self, found: Alignment) -> Alignment:
        facts, renamed, joined = self._by_evidence(found.facts)
        apart = {_ids(*(renamed.get(name, name) for name in pair)) for pair, same in self.decisions.items() if not same}
        facts, names, waiting = self._by_name(facts, apart)
        return Alignment(facts, found.joined + joined + Counter({"name": names}), (*found.waiting, *waiting))

    def _entities(self, facts: Facts) -> dict[str, Entity]:
        return {name: entity for name, entity in sorted(facts.entities.items()) if entity.type == self.kind}

    def _by_evidence(self, facts: Facts) -> tuple[Facts, dict[str, str], Counter[str]]:
        entities = self._entities(facts)
        groups = _Groups(entities, lambda pair: self.decisions.get(pair) is False)
        for pair in sorted(pair for pair, same in self.decisions.items() if same and entities.keys() >= set(pair)):
            if not groups.join(*pair, "decision"):
                raise DataError(
                    f"decisions contradict each other: {' and '.join(pair)} are to be one, but through others that "
                    "they are one with they are to stay apart"
                )
        holders: dict[str, list[str]] = defaultdict(list)
        for name, entity in entities.items():
            for identifier in entity.same_as:
                if identifier.partition(":")[0] in self.rule.identifiers:
                    holders[identifier].append(name)
        for identifier, names in sorted(holders.items()):
            for one, other in combinations(names, 2):
                if other not in groups.of(one):
                    groups.join(one, other, f"both are {identifier}")
        merged, renamed = self._merged(facts, groups)
        decided = sum("decision" in groups.evidence[name] for name in renamed)
        return merged, renamed, Counter({"decision": decided, "identifier": len(renamed) - decided})

    def _by_name(self, facts: Facts, apart: set[Pair]) -> tuple[Facts, int, list[Likeness]]:
        entities = self._entities(facts)
        known, alike = self._spans(facts), []

        def differ(pair: Pair) -> bool:
            return pair in apart or self._compatible(known, entities, pair) is None

        for pair, score in sorted(_similar(entities, self.rule.review).items(), key=lambda item: (-item[1], item[0])):
            agreeing = self._compatible(known, entities, pair)
            if agreeing is not None and pair not in apart:
                alike.append((pair, score, agreeing or not self.rule.dates))
        strong = {pair for pair, score, agreeing in alike if agreeing and score >= self.rule.accept}
        groups, rivals, refused = _Groups(entities, differ), _rivals(strong, entities, differ), dict[Pair, str]()
        for pair, score, agreeing in alike:
            if pair not in strong:
                refused[pair] = "no date is known of both" if not agreeing else "not alike enough"
            elif pair in rivals:
                refused[pair] = "another is as likely"
            elif not groups.overlap(*pair) and not groups.join(*pair, self._likeness(score)):
                refused[pair] = "one is joined to another that contradicts"
        waiting = [
            Likeness(*pair, round(score, 3), f"{refused[pair]}: {_shown(entities, pair)}")
            for pair, score, _ in alike if pair in refused and not groups.overlap(*pair)
        ]  # fmt: skip
        merged, renamed = self._merged(facts, groups)
        return merged, len(renamed), waiting

    def _likeness(self, score: float) -> str:
        return f"named alike ({score:.3f}){', dates agree' if self.rule.dates else ''}"

    def _compatible(
        self, dates: Sequence[Mapping[str, Span]], entities: Mapping[str, Entity], pair: Pair
    ) -> bool | None:
        """Whether dates agree; None where a date or an identifier says that the two are not one."""
        for kind in self.rule.identifiers:
            one, other = ({i for i in entities[name].same_as if i.partition(":")[0] == kind} for name in pair)
            if one and other and not one & other:
                return None
        agreeing = False
        for known in dates:
            first, second = (known.get(name) for name in pair)
            if first is not None and second is not None:
                if first[0] > second[1] or second[0] > first[1]:
                    return None
                agreeing = True
        return agreeing

    def _spans(self, facts: Facts) -> Sequence[Mapping[str, Span]]:
        """Of each relation to a date, the years that it allows: those that all its dates share, if there are any."""
        ids, circa = facts.triples.ids, self.recipe.cleaning.circa_years
        return [
            {ids[head]: _shared(said) for head, said in spans(facts.triples, name, circa).items()}
            for name in self.rule.dates
        ]

    def _merged(self, facts: Facts, groups: _Groups) -> tuple[Facts, dict[str, str]]:
        """The facts with each group as one entity, and which id stands for which."""
        rank = {source: place for place, source in enumerate(self.recipe.sources)}

        def standing(name: str) -> tuple[int, str]:
            return min(rank.get(source, len(rank)) for source in facts.entities[name].sources), name

        first = {name: min(members, key=standing) for name, members in groups.members.items()}
        renamed = {name: other for name, other in first.items() if name != other}
        losses = tuple(
            Dropped(name, RULE, f"{other}: {'; '.join(sorted(groups.evidence[name]))}")
            for name, other in sorted(renamed.items())
        )
        merged = merge(facts, renamed)
        return replace(merged, dropped=merged.dropped + losses), renamed


def _shared(said: Sequence[Span]) -> Span:
    firsts, lasts = zip(*said, strict=True)
    return (max(firsts), min(lasts)) if max(firsts) <= min(lasts) else (min(firsts), max(lasts))


def _similar(entities: Mapping[str, Entity], least: float) -> dict[Pair, float]:
    """Pairs of different sources that have names as alike as that, and the likeness of the two most alike."""
    best: dict[Pair, float] = {}
    for ours, theirs in _blocks(entities):
        others = [name for name, _ in theirs]
        for name, entity in ours:
            for _, score, place in process.extract(
                name, others, scorer=fuzz.ratio, score_cutoff=100 * least, limit=None
            ):
                pair = _ids(entity, theirs[place][1])
                best[pair] = max(best.get(pair, 0.0), score / 100)
    return best


def _blocks(entities: Mapping[str, Entity]) -> Iterator[tuple[Named, Named]]:
    """Names, each with its entity, that begin alike in a word and come from two sets of sources."""
    blocks: dict[str, dict[tuple[str, ...], Named]] = defaultdict(lambda: defaultdict(list))
    for entity in entities.values():
        for name in {name_key(text) for text in (entity.label, *entity.aliases)} - {""}:
            for start in {word[:BLOCK] for word in name.split()}:
                blocks[start][entity.sources].append((name, entity.id))
    for _, by_sources in sorted(blocks.items()):
        for one, other in combinations(sorted(by_sources), 2):
            if not {*one} & {*other}:
                yield by_sources[one], by_sources[other]


def name_key(text: str) -> str:
    """What is compared of a name: its words in alphabetical order, so that "Gogh, Vincent van" is Vincent van Gogh."""
    return " ".join(sorted(label_key(text).split()))


def _rivals(strong: Iterable[Pair], entities: Mapping[str, Entity], differ: Callable[[Pair], bool]) -> set[Pair]:
    """The pairs of which one end has another partner that is not the first, so that one of the two must be wrong.

    Two of one source are two, and so are two that contradict each other.
    """
    partners: dict[str, list[tuple[str, Pair]]] = defaultdict(list)
    for pair in strong:
        for name, partner in (pair, pair[::-1]):
            partners[name].append((partner, pair))
    rivals: set[Pair] = set()
    for found in partners.values():
        for (one, pair), (other, second) in combinations(found, 2):
            if {*entities[one].sources} & {*entities[other].sources} or differ(_ids(one, other)):
                rivals |= {pair, second}
    return rivals


def _ids(one: str, other: str) -> Pair:
    return (one, other) if one < other else (other, one)


def _shown(entities: Mapping[str, Entity], pair: Pair) -> str:
    return " and ".join(repr(entities[name].label) for name in pair)
