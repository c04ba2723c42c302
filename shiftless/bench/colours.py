"""What scenes give away without any model: colours and places as features, for the same head as any others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from shiftless.bench.parts import colour_and_position
from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.features import Bucket
from shiftless.image import open_photo
from shiftless.tasks.windows import shorter_side
from shiftless.training.scenesource import KeptScenes, picture_of


class Coloured(Sequence[Bucket]):
    """The colours and places of labelled photos, each made when it is asked for: memory is that of one photo.

    side    pixels that a photo's shorter side is scaled to      stride  pixels of a cell

    >>> import numpy as np
    >>> from shiftless.data.labelledphoto import LabelledPhoto
    >>> one = LabelledPhoto("a", np.zeros((32, 48, 3), np.uint8), "a.npy", np.zeros((32, 48), int), 2)
    >>> some = LabelledPhotos((one,), ("sky", "road"), np.zeros((2, 3), np.uint8))
    >>> [tuple(value.shape) for value in Coloured(some, 64, 8)[0][0].values()]
    [(1, 3, 8, 12), (1, 2, 8, 12)]
    """

    def __init__(self, labelled: LabelledPhotos, side: int, stride: int) -> None:
        self.labelled, self.side, self.stride = labelled, side, stride

    def __len__(self) -> int:
        return len(self.labelled)

    @overload
    def __getitem__(self, index: int) -> Bucket: ...
    @overload
    def __getitem__(self, index: slice) -> list[Bucket]: ...
    def __getitem__(self, index: int | slice) -> Bucket | list[Bucket]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        photo = shorter_side(open_photo(picture_of(self.labelled[index])), self.side)
        return Bucket((colour_and_position(photo, max(1, round(max(photo.hw) / self.stride))),))


def coloured_scenes(labelled: LabelledPhotos, buckets: Sequence[Bucket]) -> KeptScenes:
    """Return labelled photos with their colours as `fit_scenes` takes them; `buckets` are those of a Coloured."""
    return KeptScenes(labelled, buckets, len(labelled.classes), labelled.unscored)
