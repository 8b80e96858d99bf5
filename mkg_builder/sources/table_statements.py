"""What one row of a table states: an entity, its facts, its literals; what cannot be read is written down."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mkg_builder.graph import Dropped, Entity, Literal, Statement, Triple
from mkg_builder.names import normalise, slug
from mkg_builder.places import country_id, country_name
from mkg_builder.rows import Row
from mkg_builder.source import SourceContext
from mkg_builder.sources.table_options import Column, Fact, ImageColumn, Table
from mkg_builder.sources.table_values import Lookups, read_values, short
from mkg_builder.wording import counted

WEB = ("http://", "https://")
SIGNATURE = 100
"""So many signs of a row without an id are shown to find it by."""


@dataclass
class Told:
    """What was told so far: the label of each thing by table and id, and every attribute by id and label.

    Attributes:
        accounts: of each thing, what was first told of it, as hashes: texts would fill the memory.
        repeated: by table, the ids that several of its rows have.
        otherwise: by table, the ids that an earlier row calls otherwise, with both names.
        passed_over: the ids of rows that `only` leaves out of the tables that tell of things.
        beyond: the ids that the limit leaves out.
        left_out: by table, how many rows `only` leaves out, and how many are about such.
    """

    tables: Mapping[str, Table]
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    accounts: dict[tuple[str, str], int] = field(default_factory=dict)
    repeated: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    otherwise: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    passed_over: set[str] = field(default_factory=set)
    beyond: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    attributes: set[tuple[str, str]] = field(default_factory=set)

    def meet(self, table: str, thing: str, label: str) -> None:
        """Take note of a row that tells of a thing."""
        known, first = self.labels.setdefault(table, {}), self.label(self.tables[table].entity.type, thing)
        if thing in known:
            self.repeated[table].add(thing)
        if first is not None and first != label:
            self.otherwise[table].setdefault(thing, f"{short(label)}, before {short(first)}")
        known.setdefault(thing, label)

    def notes(self) -> Iterator[str]:
        """What to say of rows that share an id, and of those that are left out."""
        for table, things in self.repeated.items():
            yield (f"{table}: {counted(len(things), 'id')} in several rows, the first {min(things)}; "
                   "what they state is taken together")  # fmt: skip
        for table, names in self.otherwise.items():
            first = min(names)
            yield (f"{table}: {counted(len(names), 'id')} called otherwise than before, the first {first}: "
                   f"{names[first]}; if they are two things, give the ids of one table a `template`")  # fmt: skip
        if self.left_out:
            counts = ", ".join(f"{name} {count:,}" for name, count in sorted(self.left_out.items()))
            yield f"rows that `only` leaves out, and rows about such: {counts}"

    def label(self, kind: str, thing: str) -> str | None:
        """What a thing of a type is called in the first table that tells of it."""
        found = (names.get(thing) for table, names in self.labels.items() if self.tables[table].entity.type == kind)
        return next((label for label in found if label is not None), None)

    def other_accounts(self, thing: str, said: Mapping[str, str | None]) -> Iterator[str]:
        """What a row says otherwise than the one that told of the thing first, whose word stands."""
        for how, value in said.items():
            if value is not None and self.accounts.setdefault((thing, how), hash(value)) != hash(value):
                yield f"{how} {short(value)}"


def picture_key(source: str, column: ImageColumn, value: str) -> str:
    """Where the snapshot keeps a picture."""
    return f"{column.endpoint}:{value.lstrip('/')}" if column.endpoint else f"{source}:{value}"


@dataclass(frozen=True)
class Scribe:
    """Writes down one row.

    Attributes:
        name: of the table.
        lookups: the files that its columns look values up in.
    """

    context: SourceContext
    name: str
    table: Table
    row: Row
    lookups: Lookups

    def thing(self) -> str | None:
        """The id of what the row speaks of."""
        key = self.one(self.table.entity.id)
        return self.place(self.table, key) if key else None

    def place(self, table: Table, key: str) -> str:
        """The id that a key in a table's id column stands for."""
        return f"{table.entity.type}:{self.context.name}/{normalise(key)}"

    def one(self, column: Column | None) -> str | None:
        """The only value of a cell; None where there is none or several."""
        found = [value.text for value in read_values(self.row, column, self.lookups)] if column else []
        return found[0] or None if len(found) == 1 else None

    def without(self, column: Column, thing: str | None) -> Dropped:
        """The line for a row that lacks what a row must have."""
        found = list(read_values(self.row, column, self.lookups))
        shown = "; ".join(f"{name}={', '.join(cell)}" for name, cell in self.row.items() if cell)[:SIGNATURE]
        why = f"{len(found)} values in {column.column!r}, where one is allowed" if len(found) > 1 else None
        why = why or (found[0].why if found else f"nothing in {column.column!r}")
        return Dropped(thing or f"{self.context.name}.{self.name}: {shown}", "required_fields", f"{self.name}: {why}")

    def texts(self, column: Column | None, thing: str, said: str) -> list[str]:
        """The values of a cell; each that cannot be read is a line in `dropped`."""
        good = []
        for value in read_values(self.row, column, self.lookups) if column else ():
            if value.why:
                self.context.drop(Dropped(f"{thing} {said}", "unreadable_value", f"{self.name}: {value.why}"))
            else:
                good.append(value.text)
        return good

    def entity(self, thing: str, label: str, told: Told) -> Entity:
        """The row's entity with all that the table says of it but its facts; another word than the first is listed."""
        mapped = self.table.entity
        text = " ".join(self.texts(mapped.text, thing, "text"))
        aliases = [alias for column in mapped.aliases for alias in self.texts(column, thing, "alias")]
        same_as = {
            f"{kind}:{value}" for kind, column in mapped.same_as.items() for value in self.texts(column, thing, kind)
        }
        image = self._image(thing)
        for other in told.other_accounts(thing, {"calls it": label, "says of it": text or None, "shows it in": image}):
            self.context.drop(Dropped(thing, "repeated_id", f"{self.name}: another row {other}"))
        label = told.label(mapped.type, thing) or label
        return Entity(
            thing, mapped.type, label, text=text or None, image=image, same_as=tuple(sorted(same_as)),
            sources=(self.context.name,), aliases=tuple(sorted(set(aliases) - {label})),
        )  # fmt: skip

    def _image(self, thing: str) -> str | None:
        column = self.table.entity.image
        if column is None:
            return None
        for value in self.texts(column, thing, "image"):
            key = picture_key(self.context.name, column, value)
            if self.context.has(key):
                return key
            why = self._not_there(column, value)
            self.context.drop(Dropped(thing, "picture_not_fetched", f"{self.name}: {value}: {why}"))
        return None

    def _not_there(self, column: ImageColumn, value: str) -> str:
        if column.endpoint is None and not value.startswith(WEB):
            return "no such file beside the recipe"
        if column.endpoint is not None or self.context.may_ask(value):
            return "not fetched"
        return "its host is not among the source's `hosts`"

    def facts(self, thing: str, told: Told) -> Iterator[Statement]:
        """The row's triples, what they lead to, and its literals."""
        for fact in self.table.facts:
            for value in read_values(self.row, fact, self.lookups):
                tail, why = (None, value.why) if value.why else self._tail(fact, value.text, told)
                if tail is None:
                    why = f"{self.name}: {why}"
                    self.context.drop(
                        Dropped(f"{thing} {fact.relation} {value.raw[:SIGNATURE]}", "unreadable_value", why)
                    )
                    continue
                if fact.table is None and (tail.id, tail.label) not in told.attributes:
                    told.attributes.add((tail.id, tail.label))  # another label of one id is to be seen too
                    yield tail
                yield Triple(thing, fact.relation, tail.id, self.context.name)
                if fact.parse != "text" and value.raw != value.text:
                    yield Literal(thing, fact.relation, value.raw, self.context.name)
        for name, column in self.table.literals.items():
            for text in self.texts(column, thing, name):
                yield Literal(thing, name, text, self.context.name)

    def _tail(self, fact: Fact, text: str, told: Told) -> tuple[Entity | None, str]:
        """What a fact leads to, or why to nothing."""
        sources = (self.context.name,)
        if fact.parse == "date":
            return Entity(f"date:{text}", "date", text, text=text, sources=sources), ""
        if fact.parse == "country":
            label = country_name(text)
            same_as = (f"iso3166:{text}",)
            return Entity(country_id(text), "country", label, text=label, same_as=same_as, sources=sources), ""
        if fact.table is not None:
            other = told.tables[fact.table]
            thing = self.place(other, text)
            label = told.labels[fact.table].get(thing, "")
            return (
                (Entity(thing, other.entity.type, label), "") if label else (None, f"{fact.table} tells of no {text}")
            )
        name = slug(text)
        if not name:
            return None, f"{text!r} has no letter and no figure"
        return Entity(f"{fact.type}:{name}", str(fact.type), text, text=text, sources=sources), ""
