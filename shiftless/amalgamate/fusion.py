"""Fusion: readings of one photo by several models, joined into one map on one grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from shiftless.amalgamate.simple import Concat
from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import Origin
from shiftless.taps.names import Tap

FUSED = "fused"
"""The tap of a fused map."""


def on_one_grid(readings: Sequence[FeatureMaps], side: int | None = None, normalise: bool = True) -> list[torch.Tensor]:
    """Return each reading's taps as one map, 1 C_k H W float32, all on one grid: bilinear.

    side       cells along the longer side; None is the finest map's own grid
    normalise  make each tap's vectors unit length before a reading's taps are joined

    Every map spans the whole photo, however large its model was fed it, so that cells of one grid show one place.
    Raises BadInput for readings of different photos.

    >>> from shiftless.image import Frame
    >>> sd = FeatureMaps({"a": torch.rand(1, 3, 4, 4)}, {"a": Tap("a", 3, 16, "")}, Frame((90, 90), (64, 64)))
    >>> dino = FeatureMaps({"b": torch.rand(1, 5, 6, 6)}, {"b": Tap("b", 5, 14, "")}, Frame((90, 90), (84, 84)))
    >>> [tuple(one.shape) for one in on_one_grid([sd, dino])]
    [(1, 3, 6, 6), (1, 5, 6, 6)]
    """
    if not readings:
        raise BadInput("no reading was given; give the FeatureMaps of one photo by each model")
    for k, maps in enumerate(readings):
        same = maps.frame.original == readings[0].frame.original
        digests = {one.origin.photo for one in (maps, readings[0])} - {""}
        if not same or len(digests) > 1:
            raise BadInput(
                f"reading {k} is of another photo ({maps.name}) than reading 0 ({readings[0].name}); "
                "fuse the readings of one photo"
            )
    if side is not None and side < 1:
        raise BadInput(f"side={side}: give how many cells the longer side has, at least 1")
    sizes = [(int(m.shape[-2]), int(m.shape[-1])) for maps in readings for m in maps.values()]
    h, w = max(sizes, key=lambda hw: hw[0] * hw[1])
    if side is not None:
        h, w = (max(1, round(cells * side / max(h, w))) for cells in (h, w))
    return [maps.dense(grid=(h, w), normalise=normalise) for maps in readings]


def fuse(
    readings: Sequence[FeatureMaps],
    *,
    weights: Sequence[float] | None = None,
    normalise: bool = True,
    side: int | None = None,
    merge: Concat | None = None,
) -> FeatureMaps:
    """Join readings of one photo, by one model or several, into the features of one tap, "fused".

    readings   the FeatureMaps of each model, or a Bucket
    weights    of the readings, one each; None is 1 each
    normalise  make each tap's vectors, and then each reading's, unit length; without it the larger ones rule
    side       cells along the longer side; None is the finest map's own grid
    merge      a Concat to join by, such as one with a fitted PCA; it brings its own weights and normalisation

    What comes out is read, matched and saved as any features; its origin names all models, and fused features are
    compared with those of the same models only. Raises BadInput for readings of different photos, and for weights or
    a `merge` that do not fit.

    >>> from shiftless.image import Frame
    >>> frame = Frame((64, 96), (64, 96))
    >>> sd = FeatureMaps({"up1": torch.rand(1, 8, 4, 6)}, {"up1": Tap("up1", 8, 16, "")}, frame)
    >>> dino = FeatureMaps({"last": torch.rand(1, 6, 4, 6)}, {"last": Tap("last", 6, 16, "")}, frame)
    >>> fuse([sd, dino], weights=(0.5, 0.5))
    FeatureMaps(image, 96x64 pixels read as 96x64: fused 14x4x6 stride 16)
    """
    dense = on_one_grid(readings, side, normalise)
    if merge is None:
        channels = [int(one.shape[1]) for one in dense]
        merge = Concat(len(dense), channels, weights=weights, normalise=normalise)
    elif weights is not None:
        raise BadInput("weights and merge were both given; the Concat brings its own weights")
    with torch.no_grad():
        fused = merge(dense)
    first = readings[0]
    stride = max(1, round(first.frame.fed[0] / fused.shape[-2]))
    taps = {FUSED: Tap(FUSED, int(fused.shape[1]), stride, "")}
    return FeatureMaps({FUSED: fused}, taps, first.frame, first.recipe, first.name, origin=_origin(readings))


def _origin(readings: Sequence[FeatureMaps]) -> Origin:
    """The origin of a fused map: its fingerprint is that of all models, in their order."""
    origins = [maps.origin for maps in readings]
    prints = [origin.fingerprint for origin in origins]
    models, dtypes = (
        list(dict.fromkeys(values)) for values in ([o.model for o in origins], [o.dtype for o in origins])
    )
    adapters = {
        f"{o.model}: {what}" if len(models) > 1 else what: digest for o in origins for what, digest in o.adapters
    }
    one_model = len(set(prints)) == 1
    fingerprint = prints[0] if one_model else digest_of("fused", prints) if all(prints) else ""
    photo = next((origin.photo for origin in origins if origin.photo), "")
    return Origin(photo, " + ".join(models), fingerprint, tuple(adapters.items()), " + ".join(dtypes))
