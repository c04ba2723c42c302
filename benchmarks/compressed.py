"""What compressed stores cost: PCK on the drawn world's pairs with features that went through each kind of store.

    python benchmarks/compressed.py --pairs 120
    python benchmarks/compressed.py --pairs 60 --split val --compress none,pca:64,pq:24

Reads 64 drawn pictures that no table measures, from which transforms are learned, and then the pictures of the pairs,
once; writes them into a store for each compression, and matches what comes back. Rows are the points within 0.1 of the
object's box, with 95% bootstrap intervals over pairs, and the paired difference to the first row.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import shiftless
from shiftless.backbones.base import Backbone
from shiftless.features import Bucket
from shiftless.image import Photo, open_photo
from shiftless.metrics.bootstrap import Difference, difference, interval
from shiftless.metrics.pck import hits
from shiftless.store.manifest import Manifest
from shiftless.store.place import place_of
from shiftless.store.sample import PHOTOS
from shiftless.store.writer import StoreWriter

COMPRESSIONS = "none,int8,pca:96,pca:48,pca:24,pca:12,pq:96,pq:48,pq:24,pq:12"


class Row(NamedTuple):
    """A compression, bytes of a photo, of them the share of the first row's, PCK, its interval, and the difference."""

    compress: str
    bytes: int
    share: float
    pck: float
    ends: tuple[float, float]
    against: Difference | None


def measure(
    compressions: Sequence[str], count: int, split: str = "test", model: str = "mini", sample: int = PHOTOS
) -> list[Row]:
    """Match `count` pairs by the features of each kind of store."""
    from miniworld.datasets import photos, seeds
    from miniworld.tables.pairs import mini_pairs
    from shiftless.presets import default_recipe

    backbone, recipe = shiftless.load(model), default_recipe(model)
    pairs = mini_pairs(split, count)
    first = photos(seeds("shown", sample).start, sample)
    pictures = [open_photo(one.image, f"sample {i}") for i, one in enumerate(first)]
    pictures += [open_photo(photo) for pair in pairs for photo in (pair.source, pair.target)]
    buckets = shiftless.extract(backbone, pictures, [recipe])
    rows: list[Row] = []
    counts: list[list[int]] = []
    totals = [len(pair.source_points) for pair in pairs]
    with tempfile.TemporaryDirectory() as folder:
        for compress in compressions:
            target = Path(folder, f"{compress.replace(':', '-')}.zarr")
            each = _written(target, backbone, pictures, buckets, compress)
            store = shiftless.FeatureStore(target)
            right = []
            for pair in pairs:
                a, b = store[pair.source.digest], store[pair.target.digest]
                found = shiftless.match(a, b, pair.source_points)
                right.append(int(hits(found.points, pair.target_points, pair.target_box).sum()))
            counts.append(right)
            against = difference(right, counts[0], totals) if rows else None
            share = each / rows[0].bytes if rows else 1.0
            ends = interval(right, totals)
            rows.append(Row(compress, each, share, sum(right) / sum(totals), ends, against))
    return rows


def _written(target: Path, model: Backbone, pictures: Sequence[Photo], buckets: Sequence[Bucket], how: str) -> int:
    """Write features that were read into a store; return the bytes of a photo."""
    with StoreWriter(target, model, [buckets[0][0].recipe], compress=how) as writer:
        for photo, bucket in zip(pictures, buckets):
            if writer.claim(photo):
                writer.write(bucket)
    (one,) = Manifest.opened(place_of(target)).groups.values()
    return one.group.bytes_each


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=120)
    parser.add_argument("--split", default="test")
    parser.add_argument("--compress", default=COMPRESSIONS)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--sample", type=int, default=PHOTOS)
    given = parser.parse_args(arguments)
    rows = measure(given.compress.split(","), given.pairs, given.split, given.model, given.sample)
    print(
        "| --compress | bytes a photo | of the first row | PCK@0.1 bbox | difference, paired |\n|---|---|---|---|---|"
    )
    for row in rows:
        ends = "[{:.3f}, {:.3f}]".format(*row.ends)
        diff = "" if row.against is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row.against)
        print(f"| {row.compress} | {row.bytes:,} | {row.share:.1%} | {row.pck:.3f} {ends} | {diff} |")


if __name__ == "__main__":
    main()
