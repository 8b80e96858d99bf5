"""Dates as people and programs write them, read into EDTF (ISO 8601-2, levels 0 and 1) and out into years and periods.

The EDTF used: `1889`, `1889-07`, `1889-07-29`, `196X` (a decade), `18XX` (a century), each also with `~` (circa),
`?` (uncertain) or `%` (both) at its end; two of them as an interval, `1882/1883`, one end of which may be open,
`../1480`. Years are numbered as astronomers do: 1 BC is `0000`, 31 BC is `-0030`. A century is taken as its hundred
years of the same figures, the 19th as 1800 to 1899; before Christ, where no figures stand for it, as an interval.
A day is kept in the calendar in which it was written.
"""

import calendar
import math
import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache

_LONGEST = 120
"""A longer text is no date."""

_MONTHS = {
    name: number
    for number, names in enumerate(
        ("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
         "september sept sep", "october oct", "november nov", "december dec"), start=1)
    for name in names.split()
}  # fmt: skip
_ROMAN = tuple(
    tens + ones for tens in ("", "x", "xx") for ones in ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix")
)[:22]
"""The numeral of each century at its number."""

_PARTS = {
    f"{word} {part}": (index * years, index * years + years - 1)
    for part, years in (("half", 50), ("quarter", 25))
    for index, words in enumerate(("first 1st", "second 2nd", "third 3rd", "fourth 4th")[: 100 // years])
    for word in words.split()
}
"""Which years of a century `third quarter` means: 50 to 74."""

_MONTH = "|".join(_MONTHS)
_CENTURY = "(?:century|centuries|cent|c)"
_TIDY = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\(\?\)", "?"),
        (r"[‐-―−]", " - "),
        (r"([0-9]|cent(?:ury)?\.?) ?b\.? ?c\.?(?: ?e\.?)?(?![a-z0-9])", r"\1 bc "),
        (r"([0-9]|cent(?:ury)?\.?) ?(?:a\. ?d\.|ad|c\. ?e\.|ce)(?![a-z0-9])", r"\1 ad "),
        (r"\bb\.c\b", "bc"),
        (r"(?<![0-9])\.|\.(?![0-9])|,", " "),
        (r"\b(?:of|the|in) |-(?=cent)|(?<=\bmid)-|(?<=\bearly)-|(?<=\blate)-", " "),
    )
)
_LIFE = re.compile(r"(?:born|died|b|d) ")
_DOUBT = re.compile(r"(?:probably|possibly|perhaps) ")
_CIRCA = re.compile(r"(?:circa|approximately|approx|about|around|ca|c(?![0-9]{1,2}\b)|ок|около) ?(?=[0-9a-z])")
_BEFORE = re.compile(r"(?:before|until|by) (?P<first>.+)|(?P<second>.+?) (?:or|and) (?:before|earlier)")
_AFTER = re.compile(r"(?:after|since) (?P<first>.+)|(?P<second>.+?) (?:or|and) (?:after|later)")
_RANGE = re.compile(r"(?:(?:between|from) )?(.+?)(?: - | to | and | or |/)(.+)|([^-]+)-([^-]+)")
_TAIL = re.compile(rf"(?: {_CENTURY})?(?: (?:bc|ad))?$")
_WITHOUT_YEAR = re.compile(rf"(?:[0-9]{{1,2}} )?(?:{_MONTH})(?: [0-9]{{1,2}})?")
_POINT = re.compile(r"(?:(-?[0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?|([0-9]{3})X|([0-9]{2})XX)([~?%]?)")
_MARKS = {(False, False): "", (True, False): "~", (False, True): "?", (True, True): "%"}
"""The EDTF mark of circa, of doubt, of both."""

_ASPNET = re.compile(r"/Date\((-?[0-9]{1,17})(?:[+-][0-9]{4})?\)/")
_TIMESTAMP = re.compile(r"\+?(-?)0*([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T[0-9:.]{1,20}Z?)?")
_OF_PROGRAMS = re.compile(
    r"(-?[0-9]{4}-[0-9]{2}-[0-9]{2})[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?|([0-9]{3,4})\.0"
)
"""A day or a year as programs write it that know only moments or only numbers with a point."""


def parse_date(text: str) -> str | None:
    """The EDTF of a date in English words or figures, or None where it cannot be read without guessing.

    None for an empty text, a year of one or two figures without circa or era ("24-Jan-74"), a year of more than four,
    a day that does not exist, a time of activity ("fl.c. 750": neither a birth nor a death), "188?" (a decade or a
    year), "c17" (a year or the 17th century; "c. 17" is a year). "1904-06" is June, as in EDTF; "1904-6" and
    "1904 - 06" are three years. EDTF is given back as it is.
    """
    bare = text.strip()
    return _parsed(bare) if len(bare) <= _LONGEST else None


@lru_cache(maxsize=100_000)  # the same years come by the thousand
def _parsed(text: str) -> str | None:
    if programmed := _OF_PROGRAMS.fullmatch(text):
        text = programmed[1] or programmed[2]
    if _is_edtf(text):
        return text
    tidy = text.lower()
    for junk, by in _TIDY:
        tidy = junk.sub(by, tidy)
    tidy = " ".join(tidy.split())
    for pattern, form in ((_BEFORE, "../{}"), (_AFTER, "{}/..")):
        if match := pattern.fullmatch(tidy):
            end = _single(match["first"] or match["second"])
            return form.format(end) if end and "/" not in end else None
    return _single(tidy) or _interval(tidy)


def _single(text: str) -> str | None:
    """The EDTF of one date with its circa and its doubt, the text being tidy."""
    life = _LIFE.match(text)
    plain = text[life.end() :] if life else text
    asked = re.search(r"[^?]\?$", plain)
    if asked and re.search(r"(?<![0-9])[0-9]{1,3} ?\?$", plain):
        return None
    plain = plain[:-1].rstrip() if asked else plain
    supposed = _DOUBT.match(plain)
    plain = plain[supposed.end() :] if supposed else plain
    circa = _CIRCA.match(plain)
    mark = _MARKS[bool(circa), bool(asked or supposed)]
    plain = plain[circa.end() :] if circa else plain
    for pattern, build in _FORMS:
        if match := pattern.fullmatch(plain):
            value = build(match)
            dated = "/".join(f"{point}{mark}" for point in value.split("/"))
            return dated if _is_edtf(dated) and (circa or not re.fullmatch("[0-9]{1,2}", plain)) else None
    return None


def _interval(text: str) -> str | None:
    """The EDTF of a range; what only its end says, `century`, `BC` or the year of a month, holds for its start too.

    A circa that stands before the range holds for both ends; one after `between` or `from` for the start alone.
    """
    match = _RANGE.fullmatch(text)
    if not match:
        return None
    left, right = (match[1] or match[3]).strip(), (match[2] or match[4]).strip()
    figures = re.search(r"[0-9]{4}$", left)
    if figures and re.fullmatch(r"[0-9]{1,2}", right):
        right = figures[0][: -len(right)] + right
    tails = [found[0] if (found := _TAIL.search(end)) else "" for end in (left, right)]
    end = _single(right)
    if not _WITHOUT_YEAR.fullmatch(left):
        start = _single(left + tails[1] * (not tails[0])) or _single(left)
    elif (start := _single(f"{left} {right[-4:]}")) and end and start[:7] != end[:7] and not _is_edtf(f"{start}/{end}"):
        start = _single(f"{left} {int(right[-4:]) - 1:04d}")  # December - January 1890: the year is the end's
    if end and _CIRCA.match(text):
        end = _single(f"c {right}") or end
    if not start or not end or (tails[0].endswith("bc") and not (tails[1] or right.startswith("ad "))):
        return None
    joined = f"{start.partition('/')[0]}/{end.rpartition('/')[2]}"
    return joined if _is_edtf(joined) else None


def _year(number: int) -> str:
    return f"{number:05d}" if number < 0 else f"{number:04d}"


def _of_year(match: re.Match[str]) -> str:
    number = int(match[1])
    return _year(1 - number if match[2] == "bc" else number) if number else ""


def _of_day(match: re.Match[str]) -> str:
    """A year, a month, a day if there is one; of a leap day that only the Julian calendar has, the month."""
    parts = match.groupdict()
    year, month = int(parts["year"]), int(_MONTHS.get(parts["month"], parts["month"]))
    day = int(parts.get("day") or 0)
    if not parts.get("day") or (day == 29 and month == 2 and year % 4 == 0 and not calendar.isleap(year)):
        return f"{_year(year)}-{month:02d}"
    return f"{_year(year)}-{month:02d}-{day:02d}"


def _of_decade(match: re.Match[str]) -> str:
    """`1960s`; the 1800s are ten years to some and a hundred to others, so a hundred."""
    tens = match[1].zfill(3)
    return f"{tens[:2]}XX" if tens[2] == "0" else f"{tens}X"


def _of_mask(match: re.Match[str]) -> str:
    return f"{match[1]}XX" if match[1] else f"{match[2]}X"


def _of_century(match: re.Match[str]) -> str:
    number = int(match["figures"]) if match["figures"] else _ROMAN.index(match["roman"])
    before_christ = match["era"] == "bc"
    first = 1 - 100 * number if before_christ else 100 * number - 100
    if part := _PARTS.get(match["part"] or ""):
        return f"{_year(first + part[0])}/{_year(first + part[1])}"
    return _century(number, before_christ) if number else ""


def _century(number: int, before_christ: bool) -> str:
    if before_christ:
        return f"{_year(1 - 100 * number)}/{_year(100 - 100 * number)}"
    return f"{number - 1:02d}XX"


_ERA = "(?: (?P<era>bc|ad))?"
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?:a ?d )?([0-9]{1,4})(?: (bc|ad))?"), _of_year),
    (re.compile(rf"(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?[ -](?P<month>{_MONTH})[ -](?P<year>[0-9]{{3,4}})"), _of_day),
    (re.compile(rf"(?P<month>{_MONTH}) (?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)? (?P<year>[0-9]{{3,4}})"), _of_day),
    (re.compile(rf"(?P<month>{_MONTH}) (?P<year>[0-9]{{3,4}})"), _of_day),
    (re.compile(r"(?P<day>[0-9]{1,2})\.(?P<month>[0-9]{1,2})\.(?P<year>[0-9]{4})"), _of_day),
    (re.compile(r"(?:(?:early|mid|late) )?([0-9]{2,3})0 ?['’]?s"), _of_decade),
    (re.compile(r"([0-9]{2})(?:\?\?|xx|--|__)|([0-9]{3})x"), _of_mask),
    (
        re.compile(
            rf"(?:(?:early|mid|middle|late|end|beginning|(?P<part>{'|'.join(_PARTS)})) )?"
            rf"(?:(?P<figures>[0-9]{{1,2}})(?:st|nd|rd|th)|(?P<roman>{'|'.join(_ROMAN[1:])})) {_CENTURY}{_ERA}"
        ),
        _of_century,
    ),
)
"""How a date is written, each with what makes EDTF of it; an impossible value is found out afterwards."""


def from_aspnet(text: str) -> str | None:
    """The day of a `/Date(-4810154400000)/`, milliseconds since 1970; None for garbage and for what stands for no date.

    No date: 0 and every time in the years 1 and 9999. A site stores the midnight of its own time zone, 22:00 UTC of the
    day before, so the nearest midnight is meant. Prefer the date that a source writes out: of one artist who died on
    "05 May 1900" the number says 5 May of the year 5.
    """
    match = _ASPNET.fullmatch(text)
    if not match or not int(match[1]):
        return None
    day = date(1970, 1, 1).toordinal() + (int(match[1]) + 43_200_000) // 86_400_000
    if not date(2, 1, 1).toordinal() <= day < date(9999, 1, 1).toordinal():
        return None
    return date.fromordinal(day).isoformat()


def from_timestamp(text: str, precision: int) -> str | None:
    """The EDTF of `1850-01-01T00:00:00Z` known to the day (precision 11), month (10), year, decade or century (7).

    Years are numbered as in XSD 1.1 and RDF, 1 BC is 0. What lies anywhere in a century, 1250 or 1300, is the 13th;
    coarser than that is None, as is a year of more than four figures.
    """
    match = _TIMESTAMP.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if not match or not 7 <= precision <= 14:
        return None
    year = int(match[1] + match[2])
    if precision == 7:
        return _century(-(-year // 100) if year > 0 else (100 - year) // 100, year <= 0)
    if precision == 8:
        first = year // 10 * 10
        return f"{first // 10:03d}X" if first >= 0 else f"{_year(first)}/{_year(first + 9)}"
    value = "-".join([_year(year), match[3], match[4]][: min(precision, 11) - 8])
    return value if _is_edtf(value) else None


def bounds(edtf: str, circa_years: int = 5) -> tuple[int, int] | None:
    """The first and the last year in which the date may lie, both included; None when an end is open.

    A circa or a doubt widens its end of an interval by `circa_years`, but for a circa about a day or a month. A text
    that is not EDTF is None too.
    """
    known = reach(edtf, circa_years)
    return (int(known[0]), int(known[1])) if known and math.isfinite(known[1] - known[0]) else None


def reach(edtf: str, circa_years: int = 5) -> tuple[float, float] | None:
    """As `bounds`, but an open end is infinitely far."""
    if not _is_edtf(edtf):
        return None
    spans = [_span(point, circa_years) for point in edtf.split("/")]
    first, last = spans[0] or (-math.inf,), spans[-1] or (math.inf,)
    return first[0], last[-1]


def period(edtf: str, years: int, circa_years: int = 5) -> int | None:
    """The first year of the period that holds every year in which the date may lie; None when no single one does.

    Periods are half open and counted from the year 0: of 50 years, 1850 begins one and -1 ends one.
    """
    known = bounds(edtf, circa_years)
    if known is None or known[0] // years != known[1] // years:
        return None
    return known[0] // years * years


def _is_edtf(text: str) -> bool:
    ends = text.split("/")
    closed = [_span(end, 0) for end in ends[:2] if end not in ("..", "") or len(ends) == 1]
    if not closed or len(ends) > 2:
        return False
    first, last = closed[0], closed[-1]
    begun, ended = (end.lstrip("-")[5:].rstrip("~?%") for end in (ends[0], ends[-1]))  # the month and the day
    return first is not None and last is not None and (first[0], begun[: len(ended)]) <= (last[1], ended[: len(begun)])


def _span(point: str, circa_years: int) -> tuple[int, int] | None:
    """The first and the last year of one EDTF date, or None for an open end or what is no date."""
    match = _POINT.fullmatch(point)
    if not match or match[1] == "-0000":
        return None
    wide = circa_years if match[6] and not (match[2] and match[6] == "~") else 0  # about a day is no other year
    if match[1]:
        year, month, day = int(match[1]), int(match[2] or 1), int(match[3] or 1)
        leap = calendar.isleap(year)
        if not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(2000 if leap else 2001, month)[1]:
            return None
        return year - wide, year + wide
    first, years = (int(match[4]) * 10, 10) if match[4] else (int(match[5]) * 100, 100)
    return first - wide, first + years - 1 + wide
