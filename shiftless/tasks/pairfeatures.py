"""PairFeatures: the features of annotated pairs, read once and kept in memory for training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import ArrayLike

from shiftless.amalgamate.layout import Layout
from shiftless.errors import BadInput
from shiftless.features import Bucket
from shiftless.image import Frame


class AnnotatedBuckets(NamedTuple):
    """A pair as its reader gives it: both photos' buckets, and N 2 points of each in original pixels.

    box       (x0, y0, x1, y1) of the thing in the target, for PCK; without it the target image's size counts
    mirrored  the readings of the mirrored source, where it may be matched in its place
    """

    source: Bucket
    target: Bucket
    source_points: ArrayLike
    target_points: ArrayLike
    box: Sequence[float] | None = None
    mirrored: Bucket | None = None


@dataclass(frozen=True, eq=False)
class Side:
    """One photo's tensors: readings K C H W, attention A H W; and the way back to its pixels."""

    readings: torch.Tensor
    attention: torch.Tensor
    frame: Frame
    name: str


@dataclass(frozen=True, eq=False)
class KeptPair:
    """Two photos' tensors and N 2 points of each; `units` are the points in [0, 1] x [0, 1], float32."""

    source: Side
    target: Side
    source_points: np.ndarray
    target_points: np.ndarray
    box: tuple[float, ...] | None
    units: tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class PairFeatures(Sequence[KeptPair]):
    """What `gather` kept of annotated pairs, with the layout that all of them share.

    >>> from shiftless.features import FeatureMaps
    >>> from shiftless.taps.names import Tap
    >>> one = FeatureMaps({"up1": torch.rand(1, 8, 4, 4)}, {"up1": Tap("up1", 8, 8, "")}, Frame((32, 32), (32, 32)))
    >>> bucket = Bucket((one, one))
    >>> kept = PairFeatures.gather([(bucket, bucket, [(4, 4)], [(4, 4)])])
    >>> len(kept), kept[0].source.readings.shape, kept[0].source is kept[0].target
    (1, torch.Size([2, 8, 4, 4]), True)
    """

    pairs: tuple[KeptPair, ...]
    layout: Layout

    @classmethod
    def gather(
        cls,
        pairs: Iterable[tuple],
        *,
        layout: Layout | None = None,
        attention: int | None = None,
        normalise: bool = True,
        side: int | None = None,
        dtype: torch.dtype = torch.bfloat16,
    ) -> PairFeatures:
        """Keep pairs on the CPU as they come from a reader; a bucket that several pairs share is kept once.

        pairs      of (source Bucket, target Bucket, source points, target points[, box]), as in AnnotatedBuckets
        layout     as another PairFeatures has it; else that of the first bucket, by the next three
        attention  how many readings at the end of each bucket are joined unmerged; None: those that their recipes say
        normalise  make each tap's vectors unit length before joining
        side       cells along the longer side; None is the finest tap's own; fewer train faster
        dtype      in which the maps are kept

        Raises BadInput for points outside a photo, numbers of points that differ, buckets of another layout, and
        when there is no pair.
        """
        kept: list[KeptPair] = []
        sides: WeakKeyDictionary[Bucket, Side] = WeakKeyDictionary()

        def side_of(bucket: Bucket) -> Side:
            assert layout is not None
            if bucket not in sides:
                readings, joined = layout.tensors(bucket)
                first = bucket[0]
                sides[bucket] = Side(readings.to("cpu", dtype), joined.to("cpu", dtype), first.frame, first.name)
            return sides[bucket]

        for row in pairs:
            pair = AnnotatedBuckets(*row)
            layout = layout or Layout.of(pair.source, attention, normalise=normalise, side=side)
            source, target = side_of(pair.source), side_of(pair.target)
            here = source.frame.check_points(pair.source_points, source.name)
            there = target.frame.check_points(pair.target_points, target.name)
            if len(here) != len(there):
                raise BadInput(
                    f"{source.name} -> {target.name}: {len(here)} points and {len(there)}; give one for each"
                )
            units = (_unit(source.frame, here), _unit(target.frame, there))
            box = None if pair.box is None else tuple(float(v) for v in pair.box)
            kept.append(KeptPair(source, target, here, there, box, units))
        if layout is None:
            raise BadInput("no pair was given; give at least one")
        return cls(tuple(kept), layout)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # the two overloads say no more than Sequence does
        return PairFeatures(self.pairs[index], self.layout) if isinstance(index, slice) else self.pairs[index]

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"PairFeatures({len(self)} pairs, {self.bytes() / 2**20:.0f} MiB)"

    def bytes(self) -> int:
        """Return how much memory the maps take."""
        return sum(t.numel() * t.element_size() for side in self.sides() for t in (side.readings, side.attention))

    def sides(self) -> Iterator[Side]:
        """Yield each photo's tensors once."""
        yield from {id(side): side for pair in self.pairs for side in (pair.source, pair.target)}.values()


def _unit(frame: Frame, points: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(frame.to_unit(points), dtype=torch.float32)
