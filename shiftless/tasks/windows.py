"""Windows: a photo segmented piece by piece, each read at full detail, and the answers put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from shiftless.errors import BadInput
from shiftless.image import Photo, open_photo
from shiftless.tasks.parts import Parts
from shiftless.tasks.scenehead import parts_of

Box = tuple[int, int, int, int]
Read = Callable[[Sequence[Photo]], Iterable[Any]]
"""What reads pictures: it gives what a head takes of each one, its bucket for a SceneHead, in order."""


class Windowed(Protocol):
    """What segments a window: a SceneHead, or another with names of its own."""

    classes: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    def logits(self, bucket: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of one window, 1 L h w, and what describes it, D."""


def windows(hw: tuple[int, int], side: int, stride: int) -> list[Box]:
    """Return the square windows that cover a picture of (h, w): boxes (top, left, bottom, right), in pixels.

    Each is `stride` from the one before, and the last ones are moved back so that they end at the border; of a picture
    that is smaller than a window, the window is what there is. Raises BadInput for a stride that leaves gaps.

    >>> windows((512, 700), 512, 512)
    [(0, 0, 512, 512), (0, 188, 512, 700)]
    """
    if not 1 <= stride <= side:
        raise BadInput(f"stride={stride}: windows of {side} pixels need a stride from 1 to {side}")
    tops, lefts = ([min(i * stride, max(0, n - side)) for i in range(_steps(n, side, stride))] for n in hw)
    return [(top, left, min(top + side, hw[0]), min(left + side, hw[1])) for top in tops for left in lefts]


def slide(
    head: Windowed, photo: Photo, read: Read, *, side: int, stride: int, size: tuple[int, int] | None = None
) -> Parts:
    """Segment a photo by windows: each is read by itself, and where they overlap their logits are averaged.

    side, stride  of the windows, in pixels of the photo once its shorter side is scaled to `side`, as published
    size          (H, W) of the answer; by default the photo's own

    Raises BadInput as `SceneHead.logits` and `windows` do.

    >>> from shiftless.features import FeatureMaps
    >>> from shiftless.image import Frame
    >>> from shiftless.tasks.levels import Levels
    >>> from shiftless.tasks.scenehead import SceneHead
    >>> from shiftless.taps.names import Tap
    >>> def read(pictures):
    ...     for one in pictures:
    ...         colours = torch.tensor(one.array / 255).permute(2, 0, 1)[None].float()
    ...         yield [FeatureMaps({"rgb": colours}, {"rgb": Tap("rgb", 3, 1, "")}, Frame(one.hw, one.hw))]
    >>> head = SceneHead(Levels(1, (("rgb", 3, 1),)), ["sky", "road"], "linear")
    >>> slide(head, open_photo(np.zeros((16, 40, 3), np.uint8)), read, side=16, stride=16).mask.shape
    (16, 40)
    """
    scaled = shorter_side(photo, side)
    h, w = scaled.hw
    boxes = windows((h, w), side, stride)
    views = [
        open_photo(np.ascontiguousarray(scaled.array[top:bottom, left:right]), photo.name)
        for top, left, bottom, right in boxes
    ]
    summed = torch.zeros(1, len(head.classes), h, w, device=head.device)
    times = torch.zeros(h, w, device=head.device)
    described = []
    for (top, left, bottom, right), bucket in zip(boxes, read(views), strict=True):
        found, descriptor = head.logits(bucket)
        place = (..., slice(top, bottom), slice(left, right))
        summed[place] += F.interpolate(found, (bottom - top, right - left), mode="bilinear", align_corners=False)
        times[place] += 1
        described.append(descriptor)
    return parts_of(summed / times, size or photo.hw, photo.name, torch.stack(described).mean(0))


def shorter_side(photo: Photo, side: int) -> Photo:
    """Scale a photo so that its shorter side has so many pixels; it keeps its name and shape.

    >>> shorter_side(open_photo(np.zeros((20, 30, 3), np.uint8)), 40).hw
    (40, 60)
    """
    h, w = photo.hw
    if min(h, w) == side:
        return photo
    size = max(1, round(w * side / min(h, w))), max(1, round(h * side / min(h, w)))
    return open_photo(np.array(Image.fromarray(photo.array).resize(size, Image.Resampling.BICUBIC)), photo.name)


def _steps(length: int, side: int, stride: int) -> int:
    """How many windows cover a side."""
    return -(-max(0, length - side) // stride) + 1
