"""The map of the world: its outlines are where they should be, its classes ordered, nothing counted is left off."""

import json
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pycountry
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkg_builder import page
from mkg_builder.countries import ByCountry, Stray
from mkg_builder.tables.outlines import Atlas, equal_earth, middle, path, project
from mkg_builder.world_map import EUROPE, SHADES, WORLD, Outline, class_edges, draw, outlines, shade_of

Ring = list[tuple[int, int]]
BY_CODE = {outline.country: outline for outline in outlines()}
COUNTS = st.lists(st.integers(1, 10**9), min_size=1, max_size=250)
TOO_SMALL = {"AQ", "BQ", "BV", "CC", "CX", "GP", "MQ", "YT", "RE", "TK"}
"""Antarctica, and what Natural Earth does not draw apart from the country that it belongs to."""


def rings(outline: Outline) -> Iterator[Ring]:
    """The corners of each ring of an outline, by a reader of its own."""
    for drawn in filter(None, outline.path.split("z")):
        start, steps = (list(map(int, re.findall(r"-?\d+", part))) for part in drawn[1:].split("l"))
        ring = [(start[0], start[1])]
        for right, down in zip(steps[::2], steps[1::2], strict=True):
            ring.append((ring[-1][0] + right, ring[-1][1] + down))
        yield ring


def inside(outline: Outline, x: float, y: float) -> bool:
    """Whether a ray to the right meets the outline an odd number of times."""
    sides = [side for ring in rings(outline) for side in zip(ring, [*ring[1:], ring[0]], strict=True)]
    met = [x1 + (y - y1) / (y2 - y1) * (x2 - x1) for (x1, y1), (x2, y2) in sides if (y1 > y) != (y2 > y)]
    return sum(place > x for place in met) % 2 == 1


CITIES = {
    "FR": (47.0, 2.5), "IT": (43.0, 12.0), "NL": (52.2, 5.6), "DE": (51.0, 10.0), "GB": (52.5, -1.5),
    "IE": (53.2, -8.0), "RU": (62.0, 170.0), "US": (65.0, -153.0), "JP": (36.2, 138.0), "NZ": (-43.5, 171.0),
    "CL": (-33.0, -70.8),
    "ZA": (-29.0, 21.0), "LS": (-29.6, 28.3), "GL": (72.0, -40.0), "GF": (4.0, -53.0), "SJ": (78.8, 16.0),
    "UA": (45.3, 34.3), "AU": (-25.0, 135.0), "IN": (22.0, 79.0), "BR": (-10.0, -55.0), "EG": (27.0, 29.0),
    "CZ": (49.8, 15.0), "KR": (36.5, 127.9), "KP": (39.5, 126.5), "CU": (21.5, -78.5), "MG": (-19.0, 46.5),
}  # fmt: skip


@pytest.mark.parametrize(("country", "place"), CITIES.items())
def test_a_place_lies_in_the_outline_of_its_country_alone(country: str, place: tuple[float, float]) -> None:
    x, y = project(place[1], place[0])
    assert [outline.country for outline in outlines() if inside(outline, x + 0.1, y + 0.1)] == [country]


@pytest.mark.parametrize(("country", "place"), {"MT": (35.9, 14.4), "SG": (1.35, 103.8), "MC": (43.7, 7.4)}.items())
def test_a_small_country_has_a_dot_where_it_lies(country: str, place: tuple[float, float]) -> None:
    (x, y), dot = project(place[1], place[0]), BY_CODE[country].dot
    assert dot is not None
    assert max(abs(x - dot[0]), abs(y - dot[1])) < 5


def test_every_code_of_iso_3166_is_on_the_map_once_but_those_that_are_not_drawn_apart() -> None:
    codes = [outline.country for outline in outlines()]
    assert len(codes) == len(set(codes))
    assert {country.alpha_2 for country in pycountry.countries} - set(codes) == TOO_SMALL
    assert set(codes) - {country.alpha_2 for country in pycountry.countries} == {""}
    assert all(outline.path or outline.dot for outline in outlines())


def test_the_whole_map_is_shown_and_no_country_lies_on_both_edges_of_it() -> None:
    left, top, width, height = WORLD
    for outline in outlines():
        for ring in rings(outline):
            assert all(left <= x <= left + width and top <= y <= top + height for x, y in ring), outline.country
            assert max(x for x, _ in ring) - min(x for x, _ in ring) < width / 2, outline.country


def test_the_table_is_small() -> None:
    assert sum(len(outline.path) for outline in outlines()) < 50_000


@pytest.mark.parametrize(
    ("counts", "edges"),
    [([1], [1]), ([1, 1], [1]), ([1, 23], [1, 2, 5, 10, 20]), ([1, 673], [1, 3, 10, 30, 100, 300]), ([7, 8], [5]),
     ([10, 68], [10, 20, 50]), ([1, 20_000], [1, 10, 100, 1000, 10_000]), ([], [1]),
     ([3, 10**8], [1, 10**4, 10**5, 10**6, 10**7, 10**8])],
)  # fmt: skip
def test_classes_begin_at_round_numbers(counts: list[int], edges: list[int]) -> None:
    assert class_edges(counts) == edges


@given(COUNTS)
def test_every_count_has_a_colour_and_a_larger_one_none_that_is_weaker(counts: list[int]) -> None:
    edges = class_edges(counts)
    shades = [shade_of(count, edges) for count in sorted(counts)]
    assert shades == sorted(shades)
    assert (shades[0] >= 1, shades[-1], len(edges) <= SHADES) == (True, SHADES, True)
    assert shade_of(0, edges) == 0


def test_the_legend_speaks_of_every_colour_of_the_map() -> None:
    drawn = draw(ByCountry("wasBornIn", 700, {"FR": 673, "TD": 1, "PE": 12}, []))
    assert [(c.shade, c.text) for c in drawn.classes] == [
        (1, "1–2"), (2, "3–9"), (3, "10–29"), (4, "30–99"), (5, "100–299"), (6, "300–673"),
    ]  # fmt: skip
    assert {land.text: land.shade for land in drawn.lands if land.shade} == {
        "France: 673": 6,
        "Chad: 1": 1,
        "Peru: 12": 3,
    }
    assert drawn.rows == [("France", 673), ("Peru", 12), ("Chad", 1)]
    assert drawn.said == "wasBornIn: 700 heads in 3 countries; most in France 673, Peru 12, Chad 1"


def test_europe_is_shown_larger_where_several_of_its_countries_count() -> None:
    assert draw(ByCountry("r", 3, {"FR": 1, "MT": 1, "TD": 1}, [])).europe is None
    assert draw(ByCountry("r", 3, {"FR": 1, "MT": 1, "IT": 1}, [])).europe == EUROPE


def test_what_has_no_outline_stands_below_the_map_and_the_rest_is_counted_together() -> None:
    strays = [Stray(f"x{i:03}", 2) for i in range(150)]
    drawn = draw(ByCountry("wasBornIn", 12, {"FR": 7, "MQ": 5}, strays))
    assert drawn.strays[0] == ("Martinique", 5, "no outline on this map")
    assert drawn.strays[-1] == ("51 more", 102, None)
    assert sum(stray.number for stray in drawn.strays) == 305
    assert drawn.rows == [("France", 7), ("Martinique", 5)]


@pytest.mark.parametrize("dark", [False, True])
def test_the_colours_go_from_the_page_to_its_opposite_in_even_steps(dark: bool) -> None:
    light, _, rest = page.style().partition("prefers-color-scheme: dark")
    colours = [re.search(rf"--m{shade}: #(\w+)", rest if dark else light)[1] for shade in range(SHADES + 1)]
    found = [brightness(colour) for colour in colours]
    steps = [b - a if dark else a - b for a, b in pairwise(found)]
    assert min(steps) > 0.03
    assert max(steps[1:]) < 2 * min(steps[1:])


def brightness(colour: str) -> float:
    """Lightness from 0 to 1 as people see it: L* of CIELAB, over 100."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 1.16 * (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]) ** (1 / 3) - 0.16


SQUARES = {
    "objects": {"countries": {"geometries": [
        {"type": "Polygon", "id": "250", "arcs": [[0, 1]]},
        {"type": "MultiPolygon", "id": "380", "arcs": [[[~1, 2]], [[3]]]},
        {"type": "Polygon", "arcs": [[3]]},
    ]}},
    "transform": {"scale": [0.5, 0.5], "translate": [10, 0]},
    "arcs": [[[0, 0], [0, 20], [20, 0]], [[20, 20], [0, -20], [-20, 0]], [[20, 20], [20, 0], [0, -20], [-40, 0]],
             [[100, 100], [0, 0], [0, 0]]],
}  # fmt: skip
"""Two squares of ten degrees that share a side, and an island that is but a point."""


def test_the_tool_joins_arcs_forwards_and_backwards() -> None:
    found = dict(Atlas(json.loads(json.dumps(SQUARES))))
    assert set(found) == {"FR", "IT", ""}
    assert found["FR"] == [[project(*p) for p in ((10, 0), (10, 10), (20, 10), (20, 0))]]
    assert set(found["IT"][0]) == {project(*p) for p in ((10, 0), (20, 0), (20, 10), (30, 10), (30, 0))}
    assert found["IT"][1] == [project(60, 50)]
    assert path(found["IT"]).count("M") == 1


def test_the_tool_writes_what_a_browser_reads() -> None:
    square = [(10, 20), (30, 20), (30, 5), (10, 5)]
    assert path([square]) == "M10 20l20 0 0-15-20 0z"
    assert list(rings(Outline("FR", path([square, square]), None))) == [square, square]
    assert middle(square) in ((20, 12), (20, 13))
    assert middle([(4, 4)]) == (4, 4)


def test_the_projection_is_equal_in_area_and_has_europe_in_its_middle() -> None:
    def area(latitude: float) -> float:
        (_, low), (wide, high) = equal_earth(0, latitude), equal_earth(0.01, latitude + 0.01)
        return wide * (high - low) / math.cos(math.radians(latitude + 0.005))

    assert [area(latitude) for latitude in (-80, -30, 45, 70)] == pytest.approx([area(0)] * 4, rel=1e-3)
    assert project(11.5, 0)[0] == 2000


def test_another_edition_of_the_outlines_is_refused(tmp_path: Path) -> None:
    from tools.world_map import read

    (tmp_path / "countries-110m.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"take world-atlas 2\.0\.2"):
        read(tmp_path, "countries-110m.json")
