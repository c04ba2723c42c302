from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import shiftless
from miniworld.tables.sweep import default_taps, sweep_pairs
from shiftless.backbones.registry import load
from shiftless.data.photopair import PhotoPair
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.metrics.pck import pooled
from shiftless.recipe import Recipe


@pytest.fixture(scope="module")
def model():
    return load("twin:sd15", size=64)


@pytest.fixture(scope="module")
def swept(model):
    rng = np.random.default_rng(0)
    photos = [open_photo(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), name=f"p{i}") for i in range(3)]
    points = [8 + 48 * rng.random((4, 2)) for _ in photos]
    # Each photo against itself, and one against another: fine taps find points again that a 1 x 1 map cannot.
    pairs = [PhotoPair(p, p, at, at, p.hw, p.hw, (8, 8, 56, 56), "x", p.name) for p, at in zip(photos, points)]
    pairs.append(PhotoPair(photos[0], photos[1], points[0], points[1], (64, 64), (64, 64), (8, 8, 56, 56), "x", "01"))
    return sweep_pairs(
        "sweep", model, pairs, timesteps=(1, 900), taps=[["mid"], ["up3"], ["up2", "up3"]], progress=False
    )


def test_scores_every_timestep_and_choice_and_picks_the_highest(swept):
    assert list(swept.scores) == [(t, name) for t in (1, 900) for name in ("mid", "up3", "up2+up3")]
    values = {key: pooled(s.bbox, s.totals) for key, s in swept.scores.items()}
    best = (swept.best.timestep, "+".join(swept.best.taps))
    assert values[best] == max(values.values()) > values[1, "mid"]
    assert swept.best.taps != ("mid",)
    assert swept.table.value(f"baseline: t={best[0]} {best[1]}", "PCK@0.1 bbox") == pytest.approx(values[best])
    assert len(swept.table.rows) == 2 * (1 + 6)


def test_best_is_a_recipe_that_reads_what_was_scored(swept, model):
    maps = shiftless.extract(model, np.zeros((64, 64, 3), np.uint8), swept.best)
    assert list(maps) == list(swept.best.taps)


def test_writes_prints_and_draws(swept, tmp_path):
    rows = json.loads(swept.write(tmp_path / "sweep.json").read_text())["rows"]
    assert {row["metric"] for row in rows} == {"PCK@0.1 img", "PCK@0.1 bbox"}
    console = Console(record=True, width=80, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(swept)
    assert "900" in console.export_text()
    pytest.importorskip("matplotlib")
    with Image.open(swept.draw(tmp_path / "sweep.png")) as picture:
        picture.load()
        assert min(picture.size) > 400
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100
    with pytest.raises(BadInput, match=r"\.png, \.pdf, \.svg"):
        swept.draw(tmp_path / "sweep.bmp")


def test_by_default_mid_each_up_block_neighbours_and_all(model):
    names = ["+".join(taps) for taps in default_taps(model)]
    assert names == ["mid", "up0", "up1", "up2", "up3", "up0+up1", "up1+up2", "up2+up3", "up0+up1+up2+up3"]


def test_bad_input(model):
    with pytest.raises(BadInput, match="metric"):
        sweep_pairs("s", model, [], metric="mIoU")
    with pytest.raises(BadInput, match="timestep"):
        sweep_pairs("s", model, [], timesteps=())
    with pytest.raises(BadInput, match="up7"):
        sweep_pairs("s", model, [], taps=[["up7"]])


def test_timesteps_that_a_walk_cannot_lead_to_are_left_out_and_named(model, capsys):
    photo = open_photo(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8), name="p")
    at = np.array([[20.0, 20.0], [40.0, 30.0]])
    pairs = [PhotoPair(photo, photo, at, at, (64, 64), (64, 64), (8, 8, 56, 56), "x", "0")]
    walked = Recipe(control="canny", start=340, steps=1, timestep=100)
    result = sweep_pairs("sweep", model, pairs, walked, timesteps=(1, 300, 400, 800), taps=[["up3"]], progress=False)
    assert sorted({t for t, _ in result.scores}) == [1, 300]
    line = "left out: t = 400, 800 (start=340 with timestep=400: denoising leads from a larger timestep"
    assert capsys.readouterr().err.startswith(line)
    assert result.table.notes[-1].startswith(line)
    with pytest.raises(BadInput, match="start=340 with timestep=400"):
        sweep_pairs("sweep", model, pairs, walked, timesteps=(400, 800), taps=[["up3"]])
