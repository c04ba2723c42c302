"""Pairs and streams of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

    from shiftless.mini.world import Picture


def contact_sheet(pictures: list[Picture], columns: int) -> Image.Image:
    """The pictures in a grid."""
    from PIL import Image

    rows = -(-len(pictures) // columns)
    h, w = pictures[0].image.shape[:2]
    sheet = np.full((rows * h, columns * w, 3), 255, np.uint8)
    for i, p in enumerate(pictures):
        r, c = divmod(i, columns)
        sheet[r * h : r * h + h, c * w : c * w + w] = p.image
    return Image.fromarray(sheet)
