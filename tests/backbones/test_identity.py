"""A model and what steers it are known by their contents: nothing that was made of older contents answers for newer."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import save_file

import shiftless
from shiftless import Recipe
from shiftless.backbones.registry import untrained
from shiftless.backbones.twin_controls import twin_control
from shiftless.backbones.twins import save_folder, twin_parts


def text_lora(path, value: float):
    """A LoRA of one layer of the twin's text encoder."""
    key = "text_encoder.text_model.encoder.layers.0.self_attn.v_proj.lora_{}.weight"
    save_file({key.format("A"): torch.full((2, 32), value), key.format("B"): torch.full((32, 2), value)}, path)
    return str(path)


@pytest.fixture(scope="module")
def twin():
    return shiftless.load("twin:sd15", dtype="fp32")


@pytest.fixture
def folder(tmp_path):
    """A diffusers folder that may be written to."""
    from shiftless.backbones.registry import models

    save_folder(twin_parts(models()["sd15"]), tmp_path / "model")
    return tmp_path / "model"


def test_prompts_are_encoded_again_when_a_lora_file_was_overwritten(twin, tmp_path, picture):
    path = text_lora(tmp_path / "words.safetensors", 0.3)
    recipe = Recipe(prompt="a horse", lora=path)
    first = shiftless.extract(twin, picture, recipe)["up1"]
    text_lora(path, 3.0)
    second = shiftless.extract(twin, picture, recipe)["up1"]
    fresh = shiftless.extract(shiftless.load("twin:sd15", dtype="fp32"), picture, recipe)["up1"]
    assert not torch.equal(first, second)
    assert torch.equal(second, fresh)


def test_prompts_are_encoded_again_when_the_text_encoder_was_changed(picture):
    model = shiftless.load("twin:sd15", dtype="fp32")
    before = model.encode_prompt(["a horse"]).embeds
    for parameter in model.text_encoder.parameters():
        parameter.data.add_(0.1)
    assert not torch.allclose(model.encode_prompt(["a horse"]).embeds, before)


def test_prompts_are_kept_while_nothing_changed(twin, tmp_path, monkeypatch):
    calls = []
    encoder = twin.text_encoder.forward
    monkeypatch.setattr(twin.text_encoder, "forward", lambda *a, **k: calls.append(1) or encoder(*a, **k))
    path = text_lora(tmp_path / "a.safetensors", 0.7)
    copy = str(shutil.copy(path, tmp_path / "b.safetensors"))
    for loras in ([], [], [(path, 1.0)], [(path, 1.0)], [(copy, 1.0)]):
        with twin.adapted(loras):
            twin.encode_prompt(["a prompt of this test only"])
    assert len(calls) == 2  # one bare, and one for both files of the same contents


def test_a_controlnet_that_was_replaced_is_loaded_again(twin, tmp_path, picture):
    place, recipe = tmp_path / "canny", Recipe(control=f"canny={tmp_path / 'canny'}")
    twin_control(twin.unet, 8, seed=1).save_pretrained(place)
    first, digest = shiftless.extract(twin, picture, recipe)["up1"], twin.digest("control", recipe.control[0])
    assert twin.control(recipe.control[0]) is twin.control(recipe.control[0])
    twin_control(twin.unet, 8, seed=2).save_pretrained(place)
    second = shiftless.extract(twin, picture, recipe)["up1"]
    assert not torch.equal(first, second)
    assert twin.digest("control", recipe.control[0]) != digest


def test_a_depth_map_is_known_by_what_estimates_it(twin, tmp_path, monkeypatch):
    twin_control(twin.unet, 8).save_pretrained(tmp_path / "net")
    digests = []
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"name": "{name}"}}')
        monkeypatch.setenv("SHIFTLESS_DEPTH", str(tmp_path / name))
        digests.append(twin.digest("control", f"depth={tmp_path / 'net'}"))
    assert digests[0] != digests[1]
    assert twin.digest("control", f"canny={tmp_path / 'net'}") not in digests


def test_loras_are_known_by_their_contents(twin, tmp_path):
    a, b = text_lora(tmp_path / "a.safetensors", 1.0), text_lora(tmp_path / "b.safetensors", 2.0)
    copy = shutil.copy(a, tmp_path / "copy.safetensors")
    assert twin.digest("lora", a) == twin.digest("lora", str(copy)) != twin.digest("lora", b)
    for alpha in (1, 2):
        folder = tmp_path / f"peft-{alpha}"
        folder.mkdir()
        shutil.copy(a, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(f'{{"lora_alpha": {alpha}}}')
    assert twin.digest("lora", str(tmp_path / "peft-1")) != twin.digest("lora", str(tmp_path / "peft-2"))


def test_the_fingerprint_follows_the_files_in_every_dtype_and_place(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    kept = {shiftless.load(place, dtype=dtype).fingerprint for place in (folder, copy) for dtype in ("fp32", "bf16")}
    assert len(kept) == 1
    for part, name in (("unet", "diffusion_pytorch_model.safetensors"), ("scheduler", "scheduler_config.json")):
        content = (copy / part / name).read_bytes()
        changed = content[:-1] + bytes([content[-1] ^ 1]) if name.endswith("safetensors") else content + b"\n"
        (copy / part / name).write_bytes(changed)
        kept.add(shiftless.load(copy).fingerprint)
        (copy / part / name).write_bytes(content)
    assert len(kept) == 3
    assert shiftless.load(copy).fingerprint == shiftless.load(folder).fingerprint


def test_files_that_changed_after_loading_do_not_name_what_is_in_memory(folder):
    model = shiftless.load(folder, dtype="fp32")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model.fingerprint != shiftless.load(folder, dtype="fp32").fingerprint


def test_the_fingerprint_follows_weights_that_are_changed_in_memory():
    model = shiftless.load("twin:sd15", dtype="fp32")
    result = [model.fingerprint]
    for change in (1.0, 0.5):
        model.unet.conv_in.bias.data.add_(change)
        result.append(model.fingerprint)
    assert len({*result}) == 3
    assert untrained(model).fingerprint not in result


def test_the_fingerprint_is_the_bare_models_while_loras_are_in(twin, tmp_path):
    before = twin.fingerprint
    with twin.adapted([(text_lora(tmp_path / "a.safetensors", 1.0), 1.0)]):
        assert twin.fingerprint == before
    assert twin.fingerprint == before


def test_every_twin_has_its_own():
    names = ("twin:sd15", "twin:sd21", "mini")
    assert len({shiftless.load(name).fingerprint for name in names}) == len(names)
