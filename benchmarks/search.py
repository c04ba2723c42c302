"""How long a search takes: seconds a query over a store of drawn pictures, by each engine.

    OMP_NUM_THREADS=1 python benchmarks/search.py --photos 2000 --queries 10 --store drawn.zarr

Draws pictures that no table measures, reads them with the embedded model into the store (which is kept, and read on
where it is there), and searches it for the centres of pictures that are not in it. "read from disk": the whole of it,
as `shiftless search` does; "in memory": what a SearchIndex that is kept takes for each further query. Seconds are
of processor time, which other work on the machine does not change: with one thread (OMP_NUM_THREADS=1) what a clock
shows on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import shiftless
from shiftless.features import FeatureMaps
from shiftless.progress import Progress
from shiftless.searching import Hit, SearchIndex
from shiftless.store.writer import StoreWriter

_CENTRE = (64.0, 64.0)


def write(
    target: str, count: int, model: str = "mini", recipe: shiftless.Recipe | None = None, batch: int = 20
) -> None:
    """Draw pictures and write their features into a store, but for those that are there."""
    from miniworld.datasets import photos, seeds
    from shiftless.image import open_photo
    from shiftless.presets import default_recipe

    if Path(target).exists() and len(shiftless.FeatureStore(target)) >= count:
        return
    backbone, recipes = shiftless.load(model), [recipe or default_recipe(model)]
    first = seeds("crowd", count).start
    with StoreWriter(target, backbone, recipes) as writer, Progress(f"reading {count} pictures", count) as step:
        writer.recover()
        for start in range(0, count, batch):
            drawn = photos(first + start, min(batch, count - start))
            opened = [open_photo(one.image, f"{start + i}.png") for i, one in enumerate(drawn)]
            for bucket in shiftless.extract(backbone, [one for one in opened if writer.claim(one)], recipes):
                writer.write(bucket)
            step.advance(len(opened))


def queries(count: int, store: shiftless.FeatureStore) -> list[FeatureMaps]:
    """Read pictures that are not in the store, by its model and recipe."""
    from miniworld.datasets import photos, seeds

    drawn = photos(seeds("shown", count).start, count)
    return shiftless.extract(store.origins[0].model, [one.image for one in drawn], store.recipes[0])


def timed(index: SearchIndex, asked: Sequence[FeatureMaps], top: int = 12) -> tuple[float, list[list[Hit]]]:
    """Return the mean of the seconds of processor time that a query takes, and the hits."""
    start = time.process_time()
    hits = [index.search(maps, at=_CENTRE, top=top) for maps in asked]
    return (time.process_time() - start) / len(asked), hits


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a line for each engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--store", default="drawn.zarr")
    parser.add_argument("--model", default="mini")
    given = parser.parse_args(arguments)
    write(given.store, given.photos, given.model)
    store = shiftless.FeatureStore(given.store)
    asked = queries(given.queries, store)
    print(f"{len(store)} photos, {asked[0].describe()}")
    first: list[list[Hit]] = []
    for engine, keep in (("torch", False), ("torch", True), ("faiss", True)):
        if engine == "faiss" and not find_spec("faiss"):
            print("faiss is not installed")
            continue
        start = time.process_time()
        index = SearchIndex(store, engine=engine, keep=keep)
        built = time.process_time() - start
        seconds, hits = timed(index, asked)
        first = first or hits
        same = [[hit.number for hit in one] for one in hits] == [[hit.number for hit in one] for one in first]
        where = f"in memory (put there in {built:.2f} s)" if keep else "read from disk"
        print(f"{engine}, {where}: {seconds:.3f} s a query; {'the same hits' if same else 'OTHER HITS'}")


if __name__ == "__main__":
    main()
