"""Qwen-Image: features, prompts, latents and predictions are those of plain diffusers with hand-written hooks."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import QwenImageImg2ImgPipeline, QwenImagePipeline, QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_qwenimage import apply_rotary_emb_qwen

import shiftless
from shiftless.backbones.joint_layout import RotatedLayout
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps
from shiftless.conditions.condition import join
from shiftless.taps.attention import word_columns
from shiftless.taps.hooks import tapped
from shiftless.taps.names import select

PROMPT = "a photo of a horse"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    loaded = shiftless.load("twin:qwen-image", device="cpu", dtype="fp32")
    generator = torch.Generator().manual_seed(0)
    for name, weight in loaded.denoiser.named_parameters():  # norms of ones would hide one taken for another
        if ".norm_" in name:
            weight.data = torch.rand(weight.shape, generator=generator) + 0.5
    return loaded


@pytest.fixture(scope="module")
def pipeline(model):
    return QwenImagePipeline(**model.networks, **model.tokenizers, scheduler=model._scheduler)


def plain(model, pipeline, latent, t):
    """The pipeline's call of the denoiser, with its prompt unpadded; what a block was given and gave back."""
    with torch.no_grad():
        embeds, mask = pipeline.encode_prompt(PROMPT, device="cpu")
    h, w = latent.shape[2:]
    kept, block = {}, model.denoiser.transformer_blocks[1]
    handles = [
        block.register_forward_hook(lambda _m, _a, kw, out: kept.update(out=out, call=kw), with_kwargs=True),
        block.attn.register_forward_pre_hook(lambda _m, _a, kw: kept.update(attn=kw), with_kwargs=True),
    ]
    with torch.no_grad():
        output = model.denoiser(
            pipeline._pack_latents(latent, 1, 16, h, w), embeds, mask, torch.tensor([t / 1000]),
            img_shapes=[[(1, h // 2, w // 2)]],
        ).sample  # fmt: skip
    for handle in handles:
        handle.remove()
    return pipeline._unpack_latents(output, h * 8, w * 8, 8)[:, :, 0], kept


@torch.no_grad()
def weights_of(attn, call):
    """The weights of one attention layer, B heads N N with the text first, from the arguments that it was called with.

    Written from what `QwenDoubleStreamAttnProcessor2_0` does to queries and keys.
    """

    def heads(layer, tokens, norm, rotary):
        return apply_rotary_emb_qwen(norm(layer(tokens).unflatten(2, (attn.heads, -1))), rotary, use_real=False)

    image, words = call["hidden_states"], call["encoder_hidden_states"]
    of_image, of_words = call["image_rotary_emb"]
    q, k = (
        torch.cat([
            heads(getattr(attn, f"add_{x}_proj"), words, getattr(attn, f"norm_added_{x}"), of_words),
            heads(getattr(attn, f"to_{x}"), image, getattr(attn, f"norm_{x}"), of_image),
        ], 1).transpose(1, 2)
        for x in "qk"
    )  # fmt: skip
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


@pytest.mark.parametrize("hw", [(128, 128), (64, 128)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, pipeline, hw):
    latent = torch.randn(1, 16, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))
    grid = hw[0] // 16, hw[1] // 16
    cells = grid[0] * grid[1]
    condition = model.encode_prompt([PROMPT])
    ours = model.denoise(latent, 260, condition, select(["*", "*.map.heads"], model.taps), full=True)
    prediction, kept = plain(model, pipeline, latent, 260)
    torch.testing.assert_close(ours.prediction, prediction, **CLOSE)

    def on_grid(tokens):
        return tokens[:, -cells:].transpose(1, 2).unflatten(2, grid)

    attn, call = model.denoiser.transformer_blocks[1].attn, kept["attn"]
    expected = {
        "block1": kept["out"][1],
        "block1.in": kept["call"]["hidden_states"],
        "block1.modulated": call["hidden_states"],
        "block1.self.q": attn.to_q(call["hidden_states"]),
        "block1.self.v": attn.to_v(call["hidden_states"]),
    }
    for tap, tokens in expected.items():
        torch.testing.assert_close(ours.maps[tap], on_grid(tokens), **CLOSE)
    weights = weights_of(attn, call)[:, :, -cells:]
    words = weights.shape[-1] - cells
    for which, shown in (("self", weights[..., words:]), ("cross", weights[..., :words])):
        mean = ours.maps[f"block1.{which}.map"]
        torch.testing.assert_close(mean[:, : shown.shape[-1]], on_grid(shown.mean(1)), **CLOSE)
        assert not mean[:, shown.shape[-1] :].any()  # padding
        each = ours.maps[f"block1.{which}.map.heads"].unflatten(1, (3, -1))[:, :, : shown.shape[-1]].flatten(1, 2)
        torch.testing.assert_close(each, shown.transpose(2, 3).flatten(1, 2).unflatten(2, grid), **CLOSE)
    whole = ours.maps["self.map"].sum(1) + ours.maps["cross.map"].sum(1)
    torch.testing.assert_close(whole, torch.ones(1, *grid), **CLOSE)


@pytest.mark.parametrize("prompt", [PROMPT, "", "user {}", "Zwei Kühe, draußen.\nUnd ein Pferd " * 8])
def test_a_prompt_is_encoded_as_the_pipeline_does(model, pipeline, prompt):
    condition = model.encode_prompt([prompt])
    with torch.no_grad():
        expected, _ = pipeline.encode_prompt(prompt, device="cpu")
    count = expected.shape[1]
    assert len(condition.words[0]) == condition.embeds.shape[1] == -(-count // 128) * 128
    assert condition.extra["mask"].sum() == count
    torch.testing.assert_close(condition.embeds[:, :count], expected, **CLOSE)
    assert not condition.embeds[:, count:].any()


def test_prompts_of_two_lengths_share_a_batch(model):
    latent = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    conditions = [model.encode_prompt([prompt]) for prompt in (PROMPT, "a cow")]
    together = model.denoise(latent.expand(2, -1, -1, -1), 260, join(conditions)).prediction
    for one, condition in zip(together, conditions):
        torch.testing.assert_close(one[None], model.denoise(latent, 260, condition).prediction, **CLOSE)


@pytest.mark.parametrize(
    ("prompt", "word"), [(PROMPT, "horse"), ("user", "user"), ("Zwei Kühe, draußen.\nUnd", "Kühe"), ("a cow\nor", "or")]
)
def test_words_are_those_of_the_prompt_and_not_of_its_template(model, prompt, word):
    words = model.encode_prompt([prompt]).words[0]
    found = [words[column] for column in word_columns(words, word)]
    assert len(found) == len(word.encode())  # the twin's tokens are bytes
    with pytest.raises(shiftless.BadInput, match="does not hold the word"):
        word_columns(words, "assistant")


def test_a_picture_goes_through_the_autoencoder_as_the_pipeline_norms_it(model):
    pipeline = QwenImageImg2ImgPipeline(**model.networks, **model.tokenizers, scheduler=model._scheduler)
    pixels = torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        model.vae.quant_conv.bias.data[16:] = -1e4  # no variance: the pipeline draws a sample
        expected = pipeline._encode_vae_image(pixels[:, :, None], None)[:, :, 0]
        mean = model.vae.encode(pixels[:, :, None]).latent_dist.mean
        decoded = model.vae.decode(mean).sample[:, :, 0]
    latent = model.encode_image(pixels)
    assert latent.shape == (2, 16, 8, 16)
    torch.testing.assert_close(latent, expected, **CLOSE)
    torch.testing.assert_close(model.decode(latent), decoded, **CLOSE)
    drawn = model.encode_image(pixels[:1], latent="sample", noise=torch.zeros(3, 16, 8, 16))
    torch.testing.assert_close(drawn, expected[:1].expand(3, -1, -1, -1), **CLOSE)


def test_listed_taps_are_those_of_the_real_network():
    with torch.device("meta"):
        network = QwenImageTransformer2DModel(**{**models()["qwen-image"]["transformer"], "num_layers": 10})
    network.pos_embed = type(network.pos_embed)(10000, [16, 56, 56], scale_rope=True)
    wanted = ("block0.self.map", "block9.cross.map.heads")
    some = [tap for tap in taps("qwen-image") if tap.kind == "out" or tap.name in wanted]
    some = [tap for tap in some if int(tap.module.split(".")[1]) < 10]
    with tapped(network, some, layout=RotatedLayout((512, 768)), stop=False) as captured:
        network(
            torch.empty(1, 32 * 48, 64, device="meta"), torch.empty(1, 128, 3584, device="meta"), None,
            torch.empty(1, device="meta"), img_shapes=[[(1, 32, 48)]],
        )  # fmt: skip
    channels = {"block0.self.map": 32 * 48, "block9.cross.map.heads": 24 * 128}
    for tap, value in zip(some, captured.maps().values()):
        assert value.shape == (1, tap.channels or channels[tap.name], 32, 48), tap


def test_what_it_does_not_take_is_one_line(model, tmp_path):
    for recipe, message in (
        (shiftless.Recipe(taps=("block0",), image_prompt="x"), "image_prompt cannot steer a model of the qwen-image"),
        (shiftless.Recipe(taps=("double0",)), "no tap 'double0'"),
        (shiftless.Recipe(taps=("block0",), prompt="horse " * 200), "takes 1024 tokens of text, and the prompt"),
    ):
        with pytest.raises(shiftless.BadInput, match=message) as raised:
            shiftless.extract(model, torch.zeros(3, 64, 64), recipe)
        assert "\n" not in str(raised.value)
    save_parts(type(model).twin_parts(models()["qwen-image"]), tmp_path)
    config = tmp_path / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "use_additional_t_cond": True}))
    for read in (taps, shiftless.load):
        with pytest.raises(shiftless.BadInput, match="a Qwen-Image-Layered, which is not read"):
            read(tmp_path)
