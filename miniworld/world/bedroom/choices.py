"""What a bedroom is like before any geometry: its kind, its time, its colours and its furniture, by chance."""

from __future__ import annotations

from typing import Any

import numpy as np

from miniworld.world.bedroom.solids import Colour, Paint, mix, shade
from miniworld.world.chance import choose
from miniworld.world.kinds import COLOURS

KINDS = ("modern", "classic", "country", "hotel", "kids")
TIMES = ("day", "dusk", "night")
WOODS: dict[str, Colour] = {
    "white": (0.90, 0.88, 0.84), "black": (0.13, 0.12, 0.12), "light wood": (0.80, 0.62, 0.42),
    "dark wood": (0.31, 0.18, 0.11),
    "wood": (0.58, 0.36, 0.20), "gray": (0.52, 0.52, 0.53),
}  # fmt: skip

_FRAMES = {
    "modern": ("white", "black", "light wood", "gray"), "classic": ("dark wood", "wood", "white"),
    "country": ("light wood", "wood", "white"), "hotel": ("dark wood", "wood", "black"),
    "kids": ("white", "light wood", "wood"),
}  # fmt: skip
_HEADBOARDS = {
    "modern": (("panel", 0.3), ("padded", 0.45), ("bars", 0.1), ("slats", 0.15)),
    "classic": (("panel", 0.3), ("padded", 0.25), ("arched", 0.3), ("bars", 0.15)),
    "country": (("panel", 0.25), ("slats", 0.35), ("arched", 0.2), ("bars", 0.2)),
    "hotel": (("padded", 0.6), ("panel", 0.4)),
    "kids": (("slats", 0.4), ("panel", 0.2), ("arched", 0.25), ("bars", 0.15)),
}  # fmt: skip
_COVERS = {
    "modern": ("white", "gray", "blue", "black", "green", "orange", "cream"),
    "classic": ("cream", "red", "blue", "golden", "purple", "white", "green"),
    "country": ("white", "red", "blue", "green", "yellow", "pink", "cream"),
    "hotel": ("white", "cream", "golden", "brown", "red", "gray"),
    "kids": ("pink", "blue", "yellow", "green", "red", "purple", "orange"),
}  # fmt: skip
_WALLS = {
    "modern": ("white", "gray", "cream", "blue", "green"),
    "classic": ("cream", "golden", "blue", "green", "pink", "red"),
    "country": ("white", "cream", "yellow", "blue", "green"), "hotel": ("cream", "tan", "golden", "gray", "white"),
    "kids": ("pink", "blue", "yellow", "green", "purple", "white"),
}  # fmt: skip
_ANY = (
    "red",
    "blue",
    "green",
    "yellow",
    "purple",
    "pink",
    "orange",
    "white",
    "gray",
    "brown",
    "cream",
    "tan",
    "golden",
    "black",
)
FLOORS = ("wooden", "dark wooden", "pale wooden", "tiled", "gray")


def named(rng: np.random.Generator, name: str, wide: float = 0.025) -> Colour:
    """A colour by its name, a little off."""
    r, g, b = COLOURS[name]
    off = rng.normal(0, wide, 4)
    return tuple(float(np.clip(c / 255 + off[3] + off[i] * 0.5, 0.05, 0.95)) for i, c in enumerate((r, g, b)))  # type: ignore[return-value]


def pale(colour: Colour) -> Colour:
    """A colour as walls are painted in it."""
    return mix(colour, (0.95, 0.94, 0.91), 0.62)


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]


def chance(rng: np.random.Generator, odds: float) -> bool:
    """True with the given odds."""
    return bool(rng.random() < odds)


def attributes(rng: np.random.Generator) -> dict[str, Any]:
    """Everything that is chosen about a room before things are placed in it."""
    a: dict[str, Any] = {}
    kind = a["kind"] = choose(rng, KINDS, (0.28, 0.22, 0.2, 0.14, 0.16))
    a["time"] = choose(rng, TIMES, (0.54, 0.18, 0.28))
    a["sunny"] = a["time"] == "day" and chance(rng, 0.6)
    a["bed_wall"] = choose(rng, ("back", "left", "right"), (0.56, 0.22, 0.22))
    a["bed_size"] = "single" if chance(rng, 0.7 if kind == "kids" else 0.14) else "double"
    a["frame"] = _pick(rng, _FRAMES[kind])
    options = _HEADBOARDS[kind]
    a["headboard"] = choose(rng, tuple(o for o, _ in options), tuple(p for _, p in options))
    a["headboard_colour"] = _pick(rng, _ANY) if a["headboard"] == "padded" else a["frame"]
    if a["headboard"] == "bars":
        a["frame"] = a["headboard_colour"] = _pick(rng, ("black", "white", "gray"))
    low = {"padded": "none", "bars": "bars"}.get(a["headboard"], "panel")
    a["footboard"] = low if chance(rng, 0.5 if kind in ("modern", "hotel") else 0.72) else "none"
    a["base"] = "legs" if a["footboard"] != "none" or chance(rng, 0.5) else "skirt"
    a["posts"] = (
        a["headboard"] != "bars"
        and a["bed_size"] == "double"
        and chance(rng, {"classic": 0.3, "country": 0.15}.get(kind, 0.02))
    )
    a["bed_length"] = float(rng.uniform(1.95, 2.12))
    a["mattress"] = float(rng.uniform(0.17, 0.27))
    a["headboard_height"] = float(rng.uniform(0.98, 1.32))
    a["footboard_height"] = float(rng.uniform(0.55, 0.74))
    a["bare"] = float(rng.uniform(0.42, 0.75))
    a["hang"] = float(rng.uniform(0.16, 0.34))
    a["duvet"] = _pick(rng, _COVERS[kind])
    a["duvet_pattern"] = choose(
        rng, ("plain", "striped", "checked", "dotted", "patched"), (0.52, 0.19, 0.12, 0.1, 0.07)
    )
    a["blanket"] = _pick(rng, tuple(c for c in _ANY if c != a["duvet"])) if chance(rng, 0.5) else None
    a["blanket_length"], a["throw_over"] = float(rng.uniform(0.4, 0.75)), chance(rng, 0.5)
    a["pillow"] = _pick(rng, ("white", "white", a["duvet"], "cream", "gray"))
    a["pillow_rows"] = 1 + chance(rng, 0.45)
    a["cushions"] = int(rng.integers(1, 4)) if chance(rng, 0.55) else 0
    a["cushion"] = _pick(rng, tuple(c for c in _ANY if c not in (a["pillow"], a["duvet"])))
    a["bolster"] = chance(rng, 0.3)
    a["walls"] = _pick(rng, _WALLS[kind])
    a["wall_pattern"] = choose(rng, ("plain", "striped", "dotted", "brick", "boards"), (0.62, 0.13, 0.09, 0.06, 0.10))
    a["accent"] = chance(rng, 0.25)
    a["wainscot"] = chance(rng, 0.2)
    a["floor"] = choose(rng, FLOORS, (0.32, 0.22, 0.24, 0.1, 0.12))
    a["carpet"] = _pick(rng, _ANY) if chance(rng, 0.62) else None
    a["carpet_shape"] = choose(rng, ("square", "round"), (0.72, 0.28))
    a["carpet_pattern"] = choose(
        rng, ("plain", "border", "striped", "checked", "zigzag", "rings"), (0.3, 0.3, 0.14, 0.1, 0.08, 0.08)
    )
    a["curtain_colour"] = _pick(rng, (a["duvet"], *_ANY, "white", "cream"))
    a["curtains"] = choose(rng, ("open", "half", "one side", "closed", "none"), (0.46, 0.2, 0.1, 0.1, 0.14))
    a["curtain_length"], a["tied"] = choose(rng, ("floor", "sill"), (0.7, 0.3)), chance(rng, 0.35)
    a["overhang"] = float(rng.uniform(0.06, 0.16))
    a["panes"] = ((1, 1), (2, 1), (2, 2), (2, 3), (3, 1), (1, 2))[int(rng.integers(6))]
    a["view"] = _pick(rng, ("hills", "trees", "houses"))
    a["beams"] = chance(rng, 0.4 if kind == "country" else 0.03)
    a["tall_window"] = chance(rng, 0.2)
    a["ceiling_lamp"] = choose(
        rng, ("none", "chandelier", "pendant", "globe", "dome", "fan"), (0.28, 0.2, 0.16, 0.12, 0.1, 0.14)
    )
    if a["posts"] and a["ceiling_lamp"] != "none":
        a["ceiling_lamp"] = "dome"  # what hangs lower would hang in the canopy
    a["chair_colour"], a["pouf_colour"], a["shade"] = (
        _pick(rng, _ANY),
        _pick(rng, _ANY),
        _pick(rng, ("white", "cream", "cream", "red", "blue", "green", "yellow")),
    )
    a["wardrobe_colour"] = a["frame"] if chance(rng, 0.6) else _pick(rng, tuple(WOODS))
    a["table_colour"] = a["frame"] if chance(rng, 0.6) else _pick(rng, tuple(WOODS))
    a["door_colour"] = _pick(rng, ("white", "white", "wood", "dark wood", "light wood"))
    dark = a["time"] != "day"
    a["lamp_lit"] = chance(rng, 0.85 if dark else 0.12)
    a["ceiling_lit"] = chance(rng, 0.5 if dark else 0.08)
    return a


def _cloth(rng: np.random.Generator, colour: str, pattern: str = "plain", scale: float = 1.0) -> Paint:
    main = named(rng, colour)
    light = max(main) > 0.55
    other = shade(main, 0.66) if light and chance(rng, 0.5) else mix(main, (0.96, 0.94, 0.9), 0.75)
    if colour in ("white", "cream") and pattern != "plain":
        other = named(rng, _pick(rng, ("blue", "red", "green", "gray", "pink", "golden")))
    code, across, along = {
        "plain": ("plain", 1.0, 1.0), "striped": (("stripes", "bands")[int(rng.integers(2))], 5.0, 5.0),
        "checked": ("checks", 4.0, 4.0), "dotted": ("dots", 7.0, 7.0), "patched": ("patches", 3.2, 3.2),
        "zigzag": ("zigzag", 3.0, 3.0), "rings": ("rings", 2.5, 2.5),
        "border": ("border", 1.0, 1.0),
    }[pattern]  # fmt: skip
    k = scale * float(rng.uniform(0.75, 1.25))
    return Paint(main, other, code, across * k, along * k, grain=0.014)


def _wood(rng: np.random.Generator, name: str) -> Paint:
    r, g, b = WOODS[name]
    off = float(rng.normal(0, 0.02))
    colour = (r + off, g + off, b + off)
    if "wood" in name:
        return Paint(colour, shade(colour, 0.72), "grain", 9.0, 3.0)
    return Paint(colour)


def paints(rng: np.random.Generator, a: dict[str, Any]) -> dict[str, Paint]:
    """The paints of everything in the room."""
    wall = pale(named(rng, a["walls"]))
    deeper = shade(mix(named(rng, a["walls"]), wall, 0.45), 0.9)
    look = {
        "plain": Paint(wall), "striped": Paint(wall, shade(wall, 0.88), "stripes", 5.0),
        "dotted": Paint(wall, shade(wall, 0.8), "dots", 6.0, 6.0),
        "brick": Paint(wall, shade(wall, 0.7), "bricks", 3.6, 10.0),
        "boards": Paint(wall, shade(wall, 0.75), "seams", 6.0),
    }[a["wall_pattern"]]  # fmt: skip
    floor = {
        "wooden": Paint((0.66, 0.45, 0.27), (0.42, 0.26, 0.14), "planks", 7.0, 0.9),
        "dark wooden": Paint((0.40, 0.25, 0.16), (0.22, 0.13, 0.08), "planks", 7.0, 0.9),
        "pale wooden": Paint((0.82, 0.70, 0.54), (0.60, 0.48, 0.34), "planks", 6.0, 0.8),
        "tiled": Paint((0.80, 0.76, 0.70), (0.55, 0.51, 0.47), "tiles", 2.6, 2.6),
        "gray": Paint((0.56, 0.55, 0.54), grain=0.03),
    }[a["floor"]]  # fmt: skip
    frame = _wood(rng, a["frame"])
    padded = a["headboard"] == "padded"
    if padded:
        cloth = named(rng, a["headboard_colour"])
        style = ("tufts", "stripes", "plain")[int(rng.integers(3))]
        headboard = Paint(cloth, shade(cloth, 0.62), {"stripes": "seams"}.get(style, style), 2.6, 2.6, (0.15, 0.15))
    else:
        headboard = frame
    metal = Paint(((0.72, 0.58, 0.28), (0.2, 0.19, 0.19), (0.72, 0.72, 0.74), (0.9, 0.88, 0.84))[int(rng.integers(4))])
    white = Paint((0.92, 0.91, 0.88))
    cloth_shade = named(rng, a["shade"])
    p = {
        "wall": look, "accent": Paint(deeper) if a["accent"] else look,
        "wainscot": Paint(mix(wall, (0.93, 0.92, 0.9), 0.8), (0.7, 0.69, 0.66), "seams", 5.0),
        "beam": _wood(rng, _pick(rng, ("wood", "dark wood", "light wood"))),
        "trim": white if chance(rng, 0.75) else _wood(rng, a["door_colour"]),
        "floor": floor, "ceiling": Paint((0.93, 0.92, 0.90)),
        "frame": frame, "headboard": headboard, "duvet": _cloth(rng, a["duvet"], a["duvet_pattern"]),
        "pillow": _cloth(rng, a["pillow"]),
        "cushion": _cloth(rng, a["cushion"], choose(rng, ("plain", "striped", "dotted"), (0.6, 0.25, 0.15)), 2.0),
        "metal": metal, "column": metal if chance(rng, 0.6) else _cloth(rng, _pick(rng, _ANY)),
        "shade": Paint(cloth_shade),
        "table": _wood(rng, a["table_colour"]), "wardrobe": _wood(rng, a["wardrobe_colour"]),
        "door": _wood(rng, a["door_colour"]),
        "window_frame": white if chance(rng, 0.75) else _wood(rng, a["frame"]), "chair": _cloth(rng, a["chair_colour"]),
        "pouf": _cloth(rng, a["pouf_colour"]), "curtain": _curtain(rng, a),
        "picture_frame": (metal, white, _wood(rng, "dark wood"), frame)[int(rng.integers(4))],
    }  # fmt: skip
    p["cushion2"] = (
        p["cushion"]
        if chance(rng, 0.6)
        else p["cushion"].but(pattern="plain", colour=mix(p["cushion"].colour, p["pillow"].colour, 0.5))
    )
    if a["blanket"]:
        p["blanket"] = _cloth(rng, a["blanket"], choose(rng, ("plain", "striped", "checked"), (0.6, 0.2, 0.2)))
    if a["carpet"]:
        p["carpet"] = _cloth(rng, a["carpet"], a["carpet_pattern"], 0.5).but(grain=0.035)
    return p


def _curtain(rng: np.random.Generator, a: dict[str, Any]) -> Paint:
    colour = named(rng, a["curtain_colour"])
    return Paint(colour, shade(colour, 0.55), "folds", 7.0, 1.0)
