"""What counts as available can be read: nothing dies half way for want of a part."""

from __future__ import annotations

import numpy as np
import pytest

import shiftless
from shiftless import BadInput, Recipe
from shiftless.backbones.twin_controls import twin_control
from shiftless.conditions.depth import ESTIMATORS
from shiftless.reading.available import available


def test_depth_is_available_with_a_depth_model_only(monkeypatch, tmp_path):
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32", size=64)
    twin_control(model.unet, 8).save_pretrained(tmp_path / "depth")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("shiftless.conditions.depth.fetched", lambda _: None)
    monkeypatch.delenv("SHIFTLESS_DEPTH", raising=False)
    recipe = Recipe(control=(f"depth={tmp_path / 'depth'}",))
    assert available(model, {"depth": recipe, "plain": Recipe()}) == {"plain": Recipe()}
    opened = []
    with pytest.raises(BadInput, match=f"needs a depth model.*shiftless fetch {ESTIMATORS[0]}"):
        list(shiftless.stream(model, (opened.append(i) or np.zeros((64, 64, 3), np.uint8) for i in range(2)), recipe))
    assert opened == []
