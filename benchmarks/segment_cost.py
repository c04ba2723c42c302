"""What training a scene head on Stable Diffusion 1.5 costs, counted without weights: FLOPs, parameters, memory, time.

    python benchmarks/segment_cost.py

Networks are built on torch's "meta" device, where nothing is allocated and nothing is computed. A step of training is
counted there by torch's own counter, as the sum of its calls of encoder, ControlNet, denoiser and head, with the bytes
of the tensors that autograd keeps. A multiplication with its addition is two FLOPs; norms and softmaxes count as none.

Memory is that of weights, of gradients and AdamW's two moments (states), and of kept activations. What allocators and
libraries take is left out, and the layer that is computed again under gradient checkpointing. Time is FLOPs over the
rate that --tflops says a device sustains. Both are estimates, not measurements.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from shiftless.backbones.families import family
from shiftless.backbones.registry import models
from shiftless.backbones.unet_taps import unet_taps
from shiftless.presets import preset
from shiftless.reading.counted import pass_calls
from shiftless.recipe import Recipe
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout
from shiftless.taps.names import select
from shiftless.tasks.levels import Levels
from shiftless.tasks.scenehead import SceneHead
from shiftless.training.lora.layers import in_training
from shiftless.training.lora.settings import Settings
from shiftless.training.scenes import scene_loss
from shiftless.tuning.prompts import ClassPrompt
from shiftless.tuning.published import published

CLASSES = 150  # of ADE20K
HALF = torch.bfloat16


@dataclass(frozen=True)
class Setting:
    """One way to train.

    recipes  the readings of a view      views  of a step      head, width  as SceneHead takes them
    tune     what learns of the model: none, prompts, lora or unet
    tokens   that the denoiser is given; 77 are a prompt's
    """

    name: str
    recipes: tuple[Recipe, ...]
    views: int
    head: str
    width: int
    tune: str = "none"
    tokens: int = 77
    checkpointing: bool = True
    steps: int = 80_000


@dataclass(frozen=True)
class Cost:
    """What one step takes: FLOPs of all of it, and bytes at its peak; parameters that learn."""

    learning: int
    flops: int
    weights: int
    states: int
    activations: int


def settings() -> list[Setting]:
    """Return the published settings and those of this library, on 512 pixels."""
    gate, vpd = published("gate"), published("vpd")
    three = tuple(Recipe(taps=("up0", "up1", "up2"), seed=seed) for seed in range(3))
    plain = Setting("UPerNet, three plain readings", three, gate.scenes.batch, gate.head, gate.width)
    return [
        replace(plain, name="GATE, ADE20K (gate-ade20k)", recipes=preset("gate-ade20k").recipes),
        plain,
        replace(plain, name="the same, --tune prompts", tune="prompts", tokens=77 + 16),
        replace(plain, name="the same, --tune lora", tune="lora"),
        replace(plain, name="the same, --tune unet", tune="unet"),
        Setting(
            "VPD, ADE20K (vpd)", preset("vpd").recipes, vpd.scenes.batch, vpd.head, vpd.width, "unet", CLASSES
        ),
    ]  # fmt: skip


class Kept:
    """The bytes of the tensors that autograd keeps, each storage once, without the given networks' own weights."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._own = {one.untyped_storage()._cdata for net in networks for one in net.parameters()}
        self._seen: dict[int, torch.Tensor] = {}  # which keeps the storages, so that no other takes their place

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor that is kept."""
        self._seen.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    def bytes(self) -> int:
        """Return how many bytes were kept."""
        return sum(one.untyped_storage().nbytes() for storage, one in self._seen.items() if storage not in self._own)


def cost(setting: Setting, side: int = 512, *, full: bool = True) -> Cost:
    """Count one step of training: each kind of call once, times how often it is made; `full` for the real size."""
    row = models()["sd15"]
    with torch.device("meta"), ExitStack() as stack:
        parts = family(row["family"]).twin_parts(row, full=full)
        unet, vae = parts["unet"].to(HALF).requires_grad_(False), parts["vae"].to(HALF).requires_grad_(False)
        control = control_of(unet) if any(one.control for one in setting.recipes) else None
        learning = learned(setting, unet, stack)
        if learning and setting.checkpointing:
            unet.enable_gradient_checkpointing()
        return _counted(setting, side, unet, vae, control, learning)


def _counted(setting: Setting, side: int, unet: Any, vae: Any, control: Any, learning: list[torch.Tensor]) -> Cost:
    views, width, timestep = setting.views, unet.config.cross_attention_dim, torch.zeros((), dtype=torch.long)
    latent = torch.zeros(views, 4, side // 8, side // 8, dtype=HALF)
    embeds = torch.zeros(views, setting.tokens, width, dtype=HALF, requires_grad=setting.tune == "prompts")
    known = unet_taps(unet.config, 8)
    taps, by_name = select(setting.recipes[0].taps, known), {tap.name: tap for tap in known}

    def encoded() -> None:
        with torch.no_grad():
            vae.encode(torch.zeros(views, 3, side, side, dtype=HALF))

    def steered() -> None:
        with torch.no_grad():
            controlled(control, latent, embeds)

    def walked() -> None:
        with torch.no_grad():
            unet(latent, timestep, embeds)

    def read() -> dict[str, torch.Tensor]:
        stop, layout = not (learning and setting.checkpointing), Layout((side, side))
        with torch.set_grad_enabled(bool(learning)):
            with tapped(unet, taps, layout=layout, by_name=by_name, stop=stop) as captured:
                unet(latent, timestep, embeds)
            maps = captured.maps()
            if learning:
                sum(one.float().sum() for one in maps.values()).backward()
        return {name: one.detach().requires_grad_(bool(learning)) for name, one in maps.items()}

    calls = [(made, bool(one.recipe.control)) for one, made in pass_calls(setting.recipes).items()]
    steering = sum(made for made, control in calls if control)
    flops = flops_of(encoded)[0] + (steering * flops_of(steered)[0] if steering else 0)
    walking = sum(made - 1 for made, _ in calls)
    flops += walking * flops_of(walked)[0] if walking else 0
    kept = Kept([unet])
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda one: one):
        once, maps = flops_of(read)
    head = head_of(setting, [maps] * len(calls), taps)
    by_head = Kept([head])

    def answered() -> None:
        levels = [
            torch.stack([torch.cat([maps[tap.name] for tap in taps if tap.stride == one], 1).float() for _ in calls])
            for one in head.levels.strides
        ]
        logits, auxiliary = head.answers(levels)
        scene_loss(logits, auxiliary, torch.zeros(views, side, side, dtype=torch.long), lovasz=0.0)[0].backward()

    with torch.autograd.graph.saved_tensors_hooks(by_head.pack, lambda one: one):
        flops += len(calls) * once + flops_of(answered)[0]
    numbers = sum(one.numel() for one in [*head.parameters(), *learning])
    if setting.tokens == CLASSES:
        numbers += sum(one.numel() for one in ClassPrompt(torch.zeros(CLASSES, width), [""] * CLASSES).parameters())
    weights = sum(bytes_of(one) for one in (unet, vae.encoder, head, *([] if control is None else [control])))
    if setting.tune == "unet":  # the masters are fp32, beside the model's own weights in half precision
        weights += 4 * sum(one.numel() for one in learning)
    return Cost(numbers, flops, weights, 12 * numbers, len(calls) * kept.bytes() + by_head.bytes())


def flops_of(work: Callable[[], Any]) -> tuple[int, Any]:
    """Do some work; return its FLOPs, those of its backward passes included, and its result."""
    with FlopCounterMode(display=False) as counter:
        result = work()
    return counter.get_total_flops(), result


def bytes_of(network: nn.Module) -> int:
    """Return the bytes of a network's weights."""
    return sum(one.numel() * one.element_size() for one in network.parameters())


def learned(setting: Setting, unet: Any, stack: ExitStack) -> list[torch.Tensor]:
    """What learns of the denoiser."""
    if setting.tune == "unet":
        return list(unet.requires_grad_().parameters())
    if setting.tune == "lora":
        layers = stack.enter_context(in_training({"unet": unet}, Settings(rank=16, alpha=16)))
        for one in layers.parameters("unet"):
            one.data = one.data.to(HALF)  # as autocast computes with them
        return list(layers.parameters("unet"))
    if setting.tune == "prompts":
        return [torch.zeros(setting.tokens - 77, unet.config.cross_attention_dim, requires_grad=True)]
    return []


def control_of(unet: Any) -> Any:
    """A ControlNet of the denoiser's own shape."""
    from diffusers import ControlNetModel

    return ControlNetModel.from_unet(unet, load_weights_from_unet=False).to(HALF).requires_grad_(False)


def controlled(control: Any, latent: torch.Tensor, embeds: torch.Tensor) -> dict[str, Any]:
    """Call a ControlNet, and return what the denoiser is given of it."""
    edges = torch.zeros(len(latent), 3, 8 * latent.shape[2], 8 * latent.shape[3], dtype=HALF)
    down, middle = control(latent, torch.zeros((), dtype=torch.long), embeds, edges, return_dict=False)
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def head_of(setting: Setting, readings: Sequence[dict[str, torch.Tensor]], taps: Sequence[Any]) -> SceneHead:
    """The head on what was read."""
    described = tuple((tap.name, int(readings[0][tap.name].shape[1]), tap.stride) for tap in taps)
    names = [f"class {i}" for i in range(CLASSES)]
    return SceneHead(Levels(len(readings), described), names, setting.head, setting.width)


def main(arguments: list[str] | None = None, made: Callable[[], list[Setting]] = settings) -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="pixels of a view (512)")
    parser.add_argument("--tflops", type=float, default=150.0, help="10^12 FLOPs a second that a device sustains (150)")
    given = parser.parse_args(arguments)
    titles = ("learns", "TFLOPs a step", "weights", "states", "activations", "together", "80,000 steps")
    print(f"| setting, at {given.side} px | {' | '.join(titles)} |\n|{'---|' * (1 + len(titles))}")
    for setting in made():
        one = cost(setting, given.side)
        hours = one.flops * setting.steps / (given.tflops * 1e12) / 3600
        sizes = (one.weights, one.states, one.activations, one.weights + one.states + one.activations)
        print(
            f"| {setting.name}, {setting.views} views | {one.learning / 1e6:.1f} M | {one.flops / 1e12:.1f} | "
            f"{' | '.join(f'{size / 1e9:.1f} GB' for size in sizes)} | {hours:.0f} h |",
            flush=True,
        )


if __name__ == "__main__":
    main()
