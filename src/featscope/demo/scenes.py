"""Draw synthetic aerial scenes: ships, planes and vehicles at any angle, with their boxes.

A scene depends only on its seed, so the demo, its training and its evaluation need no data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

DEMO_SEEDS = (3, 15, 22)
"""Scenes of `featscope demo`: a harbour, an airport and a car park."""
CLASSES = ("ship", "plane", "vehicle")
WIDTH, HEIGHT = 640, 464
_SS = 2  # scenes are drawn at twice the size and reduced, for antialiasing
_CELL = 2  # pixels per cell of the plan, which holds the kind of ground
_WATER, _LAND, _ROAD, _APRON, _TAKEN = range(5)

Point = Tuple[float, float]
Colour = Tuple[int, int, int]
Random = np.random.Generator


@dataclass(frozen=True)
class Scene:
    """A picture and the objects in it."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""

    boxes: NDArray[np.float32]
    """(n, 5): cx, cy, w, h in pixels, and the angle in radians in [-pi/2, pi/2), with w along the object's length."""

    labels: NDArray[np.int64]
    """(n,): indices into `CLASSES`."""


def draw_scene(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Scene:
    """Draw the scene of a seed. The same seed always gives the same scene.

    >>> scene = draw_scene(7)
    >>> scene.image.shape, scene.boxes.shape[1]
    ((464, 640, 3), 5)
    """
    return _Painter(np.random.default_rng(seed), width, height).paint()


def _rectangle(x0: float, x1: float, y0: float, y1: float) -> List[Point]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


# Outlines in the object's own frame: x from stern (-0.5) to bow (0.5), y across (-0.5 to 0.5).
_HULL: List[Point] = [
    (-0.5, -0.36), (-0.43, -0.5), (0.22, -0.5), (0.4, -0.3), (0.5, 0.0),
    (0.4, 0.3), (0.22, 0.5), (-0.43, 0.5), (-0.5, 0.36),
]  # fmt: skip
_PLANE: List[Point] = [
    (0.5, 0.0), (0.45, 0.05), (0.16, 0.055), (-0.1, 0.5), (-0.2, 0.5), (-0.06, 0.055),
    (-0.36, 0.04), (-0.46, 0.19), (-0.5, 0.19), (-0.46, 0.0),
    (-0.5, -0.19), (-0.46, -0.19), (-0.36, -0.04), (-0.06, -0.055), (-0.2, -0.5),
    (-0.1, -0.5), (0.16, -0.055), (0.45, -0.05),
]  # fmt: skip
_CAR: List[Point] = [
    (-0.5, -0.4), (-0.45, -0.5), (0.4, -0.5), (0.5, -0.35), (0.5, 0.35), (0.4, 0.5),
    (-0.45, 0.5), (-0.5, 0.4),
]  # fmt: skip
_OUTLINES: Dict[str, List[Point]] = {"ship": _HULL, "plane": _PLANE, "vehicle": _CAR}

_PAINTS: List[Colour] = [
    (232, 232, 228), (40, 44, 52), (178, 34, 38), (36, 78, 150), (198, 200, 204),
    (120, 124, 128), (212, 172, 60), (54, 110, 84),
]  # fmt: skip


class _Painter:
    def __init__(self, random: Random, width: int, height: int) -> None:
        self.random = random
        self.width, self.height = width, height
        self.plan = np.full((-(-height // _CELL), -(-width // _CELL)), _WATER, np.uint8)
        self.road_angles: List[float] = []
        self.objects: List[Tuple[str, Tuple[float, float, float, float, float]]] = []

    def paint(self) -> Scene:
        self._lay_out()
        canvas = self._ground()
        self._scatter_clutter(canvas)
        self._place("ship", _WATER, int(self.random.integers(3, 9)))
        self._place("plane", _APRON, int(self.random.integers(2, 8)))
        self._place("vehicle", _ROAD, int(self.random.integers(8, 26)))
        self._cast_shadows(canvas)
        for name, box in self.objects:
            getattr(self, f"_draw_{name}")(ImageDraw.Draw(canvas), box)
        return self._develop(canvas)

    # The kinds of ground

    def _lay_out(self) -> None:
        random, (rows, columns) = self.random, self.plan.shape
        y, x = np.mgrid[:rows, :columns].astype(np.float64)
        angle = random.uniform(0, 2 * math.pi)
        across = (x - columns / 2) * math.cos(angle) + (y - rows / 2) * math.sin(angle)
        along = (y - rows / 2) * math.cos(angle) - (x - columns / 2) * math.sin(angle)
        wave = 10 * np.sin(along / random.uniform(18, 40) + random.uniform(0, 6))
        shift = random.choice([-0.7, -0.15, 0.0, 0.15, 0.7], p=[0.15, 0.25, 0.2, 0.25, 0.15])
        self.plan[across + wave * random.uniform(0.1, 1) > shift * columns] = _LAND
        if not (self.plan == _LAND).any():
            return
        for _ in range(int(random.integers(1, 4))):
            self._strip(_ROAD, random.uniform(-math.pi / 2, math.pi / 2), random.uniform(10, 20), 999)
        if random.random() < 0.85:
            turn = random.uniform(-math.pi / 2, math.pi / 2)
            self._strip(_APRON, turn, random.uniform(68, 128), random.uniform(120, 240))
        if random.random() < 0.6:
            turn = random.uniform(-math.pi / 2, math.pi / 2)
            self._strip(_ROAD, turn, random.uniform(32, 60), random.uniform(50, 110))

    def _strip(self, kind: int, angle: float, across: float, along: float) -> None:
        """Draw a rectangle of `kind` on the land, centred on a random cell of land."""
        rows, columns = np.nonzero(self.plan == _LAND)
        if not len(rows):
            return
        pick = int(self.random.integers(len(rows)))
        y, x = np.mgrid[: self.plan.shape[0], : self.plan.shape[1]].astype(np.float64)
        y, x = y - rows[pick], x - columns[pick]
        inside = np.abs(x * math.cos(angle) + y * math.sin(angle)) < along / 2
        inside &= np.abs(y * math.cos(angle) - x * math.sin(angle)) < across / 2
        self.plan[inside & (self.plan != _WATER)] = kind
        if kind == _ROAD:
            self.road_angles.append(angle)

    def _noise(self, cells: int) -> NDArray[np.float32]:
        """Return smooth noise with a deviation of about 1, (height, width) of the canvas."""
        rows = max(2, self.height // cells)
        columns = max(2, self.width // cells)
        small = Image.fromarray(self.random.standard_normal((rows, columns)).astype(np.float32))
        size = (self.width * _SS, self.height * _SS)
        return np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.float32)

    def _ground(self) -> Image.Image:
        random = self.random
        base = np.array(
            [
                np.array([38, 66, 88]) + random.uniform(-14, 14, 3),
                np.array([96, 104, 72]) + random.uniform(-22, 22, 3),
                np.array([88, 88, 90]) + random.uniform(-12, 12),
                np.array([150, 148, 142]) + random.uniform(-18, 18),
            ],
            np.float32,
        )
        size = (self.width * _SS, self.height * _SS)
        kinds = np.asarray(Image.fromarray(self.plan).resize(size, Image.Resampling.NEAREST))
        picture = base[kinds]
        roughness = np.array([3.0, 9.0, 3.0, 4.0], np.float32)[kinds]
        texture = self._noise(48) + 0.8 * self._noise(12) + 0.6 * self._noise(3)
        picture = picture + (roughness * texture)[..., None]
        # Soften edges between kinds of ground, so that the plan's cells are not visible.
        canvas = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
        return canvas.filter(ImageFilter.BoxBlur(_SS * 1.5))

    # Objects

    def _fits(self, polygon: Sequence[Point], kind: int) -> bool:
        """Whether a polygon lies on free ground of one kind. If so, mark the ground as taken."""
        mask = Image.new("L", (self.plan.shape[1], self.plan.shape[0]))
        ImageDraw.Draw(mask).polygon([(x / _CELL, y / _CELL) for x, y in polygon], fill=1)
        inside = np.asarray(mask) == 1
        if not inside.any() or (self.plan[inside] != kind).any():
            return False
        self.plan[inside] = _TAKEN
        return True

    def _place(self, name: str, kind: int, count: int) -> None:
        random = self.random
        rows, columns = np.nonzero(self.plan == kind)
        for _ in range(count * 30 if len(rows) else 0):
            if count == 0:
                return
            if name == "ship":
                length = float(np.exp(random.uniform(math.log(44), math.log(230))))
                width = length * random.uniform(0.2, 0.3) + 4
                angle = random.uniform(-math.pi, math.pi)
            elif name == "plane":
                length = random.uniform(44, 112)
                width = length * random.uniform(0.85, 1.1)
                angle = random.uniform(-math.pi, math.pi)
            else:
                length = random.uniform(52, 74) if random.random() < 0.2 else random.uniform(28, 42)
                width = random.uniform(14, 18) if length < 50 else random.uniform(18, 22)
                roads = self.road_angles or [0.0]
                angle = roads[int(random.integers(len(roads)))]
                angle += random.choice([0.0, math.pi, math.pi / 2]) + random.normal(0, 0.06)
            cell = int(random.integers(len(rows)))
            x, y = float(columns[cell] * _CELL), float(rows[cell] * _CELL)
            margin = length / 2 * 0.8
            if not (margin < x < self.width - margin and margin < y < self.height - margin):
                continue
            box = (x, y, length, width, angle)
            grown = (x, y, length + 6, width + 4, angle)
            if self._fits(_to_image(_rectangle(-0.5, 0.5, -0.5, 0.5), grown), kind):
                self.objects.append((name, box))
                count -= 1

    def _scatter_clutter(self, canvas: Image.Image) -> None:
        """Draw houses and trees, which a detector must learn to ignore."""
        draw, random = ImageDraw.Draw(canvas), self.random
        for _ in range(int(random.integers(4, 16))):
            x, y = random.uniform(0, self.width), random.uniform(0, self.height)
            box = (x, y, *random.uniform(24, 80, 2), random.uniform(0, math.pi))
            if not self._fits(_to_image(_rectangle(-0.5, 0.5, -0.5, 0.5), box), _LAND):
                continue
            roof = (np.array([150, 96, 76]) + random.uniform(-40, 40)).astype(int)
            dark = (roof * 0.78).astype(int)
            self._shape(draw, box, _rectangle(-0.5, 0.5, -0.5, 0.0), tuple(roof))
            self._shape(draw, box, _rectangle(-0.5, 0.5, 0.0, 0.5), tuple(dark))
        for _ in range(int(random.integers(10, 50))):
            x, y, r = random.uniform(0, self.width), random.uniform(0, self.height), random.uniform(4, 13)
            row, column = int(y / _CELL), int(x / _CELL)
            if self.plan[min(row, self.plan.shape[0] - 1), min(column, self.plan.shape[1] - 1)] == _LAND:
                green = (np.array([46, 70, 40]) + random.uniform(-14, 14)).astype(int)
                bounds = [(x - r) * _SS, (y - r) * _SS, (x + r) * _SS, (y + r) * _SS]
                draw.ellipse(bounds, fill=tuple(green))

    def _cast_shadows(self, canvas: Image.Image) -> None:
        mask = Image.new("L", canvas.size)
        draw = ImageDraw.Draw(mask)
        direction = self.random.uniform(0, 2 * math.pi)
        for name, (x, y, w, h, angle) in self.objects:
            reach = 3 + 0.12 * min(w, h)
            box = (x + reach * math.cos(direction), y + reach * math.sin(direction), w, h, angle)
            self._shape(draw, box, _OUTLINES[name], 255)
        mask = mask.filter(ImageFilter.GaussianBlur(_SS * 1.2))
        shade = ImageChops.multiply(canvas, Image.new("RGB", canvas.size, (110, 112, 122)))
        canvas.paste(shade, (0, 0), mask)

    def _shape(
        self,
        draw: ImageDraw.ImageDraw,
        box: Tuple[float, float, float, float, float],
        outline: Sequence[Point],
        fill: object,
    ) -> None:
        points = [(x * _SS, y * _SS) for x, y in _to_image(outline, box)]
        draw.polygon(points, fill=fill)  # type: ignore[arg-type]

    def _paint_colour(self) -> Colour:
        colour = np.array(_PAINTS[int(self.random.integers(len(_PAINTS)))])
        red, green, blue = np.clip(colour + self.random.uniform(-16, 16, 3), 0, 255).astype(int)
        return int(red), int(green), int(blue)

    def _draw_ship(self, draw: ImageDraw.ImageDraw, box: Tuple[float, float, float, float, float]) -> None:
        hull = self._paint_colour()
        deck = tuple(int(c * 0.6 + 70) for c in hull)
        self._shape(draw, box, _HULL, hull)
        self._shape(draw, box, [(x * 0.93, y * 0.76) for x, y in _HULL], deck)
        self._shape(draw, box, _rectangle(-0.43, -0.29, -0.36, 0.36), (226, 226, 220))
        self._shape(draw, box, _rectangle(-0.33, -0.29, -0.3, 0.3), (70, 76, 86))
        if box[2] > 80 and self.random.random() < 0.7:  # containers
            for left in np.arange(-0.25, 0.24, 0.085):
                for top in (-0.36, -0.11, 0.14):
                    if self.random.random() < 0.8:
                        stack = _rectangle(left, left + 0.075, top, top + 0.22)
                        self._shape(draw, box, stack, self._paint_colour())
        elif self.random.random() < 0.6:  # a hatch
            self._shape(draw, box, _rectangle(-0.2, 0.2, -0.2, 0.2), tuple(c // 2 for c in deck))

    def _draw_plane(self, draw: ImageDraw.ImageDraw, box: Tuple[float, float, float, float, float]) -> None:
        white = int(self.random.uniform(196, 246))
        stripe = self._paint_colour()
        self._shape(draw, box, _PLANE, (white, white, min(255, white + 6)))
        for side in (-1, 1):  # engines, and shadows between wings and body
            engine = _rectangle(-0.02, 0.08, side * 0.2 - 0.025, side * 0.2 + 0.025)
            self._shape(draw, box, engine, (96, 100, 108))
            self._shape(draw, box, _rectangle(-0.05, 0.14, side * 0.06, side * 0.075), (150, 152, 158))
        self._shape(draw, box, [(0.46, -0.03), (0.48, 0.0), (0.46, 0.03), (0.42, 0.0)], (40, 44, 52))
        self._shape(draw, box, _rectangle(-0.48, -0.38, -0.016, 0.016), stripe)

    def _draw_vehicle(self, draw: ImageDraw.ImageDraw, box: Tuple[float, float, float, float, float]) -> None:
        body = self._paint_colour()
        glass = (34, 40, 50)
        self._shape(draw, box, _CAR, body)
        if box[2] > 50:  # a truck: cab and box
            self._shape(draw, box, _rectangle(0.26, 0.3, -0.5, 0.5), glass)
            self._shape(draw, box, _rectangle(-0.48, 0.24, -0.46, 0.46), self._paint_colour())
            return
        self._shape(draw, box, [(0.1, -0.38), (0.24, -0.42), (0.24, 0.42), (0.1, 0.38)], glass)
        self._shape(draw, box, [(-0.36, -0.4), (-0.26, -0.36), (-0.26, 0.36), (-0.36, 0.4)], glass)
        self._shape(draw, box, _rectangle(-0.24, 0.08, -0.36, 0.36), tuple(min(255, c + 14) for c in body))

    def _develop(self, canvas: Image.Image) -> Scene:
        """Add lighting and sensor noise, and return the scene with its true boxes."""
        picture = np.asarray(canvas.reduce(_SS), np.float32)
        light = self.random.uniform(0.8, 1.15)
        tint = self.random.uniform(0.96, 1.04, 3).astype(np.float32)
        grain = self.random.normal(0, self.random.uniform(1.5, 5), picture.shape).astype(np.float32)
        image = np.clip(picture * light * tint + grain, 0, 255).astype(np.uint8)
        boxes = np.array([box for _, box in self.objects], np.float32).reshape(-1, 5)
        boxes[:, 4] = (boxes[:, 4] + np.pi / 2) % np.pi - np.pi / 2
        labels = np.array([CLASSES.index(name) for name, _ in self.objects], np.int64)
        return Scene(image, boxes, labels)


def _to_image(outline: Sequence[Point], box: Tuple[float, float, float, float, float]) -> List[Point]:
    """Convert points of an outline from the object's frame to pixels of the scene."""
    x, y, w, h, angle = box
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x + u * w * cos - v * h * sin, y + u * w * sin + v * h * cos) for u, v in outline]
