"""Unions of ControlNets: what SDXL's UNet is given is what diffusers' own pipeline gives it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import ControlNetUnionModel, DDIMScheduler, StableDiffusionXLControlNetUnionPipeline

import shiftless
from shiftless import BadInput, Recipe
from shiftless.backbones.twin_controls import twin_union
from shiftless.conditions.condition import Steer, join, take
from shiftless.conditions.unet_residuals import residuals
from tests.conditions.pipeline_calls import record

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
PROMPT = "a photo of a horse"
HW = (64, 96)
PICTURE = np.random.default_rng(0).integers(0, 256, (*HW, 3), dtype=np.uint8)
MODES = {"canny": 3, "tile": 6}


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sdxl", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets") / "union"
    model.control("union-canny").net.save_pretrained(folder)
    return folder


def map_of(seed):
    return torch.rand(1, 3, *HW, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("kinds", "scales"), [(["canny"], [0.7]), (["tile", "canny"], [0.7, 0.4])])
def test_predictions_are_those_of_the_pipeline(model, kinds, scales):
    controls = [model.control(f"union-{kind}") for kind in kinds]
    assert [control.mode for control in controls] == [MODES[kind] for kind in kinds]
    assert len({id(control.net) for control in controls}) == 1
    maps = [map_of(i) for i in range(len(kinds))]
    pipeline = StableDiffusionXLControlNetUnionPipeline(
        vae=model.vae, text_encoder=model.text_encoder, text_encoder_2=model.networks["text_encoder_2"],
        tokenizer=model.tokenizer, tokenizer_2=model.tokenizers["tokenizer_2"], unet=model.unet,
        controlnet=controls[0].net, scheduler=DDIMScheduler.from_config(model._scheduler.config),
    )  # fmt: skip
    calls = record(
        pipeline, model.unet, prompt=PROMPT, control_image=maps, control_mode=[MODES[kind] for kind in kinds],
        height=HW[0], width=HW[1], num_inference_steps=2, guidance_scale=1.0, controlnet_conditioning_scale=scales,
    )  # fmt: skip
    steers = [Steer(one.net, image, scale, one.mode) for one, image, scale in zip(controls, maps, scales)]
    bare = model.encode_prompt([PROMPT], size=HW)
    assert len(calls) == 2
    for latent, timestep, theirs in calls:
        ours = model.denoise(latent, int(timestep), replace(bare, steers=tuple(steers))).prediction
        torch.testing.assert_close(ours, theirs, **CLOSE)
        assert (ours - model.denoise(latent, int(timestep), bare).prediction).abs().max() > 1e-3


def test_a_union_beside_other_controls_adds_up(model):
    """Its maps share a call wherever they stand; rows of a batch keep the kinds."""
    union, net, adapter = (model.control(name) for name in ("union-canny", "canny", "t2i-canny"))
    condition = model.encode_prompt([PROMPT], size=HW)
    steers = (Steer(union.net, map_of(0), 0.7, 3), Steer(net.net, map_of(1)), Steer(adapter.net, map_of(2)))
    steers += (Steer(union.net, map_of(3), 0.5, 6),)
    latent, told = torch.randn(1, 4, 8, 12), condition.extra

    def given(some):
        return residuals(some, latent, 50, condition.embeds, told)

    whole, unions, single = given(steers), given([steers[0], steers[3]]), given([steers[1]])
    middle = "mid_block_additional_residual"
    torch.testing.assert_close(whole[middle], unions[middle] + single[middle], **CLOSE)
    assert (unions[middle] - given([steers[0]])[middle] - given([steers[3]])[middle]).abs().max() > 1e-4
    assert len(whole["down_intrablock_additional_residuals"]) == 4
    two = join([replace(condition, steers=steers)] * 2)
    assert [steer.mode for steer in take(two, [1]).steers] == [3, None, None, 6]


def test_it_composes_and_leaves_the_model_as_it_was(model):
    base = Recipe(timestep=50, prompt="a horse", size=64, taps=("up0",))
    recipes = [
        base, base.but(control="union-canny"), base.but(control="union-tile"),
        base.but(control=("union-canny", "union-tile"), image_prompt="ip-adapter", start=60, steps=2),
    ]  # fmt: skip
    before = model._digest()
    readings = shiftless.extract(model, PICTURE, recipes)
    for i, one in enumerate(readings):
        assert all((one["up0"] - readings[j]["up0"]).abs().max() > 1e-4 for j in range(i)), i
    assert model._digest() == before
    assert len({model.digest("control", f"union-{kind}") for kind in MODES}) == 2


def test_a_folder_is_loaded_once_for_all_kinds(model, saved):
    """The first published unions name a class that diffusers lacks; their number of kinds tells what they are."""
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "_class_name": "ControlNetModel_Union"}))
    canny, tile = (model.control(f"{kind}={saved}") for kind in MODES)
    assert canny.net is tile.net
    assert (canny.mode, tile.mode) == (3, 6)
    assert isinstance(canny.net, ControlNetUnionModel)
    for ours, theirs in zip(canny.net.parameters(), model.control("union-canny").net.parameters()):
        assert torch.equal(ours, theirs)


def test_a_kind_that_it_was_not_trained_for_is_refused(model, tmp_path):
    small = twin_union(model.unet, 8)
    config = {**small.config, "num_control_type": 6}
    ControlNetUnionModel.from_config(config).save_pretrained(tmp_path / "union")
    with pytest.raises(BadInput, match=r"union of ControlNets takes no tile \(of the maps made here: depth, canny\)"):
        model.control(f"tile={tmp_path / 'union'}")
    sd15 = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    with pytest.raises(BadInput, match=r"for another model \(cross_attention_dim is 64, the model's is 32\)"):
        sd15.control(f"canny={tmp_path / 'union'}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_control_type": 6}, "'num_control_type' asks for 6 where the weights' task_embedding has 8"),
        ({"num_trans_layer": 3}, "'num_trans_layer' asks for 3 where the weights' transformer_layes has 1"),
        ({"num_trans_channel": 64}, "'num_trans_channel' is 64, and 'block_out_channels' begins with 32"),
        ({"num_trans_head": 5}, "not a union of ControlNets that can be loaded"),
        ({"addition_embed_type": None}, "'addition_embed_type' is null; it must be one of text_time"),
        ({"controlnet_conditioning_channel_order": "bgr"}, "must be one of rgb"),
    ],
)
def test_broken_folders_are_one_line(model, saved, tmp_path, change, message):
    (tmp_path / "union").mkdir()
    (tmp_path / "union" / "diffusion_pytorch_model.safetensors").symlink_to(
        saved / "diffusion_pytorch_model.safetensors"
    )
    config = json.loads((saved / "config.json").read_text()) | change
    (tmp_path / "union" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match=message) as caught:
        model.control(f"canny={tmp_path / 'union'}")
    assert "\n" not in str(caught.value)
