"""Layout: how a bucket of readings becomes tensors that an amalgamator takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps

Channels = tuple[tuple[str, int], ...]  # taps of one reading, and the channels of each


@dataclass(frozen=True)
class Layout:
    """What a head expects of a bucket: K readings that are merged, then those that are joined as they are.

    readings   K, how many are merged; they come first in the bucket
    taps       of each of them, with channels; resized to one grid and joined: C channels
    attention  the taps of each reading after them, joined to the merged map: A channels
    normalise  make each tap's vectors unit length before joining; off is the published way, where scales differ
    side       cells along the longer side; None is the finest tap's own

    >>> layout = Layout(3, (("up0", 192), ("up1", 128)), ((("up.cross.map.s8", 77),),))
    >>> layout.channels, layout.attention_channels
    (320, 77)
    """

    readings: int
    taps: Channels
    attention: tuple[Channels, ...] = ()
    normalise: bool = True
    side: int | None = None

    @property
    def channels(self) -> int:
        """C, of the merged map."""
        return sum(c for _, c in self.taps)

    @property
    def attention_channels(self) -> int:
        """A, of what is joined to it."""
        return sum(c for taps in self.attention for _, c in taps)

    @classmethod
    def of(
        cls,
        bucket: Sequence[FeatureMaps],
        attention: int | None = None,
        *,
        normalise: bool = True,
        side: int | None = None,
    ) -> Layout:
        """Describe a bucket whose last `attention` readings are joined unmerged; None: as their recipes' `joined` say.

        Raises BadInput if none is left to merge, if those to merge hold different taps, and if a reading to merge
        comes after one to join.
        """
        if attention is None:
            joined = [maps.recipe.joined for maps in bucket]
            attention = sum(joined)
            if joined != sorted(joined):
                raise BadInput("a reading to merge comes after one that is joined; put the joined readings last")
        if not 0 <= attention < len(bucket):
            raise BadInput(f"attention={attention} of {len(bucket)} readings: at least one must be left to merge")
        if side is not None and side < 1:
            raise BadInput(f"side={side}: give how many cells the longer side has, at least 1")
        k = len(bucket) - attention
        channels = [_channels(maps) for maps in bucket]
        for i, taps in enumerate(channels[:k]):
            if taps != channels[0]:
                raise BadInput(
                    f"reading {i} holds {_said(taps)} and reading 0 {_said(channels[0])}; "
                    "readings that are merged need the same taps"
                )
        return cls(k, channels[0], tuple(channels[k:]), normalise, side)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Layout:
        """Read what `to_dict` gave, also after a way through JSON."""
        taps = tuple((str(n), int(c)) for n, c in values["taps"])
        attention = tuple(tuple((str(n), int(c)) for n, c in one) for one in values["attention"])
        return cls(int(values["readings"]), taps, attention, bool(values["normalise"]), values["side"])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def tensors(self, bucket: Sequence[FeatureMaps]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the readings K C H W and what is joined to them, A H W, float32 on one grid.

        Raises BadInput for a bucket of other readings, taps or channels.
        """
        self.check(bucket)
        grid = self._grid(bucket[0])
        dense = [maps.dense([n for n, _ in t], grid, self.normalise) for maps, t in zip(bucket, self._expected())]
        merged, joined = dense[: self.readings], dense[self.readings :]
        empty = merged[0].new_zeros(0, *grid)
        return torch.cat(merged), torch.cat([one[0] for one in joined]) if joined else empty

    def check(self, bucket: Sequence[FeatureMaps]) -> None:
        """Raise BadInput for a bucket of other readings, taps or channels."""
        expected = self._expected()
        if len(bucket) != len(expected):
            raise BadInput(f"{bucket[0].name}: a bucket of {len(bucket)} readings; this head takes {len(expected)}")
        for i, (maps, taps) in enumerate(zip(bucket, expected)):
            if _channels(maps) != taps:
                raise BadInput(f"{maps.name}: reading {i} holds {_said(_channels(maps))}; needed is {_said(taps)}")

    def _expected(self) -> list[Channels]:
        return [self.taps] * self.readings + list(self.attention)

    def _grid(self, maps: FeatureMaps) -> tuple[int, int]:
        sizes = [(int(m.shape[-2]), int(m.shape[-1])) for m in maps.values()]
        h, w = max(sizes, key=lambda hw: hw[0] * hw[1])
        if self.side is None:
            return h, w
        return max(1, round(h * self.side / max(h, w))), max(1, round(w * self.side / max(h, w)))


def _channels(maps: FeatureMaps) -> Channels:
    return tuple((tap, int(maps[tap].shape[1])) for tap in maps)


def _said(taps: Channels) -> str:
    return ", ".join(f"{name} ({channels})" for name, channels in taps) or "nothing"
