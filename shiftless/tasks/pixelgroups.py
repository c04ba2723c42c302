"""PixelGroups: how the readings of a photo become vectors of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from shiftless.amalgamate.layout import Channels, Layout
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps


@dataclass(frozen=True)
class PixelGroups:
    """What a pixel classifier expects of a photo's buckets, one bucket for each model that reads it.

    layouts  of the buckets: in each, K readings to merge, then those that are joined as they are

    The readings to merge of one bucket are a group of K, C; each joined reading is a group of one.

    >>> gate, ddpm = Layout(4, (("up1", 8),), ((("map", 3),),)), Layout(2, (("block5", 6),))
    >>> PixelGroups((gate, ddpm)).groups
    ((4, 8), (1, 3), (2, 6))
    """

    layouts: tuple[Layout, ...]

    @classmethod
    def of(cls, buckets: Sequence[Sequence[FeatureMaps]], *, normalise: bool = False) -> PixelGroups:
        """Describe a photo's buckets; a reading is joined unmerged where its recipe says so, as in `Layout.of`."""
        if not buckets:
            raise BadInput("no readings were given; give one bucket for each model")
        return cls(tuple(Layout.of(bucket, normalise=normalise) for bucket in buckets))

    @classmethod
    def from_dict(cls, values: list[dict[str, Any]]) -> PixelGroups:
        """Read what `to_dict` gave, also after a way through JSON."""
        return cls(tuple(Layout.from_dict(one) for one in values))

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain values."""
        return [layout.to_dict() for layout in self.layouts]

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """(K, C) of each group."""
        return tuple(
            group
            for layout in self.layouts
            for group in ((layout.readings, layout.channels), *((1, _size(taps)) for taps in layout.attention))
        )

    def check(self, buckets: Sequence[Sequence[FeatureMaps]]) -> None:
        """Raise BadInput for buckets of other readings, taps or channels."""
        if len(buckets) != len(self.layouts):
            raise BadInput(f"readings of {len(buckets)} models; this head takes {len(self.layouts)}")
        for bucket, layout in zip(buckets, self.layouts):
            layout.check(bucket)

    def at(self, buckets: Sequence[Sequence[FeatureMaps]], units: torch.Tensor) -> list[torch.Tensor]:
        """Read the groups at places of a photo: N K C float32 each, on the maps' device, bilinear.

        units  N 2, (x, y) in [0, 1] x [0, 1] of the whole photo, as `Frame.to_unit` gives them

        The values are those of maps that are enlarged bilinearly, each from its own grid, and read at the places; no
        enlarged map is ever held. Raises BadInput as `check` does.
        """
        self.check(buckets)
        read: list[torch.Tensor] = []
        for bucket, layout in zip(buckets, self.layouts):
            merged = [_at(maps, layout.taps, units, layout.normalise) for maps in bucket[: layout.readings]]
            read.append(torch.stack(merged, 1))
            joined = zip(bucket[layout.readings :], layout.attention)
            read += [_at(maps, taps, units, layout.normalise)[:, None] for maps, taps in joined]
        return read


def unit_grid(hw: tuple[int, int], device: torch.device | None = None) -> torch.Tensor:
    """Give the centres of the cells of a grid of H W over a photo, as H*W 2 places (x, y) in [0, 1] x [0, 1].

    >>> unit_grid((1, 2)).tolist()
    [[0.25, 0.5], [0.75, 0.5]]
    """
    ys, xs = ((torch.arange(n, device=device, dtype=torch.float32) + 0.5) / n for n in hw)
    return torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], -1).view(-1, 2)


def _at(maps: FeatureMaps, taps: Channels, units: torch.Tensor, normalise: bool) -> torch.Tensor:
    """Vectors N C of one reading at N places."""
    read = []
    for name, _ in taps:
        value = maps[name].float()
        where = (units.to(value.device) * 2 - 1).view(1, 1, -1, 2)
        one = F.grid_sample(value, where, mode="bilinear", padding_mode="border", align_corners=False)[0, :, 0].T
        read.append(F.normalize(one, dim=1) if normalise else one)
    return read[0] if len(read) == 1 else torch.cat(read, 1)


def _size(taps: Channels) -> int:
    return sum(channels for _, channels in taps)
