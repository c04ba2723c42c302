"""What every family promises, on a twin of each: taps as listed, early stops, batches, sizes, saving and loading."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import shiftless
from shiftless import BadInput
from shiftless.backbones.families import FAMILIES, family
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps
from shiftless.conditions.condition import join
from shiftless.taps.names import select

NAMES = {of: next(name for name, row in models().items() if row["family"] == of) for of in FAMILIES}
SIZE = (64, 128)  # of an image, h w
LABELS = ("281", "207")  # what is asked of a model whose prompt is a class
MODULATED = {"sd3", "flux", "flux2", "flux2-dev", "qwen-image", "pixart", "sana", "hunyuan-dit", "dit"}
EXACT = {"atol": 1e-5, "rtol": 1e-4}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return shiftless.load(f"twin:{NAMES[request.param]}", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def latent(model):
    pixels = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return model.encode_image(pixels)


@pytest.fixture(scope="module")
def condition(model):
    return join([model.encode_prompt([prompt], size=SIZE) for prompt in prompts(model)])


def prompts(model):
    """Two prompts that the model's family takes."""
    if model.spec.family == "dit":
        return LABELS
    return ("a photo of a horse", "a cow") if model.spec.takes_text else ("", "")


def test_every_family_has_a_row_and_lists_its_taps_without_weights():
    assert set(NAMES) == set(FAMILIES)
    for name in models():
        listed = taps(name)
        assert len({tap.name for tap in listed}) == len(listed) > 3, name
        assert all(tap.stride > 0 and tap.channels >= 0 for tap in listed)


def test_every_tap_has_the_channels_and_stride_it_claims(model, latent, condition):
    read = model.denoise(latent, 50, condition, model.taps).maps
    assert list(read) == [tap.name for tap in model.taps]
    for tap in model.taps:
        b, c, h, w = read[tap.name].shape
        assert (b, h * tap.stride, w * tap.stride) == (2, *SIZE), tap
        assert c == tap.channels or (tap.channels == 0 and tap.kind != "out"), tap
        assert torch.isfinite(read[tap.name]).all(), tap
        if tap.kind in ("map", "group") and not tap.block:
            torch.testing.assert_close(read[tap.name].sum(1), torch.ones(2, h, w), **EXACT)


def test_stopping_early_changes_nothing_and_reading_leaves_no_trace(model, latent, condition):
    plain = model.denoise(latent, 50, condition).prediction
    chosen = select(["*"], model.taps)
    full = model.denoise(latent, 50, condition, chosen, full=True)
    if model.spec.takes_noise:
        assert plain.shape == latent.shape
        assert torch.equal(full.prediction, plain)
    else:  # what takes no noise predicts nothing
        assert full.prediction is plain is None
    for tap in (chosen[0], chosen[len(chosen) // 2], chosen[-1]):
        early = model.denoise(latent, 50, condition, [tap])
        assert torch.equal(early.maps[tap.name], full.maps[tap.name])
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.denoiser.modules()]
    assert sum(hooks) == 0


def test_sizes_and_timesteps_that_it_does_not_have_are_one_line(model, latent, condition):
    stride = model.spec.latent[1]
    uneven = model.spec.family in ("sd", "sdxl", "cleandift")  # their UNet takes any whole number of cells
    if model.spec.multiple > stride and not uneven:
        with pytest.raises(BadInput, match=r"an image of \d+ x 64 pixels; each side must be a multiple of"):
            model.denoise(latent[..., :-1], 50, condition, model.taps)
    if stride > 1:
        with pytest.raises(BadInput, match="an image of 132 x 64 pixels; each side must be a multiple of"):
            model.encode_image(torch.zeros(1, 3, SIZE[0], SIZE[1] + 4))
    for timestep in (-1, 1000, 0.5) if model.spec.takes_noise else ():
        with pytest.raises(BadInput, match="whole number from 0 to 999"):
            model.denoise(latent, timestep, condition)


def test_a_batch_gives_what_single_images_give(model):
    pictures = [np.random.default_rng(i).integers(0, 255, (40, 80, 3), dtype=np.uint8) for i in range(3)]
    recipe = shiftless.Recipe(timestep=300, taps=(model.taps[-1].name,), prompt=prompts(model)[1])
    together = shiftless.extract(model, pictures, recipe, batch=3)
    for picture, maps in zip(pictures, together):
        alone = shiftless.extract(model, picture, recipe, batch=1)
        torch.testing.assert_close(maps[recipe.taps[0]], alone[recipe.taps[0]], **EXACT)


def test_a_modulated_input_is_what_its_attention_is_given(model):
    inputs = tuple(tap.name for tap in model.taps if tap.modulation)
    assert bool(inputs) == (model.spec.family in MODULATED)
    if not inputs:
        return
    model = shiftless.load(model.spec.name, device="cpu", dtype="fp32")  # one to be changed
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.denoiser.named_parameters():  # norms of ones would hide one that is left out
        if "norm" in name and weight.ndim == 1:
            weight.data = weight + torch.rand(weight.shape, generator=generator) / 2
    picture = np.random.default_rng(0).integers(0, 255, SIZE + (3,), dtype=np.uint8)
    recipe = shiftless.Recipe(timestep=260, taps=inputs, modulate=True, prompt=prompts(model)[0])
    ours = shiftless.extract(model, picture, recipe)
    taps = {name: f"{name.removesuffix('.in')}.modulated" for name in inputs}
    theirs = shiftless.extract(model, picture, recipe.but(taps=tuple(taps.values()), modulate=False))
    for name, modulated in taps.items():
        torch.testing.assert_close(ours[name], theirs[modulated], atol=1e-5, rtol=1e-5)


def test_walks_and_inversions_serve_every_family_that_takes_noise(model):
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    tap = model.taps[-1].name
    for recipe in (
        shiftless.Recipe(timestep=50, start=90, steps=2, taps=(tap,)),
        shiftless.Recipe(timestep=200, noise="invert", steps=4, taps=(tap,)),
    ):
        if model.spec.takes_noise:
            assert torch.isfinite(shiftless.extract(model, picture, recipe)[tap]).all()
        else:
            with pytest.raises(shiftless.BadInput, match=r"start cannot steer|takes no noise"):
                shiftless.extract(model, picture, recipe)


def test_controls_steer_every_family_that_takes_them_and_leave_no_trace(model):
    known = model.controls() if "control" in model.spec.techniques else []
    assert ("canny" in known) == ("control" in model.spec.techniques)
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    walk = {"timestep": 50, "start": 90, "steps": 1} if "start" in model.spec.techniques else {}
    base = shiftless.Recipe(taps=(model.taps[-1].name,), prompt=prompts(model)[0], size=64, **walk)
    steered = [base.but(control=name) for name in known]
    alone, *read = shiftless.extract(model, picture, [base, *steered])
    assert all(not torch.equal(one[base.taps[0]], alone[base.taps[0]]) for one in read)
    assert torch.equal(shiftless.extract(model, picture, base)[base.taps[0]], alone[base.taps[0]])


def test_a_folder_in_the_published_layout_gives_the_same_features(model, tmp_path):
    adapter, name = family(model.spec.family), NAMES[model.spec.family]
    if "base" in models()[name]:
        pytest.skip("published as a file beside another model's folder: tests/backbones/test_cleandift.py")
    save_parts(adapter.twin_parts(models()[name]), tmp_path / "model")
    saved = shiftless.load(tmp_path / "model", device="cpu", dtype="fp32")
    assert (saved.spec.family, saved.taps) == (model.spec.family, model.taps)
    assert taps(tmp_path / "model") == model.taps
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    recipe = shiftless.Recipe(size=128, taps=(model.taps[-1].name,), prompt=prompts(model)[0])
    ours, theirs = (shiftless.extract(one, picture, recipe)[recipe.taps[0]] for one in (model, saved))
    torch.testing.assert_close(ours, theirs, **EXACT)
    again = shiftless.load(tmp_path / "model", device="cpu", dtype="bf16")
    assert again.fingerprint == saved.fingerprint != model.fingerprint
