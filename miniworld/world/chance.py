"""What a picture shows before any geometry: colours, gear, place, time, each drawn by chance."""

from __future__ import annotations

from typing import Any

import numpy as np

from miniworld.world.kinds import KINDS
from miniworld.world.scenery import SCENES

_SCENE_ODDS = (0.21, 0.15, 0.14, 0.14, 0.15, 0.14, 0.07)
_TIME_ODDS = (0.50, 0.22, 0.21, 0.07)
_OCCLUDED = 0.28
_RIDDEN, _TACKED, _WRAPPED = 0.4, 0.3, 0.3  # shares of horses
_BRIGHT = ("red", "blue", "green", "yellow", "purple", "white")


def choose(rng: np.random.Generator, values: tuple[str, ...], odds: tuple[float, ...] | None = None) -> str:
    """One of the values."""
    return str(values[int(rng.choice(len(values), p=odds))])


def attributes(rng: np.random.Generator, kind: str, rider: bool | None, scene: str | None) -> dict[str, Any]:
    """Draw a picture's attributes; a rider and a scene may be given."""
    a: dict[str, Any] = {}
    a["scene"] = scene or choose(rng, SCENES, _SCENE_ODDS)
    time = choose(rng, ("day", "morning", "dusk", "night"), _TIME_ODDS)
    a["time"] = "night" if a["scene"] == "night" else time
    a["rider"] = False
    a["saddle"] = a["bridle"] = a["wraps"] = a["mane"] = None
    if kind in KINDS:
        _coat(rng, kind, a)
        if kind == "horse":
            _gear(rng, rider, a)
    else:
        a["pattern"] = "plain"
        a["colour"] = choose(rng, ("red", "blue", "green", "yellow", "white", "black", "orange", "gray"))
        a["second"] = choose(rng, ("white", "cream", "blue", "gray"))
    a["occluder"] = choose(rng, ("fence", "grass", "tree")) if rng.random() < _OCCLUDED else None
    return a


def _coat(rng: np.random.Generator, kind: str, a: dict[str, Any]) -> None:
    spec = KINDS[kind]
    a["pattern"] = choose(rng, tuple(p for p, _ in spec.patterns), tuple(o for _, o in spec.patterns))
    a["colour"] = choose(rng, spec.coats)
    a["second"] = choose(rng, tuple(c for c in spec.second if c != a["colour"]) or ("black",))
    a["face"] = choose(rng, ("dark", "white"))


def _gear(rng: np.random.Generator, rider: bool | None, a: dict[str, Any]) -> None:
    a["mane"] = choose(rng, ("black", "white", "brown", "cream"))
    ridden = bool(rng.random() < _RIDDEN)
    a["rider"] = ridden if rider is None else rider
    tacked = a["rider"] or rng.random() < _TACKED
    a["saddle"] = choose(rng, _BRIGHT) if tacked else None
    a["bridle"] = bool(tacked)
    a["wraps"] = choose(rng, ("white", "red", "blue", "yellow")) if rng.random() < _WRAPPED else None
    a["shirt"] = choose(rng, (*_BRIGHT, "black"))
    a["trousers"] = choose(rng, ("blue", "black", "brown", "white", "tan"))
