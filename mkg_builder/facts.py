"""Facts: what the sources say on its way to a graph, with a line for everything that is left out."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mkg_builder.graph import Dropped, Entity, Literal, Triple
from mkg_builder.triples import Mask, Triples


@dataclass(frozen=True)
class Facts:
    """Entities, triples and literals on their way to a graph, with what was dropped so far.

    Attributes:
        gone: rule -> how many triples it took, whether listed one by one or with an entity;
            the triples there were equal those there are and those that are gone.
    """

    entities: Mapping[str, Entity]
    triples: Triples
    literals: tuple[Literal, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    gone: Counter[str] = field(default_factory=Counter)

    def without_triples(self, doomed: Mask, rule: str, why: Callable[[Triple], str] | str) -> "Facts":
        """The facts without the masked triples, each one listed with its reason."""
        if not doomed.any():
            return self
        losses = tuple(
            Dropped(f"{t.head} {t.relation} {t.tail}", rule, why if isinstance(why, str) else why(t))
            for t in self.triples.where(doomed)
        )
        return replace(self.taking(doomed, rule), dropped=self.dropped + losses)

    def taking(self, doomed: Mask, rule: str) -> "Facts":
        """The facts without the masked triples, which are counted and not listed."""
        if not doomed.any():  # a copy of millions of facts is no small thing
            return self
        gone = Counter(self.gone)
        gone[rule] += int(doomed.sum())
        return replace(self, triples=self.triples.where(~doomed), gone=gone)

    def without_entities(self, doomed: Mapping[str, str], rule: str) -> "Facts":
        """The facts without some entities, each listed with its reason, and every triple that names one."""
        if not doomed:
            return self
        losses = tuple(Dropped(name, rule, why) for name, why in sorted(doomed.items()))
        named = self.triples.naming(self.triples.mark(doomed.__contains__))
        return replace(
            self.taking(named, rule),
            entities={name: entity for name, entity in self.entities.items() if name not in doomed},
            dropped=self.dropped + losses,
        )
