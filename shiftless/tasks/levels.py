"""Levels: how a bucket of readings becomes the pyramid of maps that a segmentation head takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps

Taps = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Levels:
    """What a segmentation head expects of a bucket: K readings of the same taps, which are levels by their strides.

    readings  K, all of them merged
    taps      (name, channels, stride) of each reading; those of one stride are joined to one level

    Levels are in order of their strides, the finest first.

    >>> levels = Levels(3, (("up0", 8, 32), ("up1", 8, 16), ("up2", 4, 8), ("up3.attn2", 2, 8)))
    >>> levels.strides, levels.channels
    ((8, 16, 32), (6, 8, 8))
    """

    readings: int
    taps: Taps

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the photo as fed, a cell, of each level."""
        return tuple(sorted({stride for _, _, stride in self.taps}))

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(sum(c for _, c, stride in self.taps if stride == one) for one in self.strides)

    @classmethod
    def of(cls, bucket: Sequence[FeatureMaps]) -> Levels:
        """Describe a bucket; raises BadInput for an empty one, readings of different taps, and one that is joined."""
        if not bucket:
            raise BadInput("no readings were given; give a bucket of at least one")
        described = [_taps(maps) for maps in bucket]
        for i, (maps, taps) in enumerate(zip(bucket, described)):
            if maps.recipe.joined:
                raise BadInput(f"reading {i} is joined and not merged; a segmentation head merges all readings")
            if taps != described[0]:
                raise BadInput(
                    f"reading {i} holds {_said(taps)} and reading 0 {_said(described[0])}; readings that are merged "
                    "need the same taps"
                )
        return cls(len(bucket), described[0])

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Levels:
        """Read what `to_dict` gave, also after a way through JSON."""
        taps = tuple((str(name), int(channels), int(stride)) for name, channels, stride in values["taps"])
        return cls(int(values["readings"]), taps)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def check(self, bucket: Sequence[FeatureMaps]) -> None:
        """Raise BadInput for a bucket of other readings, taps, channels or strides."""
        if len(bucket) != self.readings:
            name = bucket[0].name if bucket else "image"
            raise BadInput(f"{name}: a bucket of {len(bucket)} readings; this head takes {self.readings}")
        for i, maps in enumerate(bucket):
            if (taps := _taps(maps)) != self.taps:
                raise BadInput(f"{maps.name}: reading {i} holds {_said(taps)}; needed is {_said(self.taps)}")

    def tensors(self, bucket: Sequence[FeatureMaps]) -> list[torch.Tensor]:
        """Return each level of a photo, K C H W float32 on its own grid; raises BadInput as `check` does.

        Of taps of one stride whose grids differ, the others are resized bilinearly to that of the first.
        """
        self.check(bucket)
        levels = []
        for stride in self.strides:
            names = [name for name, _, one in self.taps if one == stride]
            readings = []
            for maps in bucket:
                parts = [maps[name].float() for name in names]
                grid = parts[0].shape[-2:]
                parts = [p if p.shape[-2:] == grid else F.interpolate(p, grid, mode="bilinear") for p in parts]
                readings.append(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
            levels.append(torch.cat(readings))
        return levels


def _taps(maps: FeatureMaps) -> Taps:
    return tuple((tap, int(maps[tap].shape[1]), maps.taps[tap].stride) for tap in maps)


def _said(taps: Taps) -> str:
    return ", ".join(f"{name} ({channels}, stride {stride})" for name, channels, stride in taps) or "nothing"
