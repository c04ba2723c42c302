"""Flux.1: features, prompts and predictions are those of plain diffusers with hand-written hooks."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb

import shiftless
from shiftless.backbones.joint_layout import JointLayout
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps
from shiftless.taps.hooks import tapped
from shiftless.taps.names import select

PROMPT = "a photo of a horse"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module", params=["flux-dev", "flux-schnell"])
def model(request):
    loaded = shiftless.load(f"twin:{request.param}", device="cpu", dtype="fp32")
    generator = torch.Generator().manual_seed(0)
    for name, weight in loaded.denoiser.named_parameters():  # norms of ones would hide one taken for another
        if ".norm_" in name:
            weight.data = torch.rand(weight.shape, generator=generator) + 0.5
    return loaded


def plain(model, latent, t):
    """The pipeline's call of the denoiser; what its blocks were given and gave back; the prompt's embeddings."""
    pipeline = FluxPipeline(**model.networks, **model.tokenizers, scheduler=model._scheduler)
    embeds, pooled, text_ids = pipeline.encode_prompt(PROMPT, None, device="cpu")
    h, w = latent.shape[2:]
    packed = pipeline._pack_latents(latent, 1, 16, h, w)
    ids = pipeline._prepare_latent_image_ids(1, h // 2, w // 2, "cpu", torch.float32)
    kept = {}
    handles = []
    for name, block in (
        ("double1", model.denoiser.transformer_blocks[1]),
        ("single1", model.denoiser.single_transformer_blocks[1]),
    ):
        handles += [
            block.register_forward_hook(lambda _m, _a, kw, out, n=name: kept.update({n: out, f"{n}.call": kw}),
                                        with_kwargs=True),
            block.attn.register_forward_hook(lambda _m, _a, kw, out, n=name: kept.update({f"{n}.attn": kw,
                                                                                          f"{n}.out": out}),
                                             with_kwargs=True),
        ]  # fmt: skip
    guidance = torch.tensor([3.5]) if model.denoiser.config.guidance_embeds else None
    with torch.no_grad():
        output = model.denoiser(
            packed, embeds, pooled, torch.tensor([t / 1000]), img_ids=ids, txt_ids=text_ids, guidance=guidance
        ).sample
    for handle in handles:
        handle.remove()
    return pipeline._unpack_latents(output, h * 8, w * 8, 8), kept, embeds, pooled


@torch.no_grad()
def weights_of(attn, call):
    """The weights of one attention layer, B heads N N with the text first, from the arguments that it was called with.

    Written from what `FluxAttnProcessor` does to queries and keys.
    """

    def heads(layer, tokens, norm):
        return norm(layer(tokens).unflatten(2, (attn.heads, -1)))

    q, k = (heads(getattr(attn, f"to_{x}"), call["hidden_states"], getattr(attn, f"norm_{x}")) for x in "qk")
    words = call.get("encoder_hidden_states")
    if words is not None:
        q = torch.cat([heads(attn.add_q_proj, words, attn.norm_added_q), q], 1)
        k = torch.cat([heads(attn.add_k_proj, words, attn.norm_added_k), k], 1)
    q, k = (apply_rotary_emb(x, call["image_rotary_emb"], sequence_dim=1).transpose(1, 2) for x in (q, k))
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


@pytest.mark.parametrize("hw", [(128, 128), (64, 128)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, hw):
    latent = torch.randn(1, 16, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))
    grid = hw[0] // 16, hw[1] // 16
    cells = grid[0] * grid[1]
    condition = model.encode_prompt([PROMPT])
    ours = model.denoise(latent, 260, condition, select(["*", "*.map.heads"], model.taps), full=True)
    prediction, kept, embeds, pooled = plain(model, latent, 260)
    torch.testing.assert_close(condition.embeds, embeds, **CLOSE)
    torch.testing.assert_close(condition.extra["pooled"], pooled, **CLOSE)
    torch.testing.assert_close(ours.prediction, prediction, **CLOSE)

    def on_grid(tokens):
        return tokens[:, -cells:].transpose(1, 2).unflatten(2, grid)

    blocks = {"double1": model.denoiser.transformer_blocks[1], "single1": model.denoiser.single_transformer_blocks[1]}
    for name, block in blocks.items():
        call = kept[f"{name}.attn"]
        expected = {
            name: kept[name][1],
            f"{name}.in": kept[f"{name}.call"]["hidden_states"],
            f"{name}.modulated": call["hidden_states"],
            f"{name}.self.q": block.attn.to_q(call["hidden_states"]),
            f"{name}.self.v": block.attn.to_v(call["hidden_states"]),
            f"{name}.self.out": kept[f"{name}.out"][0] if name == "double1" else kept[f"{name}.out"],
        }
        for tap, tokens in expected.items():
            torch.testing.assert_close(ours.maps[tap], on_grid(tokens), **CLOSE)
        weights = weights_of(block.attn, call)[:, :, -cells:]
        for which, shown in (("self", weights[..., -cells:]), ("cross", weights[..., :-cells])):
            torch.testing.assert_close(ours.maps[f"{name}.{which}.map"], on_grid(shown.mean(1)), **CLOSE)
            each = shown.transpose(2, 3).flatten(1, 2).unflatten(2, grid)
            torch.testing.assert_close(ours.maps[f"{name}.{which}.map.heads"], each, **CLOSE)
    whole = ours.maps["self.map"].sum(1) + ours.maps["cross.map"].sum(1)
    torch.testing.assert_close(whole, torch.ones(1, *grid), **CLOSE)


def test_the_input_of_a_block_is_the_output_of_the_one_before(model):
    latent = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    chosen = select(["double1", "single0.in", "single0", "single1.in"], model.taps)
    maps = model.denoise(latent, 260, model.encode_prompt([PROMPT]), chosen).maps
    assert torch.equal(maps["double1"], maps["single0.in"])
    assert torch.equal(maps["single0"], maps["single1.in"])


def test_the_map_of_a_word_is_the_mean_of_its_tokens(model):
    latent = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = model.encode_prompt([PROMPT + "."])
    assert len(condition.words[0]) == condition.embeds.shape[1] == 512
    chosen = select(["single1.cross.map", "single1.cross.map:horse"], model.taps)
    maps = model.denoise(latent, 260, condition, chosen).maps
    columns = slice(14, 19)  # the twin's tokens are letters
    assert "".join(condition.words[0][columns]) == "horse "
    expected = maps["single1.cross.map"][:, columns].mean(1, keepdim=True)
    torch.testing.assert_close(maps["single1.cross.map:horse"], expected, **CLOSE)


def test_only_the_distilled_model_is_told_a_guidance():
    dev, schnell = (shiftless.load(f"twin:{name}", device="cpu", dtype="fp32") for name in ("flux-dev", "flux-schnell"))
    assert dev.denoiser.config.guidance_embeds
    assert not schnell.denoiser.config.guidance_embeds


def test_listed_taps_are_those_of_the_real_network():
    with torch.device("meta"):
        network = FluxTransformer2DModel(**models()["flux-dev"]["transformer"])
        wanted = ("double0.self.map", "single9.cross.map.heads")
        some = [tap for tap in taps("flux-dev") if tap.kind == "out" or tap.name in wanted]
        with tapped(network, some, layout=JointLayout((512, 768)), stop=False) as captured:
            network(
                torch.empty(1, 32 * 48, 64), torch.empty(1, 512, 4096), torch.empty(1, 768), torch.tensor([0.26]),
                torch.empty(32 * 48, 3), torch.empty(512, 3), torch.tensor([3.5]),
            )  # fmt: skip
    channels = {"double0.self.map": 32 * 48, "single9.cross.map.heads": 24 * 512}
    for tap, value in zip(some, captured.maps().values()):
        assert value.shape == (1, tap.channels or channels[tap.name], 32, 48), tap
    assert next(tap for tap in some if tap.name == "single9.in").channels == 3072


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (shiftless.Recipe(taps=("single0",), inpaint="keep"), "inpaint cannot steer a model of the flux family"),
        (shiftless.Recipe(taps=("block28",)), "no tap 'block28'"),
    ],
)
def test_what_it_does_not_take_is_one_line(model, recipe, message):
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        shiftless.extract(model, torch.zeros(3, 64, 64), recipe)
    assert "\n" not in str(raised.value)


def test_a_folder_says_at_which_size_it_is_read(tmp_path):
    save_parts(type(shiftless.load("twin:flux-dev", dtype="fp32")).twin_parts(models()["flux-dev"]), tmp_path)
    assert shiftless.load(tmp_path, device="cpu", dtype="fp32").spec.size == 128


def test_in_half_precision_t5_keeps_what_overflows(tmp_path):
    model = shiftless.load("twin:flux-dev", device="cpu", dtype="fp32")
    encoder = model.networks["text_encoder_2"]
    for block in encoder.encoder.block:
        block.layer[-1].DenseReluDense.wo.weight.data *= 3e5  # its outputs are beyond fp16's 65504
    expected = model.encode_prompt([PROMPT]).embeds
    save_parts({**model.networks, **model.tokenizers, "scheduler": model._scheduler}, tmp_path)
    read = shiftless.load(tmp_path, device="cpu", dtype="fp16")
    kept = {name for name, one in read.networks["text_encoder_2"].named_parameters() if one.dtype == torch.float32}
    assert kept == {name for name, _ in encoder.named_parameters() if name.endswith(".wo.weight")}
    embeds = read.encode_prompt([PROMPT]).embeds
    assert embeds.dtype == torch.float16
    torch.testing.assert_close(embeds.float(), expected, atol=0.02, rtol=0.02)
