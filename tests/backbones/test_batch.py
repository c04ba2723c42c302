"""The default batch follows the device's memory, the precision and the size of the photos."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import shiftless
from shiftless.backbones import batch
from shiftless.backbones.batch import default_batch, memory_of
from shiftless.reading.loop import check
from shiftless.recipe import Recipe

GIB = 2**30


@pytest.mark.parametrize(
    ("kind", "memory", "dtype", "size", "expected"),
    [("cpu", 8, torch.float32, 512, 4), ("cpu", 24, torch.float32, 512, 8), ("cpu", 24, torch.bfloat16, 512, 16),
     ("cpu", 4, torch.float32, 1024, 1), ("cpu", 64, torch.float32, 128, 16), ("cuda", 8, torch.float16, 512, 8),
     ("cuda", 80, torch.bfloat16, 512, 64), ("cuda", 24, torch.bfloat16, 1024, 4), ("mps", 16, torch.float16, 512, 16)],
)  # fmt: skip
def test_a_quarter_of_the_memory_is_filled(monkeypatch, kind, memory, dtype, size, expected):
    monkeypatch.setattr(batch, "_main_memory", lambda: memory * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=memory * GIB))
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: memory * GIB)
    assert default_batch(torch.device(kind), dtype, size) == expected


def test_a_container_s_limit_counts(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(batch, "_CGROUP", limit)
    whole = memory_of(torch.device("cpu"))
    for text, expected in (("max\n", whole), (f"{GIB}\n", min(GIB, whole)), ("", whole)):
        limit.write_text(text)
        batch._main_memory.cache_clear()
        assert batch._main_memory() == expected
    batch._main_memory.cache_clear()


def test_the_largest_size_of_the_recipes_decides_and_a_batch_that_is_given_is_kept(monkeypatch):
    model = shiftless.load("twin:sd15", dtype="fp32")
    monkeypatch.setattr(batch, "_main_memory", lambda: 8 * GIB)
    assert check(model, [Recipe(size=128), Recipe(size=512)], None) == 4
    assert check(model, [Recipe(size=512)], 3) == 3
    picture = np.zeros((64, 64, 3), np.uint8)
    one, other = (shiftless.extract(model, picture, Recipe(), batch=n)["up1"] for n in (None, 1))
    assert torch.equal(one, other)
