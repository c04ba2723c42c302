"""ControlNets of SD3 and Flux: what transformers are given is what diffusers' own pipelines give them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetPipeline,
    FluxMultiControlNetModel,
    SD3ControlNetModel,
    SD3MultiControlNetModel,
    StableDiffusion3ControlNetPipeline,
)
from safetensors.torch import save_file

import shiftless
from shiftless import BadInput, Recipe
from shiftless.backbones.twin_controls import twin_transformer_control
from shiftless.conditions.condition import Steer
from shiftless.conditions.control_classes import CONTROL_CLASSES
from shiftless.conditions.control_maps import MAPS
from tests.conditions.pipeline_calls import record

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
PROMPT = "a photo of a horse"
HW = (64, 128)
PIXELS = torch.rand(1, 3, *HW, generator=torch.Generator().manual_seed(0)) * 2 - 1
PICTURE = np.random.default_rng(0).integers(0, 256, (*HW, 3), dtype=np.uint8)
XLABS = {"conditioning_embedding_channels": 16, "patch_size": 2, "num_layers": 2, "num_single_layers": 0}
POOLED = {"force_zeros_for_pooled_projection": False}
STABILITY = {**POOLED, "use_pos_embed": False, "joint_attention_dim": None, "qk_norm": None, "num_layers": 1}


def loaded(name):
    """A twin whose autoencoder gives latents without variance: the pipelines sample them, and then get the mean."""
    model = shiftless.load(f"twin:{name}", device="cpu", dtype="fp32")
    last = model.vae.encoder.conv_out
    half = last.weight.shape[0] // 2
    last.weight.data[half:], last.bias.data[half:] = 0, -60
    return model


@pytest.fixture(scope="module")
def sd3():
    return loaded("sd3-medium")


@pytest.fixture(scope="module", params=["flux-dev", "flux-schnell"])
def flux(request):
    return loaded(request.param)


@pytest.fixture(scope="module")
def schnell():
    return loaded("flux-schnell")


def maps(kind):
    return MAPS[kind](PIXELS)


def lora_of(model, file):
    """Write a LoRA of one layer of the denoiser."""
    layer, generator = "transformer_blocks.0.attn.to_q", torch.Generator().manual_seed(0)
    wide = model.denoiser.get_submodule(layer).in_features
    down, up = torch.randn(2, wide, generator=generator), torch.randn(wide, 2, generator=generator)
    save_file({f"transformer.{layer}.lora_A.weight": down, f"transformer.{layer}.lora_B.weight": up}, file)
    return str(file)


def sd3_net(model, seed=0, **changes):
    return twin_transformer_control(
        "diffusers:SD3ControlNetModel", model.denoiser, seed, **{"num_layers": 2, **changes}
    )


def flux_net(model, seed=0, **changes):
    few = {"num_layers": 1, "num_single_layers": 1}
    return twin_transformer_control("diffusers:FluxControlNetModel", model.denoiser, seed, **{**few, **changes})


def steered(model, controls, scales, pixels=PIXELS):
    """A condition of the prompt and controls, each with its map of the pixels."""
    steers = [Steer(one.net, one.draw(pixels), scale, one.mode) for one, scale in zip(controls, scales)]
    return replace(model.encode_prompt([PROMPT]), steers=tuple(steers))


def check_equal(model, pipeline, controls, scales, images, **options):
    """Compare each call of the denoiser in a pipeline with ours at the same latent and timestep."""
    several = {"control_image": images, "controlnet_conditioning_scale": scales}
    one = {"control_image": images[0], "controlnet_conditioning_scale": scales[0]}
    calls = record(
        pipeline, model.denoiser, prompt=PROMPT, height=HW[0], width=HW[1], sigmas=[0.75, 0.3],
        num_inference_steps=2, **(several if len(images) > 1 else one), **options,
    )  # fmt: skip
    condition, bare = steered(model, controls, scales), model.encode_prompt([PROMPT])
    assert len(calls) == 2
    for latent, timestep, theirs in calls:
        t = round(float(timestep[0]) * (1000 if model.spec.family == "flux" else 1))
        assert t in (750, 300)
        if model.spec.family == "flux":
            latent, theirs = (pipeline._unpack_latents(x, *HW, 8) for x in (latent, theirs))
        ours = model.denoise(latent, t, condition).prediction
        torch.testing.assert_close(ours, theirs, **CLOSE)
        assert (ours - model.denoise(latent, t, bare).prediction).abs().max() > 1e-3


def sd3_pipeline(model, net):
    scheduler = FlowMatchEulerDiscreteScheduler()
    return StableDiffusion3ControlNetPipeline(**model.networks, **model.tokenizers, scheduler=scheduler, controlnet=net)


def flux_pipeline(model, net):
    scheduler = FlowMatchEulerDiscreteScheduler()
    return FluxControlNetPipeline(**model.networks, **model.tokenizers, scheduler=scheduler, controlnet=net)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [({}, "canny"), (POOLED, "tile"), ({**POOLED, "num_layers": 3}, "canny"), (STABILITY, "tile")],
    ids=["instantx", "pooled", "as many blocks", "stability"],
)
def test_predictions_are_those_of_sd3s_pipeline(sd3, tmp_path, settings, kind):
    sd3_net(sd3, **settings).save_pretrained(tmp_path / "net")
    control = sd3.control(f"{kind}={tmp_path / 'net'}")
    theirs = SD3ControlNetModel.from_pretrained(tmp_path / "net")
    image = maps(kind) * 2 - 1
    check_equal(sd3, sd3_pipeline(sd3, theirs), [control], [0.7], [image], guidance_scale=1.0)


def test_several_of_sd3_add_up_as_the_pipeline_adds_them(sd3, tmp_path):
    for seed in (0, 1):
        sd3_net(sd3, seed).save_pretrained(tmp_path / str(seed))
    controls = [sd3.control(f"{kind}={tmp_path / str(i)}") for i, kind in enumerate(("canny", "tile"))]
    pipeline = sd3_pipeline(sd3, SD3MultiControlNetModel([one.net for one in controls]))
    images = [maps(kind) * 2 - 1 for kind in ("canny", "tile")]
    check_equal(sd3, pipeline, controls, [0.7, 0.4], images, guidance_scale=1.0)


def test_edges_for_stabilitys_own_networks_are_scaled_as_their_card_says(sd3, tmp_path):
    sd3_net(sd3, **STABILITY).save_pretrained(tmp_path / "net")
    control = sd3.control(f"canny={tmp_path / 'net'}")
    with torch.no_grad():
        mean = sd3.vae.encode(maps("canny") * 255 * 0.5 + 0.5).latent_dist.mean
    config = sd3.vae.config
    torch.testing.assert_close(control.draw(PIXELS), (mean - config.shift_factor) * config.scaling_factor, **CLOSE)


@pytest.mark.parametrize("settings", [{}, {"num_layers": 2}, {"num_single_layers": 0}, XLABS])
def test_predictions_are_those_of_fluxs_pipeline(flux, tmp_path, settings):
    flux_net(flux, **settings).save_pretrained(tmp_path / "net")
    control = flux.control(f"canny={tmp_path / 'net'}")
    pipeline = flux_pipeline(flux, control.net)
    check_equal(flux, pipeline, [control], [0.7], [maps("canny") * 2 - 1], guidance_scale=3.5)


def test_a_union_of_flux_is_told_the_kind_and_several_add_up(schnell, tmp_path):
    flux_net(schnell, num_mode=7, guidance_embeds=True).save_pretrained(tmp_path / "net")
    kinds = {"canny": 0, "tile": 1}
    controls = [schnell.control(f"{kind}={tmp_path / 'net'}") for kind in kinds]
    assert [one.mode for one in controls] == [0, 1]
    assert controls[0].net is controls[1].net
    images = [maps(kind) * 2 - 1 for kind in kinds]
    for i, kind in enumerate(kinds):
        options = {"control_mode": kinds[kind], "guidance_scale": 3.5}
        check_equal(schnell, flux_pipeline(schnell, controls[0].net), [controls[i]], [0.7], [images[i]], **options)
    pipeline = flux_pipeline(schnell, FluxMultiControlNetModel([controls[0].net]))
    always = {"control_guidance_start": [0.0, 0.0], "control_guidance_end": [1.0, 1.0]}  # else the first alone acts
    options = {"control_mode": [0, 1], "guidance_scale": 3.5, **always}
    check_equal(schnell, pipeline, controls, [0.7, 0.4], images, **options)


def test_nothing_is_printed_of_names_that_diffusers_will_move(schnell, tmp_path, recwarn):
    flux_net(schnell).save_pretrained(tmp_path / "net")
    schnell.control(f"tile={tmp_path / 'net'}")
    assert not [one for one in recwarn if issubclass(one.category, FutureWarning)]


def test_networks_of_different_depths_add_up_block_by_block(schnell, tmp_path):
    flux_net(schnell, 0, num_layers=1, num_single_layers=2).save_pretrained(tmp_path / "a")
    flux_net(schnell, 1, num_layers=2, num_single_layers=0).save_pretrained(tmp_path / "b")
    controls = [schnell.control(f"canny={tmp_path / name}") for name in "ab"]
    given = []
    handle = schnell.denoiser.register_forward_pre_hook(lambda _m, _a, kw: given.append(kw), with_kwargs=True)
    latent = torch.randn(1, 16, 8, 16, generator=torch.Generator().manual_seed(1))
    for some in (controls, controls[:1], controls[1:]):
        schnell.denoise(latent, 300, steered(schnell, some, [1.0] * len(some)))
    handle.remove()
    both, first, second = (one["controlnet_block_samples"] for one in given)
    for a, b, total in zip(first, second, both, strict=True):
        torch.testing.assert_close(total, a + b, **CLOSE)
    assert torch.equal(given[0]["controlnet_single_block_samples"][1], given[1]["controlnet_single_block_samples"][1])
    assert "controlnet_single_block_samples" not in given[2]


@pytest.mark.parametrize("name", ["sd3.5-medium", "flux-dev"])
def test_it_composes_and_leaves_the_model_as_it_was(name, tmp_path):
    model = shiftless.load(f"twin:{name}", device="cpu", dtype="fp32")
    assert model.controls() == ["canny"]
    assert "control" in model.spec.techniques
    tap = next(tap.name for tap in model.taps if tap.name in ("block1", "single0"))
    base = Recipe(timestep=300, prompt="a horse", size=64, taps=(tap,))
    recipes = [
        base, base.but(control="canny"), base.but(control="canny", control_scale=0.5),
        base.but(control=("canny", "canny"), lora=lora_of(model, tmp_path / "a.safetensors"), start=340, steps=2),
    ]  # fmt: skip
    before = model._digest()
    together = shiftless.extract(model, [PICTURE, PICTURE[::-1].copy()], recipes)[0]
    for i, one in enumerate(together):
        assert all((one[tap] - together[j][tap]).abs().max() > 1e-4 for j in range(i)), i
    alone = shiftless.extract(model, PICTURE, recipes[-1])
    torch.testing.assert_close(together[-1][tap], alone[tap], atol=2e-5, rtol=1e-4)
    assert model._digest() == before


def test_an_image_without_positions_is_refused(sd3, tmp_path):
    sd3_net(sd3, pos_embed_max_size=6).save_pretrained(tmp_path / "canny")
    recipe = Recipe(timestep=300, taps=("block0",), control=str(tmp_path / "canny"), size=128)
    with pytest.raises(BadInput, match=r"16 cells a side is more than .* has positions for \(at most 12, 96"):
        shiftless.extract(sd3, PICTURE, recipe)
    shiftless.extract(sd3, PICTURE, recipe.but(size=96))


def test_networks_of_other_models_are_refused(sd3, schnell, tmp_path):
    flux_net(schnell, num_mode=2).save_pretrained(tmp_path / "flux")
    sd3_net(sd3, num_attention_heads=8).save_pretrained(tmp_path / "wide")
    sd3_net(sd3, extra_conditioning_channels=1).save_pretrained(tmp_path / "mask")
    flux_net(schnell, **{**XLABS, "conditioning_embedding_channels": 64, "patch_size": 1}).save_pretrained(
        tmp_path / "hint"
    )
    unet = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    unet.control("canny").net.save_pretrained(tmp_path / "unet")
    for model, folder, message in (
        (sd3, "flux", "for models with a FluxTransformer2DModel, and this model has a SD3Transformer2DModel"),
        (schnell, "unet", "for models with a UNet2DConditionModel, and this model has a FluxTransformer2DModel"),
        (unet, "flux", "for models with a FluxTransformer2DModel, and this model has a UNet2DConditionModel"),
        (sd3, "wide", r"for another model \(num_attention_heads is 8, the model's is 4\)"),
        (sd3, "mask", "a ControlNet for inpainting, which takes a mask beside its map"),
        (schnell, "hint", "makes tokens of 64 values from 8 pixels a side, the model's have 64 from 16"),
    ):
        with pytest.raises(BadInput, match=message) as caught:
            model.control(f"canny={tmp_path / folder}")
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="this union of ControlNets takes no depth"):
        CONTROL_CLASSES["FluxControlNetModel"].mode(flux_net(schnell, num_mode=2), "depth", "net")


@pytest.mark.parametrize(
    ("of", "change", "message"),
    [
        ("sd3", {"num_layers": 3}, "'num_layers' asks for 3 where the weights' transformer_blocks has 2"),
        ("sd3", {"extra_conditioning_channels": 1}, "'extra_conditioning_channels' asks for 17 where the weights'"),
        ("sd3", {"joint_attention_dim": 64}, "'joint_attention_dim' asks for 64"),
        ("sd3", {"use_pos_embed": "no"}, "'use_pos_embed' is \"no\"; it must be true or false, or null"),
        ("flux", {"num_layers": 2}, "'num_layers' asks for 2 where the weights' transformer_blocks has 1"),
        ("flux", {"num_mode": 7}, "'num_mode' needs controlnet_mode_embedder.weight, which the weights lack"),
        ("flux", {"guidance_embeds": True}, "the weights lack time_text_embed.guidance_embedder"),
        ("flux", {"axes_dims_rope": []}, "'axes_dims_rope' is \\[\\]"),
        ("flux", {"in_channels": 128}, "'in_channels' asks for 128 where the weights' x_embedder.weight has 64"),
    ],
)
def test_broken_folders_are_one_line(sd3, schnell, tmp_path, of, change, message):
    model, net = (sd3, sd3_net(sd3)) if of == "sd3" else (schnell, flux_net(schnell))
    net.save_pretrained(tmp_path / "canny")
    config = tmp_path / "canny" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(BadInput, match=message) as caught:
        model.control(str(tmp_path / "canny"))
    assert "\n" not in str(caught.value)
    (tmp_path / "canny" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BadInput, match="no safetensors weights here"):
        model.control(str(tmp_path / "canny"))
