"""predict: what a run answers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mkg_builder import terminal
from mkg_builder.errors import DataError, UsageError
from mkg_builder.wording import counted
from vlkge.cli.options import AsJson, Quiet, ignore

if TYPE_CHECKING:
    from vlkge.pictures import Broken
    from vlkge.predict import Predictor, Subject

app = typer.Typer()
Row = dict[str, Any]


@app.command(
    epilog="Example: vlkge predict runs/demo-complex-average --image painting.jpg --relation isCreatedByArtist"
)
def predict(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run folder, or ORG/NAME[@REV] on the Hub.")
    ] = None,
    relation: Annotated[
        list[str] | None,
        typer.Option(help="A relation whose tail is asked for; repeat it. Default: all of what is asked about."),
    ] = None,
    head: Annotated[str | None, typer.Option(help="An entity of the graph, by id.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture outside the graph, or a folder of pictures.")] = None,
    text: Annotated[str | None, typer.Option(help="Title or description of something outside the graph.")] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="Its entity type; default: the one that has unseen members.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many answers.")] = 10,
    named: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="The run, instead of the argument.")
    ] = None,
    new_only: Annotated[bool, typer.Option("--new-only", help="With --head: leave out what the graph states.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also the nearest of training, and what each modality contributes.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The likeliest tails of an entity, or of pictures or a text outside the graph, with their probabilities."""
    from vlkge.predict import Predictor
    from vlkge.run import find_run

    place = run or named
    if place is None or (run and named):
        raise UsageError("name one run: vlkge predict RUN, or vlkge predict --run RUN")
    if (head is None) == (image is None and text is None):
        raise UsageError("give either --head, or --image and/or --text")
    if head is not None and kind is not None:
        raise UsageError(f"--type is of something outside the graph; {head} has one")
    if new_only and head is None:
        raise UsageError("--new-only leaves out what the graph states of a --head; of others it states nothing")
    folder = image if image is not None and image.is_dir() else None
    if folder is not None and text is not None:
        raise UsageError(f"--text belongs to one picture, {folder} is a folder")
    predictor = Predictor(find_run(place))
    asked = _Asked(predictor, relation or [], top, new_only, explain)
    if folder is not None:
        _answer_folder(asked, folder, kind, as_json, quiet)
        return
    _show(asked, asked.rows([[asked.subject(head, image, text, kind)]]), as_json)
    if not quiet and not as_json:
        asked.note_known()
        asked.note_calibration()


class _Asked:
    """One call of predict: what is asked of whatever subject, and what was answered so far."""

    def __init__(
        self, predictor: "Predictor", relations: list[str], top: int, new_only: bool, with_reasons: bool
    ) -> None:
        from vlkge.explain import Explainer

        self.predictor, self.relations, self.top, self.new_only = predictor, relations, top, new_only
        for relation in relations:
            predictor.dataset.relation_index(relation)
        self.explainer = Explainer(predictor) if with_reasons else None
        self.answered, self.broken, self.known = 0, 0, False

    def kind(self, given: str | None, pictured: bool) -> str | None:
        """What something outside is: as said; what may be unseen, of which there are pictures; as the relations ask."""
        domains = {self.predictor.dataset.relation_info[relation].domain for relation in self.relations}
        unseen = self.predictor.dataset.unseen_type
        if given is None and len(domains) == 1 and not (pictured and unseen):
            return domains.pop()
        found = given or unseen
        self.relations = self.relations or self.predictor.relations_from(found)
        return found

    def subject(self, head: str | None, image: Path | None, text: str | None, kind: str | None) -> "Subject":
        """The one thing that is asked about."""
        from vlkge.predict import Outside

        if head is None:
            return self.predictor.outside(Outside(image, text, self.kind(kind, image is not None)))
        found = self.predictor.entity(head)
        self.relations = self.relations or self.predictor.relations_from(found.kind)
        return found

    def rows(self, batches: "Iterable[Sequence[Subject | Broken]]") -> Iterator[Row]:
        """What is told of each subject, in order."""
        from vlkge.pictures import Broken
        from vlkge.predict import Subject

        for batch in batches:
            subjects = [one for one in batch if isinstance(one, Subject)]
            found = {name: iter(self._answers(subjects, name)) for name in self.relations}
            for one in batch:
                if isinstance(one, Broken):
                    self.broken += 1
                    yield {"name": one.name, "error": one.reason}
                else:
                    self.answered += 1
                    yield self._row(one, {name: next(answers) for name, answers in found.items()})

    def _answers(self, subjects: "list[Subject]", relation: str) -> list[Any]:
        return self.predictor.answers(subjects, relation, self.top, self.new_only) if subjects else []

    def _row(self, subject: "Subject", answers: dict[str, Any]) -> Row:
        self.known |= any(answer.known for found in answers.values() for answer in found)
        told = {name: [asdict(answer) for answer in found] for name, found in answers.items()}
        row: Row = {"name": subject.name, "type": subject.kind, "answers": told}
        if self.explainer is not None:
            row["explanation"] = asdict(self.explainer.explain(subject, answers))
        return row

    def about(self) -> Row:
        """What the answers depend on."""
        from vlkge.protocol import Strict

        run, calibration = self.predictor.run, self.predictor.calibration
        return {
            "run": str(run.folder),
            "weights_sha256": run.record["weights"]["sha256"],
            "dataset": {field: getattr(run.dataset, field) for field in ("name", "version", "content_sha256")},
            "seed": run.experiment.training.seed,
            "protocol": {"name": Strict.name, "version": Strict.version},
            "calibration": {name: asdict(calibration[name]) for name in self.relations if name in calibration},
        }

    def note_known(self) -> None:
        """Say what the column means, where it says something."""
        if self.known:
            terminal.note("known from: the split that already states this triple; --new-only leaves these out")

    def note_calibration(self) -> None:
        """Say how far the probabilities can be trusted, and where there are none."""
        for name in self.relations:
            terminal.note(f"{name}: {self._how_far(name)}")

    def _how_far(self, relation: str) -> str:
        if not len(self.predictor.candidates(self.predictor.dataset.relation_index(relation))):
            return "no answer, no split has any of it"
        one = self.predictor.calibration.get(relation)
        if one is None:
            dataset = self.predictor.dataset
            asked = (dataset.triples["validation"][:, 1] == dataset.relation_index(relation)).any()
            why = "all scores of the validation split are alike" if asked else "the validation split has none of it"
            return f"no probability, {why}"
        measured = "not measured, the test split has none of it"
        if one.error_after is not None:
            measured = f"{one.error_after:.3f} on {one.test_queries:,} of test, uncalibrated {one.error_before:.3f}"
        fitted = f"probability by {one.method}, fitted on {one.queries:,} validation queries"
        return f"{fitted}; expected calibration error {measured}"


def _answer_folder(asked: _Asked, folder: Path, kind: str | None, as_json: bool, quiet: bool) -> None:
    """Answer every picture of a folder; a broken one is told in its place."""
    from vlkge.pictures import find_pictures

    paths, is_a = find_pictures(folder), asked.kind(kind, pictured=True)
    # a bar would be torn by tables on the same terminal
    with terminal.progress_bar(quiet or terminal.out.is_terminal) as advance:
        told = advance or ignore

        def watched() -> Iterator[Row]:
            told("pictures", 0, len(paths))
            for row in asked.rows(asked.predictor.pictures(paths, is_a)):
                yield row
                if advance is not None:
                    advance("pictures", asked.answered + asked.broken, len(paths), asked.broken)

        _show(asked, watched(), as_json)
    if not asked.answered:
        raise DataError(f"no whole picture among {counted(len(paths), 'file')} in {folder}")
    if not quiet and not as_json:
        asked.note_calibration()
        terminal.note(f"{counted(asked.answered, 'picture')} answered, {asked.broken:,} broken")


def _show(asked: _Asked, rows: Iterator[Row], as_json: bool) -> None:
    if as_json:
        terminal.stream_json(asked.about(), "things", rows)
        return
    for row in rows:
        if "error" in row:
            terminal.say(f"{row['name']}: {row['error']}")
            continue
        _show_answers(row, asked.relations)
        if "explanation" in row:
            _show_reasons(row)


def _show_answers(row: Row, relations: list[str]) -> None:
    known = any(answer["known"] for found in row["answers"].values() for answer in found)
    title = f"{row['name']} – {relations[0]}" if len(relations) == 1 else row["name"]
    columns = ["rank", "label", "entity", "score", "probability", *(["known from"] if known else [])]
    fields = ["rank", "label", "entity", "score", "probability", "known"][: len(columns)]
    lines = [
        [name, *(answer[field] for field in fields)][len(relations) == 1 :]
        for name, found in row["answers"].items() for answer in found
    ]  # fmt: skip
    terminal.show_table(title, columns if len(relations) == 1 else ["relation", *columns], lines)


def _show_reasons(row: Row) -> None:
    why = row["explanation"]
    terminal.show_table(f"{row['name']} – nearest in training", ["label", "entity", "cosine"],
                        [(one["label"], one["entity"], one["cosine"]) for one in why["nearest"]])  # fmt: skip
    if len(why["modalities"]) < 2:
        only = ", ".join(why["modalities"])
        terminal.say(f"{only} is all that is known of {row['name']}; without it there is no answer")
        return
    lines = [
        (name, answer["label"], answer["score"], *(why["without"][name][one][place] for one in why["modalities"]))
        for name, found in row["answers"].items() for place, answer in enumerate(found)
    ]  # fmt: skip
    columns = ["relation", "label", "score", *(f"without {one}" for one in why["modalities"])]
    terminal.show_table(f"{row['name']} – scores without a modality", columns, lines)
