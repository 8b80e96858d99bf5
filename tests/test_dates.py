import math
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkg_builder import dates
from mkg_builder.dates import bounds, from_aspnet, from_timestamp, parse_date, period, reach

READ = {
    "29 July 1817": "1817-07-29",
    "05 May 1900": "1900-05-05",
    "July 29, 1817": "1817-07-29",
    "24-Jan-1974": "1974-01-24",
    "29.07.1817": "1817-07-29",
    "March, 1880": "1880-03",
    "c.May 1, 1425": "1425-05-01~",
    "29 February 1500": "1500-02",
    "1975": "1975",
    "975": "0975",
    "1880.0": "1880",
    "975.0": "0975",
    "1880-05-12T00:00:00": "1880-05-12",
    "1880-05-12T00:00:00.000Z": "1880-05-12",
    "1880-05-12 00:00:00+02:00": "1880-05-12",
    "1880-05-12 00:00": "1880-05-12",
    "c.1251": "1251~",
    "c. 1480": "1480~",
    "c1480": "1480~",
    "c975": "0975~",
    "c.17": "0017~",
    "c 17 AD": "0017~",
    "ок. 1872": "1872~",
    "b. c. 1480": "1480~",
    "born c.330": "0330~",
    "died 1966": "1966",
    "1889?": "1889?",
    "1889 (?)": "1889?",
    "probably c. 1889": "1889%",
    "31 BC": "-0030",
    "31 B.C.": "-0030",
    "c.900 BC": "-0899~",
    "1 BC": "0000",
    "AD 50": "0050",
    "c.640 AD": "0640~",
    "1960s": "196X",
    "1800s": "18XX",
    "17??": "17XX",
    "XIX cent.": "18XX",
    "19th century": "18XX",
    "late 19th century": "18XX",
    "mid-19th c.": "18XX",
    "second half of the 19th century": "1850/1899",
    "third quarter of the 15th century": "1450/1474",
    "5th century BC": "-0499/-0400",
    "1882 - 1883": "1882/1883",
    "1827-1828": "1827/1828",
    "1882-83": "1882/1883",
    "1904-6": "1904/1906",
    "1904–06": "1904/1906",
    "1853 - 1890": "1853/1890",
    "1475/1480": "1475/1480",
    "1475 or 1480": "1475/1480",
    "between 1475 and c. 1480": "1475/1480~",
    "between c. 1475 and 1480": "1475~/1480",
    "c. 1896-1899": "1896~/1899~",
    "ca. 1896–99": "1896~/1899~",
    "circa 1880 to circa 1885": "1880~/1885~",
    "c. 1896-1899?": "1896~/1899%",
    "c. 700-31 BC": "-0699~/-0030~",
    "July - August 1888": "1888-07/1888-08",
    "19 June - 2 July 1888": "1888-06-19/1888-07-02",
    "December - January 1890": "1889-12/1890-01",
    "between 25 December and 5 January 1890": "1889-12-25/1890-01-05",
    "May - 1890": "1890-05/1890",
    "1890/1890-05": "1890/1890-05",
    "XVI-XVII cent.": "15XX/16XX",
    "late 16th-early 17th century": "15XX/16XX",
    "c.700 - c.31 BC": "-0699~/-0030~",
    "c.3150 BC - c.640 AD": "-3149~/0640~",
    "100 BC-AD 50": "-0099/0050",
    "c.50 - c.250": "0050~/0250~",
    "1480 or before": "../1480",
    "before 1500": "../1500",
    "after c. 1850": "1850~/..",
}

REFUSED = (
    "", " ", "unknown", "n.d.", "24-Jan-74", "74", "188?", "fl.c. 750", "active 1500", "12345", "0", "0 BC", "-30",
    "-0000", "30 February 1817", "31 April 1900", "1817-13-01", "July 1817 BCE", "July", "B.C. 31", "31 - 50 BC",
    "500 BC - 300", "1883-1882", "10/12/1889", "10.13.1889", "1889, 1890", "after 1750 - before 1760", "../..", "1/2/3",
    "c17", "C19", "c5 BC", "c17?", "c17-c18", "1690 - c17", "before c17",
    "１８８９", "١٨٨٩", "188²", "1889\x00", "\ud800", "half of the 19th century", "0th century", "1904 - 02",
    "1880-05-12T13:00:00", "1880-02-30T00:00:00", "1880.5", "80.0", "c. 5-10", "18800.0",
    "December 1890 - January 1890", "20 May - 5 May 1890", "1890-12/1890-01", "1890-05-20/1890-05-05~",
    "-0030-05/-0030-03",
)  # fmt: skip

WORDS = st.lists(
    st.sampled_from(
        [*" -/.,?~X", "c.", "born", "July", "1889", "31", "BC", "XIX", "19th", "century", "or", "after", "s"]
    ),
    max_size=8,
)
TEXTS = st.text() | WORDS.map("".join) | WORDS.map(" ".join)


@pytest.mark.parametrize(("text", "edtf"), READ.items())
def test_a_date_in_words_is_read(text: str, edtf: str) -> None:
    assert parse_date(text) == edtf
    assert parse_date(f"  {text.upper()}\xa0") == edtf


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_read_without_guessing_is_no_date(text: str) -> None:
    assert parse_date(text) is None


@given(TEXTS)
def test_any_text_is_a_date_or_none_and_reading_it_again_changes_nothing(text: str) -> None:
    edtf = parse_date(text)
    assert edtf is None or parse_date(edtf) == edtf
    for value in (text, edtf or ""):
        first_last = bounds(value)
        assert first_last is None or first_last[0] <= first_last[1]


@given(st.dates())
def test_every_day_is_read_as_written_in_either_order(day) -> None:
    for form in ("%d %B {}", "%B %d, {}", "%d %b {}"):
        assert parse_date(day.strftime(form).format(f"{day.year:04d}")) == day.isoformat()


@given(st.integers(-9998, 9999).filter(bool))
def test_every_year_of_either_era_is_numbered_as_astronomers_do(year: int) -> None:
    edtf = parse_date(f"{abs(year)} {'BC' if year < 0 else 'AD'}")
    assert bounds(edtf) == (year + (year < 0),) * 2


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("/Date(-5330448000000)/", "1801-02-01"),
        ("/Date(-4810154400000)/", "1817-07-29"),  # stored at 22:00 UTC of the 28th: midnight two zones to the east
        ("/Date(-3786825600000)/", "1850-01-01"),
        ("/Date(-5364662400001)/", "1800-01-01"),
        ("/Date(134352000000+0200)/", "1974-04-05"),
        ("/Date(253402300799999)/", None),
        ("/Date(-62135596800000)/", None),
        ("/Date(-62135604000000)/", None),
        ("/Date(0)/", None),
        ("/Date(99999999999999999)/", None),
        ("/Date(٣)/", None),
        ("/Date()/", None),
        ("1817", None),
    ],
)
def test_milliseconds_are_the_day_of_the_nearest_midnight(text: str, day: str | None) -> None:
    assert from_aspnet(text) == day


@given(st.text() | st.integers().map("/Date({})/".format))
def test_any_milliseconds_are_a_day_or_none(text: str) -> None:
    day = from_aspnet(text)
    assert day is None or parse_date(day) == day


def test_no_time_zone_moves_a_date() -> None:
    texts = (
        "/Date(-3786825600000)/", "/Date(-5364662400001)/", "/Date(-5364662400000)/", "/Date(0)/", "/Date()/",
        "/Date(253402300799999)/", "1 January 1850", "31 December 1799", "1 January 1800", "1799-12-31",
    )  # fmt: skip
    read = "[(from_aspnet(t), d := parse_date(t), period(d or '', 50)) for t in texts]"
    program = f"from mkg_builder.dates import *; texts = {texts}; print({read})"
    expected = [(from_aspnet(text), date := parse_date(text), period(date or "", 50)) for text in texts]
    zones = ("UTC", "America/Los_Angeles", "Asia/Kathmandu", "Pacific/Kiritimati", "Europe/Kyiv", "Pacific/Pago_Pago")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program], env={**os.environ, "TZ": zone}, stdout=subprocess.PIPE, text=True
        )
        for zone in zones
    ]
    assert {process.communicate(timeout=60)[0] for process in started} == {f"{expected}\n"}
    assert expected[:2] == [("1850-01-01", None, None), ("1800-01-01", None, None)]
    assert [bin_of for _, _, bin_of in expected[-4:]] == [1850, 1750, 1800, 1750]


@pytest.mark.parametrize(
    ("time", "precision", "edtf"),
    [
        ("1817-07-29T00:00:00Z", 11, "1817-07-29"), ("1817-07-29T00:00:00Z", 14, "1817-07-29"),
        ("1817-07-01T00:00:00Z", 10, "1817-07"), ("+1817-00-00T00:00:00Z", 9, "1817"),
        ("1955-01-01T00:00:00Z", 8, "195X"), ("-0035-01-01T00:00:00Z", 8, "-0040/-0031"),
        ("1250-01-01T00:00:00Z", 7, "12XX"), ("1300-01-01T00:00:00Z", 7, "12XX"), ("1301-01-01T00:00:00Z", 7, "13XX"),
        ("0000-01-01T00:00:00Z", 7, "-0099/0000"), ("-0100-01-01T00:00:00Z", 7, "-0199/-0100"),
        ("1955-01-01T00:00:00Z", 6, None), ("12955-01-01T00:00:00Z", 9, None), ("1955-13-01T00:00:00Z", 11, None),
        ("http://www.wikidata.org/.well-known/genid/1", 11, None),
    ],
)  # fmt: skip
def test_a_timestamp_says_no_more_than_its_precision(time: str, precision: int, edtf: str | None) -> None:
    assert from_timestamp(time, precision) == edtf


@pytest.mark.parametrize(
    ("edtf", "years"),
    [
        ("1889", (1889, 1889)), ("1889-07-29", (1889, 1889)), ("1889~", (1884, 1894)), ("1889?", (1884, 1894)),
        ("196X", (1960, 1969)), ("18XX", (1800, 1899)), ("18XX~", (1795, 1904)), ("-0030", (-30, -30)),
        ("1882/1883", (1882, 1883)), ("1562~/1641", (1557, 1641)), ("-0699~/-0030", (-704, -30)),
        ("../1480", None), ("1850/..", None), ("1850/", None), ("1883/1882", None), ("1890-12/1890-01", None),
        ("1890-01/1890-12", (1890, 1890)), ("", None), ("1889-02-29", None),
        ("c. 1889", None),
    ],
)  # fmt: skip
def test_bounds_are_the_years_in_which_a_date_may_lie(edtf: str, years: tuple[int, int] | None) -> None:
    assert bounds(edtf) == years


@pytest.mark.parametrize(
    ("edtf", "years"),
    [
        ("1889~", (1884, 1894)), ("../1480", (-math.inf, 1480)), ("1850~/..", (1845, math.inf)),
        ("1850/", (1850, math.inf)), ("../..", None), ("", None),
    ],
)  # fmt: skip
def test_an_open_end_reaches_infinitely_far(edtf: str, years: tuple[float, float] | None) -> None:
    assert reach(edtf) == years


def test_circa_is_as_wide_as_asked() -> None:
    assert bounds("1889~", circa_years=10) == (1879, 1899)
    assert period("1855~", 50, circa_years=0) == 1850


@pytest.mark.parametrize(
    ("edtf", "start"),
    [
        ("1799-12-31", 1750), ("1800-01-01", 1800), ("1849", 1800), ("1850", 1850), ("-0001", -50), ("0000", 0),
        ("-0050", -50), ("-0051", -100), ("1855~", 1850), ("1854~", None), ("1850/1899", 1850), ("1849/1850", None),
        ("18XX", None), ("186X", 1850), ("../1480", None), ("1889 or so", None),
    ],
)  # fmt: skip
def test_what_falls_wholly_into_one_period_has_it_and_nothing_else_has(edtf: str, start: int | None) -> None:
    assert period(edtf, 50) == start


@given(TEXTS, st.integers(1, 200))
def test_a_period_holds_all_the_years_of_its_date(text: str, years: int) -> None:
    edtf = parse_date(text) or ""
    start = period(edtf, years)
    assert start is None or all(start <= year < start + years for year in bounds(edtf))


@pytest.mark.parametrize(
    "text",
    ["1" * 100_000, " " * 100_000 + "1889", "c." * 50_000, "- " * 50_000, "1889 " * 20_000, "1889/" * 20_000,
     "/Date(" + "1" * 100_000, "0" * 100_000 + "1889-01-01", "or " * 40, "1 b.c." * 20, "to " * 33_000,
     "1-" * 50_000, "1-" * 60, "january " * 15],
)  # fmt: skip
def test_a_hostile_text_takes_no_time(text: str) -> None:
    spent = []
    for _ in range(3):
        dates._parsed.cache_clear()
        start = time.process_time()
        parse_date(text), bounds(text), from_aspnet(text), from_timestamp(text, 11)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05


@pytest.mark.parametrize(
    ("edtf", "years"),
    [("2001-12-29~", (2001, 2001)), ("1945-04~", (1945, 1945)), ("1945~", (1940, 1950)), ("1945-04?", (1940, 1950)),
     ("1945-04%", (1940, 1950))],
)  # fmt: skip
def test_about_a_day_is_no_other_year(edtf: str, years: tuple[int, int]) -> None:
    assert bounds(edtf) == years
