"""DreamBooth: what diffusers' training scripts leave, written as they write it, is read as what was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

import shiftless
from shiftless import Recipe
from shiftless.backbones.registry import models
from shiftless.backbones.twins import save_folder, twin_parts
from shiftless.conditions.lora import adapted

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
RECIPE = Recipe(taps=("up1",), prompt="a photo of sks dog")
ATTENTION = ["to_k", "to_q", "to_v", "to_out.0", "add_k_proj", "add_v_proj"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj"]


@pytest.mark.parametrize(("alpha", "metadata"), [(4, False), (8, True)])
def test_a_lora_of_both_networks_is_what_was_trained(twin, reading, tmp_path, alpha, metadata):
    """As train_dreambooth_lora.py with --train_text_encoder: adapters of peft, saved by diffusers' own mixin."""
    trained, configs = twin_parts(models()["sd15"]), {}
    for part, targets in (("unet", ATTENTION), ("text_encoder", TEXT)):
        configs[part] = LoraConfig(r=4, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=targets)
        trained[part].eval().add_adapter(configs[part])
        for name, value in trained[part].named_parameters():
            if "lora_B" in name:  # which training begins with zeros
                torch.nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    saved = {
        f"{part}_lora_layers": convert_state_dict_to_diffusers(get_peft_model_state_dict(trained[part]))
        for part in configs
    }
    if metadata:
        saved |= {f"{part}_lora_adapter_metadata": config.to_dict() for part, config in configs.items()}
    StableDiffusionLoraLoaderMixin.save_lora_weights(tmp_path, **saved)
    theirs, plain = reading(trained), reading()
    for place in (tmp_path, tmp_path / "pytorch_lora_weights.safetensors"):
        with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(str(place), 1.0)]):
            ours = reading()
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (theirs - plain).abs().max() > 1e-2
    assert torch.equal(reading(), plain)


def test_full_weights_are_another_model(tmp_path):
    """As train_dreambooth.py: the whole pipeline in a folder."""
    base, tuned = twin_parts(models()["sd15"]), twin_parts(models()["sd15"])
    with torch.no_grad():
        for part in ("unet", "text_encoder"):
            for value in tuned[part].parameters():
                value.mul_(1.1)
    loaded = {}
    for name, parts in (("base", base), ("tuned", tuned)):
        save_folder(parts, tmp_path / name)
        loaded[name] = shiftless.load(tmp_path / name, device="cpu", dtype="fp32")
    kept = []
    handle = tuned["unet"].up_blocks[1].register_forward_hook(lambda *given: kept.append(given[2]))
    given = []
    fed = loaded["tuned"].unet.register_forward_pre_hook(lambda _module, args: given.append(args))
    features = shiftless.extract(loaded["tuned"], PICTURE, RECIPE)["up1"]
    fed.remove()
    pipe = StableDiffusionPipeline(**tuned, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    embeds = pipe.encode_prompt(RECIPE.prompt, "cpu", 1, False)[0]
    with torch.no_grad():
        pipe.unet(given[0][0], given[0][1], embeds)
    handle.remove()
    torch.testing.assert_close(features, kept[0], atol=1e-5, rtol=1e-5)
    assert loaded["tuned"].fingerprint != loaded["base"].fingerprint
    assert (features - shiftless.extract(loaded["base"], PICTURE, RECIPE)["up1"]).abs().max() > 1e-2
