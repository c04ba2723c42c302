from __future__ import annotations

import numpy as np
import pytest
import torch

from shiftless.amalgamate.layout import Layout
from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Frame
from shiftless.taps.names import Tap
from shiftless.tasks.pairfeatures import PairFeatures


def maps(h: int, w: int, **channels: int) -> FeatureMaps:
    taps = {name: Tap(name, c, 8, "") for name, c in channels.items()}
    grids = {name: torch.randn(1, c, h * (i + 1), w * (i + 1)) for i, (name, c) in enumerate(channels.items())}
    return FeatureMaps(grids, taps, Frame((10 * h, 10 * w), (8 * h, 8 * w)), name="p")


def test_shared_photos_are_kept_once_and_points_become_units(known):
    one, two = known.bucket(0), known.bucket(1)
    kept = PairFeatures.gather([(one, two, [(16, 32)], [(64, 0)]), (two, one, [(1, 1)], [(2, 2)], (0, 0, 9, 9))])
    assert kept[0].source is kept[1].target
    assert len(list(kept.sides())) == 2
    assert kept.bytes() == 2 * 2 * known.channels * known.cells * known.cells * 2  # photos, readings, bfloat16
    assert [u.tolist() for u in kept[0].units] == [[[0.25, 0.5]], [[1.0, 0.0]]]
    assert (kept[0].box, kept[1].box) == (None, (0, 0, 9, 9))
    assert len(kept[:1]) == 1


def test_layout_joins_taps_on_the_finest_grid_and_attention_apart():
    readings = Bucket((maps(3, 4, a=5, b=2), maps(3, 4, a=5, b=2), maps(3, 4, words=7)))
    layout = Layout.of(readings, attention=1)
    merged, joined = layout.tensors(readings)
    assert (tuple(merged.shape), tuple(joined.shape)) == ((2, 7, 6, 8), (7, 6, 8))
    torch.testing.assert_close(merged[:, :5].norm(dim=1), torch.ones(2, 6, 8))  # each tap's vectors of unit length
    raw, _ = Layout.of(readings, attention=1, normalise=False).tensors(readings)
    torch.testing.assert_close(raw[:, 5:], torch.cat([r["b"] for r in readings[:2]]))
    small, attention = Layout.of(readings, attention=1, side=4).tensors(readings)
    assert (small.shape[-2:], attention.shape[-2:]) == ((3, 4), (3, 4))
    assert Layout.from_dict(layout.to_dict()) == layout


def test_buckets_that_do_not_fit():
    same = maps(3, 4, a=5)
    with pytest.raises(BadInput, match="reading 1 holds b"):
        Layout.of(Bucket((same, maps(3, 4, b=5))))
    with pytest.raises(BadInput, match="at least one must be left"):
        Layout.of(Bucket((same,)), attention=1)
    layout = Layout.of(Bucket((same, same)))
    with pytest.raises(BadInput, match=r"p: reading 1 holds a \(6\); needed is a \(5\)"):
        layout.tensors(Bucket((same, maps(3, 4, a=6))))
    with pytest.raises(BadInput, match="a bucket of 1 readings; this head takes 2"):
        layout.tensors(Bucket((same,)))


def test_pairs_that_do_not_fit(known):
    with pytest.raises(BadInput, match="no pair"):
        PairFeatures.gather([])
    with pytest.raises(BadInput, match=r"p0: point 0 \(99, 1\) is outside"):
        PairFeatures.gather([(known.bucket(0), known.bucket(0), [(99, 1)], [(1, 1)])])
    with pytest.raises(BadInput, match="2 points and 1"):
        PairFeatures.gather([(known.bucket(0), known.bucket(0), np.ones((2, 2)), np.ones((1, 2)))])


def test_buckets_come_from_a_reader_one_at_a_time(known):
    given = iter(known.pairs(0, 3))
    assert len(PairFeatures.gather(given)) == 3
    assert next(given, None) is None
