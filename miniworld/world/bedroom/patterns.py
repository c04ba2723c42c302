"""Patterns on faces: from places on a face to how much of the second colour shows, in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from miniworld.world.bedroom.solids import PATTERNS

_TAU = np.float32(2 * np.pi)


def _soft(wave: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """A wave in [-1, 1] as stripes with edges as wide as a pixel; even gray where a period is under two pixels."""
    keen = np.float32(0.6) / np.maximum(blur, 0.02)
    fade = np.clip(1.4 - 1.8 * blur, 0, 1)
    return 0.5 + np.clip(wave * keen, -0.5, 0.5) * fade


def _hash(i: np.ndarray, j: np.ndarray | float = 0.0) -> np.ndarray:
    """A number in [0, 1) for each cell."""
    return np.modf(np.abs(np.sin(i * 12.9898 + j * 78.233) * 4375.85))[0]


def _line(place: np.ndarray, width: float, blur: np.ndarray) -> np.ndarray:
    """1 on the lines between whole numbers, `width` of a cell wide and at least half a pixel."""
    away = np.abs(place - np.rint(place))
    half = np.maximum(width / 2, 0.35 * blur)
    return np.clip((half - away) / np.maximum(0.5 * blur, 1e-3) + 0.5, 0, 1) * np.clip(1.3 - 1.4 * blur, 0, 1)


def _stripes(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    return _soft(np.sin(_TAU * u), du * 3)


def _bands(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    return _soft(np.sin(_TAU * v), dv * 3)


def _checks(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    return 0.5 * (_stripes(u, v, du, dv) + _bands(u, v, du, dv))


def _planks(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    row = np.floor(u)
    shifted = v + _hash(row)
    tone = 0.55 * _hash(row, np.floor(shifted)) * np.clip(1.6 - du, 0, 1)
    streak = 0.12 * np.sin(_TAU * (u * 3.3 + 0.4 * np.sin(v * 3 + row)))
    return np.clip(tone + streak + 0.9 * _line(u, 0.05, du) + 0.9 * _line(shifted, 0.012, dv), 0, 1)


def _tiles(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    tone = 0.2 * _hash(np.floor(u), np.floor(v))
    return np.clip(tone + _line(u, 0.05, du) + _line(v, 0.05, dv), 0, 1)


def _folds(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    phase = u + 0.13 * np.sin(u * 2.1 + 1.3) + 0.03 * np.sin(v * 1.7)
    return 0.5 + (0.36 * np.sin(_TAU * phase) + 0.14 * np.sin(_TAU * 2.3 * phase)) * np.clip(1.5 - 1.5 * du, 0.1, 1)


def _dots(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    x = u - np.floor(u) - 0.5
    w = v + 0.5 * (np.floor(u) % 2)
    y = w - np.floor(w) - 0.5
    blur = np.maximum(du, dv)
    return np.clip((0.27 - np.hypot(x, y)) / np.maximum(blur, 0.03) + 0.5, 0, 1) * np.clip(1.5 - blur, 0, 1)


def _tufts(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    p, q = u + v, u - v
    seams = np.maximum(_line(p, 0.07, du), _line(q, 0.07, du))
    swell = np.abs(np.sin(np.pi * p) * np.sin(np.pi * q))
    return np.clip(0.75 * seams + 0.5 * (1 - swell), 0, 1)


def _fade(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 0.5 * v, 0, 1)


def _border(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    """`u` and `v` in metres from the middle; the outline is not known here, so the border follows the repeats."""
    edge = np.maximum(np.abs(u), np.abs(v))
    blur = np.maximum(np.maximum(du, dv), 0.01)
    outer, inner = np.clip((edge - 0.80) / blur + 0.5, 0, 1), np.clip((edge - 0.92) / blur + 0.5, 0, 1)
    return outer - inner


def _rings(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    return _soft(np.sin(_TAU * np.hypot(u, v)), np.maximum(du, dv) * 3)


def _grain(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    wave = np.sin(_TAU * (u + 0.35 * np.sin(v * 2.2) + 0.15 * np.sin(v * 5.1 + u)))
    return 0.35 + 0.3 * wave * np.clip(1.4 - du, 0, 1)


def _patches(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    tone = np.floor(_hash(np.floor(u), np.floor(v) + 7.0) * 3) / 2
    return np.clip(tone + 0.3 * _line(u, 0.05, du) + 0.3 * _line(v, 0.05, dv), 0, 1)


def _zigzag(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    return _soft(np.sin(_TAU * (v + 0.5 * np.abs(u - np.floor(u) - 0.5) * 2)), np.maximum(du, dv) * 3)


def _bricks(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    row = np.floor(v)
    shifted = u + 0.5 * (row % 2)
    tone = 0.45 * _hash(np.floor(shifted), row) * np.clip(1.6 - dv, 0, 1)
    return np.clip(tone + _line(shifted, 0.05, du) + _line(v, 0.12, dv), 0, 1)


def _seams(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray) -> np.ndarray:
    return np.clip(_line(u, 0.05, du) + 0.0 * v, 0, 1)


_DRAW: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "stripes": _stripes, "bands": _bands, "checks": _checks, "planks": _planks, "tiles": _tiles, "folds": _folds,
    "dots": _dots, "tufts": _tufts, "fade": _fade, "border": _border, "rings": _rings, "grain": _grain,
    "zigzag": _zigzag,
    "patches": _patches, "bricks": _bricks, "seams": _seams,
}  # fmt: skip
IN_SHARES = ("fade", "border")  # of the face, where the others are in repeats a metre


def second_share(code: np.ndarray, u: np.ndarray, v: np.ndarray, repeats: np.ndarray, blur: np.ndarray,
                 sides: np.ndarray, face: np.ndarray) -> np.ndarray:  # fmt: skip
    """How much of the second colour shows, N float32, for N pixels.

    `u` and `v` are in [-1, 1] over the face, `blur` N is a pixel's width on it in metres. Of the F faces, `repeats`
    2 F counts periods from 0 to 1, `sides` 2 F gives half sides in metres; `face` N says which one a pixel shows.
    """
    out = np.zeros(u.shape, np.float32)
    for c in np.flatnonzero(np.bincount(code, minlength=len(PATTERNS))):
        name = PATTERNS[c]
        if name == "plain":
            continue
        on = np.flatnonzero(code == c)
        which = face[on]
        du, dv = blur[on] / sides[0][which], blur[on] / sides[1][which]
        p, q = u[on], v[on]
        if name not in IN_SHARES:
            ru, rv = repeats[0][which], repeats[1][which]
            p, q, du, dv = p * ru, q * rv, du * ru, dv * rv
        out[on] = _DRAW[name](p, q, du, dv)
    return out
