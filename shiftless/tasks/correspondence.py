"""Correspondence: which point of one image is which point of another, by nearest features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.tasks.dense import cosine_maps, soft_argmax
from shiftless.tasks.orientation import AUTO, check_flip, fits_mirrored, mirrored_box, orientation_fit

REFINES = ("upsample", "cell", "soft")


@dataclass(frozen=True, eq=False)
class Matches:
    """N points of image b that answer N points of image a; reads like an N 2 array.

    points  N 2 float64, (x, y) in original pixels of b
    scores  N, cosine similarity of each match, in [-1, 1]
    mutual  N bool, whether the way back from b ends where it began; None unless asked for
    source  N 2, the points of a that were asked about, in a as it is
    flipped whether they were sought by the features of a mirrored
    fits    how well a as it is, and a mirrored, fit b: mean cosines, in [-1, 1]; None unless flip="auto"

    >>> matches = Matches(np.array([[3.0, 4.0]]), np.array([0.9]), None, np.array([[1.0, 2.0]]))
    >>> [(float(x), float(y)) for x, y in matches], len(matches), np.asarray(matches).shape
    ([(3.0, 4.0)], 1, (1, 2))
    """

    points: np.ndarray
    scores: np.ndarray
    mutual: np.ndarray | None
    source: np.ndarray
    flipped: bool = False
    fits: tuple[float, float] | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.points, dtype=dtype) if copy or dtype is not None else self.points

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.points)

    def __getitem__(self, index: Any) -> Any:
        return self.points[index]

    def __repr__(self) -> str:
        shown = ", ".join(
            f"({a[0]:.1f}, {a[1]:.1f}) -> ({b[0]:.1f}, {b[1]:.1f}) cosine {score:.2f}"
            for a, b, score in zip(self.source[:4], self.points, self.scores)
        )
        return f"Matches({shown}{', ...' if len(self) > 4 else ''})"


def match(
    a: FeatureMaps,
    b: FeatureMaps,
    points: ArrayLike,
    *,
    taps: Sequence[str] | None = None,
    refine: str = "upsample",
    mutual: bool = False,
    tolerance: float | None = None,
    temperature: float = 0.02,
    window: int = 2,
    normalise: bool = True,
    flip: bool | str = False,
    mirrored: FeatureMaps | None = None,
    box: Sequence[float] | None = None,
) -> Matches:
    """Find in b the nearest neighbour, by cosine, of each of N points of a.

    points       N 2 (x, y), original pixels of a
    taps         which maps to compare (all that both hold)
    refine       "upsample": b's map enlarged bilinearly to the image as the model saw it, as published tests do;
                 "cell": the centre of the best cell; "soft": that cell moved by a soft-argmax over its neighbours
    mutual       also walk back from b to a, and say which points return
    tolerance    how far a mutual match may land from its start, in pixels of a (one cell of the map)
    temperature  of the soft-argmax, in units of cosine
    window       of the soft-argmax: cells to each side of the best one
    normalise    make each tap's vectors unit length before they are enlarged and joined; off is the published way
    flip         True: seek the points by the features of a mirrored left to right, at (width - x, y); "auto": by those
                 of a or of a mirrored, whichever fit b better (`shiftless.tasks.orientation.orientation_fit`); False: a
    mirrored     the features of `shiftless.mirror(photo of a)`, by the same model and recipe; needed to flip
    box          (x0, y0, x1, y1) of the thing in a, original pixels: where "auto" compares; the whole photo without it

    With "auto" this is the adaptive pose alignment of GeoAware-SC (Zhang et al., CVPR 2024), for photos that show a
    thing facing opposite ways. Points go in and come out in pixels of the photos as they are. A mirrored photo swaps
    left and right: the left ear looks like a right one. The published evaluation therefore also swaps annotated
    points that are each other's counterpart before it matches mirrored; here only the picture is mirrored, each
    point stays itself, and is matched with what looks like it then.

    Raises BadInput for points outside a, for features that hold no common tap, differ in channels, or were read
    with two models or two versions of one adapter, and for `flip` without `mirrored`.
    Source: Tang et al., "Emergent correspondence from image diffusion" (DIFT), 2023, section 4.

    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> tap, grid = {"up1": Tap("up1", 16, 8, "")}, torch.randn(1, 16, 8, 8, generator=torch.manual_seed(0))
    >>> a = FeatureMaps({"up1": grid}, tap, Frame((64, 64), (64, 64)))
    >>> b = FeatureMaps({"up1": grid.roll(2, dims=3)}, tap, Frame((64, 64), (64, 64)))  # all moved 16 pixels right
    >>> match(a, b, points=[(12, 20)], refine="cell").points.tolist()
    [[28.0, 20.0]]
    >>> turned = FeatureMaps({"up1": grid.flip(3)}, tap, Frame((64, 64), (64, 64)))  # of the mirrored photo
    >>> match(a, turned, [(12, 20)], refine="cell", flip="auto", mirrored=turned).points.tolist()  # 64 - 12
    [[52.0, 20.0]]
    """
    if refine not in REFINES:
        raise BadInput(f"refine={refine!r}: must be one of {', '.join(REFINES)}")
    if temperature <= 0 or window < 1:
        raise BadInput(f"temperature={temperature}, window={window}: the first must be above 0, the second at least 1")
    source = a.frame.check_points(points, a.name)
    unit_box = check_flip(a, flip, mirrored, box)
    chosen = common_taps(a, b, taps)
    map_a = a.dense(chosen, normalise=normalise)
    map_b = b.dense(chosen, normalise=normalise).to(map_a.device)
    flipped: bool = flip not in (False, AUTO)
    fits: tuple[float, float] | None = None
    if mirrored is not None:
        common_taps(mirrored, b, chosen)
        turned = mirrored.dense(chosen, normalise=normalise).to(map_a.device)
        if flip == AUTO:
            fits = orientation_fit(map_a, map_b, unit_box), orientation_fit(turned, map_b, mirrored_box(unit_box))
            flipped = fits_mirrored(fits)
        map_a = turned if flipped else map_a
    asked = a.frame.mirrored(source) if flipped else source
    options = (refine, temperature, window)
    points_of_b, scores = _nearest(sample(map_a, a, asked), map_b, b, options)
    returned = None
    if mutual:
        back, _ = _nearest(sample(map_b, b, points_of_b), map_a, a, options)
        allowed = _cell(map_a, a) if tolerance is None else tolerance
        returned = np.hypot(*(back - asked).T) <= allowed + 1e-6
    return Matches(points_of_b, scores, returned, source, flipped, fits)


def heat(
    a: FeatureMaps,
    b: FeatureMaps,
    point: ArrayLike,
    *,
    taps: Sequence[str] | None = None,
    normalise: bool = True,
) -> np.ndarray:
    """Return how alike every place of b is to one point of a: H W cosine, on b as the model saw it.

    Arguments and errors as in `match`; `point` is one (x, y) in original pixels of a.

    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> a = FeatureMaps({"up1": torch.randn(1, 16, 4, 4)}, {"up1": Tap("up1", 16, 8, "")}, Frame((32, 32), (32, 32)))
    >>> heat(a, a, (4, 4)).shape
    (32, 32)
    """
    source = a.frame.check_points(np.reshape(np.asarray(point, dtype=np.float64), (1, -1)), a.name)
    chosen = common_taps(a, b, taps)
    map_a = a.dense(chosen, normalise=normalise)
    map_b = b.dense(chosen, normalise=normalise).to(map_a.device)
    (maps,) = cosine_maps(sample(map_a, a, source), map_b, b.frame.fed)
    return maps[0].cpu().numpy()


def common_taps(a: FeatureMaps, b: FeatureMaps, taps: Sequence[str] | None = None) -> list[str]:
    """Return the taps to compare; raises BadInput if the two share none, channels differ, or the models do.

    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> a = FeatureMaps({"up1": torch.zeros(1, 8, 4, 4)}, {"up1": Tap("up1", 8, 8, "")}, Frame((32, 32), (32, 32)))
    >>> common_taps(a, a)
    ['up1']
    """
    if conflict := a.origin.conflict(b.origin):
        raise BadInput(f"{a.name} and {b.name} were read with {conflict}; read both with one model and its adapters")
    chosen = list(taps) if taps is not None else [tap for tap in a.maps if tap in b.maps]
    if not chosen:
        raise BadInput(f"no tap in common: {a.name} holds {', '.join(a)}; {b.name} holds {', '.join(b)}")
    for tap in chosen:
        if a[tap].shape[1] != b[tap].shape[1]:
            raise BadInput(
                f"tap {tap!r} has {a[tap].shape[1]} channels in {a.name} and {b[tap].shape[1]} in {b.name}; "
                "read both with one model and recipe"
            )
    return chosen


def sample(dense: torch.Tensor, maps: FeatureMaps, points: np.ndarray) -> torch.Tensor:
    """Read a dense 1 C H W map at N points in original pixels, bilinear: N C."""
    where = torch.as_tensor(maps.frame.to_unit(points), dtype=torch.float32).view(1, -1, 1, 2) * 2 - 1
    read = F.grid_sample(dense, where.to(dense.device), mode="bilinear", padding_mode="border", align_corners=False)
    return read[0, :, :, 0].T


def _nearest(
    queries: torch.Tensor, dense: torch.Tensor, maps: FeatureMaps, options: tuple[str, float, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Queries N C -> best points N 2 in original pixels, and their cosines N."""
    refine, temperature, window = options
    grid = maps.frame.fed if refine == "upsample" else (int(dense.shape[-2]), int(dense.shape[-1]))
    points, scores = [], []
    for chunk in cosine_maps(queries, dense, grid):
        best, index = chunk.flatten(1).max(1)
        row, column = index // grid[1], index % grid[1]
        cells = torch.stack([column, row], 1).cpu().double() + 0.5
        if refine == "soft":
            cells = soft_argmax(chunk, row, column, temperature, window) + 0.5
        points.append(cells.numpy())
        scores.append(best.cpu().double().numpy())
    return maps.frame.from_grid(np.concatenate(points), grid), np.concatenate(scores)


def _cell(dense: torch.Tensor, maps: FeatureMaps) -> float:
    """Longer side of one cell of the map, in original pixels."""
    (height, width), (rows, columns) = maps.frame.original, dense.shape[-2:]
    return max(height / rows, width / columns)
