"""What a recipe says of tables: which files, whom their rows speak of, and which column states what."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from mkg_builder.names import composed
from mkg_builder.recipe import Name
from mkg_builder.rows import KINDS
from mkg_builder.source import SourceOptions
from mkg_builder.strict import Strict

Compared = Annotated[str, AfterValidator(composed)]
"""A text that cells are compared with."""


class Column(Strict):
    """A column and how its cells are read; a bare name is a column whose cells are taken as they are.

    What a step cannot read is left out and listed with its reason; an empty cell says nothing.

    Attributes:
        column: its name; in JSON, `a.b` is the key `b` of the object under `a`.
        split: what stands between the values of one cell, `;`.
        match: a regular expression that a value must match whole; its first group, if it has one, is the value.
        lookup: value -> what stands for it, or null where it stands for nothing; `"*"` is for all others, which
            without it stay as they are. Or a CSV file beside the recipe with the columns `from` and `to`.
        template: a text with `{}` where the value goes.
        parse: `date` reads dates as people write them into EDTF, `country` takes a place to its country of today.
    """

    column: str
    split: str | None = Field(None, min_length=1)
    match: str | None = None
    lookup: dict[Compared, str | None] | str = {}
    template: str | None = Field(None, pattern=r"\{\}")
    parse: Literal["text", "date", "country"] = "text"

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value


class ImageColumn(Column):
    """The column of a picture's address: a URL, a path on an endpoint, or a file beside the recipe.

    Attributes:
        endpoint: one of the source's endpoints; the values are paths on it.
    """

    endpoint: Name | None = None


class Fact(Column):
    """A column whose values are the tails of a relation.

    Attributes:
        relation: its name.
        type: the values are names of things of this type, `style`; equal names are one thing.
        table: the values are the ids of the things that this table tells of.
    """

    relation: Name
    type: Name | None = None
    table: Name | None = None

    @model_validator(mode="after")
    def _one_kind_of_tail(self) -> "Fact":
        said = [name for name in ("type", "table") if getattr(self, name) is not None]
        if len(said) != (1 if self.parse == "text" else 0):
            raise ValueError(
                "name either the `type` of its tails or the `table` that tells of them; with `parse`, none"
            )
        return self


class Rows(Strict):
    """Whom the rows of a table speak of.

    Without `label`, of what other tables tell of; such a table joins them by their ids.

    Attributes:
        type: the entity type.
        id: the column of the key; the entity's id is the type, a colon, the source's name, a slash and the key.
        label: the name that people read.
        text: what a text encoder may read.
        image: the picture.
        aliases: other names.
        same_as: kind of identifier -> its column: `{wikidata: wikidataid, ulan: ulanid}`.
    """

    type: Name
    id: Column
    label: Column | None = None
    text: Column | None = None
    image: ImageColumn | None = None
    aliases: list[Column] = []
    same_as: dict[Name, Column] = {}

    def tells_more(self) -> bool:
        """Whether a row says of its thing more than what it is called."""
        return bool(self.text or self.image or self.aliases or self.same_as)


class Table(Strict):
    """One table.

    Attributes:
        file: its path beside the recipe, or on the endpoint.
        endpoint: one of the source's endpoints, where the file is fetched from.
        format: csv, tsv, json (an array of objects), jsonl (an object a line) or parquet; by the file's name if unsaid.
        delimiter: what stands between cells, where that is neither the comma of CSV nor the tab of TSV.
        quoted: whether a double quote begins a cell that may hold delimiters and line breaks.
        only: column -> the values that are asked for; other rows are counted and left out.
        entity: whom the rows speak of.
        facts: what they state, each with its column.
        literals: name -> a column that is kept as it is, beside the graph.
        ignore: columns that nobody needs; every other one that is not read is reported.
    """

    file: str
    endpoint: Name | None = None
    format: Literal["csv", "tsv", "json", "jsonl", "parquet"] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    quoted: bool = True
    only: dict[str, list[Compared]] = {}
    entity: Rows
    facts: list[Fact] = []
    literals: dict[Name, Column] = {}
    ignore: list[str] = []

    @field_validator("file")
    @classmethod
    def _no_address(cls, value: str) -> str:
        if "://" in value:
            raise ValueError(
                f"{value!r} is an address: name its host among the source's `endpoints` "
                "(endpoints: {museum: https://museum.example}) and write `endpoint: museum` and the path as `file`"
            )
        return value

    @model_validator(mode="after")
    def _of_a_known_format(self) -> "Table":
        if self.format is None and self.kind() not in KINDS:
            raise ValueError(f"what is {self.file}? say `format: csv`, tsv, json, jsonl or parquet")
        return self

    def kind(self) -> str:
        """The format, said or seen."""
        return self.format or self.file.rpartition(".")[2].lower()

    def columns(self) -> list[Column]:
        """Every column that is read, with how."""
        return list(self.placed().values())

    def placed(self) -> dict[tuple[int | str, ...], Column]:
        """Every column that is read, by its place in the table's options."""
        row = self.entity
        named: dict[tuple[int | str, ...], Column | None] = {
            ("entity", "id"): row.id, ("entity", "label"): row.label, ("entity", "text"): row.text,
            ("entity", "image"): row.image,
        }  # fmt: skip
        named |= {("entity", "aliases", place): column for place, column in enumerate(row.aliases)}
        named |= {("entity", "same_as", kind): column for kind, column in row.same_as.items()}
        named |= {("facts", place): column for place, column in enumerate(self.facts)}
        named |= {("literals", name): column for name, column in self.literals.items()}
        return {place: column for place, column in named.items() if column is not None}

    def used(self) -> set[str]:
        """The names of the columns that the recipe reads."""
        return {column.column for column in self.columns()} | self.only.keys()


class TableOptions(SourceOptions):
    """What a recipe sets.

    Attributes:
        tables: name -> a table.
    """

    tables: dict[Name, Table] = Field(min_length=1)

    @model_validator(mode="after")
    def _joined(self) -> "TableOptions":
        tellers = {name: table.entity.type for name, table in self.tables.items() if table.entity.label is not None}
        for name, table in self.tables.items():
            for fact in table.facts:
                if fact.table is not None and fact.table not in tellers:
                    raise ValueError(
                        f"tables.{name}: {fact.relation} leads to table {fact.table!r}; "
                        f"tables that tell of things, having a `label`: {', '.join(tellers) or 'none'}"
                    )
            if table.entity.label is None and table.entity.type not in tellers.values():
                raise ValueError(f"tables.{name}: no table with a `label` tells of any {table.entity.type}")
        return self
