"""The calls that are foreseen are those that the denoiser gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shiftless.backbones.base import Reading
from shiftless.backbones.registry import load
from shiftless.reading import extract
from shiftless.reading.counted import Counted, calls
from shiftless.recipe import Recipe


@pytest.fixture(scope="module")
def twin():
    return load("twin:sd15", dtype="fp32", size=64)


@pytest.fixture
def quick(twin, monkeypatch):
    """The twin, whose denoiser answers at once: what it answers is of no account to the number of calls."""

    def answer(latent, timestep, condition, taps=(), *, full=False):
        maps = {tap.name: torch.rand(len(latent), tap.channels, 64 // tap.stride, 64 // tap.stride) for tap in taps}
        return Reading(maps, None if taps and not full else latent)

    monkeypatch.setattr(twin, "denoise", answer)
    return twin


STEPPED = [Recipe(timestep=t, noise="invert", steps=t // 20 or None) for t in (0, 40, 100, 200)]


@pytest.mark.parametrize(
    ("recipes", "expected"),
    [
        ([Recipe(timestep=t) for t in (50, 100)], 2),
        ([Recipe(), Recipe(taps=("up2",)), Recipe(prompt="a horse"), Recipe(seed=1, ensemble=3)], 5),
        ([Recipe(start=60), Recipe(start=60, steps=5), Recipe(control="canny")], 11 + 6 + 1),
        ([Recipe(start=60, scheduler="pndm-reference")], 12),
        (STEPPED, 10 + 4),
        ([Recipe(timestep=30, noise="invert"), Recipe(timestep=20, noise="invert", steps=2)], 31 + 3),
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_foreseen_calls_are_made(quick, recipes, expected, batch):
    photos = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(2)]
    rows: list[int] = []
    extract(Counted(quick, rows.append), photos, recipes, batch=batch)
    assert calls(recipes) == expected
    assert sum(rows) == expected * len(photos)


def test_a_counted_model_reads_the_same_numbers(twin):
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    recipe = Recipe(control="canny", start=60, steps=2)
    ours, theirs = extract(Counted(twin, int), photo, recipe), extract(twin, photo, recipe)
    assert (ours["up1"] == theirs["up1"]).all()
