"""FeatureMaps: dense grids, points in original pixels, files that are whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shiftless import BadInput, Bucket, FeatureMaps, Recipe
from shiftless.image import Frame
from shiftless.taps.names import Tap


def ramp(frame: Frame, grid: tuple[int, int]) -> FeatureMaps:
    """Two channels that hold each cell centre's own x and y in original pixels."""
    h, w = grid
    cells = np.stack(np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5), axis=-1).reshape(-1, 2)
    values = torch.tensor(frame.from_grid(cells, grid), dtype=torch.float32).T.reshape(1, 2, h, w)
    return FeatureMaps({"xy": values}, {"xy": Tap("xy", 2, 8, "")}, frame)


def test_at_reads_the_place_that_was_asked_for():
    maps = ramp(Frame((100, 300), (64, 192)), (8, 24))
    dense = FeatureMaps(maps.maps, maps.taps, maps.frame)
    inside = np.array([[30.0, 40.0], [150.5, 50.25], [290.0, 90.0]])
    read = torch.nn.functional.grid_sample(
        dense["xy"],
        torch.tensor(maps.frame.to_unit(inside), dtype=torch.float32).view(1, -1, 1, 2) * 2 - 1,
        align_corners=False,
    )[0, :, :, 0].T
    np.testing.assert_allclose(read.numpy(), inside, atol=0.05)
    np.testing.assert_allclose(dense.at(inside).numpy(), torch.nn.functional.normalize(read, dim=1).numpy(), atol=0.02)


def test_points_outside_and_unknown_taps_are_refused():
    maps = ramp(Frame((100, 300), (64, 192)), (8, 24))
    for points in ([(301, 5)], [(float("nan"), 5)], [], [(1, 2, 3)]):
        with pytest.raises(BadInput):
            maps.at(points)
    with pytest.raises(BadInput, match="hold xy"):
        maps["up1"]


def test_dense_normalises_each_tap_before_joining():
    frame = Frame((64, 64), (64, 64))
    maps = {"loud": torch.randn(1, 4, 4, 4) * 100, "soft": torch.randn(1, 6, 8, 8)}
    both = FeatureMaps(maps, {"loud": Tap("loud", 4, 16, ""), "soft": Tap("soft", 6, 8, "")}, frame).dense()
    assert both.shape == (1, 10, 8, 8)
    torch.testing.assert_close(both[:, :4].norm(dim=1), torch.ones(1, 8, 8))
    torch.testing.assert_close(both[:, 4:].norm(dim=1), torch.ones(1, 8, 8))


def test_a_file_brings_everything_back(tmp_path):
    taps = {"up1": Tap("up1", 3, 16, "up_blocks.1", members=("a", "b"))}
    maps = FeatureMaps(
        {"up1": torch.randn(1, 3, 2, 4).to(torch.bfloat16)},
        taps,
        Frame((40, 80), (32, 64)),
        Recipe(prompt='a "café"\n', timestep=7),
        "a b.jpg",
        ("", "café ", ""),
    )
    again = FeatureMaps.open(maps.save(tmp_path / "deep" / "f.safetensors"))
    assert torch.equal(again["up1"], maps["up1"])
    assert (again.taps, again.frame, again.recipe, again.name, again.words) == (
        taps,
        maps.frame,
        maps.recipe,
        maps.name,
        maps.words,
    )
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["f.safetensors"]


def test_a_file_cut_short_is_refused(tmp_path):
    maps = ramp(Frame((64, 64), (64, 64)), (4, 4))
    path = maps.save(tmp_path / "f.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadInput, match="not a whole file"):
        FeatureMaps.open(path)
    with pytest.raises(BadInput):
        FeatureMaps.open(tmp_path / "none.safetensors")


def test_a_bucket_stacks_its_readings():
    maps = ramp(Frame((64, 64), (64, 64)), (4, 4))
    assert Bucket((maps, maps, maps)).stack("xy").shape == (3, 1, 2, 4, 4)
