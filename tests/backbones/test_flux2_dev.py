"""FLUX.2 dev: prompts behind the system message, and a guidance, as plain diffusers tells them."""

from __future__ import annotations

import pytest
import torch
from diffusers import Flux2Pipeline

import shiftless
from shiftless.backbones.families import family_of
from shiftless.backbones.flux2 import Flux2
from shiftless.backbones.flux2_dev import Flux2Dev
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models
from shiftless.taps.attention import word_columns
from shiftless.taps.names import select

PROMPT = "a photo of a horse"
LAYERS = (1, 2, 3)  # the quarter points of a text encoder of four layers
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:flux2-dev", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def pipeline(model):
    return Flux2Pipeline(**model.networks, **model.tokenizers, scheduler=model._scheduler)


def prompt_of(pipeline, prompt):
    with torch.no_grad():
        return pipeline.encode_prompt(prompt, device="cpu", text_encoder_out_layers=LAYERS)


@pytest.mark.parametrize("prompt", [PROMPT, "", "an [IMG]image [INST]", "Zwei Kühe, draußen.\nUnd ein Pferd"])
def test_a_prompt_is_encoded_as_the_pipeline_does(model, pipeline, prompt):
    condition = model.encode_prompt([prompt])
    torch.testing.assert_close(condition.embeds, prompt_of(pipeline, prompt)[0], **CLOSE)
    assert len(condition.words[0]) == condition.embeds.shape[1] == 512


@pytest.mark.parametrize(("prompt", "word"), [(PROMPT, "horse"), ("reasons, image", "image"), ("Zwei Kühe", "Kühe")])
def test_words_are_those_of_the_prompt_and_not_of_the_systems_message(model, prompt, word):
    words = model.encode_prompt([prompt]).words[0]
    found = [words[column] for column in word_columns(words, word)]
    assert len(found) == len(word.encode())  # the twin's tokens are bytes
    with pytest.raises(shiftless.BadInput, match="does not hold the word"):
        word_columns(words, "descriptions")


def test_features_and_predictions_are_those_of_plain_diffusers(model, pipeline):
    latent = torch.randn(1, 128, 4, 8, generator=torch.Generator().manual_seed(0))
    embeds, text_ids = prompt_of(pipeline, PROMPT)
    ids = pipeline._prepare_latent_ids(latent)
    kept = {}
    handle = model.denoiser.single_transformer_blocks[1].register_forward_hook(lambda _m, _a, out: kept.update(out=out))
    with torch.no_grad():
        output = model.denoiser(
            pipeline._pack_latents(latent), embeds, torch.tensor([0.26]), img_ids=ids, txt_ids=text_ids,
            guidance=torch.tensor([4.0]),
        ).sample  # fmt: skip
    handle.remove()
    ours = model.denoise(latent, 260, model.encode_prompt([PROMPT]), select(["single1"], model.taps), full=True)
    expected = torch.as_tensor(pipeline._unpack_latents_with_ids(output, ids))
    torch.testing.assert_close(ours.prediction, expected, **CLOSE)
    torch.testing.assert_close(ours.maps["single1"], kept["out"][:, -32:].transpose(1, 2).unflatten(2, (4, 8)), **CLOSE)


def test_a_folder_is_told_by_its_text_encoder(tmp_path):
    for name, adapter in (("flux2-dev", Flux2Dev), ("flux2-klein", Flux2)):
        parts = adapter.twin_parts(models()[name])
        save_parts({part: parts[part] for part in ("transformer", "text_encoder")}, tmp_path / name)
        assert family_of(tmp_path / name) is adapter
