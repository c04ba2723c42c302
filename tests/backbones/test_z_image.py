"""Z-Image: features, prompts and predictions are those of plain diffusers with hand-written hooks."""

from __future__ import annotations

import pytest
import torch
from diffusers import ZImagePipeline, ZImageTransformer2DModel

import shiftless
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps
from shiftless.backbones.z_image import LeadingLayout
from shiftless.conditions.condition import join
from shiftless.taps.attention import word_columns
from shiftless.taps.hooks import tapped
from shiftless.taps.names import select

PROMPT = "a photo of a horse"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    loaded = shiftless.load("twin:z-image-turbo", device="cpu", dtype="fp32")
    generator = torch.Generator().manual_seed(0)
    for name, weight in loaded.denoiser.named_parameters():  # ones and zeros would hide one taken for another
        if "norm" in name or "pad_token" in name:
            weight.data = torch.rand(weight.shape, generator=generator) + 0.5
    return loaded


@pytest.fixture(scope="module")
def pipeline(model):
    return ZImagePipeline(**model.networks, **model.tokenizers, scheduler=model._scheduler)


def plain(model, pipeline, latent, t):
    """The pipeline's call of the denoiser; what a block was given and gave back."""
    with torch.no_grad():
        embeds, _ = pipeline.encode_prompt([PROMPT], device="cpu", do_classifier_free_guidance=False)
    kept, block = {}, model.denoiser.layers[1]
    handles = [
        model.denoiser.noise_refiner[0].register_forward_hook(lambda _m, _a, out: kept.update(refiner=out)),
        block.register_forward_hook(lambda _m, args, out: kept.update(out=out, given=args[0])),
        block.attention.register_forward_pre_hook(
            lambda _m, args, kw: kept.update(attn=args[0], rotary=kw["freqs_cis"]), with_kwargs=True
        ),
        block.feed_forward.w2.register_forward_pre_hook(lambda _m, args: kept.update(inner=args[0])),
    ]
    with torch.no_grad():
        output = model.denoiser(list(latent[:, :, None]), torch.tensor([(1000 - t) / 1000]), embeds).sample
    for handle in handles:
        handle.remove()
    return -torch.stack(output)[:, :, 0], kept, embeds[0]


@torch.no_grad()
def weights_of(attn, tokens, rotary):
    """The weights of one attention layer, B heads N N, from what it was called with.

    Written from what `ZSingleStreamAttnProcessor` does to queries and keys.
    """

    def rotated(x):
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * rotary.unsqueeze(2)).flatten(3)

    q, k = (
        rotated(norm(layer(tokens).unflatten(-1, (attn.heads, -1)))).transpose(1, 2)
        for layer, norm in ((attn.to_q, attn.norm_q), (attn.to_k, attn.norm_k))
    )
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


@pytest.mark.parametrize("hw", [(128, 128), (96, 128)])  # in the second the image's tokens are padded
def test_features_and_predictions_are_those_of_plain_diffusers(model, pipeline, hw):
    latent = torch.randn(1, 16, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))
    grid = hw[0] // 16, hw[1] // 16
    cells = grid[0] * grid[1]
    condition = model.encode_prompt([PROMPT])
    ours = model.denoise(latent, 260, condition, select(["*", "*.map.heads"], model.taps), full=True)
    prediction, kept, embeds = plain(model, pipeline, latent, 260)
    torch.testing.assert_close(condition.embeds[0, : len(embeds)], embeds, **CLOSE)
    torch.testing.assert_close(ours.prediction, prediction, **CLOSE)

    def on_grid(tokens):
        return tokens[:, :cells].transpose(1, 2).unflatten(2, grid)

    attn = model.denoiser.layers[1].attention
    expected = {
        "refiner0": kept["refiner"],
        "block1": kept["out"],
        "block1.in": kept["given"],
        "block1.modulated": kept["attn"],
        "block1.self.q": attn.to_q(kept["attn"]),
        "block1.self.v": attn.to_v(kept["attn"]),
        "block1.ffn.inner": kept["inner"],
    }
    for tap, tokens in expected.items():
        torch.testing.assert_close(ours.maps[tap], on_grid(tokens), **CLOSE)
    weights = weights_of(attn, kept["attn"], kept["rotary"])[:, :, :cells]
    text = weights.shape[-1] - -(-len(embeds) // 32) * 32
    for which, shown in (("self", weights[..., :cells]), ("cross", weights[..., text:])):
        mean, count = ours.maps[f"block1.{which}.map"], shown.shape[-1]
        torch.testing.assert_close(mean[:, :count], on_grid(shown.mean(1)), **CLOSE)
        assert mean.shape[1] == (cells if which == "self" else condition.embeds.shape[1])
        assert not mean[:, count:].any()
        each = ours.maps[f"block1.{which}.map.heads"].unflatten(1, (3, -1))[:, :, :count].flatten(1, 2)
        torch.testing.assert_close(each, shown.transpose(2, 3).flatten(1, 2).unflatten(2, grid), **CLOSE)


def test_prompts_of_two_lengths_share_a_batch(model):
    latent = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    conditions = [model.encode_prompt([prompt]) for prompt in (PROMPT * 3, "a cow")]
    chosen = select(["block1", "block1.cross.map"], model.taps)
    together = model.denoise(latent.expand(2, -1, -1, -1), 260, join(conditions), chosen, full=True)
    for i, condition in enumerate(conditions):
        alone = model.denoise(latent, 260, condition, chosen, full=True)
        torch.testing.assert_close(together.prediction[i : i + 1], alone.prediction, **CLOSE)
        for name, value in alone.maps.items():
            torch.testing.assert_close(together.maps[name][i : i + 1], value, **CLOSE)


@pytest.mark.parametrize("prompt", [PROMPT, "", "Zwei Kühe, draußen.\nUnd ein Pferd " * 4])
def test_a_prompt_is_encoded_as_the_pipeline_does(model, pipeline, prompt):
    with torch.no_grad():
        expected = pipeline.encode_prompt([prompt], device="cpu", do_classifier_free_guidance=False)[0][0]
    condition = model.encode_prompt([prompt])
    assert condition.extra["mask"].sum() == len(expected)
    assert len(condition.words[0]) == condition.embeds.shape[1] == -(-len(expected) // 128) * 128
    torch.testing.assert_close(condition.embeds[0, : len(expected)], expected, **CLOSE)


def test_words_are_those_of_the_prompt_and_not_of_its_template(model):
    words = model.encode_prompt(["a user's horse"]).words[0]
    for word in ("user", "horse"):
        assert len(word_columns(words, word)) == len(word)  # the twin's tokens are bytes
    with pytest.raises(shiftless.BadInput, match="does not hold the word"):
        word_columns(words, "assistant")


def test_listed_taps_are_those_of_the_real_network():
    row = models()["z-image-turbo"]["transformer"]
    with torch.device("meta"):
        network = ZImageTransformer2DModel(**{**row, "n_layers": 4})
    network.rope_embedder = lambda ids: torch.empty(
        len(ids), sum(row["axes_dims"]) // 2, dtype=torch.complex64, device="meta"
    )
    wanted = ("block0.self.map", "block3.cross.map.heads")
    some = [tap for tap in taps("z-image-turbo") if tap.kind == "out" or tap.name in wanted]
    some = [tap for tap in some if int(tap.module.split(".")[1]) < 4]
    with tapped(network, some, layout=LeadingLayout((512, 768)), stop=False) as captured:
        network([torch.empty(16, 1, 64, 96, device="meta")], torch.empty(1, device="meta"),
                [torch.empty(40, row["cap_feat_dim"], device="meta")])  # fmt: skip
    channels = {"block0.self.map": 32 * 48, "block3.cross.map.heads": 30 * 128}
    for tap, value in zip(some, captured.maps().values()):
        assert value.shape == (1, tap.channels or channels[tap.name], 32, 48), tap


def test_what_it_does_not_take_is_one_line(model, tmp_path):
    for recipe, message in (
        (shiftless.Recipe(taps=("block0",), image_prompt="x"), "image_prompt cannot steer a model of the z-image fam"),
        (shiftless.Recipe(taps=("single0",)), "no tap 'single0'"),
        (shiftless.Recipe(taps=("block0",), prompt="horse " * 100), "takes 512 tokens of text, and the prompt"),
    ):
        with pytest.raises(shiftless.BadInput, match=message) as raised:
            shiftless.extract(model, torch.zeros(3, 64, 64), recipe)
        assert "\n" not in str(raised.value)
    parts = type(model).twin_parts(models()["z-image-turbo"])
    parts["tokenizer"].chat_template = None
    save_parts(parts, tmp_path)
    with pytest.raises(shiftless.BadInput, match="tokenizer: no chat template"):
        shiftless.load(tmp_path, device="cpu", dtype="fp32")
