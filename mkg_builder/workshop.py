"""A recipe opened for work: what the user asked for, its sources, its snapshot, the endpoints that apply."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mkg_builder.addresses import is_web_address
from mkg_builder.context import SnapshotContext
from mkg_builder.errors import RecipeError, UnknownNameError, UsageError
from mkg_builder.http import Client
from mkg_builder.layers import find_recipe, read_layers, stated_in
from mkg_builder.recipe import SourceRecipe, load_recipe
from mkg_builder.registry import Registry
from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Progress, Source
from mkg_builder.strict import Location, validate

SOURCES = Registry(
    "source",
    "mkg_builder.sources",
    {
        "official": "mkg_builder.sources.official:Official",
        "table": "mkg_builder.sources.table:Tables",
        "wikiart": "mkg_builder.sources.wikiart:WikiArt",
        "wikidata": "mkg_builder.sources.wikidata:Wikidata",
    },
)


@dataclass(frozen=True)
class Job:
    """What the user asked for.

    Attributes:
        recipe: a shipped recipe's name or a path.
        workspace: the folder that holds snapshots and releases.
        limit: at most so many artworks of each source.
        offline: never touch the network; what the snapshot lacks is left out, files are read as ever.
        endpoints: name -> address, in place of the recipe's.
        overrides: `dotted.key=value` changes to the recipe.
        contact: who asks, for live hosts.
        files: the folder of the published files that the recipe names and does not bring.
    """

    recipe: str
    workspace: Path
    limit: int | None = None
    offline: bool = False
    endpoints: Mapping[str, str] | None = None
    overrides: tuple[str, ...] = ()
    contact: str | None = None
    files: Path | None = None


class Workshop:
    """A recipe opened for work: its sources, its snapshot, the endpoints that apply."""

    def __init__(self, job: Job, advance: Progress | None = None) -> None:
        self.job, self.advance = job, advance
        path = find_recipe(job.recipe)
        self.folder, self.layers = path.resolve().parent, read_layers(path)
        self.recipe = load_recipe(path, job.overrides)
        self.snapshot = Snapshot(job.workspace / "snapshots" / self.recipe.name)
        self.sources = {name: self._source(name, part) for name, part in self.recipe.sources.items()}
        if job.files is not None and not any(source.wants_files for source in self.sources.values()):
            raise UsageError(f"--files {job.files}: {self.recipe.name} reads no published files; leave it out")
        self.endpoints = self._endpoints()

    def _source(self, name: str, part: SourceRecipe) -> Source:
        kind: type[Source] = SOURCES.resolve(part.use, self._folder(name))

        def where(location: Location) -> str:
            return f"{self._option(name, location)}: sources.{name}.options"

        source = kind(validate(kind.Options, part.options, where))
        for location, why in source.misfits(self.recipe, name):
            raise RecipeError(f"{where(location)}: {'.'.join(map(str, location))}: {why}")
        return source

    def _folder(self, source: str) -> Path:
        """Where the recipe lies that brings a source in: its files lie beside that one."""
        return stated_in(self.layers, ("sources", source, "use")).resolve().parent

    def _option(self, source: str, location: Location) -> Path:
        """The recipe that states an option of a source."""
        return stated_in(self.layers, ("sources", source, "options", *location))

    def decisions(self) -> Path | None:
        """The file of decisions that the recipe brings, beside the recipe that names it.

        Raises:
            RecipeError: there is no such file.
        """
        if self.recipe.decisions is None:
            return None
        path = stated_in(self.layers, ("decisions",)).parent / self.recipe.decisions
        if not path.is_file():
            raise RecipeError(f"no file {path}, which the recipe names as its `decisions`")
        return path

    def _endpoints(self) -> dict[str, str]:
        """The recipe's endpoints, then what the snapshot was fetched from, then what the user says."""
        own = self.own_endpoints()
        for name in self.job.endpoints or {}:
            if name not in own:
                raise UnknownNameError("endpoint", name, own)
        origin = self.snapshot.origin() or {}  # of endpoints, perhaps, that the recipe no longer has
        found = {**own, **(self.job.endpoints or {name: url for name, url in origin.items() if name in own})}
        for name, url in found.items():
            if not is_web_address(url):
                raise UsageError(f"endpoint {name} is {url!r}; write an http or https address")
        return found

    def own_endpoints(self) -> dict[str, str]:
        """The endpoints that the recipe names, of all its sources."""
        return {name: url for part in self.recipe.sources.values() for name, url in part.endpoints.items()}

    def marks(self) -> tuple[str, ...]:
        """How this build differs from the recipe, in words; empty when it does not."""
        own = self.own_endpoints()
        moved = sorted(name for name, url in self.endpoints.items() if url != own[name])
        return (
            *([f"limited to {self.job.limit} artworks of each source"] if self.job.limit is not None else []),
            *(f"set {override}" for override in self.job.overrides),
            *(f"endpoint {name} is not the recipe's" for name in moved),
        )

    def version(self) -> str:
        """The recipe's version; behind a plus sign what marks this build, so that no two kinds share a folder."""
        parts = [f"limit-{self.job.limit}"] if self.job.limit is not None else []
        if self.job.overrides:  # in their order: of two with one key the last counts
            parts.append("set-" + hashlib.sha256("\n".join(self.job.overrides).encode()).hexdigest()[:6])
        if any(mark.startswith("endpoint") for mark in self.marks()):
            parts.append("endpoint")
        return self.recipe.version + ("+" + ".".join(parts) if parts else "")

    def context(self, name: str, online: bool) -> SnapshotContext:
        """What a source is given: with a client while it fetches, without one while it reads."""
        part = self.recipe.sources[name]
        context = SnapshotContext(
            name, self._folder(name), self.snapshot, self.endpoints, self.job.limit,
            self._client(name) if online and (part.endpoints or part.hosts) else None, self.advance,
        )  # fmt: skip
        context.files, context.hosts = self.job.files, self._hosts(name)
        context.stated_in = lambda location: self._option(name, location)
        return context

    def _hosts(self, name: str) -> list[str]:
        part = self.recipe.sources[name]
        hosts = [urlsplit(self.endpoints[endpoint]).netloc for endpoint in part.endpoints]
        if all(self.endpoints[endpoint] == url for endpoint, url in part.endpoints.items()):
            hosts += part.hosts  # a stand-in server must not lead us to the live hosts
        return hosts

    def _client(self, name: str) -> Client:
        limits = {**self.sources[name].limits, **self.recipe.sources[name].limits}
        memory = self.snapshot.folder / f"asked-{name}.log"  # one each: a source knows its own limits alone
        return Client(self.job.contact, self._hosts(name), limits, memory=memory)
