"""How tools write LoRA files, and what their layers amount to when they are merged by hand."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from safetensors.torch import save_file

DOWN, MID, UP = "down_blocks.0.attentions.0", "mid_block.attentions.0", "up_blocks.1.attentions.0"
CROSS_Q, CROSS_K, OUT = (f"{UP}.transformer_blocks.0.attn2.{name}" for name in ("to_q", "to_k", "to_out.0"))
SELF_V, MID_Q = f"{DOWN}.transformer_blocks.0.attn1.to_v", f"{MID}.transformer_blocks.0.attn1.to_q"
FEED = (f"{UP}.transformer_blocks.0.ff.net.0.proj", f"{UP}.transformer_blocks.0.ff.net.2")
ATTENTION = (CROSS_Q, CROSS_K, OUT, SELF_V, MID_Q)
CONVOLUTIONS = (
    "up_blocks.3.resnets.0.conv1", "up_blocks.3.resnets.0.conv_shortcut", "down_blocks.0.downsamplers.0.conv",
    "up_blocks.1.upsamplers.0.conv", "conv_in",
)  # fmt: skip
TIME = ("up_blocks.3.resnets.0.time_emb_proj",)
PROJECTIONS = (f"{UP}.proj_in", f"{DOWN}.proj_out")
TEXT = tuple(f"text_model.encoder.layers.0.{name}" for name in ("self_attn.q_proj", "self_attn.out_proj", "mlp.fc1"))
TOLERANCE = 3e-6  # of the largest value


def layer(models, path):
    """The layer that a path names, with or without transformers' `text_model.`."""
    for name in (path, path.removeprefix("text_model.")):
        part = models["text_encoder" if path in TEXT else "unet"]
        if name in dict(part.named_modules()):
            return part.get_submodule(name)
    raise KeyError(path)


def parts_of(model):
    return {"unet": model.unet, "text_encoder": model.text_encoder}


def low_rank(model, paths, rank=4, seed=0):
    """The one set of random matrices that all layouts hold: path -> (down, up), as large as the weights' own."""
    pairs = {}
    for number, path in enumerate(paths):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        weight = layer(parts_of(model), path).weight
        r = rank(number) if callable(rank) else rank
        down = torch.randn(r, *weight.shape[1:], generator=generator)
        up = torch.randn(weight.shape[0], r, *[1] * (weight.ndim - 2), generator=generator)
        pairs[path] = down * weight.std() / r**0.5, up
    return pairs


def product(down, up, shape):
    return (up.flatten(1) @ down.flatten(1)).view(shape)


def read(parts, latent, ids):
    """The prediction of plain parts for one latent and prompt."""
    with torch.no_grad():
        words = parts["text_encoder"](input_ids=ids).last_hidden_state
        return parts["unet"](latent, 50, words, return_dict=False)[0]


@contextmanager
def merged(model, weights):
    """Put whole weights into the model: path -> weight."""
    kept = {}
    for path, weight in weights.items():
        result = layer(parts_of(model), path)
        kept[path] = result.weight.data
        result.weight.data = weight
    try:
        yield
    finally:
        for path, weight in kept.items():
            layer(parts_of(model), path).weight.data = weight


def part_of(path):
    return "text_encoder" if path in TEXT else "unet"


def named(pairs, down, up, form="{part}.{path}"):
    """Tensors under names; `form` may ask for the path, with underscores, or without its last name."""
    state = {}
    for path, halves in pairs.items():
        stem = form.format(part=part_of(path), path=path)
        state[f"{stem}.{down}"], state[f"{stem}.{up}"] = halves
    return state


def peft(pairs, form="{part}.{path}", adapter=""):
    return named(pairs, f"lora_A{adapter}.weight", f"lora_B{adapter}.weight", form)


def newer(pairs):
    return named(pairs, "lora.down.weight", "lora.up.weight")


def processors(pairs, prefix="unet."):
    """diffusers before 0.21: the halves belong to attention processors."""
    state = {}
    for path, (down, up) in pairs.items():
        attention, name = path.removesuffix(".0").rsplit(".", 1)
        stem = f"{prefix}{attention}.processor.{name}_lora"
        state |= {f"{stem}.down.weight": down, f"{stem}.up.weight": up}
    return state


def old_text(pairs):
    names = {"q_proj": "to_q_lora", "out_proj": "to_out_lora"}
    state = {}
    for path, (down, up) in pairs.items():
        stem, _, name = path.rpartition(".")
        name = names.get(name, f"{name}.lora_linear_layer")
        state |= {f"text_encoder.{stem}.{name}.down.weight": down, f"text_encoder.{stem}.{name}.up.weight": up}
    return state


def kohya(pairs, alpha=lambda number, rank: rank, text="lora_te"):
    state = {}
    for number, (path, (down, up)) in enumerate(pairs.items()):
        stem = f"{text if path in TEXT else 'lora_unet'}_{path.replace('.', '_')}"
        state |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        value = alpha(number, len(down))
        if value is not None:
            state[f"{stem}.alpha"] = torch.tensor(float(value))
    return state


def saved_alpha(**settings):
    """The settings as diffusers keeps them in a file's metadata."""
    settings = {"target_modules": [*ATTENTION, *FEED], **settings}
    return {"lora_adapter_metadata": json.dumps({f"unet.{key}": value for key, value in settings.items()})}


@dataclass
class Layout:
    """A way of writing a LoRA.

    write     path -> (down, up) -> the tensors of its file, or of each of its files
    scale     what the merged weight takes of up down: a number, or one for (number of the layer, rank)
    theirs    what diffusers' own loader makes of it: "same", "other" numbers, or None where it is not asked
    """

    name: str
    write: Callable
    paths: tuple[str, ...] = (*ATTENTION, *FEED)
    scale: object = 1.0
    rank: object = 4
    theirs: str | None = "same"
    metadata: dict | None = None
    config: dict | None = None
    dtype: torch.dtype = torch.float32


def flat(pairs):
    """A 1 x 1 convolution saved as a linear layer, and the other way round."""
    return {p: (d[:, :, 0, 0], u[:, :, 0, 0]) if d.ndim == 4 else (d[:, :, None, None], u[:, :, None, None])
            for p, (d, u) in pairs.items()}  # fmt: skip


def wrapped(pairs):
    return peft(pairs, "base_model.model.{path}")


def folders(pairs):
    """What peft's own training example saves: a folder for each part."""
    return {part: wrapped({p: halves for p, halves in pairs.items() if part_of(p) == part})
            for part in ("unet", "text_encoder")}  # fmt: skip


def varying(number, rank):
    return (1, 8, 3)[number % 3]


def written(layout, state, folder):
    """Write a layout's tensors as the tool would and return what a user would give."""

    def save(tensors, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {key: value.to(layout.dtype).clone().contiguous() for key, value in tensors.items()}
        save_file(kept, path, layout.metadata)
        if layout.config is not None:
            (path.parent / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **layout.config}))

    if layout.config is None:
        save(state, folder / "lora.safetensors")
        return str(folder / "lora.safetensors")
    parts = state if all(isinstance(value, dict) for value in state.values()) else {"": state}
    for part, tensors in parts.items():
        save(tensors, folder / part / "adapter_model.safetensors")
    return str(folder)


@cache
def pipeline_of(model):
    """diffusers' own pipeline of a copy of a model."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    copied = {name: copy.deepcopy(part) for name, part in parts_of(model).items()}
    return StableDiffusionPipeline(
        **copied, vae=model.vae, tokenizer=model.tokenizer, scheduler=DDIMScheduler(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def by_diffusers(model, path, reading):
    """The reading through diffusers' own loader."""
    pipe = pipeline_of(model)
    pipe.load_lora_weights(path)
    theirs = reading({"unet": pipe.unet, "text_encoder": pipe.text_encoder})
    pipe.unload_lora_weights()
    return theirs


def difference(a, b):
    return float((a - b).abs().max() / b.abs().max())


def decomposed(weight, delta, magnitude):
    whole = weight + delta
    columns = magnitude.ndim == 2
    lengths = (whole.transpose(0, 1) if columns else whole).flatten(1).norm(dim=1)
    gain = (magnitude.flatten() / lengths).view((1, -1) if columns else (-1, 1))
    return whole * gain.view(*gain.shape, *[1] * (weight.ndim - 2))


def magnitudes(model, pairs, columns=False):
    """Lengths of each weight's rows or columns, changed by up to a fifth."""
    lengths = {}
    for number, path in enumerate(pairs):
        weight = layer(parts_of(model), path).weight.data
        length = (weight.transpose(0, 1) if columns else weight).flatten(1).norm(dim=1)
        change = 0.2 * torch.rand(length.shape, generator=torch.Generator().manual_seed(number))
        lengths[path] = (length * (0.9 + change)).view((1, -1) if columns else (-1,))
    return lengths


EVERYTHING = (*ATTENTION, *FEED, *CONVOLUTIONS, *PROJECTIONS, *TEXT)


def dora_names(model, pairs, lengths, write=peft, form="{part}.{path}", suffix="lora_magnitude_vector"):
    state = write(pairs)
    for path, length in lengths.items():
        convolution = layer(parts_of(model), path).weight.ndim == 4
        name = f"{form.format(part=part_of(path), path=path)}.{suffix}"
        state[name] = length[None, :, None, None] if convolution else length  # the shapes that peft saves
    return state


def kohya_dora(model, pairs, lengths):
    state = kohya(pairs, lambda number, rank: rank / 2)
    for path, length in lengths.items():
        ones = [1] * (layer(parts_of(model), path).weight.ndim - 2)
        stem = f"{'lora_te' if path in TEXT else 'lora_unet'}_{path.replace('.', '_')}"
        state[f"{stem}.dora_scale"] = length.view(*((1, -1) if length.ndim == 2 else (-1, 1)), *ones)
    return state
