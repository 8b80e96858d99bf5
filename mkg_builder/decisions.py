"""What people decide on pairs of entities: a CSV file that a build adds open pairs to, and reads the answers from."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mkg_builder.align import Likeness
from mkg_builder.durable import write_durably
from mkg_builder.errors import DataError
from mkg_builder.facts import Facts
from mkg_builder.recipe import Recipe
from mkg_builder.unions import Pair
from mkg_builder.wording import counted

COLUMNS = ["left", "right", "score", "decision", "reason"]
ANSWERS = {"yes": True, "no": False, "": None}


@dataclass(frozen=True)
class Decision:
    """One line of the file; `same` is None while nobody has decided."""

    left: str
    right: str
    score: str
    same: bool | None
    reason: str

    @property
    def ids(self) -> Pair:
        """The pair, the smaller id first."""
        return (self.left, self.right) if self.left < self.right else (self.right, self.left)


def read_decisions(path: Path) -> dict[Pair, Decision]:
    """The lines of a file by pair; nothing where there is no file.

    Raises:
        DataError: not such a file, an answer other than yes, no and nothing, or two answers for one pair.
    """
    if not path.is_file():
        return {}
    found: dict[Pair, Decision] = {}
    try:
        reader = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        for row in reader:
            decision = _decision(row, f"{path}, line {reader.line_num}")
            known = found.setdefault(decision.ids, decision)
            if known.same != decision.same:
                raise DataError(f"{path}, line {reader.line_num}: another line decides on this pair otherwise")
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as CSV in UTF-8 ({error})") from None
    return found


def _decision(row: Mapping[str, str], where: str) -> Decision:
    if list(row) != COLUMNS or None in row.values():
        raise DataError(f"{where}: the columns should be {', '.join(COLUMNS)}")
    answer = row["decision"].strip().lower()
    if answer not in ANSWERS:
        raise DataError(f"{where}: the decision is {row['decision']!r}; write yes, no or nothing")
    return Decision(row["left"], row["right"], row["score"], ANSWERS[answer], row["reason"])


def decided(decisions: Iterable[Decision]) -> dict[Pair, bool]:
    """The pairs on which somebody has decided."""
    return {decision.ids: decision.same for decision in decisions if decision.same is not None}


def idle_decisions(answers: Mapping[Pair, bool], facts: Facts, recipe: Recipe) -> list[str]:
    """What to say of decisions that change nothing: on what no source tells of, or that joins what is not aligned."""
    known = [pair for pair in answers if facts.entities.keys() >= {*pair}]
    strangers = len(answers) - len(known)
    kinds = {pair: {facts.entities[name].type for name in pair} for pair in known if answers[pair]}
    idle = [pair for pair, types in kinds.items() if len(types) > 1 or not types & {*recipe.alignment}]
    notes = [f"no source tells of the entities of {counted(strangers, 'decision')}"] if strangers else []
    if idle:
        aligned = ", ".join(sorted(recipe.alignment))
        notes.append(f"{counted(len(idle), 'yes', 'yes')} without effect, the first on {' and '.join(idle[0])}: "
                     f"what the recipe aligns is {aligned}")  # fmt: skip
    return [f"alignment: {note}" for note in notes]


def record(answers: Mapping[Pair, bool]) -> bytes:
    """The decisions that a build goes by, in the same bytes whatever file or order they came in."""
    return _text([*pair, "", "yes" if same else "no", ""] for pair, same in sorted(answers.items())).encode()


def write_review(path: Path, known: Mapping[Pair, Decision], waiting: Iterable[Likeness]) -> None:
    """Lay out what waits for a decision, after what was decided in this file before; written only if it changed."""
    lines = {
        pair: [one.left, one.right, one.score, "yes" if one.same else "no", one.reason]
        for pair, one in known.items() if one.same is not None
    }  # fmt: skip
    for pair in waiting:
        lines.setdefault((pair.left, pair.right), [pair.left, pair.right, f"{pair.score:.3f}", "", pair.reason])
    text = _text(line for _, line in sorted(lines.items())).encode()
    if (lines and not path.exists()) or (path.exists() and path.read_bytes() != text):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, text)


def _text(lines: Iterable[list[str]]) -> str:
    buffer = io.StringIO(newline="")
    plain, quoted = (csv.writer(buffer, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for line in (COLUMNS, *lines):  # a lone carriage return ends a line for every reader, and is not quoted by itself
        (quoted if any("\r" in cell for cell in line) else plain).writerow(line)
    return buffer.getvalue()
