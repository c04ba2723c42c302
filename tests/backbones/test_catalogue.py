"""Lists of models and taps agree with what loads and with what a loaded model has."""

from __future__ import annotations

import pytest

import shiftless
from shiftless.backbones import catalogue
from shiftless.backbones.registry import models
from shiftless.mini import weights


def test_every_known_model_is_listed():
    assert shiftless.list_models() == ["mini", *models()]


def test_only_what_is_on_the_machine(monkeypatch):
    def find(name):
        if name in ("mini", "sd14"):
            return weights()
        raise shiftless.BadInput("not here")

    monkeypatch.setattr(catalogue, "find", find)
    assert shiftless.list_models(available=True) == ["mini", "sd14"]


@pytest.mark.parametrize("name", ["mini", "twin:sd21"])
def test_taps_are_those_of_the_loaded_model(name):
    listed, loaded = shiftless.list_taps(name), shiftless.load(name).taps
    assert listed == [tap for tap in loaded if tap.kind != "heads"]
    assert {tap.kind for tap in shiftless.list_taps(name, "up*.cross.map.heads")} == {"heads"}


def test_a_model_that_is_not_here_has_taps_and_mistakes_are_helped():
    assert [tap.channels for tap in shiftless.list_taps("sd15", "up1")] == [1280]
    with pytest.raises(shiftless.BadInput, match="nearest"):
        shiftless.list_taps("sd15", "upp1")
    with pytest.raises(shiftless.BadInput, match="no such model"):
        shiftless.list_taps("sd99")
