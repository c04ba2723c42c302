"""What every test shares: one thread, repeatable hypothesis, a picture and the goldens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # the tests run side by side, one a core
settings.register_profile("shiftless", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("shiftless")


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
