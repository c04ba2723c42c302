"""SearchIndex: nearest neighbours of a part across all photos of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.progress import Progress
from shiftless.searching.blocks import blocks, unit_cells
from shiftless.searching.engines import FLAT, engine_of
from shiftless.searching.query import query_of
from shiftless.store.featurestore import FeatureStore
from shiftless.tasks.dense import cosine_maps, soft_argmax

REFINES = ("soft", "cell")
_TEMPERATURE, _WINDOW = 0.02, 2  # of the soft-argmax, as `shiftless.match` has them
_MORE = 4  # times as many photos are looked at again where the engine is not exact


@dataclass(frozen=True)
class Hit:
    """A place in a photo that is like the query.

    photo   its file, as it was given to extract     digest  of its pixels     number  in the store
    point   (x, y), in its own pixels                score   cosine of the cell there and the query, in [-1, 1]
    """

    photo: str
    digest: str
    number: int
    point: tuple[float, float]
    score: float


class SearchIndex:
    """Finds in the photos of a store the places that are like a point, or a region, of a photo.

    store    one reading of each photo, by one recipe
    taps     which maps are compared, joined as `shiftless.match` joins them (all of them)
    engine   "torch"; "faiss" (`pip install "shiftless[search]"`); or "auto": faiss where it is installed. Both compare
             every cell of every photo, and find the same
    keep     hold the vectors in memory, in float32; without it they are read from the store at each search, in the
             memory of a block (torch only)
    factory  another index of faiss, as its index_factory names it, such as "IVF1024,SQfp16": smaller and faster, it
             may miss a photo; the scores of those it finds are exact all the same
    progress counts the photos that are read

    Raises BadInput for a store of several recipes or poolings, an unknown tap, and an engine that is not there.

    >>> import shiftless, tempfile
    >>> from shiftless.image import open_photo
    >>> from shiftless.store.writer import StoreWriter
    >>> model, recipe = shiftless.load("twin:sd15"), shiftless.Recipe(taps=("up1",), size=64)
    >>> pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    >>> photos, folder = [open_photo(p, f"{i}.png") for i, p in enumerate(pixels)], tempfile.TemporaryDirectory()
    >>> readings = shiftless.extract(model, photos, [recipe])
    >>> with StoreWriter(f"{folder.name}/a.zarr", model, [recipe]) as writer:
    ...     for photo, reading in zip(photos, readings):
    ...         if writer.claim(photo):
    ...             writer.write(reading)
    >>> index = SearchIndex(FeatureStore(f"{folder.name}/a.zarr"), engine="torch")
    >>> hit = index.search(readings[1][0], at=(40, 24), top=1, refine="cell")[0]  # the centre of a cell of 16 x 16
    >>> hit.photo, hit.point, round(hit.score, 2)
    ('1.png', (40.0, 24.0), 1.0)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        store: FeatureStore,
        *,
        taps: Sequence[str] | None = None,
        engine: str = "auto",
        keep: bool = True,
        factory: str = FLAT,
        progress: Progress | None = None,
    ) -> None:
        if len(store.recipes) > 1:
            raise BadInput(f"{store.name}: {len(store.recipes)} readings of each photo; choose one with recipes=")
        pools = sorted({origin.pool for origin in store.origins})
        if len(pools) > 1:
            raise BadInput(f"{store.name}: maps of pool {pools[0]} and {pools[1]}; choose those of one with groups=")
        self.store = store
        self.taps = list(store[0]) if taps is None else list(taps)
        unit_cells(store[0], self.taps)  # raises for a tap that is not there
        self._engine = engine_of(engine, lambda: blocks(store, self.taps, progress), keep=keep, factory=factory)

    def search(
        self,
        maps: FeatureMaps,
        *,
        at: Sequence[float] | None = None,
        region: Sequence[float] | None = None,
        top: int = 10,
        per_photo: int = 1,
        refine: str = "soft",
        without: str = "",
        mirrored: FeatureMaps | None = None,
    ) -> list[Hit]:
        """Return the `top` places that are most like a part of a photo, the best one first.

        maps       features of the photo, read as those of the store
        at         (x, y) in the photo's own pixels: its feature there is sought
        region     (x0, y0, x1, y1) in the photo's own pixels: the mean of the unit features of the cells that it
                   touches is sought; give this or `at`
        per_photo  how many hits one photo may have: further ones are local maxima of its map of cosines
        refine     "cell": points are centres of cells; "soft": moved by a soft-argmax over the neighbours
        without    the digest of a photo that is left out, such as the queried one
        mirrored   features of `shiftless.mirror(photo)`: each cell then has the higher of its two cosines, so that
                   things are found whichever way they face; it costs one more reading, of the queried photo alone

        Raises BadInput for features by another model or recipe, and for a point or region outside the photo.
        """
        if top < 1 or per_photo < 1:
            raise BadInput(f"top={top}, per_photo={per_photo}: give whole numbers from 1 up")
        if refine not in REFINES:
            raise BadInput(f"refine={refine!r}: must be one of {', '.join(REFINES)}")
        self.check(maps)
        query = query_of(maps, self.taps, at, region)
        if mirrored is not None:
            self.check(mirrored)
            if mirrored.frame != maps.frame:
                raise BadInput(
                    f"{mirrored.name}: is not {maps.name} mirrored, as it is of another size; mirror that photo"
                )
            query = torch.cat([query, query_of(mirrored, self.taps, *_turned(maps, at, region))])
        left_out = int(without in self.store.digests)
        candidates = top * (1 if self._engine.exact else _MORE) + left_out
        _, numbers = self._engine.best(query, candidates)
        hits: list[Hit] = []
        for number in map(int, np.unique(numbers)):
            if self.store.digests[number] != without or not without:
                hits += self._hits(number, query, per_photo, refine)
        return sorted(hits, key=lambda hit: (-hit.score, hit.number))[:top]

    def check(self, maps: FeatureMaps) -> None:
        """Raise BadInput for features that are not comparable with the store's: another model, recipe or pooling."""
        origin, recipe = self.store.origins[0], self.store.recipes[0]
        if conflict := maps.origin.conflict(origin):
            raise BadInput(f"{maps.name} and {self.store.name} were read with {conflict}; read both with one model")
        if maps.recipe.key() != recipe.key():
            raise BadInput(f"{maps.name}: read by another recipe than {self.store.name}; read it by store.recipes[0]")
        if maps.origin.pool != origin.pool:
            raise BadInput(
                f"{maps.name}: maps of pool {maps.origin.pool}, and {self.store.name} of pool {origin.pool}; pool it: "
                "shiftless.store.pool.pooled"
            )

    def _hits(self, number: int, query: torch.Tensor, per_photo: int, refine: str) -> list[Hit]:
        """The best places of one photo for whichever of Q queries, from its own map."""
        maps = self.store[number]
        dense = unit_cells(maps, self.taps)
        grid = (int(dense.shape[-2]), int(dense.shape[-1]))
        (heats,) = cosine_maps(query, dense, grid)
        heat = heats.amax(0, keepdim=True)  # Q H W -> 1 H W
        peak = heat == F.max_pool2d(heat[None], 3, stride=1, padding=1)[0]
        scores, cells = heat.masked_fill(~peak, -torch.inf).flatten().sort(descending=True, stable=True)
        chosen = cells[:per_photo][scores[:per_photo] > -torch.inf]
        row, column = chosen // grid[1], chosen % grid[1]
        where = torch.stack([column, row], 1).double()
        if refine == "soft":
            where = soft_argmax(heat.expand(len(chosen), -1, -1), row, column, _TEMPERATURE, _WINDOW)
        points = maps.frame.from_grid(where.numpy() + 0.5, grid)
        return [
            Hit(maps.name, maps.origin.photo, number, (float(x), float(y)), float(score))
            for (x, y), score in zip(np.asarray(points), scores)
        ]


def _turned(
    maps: FeatureMaps, at: Sequence[float] | None, region: Sequence[float] | None
) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """A point and a region of a photo as they lie in the mirrored photo."""
    width = maps.frame.original[1]
    point = None if at is None else (width - at[0], at[1])
    return point, None if region is None else (width - region[2], region[1], width - region[0], region[3])
