"""The Stable Diffusion adapter: from folders in diffusers' own format, whatever their prediction and dtype."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

import shiftless
from shiftless import BadInput, Recipe
from shiftless.backbones.base import Backbone
from shiftless.backbones.registry import models
from shiftless.backbones.twins import save_folder, twin_parts
from shiftless.taps.names import select

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "twin"
    save_folder(twin_parts(models()["sd21"], seed=3), path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return shiftless.load(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def pipeline(folder):
    return StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)


def test_every_twin_is_a_backbone_and_equals_itself():
    for name in (name for name, row in models().items() if row["family"] == "sd"):
        model = shiftless.load(f"twin:{name}", device="cpu", dtype="fp32")
        assert isinstance(model, Backbone)
        assert model.schedule.prediction == ("v_prediction" if name == "sd21" else "epsilon")
        other = shiftless.load(f"twin:{name}", device="cpu", dtype="fp32")
        one, two = (shiftless.extract(m, PICTURE, Recipe(size=64))["up1"] for m in (model, other))
        assert torch.equal(one, two)


@pytest.mark.parametrize("hw", [(64, 64), (64, 96)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, pipeline, hw):
    latent = torch.randn(1, 4, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))
    embeds, kept = pipeline.encode_prompt("a horse", "cpu", 1, False)[0].detach(), {}
    blocks = {f"down{i}": block for i, block in enumerate(pipeline.unet.down_blocks)}
    blocks |= {"mid": pipeline.unet.mid_block, **{f"up{i}": block for i, block in enumerate(pipeline.unet.up_blocks)}}
    hooks = [
        block.register_forward_hook(
            lambda _m, _a, out, name=name: kept.update({name: out[0] if isinstance(out, tuple) else out})
        )
        for name, block in blocks.items()
    ]
    with torch.no_grad():
        prediction = pipeline.unet(latent, 300, embeds).sample
    for hook in hooks:
        hook.remove()
    condition = model.encode_prompt(["a horse"])
    ours = model.denoise(latent, 300, condition, select([*blocks], model.taps), full=True)
    torch.testing.assert_close(condition.embeds, embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.prediction, prediction, atol=1e-5, rtol=1e-5)
    for name in blocks:
        torch.testing.assert_close(ours.maps[name], kept[name], atol=1e-5, rtol=1e-5)


def test_a_saved_folder_reads_like_the_twin_it_was_saved_from(model, pipeline):
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = model.encode_prompt(["a horse"])
    theirs = pipeline.unet(latent, 300, condition.embeds).sample.detach()
    torch.testing.assert_close(model.denoise(latent, 300, condition).prediction, theirs, atol=1e-5, rtol=1e-4)
    embeds = pipeline.encode_prompt("a horse", "cpu", 1, False)[0]
    torch.testing.assert_close(condition.embeds, embeds.detach(), atol=1e-5, rtol=1e-4)


def test_prediction_and_clean_latent_agree_with_the_schedulers_own(model, pipeline):
    latent, prediction = torch.randn(2, 1, 4, 8, 8)
    ddim = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    ddim.set_timesteps(10)
    theirs = ddim.step(prediction, 400, latent).pred_original_sample
    torch.testing.assert_close(model.predict_clean(latent, prediction, 400), theirs, atol=1e-5, rtol=1e-4)


def test_features_can_train_a_head(model):
    maps = shiftless.extract(model, PICTURE, Recipe())
    head = torch.nn.Conv2d(64, 2, 1)
    head(maps["up1"]).mean().backward()
    assert head.weight.grad.abs().sum() > 0


def test_loading_prints_nothing(folder, capfd):
    shiftless.load(folder, device="cpu", dtype="bf16")
    assert capfd.readouterr() == ("", "")


def test_decode_undoes_the_scaling(model):
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    latent = model.encode_image(pixels)
    theirs = model.vae.decode(model.vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1).detach()
    torch.testing.assert_close(model.decode(latent), theirs, atol=1e-5, rtol=1e-4)


def test_bf16_reads_nearly_the_same(folder, model):
    recipe = Recipe(taps=("up0", "up1", "up2"))
    models = (model, shiftless.load(folder, device="cpu", dtype="bf16"))
    full, half = (shiftless.extract(one, PICTURE, recipe, dtype=None) for one in models)
    for tap in full:
        cosine = torch.cosine_similarity(full[tap].flatten(), half[tap].float().flatten(), dim=0)
        assert half[tap].dtype == torch.bfloat16
        assert cosine > 0.995, tap


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(folder, tmp_path, part):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    shutil.rmtree(broken / part)
    with pytest.raises(BadInput, match=part):
        shiftless.load(broken, device="cpu")


def test_weights_cut_short_or_in_pickles_are_refused_in_one_line(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BadInput, match=r"diffusion_pytorch_model\.safetensors: not a whole safetensors file") as caught:
        shiftless.load(broken, device="cpu")
    assert "\n" not in str(caught.value)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(BadInput, match=r"diffusion_pytorch_model\.bin, a pickle, which is never opened here"):
        shiftless.load(broken, device="cpu")


def test_another_family_is_refused(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = other / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "addition_embed_type": "image"}))
    with pytest.raises(BadInput, match="another family"):
        shiftless.load(other)
    (other / "unet" / "config.json").unlink()
    with pytest.raises(BadInput, match=r"no unet/config\.json"):
        shiftless.load(other)
