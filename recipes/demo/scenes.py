"""Compositions from a seed: what a genre puts where on the canvas, before any paint is on it."""

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

T = TypeVar("T")
Numbers = npt.NDArray[np.int64]

SIZE = (112, 84)
FINE = 2  # pictures are painted this many times larger, then averaged down
DARK, EARTH, GREEN, SKIN, SKY, CLOTH, SECOND, BRIGHT = range(8)


class Chance:
    """Dice named by words: the same words throw the same numbers, on any machine and under any hash seed."""

    def __init__(self, *words: object) -> None:
        digest = blake2b("/".join(map(str, words)).encode(), digest_size=16).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest, "big"))

    def many(self, low: int, high: int, *shape: int) -> Numbers:
        """Whole numbers from `low` up to, not including, `high`."""
        # the raw words of a bit generator are stable between numpy versions, Generator.integers need not be
        raw = self._bits.random_raw(math.prod(shape)) % np.uint64(high - low)
        return raw.astype(np.int64).reshape(shape) + low

    def one(self, low: int, high: int) -> int:
        """One whole number from `low` up to, not including, `high`."""
        return int(self.many(low, high, 1)[0])

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.one(0, len(items))]


class Scene:
    """A composition in hundredths of the canvas: what lies where (roles) and how light it is (tones)."""

    def __init__(self, upright: bool, artist: str, chance: Chance) -> None:
        width, height = SIZE[::-1] if upright else SIZE
        self.size = (width * FINE, height * FINE)
        self.chance = chance
        self.roles, self.tones = Image.new("L", self.size, SKY), Image.new("L", self.size, 128)
        self._draw = [ImageDraw.Draw(self.roles), ImageDraw.Draw(self.tones)]
        habit = Chance("composition", artist)
        self.horizon, self.bulk = habit.one(34, 62) + chance.one(-5, 6), habit.one(84, 118)
        self.cloths = [habit.pick((CLOTH, SECOND)), habit.pick((SECOND, EARTH, CLOTH)), habit.pick((BRIGHT, GREEN))]
        self.light = habit.pick((-1, -1, 1))

    def area(self, points: Sequence[tuple[int, int]], role: int, tone: int = 128) -> None:
        """A flat shape with straight edges."""
        width, height = self.size
        corners = [(x * width // 100, y * height // 100) for x, y in points]
        self._draw[0].polygon(corners, fill=role)
        self._draw[1].polygon(corners, fill=tone)

    def oval(self, at: tuple[int, int], radius: tuple[int, int], role: int, tone: int = 120) -> None:
        """A rounded shape, lit from the painter's favourite side."""
        width, height = self.size
        for step, shrink in enumerate((100, 72, 42)):
            x = (at[0] * 100 + self.light * radius[0] * step * 16) * width // 10000
            y = (at[1] * 100 - radius[1] * step * 16) * height // 10000
            across, down = radius[0] * shrink * width // 10000, radius[1] * shrink * height // 10000
            box = (x - across, y - down, x + across, y + down)
            if not step:
                self._draw[0].ellipse(box, fill=role)
            self._draw[1].ellipse(box, fill=tone + 16 * step)

    def block(self, left: int, top: int, right: int, bottom: int, role: int, tone: int = 128) -> None:
        """An upright rectangle."""
        self.area([(left, top), (right, top), (right, bottom), (left, bottom)], role, tone)

    def backdrop(self, role: int, bottom: int = 100, tone: int = 104) -> None:
        """A ground that grows lighter downwards, as a sky does."""
        for band in range(6):
            self.block(0, band * bottom // 6, 100, bottom, role, tone + 8 * band)

    def clouds(self) -> None:
        """A few light patches in the sky."""
        for _ in range(self.chance.one(0, 5)):
            at = (self.chance.one(0, 100), self.chance.one(4, max(6, self.horizon - 8)))
            self.oval(at, (self.chance.one(8, 22), self.chance.one(2, 6)), BRIGHT, 108)

    def ridge(self, top: int, role: int, tone: int) -> None:
        """Ground below an uneven line."""
        line = [(x, top + self.chance.one(-7, 5)) for x in range(0, 101, 20)]
        self.area([*line, (100, 100), (0, 100)], role, tone)

    def tree(self, x: int, base: int, height: int) -> None:
        """A trunk under two or three crowns."""
        self.block(x, base - height, x + 2, base, DARK, 120)
        for _ in range(self.chance.one(2, 4)):
            at = (x + self.chance.one(-5, 7), base - height + self.chance.one(-4, 8))
            self.oval(at, (self.chance.one(5, 11), self.chance.one(6, 12)), GREEN, self.chance.one(84, 118))

    def figure(self, x: int, base: int, height: int, cloth: int) -> None:
        """Somebody standing: a robe, a head, and hair."""
        half, head, lean = height // 4 + 1, max(2, height // 9), self.chance.one(-3, 4)
        neck = base - height + 2 * head
        self.area([(x - half, base), (x + lean - head, neck), (x + lean + head, neck), (x + half, base)], cloth, 112)
        self.area([(x, base), (x + lean, neck), (x + lean + head, neck), (x + half // 2, base)], cloth, 138)
        self.oval((x + lean, neck - 2 * head), (head, head * 3 // 2), DARK, 120)
        self.oval((x + lean, neck - head), (head, head * 3 // 2), SKIN)


def _country(scene: Scene) -> None:
    scene.backdrop(SKY, scene.horizon)
    scene.clouds()
    scene.ridge(scene.horizon - 5, SKY, 92)
    scene.ridge(scene.horizon, GREEN, 116)
    scene.ridge(scene.horizon + 18, EARTH, 128)


def _landscape(scene: Scene) -> None:
    _country(scene)
    bend, chance = scene.chance.one(15, 85), scene.chance
    water = chance.pick((SKY, SKIN, BRIGHT))
    scene.area([(bend, scene.horizon + 6), (bend + 4, scene.horizon + 6), (bend + 24, 100), (bend - 18, 100)], water)
    for x in chance.many(0, 100, chance.one(1, 6)).tolist():
        scene.tree(x, chance.one(scene.horizon + 8, 94), chance.one(18, 40))


def _marina(scene: Scene) -> None:
    chance = scene.chance
    scene.backdrop(SKY, scene.horizon)
    scene.clouds()
    scene.backdrop(SECOND, 100, 96)
    scene.backdrop(SKY, scene.horizon, 112)
    for x in chance.many(4, 92, chance.one(1, 5)).tolist():
        base, tall = chance.one(scene.horizon + 4, 84), chance.one(14, 36)
        scene.area([(x - 6, base), (x + 10, base), (x + 7, base + 4), (x - 4, base + 4)], DARK, 110)
        scene.area([(x, base - 1), (x, base - tall), (x + tall // 2, base - 2)], chance.pick((BRIGHT, SKIN, CLOTH)))
    if chance.one(0, 2):
        scene.ridge(90, EARTH, 120)


def _cityscape(scene: Scene) -> None:
    chance, left = scene.chance, -4
    scene.backdrop(SKY, 100)
    scene.clouds()
    scene.block(0, scene.horizon, 100, 100, chance.pick((EARTH, SECOND, SKIN)), 124)
    while left < 100:
        wide, top = chance.one(8, 18), scene.horizon - chance.one(6, 28)
        wall = chance.pick((SKIN, EARTH, BRIGHT, CLOTH))
        scene.block(left, top, left + wide, scene.horizon + 6, wall, chance.one(104, 136))
        scene.area([(left - 1, top), (left + wide // 2, top - 8), (left + wide + 1, top)], scene.cloths[0], 100)
        for window in range(left + 2, left + wide - 2, 5):
            scene.block(window, top + 4, window + 2, top + 9, DARK, 120)
        left += wide
    for x in chance.many(4, 96, chance.one(0, 6)).tolist():
        scene.figure(x, chance.one(scene.horizon + 14, 96), 14, DARK)


def _portrait(scene: Scene) -> None:
    chance = scene.chance
    x, y = 50 + chance.one(-8, 9), 41 + chance.one(-5, 6)
    across, down = chance.one(14, 18) * scene.bulk // 100, chance.one(15, 19) * scene.bulk // 100
    scene.backdrop(chance.pick((SKY, SKY, DARK)), 100, 90)
    scene.oval((x, 108), (chance.one(36, 48), 46), scene.cloths[0], 104)
    scene.area([(x - 10, 72), (x, 64), (x + 10, 72), (x, 92)], scene.cloths[2], 120)
    scene.block(x - 5, y + down - 4, x + 5, 72, SKIN, 108)
    scene.oval((x, y - 4), (across + 3, down + 3), chance.pick((DARK, DARK, EARTH)), 112)
    scene.oval((x, y), (across, down), SKIN, 116)
    for side in (-1, 1):
        scene.oval((x + side * across // 2, y - 1), (2, 1), DARK, 110)
    scene.block(x - 3, y + down // 2, x + 3, y + down // 2 + 1, CLOTH, 116)
    if chance.one(0, 3) == 0:
        scene.oval((x, y - down), (across + 6, 6), scene.cloths[1], 112)


def _self_portrait(scene: Scene) -> None:
    _portrait(scene)
    scene.oval((22, 90), (18, 9), EARTH, 130)
    for x, role in ((12, CLOTH), (18, SECOND), (24, BRIGHT), (30, GREEN)):
        scene.oval((x, 88), (2, 2), role, 124)
    scene.area([(34, 92), (52, 72), (53, 73), (36, 94)], DARK, 120)


def _table(scene: Scene) -> int:
    edge = scene.horizon + 14
    scene.backdrop(SKY, 100, 92)
    scene.block(0, edge, 100, 100, scene.chance.pick((EARTH, BRIGHT, EARTH)), 112)
    return edge


def _still_life(scene: Scene) -> None:
    chance, edge = scene.chance, _table(scene)
    x = chance.one(16, 84)
    scene.oval((x, edge - 8), (chance.one(8, 13), 17), scene.cloths[0], 108)
    scene.block(x - 4, edge - 34, x + 4, edge - 20, scene.cloths[0], 112)
    scene.oval((100 - x, edge + 8), (20, 6), BRIGHT, 112)
    for at in zip(chance.many(12, 90, 7).tolist(), chance.many(edge - 2, 92, 7).tolist(), strict=True):
        scene.oval(at, (chance.one(4, 8), chance.one(5, 10)), chance.pick((CLOTH, SECOND, GREEN, EARTH, SKIN)), 108)


def _flowers(scene: Scene) -> None:
    chance, edge = scene.chance, _table(scene) + 4
    x, count = 50 + chance.one(-10, 11), chance.one(14, 26)
    scene.area([(x - 9, edge - 10), (x + 9, edge - 10), (x + 14, edge + 16), (x - 14, edge + 16)], scene.cloths[1], 112)
    for role, spread in ((GREEN, 34), (CLOTH, 28)):
        for dx, dy in chance.many(-spread, spread + 1, count, 2).tolist():
            petal = role if role == GREEN else chance.pick((CLOTH, SECOND, BRIGHT, SKIN, CLOTH))
            scene.oval((x + dx, edge - 32 + dy * 3 // 4), (chance.one(3, 8), chance.one(3, 7)), petal, 112)


def _religious(scene: Scene) -> None:
    chance, cloths = scene.chance, scene.cloths
    scene.backdrop(chance.pick((SKY, EARTH)), 100, 108)
    scene.block(0, 78, 100, 100, EARTH, 104)
    scene.oval((50, 34), (34, 30), SKY, 118)
    for side in (-1, 1):
        scene.block(50 + side * 40 - 5, 8, 50 + side * 40 + 5, 84, SKIN, 112)
        for row in range(chance.one(1, 3)):
            scene.figure(50 + side * (26 - 9 * row), 92 - 8 * row, 44, cloths[1 - row])
    scene.oval((50, 30), (13, 11), BRIGHT, 120)
    scene.figure(50, 88, chance.one(58, 68), chance.pick((CLOTH, SECOND)))


def _myth(scene: Scene) -> None:
    _country(scene)
    chance = scene.chance
    scene.tree(chance.pick((8, 90)), 80, 52)
    x = chance.one(30, 70)
    scene.oval((x, 78), (26, 10), scene.cloths[0], 108)
    scene.oval((x, 74), (20, 6), SKIN, 118)
    scene.oval((x - 20 * scene.light, 66), (5, 7), SKIN, 118)
    for _ in range(chance.one(1, 4)):
        scene.figure(
            chance.one(10, 92), chance.one(72, 92), chance.one(30, 48), chance.pick((SKIN, SKIN, *scene.cloths))
        )


def _history(scene: Scene) -> None:
    chance, rise = scene.chance, scene.chance.one(-3, 4)
    scene.backdrop(chance.pick((SKY, DARK)), 100, 92)
    scene.clouds()
    scene.ridge(70, EARTH, 108)
    scene.area([(30, 10), (62, 16 + rise), (58, 34), (34, 28)], scene.cloths[0], 124)
    scene.block(29, 8, 31, 80, DARK, 110)
    for step, x in enumerate(range(6, 98, chance.one(9, 14))):
        scene.figure(x, 90 - rise * step + chance.one(-6, 7), chance.one(28, 46), chance.pick((*scene.cloths, DARK)))


def _genre(scene: Scene) -> None:
    chance, left = scene.chance, scene.chance.pick((4, 66))
    scene.backdrop(chance.pick((SKY, SKY, EARTH)), 74, 88)
    scene.block(0, 74, 100, 100, EARTH, 104)
    scene.block(left, 10, left + 26, 46, BRIGHT, 140)
    scene.block(left + 12, 10, left + 14, 46, DARK, 120)
    scene.block(34, 66, 74, 71, DARK, 128)
    scene.block(38, 70, 70, 90, scene.cloths[1], 108)
    for _ in range(chance.one(1, 4)):
        scene.figure(chance.one(16, 86), chance.one(84, 98), chance.one(44, 62), chance.pick(scene.cloths))


def _abstract(scene: Scene) -> None:
    chance = scene.chance
    scene.backdrop(chance.pick((BRIGHT, SKY)), 100, 112)
    for x, y, size in chance.many(0, 100, 9, 3).tolist():
        reach = 4 + size // 6
        role = chance.one(0, 8)
        scene.oval((x, y), (reach, reach), role, 116)
        scene.area([(y, x), (y + reach, x + 2), (y - 4, x + reach)], 7 - role, 124)
        scene.area([(x, y), (x + 1, y), (100 - y, x), (99 - y, x)], DARK, 110)


COMPOSITIONS: dict[str, Callable[[Scene], None]] = {
    "abstract": _abstract,
    "cityscape": _cityscape,
    "flower-painting": _flowers,
    "genre-painting": _genre,
    "history-painting": _history,
    "landscape": _landscape,
    "marina": _marina,
    "mythological-painting": _myth,
    "portrait": _portrait,
    "religious-painting": _religious,
    "self-portrait": _self_portrait,
    "still-life": _still_life,
}
UPRIGHT = ("flower-painting", "portrait", "religious-painting", "self-portrait")


def compose(genre: str, artist: str, chance: Chance) -> Scene:
    """Lay out one picture of a genre, with the habits of a painter.

    Args:
        genre: one of `COMPOSITIONS`.
        artist: whose horizon, proportions, drapery and light to use.
        chance: the dice of this one picture.
    """
    scene = Scene(genre in UPRIGHT, artist, chance)
    COMPOSITIONS[genre](scene)
    return scene
