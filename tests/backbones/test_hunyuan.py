"""HunyuanDiT: features, predictions and prompts are those of diffusers, called as its own pipeline calls it."""

from __future__ import annotations

import pytest
import torch
from diffusers import HunyuanDiT2DModel, HunyuanDiTPipeline
from diffusers.models.embeddings import apply_rotary_emb, get_2d_rotary_pos_embed
from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import get_resize_crop_region_for_grid

import shiftless
from shiftless.backbones.registry import models, taps
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout
from shiftless.taps.names import select

PROMPT = "a photo of a horse"
TAPS = ["block1", "block1.self.map", "block1.cross.map", "block3", "block3.self.v"]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module", params=["hunyuan-dit", "hunyuan-dit-1.1"])
def model(request):
    return shiftless.load(f"twin:{request.param}", device="cpu", dtype="fp32")


def pipeline_of(model):
    return HunyuanDiTPipeline(
        **model.networks, **model.tokenizers, scheduler=model._scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def plain(model, latent, t, hw):
    """The forward pass as diffusers' pipeline calls it, and what hand-written hooks read of it."""
    pipeline, net, kept = pipeline_of(model), model.denoiser, {}
    asks = {"do_classifier_free_guidance": False, "device": torch.device("cpu")}
    embeds, _, mask, _ = pipeline.encode_prompt(PROMPT, max_sequence_length=77, text_encoder_index=0, **asks)
    embeds_2, _, mask_2, _ = pipeline.encode_prompt(PROMPT, max_sequence_length=256, text_encoder_index=1, **asks)
    grid = hw[0] // 16, hw[1] // 16
    rotary = get_2d_rotary_pos_embed(8, get_resize_crop_region_for_grid(grid, 32), grid, output_type="pt")
    block = net.blocks[1]
    handles = [
        module.register_forward_hook(lambda _m, _a, out, name=name: kept.update({name: out}))
        for name, module in {
            "block1": block, "block3": net.blocks[3], "block3.self.v": net.blocks[3].attn1.to_v,
            "q1": block.attn1.to_q, "k1": block.attn1.to_k, "q2": block.attn2.to_q, "k2": block.attn2.to_k,
        }.items()
    ]  # fmt: skip
    with torch.no_grad():
        output = net(
            latent, torch.tensor([float(t)]), encoder_hidden_states=embeds, text_embedding_mask=mask,
            encoder_hidden_states_t5=embeds_2, text_embedding_mask_t5=mask_2,
            image_meta_size=torch.tensor([[1024.0, 1024.0, *hw, 0.0, 0.0]]), style=torch.tensor([0]),
            image_rotary_emb=rotary, return_dict=False,
        )[0]  # fmt: skip
        for handle in handles:
            handle.remove()
        for which, attention, name in (("1", block.attn1, "self"), ("2", block.attn2, "cross")):
            q, k = (kept.pop(letter + which).unflatten(2, (4, 8)).transpose(1, 2) for letter in "qk")
            q, k = apply_rotary_emb(attention.norm_q(q), rotary), attention.norm_k(k)
            k = apply_rotary_emb(k, rotary) if which == "1" else k
            kept[f"block1.{name}.map"] = (q @ k.transpose(2, 3) * 8**-0.5).softmax(-1).mean(1)
    maps = {name: value.transpose(1, 2).unflatten(2, grid) for name, value in kept.items()}
    return output.chunk(2, 1)[0], maps, (embeds, embeds_2, mask, mask_2)


@pytest.mark.parametrize("hw", [(128, 128), (64, 160)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, hw):
    latent = torch.randn(1, 4, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))
    condition = model.encode_prompt([PROMPT], size=hw)
    ours = model.denoise(latent, 261, condition, select(TAPS, model.taps), full=True)
    prediction, maps, text = plain(model, latent, 261, hw)
    told = (condition.embeds, condition.extra["t5"], condition.extra["mask"], condition.extra["t5_mask"])
    for one, other in zip(told, text):
        torch.testing.assert_close(one, other, **CLOSE)
    torch.testing.assert_close(ours.prediction, prediction, **CLOSE)
    for name, value in maps.items():
        torch.testing.assert_close(ours.maps[name], value, **CLOSE)


def test_a_word_is_found_among_the_tokens_of_both_encoders(model):
    condition = model.encode_prompt([PROMPT])
    assert "".join(condition.words[0][:77]).split() == "".join(condition.words[0][77:]).split() == PROMPT.split()
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    chosen = select(["block1.cross.map", "block1.cross.map:horse"], model.taps)
    maps = model.denoise(latent, 50, condition, chosen).maps
    halves = ([i for i in span if condition.words[0][i]][-5:] for span in (range(77), range(77, 333)))
    columns = [i for half in halves for i in half]  # the twins' tokens are letters
    assert "".join(condition.words[0][i] for i in columns) == "horse horse "
    expected = maps["block1.cross.map"][:, columns].mean(1, keepdim=True)
    torch.testing.assert_close(maps["block1.cross.map:horse"], expected, **CLOSE)


def test_half_precision_is_told_the_exact_timestep(model):
    half = shiftless.load(f"{model.spec.name}", device="cpu", dtype="bf16")
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = []
    handle = half.denoiser.time_extra_emb.time_proj.register_forward_hook(lambda _m, told, _out: seen.append(told[0]))
    half.denoise(latent, 999, half.encode_prompt([""], size=(64, 64)))
    handle.remove()
    assert seen[0].tolist() == [999]


def test_a_prompt_longer_than_the_network_takes_is_one_line(model):
    assert model.encode_prompt(["horse " * 40]).embeds.shape[1] == 77  # BERT's half is cut, as diffusers cuts it
    with pytest.raises(shiftless.BadInput, match="takes 256 tokens of text, and the prompt has 482") as raised:
        model.encode_prompt(["horse " * 80])
    assert "\n" not in str(raised.value)


def test_listed_taps_are_those_of_the_published_network():
    """A whole forward pass of the full-size network on the meta device: shapes without weights or time."""
    listed = [tap for tap in taps("hunyuan-dit") if tap.kind == "out"]
    with torch.device("meta"):
        net = HunyuanDiT2DModel(**models()["hunyuan-dit"]["transformer"])
        with tapped(net, listed, layout=Layout((64, 128)), stop=False) as captured:
            net(
                torch.empty(1, 4, 8, 16), torch.tensor([50.0]), encoder_hidden_states=torch.empty(1, 77, 1024),
                text_embedding_mask=torch.ones(1, 77), encoder_hidden_states_t5=torch.empty(1, 256, 2048),
                text_embedding_mask_t5=torch.ones(1, 256), image_rotary_emb=(torch.ones(32, 88), torch.ones(32, 88)),
            )  # fmt: skip
    assert 1.4e9 < sum(p.numel() for p in net.parameters()) < 1.6e9
    assert [value.shape[1:] for value in captured.maps().values()] == [(tap.channels, 4, 8) for tap in listed]
