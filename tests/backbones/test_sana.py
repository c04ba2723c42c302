"""Sana: features, predictions, latents and prompts are those of diffusers, called as its own pipeline calls it."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from diffusers import AutoencoderDC, FlowMatchEulerDiscreteScheduler, SanaPipeline, SanaTransformer2DModel

import shiftless
from shiftless import BadInput
from shiftless.backbones.random_parts import network, save_parts
from shiftless.backbones.registry import models, taps
from shiftless.backbones.sana import Sana
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout
from shiftless.taps.names import select

PROMPT = "A photo of a horse, in snow"
LATER = {"qk_norm": "rms_norm_across_heads", "timestep_scale": 0.5}  # what later versions differ in
TAPS = ["block1", "block1.cross.map", "block1.ffn.inner", "block2.self.k"]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def twin(**changes):
    """A twin, with changes to its transformer's config."""
    parts = Sana.twin_parts(models()["sana"])
    if changes:
        config = {name: value for name, value in parts["transformer"].config.items() if not name.startswith("_")}
        parts["transformer"] = network(Sana.PARTS["transformer"], config, changes)
    return parts


@pytest.fixture(
    scope="module", params=[{}, {"qk_norm": "rms_norm_across_heads", "timestep_scale": 0.5}], ids=["1", "1.5"]
)
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sana")
    save_parts(twin(**request.param), folder)
    return shiftless.load(folder, device="cpu", dtype="fp32")


def prompt_of(model, prompt):
    """The prompt as diffusers' pipeline encodes it: the instruction that its call has by default, and then the text."""
    pipeline = SanaPipeline(**model.networks, **model.tokenizers, scheduler=model._scheduler)
    given = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
    asks = {"do_classifier_free_guidance": True, "device": torch.device("cpu"), "complex_human_instruction": given}
    embeds, mask, no_embeds, no_mask = pipeline.encode_prompt(prompt, **asks)
    return (embeds, mask) if prompt else (no_embeds, no_mask)


@pytest.mark.parametrize("hw", [(128, 128), (64, 160)])
@torch.no_grad()
def test_features_and_predictions_are_those_of_plain_diffusers(model, hw):
    latent = torch.randn(1, 32, hw[0] // 32, hw[1] // 32, generator=torch.Generator().manual_seed(0))
    condition = model.encode_prompt([PROMPT])
    ours = model.denoise(latent, 261, condition, select(TAPS, model.taps), full=True)
    embeds, mask = prompt_of(model, PROMPT)
    torch.testing.assert_close(condition.embeds, embeds, **CLOSE)
    assert torch.equal(condition.extra["mask"], mask)
    net, kept = model.denoiser, {}
    block, grid = net.transformer_blocks[1], (hw[0] // 32, hw[1] // 32)
    handles = [
        module.register_forward_hook(lambda _m, _a, out, name=name: kept.update({name: out}))
        for name, module in {
            "block1": block, "block2.self.k": net.transformer_blocks[2].attn1.to_k,
            "q": block.attn2.to_q, "k": block.attn2.to_k,
        }.items()
    ]  # fmt: skip
    handles.append(block.ff.conv_point.register_forward_pre_hook(lambda _m, args: kept.update(inner=args[0])))
    told = torch.tensor([261.0]) * net.config.timestep_scale
    prediction = net(latent, encoder_hidden_states=embeds, encoder_attention_mask=mask, timestep=told).sample
    for handle in handles:
        handle.remove()
    q, k = ((x if norm is None else norm(x)).unflatten(2, (2, 16)).transpose(1, 2)
            for x, norm in ((kept["q"], block.attn2.norm_q), (kept["k"], block.attn2.norm_k)))  # fmt: skip
    scores = q @ k.transpose(2, 3) / 4 + (1 - mask[:, None, None]) * -10000.0
    cross = scores.softmax(-1).mean(1).transpose(1, 2).unflatten(2, grid)
    torch.testing.assert_close(ours.prediction, prediction, **CLOSE)
    torch.testing.assert_close(ours.maps["block1.cross.map"], cross, **CLOSE)
    torch.testing.assert_close(ours.maps["block1.ffn.inner"], kept["inner"], **CLOSE)
    for name in ("block1", "block2.self.k"):
        torch.testing.assert_close(ours.maps[name], kept[name].transpose(1, 2).unflatten(2, grid), **CLOSE)
    assert ours.maps["block1.cross.map"][:, mask[0] == 0].max() < 1e-6  # nothing looks at padding


@torch.no_grad()
def test_no_prompt_is_read_as_the_pipeline_reads_none(model):
    condition = model.encode_prompt([""])
    embeds, mask = prompt_of(model, "")
    assert torch.equal(condition.extra["mask"], mask)
    torch.testing.assert_close(condition.embeds[:, mask[0] == 1], embeds[:, mask[0] == 1], **CLOSE)


@torch.no_grad()
def test_images_are_encoded_and_decoded_as_plain_diffusers_does(model):
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = model.encode_image(pixels)
    torch.testing.assert_close(latent, model.vae.encode(pixels).latent * 0.41407, **CLOSE)
    torch.testing.assert_close(model.decode(latent), model.vae.decode(latent / 0.41407).sample.clamp(-1, 1), **CLOSE)
    draws = model.encode_image(pixels, latent="sample", noise=torch.randn(2, 32, 2, 3))
    assert torch.equal(draws, latent.repeat(2, 1, 1, 1))


def test_words_are_those_of_the_prompt_and_not_of_the_instruction(model):
    condition = model.encode_prompt([PROMPT])
    assert condition.embeds.shape[1] == len(condition.words[0]) == 300
    assert "".join(condition.words[0]).split() == ["a", "photo", "of", "a", "horse", ",", "in", "snow"]
    longer = model.encode_prompt(["horse " * 70])
    assert "".join(longer.words[0]).split() == ["horse"] * 70
    assert longer.embeds.shape[1] > 300


def test_linear_attention_has_no_map(model):
    assert not [tap.name for tap in model.taps if ".self.map" in tap.name]
    assert "cross.map" in {tap.name for tap in model.taps}
    for name in ("block0.self.map", "self.map", "block1.self.map.heads"):
        with pytest.raises(BadInput, match="self-attention is linear and has no map"):
            select([name], model.taps)
    with pytest.raises(BadInput, match="has no tap 'block9'; nearest"):
        select(["block9"], model.taps)


def test_every_scheduler_of_its_repositories_means_rectified_flow(tmp_path):
    save_parts({**twin(), "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0)}, tmp_path)
    schedule = shiftless.load(tmp_path, device="cpu").schedule
    assert (schedule.prediction, schedule.sigma(250)) == ("flow", 0.25)


def test_a_sprint_is_refused_in_one_line(tmp_path):
    save_parts(twin(), tmp_path)
    path = tmp_path / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "guidance_embeds": True}))
    for ask in (shiftless.load, taps):
        with pytest.raises(shiftless.BadInput, match="Sana-Sprint") as raised:
            ask(tmp_path)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "millions"), [("sana", (1580, 1620)), ("sana-600m", (580, 600))])
def test_listed_taps_are_those_of_the_published_network(name, millions):
    """A whole forward pass of the full-size network on the meta device: shapes without weights or time."""
    row = models()[name]
    listed = [tap for tap in taps(name) if tap.kind == "out"]
    with torch.device("meta"):
        net, vae = SanaTransformer2DModel(**row["transformer"]), AutoencoderDC(**row["vae"])
        with tapped(net, listed, layout=Layout((64, 128)), stop=False) as captured:
            net(torch.empty(1, 32, 2, 4), torch.empty(1, 300, 2304), torch.tensor([50.0]))
        assert vae.encode(torch.empty(1, 3, 64, 128)).latent.shape == (1, 32, 2, 4)
    assert millions[0] < sum(p.numel() for p in net.parameters()) / 1e6 < millions[1]
    assert [value.shape[1:] for value in captured.maps().values()] == [(tap.channels, 2, 4) for tap in listed]
