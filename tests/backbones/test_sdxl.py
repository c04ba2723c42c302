"""SDXL: features, predictions, prompts and attention maps are those of plain diffusers called as its pipeline does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

import shiftless
from shiftless import BadInput
from shiftless.backbones.parts import load_parts, schedule_of
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps
from shiftless.conditions.condition import Steer
from shiftless.conditions.control_classes import check_fit
from shiftless.image import open_photo
from shiftless.presets import preset
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout
from shiftless.taps.names import select

PROMPT = "a photo of a horse"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
BLOCK = "up0.attn0.block7"


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sdxl", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def pipeline(model):
    return StableDiffusionXLPipeline(
        vae=model.vae, text_encoder=model.text_encoder, text_encoder_2=model.networks["text_encoder_2"],
        tokenizer=model.tokenizer, tokenizer_2=model.tokenizers["tokenizer_2"], unet=model.unet,
        scheduler=model._scheduler, add_watermarker=False,
    )  # fmt: skip


def told(pipeline, pooled, hw):
    sizes = pipeline._get_add_time_ids(hw, (0, 0), hw, torch.float32, pipeline.text_encoder_2.config.projection_dim)
    return {"text_embeds": pooled, "time_ids": sizes}


def latent_of(hw, images=1):
    return torch.randn(images, 4, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))


def encoded(pipeline, prompt=PROMPT):
    embeds, _, pooled, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, device="cpu")
    return embeds, pooled


@pytest.mark.parametrize("hw", [(128, 128), (64, 160)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, pipeline, hw):
    latent, kept = latent_of(hw), {}
    embeds, pooled = encoded(pipeline)
    block = model.unet.up_blocks[0].attentions[0].transformer_blocks[7]
    handles = [
        block.register_forward_hook(lambda _m, _a, out: kept.update(block=out)),
        block.attn2.to_q.register_forward_hook(lambda _m, _a, out: kept.update(q=out)),
        block.attn2.to_k.register_forward_hook(lambda _m, _a, out: kept.update(k=out)),
        model.unet.up_blocks[1].register_forward_hook(lambda _m, _a, out: kept.update(up1=out)),
    ]
    with torch.no_grad():
        theirs = model.unet(latent, 50, embeds, added_cond_kwargs=told(pipeline, pooled, hw)).sample
    for handle in handles:
        handle.remove()
    condition = model.encode_prompt([PROMPT], size=hw)
    torch.testing.assert_close(condition.embeds, embeds, **CLOSE)
    torch.testing.assert_close(condition.extra["text_embeds"], pooled, **CLOSE)
    names = [BLOCK, f"{BLOCK}.cross.q", f"{BLOCK}.cross.map", "up1"]
    ours = model.denoise(latent, 50, condition, [t for n in names for t in select([n], model.taps)], full=True)
    grid = hw[0] // 32, hw[1] // 32
    torch.testing.assert_close(ours.prediction, theirs, **CLOSE)
    torch.testing.assert_close(ours.maps[BLOCK], kept["block"].transpose(1, 2).unflatten(2, grid), **CLOSE)
    torch.testing.assert_close(ours.maps[f"{BLOCK}.cross.q"], kept["q"].transpose(1, 2).unflatten(2, grid), **CLOSE)
    torch.testing.assert_close(ours.maps["up1"], kept["up1"], **CLOSE)
    q, k = (kept[name].unflatten(2, (block.attn2.heads, -1)).transpose(1, 2) for name in "qk")
    attention = (q @ k.transpose(-1, -2) * block.attn2.scale).softmax(-1).mean(1)
    torch.testing.assert_close(ours.maps[f"{BLOCK}.cross.map"], attention.transpose(1, 2).unflatten(2, grid), **CLOSE)


def test_the_size_of_the_image_is_told(model):
    one, two = (model.encode_prompt([PROMPT], size=size) for size in ((64, 64), (64, 128)))
    assert one.extra["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]]
    latent = latent_of((64, 64))
    assert not torch.equal(model.denoise(latent, 50, one).prediction, model.denoise(latent, 50, two).prediction)
    assert model.encode_prompt([PROMPT]).extra["time_ids"][0, 0] == model.spec.size == 128


def test_a_long_prompt_keeps_every_word_and_the_first_windows_end(model, pipeline):
    long = "horse " * 40
    condition = model.encode_prompt([long])
    assert condition.embeds.shape[1] % 77 == 0
    assert "".join(condition.words[0]).split() == long.split()
    first = "".join(condition.words[0][:77]).strip()
    embeds, pooled = encoded(pipeline, first)
    torch.testing.assert_close(condition.embeds[:, :77], embeds, **CLOSE)
    torch.testing.assert_close(condition.extra["text_embeds"], pooled, **CLOSE)


def test_images_are_encoded_as_the_pipeline_encodes_them(model):
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        theirs = model.vae.encode(pixels).latent_dist.mean * 0.13025
    torch.testing.assert_close(model.encode_image(pixels), theirs, **CLOSE)


def test_in_half_precision_the_autoencoder_stays_in_float32():
    half = shiftless.load("twin:sdxl", device="cpu", dtype="fp16")
    assert (half.vae.dtype, half.unet.dtype) == (torch.float32, torch.float16)
    latent = half.encode_image(torch.zeros(1, 3, 64, 64))
    assert half.decode(latent).isfinite().all()
    assert half.fingerprint == shiftless.load("twin:sdxl", device="cpu", dtype="fp32").fingerprint


def test_a_controlnet_is_told_what_the_denoiser_is(model, pipeline):
    hw = (64, 64)
    latent, image = latent_of(hw), torch.rand(1, 3, *hw, generator=torch.Generator().manual_seed(1))
    embeds, pooled = encoded(pipeline)
    net, added = model.control("canny").net, told(pipeline, pooled, hw)
    with torch.no_grad():
        down, mid = net(latent, 50, embeds, image, 0.7, added_cond_kwargs=added, return_dict=False)
        theirs = model.unet(
            latent, 50, embeds, added_cond_kwargs=added,
            down_block_additional_residuals=down, mid_block_additional_residual=mid,
        ).sample  # fmt: skip
    condition = model.encode_prompt([PROMPT], size=hw)
    steered = type(condition)(condition.embeds, condition.words, condition.extra, (Steer(net, image, 0.7),))
    torch.testing.assert_close(model.denoise(latent, 50, steered).prediction, theirs, **CLOSE)


def test_an_image_prompt_is_given_beside_what_it_is_told(model, pipeline, picture):
    latent, (embeds, pooled) = latent_of((64, 64)), encoded(pipeline)
    condition = model.encode_prompt([PROMPT], size=(64, 64))
    plain = model.denoise(latent, 50, condition).prediction
    with model.image_prompted([("ip-adapter", 0.8)]):
        image = model.image_prompt("ip-adapter").embed(open_photo(picture))
        extra = {**condition.extra, "image_prompt0": image}
        ours = model.denoise(latent, 50, replace(condition, extra=extra)).prediction
        added = {**told(pipeline, pooled, (64, 64)), "image_embeds": [image]}
        with torch.no_grad():
            theirs = model.unet(latent, 50, embeds, added_cond_kwargs=added).sample
    torch.testing.assert_close(ours, theirs, **CLOSE)
    assert (ours - plain).abs().max() > 1e-3
    assert torch.equal(model.denoise(latent, 50, condition).prediction, plain)


def test_a_controlnet_of_stable_diffusion_is_refused(model):
    other = shiftless.load("twin:sd15", device="cpu", dtype="fp32").control("canny").net
    with pytest.raises(BadInput, match="this ControlNet is for another model"):
        check_fit(other, model.unet, 8, "canny")


@pytest.mark.parametrize("name", ["gdf-sdxl", "gdf-playground"])
def test_published_recipes_read_what_the_paper_names(model, name):
    (recipe,) = preset(name).recipes
    picture = np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8)
    features = shiftless.extract(model, picture, recipe)
    assert list(features) == list(recipe.taps)
    widths = {tap.name: tap.channels for tap in taps(preset(name).model)}
    expected = {"gdf-sdxl": [1280, 1280, 640, 640], "gdf-playground": [1280]}[name]
    assert [widths[tap] for tap in recipe.taps] == expected
    assert (models()[preset(name).model]["size"], recipe.timestep) == (1024, 50)


def test_listed_taps_are_those_of_the_real_network():
    """A whole forward pass of the full-size network on the meta device: shapes without weights or time."""
    config = models()["sdxl"]["unet"]
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
        listed = [tap for tap in taps("sdxl") if tap.kind == "out"]
        added = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
        with tapped(unet, listed, layout=Layout((256, 256)), stop=False) as captured:
            unet(torch.empty(1, 4, 32, 32), torch.tensor([50]), torch.empty(1, 77, 2048), added_cond_kwargs=added)
    for tap, value in zip(listed, captured.maps().values()):
        assert (value.shape[1], value.shape[2] * tap.stride, value.shape[3] * tap.stride) == (tap.channels, 256, 256), (
            tap
        )
    assert sum(p.numel() for p in unet.parameters()) == 2_567_463_684


def changed(folder, path, **values):
    file = folder / path
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdxl")
    save_parts(type(model).twin_parts(models()["sdxl"]), folder)
    return folder


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("scheduler/scheduler_config.json", {"_class_name": "EDMDPMSolverMultistepScheduler"},
         r"trained with EDM's preconditioning, such as Playground v2\.5, which is not read here; take sdxl"),
        ("unet/config.json", {"cross_attention_dim": 32}, "the text encoders' widths add up to 64"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "'time_cond_proj_dim' is 256; it must be null"),
        ("unet/config.json", {"transformer_layers_per_block": [0, 2, [4, 4]]}, "'transformer_layers_per_block' is"),
        ("text_encoder_2/config.json", {"hidden_size": 48}, "add up to 80"),
        ("text_encoder_2/config.json", {"num_hidden_layers": 99}, "'num_hidden_layers' asks for 99 where the weights'"),
    ],
)  # fmt: skip
def test_models_that_are_not_read_are_one_line(saved, tmp_path, path, values, message):
    shutil.copytree(saved, tmp_path / "other")
    changed(tmp_path / "other", path, **values)
    with pytest.raises(BadInput, match=message) as raised:
        shiftless.load(tmp_path / "other", device="cpu", dtype="fp32")
    assert "\n" not in str(raised.value)


def test_a_missing_second_encoder_is_named(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "text_encoder_2")
    with pytest.raises(BadInput, match="the model folder has no text_encoder_2/"):
        shiftless.load(tmp_path / "other", device="cpu", dtype="fp32")


@pytest.mark.parametrize("kind", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"])
def test_published_schedulers_of_other_classes_are_read(model, saved, tmp_path, kind):
    shutil.copytree(saved / "scheduler", tmp_path / "scheduler")
    changed(tmp_path, "scheduler/scheduler_config.json", _class_name=kind, timestep_spacing="trailing")
    schedule = schedule_of(load_parts(tmp_path, {"scheduler": type(model).PARTS["scheduler"]})["scheduler"])
    assert (schedule.prediction, len(schedule)) == ("epsilon", 1000)
    assert schedule.alpha(999) == pytest.approx(0.0683, abs=1e-3)


def test_a_refiner_is_named(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "text_encoder")
    changed(tmp_path / "other", "unet/config.json", projection_class_embeddings_input_dim=72)
    with pytest.raises(BadInput, match=r"give a Stable Diffusion XL base model \(not a refiner\)"):
        shiftless.load(tmp_path / "other", device="cpu", dtype="fp32")
