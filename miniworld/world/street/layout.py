"""The plan of a street before anything is drawn: what kind it is, how wide, and what stands where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miniworld.world.street.pick import pick
from miniworld.world.street.weather import TIMES, WEATHERS

KINDS = ("town centre", "suburb", "avenue", "crossing", "tram street", "industrial street")
_ODDS = (0.22, 0.20, 0.17, 0.18, 0.13, 0.10)
_TIME_ODDS = (0.46, 0.17, 0.14, 0.23)
_WEATHER_ODDS = (0.42, 0.21, 0.15, 0.10, 0.12)
FAR = 130.0  # metres: how far streets are drawn


@dataclass(frozen=True)
class Plan:
    """Distances in metres from the middle of the camera's lane: negative to the left."""

    kind: str
    lane: float
    left: float  # kerb on the left
    right: float
    parking: tuple[bool, bool]  # left, right
    verge: float  # grass between kerb and sidewalk
    walk: float  # width of a sidewalk
    yard: float  # grass between sidewalk and buildings
    middle: float  # the line between both directions
    tracks: tuple[float, ...]  # middles of tram tracks
    cross: tuple[float, float] | None  # where the road across begins and ends, along the street

    oneway: bool  # whether all traffic goes the camera's way

    def edge(self, side: int) -> float:
        """The kerb on a side, -1 or 1."""
        return self.left if side < 0 else self.right

    def front(self, side: int) -> float:
        """Where the buildings on a side begin."""
        return self.edge(side) + side * (self.verge + self.walk + self.yard)


def draw_attributes(rng: np.random.Generator, kind: str | None) -> dict[str, Any]:
    """What a street is before any geometry: kind, time, weather, season, bend."""
    any_kind = pick(rng, KINDS, _ODDS)
    a: dict[str, Any] = {"kind": kind or any_kind}
    a["time"] = pick(rng, TIMES, _TIME_ODDS)
    a["weather"] = pick(rng, WEATHERS, _WEATHER_ODDS)
    seasons = ("summer", "summer", "autumn", "spring")
    a["season"] = "winter" if a["weather"] == "snow" else pick(rng, seasons)
    bends = rng.random() < (0.2 if a["kind"] in ("crossing", "tram street") else 0.5)
    a["bend"] = pick(rng, ("left", "right")) if bends else "straight"
    return a


def draw_plan(rng: np.random.Generator, kind: str) -> Plan:
    """A plan for a kind of street."""
    lane = float(rng.uniform(2.8, 3.3))
    parking = (rng.random() < 0.5, rng.random() < 0.5)
    verge = yard = 0.0
    walk = float(rng.uniform(2.8, 5.2))
    lanes = 1
    tracks: tuple[float, ...] = ()
    if kind == "suburb":
        yard, walk = float(rng.uniform(3.0, 5.5)), float(rng.uniform(1.7, 2.4))
        verge = pick(rng, (0.0, 1.8))
    elif kind == "avenue":
        verge, walk, lanes = float(rng.uniform(1.8, 3.4)), float(rng.uniform(2.5, 3.6)), 2
        yard = pick(rng, (0.0, 2.5))
    elif kind == "crossing":
        parking, lanes = (False, False), int(rng.integers(1, 3))
    elif kind == "industrial street":
        verge, yard = pick(rng, (0.0, 1.4)), float(rng.uniform(1.5, 5.0))
        walk = float(rng.uniform(1.7, 2.4))
    oneway = kind in ("town centre", "suburb") and rng.random() < (0.4 if kind == "town centre" else 0.15)
    opposite = 0 if oneway else lanes
    inner = lane / 2
    if kind == "tram street":
        tracks = (-inner - lane * 0.5, -inner - lane * 1.5)
        parking = (False, bool(parking[1]))
        opposite = 3
    right = inner + 0.2 + (2.2 if parking[1] else 0.0) + (lane * (lanes - 1) if rng.random() < 0.4 else 0.0)
    left = -inner - lane * opposite - 0.2 - (2.2 if parking[0] else 0.0)
    cross = None
    if kind == "crossing":
        near = float(rng.uniform(9.0, 15.0))
        cross = near, near + float(rng.uniform(7.0, 10.0))
    middle = -inner if not tracks else -inner - lane
    return Plan(
        kind, lane, left, right, (bool(parking[0]), bool(parking[1])), verge, walk, yard, middle, tracks, cross, oneway
    )
