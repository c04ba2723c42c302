"""Lumina-Image 2: features, prompts and predictions are those of plain diffusers with hand-written hooks."""

from __future__ import annotations

import pytest
import torch
from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel

import shiftless
from shiftless.backbones.lumina2 import RaggedLayout
from shiftless.backbones.registry import models, taps
from shiftless.conditions.condition import join
from shiftless.taps.attention import word_columns
from shiftless.taps.hooks import tapped
from shiftless.taps.names import select

PROMPT = "a photo of a horse"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    loaded = shiftless.load("twin:lumina2", device="cpu", dtype="fp32")
    generator = torch.Generator().manual_seed(0)
    for name, weight in loaded.denoiser.named_parameters():  # norms of ones would hide one taken for another
        if "norm" in name:
            weight.data = torch.rand(weight.shape, generator=generator) + 0.5
    return loaded


@pytest.fixture(scope="module")
def pipeline(model):
    return Lumina2Pipeline(**model.networks, **model.tokenizers, scheduler=model._scheduler)


def prompt_of(pipeline, prompt):
    """The pipeline's embeddings and mask: of "" those that it gives its negative prompt."""
    with torch.no_grad():
        embeds, mask, empty, empty_mask = pipeline.encode_prompt(prompt or "a horse", device="cpu", negative_prompt="")
    return (embeds, mask) if prompt else (empty, empty_mask)


def plain(model, pipeline, latent, t):
    """The pipeline's call of the denoiser; what a block was given and gave back."""
    embeds, mask = prompt_of(pipeline, PROMPT)
    kept, block = {}, model.denoiser.layers[1]
    handles = [
        model.denoiser.noise_refiner[0].register_forward_hook(lambda _m, _a, out: kept.update(refiner=out)),
        block.register_forward_hook(lambda _m, args, out: kept.update(out=out, given=args[0])),
        block.attn.register_forward_pre_hook(lambda _m, _a, kw: kept.update(attn=kw), with_kwargs=True),
        block.feed_forward.linear_2.register_forward_pre_hook(lambda _m, args: kept.update(inner=args[0])),
    ]
    with torch.no_grad():
        output = model.denoiser(latent, torch.tensor([1 - t / 1000]), embeds, mask).sample
    for handle in handles:
        handle.remove()
    return -output, kept, int(mask.sum())


@torch.no_grad()
def weights_of(attn, call):
    """The weights of one attention layer, B heads N N, from what it was called with.

    Written from what `Lumina2AttnProcessor2_0` does to queries and keys.
    """
    tokens = call["hidden_states"]
    q = attn.norm_q(attn.to_q(tokens).unflatten(2, (attn.heads, -1)))
    k = attn.norm_k(attn.to_k(tokens).unflatten(2, (-1, q.shape[-1])))
    q, k = (
        torch.view_as_real(torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
                           * call["image_rotary_emb"].unsqueeze(2)).flatten(3)
        for x in (q, k)
    )  # fmt: skip
    k = k.unsqueeze(3).repeat(1, 1, 1, attn.heads // k.shape[2], 1).flatten(2, 3)
    return (q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * q.shape[-1] ** -0.5).softmax(-1).float()


@pytest.mark.parametrize("hw", [(128, 128), (64, 128)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, pipeline, hw):
    latent = torch.randn(1, 16, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))
    grid = hw[0] // 16, hw[1] // 16
    cells = grid[0] * grid[1]
    condition = model.encode_prompt([PROMPT])
    ours = model.denoise(latent, 260, condition, select(["*", "*.map.heads"], model.taps), full=True)
    prediction, kept, words = plain(model, pipeline, latent, 260)
    torch.testing.assert_close(ours.prediction, prediction, **CLOSE)
    attn, tokens = model.denoiser.layers[1].attn, kept["attn"]["hidden_states"]
    expected = {
        "refiner0": kept["refiner"],
        "block1": kept["out"],
        "block1.in": kept["given"],
        "block1.modulated": tokens,
        "block1.self.q": attn.to_q(tokens),
        "block1.self.k": attn.to_k(tokens),
        "block1.ffn.inner": kept["inner"],
    }
    for tap, value in expected.items():
        on_grid = value[:, -cells:].transpose(1, 2).unflatten(2, grid)
        torch.testing.assert_close(ours.maps[tap], on_grid, **CLOSE)
    weights = weights_of(attn, kept["attn"])[:, :, words:]
    for which, shown in (("self", weights[..., words:]), ("cross", weights[..., :words])):
        mean, count = ours.maps[f"block1.{which}.map"], shown.shape[-1]
        torch.testing.assert_close(mean[:, :count], shown.mean(1).transpose(1, 2).unflatten(2, grid), **CLOSE)
        assert mean.shape[1] == (cells if which == "self" else 256)
        assert not mean[:, count:].any()
        each = ours.maps[f"block1.{which}.map.heads"].unflatten(1, (3, -1))[:, :, :count].flatten(1, 2)
        torch.testing.assert_close(each, shown.transpose(2, 3).flatten(1, 2).unflatten(2, grid), **CLOSE)
    whole = ours.maps["self.map"].sum(1) + ours.maps["cross.map"].sum(1)
    torch.testing.assert_close(whole, torch.ones(1, *grid), **CLOSE)


def test_prompts_of_two_lengths_share_a_batch(model):
    latent = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    conditions = [model.encode_prompt([prompt]) for prompt in (PROMPT, "a cow", "")]
    chosen = select(["block1", "block1.self.v", "block1.cross.map", "block1.self.map.heads"], model.taps)
    together = model.denoise(latent.expand(3, -1, -1, -1), 260, join(conditions), chosen, full=True)
    for i, condition in enumerate(conditions):
        alone = model.denoise(latent, 260, condition, chosen, full=True)
        for name, value in {**alone.maps, "prediction": alone.prediction}.items():
            row = {**together.maps, "prediction": together.prediction}[name][i : i + 1]
            torch.testing.assert_close(row, value, atol=1e-4, rtol=1e-4)  # masks make torch add in another order


@pytest.mark.parametrize("prompt", [PROMPT, "", "A Horse, and a cow"])
def test_a_prompt_is_encoded_as_the_pipeline_does(model, pipeline, prompt):
    condition = model.encode_prompt([prompt])
    expected, mask = prompt_of(pipeline, prompt)
    torch.testing.assert_close(condition.embeds, expected, **CLOSE)
    assert torch.equal(condition.extra["mask"], mask)


def test_words_are_those_of_the_prompt_and_not_of_the_instruction(model):
    words = model.encode_prompt(["a user's horse"]).words[0]
    for word in ("user", "horse"):
        found = [words[column] for column in word_columns(words, word)]
        assert "".join(found).strip() == word
    with pytest.raises(shiftless.BadInput, match="does not hold the word"):
        word_columns(words, "assistant")


def test_listed_taps_are_those_of_the_real_network():
    row = models()["lumina2"]["transformer"]
    network = Lumina2Transformer2DModel(**{**row, "num_layers": 1, "num_refiner_layers": 1}).eval()
    wanted = ("block0.self.map", "block0.cross.map.heads")
    some = [tap for tap in taps("lumina2") if tap.kind == "out" or tap.name in wanted]
    some = [tap for tap in some if int(tap.module.split(".")[1]) < 1]
    layout = RaggedLayout((64, 96), [5], 8)
    with torch.no_grad(), tapped(network, some, layout=layout, stop=False) as captured:
        mask = torch.tensor([[1] * 5 + [0] * 3])
        network(torch.zeros(1, 16, 8, 12), torch.zeros(1), torch.zeros(1, 8, row["cap_feat_dim"]), mask)
    channels = {"block0.self.map": 24, "block0.cross.map.heads": 24 * 8}
    for tap, value in zip(some, captured.maps().values()):
        assert value.shape == (1, tap.channels or channels[tap.name], 4, 6), tap


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (shiftless.Recipe(taps=("block0",), image_prompt="x"), "image_prompt cannot steer a model of the lumina2 fam"),
        (shiftless.Recipe(taps=("single0",)), "no tap 'single0'"),
        (shiftless.Recipe(taps=("block0",), prompt="horse " * 50), "takes 256 tokens of text, and the prompt"),
    ],
)
def test_what_it_does_not_take_is_one_line(model, recipe, message):
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        shiftless.extract(model, torch.zeros(3, 64, 64), recipe)
    assert "\n" not in str(raised.value)
