"""FLUX.2 klein: features, prompts, latents and predictions are those of plain diffusers with hand-written hooks."""

from __future__ import annotations

import pytest
import torch
from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel
from diffusers.models.embeddings import apply_rotary_emb

import shiftless
from shiftless.backbones.joint_layout import FusedLayout
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps
from shiftless.taps.attention import word_columns
from shiftless.taps.hooks import tapped
from shiftless.taps.names import select

PROMPT = "a photo of a horse"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    loaded = shiftless.load("twin:flux2-klein", device="cpu", dtype="fp32")
    generator = torch.Generator().manual_seed(0)
    for name, weight in loaded.denoiser.named_parameters():  # norms of ones would hide one taken for another
        if ".norm_" in name:
            weight.data = torch.rand(weight.shape, generator=generator) + 0.5
    return loaded


@pytest.fixture(scope="module")
def pipeline(model):
    return Flux2KleinPipeline(**model.networks, **model.tokenizers, scheduler=model._scheduler)


def prompt_of(pipeline, prompt):
    """The pipeline's embeddings, with the quarter points of a text encoder of four layers, and their places."""
    return pipeline.encode_prompt(prompt, device="cpu", text_encoder_out_layers=(1, 2, 3))


def plain(model, pipeline, latent, t):
    """The pipeline's call of the denoiser; what its blocks were given and gave back."""
    embeds, text_ids = prompt_of(pipeline, PROMPT)
    kept, handles = {}, []
    for name, block in (
        ("double1", model.denoiser.transformer_blocks[1]),
        ("single1", model.denoiser.single_transformer_blocks[1]),
    ):
        handles += [
            block.register_forward_hook(lambda _m, _a, kw, out, n=name: kept.update({n: out, f"{n}.call": kw}),
                                        with_kwargs=True),
            block.attn.register_forward_pre_hook(lambda _m, _a, kw, n=name: kept.update({f"{n}.attn": kw}),
                                                 with_kwargs=True),
        ]  # fmt: skip
    ids = pipeline._prepare_latent_ids(latent)
    with torch.no_grad():
        output = model.denoiser(
            pipeline._pack_latents(latent), embeds, torch.tensor([t / 1000]), img_ids=ids, txt_ids=text_ids
        ).sample
    for handle in handles:
        handle.remove()
    return pipeline._unpack_latents_with_ids(output, ids), kept


@torch.no_grad()
def projections_of(attn, call):
    """Queries, keys and values of a layer, B N heads d with the text first; only the keys and queries are normed."""
    hidden, words = call["hidden_states"], call.get("encoder_hidden_states")
    if words is None:
        q, k, v = attn.to_qkv_mlp_proj(hidden)[..., : 3 * attn.inner_dim].chunk(3, -1)
    else:
        q, k, v = attn.to_q(hidden), attn.to_k(hidden), attn.to_v(hidden)
    raw = q, k, v
    q, k = attn.norm_q(q.unflatten(2, (attn.heads, -1))), attn.norm_k(k.unflatten(2, (attn.heads, -1)))
    if words is not None:
        q = torch.cat([attn.norm_added_q(attn.add_q_proj(words).unflatten(2, (attn.heads, -1))), q], 1)
        k = torch.cat([attn.norm_added_k(attn.add_k_proj(words).unflatten(2, (attn.heads, -1))), k], 1)
    q, k = (apply_rotary_emb(x, call["image_rotary_emb"], sequence_dim=1).transpose(1, 2) for x in (q, k))
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1), *raw


@pytest.mark.parametrize("hw", [(128, 128), (64, 128)])
def test_features_and_predictions_are_those_of_plain_diffusers(model, pipeline, hw):
    grid = hw[0] // 16, hw[1] // 16
    cells = grid[0] * grid[1]
    latent = torch.randn(1, 128, *grid, generator=torch.Generator().manual_seed(0))
    ours = model.denoise(
        latent, 260, model.encode_prompt([PROMPT]), select(["*", "*.map.heads"], model.taps), full=True
    )
    prediction, kept = plain(model, pipeline, latent, 260)
    torch.testing.assert_close(ours.prediction, torch.as_tensor(prediction), **CLOSE)

    def on_grid(tokens):
        return tokens[:, -cells:].transpose(1, 2).unflatten(2, grid)

    blocks = {"double1": model.denoiser.transformer_blocks[1], "single1": model.denoiser.single_transformer_blocks[1]}
    for name, block in blocks.items():
        call, output = kept[f"{name}.attn"], kept[name]
        weights, q, k, v = projections_of(block.attn, call)
        expected = {
            name: output[1] if isinstance(output, tuple) else output,
            f"{name}.in": kept[f"{name}.call"]["hidden_states"],
            f"{name}.modulated": call["hidden_states"],
            f"{name}.self.q": q,
            f"{name}.self.k": k,
            f"{name}.self.v": v,
        }
        for tap, tokens in expected.items():
            torch.testing.assert_close(ours.maps[tap], on_grid(tokens), **CLOSE)
        weights = weights[:, :, -cells:]
        for which, shown in (("self", weights[..., -cells:]), ("cross", weights[..., :-cells])):
            torch.testing.assert_close(ours.maps[f"{name}.{which}.map"], on_grid(shown.mean(1)), **CLOSE)
            each = shown.transpose(2, 3).flatten(1, 2).unflatten(2, grid)
            torch.testing.assert_close(ours.maps[f"{name}.{which}.map.heads"], each, **CLOSE)


@pytest.mark.parametrize("prompt", [PROMPT, "", "user", "Zwei Kühe, draußen.\nUnd ein Pferd"])
def test_a_prompt_is_encoded_as_the_pipeline_does(model, pipeline, prompt):
    condition = model.encode_prompt([prompt])
    torch.testing.assert_close(condition.embeds, prompt_of(pipeline, prompt)[0], **CLOSE)
    assert len(condition.words[0]) == condition.embeds.shape[1] == 512


@pytest.mark.parametrize(
    ("prompt", "word"), [(PROMPT, "horse"), ("user", "user"), ("Zwei Kühe, draußen.\nUnd", "Kühe"), ("a cow\nor", "or")]
)
def test_words_are_those_of_the_prompt_and_not_of_its_template(model, prompt, word):
    words = model.encode_prompt([prompt]).words[0]
    found = [words[column] for column in word_columns(words, word)]
    assert len(found) == len(word.encode())  # the twin's tokens are bytes
    with pytest.raises(shiftless.BadInput, match="does not hold the word"):
        word_columns(words, "assistant")


def test_a_longer_prompt_than_usual_is_taken_whole(model):
    condition = model.encode_prompt(["horse " * 120])
    assert condition.embeds.shape[1] > 512
    assert condition.words[0].count("e ") == 120


def test_a_picture_goes_through_the_autoencoder_as_the_pipeline_norms_it(model, pipeline):
    pixels = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = pipeline._encode_vae_image(pixels, None)
        mean = model.vae.encode(pixels).latent_dist.mean
        decoded = model.vae.decode(mean).sample.clamp(-1, 1)
    latent = model.encode_image(pixels)
    assert latent.shape == (1, 128, 4, 8)
    torch.testing.assert_close(latent, expected, **CLOSE)
    torch.testing.assert_close(model.decode(latent), decoded, **CLOSE)
    drawn = model.encode_image(pixels, latent="sample", noise=torch.zeros(2, 128, 4, 8))
    torch.testing.assert_close(drawn, expected.expand(2, -1, -1, -1), **CLOSE)


@pytest.mark.parametrize("name", ["flux2-klein", "flux2-klein-9b", "flux2-dev"])
def test_listed_taps_are_those_of_the_real_network(name):
    row = models()[name]
    with torch.device("meta"):
        network = Flux2Transformer2DModel(**row["transformer"])
        wanted = ("double0.self.map", "single9.cross.map.heads")
        some = [tap for tap in taps(name) if tap.kind == "out" or tap.name in wanted]
        with tapped(network, some, layout=FusedLayout((512, 768)), stop=False) as captured:
            network(
                torch.empty(1, 32 * 48, 128), torch.empty(1, 512, row["transformer"]["joint_attention_dim"]),
                torch.tensor([0.26]), torch.empty(32 * 48, 4), torch.empty(512, 4),
            )  # fmt: skip
    language = row["text_encoder"].get("text_config", row["text_encoder"])
    assert row["transformer"]["joint_attention_dim"] == 3 * language["hidden_size"]
    heads = row["transformer"]["num_attention_heads"]
    channels = {"double0.self.map": 32 * 48, "single9.cross.map.heads": heads * 512}
    for tap, value in zip(some, captured.maps().values()):
        assert value.shape == (1, tap.channels or channels[tap.name], 32, 48), tap


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (shiftless.Recipe(taps=("single0",), control="canny"), "control cannot steer a model of the flux2 family"),
        (shiftless.Recipe(taps=("block0",)), "no tap 'block0'"),
    ],
)
def test_what_it_does_not_take_is_one_line(model, recipe, message):
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        shiftless.extract(model, torch.zeros(3, 64, 64), recipe)
    assert "\n" not in str(raised.value)


def test_another_text_encoder_is_one_line(tmp_path):
    save_parts(type(shiftless.load("twin:flux2-klein", dtype="fp32")).twin_parts(models()["flux2-klein"]), tmp_path)
    config = tmp_path / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace('"model_type": "qwen3"', '"model_type": "gemma3"'))
    for read in (taps, shiftless.load):
        with pytest.raises(shiftless.BadInput, match=r'text encoder is a "gemma3" model; give a FLUX\.2 klein or dev'):
            read(tmp_path)


def test_a_tokenizer_without_its_chat_template_is_one_line(tmp_path):
    parts = type(shiftless.load("twin:flux2-klein", dtype="fp32")).twin_parts(models()["flux2-klein"])
    parts["tokenizer"].chat_template = None
    save_parts(parts, tmp_path)
    with pytest.raises(shiftless.BadInput, match="tokenizer: no chat template"):
        shiftless.load(tmp_path, device="cpu", dtype="fp32")


def test_another_chat_template_is_another_model(tmp_path):
    parts = type(shiftless.load("twin:flux2-klein", dtype="fp32")).twin_parts(models()["flux2-klein"])
    save_parts(parts, tmp_path / "a")
    parts["tokenizer"].chat_template = parts["tokenizer"].chat_template.replace("user", "someone") + " "
    save_parts(parts, tmp_path / "b")
    first, second = (shiftless.load(tmp_path / x, device="cpu", dtype="fp32").fingerprint for x in "ab")
    assert first != second
