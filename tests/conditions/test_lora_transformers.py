"""LoRAs of transformers, from SD3 to Z-Image: each layout gives what a model with the weights merged by hand gives."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

import shiftless
from shiftless import BadInput
from shiftless.conditions.lora import fitted
from shiftless.conditions.lora_file import read_lora
from shiftless.conditions.lora_format import parse_lora
from shiftless.taps.names import select

LAYERS = {
    "sd3-medium": ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.add_k_proj",
                   "transformer_blocks.1.ff.net.0.proj", "transformer_blocks.0.norm1.linear"),
    "flux-dev": ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.add_k_proj", "x_embedder",
                 "single_transformer_blocks.0.attn.to_v", "single_transformer_blocks.1.proj_mlp"),
    "flux2-klein": ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.ff.linear_in",
                    "single_transformer_blocks.0.attn.to_qkv_mlp_proj", "single_stream_modulation.linear"),
    "z-image-turbo": ("layers.0.attention.to_q", "layers.1.feed_forward.w1", "noise_refiner.0.attention.to_out.0"),
    "qwen-image": ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.add_k_proj", "img_in",
                   "transformer_blocks.0.img_mlp.net.0.proj", "transformer_blocks.1.img_mod.1"),
}  # fmt: skip
RANK, ALPHA = 4, 2.0


@pytest.fixture(scope="module", params=LAYERS)
def model(request):
    return shiftless.load(f"twin:{request.param}", device="cpu", dtype="fp32")


def pairs_of(model):
    """Down and up weights for some layers of the denoiser, by path."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for path in LAYERS[model.spec.name.removeprefix("twin:")]:
        weight = model.denoiser.get_submodule(path).weight
        down, up = (torch.randn(shape, generator=generator) * 0.2 for shape in ((RANK, weight.shape[1]),
                                                                                 (weight.shape[0], RANK)))  # fmt: skip
        made[path] = down, up
    return made


def diffusers_file(pairs, folder):
    """As diffusers' pipelines save it, with alpha among the metadata."""
    state = {}
    for path, (down, up) in pairs.items():
        state |= {f"transformer.{path}.lora_A.weight": down, f"transformer.{path}.lora_B.weight": up}
    settings = {"transformer.lora_alpha": ALPHA, "transformer.r": RANK}
    save_file(state, folder / "lora.safetensors", {"lora_adapter_metadata": json.dumps(settings), "format": "pt"})
    return folder / "lora.safetensors"


def peft_folder(pairs, folder):
    """As peft saves the adapter of a transformer, which does not name the part."""
    state = {}
    for path, (down, up) in pairs.items():
        state |= {f"base_model.model.{path}.lora_A.weight": down, f"base_model.model.{path}.lora_B.weight": up}
    save_file(state, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def distilled_file(pairs, folder):
    """As the authors of distilled models save it: alphas beside the weights, and no part."""
    state = {}
    for path, (down, up) in pairs.items():
        state |= {f"{path}.lora_down.weight": down, f"{path}.lora_up.weight": up, f"{path}.alpha": torch.tensor(ALPHA)}
    save_file(state, folder / "lora.safetensors")
    return folder / "lora.safetensors"


@pytest.mark.parametrize("write", [diffusers_file, peft_folder, distilled_file])
def test_a_lora_gives_what_merged_weights_give(model, write, tmp_path):
    pairs = pairs_of(model)
    channels, stride = model.spec.latent
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(1, channels, 64 // stride, 64 // stride, generator=generator)
    condition, chosen = model.encode_prompt(["a horse"]), select(["*.map", model.taps[-3].name], model.taps)

    def read():
        reading = model.denoise(latent, 250, condition, chosen, full=True)
        return {**reading.maps, "prediction": reading.prediction}

    bare = read()
    weights = {path: model.denoiser.get_submodule(path).weight for path in pairs}
    kept = {path: weight.data.clone() for path, weight in weights.items()}
    for path, (down, up) in pairs.items():
        weights[path].data += up @ down * (ALPHA / RANK)
    merged = read()
    for path, weight in weights.items():
        weight.data = kept[path]
    with model.adapted([(str(write(pairs, tmp_path)), 1.0)]):
        ours = read()
    for name, value in read().items():
        assert torch.equal(value, bare[name])
    assert not torch.allclose(ours["prediction"], bare["prediction"], atol=1e-3)
    for name, value in ours.items():
        torch.testing.assert_close(value, merged[name], atol=1e-5, rtol=1e-4)


def test_a_recipe_takes_it(model, tmp_path):
    recipe = shiftless.Recipe(taps=(model.taps[-3].name,), lora=str(diffusers_file(pairs_of(model), tmp_path)))
    bare = shiftless.Recipe(taps=recipe.taps)
    with_lora, bare = (shiftless.extract(model, torch.zeros(3, 64, 64), one) for one in (recipe, bare))
    assert not torch.allclose(with_lora[recipe.taps[0]], bare[recipe.taps[0]])


def test_xlabs_names_for_flux_are_parted_into_queries_keys_and_values(tmp_path):
    model = shiftless.load("twin:flux-dev", device="cpu", dtype="fp32")
    generator, width = torch.Generator().manual_seed(0), 48
    parted, state = {"qkv_lora1": ("to_q", "to_k", "to_v"), "proj_lora2": ("to_add_out",)}, {}
    changes = {}
    for name, paths in parted.items():
        down = torch.randn(RANK, width, generator=generator) * 0.2
        ups = [torch.randn(width, RANK, generator=generator) * 0.2 for _ in paths]
        stem = f"double_blocks.1.processor.{name}"
        state |= {f"{stem}.down.weight": down, f"{stem}.up.weight": torch.cat(ups)}
        changes |= {f"transformer_blocks.1.attn.{path}": up @ down for path, up in zip(paths, ups)}
    save_file(state, tmp_path / "lora.safetensors")
    fits = fitted(read_lora(tmp_path / "lora.safetensors"), {"transformer": model.denoiser})["transformer"]
    assert fits.keys() == changes.keys()
    for path, pair in fits.items():
        torch.testing.assert_close(pair.up @ pair.down, changes[path])


def kohya(name, rows, columns, alpha):
    generator = torch.Generator().manual_seed(len(name))
    down, up = torch.randn(RANK, columns, generator=generator), torch.randn(rows, RANK, generator=generator)
    stem = f"lora_unet_{name}"
    state = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(alpha)}
    return state, up @ down[:, :8] * (alpha / RANK)


def test_kohyas_names_for_flux_are_parted_into_queries_keys_and_values():
    """Of the sizes of the real Flux, since its single blocks are parted by them; eight columns are compared."""
    double, whole = kohya("double_blocks_0_img_attn_qkv", 3 * 3072, 3072, ALPHA)
    single, fused = kohya("single_blocks_5_linear1", 3 * 3072 + 12288, 3072, ALPHA)
    parts = parse_lora("my", {**double, **single}).parts
    assert {name: len(pairs) for name, pairs in parts.items() if pairs} == {"transformer": 7}
    layers = {
        **{f"transformer_blocks.0.attn.to_{x}": whole[i * 3072 : (i + 1) * 3072] for i, x in enumerate("qkv")},
        **{f"single_transformer_blocks.5.attn.to_{x}": fused[i * 3072 : (i + 1) * 3072] for i, x in enumerate("qkv")},
        "single_transformer_blocks.5.proj_mlp": fused[3 * 3072 :],
    }
    for path, change in layers.items():
        pair = parts["transformer"][path]
        torch.testing.assert_close(pair.up @ pair.down[:, :8], change, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("stem", "path"),
    [
        ("lora_unet_transformer_blocks_1_attn_add_k_proj", "transformer_blocks.1.attn.add_k_proj"),
        ("diffusion_model.transformer_blocks.1.attn.add_k_proj", "transformer_blocks.1.attn.add_k_proj"),
        ("lora_unet_layers_1_feed_forward_w1", "layers.1.feed_forward.w1"),
        ("diffusion_model.layers.1.attention.to_q", "layers.1.attention.to_q"),
    ],
)
def test_other_tools_names_for_transformers_are_read(stem, path):
    down, up = torch.ones(RANK, 8), torch.ones(8, RANK)
    state = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(ALPHA)}
    lora = parse_lora("my", state)
    assert not lora.strange
    pair = lora.parts["transformer"][path]
    assert torch.equal(pair.up @ pair.down, up @ down * (ALPHA / RANK))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("transformer.transformer_blocks.99.attn.to_q", r"such as transformer\.transformer_blocks\.99\.attn\.to_q"),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "which this model does not have"),
        ("lora_unet_single_blocks_0_linear1", "its keys are of no format known here"),
        ("diffusion_model.double_blocks.0.img_attn.proj", "which this model does not have"),
    ],
)
def test_one_for_another_model_is_one_line(model, key, message, tmp_path):
    down, up = (".lora_down.weight", ".lora_up.weight") if "lora_unet" in key else (".lora_A.weight", ".lora_B.weight")
    file = tmp_path / "lora.safetensors"
    save_file({key + down: torch.ones(2, 48), key + up: torch.ones(48, 2)}, file)
    with pytest.raises(BadInput, match=message) as raised, model.adapted([(str(file), 1.0)]):
        pass
    assert "\n" not in str(raised.value)
