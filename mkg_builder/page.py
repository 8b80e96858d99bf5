"""Pages for people: one HTML file that asks for nothing, what comes from outside escaped, with charts as SVG."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from mkg_builder.clock import day
from mkg_builder.terminal import visible

TEMPLATES = Path(__file__).parent / "templates"
SHADES = 10
"""Steps of a heat map's colour, beside none for nothing at all."""
WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 640, 220, 56, 34, 12
"""Of a chart, in its own units, and the room for its axes."""
LETTER = 8
"""How wide one is on an axis, at most."""
COLOURS = 6
"""Series that the style sheet tells apart; more repeat them."""


@cache
def style() -> str:
    """The style sheet that every page carries."""
    return (TEMPLATES / "style.css").read_text(encoding="utf-8")


def content_policy(images: str = "data:", forms: str = "'none'") -> str:
    """A Content-Security-Policy: no script, nothing from elsewhere, this style sheet alone."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    rules = ("default-src 'none'", f"img-src {images}", f"style-src 'sha256-{digest}'", f"form-action {forms}")
    return "; ".join((*rules, "base-uri 'none'"))


def environment(*folders: Path) -> jinja2.Environment:
    """Templates that escape every value, from these folders and from ours."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"style": Markup(style()), "policy": content_policy()}  # noqa: S704  (our own file)
    made.filters |= {"count": count, "percent": percent, "shade": shade, "data_url": data_url, "rows": rows, "day": day}
    return made


def shown(value: object) -> object:
    r"""A value for a page: text as one line whose control and bidirectional characters are seen as `\x1b`."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(" ".join(value.split()))


def count(number: int | None) -> str:
    """A whole number with its thousands apart; a dash for none."""
    return "–" if number is None else f"{number:,}"


def percent(part: float, whole: float) -> str:
    """A share that says neither 0 % of something nor 100 % of less than all."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.5:
        return "<1 %"
    return ">99 %" if share >= 99.5 and part < whole else f"{share:.0f} %"


def shade(part: float, whole: float) -> int:
    """How dark a cell is: 0 for nothing, else 1 to `SHADES`."""
    return min(SHADES, math.ceil(part / whole * SHADES)) if whole and part > 0 else 0


def rows(
    pivoted: Sequence[tuple[str, str, Sequence[int], int]], names: int = 2
) -> list[tuple[tuple[str, ...], Sequence[int], int]]:
    """The rows of a pivot for a heat map, with so many of their names."""
    return [((name, part)[:names], cells, total) for name, part, cells, total in pivoted]


def data_url(jpeg: bytes) -> str:
    """A JPEG inside the page itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


@dataclass(frozen=True)
class Mark:
    """A place on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram, in the chart's units."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Histogram:
    """Bars side by side, ready to be drawn.

    Attributes:
        title: what is counted, for those who do not see it.
        values: what each bar stands for and how high it is, as they were given.
    """

    title: str
    values: Sequence[tuple[str, int]]
    bars: Sequence[Bar]
    below: Sequence[Mark]
    beside: Sequence[Mark]


@dataclass(frozen=True)
class Curve:
    """One series of a line chart."""

    name: str
    colour: int
    path: str
    last: str


@dataclass(frozen=True)
class Curves:
    """Lines over steps, ready to be drawn."""

    title: str
    curves: Sequence[Curve]
    below: Sequence[Mark]
    beside: Sequence[Mark]


def histogram(title: str, values: Sequence[tuple[str, int]]) -> Histogram:
    """Counts in their order, as bars."""
    top = max((number for _, number in values), default=0) or 1
    wide, high = (WIDTH - LEFT) / max(len(values), 1), HEIGHT - BELOW - ABOVE
    bars = [
        Bar(round(LEFT + place * wide + wide * 0.08, 1), round(HEIGHT - BELOW - tall, 1), round(wide * 0.84, 1),
            round(tall, 1), f"{name}: {number:,}")
        for place, (name, number) in enumerate(values)
        for tall in [max(number / top * high, 1.5) if number else 0]
    ]  # fmt: skip
    step = max(1, math.ceil(max((len(name) for name, _ in values), default=0) * LETTER / wide))
    below = [Mark(round(LEFT + (place + 0.5) * wide, 1), values[place][0]) for place in range(0, len(values), step)]
    return Histogram(title, values, bars, below, [Mark(ABOVE, f"{top:,}"), Mark(HEIGHT - BELOW, "0")])


def curves(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> Curves:
    """Lines through points (step, value); what is not finite is left out."""
    kept = {name: [p for p in points if math.isfinite(p[1])] for name, points in series.items()}
    steps = [step for points in kept.values() for step, _ in points] or [0.0]
    values = [value for points in kept.values() for _, value in points] or [0.0]
    low, high, first, last = min(0.0, *values), max(values), min(steps), max(steps)
    spread, length = (high - low) or 1.0, (last - first) or 1.0

    def place(step: float, value: float) -> str:
        x = LEFT + (step - first) / length * (WIDTH - LEFT - 12)
        return f"{x:.1f},{HEIGHT - BELOW - (value - low) / spread * (HEIGHT - BELOW - ABOVE):.1f}"

    drawn = [
        Curve(name, number % COLOURS, " ".join(place(*point) for point in points),
              f"{points[-1][1]:.3f}" if points else "–")
        for number, (name, points) in enumerate(kept.items())
    ]  # fmt: skip
    below = [Mark(LEFT, f"{first:g}"), Mark(WIDTH - 12, f"{last:g}")]
    return Curves(title, drawn, below, [Mark(ABOVE, f"{high:.3g}"), Mark(HEIGHT - BELOW, f"{low:.3g}")])
