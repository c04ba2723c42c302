"""Time and weather: the light of a street, its sky, and how far one sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TIMES = ("day", "morning", "dusk", "night")
WEATHERS = ("clear", "cloudy", "rain", "fog", "snow")

#: sky at the top, sky at the horizon, and the light on everything else
_LIGHT = {
    "day": ((70, 136, 214), (188, 218, 240), (1.0, 0.99, 0.96)),
    "morning": ((112, 160, 214), (252, 222, 190), (1.0, 0.92, 0.82)),
    "dusk": ((84, 78, 140), (250, 156, 104), (0.86, 0.68, 0.66)),
    "night": ((10, 14, 36), (40, 46, 80), (0.34, 0.37, 0.52)),
}  # fmt: skip
#: what the sky turns to, how much of it, how bright the rest is, and how far one sees, in metres
_WEATHER = {
    "clear": ((0, 0, 0), 0.0, 1.0, 500.0),
    "cloudy": ((196, 202, 210), 0.75, 0.94, 330.0),
    "rain": ((146, 154, 166), 0.85, 0.80, 120.0),
    "fog": ((206, 210, 214), 0.92, 0.92, 30.0),
    "snow": ((208, 214, 224), 0.85, 0.94, 110.0),
}  # fmt: skip


@dataclass(frozen=True)
class Air:
    """The light that a street stands in; colours are RGB in [0, 1]."""

    time: str
    weather: str
    top: np.ndarray  # of the sky
    low: np.ndarray  # of the sky, and of what is far away
    tint: np.ndarray
    sight: float  # metres
    sun: bool  # whether things cast shadows
    direction: tuple[float, float, float]  # to the sun

    @property
    def lamps(self) -> bool:
        """Whether lamps are lit."""
        return self.time in ("dusk", "night") or self.weather == "fog"

    def haze(self, depth: np.ndarray) -> np.ndarray:
        """The share of air in what is seen at a depth in metres."""
        return 1 - np.exp(-np.maximum(depth - 4, 0) / self.sight)

    def shade(self, x: float, y: float, z: float) -> float:
        """How bright a face is that looks along a unit vector."""
        if not self.sun:
            return 0.86 + 0.14 * y - 0.04 * z
        a, b, c = self.direction
        return 0.70 + 0.06 * y + 0.42 * max(0.0, a * x + b * y + c * z)


def draw_air(rng: np.random.Generator, time: str, weather: str) -> Air:
    """The light of a time and a weather, with a little chance."""
    top, low, tint = (np.array(c, np.float64) for c in _LIGHT[time])
    gray, share, bright, sight = _WEATHER[weather]
    dim = {"day": 1.0, "morning": 0.95, "dusk": 0.62, "night": 0.2}[time]
    veil = np.array(gray, np.float64) * dim * (tint / tint.max()) ** 0.5
    shift = rng.normal(0, 6, 3)
    top, low = top * (1 - share) + veil * 0.9 * share + shift, low * (1 - share) + veil * share + shift
    tint = tint * bright * rng.uniform(0.94, 1.04)
    if share > 0.5 and time != "night":
        tint = tint * 0.6 + tint.mean() * 0.4
    side = -1.0 if rng.random() < 0.5 else 1.0
    direction = np.array((side * rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9) if time == "day" else 0.42,
                          rng.uniform(-0.5, 0.15)))  # fmt: skip
    direction /= np.linalg.norm(direction)
    return Air(
        time=time,
        weather=weather,
        top=np.clip(top, 4, 252) / 255,
        low=np.clip(low, 4, 252) / 255,
        tint=tint,
        sight=sight * float(rng.uniform(0.8, 1.3)),
        sun=weather == "clear" and time != "night",
        direction=(float(direction[0]), float(direction[1]), float(direction[2])),
    )
