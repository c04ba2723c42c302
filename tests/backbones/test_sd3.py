"""SD3 and 3.5: features, prompts and predictions are those of plain diffusers with hand-written hooks."""

from __future__ import annotations

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

import shiftless
from shiftless.backbones.joint_layout import JointLayout
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps
from shiftless.taps.hooks import tapped
from shiftless.taps.names import select

PROMPT = "a photo of a horse"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module", params=["sd3-medium", "sd3.5-medium", "sd3.5-large"])
def model(request):
    loaded = shiftless.load(f"twin:{request.param}", device="cpu", dtype="fp32")
    generator = torch.Generator().manual_seed(0)
    for name, weight in loaded.denoiser.named_parameters():  # norms of ones would hide one taken for another
        if ".norm_" in name:
            weight.data = torch.rand(weight.shape, generator=generator) + 0.5
    return loaded


def pipeline_of(model):
    parts = {**model.networks, **model.tokenizers, "scheduler": model._scheduler}
    return StableDiffusion3Pipeline(**parts)


def plain(model, latent, t):
    """The pipeline's call of the denoiser; block 1's output, the input of its attention, and that layer's weights."""
    embeds, _, pooled, _ = pipeline_of(model).encode_prompt(
        PROMPT, None, None, do_classifier_free_guidance=False, device="cpu"
    )
    block, kept = model.denoiser.transformer_blocks[1], {}
    handles = [
        block.register_forward_hook(lambda _m, _a, out: kept.update(text=out[0], image=out[1])),
        block.norm1.register_forward_hook(lambda _m, _a, out: kept.update(modulated=out[0])),
        block.norm1_context.register_forward_hook(lambda _m, _a, out: kept.update(words=out[0])),
    ]
    with torch.no_grad():
        prediction = model.denoiser(latent, embeds, pooled, torch.tensor([float(t)])).sample
    for handle in handles:
        handle.remove()

    def heads(layer, tokens, norm):
        split = layer(tokens).unflatten(2, (block.attn.heads, -1)).transpose(1, 2)
        return split if norm is None else norm(split)

    with torch.no_grad():
        query = heads(block.attn.to_q, kept["modulated"], block.attn.norm_q)
        keys = heads(block.attn.to_k, kept["modulated"], block.attn.norm_k)
        others = heads(block.attn.add_k_proj, kept["words"], block.attn.norm_added_k)
        scores = query @ torch.cat([keys, others], 2).transpose(-1, -2) * block.attn.scale
    return prediction, kept, scores.softmax(-1), embeds, pooled


@pytest.mark.parametrize("hw", [(128, 128), (64, 128)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, hw):
    latent = torch.randn(1, 16, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))
    grid = hw[0] // 16, hw[1] // 16
    cells = grid[0] * grid[1]
    names = ["block1", "block1.modulated", "block1.self.map", "block1.cross.map", "block1.cross.map.heads", "block2.in"]
    condition = model.encode_prompt([PROMPT])
    ours = model.denoise(latent, 250, condition, select(names, model.taps), full=True)
    prediction, kept, weights, embeds, pooled = plain(model, latent, 250)
    torch.testing.assert_close(condition.embeds, embeds, **CLOSE)
    torch.testing.assert_close(condition.extra["pooled"], pooled, **CLOSE)
    torch.testing.assert_close(ours.prediction, prediction, **CLOSE)

    def on_grid(tokens):
        return tokens.transpose(1, 2).unflatten(2, grid)

    maps = ours.maps
    torch.testing.assert_close(maps["block1"], on_grid(kept["image"]), **CLOSE)
    torch.testing.assert_close(maps["block2.in"], on_grid(kept["image"]), **CLOSE)
    torch.testing.assert_close(maps["block1.modulated"], on_grid(kept["modulated"]), **CLOSE)
    torch.testing.assert_close(maps["block1.self.map"], on_grid(weights.mean(1)[..., :cells]), **CLOSE)
    torch.testing.assert_close(maps["block1.cross.map"], on_grid(weights.mean(1)[..., cells:]), **CLOSE)
    each = weights[..., cells:].transpose(2, 3).flatten(1, 2).unflatten(2, grid)
    torch.testing.assert_close(maps["block1.cross.map.heads"], each, **CLOSE)
    whole = maps["block1.self.map"].sum(1) + maps["block1.cross.map"].sum(1)
    torch.testing.assert_close(whole, torch.ones(1, *grid), **CLOSE)


def test_a_word_is_found_among_the_tokens_of_every_encoder(model):
    condition = model.encode_prompt([PROMPT])
    words = condition.words[0]
    assert len(words) == condition.embeds.shape[1] == 77 + 256
    both = [10, 11, 12, 13, 14, 91, 92, 93, 94, 95]  # the twin's tokens are letters
    assert "".join(words[column] for column in both) == "horse horse "
    latent = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    chosen = select(["cross.map", "cross.map:horse"], model.taps)
    maps = model.denoise(latent, 250, condition, chosen).maps
    torch.testing.assert_close(maps["cross.map:horse"], maps["cross.map"][:, both].mean(1, keepdim=True), **CLOSE)


def test_the_second_attention_of_3_5_medium_is_of_the_image_alone():
    model = shiftless.load("twin:sd3.5-medium", device="cpu", dtype="fp32")
    latent = torch.randn(1, 16, 8, 16, generator=torch.Generator().manual_seed(0))
    names = ["block1.dual.map", "block1.dual.modulated", "block1.dual.q"]
    maps = model.denoise(latent, 250, model.encode_prompt([PROMPT]), select(names, model.taps)).maps
    layer = model.denoiser.transformer_blocks[1].attn2
    tokens = maps["block1.dual.modulated"].flatten(2).transpose(1, 2)
    q, k = (f(tokens).unflatten(2, (layer.heads, -1)).transpose(1, 2) for f in (layer.to_q, layer.to_k))
    weights = (layer.norm_q(q) @ layer.norm_k(k).transpose(-1, -2) * layer.scale).softmax(-1).mean(1)
    torch.testing.assert_close(maps["block1.dual.map"], weights.transpose(1, 2).unflatten(2, (4, 8)), **CLOSE)
    assert not select(["block?.dual.map"], [*taps("twin:sd3.5-large"), *model.taps])[0].block


def test_a_picture_goes_through_the_autoencoder_as_the_pipeline_scales_it(model):
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        mean = model.vae.encode(pixels).latent_dist.mean
        decoded = model.vae.decode(mean).sample.clamp(-1, 1)
    latent = model.encode_image(pixels)
    torch.testing.assert_close(latent, (mean - 0.0609) * 1.5305, **CLOSE)
    torch.testing.assert_close(model.decode(latent), decoded, **CLOSE)


def test_listed_taps_are_those_of_the_real_network():
    with torch.device("meta"):
        network = SD3Transformer2DModel(**models()["sd3.5-medium"]["transformer"])
        listed = taps("sd3.5-medium")
        some = [tap for tap in listed if tap.kind == "out" or tap.name in ("block3.self.map", "block3.dual.map.heads")]
        with tapped(network, some, layout=JointLayout((512, 768)), stop=False) as captured:
            network(torch.empty(1, 16, 64, 96), torch.empty(1, 333, 4096), torch.empty(1, 2048), torch.tensor([50.0]))
    for tap, value in zip(some, captured.maps().values()):
        heads = 24 if tap.kind == "heads" else 1
        assert value.shape == (1, tap.channels or heads * 32 * 48, 32, 48), tap


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (shiftless.Recipe(size=512, taps=("block1",)), "512 pixels a side is more than this model has positions for"),
        (shiftless.Recipe(taps=("block1",), inpaint="keep"), "inpaint cannot steer a model of the sd3 family"),
        (shiftless.Recipe(taps=("block1.cross.map:cow",), prompt=PROMPT), "does not hold the word 'cow'"),
    ],
)
def test_what_it_does_not_take_is_one_line(model, recipe, message):
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        shiftless.extract(model, torch.zeros(3, 64, 64), recipe)
    assert "\n" not in str(raised.value)


def test_a_tokenizer_of_another_model_is_one_line(tmp_path):
    parts = type(shiftless.load("twin:sd3-medium", dtype="fp32")).twin_parts(models()["sd3-medium"])
    parts["tokenizer_2"].add_tokens(["more", "tokens"])
    save_parts(parts, tmp_path)
    with pytest.raises(shiftless.BadInput, match=r"tokenizer_2: token \d+ has no embedding"):
        shiftless.load(tmp_path, device="cpu", dtype="fp32")
