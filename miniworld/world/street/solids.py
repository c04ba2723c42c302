"""A solid thing with a heading: faces in its own metres, of which only those that look at the camera are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

from miniworld.world.street.faces import Colour, Faces, Frame, scaled

Local = tuple[float, float, float]  # right, up, forward
Box = tuple[float, float, float, float]
_RING = [(math.cos(k * math.pi / 6), math.sin(k * math.pi / 6)) for k in range(12)]
_HUBS = ((1.0, (36.0, 36.0, 40.0)), (0.6, (158.0, 160.0, 166.0)), (0.2, (80.0, 82.0, 88.0)))


class Solid:
    """A thing that stands at a true place and heads some way: 0 away from us, pi towards us, pi / 2 to the right."""

    def __init__(self, faces: Faces, name: str, x: float, z: float, heading: float) -> None:
        self.faces, self.name, self.x, self.z, self.heading = faces, name, x, z, heading
        c, s = math.cos(heading), math.sin(heading)
        self.c, self.s = c, s
        dx, dz = -x, -z
        self.across = faces.frame(Frame(x, z, (c, -s), (s, c)))
        self.along = faces.frame(Frame(x, z, (s, c), (c, -s)))
        self.eye: Local = (dx * c - dz * s, faces.camera.height, dx * s + dz * c)
        self.near = math.hypot(dx, dz) < 22
        air = faces.air
        self.light = {
            "right": air.shade(c, 0, -s), "left": air.shade(-c, 0, s), "front": air.shade(s, 0, c),
            "back": air.shade(-s, 0, -c), "top": air.shade(0, 1, 0),
        }  # fmt: skip

    def world(self, r: float, u: float, f: float) -> Local:
        """Own metres -> a true place."""
        return self.x + r * self.c + f * self.s, u, self.z - r * self.s + f * self.c

    def sees(self, look: str, plane: float) -> bool:
        """Whether the camera is before a plane that looks along one of the thing's sides."""
        if look in ("right", "left"):
            return self.eye[0] > plane if look == "right" else self.eye[0] < plane
        if look == "top":
            return self.eye[1] > plane
        return self.eye[2] > plane if look == "front" else self.eye[2] < plane

    def panel(self, look: str, plane: float, boxes: Box | Sequence[Box], colour: Colour, shine: float = 0.0) -> None:
        """Upright rectangles (from, to, bottom, top) on a plane: across on front and back, along on the sides."""
        if self.sees(look, plane):
            frame = self.across if look in ("front", "back") else self.along
            rows: Sequence[Box] = [boxes] if isinstance(boxes, tuple) else boxes
            lit = colour if shine else scaled(colour, self.light[look])
            self.faces.fill(self.name, frame, rows, lit, plane, shine)

    def face(self, points: list[Local], colour: Colour, light: float, inside: Local) -> None:
        """A flat face of a convex body, drawn if it looks at the camera; `inside` is any point within the body."""
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points[0], points[1], points[2]
        ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
        n = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
        own = n[0] * (inside[0] - ax) + n[1] * (inside[1] - ay) + n[2] * (inside[2] - az)
        seen = n[0] * (self.eye[0] - ax) + n[1] * (self.eye[1] - ay) + n[2] * (self.eye[2] - az)
        if own * seen < 0:
            self.faces.poly(self.name, self.across, points, scaled(colour, light))

    def wheels(self, half: float, places: Sequence[float], r: float) -> None:
        """Wheels on the side that shows."""
        for look, plane in (("right", half), ("left", -half)):
            if self.sees(look, plane):
                for f in places:
                    for share, colour in _HUBS[: 3 if self.near else 2]:
                        ring = [(plane, r + r * share * y, f + r * share * x) for x, y in _RING]
                        self.faces.poly(self.name, self.across, ring, colour)

    def tyres(self, look: str, plane: float, half: float, wide: float, tall: float) -> None:
        """Tyres from before or behind, below the body."""
        self.panel(look, plane, [(-half, -half + wide, 0.0, tall), (half - wide, half, 0.0, tall)], (34, 34, 38))

    def glow(self, at: Local, radius: float, colour: Colour) -> None:
        """A light that shines at a place of the thing."""
        x, y, z = self.world(*at)
        self.faces.lights.append((x, y, z, radius, colour))
