"""LoRAs of SDXL as tools write them: each layout gives what a model with the weights merged by hand gives."""

from __future__ import annotations

import copy
import re
from functools import cache

import pytest
import torch

import shiftless
from shiftless import BadInput
from shiftless.conditions.lora import adapted
from shiftless.conditions.lora_file import digest_of_lora, lora_files
from tests.conditions.lora_writers import Layout, difference, product, written
from tests.conditions.lora_writers import low_rank as low_rank_of_sd
from tests.conditions.lora_writers import peft as peft_of_sd

PARTS = ("unet", "text_encoder", "text_encoder_2")
ATTENTION = (
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_v",
    "unet.down_blocks.2.attentions.1.transformer_blocks.5.attn2.to_k",
    "unet.mid_block.attentions.0.transformer_blocks.7.attn1.to_q",
    "unet.up_blocks.0.attentions.2.transformer_blocks.3.attn2.to_out.0",
    "unet.up_blocks.1.attentions.1.transformer_blocks.0.ff.net.0.proj",
    "unet.up_blocks.1.attentions.1.transformer_blocks.0.ff.net.2",
    "unet.up_blocks.0.attentions.1.proj_in",
)
OTHERS = (
    "unet.conv_in", "unet.conv_out", "unet.time_embedding.linear_1", "unet.add_embedding.linear_2",
    "unet.down_blocks.0.resnets.1.conv1", "unet.down_blocks.1.resnets.0.conv_shortcut",
    "unet.down_blocks.0.downsamplers.0.conv", "unet.mid_block.resnets.1.conv2",
    "unet.up_blocks.0.upsamplers.0.conv", "unet.up_blocks.1.upsamplers.0.conv",
    "unet.up_blocks.2.resnets.2.time_emb_proj",
)  # fmt: skip
TEXT = tuple(
    f"{part}.text_model.encoder.layers.1.{name}"
    for name in ("self_attn.q_proj", "self_attn.out_proj", "mlp.fc2")
    for part in ("text_encoder", "text_encoder_2")
)
PROJECTION = ("text_encoder_2.text_projection",)
ORIGINAL = {"conv1": "in_layers_2", "conv2": "out_layers_3", "time_emb_proj": "emb_layers_1",
            "conv_shortcut": "skip_connection"}  # fmt: skip
TOPS = {"conv_in": "input_blocks_0_0", "conv_out": "out_2", "time_embedding.linear_1": "time_embed_0",
        "add_embedding.linear_2": "label_emb_0_2"}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sdxl", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def reading(model):
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[model.tokenizer.bos_token_id, *((7 * i) % 500 for i in range(75)),
                         model.tokenizer.eos_token_id]])  # fmt: skip

    def read(parts=None):
        parts = parts or model.networks
        with torch.no_grad():
            one, two = (parts[p](input_ids=ids, output_hidden_states=True) for p in PARTS[1:])
            words = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1)
            told = {"text_embeds": two.text_embeds, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
            return parts["unet"](latent, 50, words, added_cond_kwargs=told, return_dict=False)[0]

    return read


def layer(model, path):
    part, _, inside = path.partition(".")
    modules = dict(model.networks[part].named_modules())
    return modules.get(inside) or modules[inside.removeprefix("text_model.")]


def low_rank(model, paths, rank=4):
    pairs = {}
    for number, path in enumerate(paths):
        generator, weight = torch.Generator().manual_seed(number), layer(model, path).weight
        down = torch.randn(rank, *weight.shape[1:], generator=generator) * weight.std() / rank**0.5
        pairs[path] = down, torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator)
    return pairs


def named(pairs, down, up):
    return {f"{path}.{half}": value for path, halves in pairs.items() for half, value in zip((down, up), halves)}


def peft(pairs):
    return named(pairs, "lora_A.weight", "lora_B.weight")


def original(path):
    """The name of a UNet's layer in SDXL's first code, which kohya's scripts train."""
    if path in TOPS:
        return TOPS[path]
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", path):
        block = f"middle_block_{1 if match[1] == 'attentions' else 2 * int(match[2])}"
        return f"{block}_{ORIGINAL.get(match[3], match[3].replace('.', '_'))}"
    side, level, kind, number, rest = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", path).groups()
    if kind == "downsamplers":
        return f"input_blocks_{3 * int(level) + 3}_0_op"
    if kind == "upsamplers":
        return f"output_blocks_{3 * int(level) + 2}_2_conv"
    index = 3 * int(level) + int(number) + (1 if side == "down" else 0)
    name = f"{'input' if side == 'down' else 'output'}_blocks_{index}_{0 if kind == 'resnets' else 1}"
    return f"{name}_{ORIGINAL.get(rest, rest.replace('.', '_'))}"


def kohya(pairs, name=original, alpha=2.0):
    state = {}
    for path, (down, up) in pairs.items():
        part, _, inside = path.partition(".")
        short = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}[part]
        stem = f"{short}_{name(inside) if part == 'unet' else inside.replace('.', '_')}"
        state |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(alpha)}
    return state


def folders(pairs):
    """What peft's own training example saves: a folder for each part."""
    return {
        part: {
            f"base_model.model.{key.partition('.')[2]}": value
            for key, value in peft(pairs).items() if key.startswith(f"{part}.")
        }
        for part in PARTS
    }  # fmt: skip


LAYOUTS = [
    Layout("peft names", peft, (*ATTENTION, *OTHERS, *TEXT, *PROJECTION)),
    Layout("lora.down", lambda pairs: named(pairs, "lora.down.weight", "lora.up.weight"), (*ATTENTION, *PROJECTION),
           theirs=None),
    Layout("lora_linear_layer", lambda pairs: named(pairs, "lora_linear_layer.down.weight",
                                                    "lora_linear_layer.up.weight"), TEXT),
    Layout("kohya, original names", kohya, (*ATTENTION, *TEXT), scale=0.5),
    Layout("kohya, original names, every kind", kohya, (*ATTENTION, *OTHERS, *TEXT, *PROJECTION), scale=0.5,
           theirs=None),
    Layout("kohya, diffusers' names", lambda pairs: kohya(pairs, lambda path: path.replace(".", "_")),
           (*ATTENTION, *TEXT), scale=0.5),
    Layout("second text encoder only", kohya, TEXT[1::2], scale=0.5),
    Layout("three peft folders", folders, (*ATTENTION, *TEXT), config={"r": 4, "lora_alpha": 8}, scale=2.0,
           theirs=None),
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_gives_what_merging_by_hand_gives(model, reading, tmp_path, layout):
    pairs = low_rank(model, layout.paths)
    file = written(layout, layout.write(pairs), tmp_path)
    plain, kept = reading(), {}
    for path, (down, up) in pairs.items():
        weight = layer(model, path).weight
        kept[path] = weight.data
        weight.data = weight.data + 0.7 * layout.scale * product(down, up, weight.shape)
    truth = reading()
    for path, weight in kept.items():
        layer(model, path).weight.data = weight
    assert difference(plain, truth) > 1e-3
    with adapted(model._steered(), [(file, 0.7)]):
        assert difference(reading(), truth) < 1e-5
    assert torch.equal(reading(), plain)
    if layout.theirs:
        with adapted(model._steered(), [(file, 1.0)]):
            ours = reading()
        assert difference(by_diffusers(model, file, reading), ours) < 1e-5


@cache
def pipeline_of(model):
    """diffusers' own pipeline of a copy of a model."""
    from diffusers import StableDiffusionXLPipeline

    copied = {part: copy.deepcopy(network) for part, network in model._steered().items()}
    return StableDiffusionXLPipeline(
        **copied, vae=model.vae, tokenizer=model.tokenizer, tokenizer_2=model.tokenizer, scheduler=model._scheduler,
        add_watermarker=False,
    )  # fmt: skip


def by_diffusers(model, file, reading):
    """The reading through diffusers' own loader."""
    pipe = pipeline_of(model)
    pipe.load_lora_weights(file)
    theirs = reading({part: getattr(pipe, part) for part in PARTS})
    pipe.unload_lora_weights()
    return theirs


def test_a_recipe_with_a_lora_reads_other_features_and_leaves_none(model, picture, tmp_path):
    layout = Layout("", kohya)
    file = written(layout, kohya(low_rank(model, (*ATTENTION, *TEXT))), tmp_path)
    plain, steered = shiftless.Recipe(taps=("up1",)), shiftless.Recipe(taps=("up1",), lora=(file,))
    before = shiftless.extract(model, picture, plain)["up1"]
    assert difference(shiftless.extract(model, picture, steered)["up1"], before) > 1e-3
    assert torch.equal(shiftless.extract(model, picture, plain)["up1"], before)


def test_every_file_of_three_folders_counts(model, tmp_path):
    layout = Layout("", folders, config={"r": 4, "lora_alpha": 4})
    file = written(layout, folders(low_rank(model, (*ATTENTION, *TEXT))), tmp_path)
    assert [role for role in lora_files(file) if role.startswith("weights")] == [f"weights of {p}" for p in PARTS]
    before = digest_of_lora(file)
    weights = tmp_path / "text_encoder_2" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert digest_of_lora(file) != before


@pytest.mark.parametrize(
    ("paths", "write"),
    [
        (ATTENTION, kohya),
        (ATTENTION[:1], kohya),  # no layer tells the width of a prompt
        (ATTENTION[2:3], peft),
        (ATTENTION[1:2], peft),
        (TEXT[1:2], kohya),
        (OTHERS[3:4], peft),
    ],
)
def test_a_lora_of_sdxl_is_refused_by_stable_diffusion(model, tmp_path, paths, write):
    file = written(Layout("", write), write(low_rank(model, paths)), tmp_path)
    other = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    with pytest.raises(BadInput, match="it seems made for SDXL; use a LoRA made for this model") as raised:
        adapted(other._steered(), [(file, 1.0)]).__enter__()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("of", ["sd15", "sd21"])
def test_a_lora_of_stable_diffusion_is_refused_by_sdxl(model, tmp_path, of):
    other = shiftless.load(f"twin:{of}", device="cpu", dtype="fp32")
    pairs = low_rank_of_sd(other, ("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v",))
    file = written(Layout("", peft_of_sd), peft_of_sd(pairs), tmp_path)
    with pytest.raises(BadInput, match="it seems made for Stable Diffusion 1 or 2"):
        adapted(model._steered(), [(file, 1.0)]).__enter__()
    width = {"sd15": 768, "sd21": 1024}[of]
    path = "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    state = {f"{path}.lora_A.weight": torch.zeros(4, width), f"{path}.lora_B.weight": torch.zeros(64, 4)}
    file = written(Layout("", peft_of_sd), state, tmp_path / "wide")
    with pytest.raises(BadInput, match=f"it seems made for Stable Diffusion {of[2]};"):
        adapted(model._steered(), [(file, 1.0)]).__enter__()


def test_training_one_is_refused_before_anything_is_written(model, tmp_path):
    from shiftless.training.lora import train

    with pytest.raises(BadInput, match="not for the sdxl family; use one that was trained elsewhere"):
        train(model, [], tmp_path / "mine.safetensors")
    assert not list(tmp_path.iterdir())
