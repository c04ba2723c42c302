"""T2I-Adapters: what they give a UNet is what diffusers' own pipelines give it; they add up, and leave no trace."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionAdapterPipeline, StableDiffusionXLAdapterPipeline, T2IAdapter

import shiftless
from shiftless import BadInput, Recipe
from shiftless.conditions.condition import Steer
from shiftless.conditions.unet_residuals import residuals
from tests.conditions.pipeline_calls import record

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
PROMPT = "a photo of a horse"
HW = (64, 128)
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def model(request):
    return shiftless.load(f"twin:{request.param}", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def sd15():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


def pipeline_of(model, adapter):
    """The pipeline of diffusers for T2I-Adapters, on the model's own networks."""
    parts = {"vae": model.vae, "text_encoder": model.text_encoder, "tokenizer": model.tokenizer, "unet": model.unet}
    parts |= {"scheduler": DDIMScheduler.from_config(model._scheduler.config), "adapter": adapter}
    if model.spec.family == "sd":
        return StableDiffusionAdapterPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    second = {"text_encoder_2": model.networks["text_encoder_2"], "tokenizer_2": model.tokenizers["tokenizer_2"]}
    return StableDiffusionXLAdapterPipeline(**parts, **second)


def edges(seed=0):
    return (torch.rand(1, 3, *HW, generator=torch.Generator().manual_seed(seed)) > 0.8).float()


def steered(model, *steers):
    return replace(model.encode_prompt([PROMPT], size=HW), steers=steers)


def test_predictions_are_those_of_the_pipeline_at_every_timestep(model):
    adapter = model.control("t2i-canny").net
    calls = record(
        pipeline_of(model, adapter), model.unet, prompt=PROMPT, image=edges(), height=HW[0], width=HW[1],
        num_inference_steps=3, guidance_scale=1.0, adapter_conditioning_scale=0.7,
    )  # fmt: skip
    assert len(calls) == 3
    condition = steered(model, Steer(adapter, edges(), 0.7))
    for latent, timestep, theirs in calls:
        ours = model.denoise(latent, int(timestep), condition).prediction
        torch.testing.assert_close(ours, theirs, **CLOSE)
        bare = model.denoise(latent, int(timestep), steered(model)).prediction
        assert (ours - bare).abs().max() > 1e-3


def test_several_add_up_as_the_pipeline_adds_them(sd15):
    other = T2IAdapter(channels=[32, 64, 64, 64], num_res_blocks=1)
    first = sd15.control("t2i-canny").net
    calls = record(
        pipeline_of(sd15, [first, other]), sd15.unet, prompt=PROMPT, image=[edges(), edges(1)],
        num_inference_steps=1, guidance_scale=1.0, adapter_conditioning_scale=[0.7, 0.4], height=HW[0], width=HW[1],
    )  # fmt: skip
    (latent, timestep, theirs) = calls[0]
    condition = steered(sd15, Steer(first, edges(), 0.7), Steer(other, edges(1), 0.4))
    torch.testing.assert_close(sd15.denoise(latent, int(timestep), condition).prediction, theirs, **CLOSE)


def test_a_controlnet_beside_it_is_given_what_it_is_given_alone(model):
    net, adapter = model.control("canny").net, model.control("t2i-canny").net
    condition = steered(model, Steer(adapter, edges(), 0.5), Steer(net, edges(1)))
    latent = torch.randn(1, 4, HW[0] // 8, HW[1] // 8, generator=torch.Generator().manual_seed(1))
    told = {name: condition.extra[name] for name in condition.extra}
    with torch.no_grad():
        down, mid = net(latent, 50, condition.embeds, edges(1), added_cond_kwargs=told, return_dict=False)
        theirs = model.unet(
            latent, 50, condition.embeds, added_cond_kwargs=told, down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            down_intrablock_additional_residuals=[0.5 * feature for feature in adapter(edges())],
        ).sample  # fmt: skip
    torch.testing.assert_close(model.denoise(latent, 50, condition).prediction, theirs, **CLOSE)


def test_maps_are_the_same_whether_the_network_stops_early_or_not(model):
    """The UNet adds features in place to what a block without attention gave."""
    condition = steered(model, Steer(model.control("t2i-canny").net, edges()))
    latent = torch.randn(1, 4, HW[0] // 8, HW[1] // 8, generator=torch.Generator().manual_seed(1))
    taps = [tap for tap in model.taps if re.fullmatch(r"(down\d|mid)(\.res\d)?", tap.name)]
    whole = model.denoise(latent, 50, condition, taps, full=True).maps
    for tap in taps:
        assert torch.equal(model.denoise(latent, 50, condition, [tap]).maps[tap.name], whole[tap.name]), tap


def test_it_composes_and_leaves_the_model_as_it_was(sd15, goldens):
    lora = str(goldens / "tiny-lora" / "pytorch_lora_weights.safetensors")
    base = Recipe(timestep=50, prompt="a horse")
    recipes = [
        base, base.but(control="t2i-canny"), base.but(control="t2i-canny", control_scale=0.5),
        base.but(control=("canny", "t2i-canny")), base.but(control="t2i-canny", lora=lora, start=60, steps=2),
    ]  # fmt: skip
    before = sd15._digest()
    together = shiftless.extract(sd15, [PICTURE, PICTURE[::-1].copy()], recipes)[0]
    for i, one in enumerate(together):
        assert all((one["up1"] - together[j]["up1"]).abs().max() > 1e-4 for j in range(i)), i
    alone = shiftless.extract(sd15, PICTURE, recipes[-1])
    torch.testing.assert_close(together[-1]["up1"], alone["up1"], atol=2e-5, rtol=1e-4)
    assert sd15._digest() == before
    assert sd15.digest("control", "t2i-canny") != sd15.digest("control", "canny")


@pytest.mark.parametrize(
    ("kind", "channels", "gray"),
    [("full_adapter", [32, 64, 64, 64], False), ("light_adapter", [32, 64, 64], True)],
)
def test_folders_are_read_and_gray_maps_have_one_channel(sd15, tmp_path, kind, channels, gray):
    net = T2IAdapter(in_channels=1 if gray else 3, channels=channels, num_res_blocks=1, adapter_type=kind)
    net.save_pretrained(tmp_path / "mine")
    control = sd15.control(f"canny={tmp_path / 'mine'}")
    drawn = control.draw(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert drawn.shape == (2, 1 if gray else 3, 64, 64)
    given = residuals([Steer(control.net, drawn, 0.5)], torch.zeros(2, 4, 8, 8), 50, None)
    for ours, theirs in zip(given["down_intrablock_additional_residuals"], net(drawn), strict=True):
        torch.testing.assert_close(ours, theirs * 0.5, **CLOSE)
    if gray:
        with pytest.raises(BadInput, match="takes maps of 1 channels, tile's has 3"):
            sd15.control(f"tile={tmp_path / 'mine'}")


def test_an_xl_adapter_that_is_saved_is_read(tmp_path):
    sdxl = shiftless.load("twin:sdxl", device="cpu", dtype="fp32")
    sdxl.control("t2i-canny").net.save_pretrained(tmp_path / "t2i-canny")
    recipe = Recipe(control="t2i-canny")
    ours, theirs = (
        shiftless.extract(sdxl, PICTURE, one)["up1"]
        for one in (recipe, recipe.but(control=str(tmp_path / "t2i-canny")))
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": [32, 64, 64, 32]}, "one of its features has 32 channels and a cell every 64 pixels"),
        ({"channels": [32, 64]}, "it gives 2 features, the model takes 5"),
        ({"channels": [32, 64, 64, 64], "downscale_factor": 4}, "has 32 channels and a cell every 4 pixels"),
        ({"channels": [32, 64, 64, 64], "adapter_type": "full_adapter_xl", "downscale_factor": 16}, "every 16 pixels"),
    ],
)
def test_adapters_of_other_models_are_refused(sd15, tmp_path, settings, message):
    T2IAdapter(num_res_blocks=1, **settings).save_pretrained(tmp_path / "canny")
    with pytest.raises(BadInput, match=f"canny: this T2I-Adapter is for another model .*{message}") as caught:
        sd15.control(str(tmp_path / "canny"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter_type": "style"}, "'adapter_type' is \"style\"; it must be one of full_adapter"),
        ({"channels": [32, 64, 64]}, "'channels' asks for 3 where the weights' adapter.body has 4"),
        ({"channels": [32, 64, 64, 32]}, "'channels' asks for 32 where the weights'"),
        ({"in_channels": 1}, "'in_channels' asks for 64 where the weights' adapter.conv_in.weight has 192"),
        ({"num_res_blocks": 2}, "'num_res_blocks' asks for 2"),
        (
            {"_class_name": "UNet2DConditionModel"},
            "'_class_name' is .UNet2DConditionModel., which is no control",
        ),
        ({"_class_name": ["T2IAdapter"]}, "which is no control network's"),
        ({"_class_name": "ControlNetModel"}, "which the weights lack|asks for"),
    ],
)
def test_broken_folders_are_one_line(sd15, tmp_path, change, message):
    T2IAdapter(channels=[32, 64, 64, 64], num_res_blocks=1).save_pretrained(tmp_path / "canny")
    config = tmp_path / "canny" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(BadInput, match=message) as caught:
        sd15.control(str(tmp_path / "canny"))
    assert "\n" not in str(caught.value)


def test_missing_weights_and_families_without_controls_are_refused(sd15, tmp_path):
    T2IAdapter(channels=[32, 64, 64, 64], num_res_blocks=1).save_pretrained(tmp_path / "canny")
    (tmp_path / "canny" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BadInput, match="no safetensors weights here"):
        sd15.control(str(tmp_path / "canny"))
    with pytest.raises(BadInput, match=r"this model has no such ControlNet \(it has canny, t2i-canny\); give one as d"):
        sd15.control("t2i-depth")
    pixart = shiftless.load("twin:pixart-sigma", device="cpu", dtype="fp32")
    with pytest.raises(BadInput, match="control cannot steer a model of the pixart family"):
        shiftless.extract(pixart, PICTURE, Recipe(taps=("block0",), control="t2i-canny"))
