"""Where the viewer stands, and how a point of the room comes onto the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NEAR = 0.12  # metres before the eye, where faces are cut off


@dataclass(frozen=True)
class Camera:
    """A camera held level, so that what stands upright is drawn upright; a lens shift chooses the horizon.

    Rooms are in metres: x to the right along the back wall, y up from the floor, z into the room. `turn` is in
    radians, to the right; with 0 the room is in one-point perspective.
    """

    eye: tuple[float, float, float]
    turn: float
    focal: float  # in shares of the frame's side
    horizon: float  # from the frame's top, in shares of its side

    def view(self, points: np.ndarray) -> np.ndarray:
        """N 3 points of the room as the camera's right, up and forward, N 3.

        >>> Camera((0.0, 1.5, 0.0), 0.0, 1.0, 0.4).view(np.array([[1.0, 1.5, 2.0]])).tolist()
        [[1.0, 0.0, 2.0]]
        """
        c, s = math.cos(self.turn), math.sin(self.turn)
        return (points - self.eye) @ np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])

    def place(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Where one point comes onto the picture, in shares of its side, and how deep it lies.

        >>> Camera((0.0, 1.5, 0.0), 0.0, 1.0, 0.4).place(1.0, 1.5, 2.0)
        (1.0, 0.4, 2.0)
        """
        c, s = math.cos(self.turn), math.sin(self.turn)
        dx, dy, dz = x - self.eye[0], y - self.eye[1], z - self.eye[2]
        deep = s * dx + c * dz
        far = max(deep, NEAR)
        return 0.5 + self.focal * (c * dx - s * dz) / far, self.horizon - self.focal * dy / far, deep

    def project(self, seen: np.ndarray) -> np.ndarray:
        """N 3 points as the camera has them -> N 2 places on the picture, in shares of its side, y down."""
        return seen[:, :2] * (self.focal / seen[:, 2:]) * (1.0, -1.0) + (0.5, self.horizon)

    def rays(self, size: int) -> np.ndarray:
        """The direction, one metre deep, that each pixel's centre looks in: 3 H W float32."""
        side = ((np.arange(size, dtype=np.float32) + 0.5) / size).astype(np.float32)
        right, up = (side - 0.5) / self.focal, (self.horizon - side) / self.focal
        c, s = math.cos(self.turn), math.sin(self.turn)
        out = np.empty((3, size, size), np.float32)
        out[0] = c * right + s
        out[1] = up[:, None]
        out[2] = c - s * right
        return out


def clip_near(seen: np.ndarray) -> np.ndarray:
    """The part of a polygon, N 3 as the camera has it, that lies before the eye; it may be empty."""
    inside = seen[:, 2] >= NEAR
    if inside.all():
        return seen
    out = []
    for i in range(len(seen)):
        j = (i + 1) % len(seen)
        if inside[i]:
            out.append(seen[i])
        if inside[i] != inside[j]:
            t = (NEAR - seen[i, 2]) / (seen[j, 2] - seen[i, 2])
            out.append(seen[i] + t * (seen[j] - seen[i]))
    return np.array(out) if out else np.zeros((0, 3))
