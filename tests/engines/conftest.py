"""Photos for several workers, what one process reads of them, and a job for the same."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.engines.job import Job
from shiftless.engines.portions import with_ends
from shiftless.store.extraction import extract_into
from shiftless.store.target import target_of
from tests import forked  # noqa: F401  # processes start from one that has imported what they need
from tests.workers import BATCH, RECIPES, maps_of


@pytest.fixture(scope="session")
def given(tmp_path_factory):
    """Eleven photos of two shapes, one of them damaged, and what one process reads of them into a store."""
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for i in range(11):
        pixels = np.random.default_rng(i).integers(0, 256, (64 if i % 3 else 32, 64, 3), dtype=np.uint8)
        paths.append(folder / f"{i:02}.png")
        Image.fromarray(pixels).save(paths[-1])
    paths[4].write_bytes(paths[4].read_bytes()[:200])
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    out = folder / "alone.zarr"
    with target_of(str(out), model, RECIPES, shard=3) as target:
        result = extract_into(target, model, with_ends(paths, BATCH, len(paths)), RECIPES, batch=BATCH)
    return SimpleNamespace(model=model, paths=paths, result=result, maps=maps_of(out))


@pytest.fixture
def job(tmp_path):
    """Read by the same model and recipes into a store of its own."""
    return Job(str(tmp_path / "a.zarr"), "", RECIPES, BATCH, "twin:sd15", "cpu", "fp32", shard=3, threads=1, cores=1)
