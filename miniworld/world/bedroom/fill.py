"""What a bedroom is filled with, and where each thing goes: the bed first, then what finds room."""

from __future__ import annotations

import math

import numpy as np

from miniworld.world.bedroom import clutter, decor, furniture, lamps, shell
from miniworld.world.bedroom.bed import bed_paints, draw_bed
from miniworld.world.bedroom.choices import chance
from miniworld.world.bedroom.lighting import Opening
from miniworld.world.bedroom.plan import Plan
from miniworld.world.bedroom.solids import Colour, shade, times
from miniworld.world.bedroom.spot import WALLS, Spot

Span = tuple[float, float]


def fill(plan: Plan) -> None:
    """Draw the room and all that is in it."""
    rng, a, p = plan.rng, plan.a, plan.p
    shell.draw_shell(plan.solids, plan.room, p, a["wainscot"])
    if a["beams"]:
        shell.draw_beams(plan.solids, plan.room, p["beam"])
    bed_span = _bed(plan)
    _windows(plan, bed_span)
    walls = WALLS
    for name in ("door", "wardrobe", "dresser", "desk", "plain_chair", "armchair", "pouf", "plant"):
        a[name] = False
    a["mirrors"] = []  # the things that are mirrors or hold one
    steps = [_door, _wardrobe, _dresser, _desk]
    for i in rng.permutation(4):
        steps[int(i)](plan, walls)
    if a["ceiling_lamp"] != "none":
        wide, tall, deep = plan.room
        x, z = (
            wide / 2 + float(rng.uniform(-0.4, 0.4)),
            deep * (float(rng.uniform(0.55, 0.72)) if not a["beams"] else 0.66),
        )
        if not 0.08 < plan.across((x, tall, z)) < 0.92:
            x = plan.solids.camera.eye[0] + math.tan(plan.solids.camera.turn) * (z - plan.solids.camera.eye[2])
            x = float(np.clip(x, 0.5, wide - 0.5))
        cloth = p["shade"] if a["ceiling_lamp"] != "fan" else p["table"]
        if a["ceiling_lamp"] == "chandelier" and chance(rng, 0.4):
            cloth = cloth.but(pattern="fade", second=cloth.colour)
        lamps.ceiling_lamp(rng, plan.solids, x, z, tall, a["ceiling_lamp"], p["metal"], cloth, a["ceiling_lit"])
    _floor_things(plan, bed_span)
    _pictures(plan, bed_span)


def _bed(plan: Plan) -> Span:
    rng, a, p = plan.rng, plan.a, plan.p
    wall = a["bed_wall"]
    wide = float(rng.uniform(0.95, 1.12)) if a["bed_size"] == "single" else float(rng.uniform(1.45, 1.78))
    a["bed_width"] = wide
    table = float(rng.uniform(0.4, 0.52))
    spot = plan.spot(wall)
    if wall == "back":
        free = plan.room[0] - wide
        middle = free / 2 + float(rng.uniform(-1, 1)) * min(max(free / 2 - table - 0.15, 0.0), 0.7)
        if a["bed_size"] == "single" and chance(rng, 0.5):
            middle = float(rng.choice((0.06, free - 0.06)))
        s0 = middle
    else:
        s0 = plan.room[2] - wide - float(rng.uniform(0.17, 0.9))
        s0 = max(s0, 1.55)
    s1 = s0 + wide
    draw_bed(rng, spot, s0, s1, a, bed_paints(a, p))
    if chance(rng, 0.1):
        high = 0.405 + a["mattress"]
        clutter.cat(
            rng, spot, s0 + wide * float(rng.uniform(0.25, 0.75)), high, a["bed_length"] * float(rng.uniform(0.5, 0.85))
        )
        a["clutter"] = "cat"
    plan.take(wall, (s0 - 0.08, s1 + 0.08), (0.0, a["bed_length"] + 0.1))
    plan.walls[wall].append((s0, s1))
    _bedside(plan, spot, (s0, s1), table)
    return (s0, s1)


def _bedside(plan: Plan, spot: Spot, bed: Span, wide: float) -> None:
    """Nightstands with lamps on them, or lamps on the wall."""
    rng, a, p = plan.rng, plan.a, plan.p
    end = plan.room[0] if spot.wall == "back" else plan.room[2]
    tall, deep = float(rng.uniform(0.46, 0.6)), float(rng.uniform(0.36, 0.44))
    rows = int(rng.integers(1, 4))
    style = ("ball", "vase", "stick")[int(rng.integers(3))]
    look = "round" if chance(rng, 0.14) else "legs" if chance(rng, 0.25) else "drawers"
    on_wall = chance(rng, 0.14)
    a["nightstands"] = a["lamps"] = 0
    for s0 in (bed[0] - 0.1 - wide, bed[1] + 0.1):
        s = (s0, s0 + wide)
        if s[0] < 0.04 or s[1] > end - 0.04 or (spot.wall != "back" and s[0] < 0.9) or chance(rng, 0.12):
            continue
        if look == "round":
            furniture.round_table(spot, s0 + wide / 2, 0.05 + wide / 2, wide / 2, tall, p["table"])
        elif look == "legs":
            furniture.table(spot, s, tall, (0.03, deep), p["table"], True)
        else:
            furniture.cabinet(spot, s, tall, (0.03, deep), p["table"], p["metal"], (rows, 1))
        plan.take(spot.wall, s, (0.0, deep + 0.05))
        a["nightstands"] += 1
        middle = s0 + wide / 2
        lit = a["lamp_lit"]
        if on_wall:
            lamps.wall_lamp(spot, middle, 1.2, p["metal"], p["shade"], lit)
            a["lamps"] += 1
        elif chance(rng, 0.82):
            lamps.table_lamp(rng, spot, middle, tall, 0.2, style, p["column"], p["shade"], lit)
            a["lamps"] += 1
        if chance(rng, 0.6):
            furniture.stuff(rng, spot, (s[0], s[0] + wide * 0.36), tall, (0.2, deep), 1)
        plan.walls[spot.wall].append(s)


def _windows(plan: Plan, bed: Span) -> None:
    """One window, or two, with curtains; the light that comes in by them."""
    rng, a, p = plan.rng, plan.a, plan.p
    _, tall, _ = plan.room
    a["window"] = None
    bottom = float(rng.uniform(0.75, 0.95))
    if a["tall_window"]:
        bottom = 0.14
    top = 2.1 if a["tall_window"] else min(bottom + float(rng.uniform(1.05, 1.4)), tall - 0.32)
    for _ in range(2 if chance(rng, 0.35) else 1):
        wide = float(rng.uniform(0.85, 1.45))
        over = a["bed_wall"] == "back" and a["window"] is None and chance(rng, 0.2)
        over = over and min(bed[0], plan.room[0] - bed[1]) > 0.3
        if over:  # above the head of the bed
            middle = (bed[0] + bed[1]) / 2
            wall, s = "back", (middle - wide / 2, middle + wide / 2)
            y = (a["headboard_height"] + 0.18, tall - 0.3)
            plan.walls[wall].append(s)
        else:
            found = plan.find(WALLS, wide + 0.6, 0.06, tall=False, flat=True)
            if found is None:
                continue
            wall, span = found
            s, y = (span[0] + 0.3, span[1] - 0.3), (bottom, top)
        short = over or not plan.free(plan.footprint(wall, (s[0] - 0.3, s[1] + 0.3), (0.0, 0.14)))
        if short and not over:  # something stands before it
            y = (max(bottom, 0.85), top)
        spot = plan.spot(wall)
        under = plan.footprint(wall, s, (0.0, 0.1))
        if not over and y[0] > 0.72 and plan.free(under) and chance(rng, 0.3):
            clutter.radiator(spot, s)
            plan.floor.append(under)
            a["clutter"] = "radiator"
        shell.draw_window(rng, spot, s, y, a, p["window_frame"])
        curtains = dict(a, curtain_length="sill") if short else a
        if a["curtains"] != "none":
            shell.draw_curtains(rng, spot, s, y, curtains, p["curtain"], p["metal"])
        a["window"] = a["window"] or wall
        _let_in(plan, spot, s, y)


def _let_in(plan: Plan, spot: Spot, s: Span, y: Span) -> None:
    rng, a = plan.rng, plan.a
    share = {"open": 0.85, "half": 0.6, "one side": 0.7, "closed": 0.25, "none": 1.0}[a["curtains"]]
    strength = (
        {"day": 0.85, "dusk": 0.5, "night": 0.10}[a["time"]] * share * ((s[1] - s[0]) * (y[1] - y[0]) / 1.4) ** 0.5
    )
    tint: Colour = {"day": (1.0, 0.98, 0.95), "dusk": (1.0, 0.66, 0.48), "night": (0.5, 0.66, 1.0)}[a["time"]]
    middle = spot.point((s[0] + s[1]) / 2, (y[0] + y[1]) / 2, 0.0)
    faces = spot.way(0, 0, 1)
    sun = None
    if a["sunny"] and a["curtains"] in ("open", "none", "half"):
        down, aslant = float(rng.uniform(-0.9, -0.5)), float(rng.uniform(-0.7, 0.4 if spot.wall == "back" else 0.7))
        way = np.array(spot.way(aslant, down, 1.0))
        sun = tuple((way / np.sqrt((way**2).sum())).tolist())
    half = (s[1] - s[0]) / 2 * (0.55 if a["curtains"] == "half" else 0.9)
    tall, sunlight = (y[1] - y[0]) / 2, (0.75, 0.68, 0.52)
    plan.openings.append(Opening(middle, spot.way(half, 0, 0), tall, faces, times(tint, strength), sun, sunlight))


def _door(plan: Plan, walls: tuple[str, ...]) -> None:
    rng, a, p = plan.rng, plan.a, plan.p
    if not chance(rng, 0.65):
        return
    found = plan.find(walls, 1.05, 0.1, tall=True)
    if found:
        wall, s = found
        panels = (0, 1, 2, 4)[int(rng.integers(4))]
        frame = p["trim"] if chance(rng, 0.6) else p["door"]
        shell.draw_door(plan.spot(wall), (s[0] + 0.1, s[1] - 0.1), 2.02, p["door"], frame, p["metal"], panels)
        a["door"] = True


def _wardrobe(plan: Plan, walls: tuple[str, ...]) -> None:
    rng, a, p = plan.rng, plan.a, plan.p
    if not chance(rng, 0.5):
        return
    doors = int(rng.integers(2, 4))
    found = plan.find(walls, doors * float(rng.uniform(0.4, 0.5)), 0.58, tall=True)
    if found:
        wall, s = found
        tall = float(rng.uniform(1.85, 2.15))
        mirror = chance(rng, 0.3)
        furniture.wardrobe(plan.spot(wall), s, tall, (0.02, 0.58), p["wardrobe"], p["metal"], doors, mirror)
        if mirror:
            a["mirrors"].append(plan.solids.thing)
        a["wardrobe"] = True


def _dresser(plan: Plan, walls: tuple[str, ...]) -> None:
    rng, a, p = plan.rng, plan.a, plan.p
    if not chance(rng, 0.5):
        return
    wide = float(rng.uniform(0.8, 1.25))
    found = plan.find(walls, wide, 0.45, tall=True)
    if not found:
        return
    wall, s = found
    spot, tall = plan.spot(wall), float(rng.uniform(0.74, 0.92))
    furniture.cabinet(spot, s, tall, (0.02, 0.45), p["table"], p["metal"], (3, 2 if wide > 1.0 else 1))
    a["dresser"] = True
    middle = (s[0] + s[1]) / 2
    if chance(rng, 0.4 if a["kind"] == "hotel" else 0.15):
        clutter.television(rng, spot, middle, tall, 0.2)
        a["clutter"] = "television"
        return
    if chance(rng, 0.6):
        if chance(rng, 0.5):
            decor.round_mirror(spot, middle, tall + 0.5, float(rng.uniform(0.28, 0.38)), p["picture_frame"])
        else:
            decor.picture(
                rng, spot, (middle - 0.33, middle + 0.33), (tall + 0.12, tall + 0.95), "mirror", p["picture_frame"]
            )
        a["mirrors"].append(plan.solids.thing)
    if chance(rng, 0.35):
        lamps.table_lamp(rng, spot, s[0] + 0.2, tall, 0.22, "stick", p["column"], p["shade"], a["lamp_lit"])
        a["lamps"] += 1
        furniture.stuff(rng, spot, (s[0] + 0.4, s[1] - 0.05), tall, (0.12, 0.4), int(rng.integers(1, 3)))
    elif chance(rng, 0.3):
        decor.plant(
            rng,
            spot,
            s[1] - 0.2,
            tall,
            0.22,
            0.5,
            ("blades", "fronds", "bush")[int(rng.integers(3))],
            p["column"],
            _green(rng),
        )
        a["plant"] = True
    else:
        furniture.stuff(rng, spot, (s[0] + 0.05, s[1] - 0.05), tall, (0.12, 0.4), int(rng.integers(2, 4)))


def _desk(plan: Plan, walls: tuple[str, ...]) -> None:
    rng, a, p = plan.rng, plan.a, plan.p
    if not chance(rng, 0.34):
        return
    wide = float(rng.uniform(0.95, 1.3))
    found = plan.find(walls, wide, 0.95, tall=True)
    if not found:
        return
    wall, s = found
    spot = plan.spot(wall)
    furniture.table(spot, s, 0.74, (0.03, 0.55), p["table"], True)
    furniture.stuff(rng, spot, (s[0] + 0.05, s[1] - 0.05), 0.74, (0.1, 0.45), int(rng.integers(1, 4)))
    a["desk"] = a["plain_chair"] = True
    furniture.chair(spot, (s[0] + s[1]) / 2 + float(rng.uniform(-0.1, 0.1)), 0.72, True, p["frame"], p["chair"])


def _green(rng: np.random.Generator) -> tuple[float, float, float]:
    return shade(((0.24, 0.46, 0.22), (0.30, 0.52, 0.30), (0.42, 0.56, 0.24))[int(rng.integers(3))], 1.0)


def _floor_things(plan: Plan, bed: Span) -> None:
    rng, a, p = plan.rng, plan.a, plan.p
    room = plan.spot("left")  # s is z, d is x: the floor's own coordinates
    bed_spot = plan.spot(a["bed_wall"])
    foot = float(a["bed_length"])
    if chance(rng, 0.3):  # a pouf at the foot of the bed
        s, style = (bed[0] + bed[1]) / 2, ("round", "cube", "bench", "bench")[int(rng.integers(4))]
        box = plan.footprint(a["bed_wall"], (s - 0.5, s + 0.5), (foot + 0.12, foot + 0.6))
        if plan.free(box) and plan.low((s, 0.0, bed_spot.point(s, 0, foot + 0.35)[2])) < 1.15:
            half = (bed[1] - bed[0]) * float(rng.uniform(0.3, 0.42))
            furniture.pouf(bed_spot, s, foot + 0.36, style, half, p["pouf"], p["frame"])
            plan.floor.append(box)
            a["pouf"] = True
    elif chance(rng, 0.2) and (at := plan.place(0.32)):
        furniture.pouf(room, at[1], at[0], ("round", "cube")[int(rng.integers(2))], 0.3, p["pouf"], p["frame"])
        a["pouf"] = True
    if chance(rng, 0.3) and (found := plan.find(WALLS, 0.85, 0.95, tall=False)):
        wall, span = found
        if chance(rng, 0.65):
            furniture.armchair(
                plan.spot(wall), (span[0] + span[1]) / 2, 0.5, p["chair"], p["cushion"] if chance(rng, 0.4) else None
            )
            a["armchair"] = True
        else:
            furniture.chair(plan.spot(wall), (span[0] + span[1]) / 2, 0.4, False, p["frame"], p["chair"])
            a["plain_chair"] = True
    if chance(rng, 0.32) and (found := plan.find(WALLS, 0.5, 0.5, tall=False)):
        wall, span = found
        style = ("blades", "fronds", "bush")[int(rng.integers(3))]
        decor.plant(
            rng,
            plan.spot(wall),
            (span[0] + span[1]) / 2,
            0,
            0.28,
            float(rng.uniform(0.8, 1.3)),
            style,
            p["column"],
            _green(rng),
        )
        a["plant"] = True
    if chance(rng, 0.22) and (found := plan.find(WALLS, 0.5, 0.5, tall=False)):
        wall, span = found
        lamps.floor_lamp(plan.spot(wall), (span[0] + span[1]) / 2, 0.28, p["metal"], p["shade"], a["lamp_lit"])
        a["lamps"] += 1
    if a["carpet"]:
        _carpet(plan, bed)
    if chance(rng, 0.35) and (at := plan.place(0.25)):
        what = clutter.CLUTTER[int(rng.integers(len(clutter.CLUTTER)))]
        clutter.lying(rng, room, at[1], at[0], what)
        a["clutter"] = what


def _carpet(plan: Plan, bed: Span) -> None:
    """A carpet before the bed, or beside it."""
    rng, a, p = plan.rng, plan.a, plan.p
    if a["carpet_shape"] == "round" and a["carpet_pattern"] == "border":
        p = p | {"carpet": p["carpet"].but(pattern="plain")}  # the border is a square
    spot, foot = plan.spot(a["bed_wall"]), float(a["bed_length"])
    middle = (bed[0] + bed[1]) / 2 + float(rng.uniform(-0.2, 0.2))
    if a["carpet_shape"] == "round":
        r = float(rng.uniform(0.6, 0.9))
        if a["bed_wall"] == "back":
            s, d = (middle - r, middle + r), (foot - 0.5, foot - 0.5 + 2 * r)
        else:
            s, d = (bed[0] - 2 * r + 0.3, bed[0] + 0.3), (0.5, 0.5 + 2 * r)
    elif a["bed_wall"] == "back":
        half = float(rng.uniform(0.95, 1.45))
        s, d = (
            (middle - half, middle + half),
            (foot - float(rng.uniform(0.5, 1.1)), foot + float(rng.uniform(0.45, 0.9))),
        )
    else:
        s, d = (bed[0] - float(rng.uniform(0.8, 1.2)), bed[1] - 0.3), (0.6, foot + float(rng.uniform(0.2, 0.9)))
    lo, hi = spot.corners(*s, 0, 0, *d)
    wide = plan.room[0]
    decor.carpet(spot, (max(lo[0], 0.1), min(hi[0], wide - 0.1)), (lo[2], hi[2]), a["carpet_shape"], p["carpet"])


def _pictures(plan: Plan, bed: Span) -> None:
    """Pictures above the bed and on what is left of the walls."""
    rng, a, p = plan.rng, plan.a, plan.p
    a["pictures"] = 0
    motifs = ("hills", "shapes", "flower")
    spot = plan.spot(a["bed_wall"])
    low = float(a["headboard_height"]) + 0.16
    free = not any(o[0] < bed[1] and o[1] > bed[0] and o != bed for o in plan.walls[a["bed_wall"]])
    if free and chance(rng, 0.7):
        n = int(rng.integers(1, 4))
        room = (bed[1] - bed[0]) / n
        tall = min(float(rng.uniform(0.35, 0.6)), plan.room[1] - low - 0.2)
        wide = min(room - 0.08, tall * float(rng.uniform(0.75, 1.5)))
        for i in range(n):
            middle = bed[0] + room * (i + 0.5)
            motif = motifs[int(rng.integers(3))]
            decor.picture(
                rng, spot, (middle - wide / 2, middle + wide / 2), (low, low + tall), motif, p["picture_frame"]
            )
            a["pictures"] += 1
    for _ in range(2):
        if chance(rng, 0.45) and (found := plan.find(WALLS, float(rng.uniform(0.4, 0.8)), 0.03, tall=False, flat=True)):
            wall, s = found
            y = float(rng.uniform(1.25, 1.4))
            decor.picture(
                rng,
                plan.spot(wall),
                s,
                (y, y + float(rng.uniform(0.4, 0.65))),
                motifs[int(rng.integers(3))],
                p["picture_frame"],
            )
            a["pictures"] += 1
    if chance(rng, 0.08) and (found := plan.find(WALLS, 0.4, 0.03, tall=False, flat=True)):
        wall, s = found
        clutter.clock(plan.spot(wall), (s[0] + s[1]) / 2, 1.75, 0.15, p["metal"])
        a["clutter"] = "clock"
