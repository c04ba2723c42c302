"""Scores of a model that is tuned with a head: of what lies in the folder, once for each seed, and the model stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shiftless.backbones.registry import load
from shiftless.bench.tuned import tuned_scores
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.reading.together import Reader
from shiftless.recipe import Recipe
from shiftless.tasks.scenehead import SceneHead
from shiftless.training.scenes import _Training
from shiftless.training.scenesettings import SceneSettings
from shiftless.training.scenesource import ReadScenes
from shiftless.tuning import TuneSettings, as_tuned, tuned_for
from tests.training.scenedata import CLASSES, scene

RECIPE = Recipe(timestep=1, noise="none", latent="unscaled", taps=("up1.attn1", "both.cross.map.s16"), size=64)
SETTINGS = SceneSettings(steps=1, batch=1, side=64, every=1, lr=1e-2, scales=(1.0, 1.0), colour=False, lovasz=0.0)
TUNE = TuneSettings("unet", "classes", checkpointing=False)


@pytest.fixture(scope="module")
def model():
    return load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def photos():
    photos = [LabelledPhoto(one.name, one.photo, one.name, one.values, len(CLASSES)) for one in map(scene, range(2))]
    return LabelledPhotos(tuple(photos), CLASSES, np.zeros((3, 3), np.uint8))


@pytest.fixture(scope="module")
def scored(model, photos, tmp_path_factory):
    folder, before = tmp_path_factory.mktemp("heads"), model.fingerprint
    reader = Reader(model, (RECIPE,))
    options = {"seeds": 2, "decoder": "linear", "validation": photos[1:]}
    counted = tuned_scores(reader, photos[:1], photos, folder, SETTINGS, TUNE, **options)
    assert model.fingerprint == before
    return counted, folder, reader, options


def test_the_scores_are_those_of_the_files_beside_each_head(scored, model, photos):
    counted, folder, _, _ = scored
    assert [sorted(one) for one in counted] == [[0, 1], [0, 1]]
    places = sorted(folder.iterdir())
    assert len(places) == 2
    assert all({one.name for one in place.iterdir()} >= {"unet.safetensors", "prompts.safetensors"} for place in places)
    own = load("twin:sd15", device="cpu", dtype="fp32")
    head = SceneHead.from_pretrained(places[0])
    source = ReadScenes(Reader(tuned_for(head, places[0], own), (RECIPE,)), photos, 3, 64)
    found = [one.counts.tolist() for one in source.score(head)]
    assert found in [[one[i].counts.tolist() for i in (0, 1)] for one in counted]


def test_what_lies_there_is_not_trained_again(scored, photos, monkeypatch):
    counted, folder, reader, options = scored

    def none(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(_Training, "learn", none)
    again = tuned_scores(reader, photos[:1], photos, folder, SETTINGS, TUNE, **options)
    assert [one[0].counts.tolist() for one in again] == [one[0].counts.tolist() for one in counted]
    with pytest.raises(AssertionError, match="trained again"):
        tuned_scores(reader, photos[1:], photos, folder, SETTINGS, TUNE, **options)


def test_a_model_reads_as_it_was_tuned_only_inside_the_with(scored, model):
    _, folder, _, _ = scored
    place = min(folder.iterdir())
    head, own = SceneHead.from_pretrained(place), model.denoiser.conv_in.weight
    with as_tuned(head, place, model) as tuned:
        inside = tuned.denoiser.conv_in.weight
        assert tuned.fingerprint == head.source.fingerprint
        assert not torch.equal(inside, own)
    assert model.denoiser.conv_in.weight is own
