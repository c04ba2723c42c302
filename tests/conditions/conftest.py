"""The model that LoRA files are tried on, and its prediction."""

from __future__ import annotations

import pytest
import torch

import shiftless
from tests.conditions.lora_writers import parts_of, read


@pytest.fixture(scope="module")
def twin():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def reading(twin):
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[(7 * i) % 500 for i in range(32)]])
    return lambda parts=None: read(parts or parts_of(twin), latent, ids)
