from __future__ import annotations

import numpy as np
import pytest

from miniworld import datasets
from miniworld.tables.pairs import by_facing, mini_pairs, run
from shiftless.backbones.registry import load
from shiftless.bench.pairs import TRIVIAL, UNTRAINED
from shiftless.errors import BadInput
from shiftless.recipe import Recipe


def test_pairs_are_fixed_and_their_points_lie_in_the_pictures():
    pairs, again = mini_pairs("val", 6), mini_pairs("val", 6)
    assert [p.source.digest for p in pairs] == [p.source.digest for p in again]
    assert len({p.category for p in pairs}) == 6
    for pair in pairs:
        assert len(pair.source_points) == len(pair.target_points) >= 4
        for points, size in ((pair.source_points, pair.source_size), (pair.target_points, pair.target_size)):
            assert points.dtype == np.float64
            assert ((points >= 0) & (points <= size[::-1])).all()
        x0, y0, x1, y1 = pair.target_box
        assert 0 <= x0 < x1 <= 128
        assert 0 <= y0 < y1 <= 128


def test_splits_share_no_picture():
    digests = [
        {p.digest for pair in mini_pairs(split, 3) for p in (pair.source, pair.target)} for split in ("val", "test")
    ]
    assert not digests[0] & digests[1]


def test_a_look_changes_the_pictures_and_no_point():
    plain, drawn = mini_pairs("val", 2), mini_pairs("val", 2, "pencil")
    assert (plain[0].source_points == drawn[0].source_points).all()
    assert plain[0].source.digest != drawn[0].source.digest


def test_runs_with_both_controls_and_twice_the_same():
    model = load("twin:sd15", size=64)
    options = {"recipe": Recipe(timestep=1, taps=("up2",)), "n": 2, "progress": False}
    table = run(model, **options)
    assert table.bench == "mini-pairs"
    base, flipped = "baseline: t=1 up2", "baseline with flip: t=1 up2"
    methods = list(dict.fromkeys(row.method for row in table.rows))
    assert methods[:4] == [TRIVIAL, UNTRAINED, base, flipped]
    ways = [f"{way} (1 pair)" for way in ("facing the same way", "facing opposite ways")]
    assert methods[4:] == [f"{one}, {way}" for way in ways for one in ("baseline", "baseline with flip")]
    assert run(model, batch=1, **options).rows == table.rows
    val = run(model, controls=False, split="val", flip=False, facing=False, **options)
    assert (val.bench, {row.method for row in val.rows}) == ("mini-pairs val", {TRIVIAL, base})


def test_the_pairs_that_face_opposite_ways_are_half_of_the_test():
    groups = by_facing(datasets.pairs("test"))
    assert [len(rows) for rows in groups.values()] == [180, 180]
    picture = datasets.pairs("test", 2)[groups["facing opposite ways"][0]]
    assert picture.source.facing != picture.target.facing


def test_bad_input():
    with pytest.raises(BadInput, match="split 'best' is unknown"):
        mini_pairs("best", 2)
    with pytest.raises(BadInput, match="look"):
        mini_pairs("val", 2, "oil")
