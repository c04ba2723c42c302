"""Features that are not finite are said in one line: a warning in Python, a line on stderr in the command."""

from __future__ import annotations

import warnings

import pytest
import torch

import shiftless
from shiftless.backbones.sd import StableDiffusion
from shiftless.reading.finite import NotFiniteWarning


@pytest.fixture
def broken(monkeypatch):
    denoise = StableDiffusion.denoise

    def with_nan(self, *arguments, **options):
        read = denoise(self, *arguments, **options)
        read.maps["up1"][..., 0, 0] = float("nan")
        return read

    monkeypatch.setattr(StableDiffusion, "denoise", with_nan)


def test_one_warning_names_the_photo_and_the_tap(broken):
    with pytest.warns(NotFiniteWarning, match=r"image: values that are not finite in up1, and perhaps") as caught:
        shiftless.extract("twin:sd15", torch.zeros(3, 3, 64, 64), shiftless.Recipe(taps=("up1", "up2")), batch=1)
    assert len([one for one in caught if one.category is NotFiniteWarning]) == 1


def test_finite_features_are_read_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotFiniteWarning)
        shiftless.extract("twin:sd15", torch.zeros(3, 64, 64))
