"""What steers a model is made ready once, kept, and made anew when its file or the weights have changed."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import shiftless
from shiftless import Recipe
from shiftless.conditions import image_prompt, lora

TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture
def twin():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture
def made(monkeypatch):
    """How often LoRAs and IP-Adapters were made ready."""
    calls = []
    layers, image = lora._layers, image_prompt.ImageInjection.__init__
    monkeypatch.setattr(lora, "_layers", lambda *a: calls.append("lora") or layers(*a))
    monkeypatch.setattr(image_prompt.ImageInjection, "__init__", lambda *a: calls.append("image") or image(*a))
    return calls


def write(path, twin, seed, dora=False):
    generator = torch.Generator().manual_seed(seed)
    width = twin.unet.get_submodule(TO_Q.removeprefix("unet.")).weight.shape
    state = {
        f"{TO_Q}.lora_A.weight": torch.randn(2, width[1], generator=generator),
        f"{TO_Q}.lora_B.weight": torch.randn(width[0], 2, generator=generator),
    }
    if dora:
        state[f"{TO_Q}.lora_magnitude_vector"] = torch.rand(width[0], generator=generator) + 1
    save_file(state, path)
    return str(path)


def latents():
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def prediction(model, files):
    with model.adapted([(file, 1.0) for file in files]):
        return model.denoise(latents(), 50, model.encode_prompt(["a horse"])).prediction


def test_loras_are_made_ready_once_however_many_windows_there_are(twin, made, tmp_path, picture):
    a, b = (write(tmp_path / f"{seed}.safetensors", twin, seed) for seed in (1, 2))
    pictures = [picture, picture[::-1].copy(), picture[:, ::-1].copy()]
    recipes = [Recipe(taps=("up1",), size=32, lora=file) for file in (a, b)]
    buckets = shiftless.extract(twin, pictures, recipes, batch=1)
    assert made == ["lora", "lora"]
    alone = shiftless.extract(shiftless.load("twin:sd15", device="cpu", dtype="fp32"), pictures[2], recipes[1])
    assert torch.equal(buckets[2][1]["up1"], alone["up1"])
    plain = twin.denoise(latents(), 50, twin.encode_prompt(["a horse"])).prediction
    assert not torch.allclose(prediction(twin, [a]), plain)
    assert torch.equal(twin.denoise(latents(), 50, twin.encode_prompt(["a horse"])).prediction, plain)


def test_only_the_latest_are_kept(twin, made, tmp_path):
    files = [write(tmp_path / f"{seed}.safetensors", twin, seed) for seed in range(5)]
    for file in files:
        prediction(twin, [file])
    assert len(made) == 5
    prediction(twin, [files[4]])
    assert len(made) == 5
    prediction(twin, [files[0]])
    assert len(made) == 6


def test_an_overwritten_file_and_changed_weights_are_made_ready_anew(twin, tmp_path):
    file = write(tmp_path / "a.safetensors", twin, 1, dora=True)
    before = prediction(twin, [file])
    twin.unet.get_submodule(TO_Q.removeprefix("unet.")).weight.data.mul_(3)  # a DoRA depends on the weights
    changed = prediction(twin, [file])
    other = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    other.unet.get_submodule(TO_Q.removeprefix("unet.")).weight.data.mul_(3)
    assert torch.equal(changed, prediction(other, [file]))
    write(tmp_path / "a.safetensors", twin, 2, dora=True)
    assert not torch.equal(prediction(twin, [file]), changed)
    assert not torch.equal(before, changed)


def test_image_prompts_are_made_ready_once_and_take_the_scale_of_the_day(twin, made, picture):
    recipes = [Recipe(taps=("up1",), size=32, image_prompt="ip-adapter", image_prompt_scale=s) for s in (0.3, 1.0)]
    first = shiftless.extract(twin, [picture, picture[::-1].copy()], recipes, batch=1)
    assert made == ["image"]
    alone = shiftless.extract(shiftless.load("twin:sd15", device="cpu", dtype="fp32"), picture, recipes[0])
    assert torch.equal(first[0][0]["up1"], alone["up1"])
    assert not torch.allclose(first[0][0]["up1"], first[0][1]["up1"])
