"""The one loop: shapes in and out, batches that give what single images give, work done once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import shiftless
from shiftless import BadInput, Recipe
from shiftless.reading import stream

RNG = np.random.default_rng(5)
PICTURES = [
    RNG.integers(0, 256, hw + (3,), dtype=np.uint8) for hw in ((64, 64), (90, 160), (64, 64), (161, 90), (77, 77))
]


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module", params=["mean", "sample"])
def each(model, request):
    """Two recipes, and what they give of each picture alone."""
    recipes = [
        Recipe(taps=("up1", "up2"), latent=request.param, ensemble=2),
        Recipe(taps=("mid",), timestep=300, latent=request.param),
    ]
    return recipes, [shiftless.extract(model, picture, recipes) for picture in PICTURES]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batches_give_what_single_images_give(model, batch, each):
    recipes, alone = each
    together = shiftless.extract(model, PICTURES, recipes, batch=batch)
    for one, other in zip(alone, together):
        for a, b in zip(one, other):
            for tap in a:
                torch.testing.assert_close(a[tap], b[tap], atol=2e-5, rtol=1e-4)


def test_what_comes_out_mirrors_what_goes_in(model):
    recipe = Recipe()
    assert isinstance(shiftless.extract(model, PICTURES[0], recipe), shiftless.FeatureMaps)
    assert isinstance(shiftless.extract(model, PICTURES[0], [recipe]), shiftless.Bucket)
    many = shiftless.extract(model, PICTURES[:2], [recipe, recipe.but(seed=1)])
    assert [type(item) for item in many] == [shiftless.Bucket] * 2
    assert many[0].stack("up1").shape == (2, 1, 64, 8, 8)
    assert not torch.equal(many[0][0]["up1"], many[0][1]["up1"])


def test_an_ensemble_is_the_mean_of_its_members_noise(model):
    members = shiftless.extract(model, PICTURES[0], [Recipe(ensemble=k) for k in (1, 2, 3)])
    second = 2 * members[1]["up1"] - members[0]["up1"]
    third = 3 * members[2]["up1"] - 2 * members[1]["up1"]
    assert not torch.allclose(second, members[0]["up1"], atol=1e-3)
    assert not torch.allclose(second, third, atol=1e-3)


def test_each_image_and_prompt_is_encoded_once(model, monkeypatch):
    encoded = []
    own = model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda pixels, **k: encoded.append(len(pixels)) or own(pixels, **k))
    recipes = [Recipe(ensemble=4), Recipe(seed=1, prompt="a horse"), Recipe(timestep=200), Recipe(taps=("up2",))]
    shiftless.extract(model, PICTURES[:1], recipes)
    assert encoded == [1]
    encoded.clear()
    shiftless.extract(model, PICTURES[0], Recipe(ensemble=4, latent="sample"))
    assert encoded == [1]


def test_samples_of_several_seeds_readings_and_photos_are_drawn_from_one_encoding(model, monkeypatch):
    encoded = []
    own = model.encode_image
    recipes = [
        Recipe(taps=("up0",), latent="sample"), Recipe(taps=("mid",), latent="sample", seed=1, ensemble=2),
        Recipe(taps=("mid",), timestep=100, latent="sample", seed=2),
    ]  # fmt: skip
    alone = [shiftless.extract(model, PICTURES[i], recipe) for i in (0, 2) for recipe in recipes]
    monkeypatch.setattr(model, "encode_image", lambda pixels, **k: encoded.append(len(pixels)) or own(pixels, **k))
    together = shiftless.extract(model, [PICTURES[0], PICTURES[2]], recipes, batch=2)
    assert encoded == [2]
    for one, other in zip(alone, [maps for bucket in together for maps in bucket], strict=True):
        for tap in one:
            torch.testing.assert_close(one[tap], other[tap], atol=2e-5, rtol=1e-4)


def test_rows_share_batches_across_images_recipes_and_ensemble(model, monkeypatch):
    sizes = []
    own = model.denoise
    monkeypatch.setattr(model, "denoise", lambda latent, *a, **k: sizes.append(len(latent)) or own(latent, *a, **k))
    shiftless.extract(model, [PICTURES[0], PICTURES[2]], [Recipe(ensemble=2), Recipe(seed=3, prompt="a cow")], batch=8)
    assert sizes == [6]


def test_the_noise_follows_the_content_not_the_place(model):
    first, again, other = shiftless.extract(model, [PICTURES[0], PICTURES[0].copy(), PICTURES[2]], Recipe())
    torch.testing.assert_close(first["up1"], again["up1"], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(first["up1"], other["up1"], atol=1e-3)


def test_a_non_square_image_has_its_true_grid_and_aligned_coordinates(model):
    maps = shiftless.extract(model, PICTURES[1], Recipe(size=256))
    assert maps.frame.fed == (128, 256)
    assert maps["up1"].shape[-2:] == (8, 16)
    squashed = shiftless.extract(model, PICTURES[1], Recipe(size=256, fit="squash"))
    assert squashed["up1"].shape[-2:] == (16, 16)


def test_more_noise_moves_features_further_from_the_least_noisy(model):
    maps = shiftless.extract(model, PICTURES[0], [Recipe(timestep=t) for t in (0, 100, 400, 900)])
    distances = [float((m["up1"] - maps[0]["up1"]).norm()) for m in maps]
    assert distances == sorted(distances)


def test_a_bad_image_is_named_and_the_others_are_read(model, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(PICTURES[0]).save(good)
    bad.write_bytes(good.read_bytes()[:200])
    skipped: list[str] = []
    read = list(stream(model, [bad, good, tmp_path / "none.png"], Recipe(), skipped=skipped))
    assert [maps.name for maps in read] == [str(good)]
    assert len(skipped) == 2
    assert "bad.png" in skipped[0]
    with pytest.raises(BadInput, match=r"bad\.png"):
        list(stream(model, [bad], Recipe()))


def test_streaming_holds_one_window(model):
    taken = []

    def images():
        for i in range(6):
            taken.append(i)
            yield PICTURES[0]

    reading = stream(model, images(), Recipe(), batch=2)
    next(reading)
    assert taken == [0, 1]
    assert len(list(reading)) == 5


@pytest.mark.parametrize(
    "wrong", [{"recipes": []}, {"recipes": Recipe(), "batch": 0}, {"recipes": Recipe(taps=("nope",))}]
)
def test_bad_arguments(model, wrong):
    with pytest.raises(BadInput):
        shiftless.extract(model, PICTURES[0], **wrong)
