"""PixArt: features and predictions are those of plain diffusers with hand-written hooks."""

from __future__ import annotations

import json

import pytest
import torch

import shiftless
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models
from shiftless.taps.names import select

PROMPT = "a photo of a horse"


@pytest.fixture(scope="module", params=["pixart-alpha", "pixart-sigma"])
def model(request):
    return shiftless.load(f"twin:{request.param}", device="cpu", dtype="fp32")


def plain(model, latent, t, hw):
    """The forward pass as diffusers' pipelines call it, and block 1's output, its cross-attention map and its input."""
    parts, kept = model.networks, {}
    text = model.tokenizers["tokenizer"](PROMPT, padding="max_length", max_length=300, return_tensors="pt")
    embeds = parts["text_encoder"](text.input_ids, attention_mask=text.attention_mask)[0]
    told = {"resolution": None, "aspect_ratio": None}
    if parts["transformer"].config.sample_size and parts["transformer"].use_additional_conditions:
        told = {"resolution": torch.tensor([hw]).float(), "aspect_ratio": torch.tensor([[hw[0] / hw[1]]])}
    block = parts["transformer"].transformer_blocks[1]
    handles = [
        block.register_forward_hook(lambda _m, _a, out: kept.update(block=out)),
        block.attn2.register_forward_pre_hook(lambda _m, args, kwargs: kept.update(hidden=args[0], **kwargs),
                                              with_kwargs=True),
    ]  # fmt: skip
    with torch.no_grad():
        output = parts["transformer"](
            latent, embeds, torch.tensor([t]), added_cond_kwargs=told, encoder_attention_mask=text.attention_mask
        ).sample
    for handle in handles:
        handle.remove()
    heads = block.attn2.heads
    q, k = block.attn2.to_q(kept["hidden"]), block.attn2.to_k(kept["encoder_hidden_states"])
    q, k = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k))
    scores = q @ k.transpose(-1, -2) * block.attn2.scale + kept["attention_mask"][:, None]
    return output.chunk(2, 1)[0], kept["block"], scores.softmax(-1).mean(1), text.attention_mask


@pytest.mark.parametrize("hw", [(128, 128), (64, 128)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, hw):
    latent = torch.randn(1, 4, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))
    condition = model.encode_prompt([PROMPT], size=hw)
    ours = model.denoise(latent, 50, condition, select(["block1", "block1.cross.map"], model.taps), full=True)
    prediction, block, attention, mask = plain(model, latent, 50, hw)
    grid = hw[0] // 16, hw[1] // 16
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(ours.prediction, prediction, **close)
    torch.testing.assert_close(ours.maps["block1"], block.transpose(1, 2).unflatten(2, grid), **close)
    maps = ours.maps["block1.cross.map"]
    torch.testing.assert_close(maps, attention.transpose(1, 2).unflatten(2, grid), **close)
    assert maps[:, mask[0] == 0].max() < 1e-6  # nothing looks at padding


def test_diffusers_own_pipeline_reads_the_folder(tmp_path):
    from diffusers import PixArtAlphaPipeline

    adapter = type(shiftless.load("twin:pixart-alpha", dtype="fp32"))
    parts = adapter.twin_parts(models()["pixart-alpha"])
    save_parts(parts, tmp_path)
    parts["text_encoder"].eval()
    pipeline = PixArtAlphaPipeline(**parts)
    embeds, mask, *_ = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False, device="cpu")
    ours = shiftless.load(tmp_path, device="cpu", dtype="fp32").encode_prompt([PROMPT])
    tokens = int(mask.sum())
    torch.testing.assert_close(ours.embeds[:, :tokens], embeds[:, :tokens], atol=1e-5, rtol=1e-5)
    assert int(ours.extra["mask"].sum()) == tokens
    assert ours.words[0][:3] == ("", "a ", "")
    assert "".join(ours.words[0]).split() == PROMPT.split()


def test_the_config_that_was_published_is_read(tmp_path):
    """The repositories name a class that diffusers has split since, and fields that it no longer has."""
    model = shiftless.load("twin:pixart-sigma", device="cpu", dtype="fp32")
    save_parts(type(model).twin_parts(models()["pixart-sigma"]), tmp_path)
    path = tmp_path / "transformer" / "config.json"
    config = json.loads(path.read_text())
    config |= {"_class_name": "Transformer2DModel", "_diffusers_version": "0.22.0.dev0", "double_self_attention": False}
    config |= {"num_vector_embeds": None, "only_cross_attention": False, "use_linear_projection": False}
    path.write_text(json.dumps(config))
    loaded = shiftless.load(tmp_path, device="cpu", dtype="fp32")
    latent, condition = torch.randn(1, 4, 8, 8), model.encode_prompt([PROMPT], size=(64, 64))
    theirs, ours = (one.denoise(latent, 50, condition).prediction for one in (model, loaded))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_longer_prompt_than_usual_is_taken_whole(model):
    condition = model.encode_prompt(["horse " * 80])
    assert condition.embeds.shape[1] > 300
    assert condition.words[0].count("e ") == 80


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (shiftless.Recipe(taps=("block1",), control="canny"), "control cannot steer a model of the pixart family"),
        (shiftless.Recipe(taps=("up1",)), "no tap 'up1'"),
    ],
)
def test_what_it_does_not_take_is_one_line(model, recipe, message):
    picture = torch.zeros(3, 64, 64)
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        shiftless.extract(model, picture, recipe)
    assert "\n" not in str(raised.value)
