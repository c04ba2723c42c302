"""What every test shares: one thread, repeatable hypothesis, a picture and the goldens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # the tests run side by side, one a core
settings.register_profile("shiftless", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("shiftless")


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

        monkeypatch.setattr("shiftless.reading.latents.noise_for", saved)

    return use
