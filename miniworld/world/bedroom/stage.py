"""A room waiting for a look: from faces and light to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from miniworld.world.bedroom.camera import Camera
from miniworld.world.bedroom.classes import CLASS
from miniworld.world.bedroom.lighting import Light
from miniworld.world.bedroom.patterns import second_share
from miniworld.world.bedroom.solids import Faces
from miniworld.world.light import NOMINAL
from miniworld.world.paint import SUPER, Sketch, crop, field

_PLAIN = np.isin(np.arange(len(CLASS)), [CLASS[name] for name in ("wall", "ceiling", "floor", "window")])


def raster(faces: Faces, size: int) -> np.ndarray:
    """Which face is seen where: a label image, SUPER times the size, uint16; 0 is no face, 1 the first."""
    canvas = np.zeros((size * SUPER, size * SUPER), np.uint16)
    sketch = Sketch()
    sketch.labels = [face + 1 for face, _ in faces.polygons]
    sketch.shapes = [polygon for _, polygon in faces.polygons]
    sketch.raster(canvas, np.full(2, size * SUPER), np.zeros(2))
    return canvas


@dataclass(frozen=True)
class RoomStage:
    """A drawn room waiting for light."""

    canvas: np.ndarray  # which face, at SUPER times the size
    faces: Faces
    camera: Camera
    light: Light
    texture: np.ndarray  # one (x, y) offset for the grain
    brightness: float | None  # that the mean of the picture is brought towards; None leaves the light as it is

    @property
    def seen(self) -> np.ndarray:
        """Which face each pixel shows, H W, counted from 0."""
        return self.canvas[SUPER // 2 :: SUPER, SUPER // 2 :: SUPER].astype(np.int64) - 1

    @property
    def classes(self) -> np.ndarray:
        """The class of each pixel, H W uint8."""
        return self.faces.classes[self.seen]

    @property
    def labels(self) -> np.ndarray:
        """The thing of each pixel by a small number, H W uint8."""
        return ((self.faces.things * 7 + self.faces.classes * 5) % 128).astype(np.uint8)[self.seen]

    def codes(self) -> np.ndarray:
        """H W 3 uint8: class, thing and face's direction, which change where an outline is drawn."""
        seen = self.seen
        way = np.abs(self.faces.normal).argmax(1).astype(np.uint8)
        return cv2.merge([self.faces.classes[seen], self.faces.things.astype(np.uint8)[seen], way[seen]])

    def fabric(self) -> np.ndarray:
        """H W bool: walls, ceiling, floor and window, which embroidery leaves in plain weave."""
        return _PLAIN[self.classes]

    def clean(self) -> np.ndarray:
        """The room in its light, before any camera: H W 3 float32 RGB in [0, 1]."""
        return _clean(self)


def _clean(stage: RoomStage) -> np.ndarray:
    faces, seen, f32 = stage.faces, stage.seen, np.float32
    size, index = len(seen), seen.ravel()
    o, a, b, normal = (x.astype(f32) for x in (faces.o, faces.a, faces.b, faces.normal))
    la, lb = np.sqrt((a * a).sum(1)), np.sqrt((b * b).sum(1))
    p, n, depth, cosine = _places(stage, o, normal, index, size)
    # places on the face: u = (p - o) . a / |a|^2
    across, along = a / (la * la)[:, None], b / (lb * lb)[:, None]
    ga, gb = _take(across.T, index), _take(along.T, index)
    u = p[0] * ga[0] + p[1] * ga[1] + p[2] * ga[2] - _take((o * across).sum(1), index)
    v = p[0] * gb[0] + p[1] * gb[1] + p[2] * gb[2] - _take((o * along).sum(1), index)
    np.clip(u, -1.2, 1.2, out=u)
    np.clip(v, -1.2, 1.2, out=v)

    curved = np.flatnonzero(np.any(faces.round_, 1)[index])
    if len(curved):
        on = index[curved]
        bend = faces.round_.astype(f32).T[:, on]
        bent = n[:, curved] + ga[:, curved] * (bend[0] * u[curved] * la[on])
        bent += gb[:, curved] * (bend[1] * v[curved] * lb[on])
        bent /= np.sqrt((bent * bent).sum(0))
        n[:, curved] = bent
    glow, colour, second = faces.glow.astype(f32), faces.colour.astype(f32), faces.second.astype(f32)
    image = stage.light.at(p, n, faces.things[index])
    middle = stage.light.at(o.T, normal.T, faces.things)  # for what is thinner than a pixel
    _glowing(image, glow[index])
    _glowing(middle, glow)
    blur = depth / f32(stage.camera.focal * size) / np.sqrt(np.clip(-cosine, 0.12, 1))
    share = second_share(faces.pattern[index], u, v, faces.repeats.astype(f32).T, blur, np.stack([la, lb]), index)
    image *= _take(colour.T, index) + share * _take((second - colour).T, index)
    grain = crop(field("coat"), int(stage.texture[0]), int(stage.texture[1]), NOMINAL)
    if size != NOMINAL:
        grain = cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)
    image *= 1 + grain.ravel() * faces.grain.astype(f32)[index]
    pixels = _smoothed(np.ascontiguousarray(image.T), colour * middle.T, seen, stage.canvas)
    if stage.brightness is not None:
        pixels *= f32(np.clip((stage.brightness / max(float(pixels.mean()), 1e-3)) ** 0.65, 0.75, 1.8))
    return _shoulder(pixels.reshape(size, size, 3))


def _take(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take(table, index, axis=-1, mode="clip")


def _places(
    stage: RoomStage, o: np.ndarray, normal: np.ndarray, index: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where each pixel's ray meets its face, 3 N; the face's normal there, 3 N; how deep; and how steeply."""
    eye = np.array(stage.camera.eye, np.float32)
    ray = stage.camera.rays(size).reshape(3, -1)
    n = _take(normal.T, index)
    cosine = n[0] * ray[0] + n[1] * ray[1] + n[2] * ray[2]
    offset = _take(((o - eye) * normal).sum(1), index)
    depth = np.clip(offset / np.minimum(cosine, np.float32(-1e-4)), 0.05, 40.0)
    p = ray * depth
    p += eye[:, None]
    return p, n, depth, cosine


def _glowing(light: np.ndarray, glow: np.ndarray) -> None:
    """Put light of a thing's own, N, in place of the room's, 3 N."""
    on = np.flatnonzero(glow)
    light[:, on] = light[:, on] * (1 - np.minimum(glow[on], 1)) + glow[on]


def _smoothed(image: np.ndarray, flat: np.ndarray, seen: np.ndarray, canvas: np.ndarray) -> np.ndarray:
    """Average what a pixel shows over its finer pixels, N 3: each finer pixel has the colour of its face.

    That colour is taken from the pixel beside it on the finer one's side if it shows the same face, and else from
    `flat`, F 3, the faces' colours at their middles.
    """
    size, middle = len(seen), SUPER // 2
    plain, out = seen.ravel(), image.copy()
    codes = canvas[middle::SUPER, middle::SUPER]
    for dy in range(-middle, middle + 1):
        for dx in range(-middle, middle + 1):
            finer = canvas[middle + dy :: SUPER, middle + dx :: SUPER]
            on = np.flatnonzero(finer != codes)
            if not len(on):
                continue
            y, x = np.divmod(on, size)
            beside = np.clip(y + dy, 0, size - 1) * size + np.clip(x + dx, 0, size - 1)
            face = finer.ravel()[on].astype(np.int64) - 1
            colour = np.where((plain[beside] == face)[:, None], image[beside], flat[face])
            colour -= image[on]
            colour *= np.float32(1 / SUPER**2)
            out[on] += colour
    return out


def _shoulder(image: np.ndarray) -> np.ndarray:
    """Light of any strength into [0, 1]: as it is up to 0.7, then ever less."""
    over = np.maximum(image - np.float32(0.7), 0)
    return np.minimum(image, np.float32(0.7)) + np.float32(0.3) * (1 - np.exp(over * np.float32(-1 / 0.42)))
