"""CleanDIFT: read as a plain UNet call with the clean latent, from a UNet's file and another model's folder."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import shiftless
from shiftless import BadInput
from shiftless.backbones import registry
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import family_named, find, models, taps
from shiftless.backbones.twins import twin_parts
from shiftless.taps.names import select

FILE = "cleandift_sd15_unet.safetensors"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:cleandift-sd15", device="cpu", dtype="fp32")


def test_features_of_the_clean_latent_are_those_of_plain_diffusers(model, picture):
    kept = {}
    handle = model.unet.up_blocks[1].register_forward_hook(lambda _m, _a, out: kept.update(up1=out))
    ids = model.tokenizer("a horse", padding="max_length", return_tensors="pt").input_ids
    pixels = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latent = model.vae.encode(pixels).latent_dist.mean * model.vae.config.scaling_factor
        model.unet(latent, 261, model.text_encoder(ids).last_hidden_state)
    handle.remove()
    ours = model.denoise(model.encode_image(pixels), 0, model.encode_prompt(["a horse"]), select(["up1"], model.taps))
    torch.testing.assert_close(ours.maps["up1"], kept["up1"], **CLOSE)


def test_recipes_that_differ_in_noise_are_one_call(model, picture):
    calls = []
    handle = model.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    base = shiftless.Recipe(taps=("up1",))
    several = [base, base.but(timestep=500), base.but(seed=3), base.but(ensemble=4)]
    maps = shiftless.extract(model, picture, several)
    handle.remove()
    assert len(calls) == 1
    assert all(torch.equal(one["up1"], maps[0]["up1"]) for one in maps)


def test_it_predicts_no_picture_to_audit(model, picture):
    with pytest.raises(BadInput, match="takes no noise, so that nothing shifts"):
        shiftless.audit(model, [picture], [shiftless.Recipe(taps=("up1",))])


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A cache with CleanDIFT's repository and Stable Diffusion 1.5 without its UNet, both as small as a twin."""
    parts = twin_parts(models()["sd15"])
    small = {"unet": {k: v for k, v in parts["unet"].config.items() if not k.startswith("_")}, "size": 128}
    rows = {name: {**row, **small} if name == "cleandift-sd15" else row for name, row in models().items()}
    monkeypatch.setattr(registry, "models", lambda: rows)
    own, base = tmp_path / "cleandift", tmp_path / "sd15"
    save_parts({name: part for name, part in parts.items() if name != "unet"}, base)
    own.mkdir()
    save_file({key: value + 0.01 for key, value in parts["unet"].state_dict().items()}, own / FILE)
    folders = {rows["cleandift-sd15"]["hub"][0]: own, rows["sd15"]["hub"][0]: base}
    monkeypatch.setattr(
        registry, "fetched", lambda hub_id: next((f for f in [folders.get(hub_id)] if f and f.is_dir()), None)
    )
    return own, base


def load(name, dtype="fp32"):
    return shiftless.load(name, device="cpu", dtype=dtype)


def said(name):
    with pytest.raises(BadInput) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_base_model_is_loaded_with_its_unet_replaced(hub, picture):
    own, _ = hub
    loaded = load("cleandift-sd15")
    assert (loaded.spec.family, loaded.spec.takes_noise, loaded.spec.size) == ("cleandift", False, 128)
    assert (loaded.spec.made_for, set(loaded.controls())) == ("photographs", set(models()["sd15"]["controls"]))
    weights = load_file(own / FILE)
    assert all(torch.equal(value, weights[key]) for key, value in loaded.unet.state_dict().items())
    recipe = shiftless.Recipe(taps=("up1",))
    theirs = load(own / FILE)
    assert torch.equal(
        shiftless.extract(loaded, picture, recipe)["up1"], shiftless.extract(theirs, picture, recipe)["up1"]
    )
    assert family_named(str(own / FILE)) == "cleandift"
    assert taps(own / FILE) == taps("cleandift-sd15") == loaded.taps


def test_the_fingerprint_is_that_of_the_new_weights(hub):
    own, _ = hub
    first = load("cleandift-sd15").fingerprint
    assert load("cleandift-sd15", "bf16").fingerprint == load(own / FILE).fingerprint == first
    save_file({key: value + 0.01 for key, value in load_file(own / FILE).items()}, own / FILE)
    assert load("cleandift-sd15").fingerprint != first


def test_what_is_missing_or_broken_is_one_line(hub, tmp_path):
    own, base = hub
    whole = load_file(own / FILE)
    elsewhere = tmp_path / "mine.safetensors"
    shutil.copy(own / FILE, elsewhere)
    assert "a UNet alone, which does not say what it predicts" in said(elsewhere)
    save_file({key: value for key, value in whole.items() if key != "conv_in.bias"}, own / FILE)
    assert f"{FILE} lacks conv_in.bias" in said("cleandift-sd15")
    (own / FILE).write_bytes(b"rubbish")
    assert f"{FILE}: not a whole safetensors file" in said("cleandift-sd15")
    shutil.rmtree(base / "vae")
    assert "has no vae/" in said("cleandift-sd15")
    shutil.rmtree(base)
    again = "fetch them once with: shiftless fetch cleandift-sd15"
    assert said(own / FILE) == f"cleandift-sd15: the parts of sd15 are not on this machine; {again}"
    (own / FILE).unlink()
    assert "fetch it once with: shiftless fetch cleandift-sd15" in said("cleandift-sd15")
    with pytest.raises(BadInput, match="fetch cleandift-sd21"):  # a repository of which the other file is here
        find("cleandift-sd21")
