"""Checkpoints of one file: made from twins in the names of the first code, they read as the twins do."""

from __future__ import annotations

import re
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file

import shiftless
from shiftless import BadInput
from shiftless.backbones import registry, single_file
from shiftless.backbones.registry import models, taps

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
TOPS = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}  # fmt: skip
CLIP = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj"}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def unet_name(key, attended):
    """The first code's name of a tensor of diffusers' UNet; `attended` are the levels going up with attention."""
    for theirs, first in TOPS.items():
        if key.startswith(f"{theirs}."):
            return first + key.removeprefix(theirs)
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", key):
        block = f"middle_block.{1 if match[1] == 'attentions' else 2 * int(match[2])}"
        return f"{block}.{inside(match[3]) if match[1] == 'resnets' else match[3]}"
    side, level, kind, number, rest = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", key).groups()
    level = int(level)
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{2 if level in attended else 1}.{rest}"
    index = 3 * level + int(number) + (1 if side == "down" else 0)
    block = f"{'input' if side == 'down' else 'output'}_blocks.{index}.{0 if kind == 'resnets' else 1}"
    return f"{block}.{inside(rest) if kind == 'resnets' else rest}"


def inside(rest):
    name, _, end = rest.rpartition(".")
    return f"{RESNET[name]}.{end}"


def vae_name(key, levels):
    key = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.", r"encoder.down.\1.block.", key)
    key = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", key)
    up = r"decoder\.up_blocks\.(\d)\.(resnets|upsamplers\.0)"
    key = re.sub(up, lambda m: f"decoder.up.{levels - 1 - int(m[1])}."
                               f"{'block' if m[2] == 'resnets' else 'upsample'}", key)  # fmt: skip
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_norm_out", "norm_out")
    for theirs, first in (
        ("group_norm", "norm"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        ("to_out.0", "proj_out"),
    ):
        key = key.replace(f"attn_1.{theirs}", f"attn_1.{first}")
    return key.replace("conv_shortcut", "nin_shortcut")


def open_clip(state):
    """A text encoder in open_clip's names, with its three projections as one."""
    made = {}
    for key, value in state.items():
        key = key.removeprefix("text_model.")
        if match := re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", key):
            name = f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"
            made[name] = [*made.get(name, []), (match[2], value)]
        elif match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key):
            made[f"transformer.resblocks.{match[1]}.{CLIP[match[2]]}.{match[3]}"] = value
        elif key == "text_projection.weight":
            made["text_projection"] = value.T
        else:
            names = {"embeddings.token_embedding": "token_embedding", "final_layer_norm": "ln_final"}
            name, _, end = key.rpartition(".")
            made["positional_embedding" if "position" in name else f"{names[name]}.{end}"] = value
    return {k: torch.cat([part for _, part in sorted(v, key=lambda one: "qkv".index(one[0]))]) if isinstance(v, list)
            else v for k, v in made.items()} | {"logit_scale": torch.tensor(1.0)}  # fmt: skip


def checkpoint(parts, kind):
    """The tensors of a model as Stability and CompVis published them, in one file."""
    unet, vae = parts["unet"], parts["vae"]
    attended = [i for i, name in enumerate(unet.config.up_block_types) if "CrossAttn" in name]
    levels = len(vae.config.block_out_channels)
    state = {f"model.diffusion_model.{unet_name(k, attended)}": v for k, v in unet.state_dict().items()}
    for key, value in vae.state_dict().items():
        name = vae_name(key, levels)
        linear = "attn_1" in name and value.ndim == 2
        state[f"first_stage_model.{name}"] = value[:, :, None, None] if linear else value
    text = parts["text_encoder"].state_dict()
    if kind == "sd21":
        state |= {f"cond_stage_model.model.{k}": v for k, v in open_clip(text).items()}
    else:
        prefix = "conditioner.embedders.0" if kind == "sdxl" else "cond_stage_model"
        names = {k: k if k.startswith("text_model.") else f"text_model.{k}" for k in text}
        state |= {f"{prefix}.transformer.{names[k]}": v for k, v in text.items()}
        state[f"{prefix}.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    if kind == "sdxl":
        second = parts["text_encoder_2"].state_dict()
        state |= {f"conditioner.embedders.1.model.{k}": v for k, v in open_clip(second).items()}
    state["betas"] = torch.zeros(1000)  # such schedules are in many files, and not needed
    return {key: value.clone().contiguous() for key, value in state.items()}


KINDS = {"sd15": ("sd15", "sd14"), "sd21": ("sd21", "sd21-base"), "sdxl": ("sdxl", "sdxl-turbo", "playground-v2")}
WIDTHS = {"sd15": {32: "sd15"}, "sd21": {32: "sd21"}, "sdxl": {64: "sdxl"}}


@pytest.fixture(scope="module")
def twins():
    return {kind: shiftless.load(f"twin:{kind}", device="cpu", dtype="fp32") for kind in KINDS}


@pytest.fixture(params=KINDS)
def made(request, twins, monkeypatch, tmp_path):
    """A checkpoint of each kind with its tokenizers beside it; models.json's rows are made as small as the twins."""
    kind, rows = request.param, {}
    for of, names in KINDS.items():
        small = {"size": 128}
        for part, network in twins[of].networks.items():
            config = network.config if part in ("unet", "vae") else network.config.to_dict()
            small[part] = {key: value for key, value in config.items() if not key.startswith("_")}
        rows |= {name: {**models()[name], **small, "text": small["text_encoder"]} for name in names}
    monkeypatch.setattr(registry, "models", lambda: rows)
    monkeypatch.setattr(single_file, "_OF_WIDTH", WIDTHS[kind])
    file = tmp_path / "model.safetensors"
    save_file(checkpoint(twins[kind].networks, kind), file)
    for part, tokenizer in twins[kind].tokenizers.items():
        tokenizer.save_pretrained(tmp_path / part)
    if kind == "sd21":
        file.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    return kind, file


def test_a_checkpoint_reads_as_the_model_that_it_was_made_of(made, twins, picture):
    kind, file = made
    loaded = shiftless.load(file, device="cpu", dtype="fp32")
    twin = twins[kind]
    assert loaded.schedule.prediction == twin.schedule.prediction == ("v_prediction" if kind == "sd21" else "epsilon")
    assert (loaded.taps, taps(file), loaded.spec.size) == (twin.taps, twin.taps, 128)
    for part, network in twin.networks.items():
        own = loaded.networks[part].state_dict()
        assert all(torch.equal(own[key], value) for key, value in network.state_dict().items()), part
    recipe = shiftless.Recipe(taps=("up1",), prompt="a horse")
    ours, theirs = (shiftless.extract(model, picture, recipe)["up1"] for model in (loaded, twin))
    assert torch.equal(ours, theirs)
    half = shiftless.load(file, device="cpu", dtype="bf16")
    assert half.fingerprint == loaded.fingerprint != twin.fingerprint


def refused(file, state=None):
    if state is not None:
        save_file(state, file)
    with pytest.raises(BadInput) as caught:
        shiftless.load(file, device="cpu", dtype="fp32")
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_read_is_one_line(made):
    _, file = made
    whole = load_file(file)
    unet = "model.diffusion_model"
    assert "lacks up_blocks.0.resnets.0.conv1.weight" in refused(
        file, {k: v for k, v in whole.items() if k != f"{unet}.output_blocks.0.0.in_layers.2.weight"}
    )
    first = f"{unet}.input_blocks.0.0.weight"
    line = refused(file, whole | {first: whole[first].repeat(1, 2, 1, 1)[:, :5].contiguous()})
    assert "its UNet takes 5 channels, as for depth or instructions; give a base model, or one for inpainting" in line
    assert "no whole checkpoint" in refused(file, {k: v for k, v in whole.items() if k.startswith(unet)})
    assert "no whole checkpoint" in refused(file, {"lora_unet_x.alpha": torch.ones(1)})
    assert "EDM's preconditioning" in refused(file, whole | {"edm_mean": torch.zeros(4)})
    broken = whole | {f"{unet}.out.2.bias": torch.full((4,), float("nan"))}
    assert "holds values that are not finite" in refused(file, broken)
    strange = whole | {f"{unet}.input_blocks.1.0.in_layers.9.weight": torch.ones(1)}
    assert "which its kind does not have" in refused(file, strange)
    file.write_bytes(b"rubbish")
    assert "not a whole safetensors file" in refused(file)


def test_a_missing_vocabulary_or_prediction_says_where_it_is_from(made):
    kind, file = made
    if kind == "sd21":
        file.with_suffix(".yaml").write_text("model:\n  params:\n    timesteps: 1000\n")
        assert shiftless.load(file, device="cpu", dtype="fp32").schedule.prediction == "epsilon"
        settings = file.with_suffix(".yaml").rename(file.with_name("other.yaml"))
        assert "put the .yaml published with it beside it as model.yaml" in refused(file)
        settings.rename(file.with_suffix(".yaml"))
    file.with_name("tokenizer").rename(file.with_name("elsewhere"))
    line = refused(file)
    assert "put tokenizer/" in line
    assert f'hf download {models()[kind]["hub"][0]} --include "tokenizer/*"' in line
    assert ("tokenizer_2" in line) is (kind == "sdxl")


@pytest.mark.parametrize("made", ["sdxl"], indirect=True)
def test_a_fine_tune_that_predicts_velocities_says_so(made):
    _, file = made
    save_file(load_file(file) | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, file)
    schedule = shiftless.load(file, device="cpu", dtype="fp32").schedule
    assert (schedule.prediction, round(schedule.alpha(999), 6)) == ("v_prediction", 0)


@pytest.mark.parametrize("made", ["sd15", "sdxl"], indirect=True)
def test_a_checkpoint_for_inpainting_loads_as_one(made, picture):
    _, file = made
    whole, first = load_file(file), "model.diffusion_model.input_blocks.0.0.weight"
    wide = whole[first].repeat(1, 3, 1, 1)[:, :9].contiguous()
    save_file(whole | {first: wide}, file)
    loaded = shiftless.load(file, device="cpu", dtype="fp32")
    assert torch.equal(loaded.unet.conv_in.weight, wide)
    assert "inpaint" in loaded.spec.techniques
    maps = shiftless.extract(loaded, picture, [shiftless.Recipe(inpaint=mask) for mask in ("keep", "all")])
    assert not torch.allclose(maps[0]["up1"], maps[1]["up1"], atol=1e-3)
