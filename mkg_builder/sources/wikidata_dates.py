"""Wikidata's dates as EDTF: with their precision, "about", and the bounds that qualify them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mkg_builder.dates import from_timestamp
from mkg_builder.sources.wikidata_batches import UNKNOWN, qid

YEAR = 9
CIRCA = "Q5727902"


@dataclass(frozen=True, order=True)
class Moment:
    """A date as a statement gives it; empty where it does not say.

    Attributes:
        value: `1840-11-14T00:00:00Z`, in the proleptic Gregorian calendar whatever `calendar` says; the year 0000
            is 1 BC, as in EDTF. Or `UNKNOWN`.
        precision: how much of the value is meant: 11 the day, 9 the year, 7 the century.
        calendar: the calendar of the statement's source, `Q1985727` Gregorian or `Q1985786` Julian.
        circa: whether the statement says "about".
        earliest, latest: bounds that qualify the value; of these only the years are read.
    """

    value: str
    precision: int = 0
    calendar: str = ""
    circa: bool = False
    earliest: str = ""
    latest: str = ""

    @property
    def raw(self) -> str:
        """All that the statement says, as one line."""
        parts = [self.value]
        parts += [f"precision {self.precision}"] if self.precision else []
        parts += [f"calendar {self.calendar}"] if self.calendar else []
        parts += ["circa"] if self.circa else []
        parts += [f"earliest {self.earliest}"] if self.earliest else []
        parts += [f"latest {self.latest}"] if self.latest else []
        return ", ".join(parts)

    @property
    def edtf(self) -> str | None:
        """The date in EDTF, or None where nothing as good as a century is known.

        Bounds make an interval and go before the value, which then is only somewhere within: `1475/1480`, and
        `../1480` for "1480 or before". Bounds the wrong way round say nothing.
        """
        earliest, latest = _year(self.earliest), _year(self.latest)
        if earliest and latest and int(earliest) <= int(latest):
            return earliest if earliest == latest else f"{earliest}/{latest}"
        if bool(earliest) != bool(latest):
            return f"{earliest or '..'}/{latest or '..'}"
        date = from_timestamp(self.value, self.precision)
        return f"{date}~" if date is not None and self.circa else date


def moment(rows: Iterable[Mapping[str, str]]) -> Moment:
    """The rows of one statement, one per combination of its qualifiers, as one moment: the widest bounds hold."""
    first, *others = sorted(rows, key=lambda row: sorted(row.items()))
    earliest = [row["earliest"] for row in (first, *others) if _year(row.get("earliest", ""))]
    latest = [row["latest"] for row in (first, *others) if _year(row.get("latest", ""))]
    precision = first.get("precision", "")
    return Moment(
        value=first["value"],
        precision=int(precision) if precision.isdecimal() and first["value"] != UNKNOWN else 0,
        calendar=qid(first.get("calendar", "")) or "",
        circa=any(qid(row.get("circumstance", "")) == CIRCA for row in (first, *others)),
        earliest=min(earliest, key=_order, default=""),
        latest=max(latest, key=_order, default=""),
    )


def _year(time: str) -> str:
    return from_timestamp(time, YEAR) or ""


def _order(time: str) -> tuple[int, str]:
    return int(_year(time)), time
