"""Drawing primitives: smooth shapes collected as polygons, filled into a label image; and noise fields made once."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np

from miniworld.world.labels import LABEL

SUPER = 3  # drawn at three times the size, then averaged: ten levels of coverage at an edge
_SHIFT = 4
_ARC = np.linspace(-1.0, 1.0, 9)
_TURN = np.linspace(0.0, 2 * np.pi, 22, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


@cache
def _spline(n: int, closed: bool, steps: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Catmull-Rom basis through n points: matrices M n for positions and for tangents."""
    spans = n if closed else n - 1
    t = np.arange(spans * steps + (0 if closed else 1)) / steps
    span = np.minimum(t.astype(int), spans - 1)
    u = t - span
    weights = 0.5 * np.stack([-u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, u**3 - u**2], 1)
    slopes = 0.5 * np.stack([-1 + 4 * u - 3 * u**2, -10 * u + 9 * u**2, 1 + 8 * u - 9 * u**2, 3 * u**2 - 2 * u], 1)
    place, slope = np.zeros((len(t), n)), np.zeros((len(t), n))
    rows = np.arange(len(t))
    for k in range(4):
        column = (span + k - 1) % n if closed else np.clip(span + k - 1, 0, n - 1)
        np.add.at(place, (rows, column), weights[:, k])
        np.add.at(slope, (rows, column), slopes[:, k])
    return place, slope


class Sketch:
    """A list of labelled polygons in some drawing's own units, in painting order."""

    def __init__(self) -> None:
        self.shapes: list[np.ndarray] = []
        self.labels: list[int] = []

    def poly(self, label: str, points: list[tuple[float, float]] | np.ndarray) -> None:
        """Add a polygon."""
        self.shapes.append(np.asarray(points, np.float64))
        self.labels.append(LABEL[label])

    def ellipse(self, label: str, x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> None:
        """Add an ellipse, turned by `turn` radians."""
        points = _CIRCLE * (rx, ry)
        if turn:
            c, s = math.cos(turn), math.sin(turn)
            points = points @ np.array([[c, s], [-s, c]])
        self.poly(label, points + (x, y))

    def capsule(self, label: str, a: tuple[float, float], ra: float, b: tuple[float, float], rb: float) -> None:
        """Add the convex hull of two circles: a tapered bone."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        far = math.hypot(dx, dy)
        if far <= abs(ra - rb):
            x, y, r = (*a, ra) if ra > rb else (*b, rb)
            return self.ellipse(label, x, y, r, r)
        lean, open_ = math.atan2(dy, dx), math.acos((ra - rb) / far)
        at_b = lean + open_ * _ARC
        at_a = lean + math.pi + (math.pi - open_) * _ARC
        turn = np.concatenate([at_b, at_a])
        points = np.stack([np.cos(turn), np.sin(turn)], 1)
        points[:9] = points[:9] * rb + b
        points[9:] = points[9:] * ra + a
        self.poly(label, points)
        return None

    def limb(self, label: str, points: list[tuple[float, float]], radii: list[float]) -> None:
        """Add a smooth tube through the points with the given radii, round at both ends."""
        place, slope = _spline(len(points), False)
        knots = np.asarray(points, np.float64)
        middle, along = place @ knots, slope @ knots
        along /= np.maximum(np.hypot(along[:, 0], along[:, 1])[:, None], 1e-9)
        r = np.maximum(place @ np.asarray(radii, np.float64), 1e-4)[:, None]
        side = np.stack([-along[:, 1], along[:, 0]], 1) * r
        end = math.atan2(along[-1, 1], along[-1, 0]) - math.pi / 2 * _ARC[1:-1]
        start = math.atan2(-along[0, 1], -along[0, 0]) - math.pi / 2 * _ARC[1:-1]
        cap_end = middle[-1] + r[-1] * np.stack([np.cos(end), np.sin(end)], 1)
        cap_start = middle[0] + r[0] * np.stack([np.cos(start), np.sin(start)], 1)
        self.poly(label, np.concatenate([middle + side, cap_end, (middle - side)[::-1], cap_start]))

    def blob(self, label: str, points: list[tuple[float, float]]) -> None:
        """Add a closed smooth curve through the points."""
        place, _ = _spline(len(points), True)
        self.poly(label, place @ np.asarray(points, np.float64))

    def add(self, other: Sketch, matrix: np.ndarray, offset: np.ndarray) -> None:
        """Add another sketch's shapes, moved: new points = points @ matrix + offset."""
        self.shapes += [shape @ matrix + offset for shape in other.shapes]
        self.labels += other.labels

    def bounds(self, but: np.ndarray | None = None) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 over all shapes, those whose label a 0/1 table marks left out."""
        points = np.concatenate([s for s, n in zip(self.shapes, self.labels) if but is None or not but[n]])
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        return float(x0), float(y0), float(x1), float(y1)

    def raster(self, canvas: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> None:
        """Fill the shapes into a label image; pixel = units * scale + offset, pixel centres at +0.5."""
        if not self.shapes:
            return
        k = float(1 << _SHIFT)
        points = np.concatenate(self.shapes) * (scale * k) + (offset - 0.5) * k
        fixed = np.rint(points).astype(np.int32)
        at = 0
        for shape, label in zip(self.shapes, self.labels):
            n = len(shape)
            cv2.fillPoly(canvas, [fixed[at : at + n]], label, cv2.LINE_8, _SHIFT)
            at += n


FIELD = 512


@cache
def field(name: str) -> np.ndarray:
    """A tileable noise field, FIELD x FIELD float32 of mean 0 and deviation 1: coat, ground, cloud, leaf or water."""
    # wavelength band in pixels, and how much longer the waves are across than down
    low, high, stretch = {
        "coat": (5, 14, 0.7),
        "ground": (5, 30, 3.0),
        "cloud": (24, 120, 2.4),
        "leaf": (5, 12, 1.0),
        "water": (6, 16, 6.0),
    }[name]
    rng = np.random.default_rng(sum(map(ord, name)))
    fy = np.fft.fftfreq(FIELD)[:, None]
    fx = np.fft.fftfreq(FIELD)[None] * stretch
    f = np.hypot(fx, fy) + 1e-9
    band = np.exp(-((f * low) ** 2)) * (1 - np.exp(-((f * high) ** 2))) / f
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((FIELD, FIELD))) * band).real
    noise = (noise - noise.mean()) / noise.std()
    return np.clip(noise, -2.5, 2.5).astype(np.float32)


@cache
def pattern(name: str) -> np.ndarray:
    """A tileable coat pattern, FIELD x FIELD of 0 and 1, drawn for a subject 256 pixels long."""
    rng = np.random.default_rng(sum(map(ord, name)) + 7)
    y, x = np.mgrid[:FIELD, :FIELD].astype(np.float32)
    if name == "patched":
        rough = cv2.resize(field("cloud"), None, fx=0.5, fy=1.0)
        return np.tile((rough > 0.25).astype(np.uint8), (1, 2))
    if name == "striped":
        bend = field("cloud") * 4 + field("ground") * 1.2
        return (np.sin((x + bend) * (2 * np.pi / (FIELD / 26))) > 0.05).astype(np.uint8)
    if name == "banded":
        return (np.sin((y + field("leaf") * 0.8) * (2 * np.pi / (FIELD / 34))) > 0.1).astype(np.uint8)
    if name == "spotted":
        out = np.zeros((FIELD, FIELD), np.uint8)
        for px, py, r in zip(*rng.integers(0, FIELD, (2, 420)), rng.uniform(4, 8.5, 420)):
            for dx in (-FIELD, 0, FIELD):
                for dy in (-FIELD, 0, FIELD):
                    cv2.circle(out, (int(px) + dx, int(py) + dy), int(r), 1, -1)
        return out
    # "netted": a giraffe's plates, cells around scattered points with light seams
    grid = np.arange(0, FIELD, 32)
    gx, gy = np.meshgrid(grid, grid)
    gx = gx + (np.arange(len(grid)) % 2 * 16)[:, None]
    points = np.stack([gx.ravel(), gy.ravel()], 1) + rng.uniform(-8, 8, (gx.size, 2))
    tiled = np.concatenate([points + (i * FIELD, j * FIELD) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    near = np.full((2, FIELD, FIELD), 1e9, np.float32)
    reach = 72  # further away no point is among a pixel's nearest two
    for px, py in tiled:
        rows = slice(max(int(py) - reach, 0), max(int(py) + reach, 0))
        columns = slice(max(int(px) - reach, 0), max(int(px) + reach, 0))
        first, second = near[0, rows, columns], near[1, rows, columns]
        d = np.hypot(x[rows, columns] - px, y[rows, columns] - py)
        second[:] = np.minimum(second, np.maximum(d, first))
        first[:] = np.minimum(first, d)
    return (near[1] - near[0] < 5.5).astype(np.uint8)


def crop(image: np.ndarray, x: int, y: int, size: int) -> np.ndarray:
    """A size x size window of a tileable field, wrapping round."""
    x, y = x % FIELD, y % FIELD
    if x + size <= FIELD and y + size <= FIELD:
        return image[y : y + size, x : x + size]
    return image.take(range(y, y + size), 0, mode="wrap").take(range(x, x + size), 1, mode="wrap")
