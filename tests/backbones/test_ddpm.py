"""Pixel-space DDPMs: features and predictions are those of plain diffusers, from both layouts they are published in."""

from __future__ import annotations

import json
import re

import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from safetensors.torch import load_file, save_file

import shiftless
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout
from shiftless.taps.names import select

TAPS = ["up1", "up1.attn1", "up1.attn1.self.k", "up1.attn1.self.map", "mid.attn0", "up2.res0.increment"]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:ddpm-bedroom", device="cpu", dtype="fp32")


def saved(folder, flat=False):
    """A twin as `save_pretrained` writes it, or as the first repositories hold it: in the root, with old names."""
    save_parts(type(shiftless.load("twin:ddpm-bedroom")).twin_parts(models()["ddpm-bedroom"]), folder)
    if flat:
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
        pattern = re.compile("|".join(map(re.escape, old)))
        weights = {pattern.sub(lambda found: old[found[0]], name): value for name, value in weights.items()}
        save_file(weights, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
        config = json.loads((folder / "unet" / "config.json").read_text())
        since = ("add_attention", "mid_block_type", "class_embed_type", "num_class_embeds", "resnet_time_scale_shift")
        config = {name: value for name, value in config.items() if name not in since}
        (folder / "config.json").write_text(json.dumps(config))
        for part, name in (("unet", "diffusion_pytorch_model.safetensors"), ("unet", "config.json")):
            (folder / part / name).unlink()
        (folder / "scheduler" / "scheduler_config.json").rename(folder / "scheduler_config.json")
        (folder / "unet").rmdir()
        (folder / "scheduler").rmdir()
    return folder


@pytest.mark.parametrize("hw", [(64, 64), (64, 96)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, hw):
    pixels = torch.rand(1, 3, *hw, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = model.encode_image(pixels)
    assert torch.equal(latent, pixels)
    assert torch.equal(model.decode(latent), pixels)
    ours = model.denoise(latent, 250, model.encode_prompt([""]), select(TAPS, model.taps), full=True)
    unet, kept = model.denoiser, {}
    attention = unet.up_blocks[1].attentions[1]
    modules = {
        "up1": unet.up_blocks[1],
        "up1.attn1": attention,
        "mid.attn0": unet.mid_block.attentions[0],
        "up2.res0.increment": unet.up_blocks[2].resnets[0].conv2,
        "in": attention.group_norm,
    }
    handles = [
        module.register_forward_hook(lambda _m, _a, out, name=name: kept.update({name: out}))
        for name, module in modules.items()
    ]
    with torch.no_grad():
        prediction = unet(latent, 250).sample
        tokens = kept.pop("in").flatten(2).transpose(1, 2)  # normalised as tokens, B C N
        tokens = tokens if tokens.shape[-1] == attention.to_q.in_features else tokens.transpose(1, 2)
        q, k = attention.to_q(tokens), attention.to_k(tokens)
    for handle in handles:
        handle.remove()
    grid = hw[0] // 16, hw[1] // 16
    kept["up1.attn1.self.k"] = k.transpose(1, 2).unflatten(2, grid)
    assert attention.heads == 1  # the published networks have one head
    scores = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
    kept["up1.attn1.self.map"] = scores.transpose(1, 2).unflatten(2, grid)
    torch.testing.assert_close(ours.prediction, prediction, **CLOSE)
    assert ours.maps.keys() == kept.keys()
    for name, value in kept.items():
        torch.testing.assert_close(ours.maps[name], value, **CLOSE)


@pytest.mark.parametrize("flat", [False, True])
def test_both_published_layouts_are_read(model, tmp_path, flat):
    folder = saved(tmp_path, flat)
    loaded = shiftless.load(folder, device="cpu", dtype="fp32")
    assert (loaded.taps, loaded.spec.size) == (model.taps, 64)
    assert taps(folder) == model.taps
    assert loaded.fingerprint == shiftless.load(folder, device="cpu", dtype="bf16").fingerprint
    latent = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    theirs, ours = (one.denoise(latent, 50, one.encode_prompt([""])).prediction for one in (model, loaded))
    torch.testing.assert_close(ours, theirs, **CLOSE)
    if not flat:
        return
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"],
                    "scheduler": ["diffusers", "DDPMScheduler"]})
    )  # fmt: skip
    unet = DDPMPipeline.from_pretrained(folder, local_files_only=True).unet
    with torch.no_grad():
        torch.testing.assert_close(unet(latent, 50).sample, ours, **CLOSE)


def test_one_step_of_ddim_is_that_of_diffusers(model):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False)
    noisy, noise = torch.randn(2, 1, 3, 64, 64)
    scheduler.set_timesteps(1000)
    expected = scheduler.step(noise, 250, noisy).pred_original_sample
    torch.testing.assert_close(model.predict_clean(noisy, noise, 250), expected, atol=1e-4, rtol=1e-4)


def test_listed_taps_are_those_of_the_published_network():
    """A whole forward pass of the full-size network on the meta device: shapes without weights or time."""
    listed = [tap for tap in taps("ddpm-bedroom") if tap.kind == "out"]
    with torch.device("meta"):
        unet = UNet2DModel(**models()["ddpm-bedroom"]["unet"])
        with tapped(unet, listed, layout=Layout((256, 256)), stop=False) as captured:
            unet(torch.empty(1, 3, 256, 256), torch.tensor([50], device="meta"))
    assert 113_000_000 < sum(p.numel() for p in unet.parameters()) < 114_000_000
    for tap, value in zip(listed, captured.maps().values()):
        _, c, h, w = value.shape
        assert (c, h * tap.stride, w * tap.stride) == (tap.channels, 256, 256), tap


def test_a_prompt_is_refused(model):
    for ask in (
        lambda: shiftless.extract(model, torch.zeros(3, 64, 64), shiftless.Recipe(taps=("up1",), prompt="a bed")),
        lambda: model.encode_prompt(["a bed"]),
    ):
        with pytest.raises(shiftless.BadInput, match="takes no text") as raised:
            ask()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("unet", {"num_class_embeds": 1000}, "'num_class_embeds' needs class_embedding.weight"),
        ("unet", {"num_class_embeds": 0}, "'num_class_embeds' is 0"),
        ("unet", {"time_embedding_type": "fourier"}, "'time_embedding_type' is \"fourier\""),
        ("unet", {"in_channels": 4}, "'in_channels' is 4"),
        ("unet", {"layers_per_block": 30}, "'layers_per_block' asks for 30 where the weights'"),
        ("unet", {"down_block_types": ["SkipDownBlock2D"] * 6}, "'down_block_types' is"),
        ("unet", {"down_block_types": ["DownBlock2D"]}, "has 1 entries and 'block_out_channels' has 6"),
        ("scheduler", {"beta_start": "removed"}, "no DDPM"),
    ],
)
def test_networks_of_another_kind_are_one_line(tmp_path, part, change, message):
    folder = saved(tmp_path)
    path = folder / part / ("config.json" if part == "unet" else "scheduler_config.json")
    config = {**json.loads(path.read_text()), **change}
    if change.get("beta_start") == "removed":
        config = {"_class_name": "CMStochasticIterativeScheduler", "sigma_max": 80.0}
    path.write_text(json.dumps(config))
    with pytest.raises(shiftless.BadInput, match=re.escape(message)) as raised:
        shiftless.load(folder)
    assert "\n" not in str(raised.value)


def test_a_network_behind_an_autoencoder_is_not_taken_for_one_of_pixels(tmp_path):
    folder = saved(tmp_path)
    (folder / "vqvae").mkdir()
    with pytest.raises(shiftless.BadInput, match='"UNet2DModel" of another family'):
        shiftless.load(folder)
