"""Predictions: a model that knows the noise predicts the picture itself, and steering reaches what is predicted."""

from __future__ import annotations

import numpy as np
import torch

import shiftless
from shiftless import Recipe
from shiftless.backbones.base import Reading
from shiftless.backbones.walk import finish
from shiftless.noise import noise_for
from shiftless.reading.predicted import predict_latents, predictions

PICTURES = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(3)]


def test_a_model_that_knows_the_noise_believes_in_the_picture(monkeypatch):
    from shiftless.image import open_photo

    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    noises = torch.stack([noise_for(open_photo(p).digest, 0, 0, (4, 16, 16)) for p in PICTURES])
    place = {}

    def knowing(latent, timestep, condition, taps=(), **_):
        rows = slice(place.get(timestep, 0), place.get(timestep, 0) + len(latent))
        place[timestep] = rows.stop
        return Reading({}, noises[rows])

    monkeypatch.setattr(model, "denoise", knowing)
    clean, result = predict_latents(
        model, PICTURES, [Recipe(timestep=300), Recipe(timestep=200, start=240, steps=1)], batch=8
    )
    for truth, predicted in zip(clean, result):
        for prediction in predicted:
            torch.testing.assert_close(prediction, truth, atol=1e-4, rtol=1e-4)


def test_predictions_follow_steering_and_do_not_depend_on_the_batch(goldens):
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    lora = str(goldens / "tiny-lora" / "pytorch_lora_weights.safetensors")
    recipes = [Recipe(timestep=300, **more) for more in ({}, {"prompt": "a cow"}, {"control": "canny"}, {"lora": lora})]
    clean, result = predict_latents(model, PICTURES, recipes, batch=2)
    again, alone = predict_latents(model, PICTURES[2:], recipes[2:3], batch=1)
    torch.testing.assert_close(again[0], clean[2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone[0][0], result[2][2], atol=2e-4, rtol=1e-4)
    for i in range(len(recipes)):
        for j in range(i):
            assert not torch.allclose(result[0][i], result[0][j], atol=1e-5)


def test_an_ensemble_s_prediction_and_features_are_means_over_all_of_its_draws():
    from shiftless.image import Frame, open_photo, to_pixels

    model, recipe = shiftless.load("twin:sd15", device="cpu", dtype="fp32"), Recipe(timestep=300, size=64, ensemble=3)
    result = next(predictions(model, PICTURES[:1], [recipe], finish=2, maps=True))[0]
    photo, nothing = open_photo(PICTURES[0]), model.encode_prompt([""])
    clean = model.encode_image(to_pixels(photo, Frame(photo.hw, (64, 64))))
    once, ends = [], []
    for member in range(3):
        noisy = model.schedule.add(clean, noise_for(photo.digest, 0, member, tuple(clean.shape[1:]))[None], 300)
        once.append(model.predict_clean(noisy, model.denoise(noisy, 300, nothing).prediction, 300))
        ends.append(finish(model, noisy, 300, 2, nothing))
    torch.testing.assert_close(result.once, sum(once) / 3)
    torch.testing.assert_close(result.finished, sum(ends) / 3)
    torch.testing.assert_close(result.clean, clean)
    assert torch.equal(result.maps["up1"], shiftless.extract(model, PICTURES[0], recipe)["up1"])
    assert not torch.allclose(result.once, once[0], atol=1e-2)
