"""Propagation: a mask or points of a video's first frame, carried on from frame to frame by their features.

Each cell of a frame takes the labels of the cells that it resembles most in the first frame and in the last few, within
a radius, weighted by their affinity. Source: Jabri et al., "Space-time correspondence as a contrastive random walk",
2020, as DINO (Caron et al. 2021) and DIFT (Tang et al. 2023) read DAVIS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps

_AT_ONCE = 2**24  # affinities that are held at once
_AROUND = 2  # cells around the largest label of a point, whose mean is its place


@dataclass(frozen=True)
class Propagation:
    """How labels are carried on; the numbers are DINO's for DAVIS (DIFT's: last 28, radius 15, topk 15).

    last         how many frames before this one give their labels, beside the first
    radius       how many cells away along each side a label may come from, or None for anywhere
    topk         how many cells, of all these frames, give a cell its label
    temperature  of the softmax over their cosines
    taps         which maps, joined; all by default

    Raises BadInput for numbers that make no sense.
    """

    last: int = 7
    radius: int | None = 12
    topk: int = 5
    temperature: float = 0.1
    taps: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, value in (("last", self.last), ("topk", self.topk), ("radius", self.radius)):
            least = 1 if name == "topk" else 0
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise BadInput(f"{name}={value!r}: give a whole number from {least} up")
        if not self.temperature > 0:
            raise BadInput(f"temperature={self.temperature!r}: give a number above 0")

    def labels(self, frames: Iterable[FeatureMaps], first: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield each frame's labels, K h w on its grid of cells; those of the first frame are `first` as they are.

        first  K h w, such as shares of K classes, on the grid of the maps that are read (the finest of `taps`)

        Memory is that of `last` + 1 frames. Raises BadInput for another grid than the first frame's.
        """
        start: tuple[torch.Tensor, torch.Tensor] | None = None
        before: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=self.last)
        for maps in frames:
            features = F.normalize(maps.dense(self.taps)[0].float(), dim=0)
            if start is None:
                _check_grid(maps, features, first)
                start = features, first.float()
                yield start[1]
                continue
            _check_grid(maps, features, start[1])
            found = self.carried(features, [start, *before])
            before.append((features, found))
            yield found

    def carried(self, features: torch.Tensor, sources: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Return the labels K h w of a frame with unit features C h w, from other frames' features and labels.

        Each cell's labels are the mean of those of the `topk` cells with the highest cosine, by a softmax of these.

        >>> one = torch.eye(3).view(3, 1, 3)  # three cells, each of a feature of its own
        >>> labels = torch.tensor([[[1.0, 0.0, 0.0]]])
        >>> Propagation(topk=1).carried(one.roll(1, 2), [(one, labels)])
        tensor([[[0., 1., 0.]]])
        """
        h, w = features.shape[1:]
        keys = torch.cat([source.flatten(1) for source, _ in sources], 1)  # C N
        values = torch.cat([labels.flatten(1) for _, labels in sources], 1)  # K N
        queries = features.flatten(1).T  # hw C
        far = None if self.radius is None else _far(h, w, self.radius).to(keys.device)
        rows = max(1, _AT_ONCE // keys.shape[1])
        parts = []
        for top in range(0, h * w, rows):
            cosines = queries[top : top + rows] @ keys
            if far is not None:
                cosines = cosines.masked_fill(far[top : top + rows].repeat(1, len(sources)), -torch.inf)
            best, where = cosines.topk(min(self.topk, keys.shape[1]), dim=1)
            weights = (best / self.temperature).softmax(1)
            parts.append((values[:, where] * weights).sum(2))
        return torch.cat(parts, 1).view(-1, h, w)


@lru_cache(maxsize=1)  # all frames of a video have one grid
def _far(h: int, w: int, radius: int) -> torch.Tensor:
    """Whether each cell (rows) may not take labels from each other one (columns): hw hw."""
    y, x = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
    return torch.maximum((y[:, None] - y).abs(), (x[:, None] - x).abs()) > radius


def propagate_mask(
    frames: Iterable[FeatureMaps], mask: ArrayLike, how: Propagation | None = None
) -> Iterator[np.ndarray]:
    """Yield each frame's mask, H W as the first one's, in the pixels of the frames; the first is the given one.

    frames  features of the frames, in order, such as `shiftless.stream` gives
    mask    H W, the first frame's: whole numbers from 0, each a class, 0 the background
    how     by default DINO's numbers

    Each class's labels are enlarged (bilinear) and stretched to [0, 1], and the highest wins, as DINO's code does.
    Raises BadInput for a mask that is not the first frame's, and as `Propagation.labels` does.

    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> def frame(place):  # a picture of 4 x 2 pixels: one cell differs
    ...     value = torch.zeros(1, 2, 1, 4)
    ...     value[0, 0], value[0, :, 0, place] = 1, torch.tensor([0.0, 1.0])
    ...     return FeatureMaps({"up": value}, {"up": Tap("up", 2, 1, "")}, Frame((2, 4), (1, 4)))
    >>> [mask[0].tolist() for mask in propagate_mask(map(frame, (0, 1, 2)), [[1, 0, 0, 0]] * 2, Propagation(topk=1))]
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    """
    how = how or Propagation()
    given = np.asarray(mask)
    if given.ndim != 2 or not np.issubdtype(given.dtype, np.integer) or given.min(initial=0) < 0:
        raise BadInput(f"a mask of shape {given.shape} and {given.dtype}: give H W whole numbers from 0, one a class")
    firsts = iter(frames)
    first = next(firsts, None)
    if first is None:
        return
    if given.shape != tuple(first.frame.original):
        (h, w), (oh, ow) = given.shape, first.frame.original
        raise BadInput(f"{first.name}: the mask has {w}x{h} pixels, the frame {ow}x{oh}; give a mask of the frame")
    classes = int(given.max()) + 1
    shares = F.one_hot(torch.from_numpy(given.astype(np.int64)), classes).permute(2, 0, 1).float()
    grid = first.dense(how.taps).shape[2:]
    labels = F.interpolate(shares[None], grid, mode="area")[0]
    for i, found in enumerate(how.labels(chain([first], firsts), labels)):
        if i == 0:
            yield given.copy()
            continue
        large = F.interpolate(found[None], given.shape, mode="bilinear", align_corners=False)[0]
        yield _stretched(large).argmax(0).numpy().astype(given.dtype)


def propagate_points(
    frames: Iterable[FeatureMaps], points: ArrayLike, how: Propagation | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each frame's points, N 2 as (x, y) in original pixels, and N scores: the shares of labels found there.

    points  of the first frame, inside it

    A point is a label of the four cells around it. It is where its label is largest, to a part of a cell by the mean of
    the cells around. A low score says that it was hidden or left the picture. Raises BadInput as `propagate_mask` does.
    """
    how = how or Propagation()
    firsts = iter(frames)
    first = next(firsts, None)
    if first is None:
        return
    given = first.frame.check_points(points, first.name)
    h, w = first.dense(how.taps).shape[2:]
    labels = _splat(torch.from_numpy(first.frame.to_grid(given, (h, w))), (h, w))
    for i, found in enumerate(how.labels(chain([first], firsts), labels)):
        cells, scores = _centres(found)
        yield (given if i == 0 else first.frame.from_grid(cells.numpy(), (h, w))), scores.numpy()


def _check_grid(maps: FeatureMaps, features: torch.Tensor, labels: torch.Tensor) -> None:
    if features.shape[1:] != labels.shape[1:]:
        (h, w), (lh, lw) = features.shape[1:], labels.shape[1:]
        raise BadInput(f"{maps.name}: {w}x{h} cells, the labels have {lw}x{lh}; all frames of a video are of one size")


def _stretched(labels: torch.Tensor) -> torch.Tensor:
    """Labels K H W, each from its lowest value to its highest as from 0 to 1; those that are everywhere 0 stay so."""
    low, high = labels.amin((1, 2), keepdim=True), labels.amax((1, 2), keepdim=True)
    return torch.where(high > low, (labels - low) / (high - low).clamp_min(1e-12), labels.clamp(0, 1))


def _splat(cells: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Points N 2 in cells, as labels N h w: shares of the four cells whose centres lie around each."""
    h, w = grid
    x, y = (cells[:, 0] - 0.5).clamp(0, w - 1), (cells[:, 1] - 0.5).clamp(0, h - 1)
    across = (1 - (torch.arange(w) - x[:, None]).abs()).clamp_min(0)
    down = (1 - (torch.arange(h) - y[:, None]).abs()).clamp_min(0)
    return (down[:, :, None] * across[:, None, :]).float()


def _centres(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where labels N h w are largest, N 2 in cells as (x, y), and what lies within two cells of there, N."""
    h, w = labels.shape[1:]
    best = labels.flatten(1).argmax(1)
    y, x = best // w, best % w
    rows, columns = torch.arange(h), torch.arange(w)
    near = ((rows - y[:, None]).abs() <= _AROUND)[:, :, None] & ((columns - x[:, None]).abs() <= _AROUND)[:, None]
    mass = torch.where(near, labels, 0.0)
    total = mass.sum((1, 2))
    weight = mass / total.clamp_min(1e-12)[:, None, None]
    place = torch.stack([(weight.sum(1) * (columns + 0.5)).sum(1), (weight.sum(2) * (rows + 0.5)).sum(1)], 1)
    return place.double(), total
