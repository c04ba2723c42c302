"""What becomes of the mean over noise draws: channels are discarded, then it is normed and modulated, as DiTF does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import LayerNorm

import shiftless
from shiftless import BadInput, Recipe, progress
from shiftless.reading.available import available
from shiftless.reading.counted import Counted, calls
from shiftless.reading.predicted import predictions

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
OTHER = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
INPUT = Recipe(timestep=260, taps="single1.in", prompt="a horse", ensemble=3)
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:flux-dev", device="cpu", dtype="fp32")


@pytest.fixture
def massive(model):
    """Make channels 5 and 40 of the single blocks' input massive in every cell, as 154 and 1446 of Flux-dev are."""
    bias = model.denoiser.transformer_blocks[1].ff.net[2].bias
    kept = bias.data.clone()
    bias.data[[5, 40]] += torch.tensor([3e6, -3e6])
    yield
    bias.data = kept


def by_hand(model, raw, channels, recipe=INPUT):
    """DiTF's steps, written out, with a hook of their own on the block's linear layer."""
    kept = {}
    linear = model.denoiser.single_transformer_blocks[1].norm.linear
    handle = linear.register_forward_hook(lambda _module, _args, output: kept.update(embedding=output[0]))
    shiftless.extract(model, PICTURE, recipe.but(ensemble=1, taps="single1"))
    handle.remove()
    shift, scale, _ = kept["embedding"].chunk(3)
    x = raw.clone()
    x[:, channels] = 0
    tokens = LayerNorm(x.shape[1], eps=1e-6, elementwise_affine=False)(x.flatten(2).transpose(1, 2))
    return ((1 + scale) * tokens + shift).transpose(1, 2).unflatten(2, x.shape[2:])


def test_the_mean_is_discarded_from_then_normed_and_modulated(model):
    raw, ours, fewer = shiftless.extract(
        model, PICTURE, [INPUT, INPUT.but(modulate=True), INPUT.but(modulate=True, discard=(7, 30))]
    )
    torch.testing.assert_close(ours["single1.in"], by_hand(model, raw["single1.in"], []), **CLOSE)
    torch.testing.assert_close(fewer["single1.in"], by_hand(model, raw["single1.in"], [7, 30]), **CLOSE)
    mean = shiftless.extract(model, PICTURE, INPUT.but(taps="single1.modulated"))["single1.modulated"]
    assert (ours["single1.in"] - mean).abs().max() > 1e-3  # the norm of a mean is not the mean of norms


def test_one_draw_modulated_is_the_modulated_tap(model):
    recipe = INPUT.but(ensemble=1, taps=("double1.in", "single0.in"), modulate=True)
    ours = shiftless.extract(model, PICTURE, recipe)
    taps = shiftless.extract(model, PICTURE, INPUT.but(ensemble=1, taps=("double1.modulated", "single0.modulated")))
    for one, other in zip(ours, taps):
        torch.testing.assert_close(ours[one], taps[other], **CLOSE)
    assert list(ours) == ["double1.in", "single0.in"]


def test_recipes_that_differ_in_what_becomes_of_the_mean_share_every_pass(model):
    recipes = [INPUT, INPUT.but(modulate=True), INPUT.but(discard=3), INPUT.but(modulate=True, discard="auto")]
    assert calls(recipes) == calls([INPUT]) == 3
    rows = []
    together = shiftless.extract(Counted(model, rows.append), PICTURE, recipes)
    assert sum(rows) == 3
    alone = [shiftless.extract(model, PICTURE, one)["single1.in"] for one in recipes]
    for maps, other in zip(together, alone):
        torch.testing.assert_close(maps["single1.in"], other, **CLOSE)
    assert len({one.key() for one in recipes}) == 4
    assert not torch.equal(alone[0], alone[1])


def test_discarded_channels_are_zero_and_the_others_as_they_were():
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    plain, ours = shiftless.extract(model, PICTURE, [Recipe(), Recipe(discard=(3, 63))])
    others = [c for c in range(64) if c not in (3, 63)]
    assert not ours["up1"][:, [3, 63]].any()
    assert torch.equal(ours["up1"][:, others], plain["up1"][:, others])


def test_massive_channels_are_found_in_each_image_alone_and_named(model, massive, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_verbosity", progress.VERBOSE)
    recipe = INPUT.but(ensemble=1, discard="auto", modulate=True)
    alone = shiftless.extract(model, PICTURE, recipe)["single1.in"]
    told = [line for line in capsys.readouterr().err.splitlines() if "massive" in line]
    assert [line.partition("massive channels ")[2] for line in told] == ["5, 40, of 48"]
    together = shiftless.extract(model, [OTHER, PICTURE, PICTURE[::-1].copy()], recipe, batch=3)
    torch.testing.assert_close(together[1]["single1.in"], alone, atol=1e-4, rtol=1e-4)
    named = shiftless.extract(model, PICTURE, recipe.but(discard=(5, 40)))["single1.in"]
    assert torch.equal(named, alone)


def test_an_audit_reads_the_same_maps(model):
    recipe = INPUT.but(ensemble=2, modulate=True, discard=1)
    read = next(predictions(model, [PICTURE], [recipe, recipe.but(modulate=False)], maps=True))
    for one in read:
        assert list(one.maps) == ["single1.in"]
    ours = shiftless.extract(model, PICTURE, recipe)["single1.in"]
    torch.testing.assert_close(read[0].maps["single1.in"], ours, **CLOSE)
    assert not read[1].maps["single1.in"][:, 1].any()


def test_half_precision_keeps_its_dtype():
    model = shiftless.load("twin:flux-dev", device="cpu", dtype="bf16")
    recipe = INPUT.but(ensemble=1, modulate=True)
    ours = shiftless.extract(model, PICTURE, recipe, dtype=None)["single1.in"]
    tap = shiftless.extract(model, PICTURE, recipe.but(modulate=False, taps="single1.modulated"), dtype=None)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours, tap["single1.modulated"], atol=0.1, rtol=0.05)


@pytest.mark.parametrize(
    ("name", "recipe", "message"),
    [
        ("flux-dev", Recipe(taps="single1", modulate=True), "tap single1 is not the input of a block"),
        ("flux-dev", Recipe(taps="single1.in", discard=48), "discard=48: tap single1.in has 48 channels, 0 to 47"),
        ("flux-dev", Recipe(taps="single1.cross.map", discard=0), "tap single1.cross.map is a map of attention"),
        ("flux-dev", Recipe(taps="single1.cross.map:a", prompt="a", discard="auto"), "is a map of attention"),
        (
            "sd15",
            Recipe(modulate=True),
            "tap up1 is not the input of a block with AdaLN (a layer norm, then a scale and a shift); this",
        ),
        ("sd15", Recipe(taps=("up1", "up.cross.map.s16"), discard="auto"), "up.cross.map.s16 is a map of attention"),
        ("z-image", Recipe(taps="block1.in", modulate=True), "this model has none, leave it out"),
        ("dinov2-s", Recipe(taps="last", modulate=True), "this model has none, leave it out"),
        ("dinov2-s", Recipe(taps="last", discard=10**6), "discard=1000000: tap last has"),
    ],
    ids=str,
)
def test_what_cannot_be_modulated_or_discarded_is_one_line(name, recipe, message):
    model = shiftless.load(f"twin:{name}", device="cpu", dtype="fp32")
    with pytest.raises(BadInput) as raised:
        shiftless.extract(model, PICTURE, recipe)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"twin:{name}: ")
    assert "\n" not in str(raised.value)
    assert available(model, {"this": recipe}) == {}
