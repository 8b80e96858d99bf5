"""Dates as people and programs write them, read into EDTF."""

import re
from datetime import UTC, date, datetime, timedelta

_MONTHS = [date(2000, month, 1).strftime("%B").lower() for month in range(1, 13)]
_CENTURIES = {"xiv": "13XX", "xv": "14XX", "xvi": "15XX", "xvii": "16XX", "xviii": "17XX", "xix": "18XX", "xx": "19XX"}
_DAY = re.compile(r"(\w+) (\d{1,2}),? (\d{4})|(\d{1,2}) (\w+) (\d{4})")


def parse_date(text: str) -> str | None:
    """The EDTF of a date in English words or figures, or None where it cannot be read without guessing."""
    bare = " ".join(text.lower().split())
    circa = bare.startswith("c.")
    exact = _exact(bare[2:].strip() if circa else bare)
    return exact + "~" if exact and circa else exact


def _exact(text: str) -> str | None:
    if match := re.fullmatch(r"(-?)(\d{1,4})( bc)?", text):
        year = int(match[2]) - 1 if match[3] else int(match[2])
        return f"{'-' if (match[1] or match[3]) and year else ''}{year:04d}"
    if match := re.fullmatch(r"(\d{4}) ?- ?(\d{4})", text):
        return f"{match[1]}/{match[2]}"
    if match := re.fullmatch(r"([ivx]+)(?:-([ivx]+))? (?:cent\.?|century)", text):
        centuries = [_CENTURIES.get(part) for part in match.groups() if part]
        return "/".join(c for c in centuries if c) if all(centuries) else None
    if match := _DAY.fullmatch(text):
        name, day, year_text = (match[1], match[2], match[3]) if match[1] else (match[5], match[4], match[6])
        return f"{year_text}-{_MONTHS.index(name) + 1:02d}-{int(day):02d}" if name in _MONTHS else None
    if (match := re.fullmatch(r"(\w+),? (\d{4})", text)) and match[1] in _MONTHS:
        return f"{match[2]}-{_MONTHS.index(match[1]) + 1:02d}"
    return None


def from_aspnet(text: str) -> str | None:
    """The UTC day of `/Date(milliseconds)/`; None for the sentinels of the years 1 and 9999."""
    match = re.fullmatch(r"/Date\((-?\d{1,15})\)/", text)
    if not match:
        return None
    try:
        day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(match[1]))
    except OverflowError:
        return None
    return None if day.year in (1, 9999) else day.date().isoformat()
