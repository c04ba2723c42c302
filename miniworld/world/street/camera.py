"""Where the camera is, how the street bends, and how a point of it comes onto the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NEAR = 0.4  # metres before the eye: nothing is drawn nearer
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A level camera behind a windscreen, at x = 0 and z = 0.

    Streets are in metres: x to the right from the middle of the camera's lane, y up from the ground, z along the
    street. `bend` is one over the radius of the street's curve, positive to the right; `turn` is in radians.
    """

    height: float
    focal: float  # in shares of the frame's side
    horizon: float  # from the frame's top, in shares of its side
    turn: float = 0.0
    bend: float = 0.0

    def along(self, points: np.ndarray) -> np.ndarray:
        """Points of a straight street, ... 3, moved sideways to where the bent street has them.

        >>> Camera(1.4, 0.9, 0.45, bend=0.01).along(np.array([1.0, 0.0, 20.0])).tolist()
        [3.0, 0.0, 20.0]
        """
        out = np.array(points, np.float64)
        out[..., 0] += self.bend / 2 * out[..., 2] ** 2
        return out

    def anchor(self, x: float, z: float) -> tuple[float, float, float]:
        """Where (x, z) of a straight street lies on the bent one, and the street's heading there, in radians."""
        return x + self.bend / 2 * z * z, z, math.atan(self.bend * z)

    def project(self, points: np.ndarray) -> np.ndarray:
        """N 3 points -> N 2 places on the picture, in shares of its side, y down.

        >>> Camera(1.4, 0.9, 0.45).project(np.array([[0.0, 1.4, 10.0], [1.0, 0.4, 10.0]])).round(2).tolist()
        [[0.5, 0.45], [0.59, 0.54]]
        """
        c, s = math.cos(self.turn), math.sin(self.turn)
        deep = np.maximum(s * points[:, 0] + c * points[:, 2], NEAR)
        right = c * points[:, 0] - s * points[:, 2]
        ratio = self.focal / deep
        return np.stack([0.5 + right * ratio, self.horizon + (self.height - points[:, 1]) * ratio], 1)

    def depth(self, rows: np.ndarray) -> np.ndarray:
        """How far away the ground is that shows at a height of the picture, in shares of its side from the top."""
        return self.focal * self.height / np.maximum(rows - self.horizon, 1e-3)
