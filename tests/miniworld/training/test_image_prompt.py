"""The training of the IP-Adapter, on networks that take a second."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

import shiftless
from miniworld.training.architecture import new_text_encoder, new_unet, new_vae
from miniworld.training.encoded_pictures import tokenize
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.image_prompt import (
    DROPPED,
    TAUGHT,
    TAUGHT_IMAGES,
    image_layers,
    image_prompts,
    new_image_prompt,
    save_image_prompt,
    taught_weight,
    train_image_prompt,
)
from miniworld.training.pictures import PictureFolder
from miniworld.training.stage import Stage
from miniworld.training.unet import NoiseLoss, save_pipeline
from shiftless import Recipe
from shiftless.conditions.image_prompt import image_processor
from shiftless.errors import BadInput
from shiftless.image import open_photo
from tests.interrupted import interrupt_after

TINY_VAE = {"block_out_channels": (8, 8, 16), "norm_num_groups": 4, "sample_size": 32}
TINY_UNET = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2, "sample_size": 8}
TINY = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
    "hidden_dims": 16,
    "heads": 1,
    "num_queries": 4,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("model")
    save_pipeline(folder, new_vae(**TINY_VAE), new_unet(**TINY_UNET), new_text_encoder(tokenizer), tokenizer)
    return folder


@pytest.fixture
def train(model, drawn):
    def run(out, *, images=16, seed=0, checkpoint_minutes=5, **options):
        how = {"images": images, "seed": seed, "checkpoint_minutes": checkpoint_minutes, "device": "cpu"}
        stage = Stage(out, pictures=drawn, draw=False, compile=False, **how)
        return train_image_prompt(stage, **{"model": model, "batch": 4, "changes": TINY, **options})

    return run


def network_for(model, **changes):
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32).eval()
    text_encoder = CLIPTextModel.from_pretrained(model, subfolder="text_encoder", torch_dtype=torch.float32)
    return new_image_prompt(unet, text_encoder, 32, **{**TINY, **changes})


def shown(drawn, tokenizer, size=4, weight=0.0):
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(size, 4, 8, 8, generator=generator) for _ in range(2))
    tokens, told = (torch.from_numpy(tokenize(tokenizer, [text] * size)).long() for text in ("", "a photo of a cow"))
    pixels = image_prompts(drawn, list(range(size)), 0, 0)
    return latents, noise, torch.arange(size) * 100 + 50, tokens, pixels, told, torch.tensor(weight)


def trained(model, drawn, tokenizer, steps=40):
    """Train an adapter on one batch; gives it in half-precision values, and its losses."""
    network = network_for(model)
    optimiser = Fp32MasterAdamW(network.parameters(), dtype=torch.float32)
    batch, losses = shown(drawn, tokenizer), []
    for _ in range(steps):
        loss, _ = network(*batch)
        loss.backward()
        optimiser.step(1e-2)
        losses.append(float(loss.detach()))
    for p in network.parameters():
        p.data = p.data.half().float()
    return network, losses


def test_the_loss_falls_on_a_fixed_batch_and_nothing_else_changes(model, drawn, tokenizer):
    network, losses = trained(model, PictureFolder(drawn), tokenizer)
    assert losses[-1] < 0.95 * losses[0]  # the denoiser itself is frozen
    plain = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32).state_dict()
    ours = network.unet.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in plain.items())
    assert {name.rpartition("processor.")[2] for name in ours.keys() - plain.keys()} == {
        "to_k_ip.0.weight",
        "to_v_ip.0.weight",
    }


def test_it_is_taught_to_predict_what_the_denoiser_predicts_that_reads_the_caption(model, drawn, tokenizer):
    network, pictures = network_for(model), PictureFolder(drawn)
    plain, taught = (network(*shown(pictures, tokenizer, weight=weight)) for weight in (0.0, 2.0))
    latents, noise, timesteps, _, pixels, told, _ = shown(pictures, tokenizer)
    noisy, words = network.noisy(latents, noise, timesteps), network.text_encoder(told)[0]
    with torch.no_grad():
        theirs = NoiseLoss(network.teacher, network.text_encoder).predict(noisy, timesteps, words)
        ours = network.predict(noisy, timesteps, network.text_encoder(shown(pictures, tokenizer)[3])[0], pixels)
    torch.testing.assert_close(plain[1][4:], (ours - theirs).square().mean((1, 2, 3)))
    torch.testing.assert_close(plain[1][:4], (ours - noise).square().mean((1, 2, 3)))
    torch.testing.assert_close(taught[0] - plain[0], 2 * network.loss(ours, theirs, timesteps)[0])
    assert [taught_weight(images) for images in (0, TAUGHT_IMAGES, 2 * TAUGHT_IMAGES)] == [TAUGHT, 0, 0]


def test_gradients_reach_every_weight_of_the_adapter(model, drawn, tokenizer):
    network = network_for(model)
    network(*shown(PictureFolder(drawn), tokenizer))[0].backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    ours = {name for name, p in network.named_parameters() if p.requires_grad}
    assert reached <= ours
    # a softmax over keys does not see what shifts all of them alike; an embedding of the whole picture is not shown
    missed = {name for name in ours - reached if not name.endswith("k_proj.bias")}
    assert all("post_layernorm" in name or "visual_projection" in name for name in missed)
    assert not any("text_encoder" in name for name in ours)


def test_what_is_saved_steers_shiftless_and_diffusers_as_it_did_in_training(tmp_path, model, drawn, tokenizer):
    pictures = PictureFolder(drawn)
    network, _ = trained(model, pictures, tokenizer)
    save_image_prompt(tmp_path, network)
    photo, prompt, t = open_photo(np.array(pictures[3][0])), "a photo of a horse", 150
    pixels = image_processor(32)(photo.array, return_tensors="pt").pixel_values
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    words = network.text_encoder(torch.from_numpy(tokenize(tokenizer, [prompt])).long())[0]
    with torch.no_grad():
        ours, blank = (network.predict(latent, torch.tensor([t]), words, x) for x in (pixels, torch.zeros_like(pixels)))
    assert (ours - blank).abs().max() > 1e-3  # it is seen

    file = tmp_path / "ip-adapter-plus.safetensors"
    loaded = shiftless.load(model, device="cpu", dtype="fp32")
    condition = loaded.encode_prompt([prompt])
    condition.extra["image_prompt0"] = loaded.image_prompt(str(file)).embed(photo)
    with loaded.image_prompted([(str(file), 1.0)]):
        read = loaded.denoise(latent, t, condition).prediction
    torch.testing.assert_close(read, ours, atol=1e-4, rtol=1e-4)

    pipe = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipe.load_ip_adapter(str(tmp_path), subfolder="", weight_name=file.name)
    assert any(isinstance(one, IPAdapterAttnProcessor2_0) for one in pipe.unet.attn_processors.values())
    embeds = pipe.prepare_ip_adapter_image_embeds([Image.fromarray(photo.array)], None, "cpu", 1, True)
    with torch.no_grad():
        added = {"image_embeds": embeds}
        nothing, theirs = pipe.unet(
            latent.expand(2, -1, -1, -1), t, words.expand(2, -1, -1), added_cond_kwargs=added
        ).sample
    torch.testing.assert_close(theirs[None], ours, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(nothing[None], blank, atol=1e-4, rtol=1e-4)  # a picture that is dropped


def test_attention_on_other_devices_is_the_same(model, drawn, tokenizer):
    network, batch = network_for(model), shown(PictureFolder(drawn), tokenizer)
    plain = network(*batch)[0]
    processors = dict(network.unet.attn_processors)
    for name in image_layers(network.unet):
        made = IPAdapterAttnProcessor2_0(processors[name].hidden_size, 128, num_tokens=(4,))
        made.load_state_dict(processors[name].state_dict())
        processors[name] = made
    network.unet.set_attn_processor(processors)
    torch.testing.assert_close(network(*batch)[0], plain, atol=1e-5, rtol=1e-5)


def test_an_adapter_that_lies_in_the_folder_of_its_model_is_known(tmp_path, model, train):
    folder = train(tmp_path / "run")
    assert {path.name for path in folder.iterdir()} == {"ip-adapter-plus.safetensors", "image_encoder"}
    halves = [*load_file(folder / "ip-adapter-plus.safetensors").values()]
    assert {value.dtype for value in halves} == {torch.float16}
    encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
    assert (encoder.config.image_size, encoder.config.num_hidden_layers) == (32, 3)
    assert json.loads((folder / "image_encoder" / "preprocessor_config.json").read_text())["size"] == {
        "shortest_edge": 32
    }
    assert shiftless.load(model, device="cpu").image_prompts() == []
    whole = shutil.copytree(model, tmp_path / "whole")
    shutil.copytree(folder, whole / folder.name)
    loaded = shiftless.load(whole, device="cpu", dtype="fp32")
    assert loaded.image_prompts() == ["ip-adapter-plus"]
    recipes = [Recipe(taps=("up1",)), Recipe(taps=("up1",), image_prompt="ip-adapter-plus")]
    bucket = shiftless.extract(loaded, torch.rand(3, 32, 32), recipes)
    assert not torch.allclose(bucket[0]["up1"], bucket[1]["up1"])


def test_an_adapter_for_the_embedded_model_is_small(tmp_path, tokenizer):
    save_image_prompt(tmp_path, new_image_prompt(new_unet(), new_text_encoder(tokenizer), 128))
    assert 5e6 < sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 6e6


def test_pictures_are_prepared_as_by_the_processor_and_some_are_dropped(drawn):
    pictures = PictureFolder(drawn)
    rows = [7, 0, 5, 6, 9]
    batches = [image_prompts(pictures, rows, 0, step) for step in range(200)]
    expected = image_processor(32)([np.array(pictures[row][0]) for row in rows], return_tensors="pt").pixel_values
    dropped = [(batch == 0).flatten(1).all(1) for batch in batches]
    for batch, blank in zip(batches[:20], dropped):
        torch.testing.assert_close(batch[~blank], expected[~blank], atol=1e-5, rtol=1e-5)
    assert abs(float(torch.cat(dropped).float().mean()) - DROPPED) < 0.03
    assert torch.equal(image_prompts(pictures, rows, 0, 7), batches[7])


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, train, model, monkeypatch):
    def weights(folder):
        return {
            path.name + key: v for path in sorted(folder.rglob("*.safetensors")) for key, v in load_file(path).items()
        }

    frozen = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    whole = weights(train(tmp_path / "a"))
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", checkpoint_minutes=0, latest=tmp_path / "latest")
    assert not (tmp_path / "b" / "ip-adapter-plus").exists()
    resumed, early, other = (
        weights(train(tmp_path / "b")),
        weights(tmp_path / "latest"),
        weights(train(tmp_path / "c", seed=1)),
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for different in (early, other):
        assert any(not torch.equal(whole[name], different[name]) for name in whole)
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == frozen


def test_bad_input_is_one_line_that_says_what_to_do(tmp_path, train):
    for options, message in (({"model": tmp_path}, "no model_index.json"), ({"images": None}, "give a length")):
        with pytest.raises(BadInput, match=message) as caught:
            train(tmp_path / "out", **options)
        assert "\n" not in str(caught.value)
    train(tmp_path / "few")
    (folder,) = (tmp_path / "few").glob("latents-*")
    shutil.copy(next(folder.glob("*.npz")), folder / "9999999999.npz")
    with pytest.raises(BadInput, match="encoded pictures for the 10 drawn"):
        train(tmp_path / "few", images=20)
