"""Control maps: what a control network follows of a picture: its edges, its depth, or the picture itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

CANNY = (100, 200)
"""The two thresholds of Canny's hysteresis, as published for Stable Diffusion 1.5's ControlNet."""


def canny(pixels: torch.Tensor) -> torch.Tensor:
    """Edges of B 3 H W in [-1, 1]: B 3 H W, 1 on an edge and 0 elsewhere (Canny 1986, OpenCV's, 100/200).

    >>> half = torch.cat([-torch.ones(1, 3, 16, 8), torch.ones(1, 3, 16, 8)], 3)
    >>> canny(half)[0, 0, 8].nonzero().flatten().tolist()
    [7]
    """
    pictures = ((pixels.float().cpu() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    edges = np.stack([cv2.Canny(np.ascontiguousarray(picture), *CANNY) for picture in pictures])
    return torch.from_numpy(edges).float().div(255)[:, None].expand(-1, 3, -1, -1).contiguous()


def tile(pixels: torch.Tensor) -> torch.Tensor:
    """The image itself, B 3 H W in [0, 1], for ControlNets that follow a whole picture.

    >>> tile(torch.zeros(1, 3, 8, 8)).unique().item()
    0.5
    """
    return (pixels.float() + 1) / 2


def _depth(pixels: torch.Tensor) -> torch.Tensor:
    from shiftless.conditions.depth import depth

    return depth(pixels)


MAPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"canny": canny, "depth": _depth, "tile": tile}
"""Control maps: kind -> (B 3 H W in [-1, 1] -> B 3 H W in [0, 1])."""


def kind_in(name: str) -> str:
    """Return the kind of map that a name, or the end of a path or hub id, speaks of; "" for none or several.

    >>> kind_in("t2i-canny"), kind_in("nets/my-Depth-v2"), kind_in("canny-and-depth"), kind_in("canny/mine")
    ('canny', 'depth', '', '')
    """
    kinds = [kind for kind in MAPS if kind in Path(name).name.lower()]
    return kinds[0] if len(kinds) == 1 else ""
