"""From painted faces to a lit scene: sky, ground, shadows, lamps, rain and snow, before any camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from miniworld.world.light import NOMINAL
from miniworld.world.paint import SUPER, crop, field
from miniworld.world.street.classes import CLASS, CLASSES, FLOOR, VOID
from miniworld.world.street.faces import VALUE, Faces

_SKY = CLASS["sky"]


def _table(*names: str) -> np.ndarray:
    out = np.zeros(256, np.float32)
    for value in range(256):
        if value % VALUE < len(CLASSES) and CLASSES[value % VALUE] in names:
            out[value] = 1
    return out


_FLOOR = _table(*FLOOR)
_GRAIN = 0.065 * _table("vegetation", "terrain") + 0.022 * _table("building", "wall")
_CLASS_OF = np.array([v % VALUE if v % VALUE < len(CLASSES) else VOID for v in range(256)], np.uint8)
BORDER = 0.008  # of the frame's side: what the lens' correction leaves open, and is not scored


def bonnet(shape: tuple[float, float, float]) -> np.ndarray:
    """The outline of the camera's own bonnet: points N 2 in shares of the frame's side, for centre, height, round."""
    centre, tall, round_ = shape
    x = np.linspace(-0.05, 1.05, 23)
    y = 1 - tall * (1 - round_ * ((x - centre) / 0.55) ** 2)
    return np.concatenate([np.stack([x, y], 1), [(1.05, 1.2), (-0.05, 1.2)]])


@dataclass(frozen=True)
class StreetStage:
    """A painted street waiting for light and a look."""

    canvas: np.ndarray  # big big 4: colours and values
    faces: Faces
    bonnet: tuple[float, float, float]
    bonnet_colour: np.ndarray
    texture: np.ndarray  # one (x, y) offset for each noise field
    seed: int

    @cached_property
    def labels(self) -> np.ndarray:
        """H W uint8: class and mark of every pixel."""
        return np.ascontiguousarray(self.canvas[SUPER // 2 :: SUPER, SUPER // 2 :: SUPER, 3])

    def codes(self) -> np.ndarray:
        """H W 2 uint8: class and mark, which change where an outline is drawn."""
        labels = self.labels
        return cv2.merge([cv2.LUT(labels, _CLASS_OF), labels // VALUE])

    def fabric(self) -> np.ndarray:
        """H W: 1 where embroidery leaves plain weave, on sky and ground."""
        labels = self.labels
        return cv2.LUT(labels, _FLOOR) + (labels == _SKY)

    def truth(self) -> np.ndarray:
        """H W uint8: class ids, VOID at the borders and on the bonnet."""
        out = cv2.LUT(self.labels, _CLASS_OF)
        size = len(out)
        rim = max(1, round(BORDER * size))
        out[:rim] = out[-rim:] = out[:, :rim] = out[:, -rim:] = VOID
        if self.bonnet[1] > 0:
            cover = self._cover[SUPER // 2 :: SUPER, SUPER // 2 :: SUPER]
            out[-len(cover) :][cover > 0] = VOID
        return out

    @cached_property
    def _cover(self) -> np.ndarray:
        """The bonnet at the picture's foot: rows size*SUPER uint8, 255 where it is."""
        big = len(self.canvas)
        tall = round(self.bonnet[1] * len(self.labels) + 1) * SUPER
        mask = np.zeros((tall, big), np.uint8)
        outline = (bonnet(self.bonnet) * big - (0, big - tall)) * 16 - 8
        cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 255, cv2.LINE_8, 4)
        return mask

    def _noise(self, name: str, which: int, size: int) -> np.ndarray:
        x, y = self.texture[which]
        grain = crop(field(name), int(x), int(y), NOMINAL)
        return grain if size == NOMINAL else cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)

    def clean(self) -> np.ndarray:
        """The street in its light: H W 3 float32 RGB in [0, 1]."""
        labels = self.labels
        size = len(labels)
        image = cv2.resize(self.canvas, (size, size), interpolation=cv2.INTER_AREA)[..., :3].astype(np.float32)
        image *= np.float32(1 / 255)
        air, camera = self.faces.air, self.faces.camera
        rows = (np.arange(size, dtype=np.float32) + 0.5) / size
        floor = cv2.LUT(labels, _FLOOR)
        self._sky(image, labels, rows)
        tone = np.float32(1) + self._noise("leaf", 0, size) * cv2.LUT(labels, _GRAIN)
        near = np.clip((rows - camera.horizon) / (1 - camera.horizon), 0, 1)[:, None]
        tone = tone + self._noise("ground", 1, size) * floor * (0.012 + 0.035 * near)
        tone = tone * (1 - self._shade(size) * floor)
        image *= tone[..., None]
        haze = air.haze(camera.depth(rows)).astype(np.float32)[:, None] * floor
        image += haze[..., None] * (air.low.astype(np.float32) - image)
        if air.weather == "rain":
            self._wet(image, floor)
        if air.lamps:
            self._lamps(image, labels)
        if air.weather in ("rain", "snow"):
            self._falling(image)
        self._hood(image)
        return np.clip(image, 0, 1, out=image)

    def _sky(self, image: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> None:
        air, camera = self.faces.air, self.faces.camera
        size = len(labels)
        top = int(camera.horizon * size) + 1  # no sky is seen below
        high = np.clip(1 - rows[:top] / camera.horizon, 0, 1)[:, None] ** np.float32(0.8)
        clouds = self._noise("cloud", 2, size)[:top]
        thick = {"clear": 0.55, "cloudy": 0.35, "snow": 0.15, "rain": 0.3, "fog": 0.05}[air.weather]
        white = np.minimum(air.low * 1.12 + (0.06 if air.time != "night" else 0.0), 1.0).astype(np.float32)
        cover = np.clip(clouds - (0.35 if air.weather == "clear" else -0.9), 0, 1.2) * np.minimum(
            thick, high * 3 * thick
        )
        shift = high[..., None] * (air.top - air.low).astype(np.float32)
        sky = (labels[:top] == _SKY).astype(np.float32)[..., None]
        image[:top] += sky * (shift + cover[..., None] * (white - air.low.astype(np.float32) - shift))
        if air.time != "day" and air.weather == "clear":
            self._disc(image[:top], sky)
        if air.time == "night" and air.weather == "clear":
            rng = np.random.default_rng([self.seed, 3])
            spots = rng.random((26, 3))
            for x, y, light in spots:
                column, row = int(x * size), int(y * camera.horizon * size)
                if labels[row, column] == _SKY:
                    image[row, column] += np.float32(0.25 + 0.5 * light)

    def _disc(self, image: np.ndarray, sky: np.ndarray) -> None:
        """The low sun, or the moon, and the light round it."""
        size = image.shape[1]
        rng = np.random.default_rng([self.seed, 5])
        x, y = rng.uniform(0.1, 0.9), rng.uniform(0.3, 0.85) * self.faces.camera.horizon
        disc = np.zeros(image.shape[:2], np.uint8)
        moon = self.faces.air.time == "night"
        if moon:
            y *= 0.5
        radius = (0.022 if moon else 0.03) * size * 16
        cv2.circle(disc, (int(x * size * 16), int(y * size * 16)), int(radius), 255, -1, cv2.LINE_AA, 4)
        halo = cv2.GaussianBlur(disc, (0, 0), (4 if moon else 9) * size / NOMINAL).astype(np.float32)
        part = np.clip(disc + halo * (1.2 if moon else 2.2), 0, 255) * np.float32((0.9 if moon else 0.95) / 255)
        colour = np.array((0.93, 0.94, 0.98) if moon else (1.0, 0.9, 0.68), np.float32)
        image += part[..., None] * sky * (colour - image)

    def _shade(self, size: int) -> np.ndarray:
        """Shadows on the ground, H W float32."""
        air, camera = self.faces.air, self.faces.camera
        mask = np.zeros((size, size), np.uint8)
        if self.faces.shadows:
            flat = camera.project(np.concatenate(self.faces.shadows))
            fixed = np.rint(np.clip(flat, -20, 20) * size * 16 - 8).astype(np.int32)
            start = 0
            for shape in self.faces.shadows:
                cv2.fillPoly(mask, [fixed[start : start + len(shape)]], 255, cv2.LINE_8, 4)
                start += len(shape)
        soft = 0.6 if air.sun else 1.2
        strength = 0.42 if air.sun else 0.3
        return cv2.GaussianBlur(mask, (0, 0), soft * size / NOMINAL).astype(np.float32) * np.float32(strength / 255)

    def _wet(self, image: np.ndarray, floor: np.ndarray) -> None:
        """The street mirrored in its wet ground."""
        size = len(image)
        line = int(self.faces.camera.horizon * size)
        tall = min(size - line, line)
        mirror = cv2.GaussianBlur(
            image[line - tall : line][::-1], (0, 0), sigmaX=0.8 * size / NOMINAL, sigmaY=3.0 * size / NOMINAL
        )
        fade = np.linspace(0.42, 0.0, tall, dtype=np.float32)[:, None, None]
        part = floor[line : line + tall, :, None] * fade
        image[line : line + tall] += part * (mirror - image[line : line + tall])

    def _lamps(self, image: np.ndarray, labels: np.ndarray) -> None:
        """Halos round lamps, and pools of light on the ground."""
        faces = self.faces
        if not faces.lights:
            return
        low = NOMINAL // 2
        pool, halo = np.zeros((low, low, 3), np.float32), np.zeros((low, low, 3), np.float32)
        spots = np.array([light[:3] for light in faces.lights])
        places = faces.camera.project(spots) * low
        for (u, v), (_, y, z, radius, colour) in zip(places, faces.lights):
            if z < 1.5 or not (-low < u < 2 * low and -low < v < 2 * low):
                continue
            r = min(radius * faces.camera.focal / z, 0.06 if y else 9.0) * low
            if y == 0.0:
                flat = max(r * faces.camera.height / z, 0.6)
                cv2.ellipse(pool, ((u, v), (2 * r, 2 * flat + r * 0.3), 0), colour, -1)
            else:
                cv2.circle(halo, (round(u * 16), round(v * 16)), round(max(r, 0.45) * 16), colour, -1, cv2.LINE_AA, 4)
        fog = faces.air.weather in ("fog", "rain", "snow")
        wide = cv2.GaussianBlur(halo, (0, 0), 3.2 if fog else 2.2)
        glow = cv2.GaussianBlur(halo, (0, 0), 0.7) * 0.5 + wide * (1.3 if fog else 0.9)
        dark = 1.0 if faces.air.time == "night" else 0.45 if faces.air.time == "dusk" else 0.25
        size = len(image)
        pool = cv2.resize(cv2.GaussianBlur(pool, (0, 0), 2.0), (size, size)) * np.float32(1 / 255)
        glow = cv2.resize(glow, (size, size)) * np.float32(1 / 255)
        solid = (labels != _SKY).astype(np.float32)[..., None]
        image *= 1 + pool * solid * np.float32(1.5 * dark)
        image += glow * np.float32(0.8 * dark) * (1 - 0.6 * image)

    def _falling(self, image: np.ndarray) -> None:
        """Rain or snow in the air."""
        size = len(image)
        rng = np.random.default_rng([self.seed, 4])
        mask = np.zeros((size, size), np.uint8)
        rain = self.faces.air.weather == "rain"
        lean = float(rng.normal(0, 0.01))
        for x, y, near in rng.random((46 if rain else 90, 3)):
            p = (int(x * size * 16), int(y * size * 16))
            if rain:
                long = 0.03 + 0.05 * near
                cv2.line(
                    mask,
                    p,
                    (int((x + lean) * size * 16), int((y + long) * size * 16)),
                    60 + int(60 * near),
                    1,
                    cv2.LINE_AA,
                    4,
                )
            else:
                cv2.circle(
                    mask, p, int((0.15 + 0.9 * near**3) * 16 * size / NOMINAL), 150 + int(90 * near), -1, cv2.LINE_AA, 4
                )
        light = self.faces.air.low.astype(np.float32) * 0.4 + 0.6 * min(1.0, float(self.faces.air.tint.max()) + 0.25)
        part = mask[..., None].astype(np.float32) * np.float32(0.5 / 255 if rain else 0.9 / 255)
        image += part * (light.astype(np.float32) - image)

    def _hood(self, image: np.ndarray) -> None:
        """The camera's own bonnet, with the sky in it."""
        if self.bonnet[1] <= 0:
            return
        size, mask = len(image), self._cover
        cover = cv2.resize(mask, (size, len(mask) // SUPER), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        rows = 1 - (np.arange(len(cover), dtype=np.float32)[::-1] + 0.5) / size
        down = np.clip((rows - 1 + self.bonnet[1]) / self.bonnet[1], 0, 1)[:, None, None]
        colour = (self.bonnet_colour * self.faces.air.tint).astype(np.float32) * (1 - 0.35 * down)
        colour = colour + (self.faces.air.low * 0.45).astype(np.float32) * (1 - down) ** 2
        part = image[-len(cover) :]
        part += cover[..., None] * (colour - part)
