"""Tiny encoders: what diffusers' AutoencoderTiny gives, in the place of the autoencoder, with a key of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

import shiftless
from shiftless.backbones.tiny_encoder import TinyEncoder, check_fit, load_tiny_encoder, twin_encoder
from shiftless.errors import BadInput
from shiftless.reading.origin import origin_of
from shiftless.store.key import key_of

TINY = shiftless.Recipe(taps=("up1",), encoder="taesd")


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def autoencoder(seed=0, **changes):
    torch.manual_seed(seed)
    settings = {
        "latent_channels": 4, "encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4,
        "num_encoder_blocks": (1, 1, 1, 1), "num_decoder_blocks": (1, 1, 1, 1),
    }  # fmt: skip
    return AutoencoderTiny(**{**settings, **changes}).eval()


@pytest.mark.parametrize("settings", [{}, {"scaling_factor": 0.5, "shift_factor": 0.25}])
def test_a_folder_of_diffusers_gives_its_own_latents(tmp_path, settings):
    whole, pixels = autoencoder(**settings), torch.rand(1, 3, 32, 48) * 2 - 1
    whole.save_pretrained(tmp_path)
    with torch.no_grad():
        latents = whole.encode(pixels).latents
        given = load_tiny_encoder(tmp_path)(pixels)
    expected = (latents - settings["shift_factor"]) * settings["scaling_factor"] if settings else latents
    assert torch.equal(given, expected)
    assert given.shape == (1, 4, 4, 6)


def test_a_reading_begins_at_the_tiny_encoder_s_latents(model, picture, tmp_path):
    autoencoder().save_pretrained(tmp_path)
    named = TINY.but(encoder=str(tmp_path), noise="none", timestep=0)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    latent = load_tiny_encoder(tmp_path)(pixels)
    taps = [tap for tap in model.taps if tap.name == "up1"]
    fed = model.encode_image(pixels, encoder=str(tmp_path))
    assert torch.allclose(fed, latent, atol=1e-5)
    read = shiftless.extract(model, picture, [named.but(size=64), named.but(size=64, encoder="")])
    direct = model.denoise(fed, 0, model.encode_prompt([""]), taps).maps["up1"]
    assert torch.allclose(read[0]["up1"], direct, atol=1e-4)
    assert not torch.allclose(read[0]["up1"], read[1]["up1"], atol=1e-3)


def test_readings_by_both_encoders_share_a_window_and_change_nothing_of_each_other(model, picture):
    plain = TINY.but(encoder="")
    both = shiftless.extract(model, picture, [plain, TINY])
    for maps, recipe in zip(both, (plain, TINY), strict=True):
        alone = shiftless.extract(model, picture, recipe)["up1"]
        assert torch.allclose(maps["up1"], alone, atol=1e-4)


def test_the_encoder_s_contents_are_in_origin_and_key(model, tmp_path):
    first, other = tmp_path / "first", tmp_path / "other"
    autoencoder(0).save_pretrained(first)
    autoencoder(1).save_pretrained(other)
    recipes = [TINY.but(encoder=str(one)) for one in (first, other)]
    origins = [origin_of(model, recipe) for recipe in recipes]
    assert [name for name, _ in origins[0].adapters] == [f"encoder {first}"]
    keys = {key_of(o, r, (64, 64), "", "fp16") for o, r in zip(origins, recipes, strict=True)}
    assert len(keys | {key_of(origin_of(model, TINY.but(encoder="")), TINY.but(encoder=""), (64, 64), "", "fp16")}) == 3
    copied = tmp_path / "copied"
    autoencoder(0).save_pretrained(copied)
    moved = TINY.but(encoder=str(copied))
    assert key_of(origin_of(model, moved), moved, (64, 64), "", "fp16") in keys


def test_recipes_without_an_encoder_keep_their_keys():
    assert "encoder" not in shiftless.Recipe().to_dict()
    assert shiftless.Recipe(encoder="").key() == shiftless.Recipe().key() != TINY.key()


def test_what_does_not_fit_is_refused_in_one_line(model, picture, tmp_path):
    with pytest.raises(BadInput, match="a tiny encoder gives the mean alone"):
        TINY.but(latent="sample")
    with pytest.raises(BadInput, match="encoder nowhere: no such folder"):
        shiftless.extract(model, picture, TINY.but(encoder="nowhere"))
    with pytest.raises(BadInput, match="no autoencoder to be replaced"):
        shiftless.extract("twin:dino-s16", picture, shiftless.Recipe(taps=("block0",), encoder="taesd"))
    with pytest.raises(BadInput, match="no tiny encoder gives the latents of the flux2 family"):
        shiftless.load("twin:flux2-klein", dtype="fp32").tiny_encoder("taesd")
    with pytest.raises(BadInput, match="gives 4 channels and a cell every 8 pixels, the model takes 4 and one"):
        check_fit(twin_encoder(4, 8), (4, 4), "taesd")
    autoencoder().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"num_encoder_blocks": [1, 1, 2, 1]}, "'num_encoder_blocks' needs encoder.layers"),
        ({"latent_channels": 0}, "'latent_channels' is 0"),
        ({"_class_name": "AutoencoderKL"}, "a tiny encoder is read from an AutoencoderTiny's folder"),
        ({"encoder_block_out_channels": [8, 8, 8, 16]}, "do not fit each other"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(BadInput, match=message):
            load_tiny_encoder(tmp_path)


def test_a_model_s_own_tiny_encoder_is_the_one_in_its_folder(model, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "home", tmp_path)
    monkeypatch.setattr(model, "_own_tinies", {})
    monkeypatch.setattr(model, "_tinies", {})
    with pytest.raises(BadInput, match="shiftless fetch madebyollin/taesd"):
        model.tiny_encoder("taesd")
    autoencoder().save_pretrained(tmp_path / "taesd")
    found = model.tiny_encoder("taesd")
    assert isinstance(found, TinyEncoder)
    assert model.tiny_encoder("taesd") is found
    autoencoder(1).save_pretrained(tmp_path / "taesd")
    assert model.tiny_encoder("taesd") is not found
