"""The seam for new sources: what a source must do, and what it is given to do it with."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from mkg_builder.graph import Dropped, Statement
from mkg_builder.recipe import Limit, Recipe
from mkg_builder.strict import Location

Misfit = tuple[Location, str]
"""A place within a source's options, and what is wrong there."""


class SourceOptions(BaseModel):
    """What a recipe may set for a source; a source declares its own by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Answer:
    """One answer as the snapshot holds it.

    Attributes:
        key: what was asked, `<endpoint>:<path>?<query>`, free of secrets and of the machine asked.
        status: the HTTP status; 200 for what a file or a program answered.
        body: the bytes exactly as received, content encodings undone.
        media_type: as the source declared it, without parameters.
    """

    key: str
    status: int
    body: bytes
    media_type: str

    @property
    def ok(self) -> bool:
        """Whether the source answered with what was asked for."""
        return self.status == 200

    @property
    def too_expensive(self) -> bool:
        """Whether a query was more than the endpoint can answer in time: ask for half as much."""
        return self.status == 504


@dataclass(frozen=True)
class Request:
    """One question: its snapshot key, the address to ask, and what answers are final.

    Attributes:
        key: names the answer in the snapshot for ever; the same question has the same key on any machine.
            Empty: the answer is for this run alone and is never kept, as the answer to a login must not be.
        url: where to ask now.
        dead_end: a part of an error page's address: a redirect there is the answer, and final. Then no redirect is
            followed, and one to anywhere else is a passing fault. Where it is empty, redirects are followed.
        accept: how the media type of a good answer must begin ("image/"); any when empty.
        query: a SPARQL query, sent to `url` by POST; a plain GET when empty.
        secrets: parameters added to the address at the moment of asking, and shown nowhere: not in the key,
            a log, an error or a file.
        holds: a text that a good answer holds; one without it (a login page, a check for robots) is asked again.
        needed: whether only a success is an answer, and a web page only where `accept` says so; all else is a fault.
        optional: whether nobody misses an answer that was never asked for, as where a key is wanted to ask.
        divisible: whether a query may be asked in halves: then one that is too expensive says nothing of the endpoint.
        final: a text by which a failing answer shows that asking again is useless; it then is the answer.
    """

    key: str
    url: str
    dead_end: str = ""
    accept: str = ""
    query: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    holds: str = ""
    needed: bool = False
    optional: bool = False
    divisible: bool = False
    final: str = ""


@dataclass(frozen=True, eq=False)
class Vectors:
    """Feature vectors that a source publishes of some entities.

    Attributes:
        modality: what was encoded, `image` or `text`.
        encoder: what encoded it.
        ids: the entities.
        values: float32 [ids, dimension], finite.
    """

    modality: Literal["image", "text"]
    encoder: str
    ids: Sequence[str]
    values: npt.NDArray[np.float32]


class SourceContext(ABC):
    """All that a source may touch: its options, the network, the snapshot, and the record of what was left out.

    Attributes:
        name: the source's name in the recipe, to sign entities and triples with.
        folder: where the recipe lies; files that belong to the recipe are found from here.
        files: where the user keeps published files that a recipe names and does not bring, for a source that
            `wants_files`; None when not said.
        limit: at most so many artworks of this source, or None.
    """

    name: str
    folder: Path
    files: Path | None = None
    limit: int | None

    @abstractmethod
    def beside(self, *option: int | str) -> Path:
        """The folder of the recipe that states an option, by its path: a file that it names lies there.

        A recipe that extends another states some of its options, and the other the rest.
        """

    @abstractmethod
    def endpoint(self, name: str) -> str:
        """The base address of one of the recipe's endpoints, without a trailing slash."""

    @abstractmethod
    def may_ask(self, url: str) -> bool:
        """Whether the recipe lets this source ask an address; where it does not, its host is told of at the end."""

    @abstractmethod
    def get(self, request: Request) -> Answer:
        """The answer to a request: from the snapshot, else from the network, then kept.

        Three answers are never kept, and the next run asks again:
        status 0: the network failed, which is told at the end of the fetch; or this is an offline step;
        status 504 (`too_expensive`): the endpoint cannot answer this query in time, so ask for less at a time;
        status 401: the request carried secrets and the host does not take them, so log in again.

        Raises:
            UpstreamError: the network did not answer, or the snapshot has no answer and this is an offline step.
        """

    @abstractmethod
    def get_all(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """The answers to many requests, in their order, several asked at a time."""

    @abstractmethod
    def put(self, key: str, body: bytes, media_type: str, status: int = 200) -> None:
        """Keep an answer that a file or a program gave, or one that was asked for and judged.

        Raises:
            UpstreamError: it repeats a secret of this run.
        """

    @abstractmethod
    def put_file(self, key: str, path: Path, media_type: str) -> None:
        """Keep a file as an answer, whatever its size: its bytes are never all in memory."""

    @abstractmethod
    def forget(self, key: str) -> None:
        """Take back a kept answer whose file is there no more; the same key may be kept anew later."""

    @abstractmethod
    def file(self, key: str) -> Path | None:
        """A file that holds a kept answer, its bytes verified, only to be read; None when there is none."""

    @abstractmethod
    def is_whole_picture(self, answer: Answer) -> bool:
        """Whether an answer holds a picture to its end: some are cut short or damaged at their source."""

    @abstractmethod
    def has(self, key: str) -> bool:
        """Whether the snapshot holds an answer for this key."""

    @abstractmethod
    def drop(self, dropped: Dropped) -> None:
        """Write down something that is left out of the graph, and why."""

    @abstractmethod
    def leftover(self, field_name: str) -> None:
        """Report a field that the source sent and nobody reads, once per name."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Say, while reading, what a user of the release should know of this source: what it could not give."""

    @abstractmethod
    def fail(self, line: str) -> None:
        """Say, while fetching, what could not be had and when to ask again; the rest goes on."""

    @abstractmethod
    def progress(self, done: int, total: int | None) -> None:
        """Say how far the current step has come."""


class Source(ABC):
    """A place where knowledge comes from.

    Subclass it, declare `Options`, write the two methods. `fetch` stores raw answers and interprets
    nothing that it need not; `read` works from the stored answers alone and may be run any number of times.
    """

    Options: ClassVar[type[SourceOptions]] = SourceOptions
    limits: ClassVar[Mapping[str, Limit]] = {}
    """Host pattern -> how often its owners say that it may be asked; a recipe may say otherwise."""
    reads_files: ClassVar[bool] = False
    """Whether files beside the recipe are read even where there are endpoints: then offline builds fetch too, with a
    context that asks nothing. Sources without endpoints fetch in every build."""
    wants_files: ClassVar[bool] = False
    """Whether it reads the folder that the user names with `--files`."""

    def __init__(self, options: SourceOptions) -> None:
        self.options: Any = options

    def misfits(self, recipe: Recipe, name: str) -> Iterator[Misfit]:  # noqa: ARG002
        """Why the options, in order by themselves, do not fit the recipe; the first stops a command before it begins.

        Args:
            recipe: the whole of it.
            name: which of its sources this is.
        """
        return iter(())

    @abstractmethod
    def fetch(self, context: SourceContext) -> None:
        """Ask everything, through the context, which keeps every answer."""

    @abstractmethod
    def read(self, context: SourceContext) -> Iterator[Statement]:
        """Entities, triples and literals from the kept answers, each naming its source; never asks the network."""

    def vectors(self, context: SourceContext, entities: Collection[str]) -> Iterator[Vectors]:  # noqa: ARG002
        """The feature vectors that it publishes of these entities, some thousand at a time; none unless overridden."""
        return iter(())


@dataclass
class Observations:
    """What reading the sources brought to light besides entities and triples."""

    dropped: list[Dropped] = field(default_factory=list)
    leftovers: dict[str, set[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


Progress = Callable[[str, int, int | None, int], None]
"""Told of progress: the stage, how many are done, of how many (None: unknown), how many were skipped."""
