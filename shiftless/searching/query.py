"""Query: the vector of a point, or of a region, of a photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.searching.blocks import unit_cells
from shiftless.tasks.orientation import cells_touched, unit_box


def query_of(
    maps: FeatureMaps, taps: Sequence[str], at: Sequence[float] | None, region: Sequence[float] | None
) -> torch.Tensor:
    """Return the vector that is sought, 1 C of unit length: of the point `at`, or the mean over a region's cells.

    Raises BadInput where not one of the two is given, or it lies outside the photo.

    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> cells = torch.tensor([[3.0, 0.0], [0.0, 5.0]]).view(1, 2, 1, 2)  # two cells, two channels
    >>> maps = FeatureMaps({"up1": cells}, {"up1": Tap("up1", 2, 8, "")}, Frame((8, 16), (8, 16)))
    >>> query_of(maps, ["up1"], (4, 4), None).tolist(), query_of(maps, ["up1"], None, (0, 0, 16, 8)).tolist()
    ([[1.0, 0.0]], [[0.707..., 0.707...]])
    """
    if (at is None) == (region is None):
        raise BadInput(f"{maps.name}: give the part as one of at=(x, y) and region=(x0, y0, x1, y1)")
    if at is not None:
        return F.normalize(maps.at(np.reshape(np.asarray(at, np.float64), (1, -1)), taps).float().cpu(), dim=1)
    assert region is not None
    box = unit_box(maps, region, "region")
    cells = unit_cells(maps, taps).float().cpu()
    rows, columns = (cells_touched(box[i], box[i + 2], cells.shape[3 - i]) for i in (1, 0))
    return F.normalize(cells[:, :, rows, columns].mean((2, 3)), dim=1)
