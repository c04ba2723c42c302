"""What every test shares: one thread, repeatable hypothesis, a picture, the goldens, and pairs whose
answer is known."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of threads that tests start; read when torch is imported

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings

from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap

torch.set_num_threads(1)  # the tests run side by side, one a core
settings.register_profile("shiftless", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("shiftless")
gc.set_threshold(20_000, 20, 20)  # networks are many small objects, and nearly all of them stay


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported: it stays, and is a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep captions that tests write away from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIFTLESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of what the reference implementations computed."""
    return Path(__file__).parent / "goldens"


@pytest.fixture(autouse=True)
def one_thread():
    """Give torch one thread again after a test that gave it more: two tests side by side would wait for each other."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def picture() -> np.ndarray:
    """A 24 x 40 RGB picture without any symmetry: coloured noise over a slope."""
    noise = np.random.default_rng(7).integers(0, 120, (24, 40, 3))
    slope = np.add.outer(np.arange(24) * 2, np.arange(40) * 2)[..., None]
    return (noise + slope).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny(goldens):
    """The tiny model that the reference implementations were run on, in fp32."""
    import shiftless

    return shiftless.load(goldens / "tiny-sd", device="cpu", dtype="fp32")


@pytest.fixture
def replay(monkeypatch):
    """Make the loop draw a golden's saved noise: row = image x members + member."""
    from shiftless.image import open_photo

    def use(golden: dict[str, torch.Tensor], images: Sequence[Path], members: int = 1) -> None:
        order = {open_photo(image).digest: i for i, image in enumerate(images)}

        def saved(digest: str, seed: int, member: int, shape: tuple[int, ...], stream: str = "diffusion"):
            name = {"diffusion": "noise", "posterior": "posterior_noise"}[stream]
            return golden[name][order[digest] * members + member].reshape(shape)

        monkeypatch.setattr("shiftless.reading.inputs.noise_for", saved)

    return use


CHANNELS, CELLS, PIXELS = 8, 8, 64
RECIPES = (Recipe(seed=0), Recipe(seed=1))


def field(seed: int, move: int = 0) -> torch.Tensor:
    coarse = torch.randn(1, CHANNELS, 6, 7, generator=torch.manual_seed(seed))
    wide = F.interpolate(coarse, (CELLS, CELLS + 3), mode="bicubic")
    return wide[..., 3 - move :][..., :CELLS]


def bucket(seed: int, move: int = 0, noise: float = 3.0) -> Bucket:
    """A true reading whose channels lie at +2, and one of noise around -2."""
    mess = torch.randn(1, CHANNELS, CELLS, CELLS, generator=torch.manual_seed(1000 + 2 * seed + (move > 0)))
    grids = (field(seed, move) + 2, noise * mess - 2)
    frame, tap = Frame((PIXELS, PIXELS), (PIXELS, PIXELS)), Tap("up1", CHANNELS, PIXELS // CELLS, "")
    maps = (FeatureMaps({"up1": grid}, {"up1": tap}, frame, r, f"p{seed}") for grid, r in zip(grids, RECIPES))
    return Bucket(tuple(maps))


def pairs(start: int, n: int, move: int = 2) -> list[tuple]:
    """Pairs whose target is the source moved to the right by so many cells."""
    result = []
    for seed in range(start, start + n):
        points = np.random.default_rng(seed).uniform([8, 8], [PIXELS - 8 * move - 8, PIXELS - 8], (6, 2))
        result.append((bucket(seed), bucket(seed, move), points, points + [8.0 * move, 0], (0, 0, 40, 40)))
    return result


@pytest.fixture(scope="session")
def known() -> SimpleNamespace:
    """The functions above, and the recipes and sizes that they use."""
    return SimpleNamespace(bucket=bucket, pairs=pairs, recipes=RECIPES, channels=CHANNELS, cells=CELLS)
