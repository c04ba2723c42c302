"""Search: where in the photos of a store is a part of a photo, as `shiftless search` finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.explore.readings import Readings
from shiftless.explore.worker import Job, Step, Steps
from shiftless.image import Photo, open_photo
from shiftless.searching import Hit, SearchIndex
from shiftless.store.featurestore import FeatureStore
from shiftless.store.pool import pooled


@dataclass(frozen=True)
class PartRequest:
    """A request: a point (x, y) or a region (x0, y0, x1, y1) of a photo, in its own pixels, and how many hits."""

    photo: int
    point: tuple[float, float] | None
    region: tuple[float, float, float, float] | None
    top: int = 12


class StoreSearch:
    """A store that was opened to be searched; its vectors are read once, if they take no more than `most` bytes.

    Raises BadInput for a store that is not there, holds several readings of each photo, or was read with other weights
    than the model's.
    """

    def __init__(self, model: Backbone, target: str | os.PathLike[str], most: int) -> None:
        self.store = FeatureStore(target)
        if len(self.store.recipes) > 1:
            raise BadInput(f"{target}: {len(self.store.recipes)} readings of each photo; give a store of one recipe")
        origin = self.store.origins[0]
        if model.fingerprint != origin.fingerprint:
            raise BadInput(f"{target}: was read with other weights, those of {origin.model}; give that as --model")
        self._most = most
        self._index: SearchIndex | None = None

    def find(self, readings: Readings, request: PartRequest, job: Job) -> Steps:
        """Read the photo by the store's recipe, compare it with every photo, and return a list of Hit, best first.

        The photo itself is left out where it is in the store.
        """
        read = readings.read(request.photo, tuple(self.store.recipes), job.check)
        yield Step(1, 2, "reading")
        maps = pooled(read.bucket[0], self.store.origins[0].pool)
        if self._index is None:
            first = sum(value.numel() for value in self.store[0].values())
            keep = 4 * first * len(self.store) <= self._most
            self._index = SearchIndex(self.store, engine="auto" if keep else "torch", keep=keep)
        yield Step(2, 2, "searching")
        return self._index.search(
            maps, at=request.point, region=request.region, top=request.top,
            without=readings.album.digest(request.photo),
        )  # fmt: skip

    def photo(self, number: int) -> Photo:
        """Open a photo of the store; raises BadInput where its file is not there, or is another one by now."""
        if not 0 <= number < len(self.store):
            raise BadInput(f"no photo of the store has the number {number}; search again")
        name = os.path.basename(self.store.photos[number])
        try:
            photo = open_photo(self.store.photos[number])
        except BadInput:
            raise BadInput(f"{name}: its file is not where it was read; start the explorer in that folder") from None
        if photo.digest != self.store.digests[number]:
            raise BadInput(f"{name}: its file has changed since the store was written; extract it again")
        return photo

    def state(self) -> Mapping[str, Any]:
        """Return what the page is told of the store."""
        return {"name": os.path.basename(self.store.name.rstrip("/")), "photos": len(self.store)}


def hit_state(hit: Hit) -> dict[str, Any]:
    """Return a hit as plain values; of its file the name alone.

    >>> hit_state(Hit("photos/a.jpg", "d1", 3, (4.0, 5.0), 0.9))
    {'photo': 'a.jpg', 'number': 3, 'point': (4.0, 5.0), 'score': 0.9}
    """
    about = asdict(hit)
    del about["digest"]
    return {**about, "photo": os.path.basename(hit.photo)}
