"""Tables that a recipe maps to a graph: CSV, TSV, JSON, JSONL and Parquet, beside the recipe or fetched."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from mkg_builder.errors import DataError, RecipeError, UnknownNameError
from mkg_builder.graph import Dropped, Statement
from mkg_builder.names import composed
from mkg_builder.recipe import Recipe
from mkg_builder.rows import CLOSED, RowFile, read_columns, read_rows
from mkg_builder.source import Misfit, Request, Source, SourceContext, SourceOptions
from mkg_builder.sources.table_fit import misfits
from mkg_builder.sources.table_options import ImageColumn, Table, TableOptions
from mkg_builder.sources.table_statements import WEB, Scribe, Told, picture_key
from mkg_builder.sources.table_values import read_lookup, read_values


class Tables(Source):
    """Rows become entities and their facts; what the recipe does not map is reported, what cannot be used listed.

    The tables are read twice, so that their order does not matter: first for the things that they tell of, then for
    the facts; a few rows are in memory at a time, besides the ids and labels of the things.
    """

    Options: ClassVar[type[SourceOptions]] = TableOptions
    reads_files: ClassVar[bool] = True

    @override
    def misfits(self, recipe: Recipe, name: str) -> Iterator[Misfit]:
        return misfits(self.options.tables, recipe, name)

    @override
    def fetch(self, context: SourceContext) -> None:
        tables: dict[str, Table] = self.options.tables
        files: dict[str, Path] = {}
        for name, table in tables.items():
            for place, file in _lookup_files(table).items():
                _keep_file(context, file, context.beside("tables", name, *place), files)
            if table.endpoint is None:
                _keep_file(context, table.file, context.beside("tables", name, "file"), files)
        there = [_fetch_file(context, table.file, table.endpoint) for table in tables.values() if table.endpoint]
        if not all(there):
            return  # which the context has written down
        told = Told(tables)
        for _ in self._things(context, told):
            pass
        for name, table in tables.items():
            if table.entity.image is not None:
                self._fetch_pictures(context, name, table.entity.image, told)

    def _fetch_pictures(self, context: SourceContext, name: str, column: ImageColumn, told: Told) -> None:
        wanted: dict[str, Request] = {}
        for scribe in self._rows(context, name, told):
            thing = scribe.thing()
            if thing is None or told.label(scribe.table.entity.type, thing) is None:
                continue
            for value in read_values(scribe.row, column, scribe.lookups):
                key = picture_key(context.name, column, value.text)
                if column.endpoint is not None:
                    url = f"{context.endpoint(column.endpoint)}/{value.text.lstrip('/')}"
                    wanted[key] = Request(key, url, accept="image/")
                elif value.text.startswith(WEB):
                    if context.may_ask(value.text):
                        wanted[key] = Request(key, value.text, accept="image/")
                elif value.text and (path := _inside(context.beside("tables", name, "file"), value.text)) is not None:
                    context.put_file(key, path, "application/octet-stream")
                else:
                    context.forget(key)  # who takes a picture away may not show it any more
        for done, _ in enumerate(context.get_all(list(wanted.values())), start=1):
            context.progress(done, len(wanted))

    @override
    def read(self, context: SourceContext) -> Iterator[Statement]:
        told = Told(self.options.tables)
        yield from self._things(context, told)
        for name, table in told.tables.items():
            for scribe in self._rows(context, name, told, report=True):
                thing = scribe.thing()
                label = told.label(table.entity.type, thing) if thing is not None else None
                if thing is not None and label is not None:
                    if table.entity.label is None and table.entity.tells_more():
                        yield scribe.entity(thing, label, told)
                    yield from scribe.facts(thing, told)
                elif thing is None and table.entity.label is None:
                    context.drop(scribe.without(table.entity.id, thing))
                elif thing in told.passed_over:
                    told.left_out[name] += 1
                elif thing is not None and table.entity.label is None and thing not in told.beyond:
                    context.drop(Dropped(thing, "unknown_id", f"{name}: no table tells of it"))
        for note in told.notes():
            context.note(note)

    def _things(self, context: SourceContext, told: Told) -> Iterator[Statement]:
        """The entities that the tables tell of; of a row that lacks an id or a label only why."""
        led_to = {fact.table for table in told.tables.values() for fact in table.facts}
        for name, table in told.tables.items():
            if table.entity.label is None:
                continue
            known = told.labels.setdefault(name, {})  # also of a table without rows
            most = None if name in led_to else context.limit
            for scribe in self._rows(context, name, told):
                thing, label = scribe.thing(), scribe.one(table.entity.label)
                if thing is None or label is None:
                    context.drop(scribe.without(table.entity.label if thing else table.entity.id, thing))
                elif most is None or thing in known or len(known) < most:
                    told.meet(name, thing, label)
                    yield scribe.entity(thing, label, told)
                else:
                    told.beyond.add(thing)

    def _rows(self, context: SourceContext, name: str, told: Told, report: bool = False) -> Iterator[Scribe]:
        """The rows that are asked for; the others are counted in a report, before it their ids are kept.

        Raises:
            DataError: the file is not there, or has no column of a name that the recipe maps.
        """
        table: Table = self.options.tables[name]
        path = _kept(context, table.file, table.endpoint)
        named = {*_lookup_files(table).values()}
        lookups = {name: read_lookup(_kept(context, name, None).read_bytes(), name) for name in named}
        file = RowFile(path, table.file, table.kind(), table.delimiter, table.quoted, frozenset(table.used()))
        seen = set[str]()
        for place, (_, row) in enumerate(read_rows(file)):
            seen |= row.keys()
            if place == 0 and table.kind() in CLOSED:
                _require_columns(table, seen)
            scribe = Scribe(context, name, table, row, lookups)
            if all({*map(composed, row.get(column, ()))} & {*values} for column, values in table.only.items()):
                yield scribe
                continue
            if report:
                told.left_out[name] += 1
            elif (thing := scribe.thing()) is not None:
                told.passed_over.add(thing)
        if report and not seen:
            context.note(f"{name}: no row in {table.file}")
        seen = seen or set(read_columns(file))
        if seen or table.kind() in CLOSED:
            _require_columns(table, seen)
        if report:
            for column in sorted(seen - _accounted_for(table)):
                context.leftover(f"{name}.{column}")


def _require_columns(table: Table, seen: set[str]) -> None:
    absent = sorted(table.used() - seen)
    if absent:
        hint = f"is the delimiter {table.delimiter!r}?" if table.delimiter and len(seen) == 1 else ""
        raise DataError(str(UnknownNameError(f"column in {table.file}:", absent[0], seen, hint)))


def _accounted_for(table: Table) -> set[str]:
    """The columns that are read or ignored, and the JSON objects around them."""
    named = table.used() | set(table.ignore)
    return named | {name[:place] for name in named for place, sign in enumerate(name) if sign == "."}


def _lookup_files(table: Table) -> dict[tuple[int | str, ...], str]:
    """The files that columns look values up in, by the place in the table's options that names each."""
    placed = table.placed().items()
    return {(*place, "lookup"): column.lookup for place, column in placed if isinstance(column.lookup, str)}


def _key(context: SourceContext, file: str, endpoint: str | None) -> str:
    return f"{endpoint or context.name}:{file}"


def _fetch_file(context: SourceContext, file: str, endpoint: str) -> bool:
    """Keep a file of an endpoint, and say whether it is there; what is not given, the next run asks again."""
    url = f"{context.endpoint(endpoint)}/{file.lstrip('/')}"
    return context.get(Request(_key(context, file, endpoint), url, needed=True)).ok


def _keep_file(context: SourceContext, file: str, folder: Path, files: dict[str, Path]) -> None:
    """Keep a file that lies beside the recipe that names it; `files` are those so far, by name."""
    path = folder / file
    if not path.is_file():
        raise RecipeError(f"no file {path}; the files of a table source are looked up beside the recipe")
    if files.setdefault(file, path) != path:
        raise RecipeError(f"{file} is {files[file]} and {path}; give one of them another name")
    context.put_file(_key(context, file, None), path, "application/octet-stream")


def _kept(context: SourceContext, file: str, endpoint: str | None) -> Path:
    path = context.file(_key(context, file, endpoint))
    if path is None:
        raise DataError(f"the snapshot does not hold {file}: run mkgb fetch")
    return path


def _inside(folder: Path, name: str) -> Path | None:
    """A file in a folder that a cell names; None where there is none, or it leads out of that folder."""
    folder = folder.resolve()
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long for a name, links in a circle, a zero byte
        return None
