"""Makes mkg_builder/tables/world_map.csv, once: the countries of the world as outlines for a page.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python mkg_builder/tables/outlines.py package

world-atlas holds the country borders of Natural Earth 4.1.0, which are in the public domain, as TopoJSON. Outlines come
from its 1:110 million; a country that is missing there, or smaller than a dot, has the middle of its largest part in
1:10 million as its dot. Antarctica is left out. French Guiana, Svalbard and Crimea, which Natural Earth draws with the
state that holds them, stand under the codes that ISO 3166 has for them; Kosovo, Northern Cyprus and Somaliland, which
have none of their own, under an empty one. Projection: Equal Earth (Šavrič, Patterson and Jenny, 2018), equal in area,
so that no country's colour weighs more than it should, about 11.5° east, where the map's edge cuts no country; rounded
to whole units of a map 4,000 wide.
"""

import argparse
import csv
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pycountry

SHA256 = {
    "countries-110m.json": "2516c915867c7baf18ddec727aec46c315541a07cfb3d79a6559b05d5e94eee8",
    "countries-10m.json": "3bc6f1d367a9bcec479841bae0e76092f512838411d0cef124e92eec4db45f79",
}
TABLE = Path(__file__).parent / "world_map.csv"
WIDTH = 4000
NORTH = 83.7
"""The northernmost latitude, whose y is 0."""
SMALL = 100.0
"""Square units; a smaller outline is hardly seen, and has a dot too."""
LEFT_OUT = ("AQ",)
APART = {"GF": ("FR", (-60, 0, -50, 10)), "SJ": ("NO", (5, 75, 40, 85)), "UA": ("RU", (31, 43, 37.5, 47))}
"""Codes whose land is drawn as another country's: that country, and west, south, east and north of the land."""
MIDDLE = 11.5
"""Degrees east."""
A1, A2, A3, A4, M = 1.340264, -0.081106, 0.000893, 0.003796, math.sqrt(3) / 2
Point = tuple[int, int]
Ring = list[Point]


def equal_earth(longitude: float, latitude: float) -> tuple[float, float]:
    """Degrees to the projection's plane: x to the east, y to the north, of a sphere of radius 1."""
    angle = math.asin(M * math.sin(math.radians(latitude)))
    square, sixth = angle**2, angle**6
    x = math.radians(longitude) * math.cos(angle) / (M * (A1 + 3 * A2 * square + sixth * (7 * A3 + 9 * A4 * square)))
    return x, angle * (A1 + A2 * square + sixth * (A3 + A4 * square))


SCALE = WIDTH / 2 / equal_earth(180, 0)[0]


def project(longitude: float, latitude: float) -> Point:
    """Degrees to units of the map; y runs down."""
    x, y = equal_earth((longitude - MIDDLE + 180) % 360 - 180, latitude)
    return round(WIDTH / 2 + x * SCALE), round((equal_earth(0, NORTH)[1] - y) * SCALE)


def stands_apart(code: str, ring: Ring) -> str:
    """The code of a country's ring: its own, or that of a land apart."""
    for apart, (country, (west, south, east, north)) in APART.items():
        (left, bottom), (right, top) = project(west, south), project(east, north)
        if code == country and all(left < x < right and top < y < bottom for x, y in ring):
            return apart
    return code


class Atlas:
    """The countries of one TopoJSON file, projected."""

    def __init__(self, topology: dict[str, Any]) -> None:
        self._countries = topology["objects"]["countries"]["geometries"]
        self._arcs = [list(_degrees(arc, topology["transform"])) for arc in topology["arcs"]]

    def __iter__(self) -> Iterator[tuple[str, list[Ring]]]:
        """The ISO code of each country, empty for one without, and its outer and inner rings; largest ring first."""
        codes = {country.numeric: country.alpha_2 for country in pycountry.countries}
        parts: dict[str, list[Ring]] = {}
        for shape in self._countries:
            polygons = {"Polygon": [shape["arcs"]], "MultiPolygon": shape["arcs"]}[shape["type"]]
            for ring in (self._ring(arcs) for polygon in polygons for arcs in polygon):
                parts.setdefault(stands_apart(codes.get(shape.get("id", ""), ""), ring), []).append(ring)
        for code, rings in sorted(parts.items()):
            yield code, sorted(rings, key=area, reverse=True)

    def _ring(self, arcs: Sequence[int]) -> Ring:
        """Arcs joined end to end; `~n` is arc n backwards. A point that repeats the one before it is left out."""
        points: Ring = []
        for number in arcs:
            arc = self._arcs[number] if number >= 0 else self._arcs[~number][::-1]
            points += [project(*place) for place in arc]
        kept = [point for before, point in zip([None, *points], points, strict=False) if point != before]
        return kept[:-1] or kept


def _degrees(arc: Sequence[Sequence[int]], transform: dict[str, list[float]]) -> Iterator[tuple[float, float]]:
    x = y = 0
    for right, up in arc:
        x, y = x + right, y + up
        yield tuple(n * s + t for n, s, t in zip((x, y), transform["scale"], transform["translate"], strict=True))  # type: ignore[misc]


def area(ring: Ring) -> float:
    """Square units inside a ring."""
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in _sides(ring))) / 2


def middle(ring: Ring) -> Point:
    """The centre of gravity of a ring; of one that has shrunk to a line or a point, of its corners."""
    twice = sum(a[0] * b[1] - b[0] * a[1] for a, b in _sides(ring))
    if not twice:
        return round(sum(x for x, _ in ring) / len(ring)), round(sum(y for _, y in ring) / len(ring))
    x, y = (
        sum((a[axis] + b[axis]) * (a[0] * b[1] - b[0] * a[1]) for a, b in _sides(ring)) / (3 * twice) for axis in (0, 1)
    )
    return round(x), round(y)


def _sides(ring: Ring) -> Iterator[tuple[Point, Point]]:
    return zip(ring, [*ring[1:], *ring[:1]], strict=True)


def path(rings: Sequence[Ring]) -> str:
    """SVG path data, each point by its distance from the one before; a ring of fewer than three points is nothing."""
    drawn = []
    for ring in rings:
        if len(ring) >= 3:
            steps = [n for a, b in pairwise(ring) for n in (b[0] - a[0], b[1] - a[1])]
            drawn.append(f"M{_numbers(ring[0])}l{_numbers(steps)}z")
    return "".join(drawn)


def _numbers(values: Sequence[int]) -> str:
    return "".join(f"{'' if n < 0 or not place else ' '}{n}" for place, n in enumerate(values))


def on_one_side(rings: Sequence[Ring]) -> Sequence[Ring]:
    """The rings, none of which the edge of the map cuts in two."""
    if any(max(x for x, _ in ring) - min(x for x, _ in ring) > WIDTH / 2 for ring in rings):
        raise SystemExit(f"a country lies on both edges of the map: change MIDDLE, {MIDDLE}")
    return rings


def rows(coarse: Atlas, fine: Atlas) -> Iterator[tuple[str, str, str]]:
    """Country, dot, outline; either may be empty."""
    outlines = {code: on_one_side(rings) for code, rings in coarse if code not in LEFT_OUT}
    for code, rings in fine:
        outline = path(outlines.get(code, []))
        seen = outline and (not code or sum(map(area, outlines[code])) >= SMALL)
        if code not in LEFT_OUT and (code or outline):
            yield code, "" if seen else " ".join(map(str, middle(rings[0]))), outline


def read(package: Path, name: str) -> Atlas:
    """A file of the package, which must be the very one that this was written for."""
    data = (package / name).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != SHA256[name]:
        raise SystemExit(f"{package / name}: sha256 {found}, expected {SHA256[name]}; take world-atlas 2.0.2")
    return Atlas(json.loads(data))


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the unpacked npm package world-atlas 2.0.2")
    package = parser.parse_args().package
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("country", "dot", "outline"))
        writer.writerows(rows(read(package, "countries-110m.json"), read(package, "countries-10m.json")))


if __name__ == "__main__":
    main()
