"""Tuning: what learns of a model together with a head, in place inside a `with`; checkpoints, and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shiftless.atomic import write_atomic
from shiftless.backbones.base import steerable
from shiftless.backbones.clip_folder import ClipFolder
from shiftless.backbones.device import choose_device, choose_dtype
from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.noise import seeded
from shiftless.reading.loop import check
from shiftless.recipe import Recipe
from shiftless.tasks.scenehead import SceneHead
from shiftless.training.lora.layers import Layers, in_training
from shiftless.training.lora.run_folder import lora_bytes
from shiftless.training.lora.settings import Settings
from shiftless.tuning.masters import master_weights, weights_bytes
from shiftless.tuning.prompts import ImplicitPrompt, Prompt, new_prompt, prompt_bytes
from shiftless.tuning.saved import LORA, PROMPTS, UNET, digests_in, refer
from shiftless.tuning.settings import TuneSettings
from shiftless.tuning.tunedmodel import TunedModel

FAMILIES = ("sd", "sdxl")


class Tuning:
    """What learns of a model: made by `tuning`, and in place while its `with` lasts.

    model   a TunedModel, which reads as it is tuned so far
    plan    what a run may not change when it is continued

    `fit_scenes` gives its weights to the optimiser, keeps them in checkpoints, and saves them beside the head.
    """

    def __init__(
        self,
        model: TunedModel,
        settings: TuneSettings,
        base: str,
        *,
        prompt: Prompt | None = None,
        layers: Layers | None = None,
        masters: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        self.model, self.settings, self.base = model, settings, base
        self.prompt, self.layers, self.masters = prompt, layers, masters or {}
        self.plan: dict[str, Any] = {**settings.plan(), "model": base}
        if isinstance(prompt, ImplicitPrompt):
            self.plan["clip"] = prompt.clip.fingerprint

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return the weights that learn, each group with its learning rate as a factor of the head's."""
        groups: list[tuple[list[nn.Parameter], float]] = []
        if self.prompt is not None:
            groups.append((list(self.prompt.parameters()), 1.0))
        if self.layers is not None:
            groups.append((self.layers.parameters("unet"), 1.0))
        if self.masters:
            groups.append((list(self.masters.values()), self.settings.denoiser_lr))
        return groups

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what learns by name, as checkpoints keep it."""
        prompt = {} if self.prompt is None else dict(self.prompt.named_parameters())
        named: dict[str, torch.Tensor] = {f"prompt.{name}": one.detach() for name, one in prompt.items()}
        named |= {f"unet.{name}": one.detach() for name, one in self.masters.items()}
        numbers = {} if self.layers is None else self.layers.numbers()
        return named | {f"lora.{name}": one for name, one in numbers.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave; raises KeyError or RuntimeError for those of other weights."""
        if self.layers is not None:
            self.layers.set_numbers({name: tensors[f"lora.{name}"] for name in self.layers.numbers()})
        for name, one in self.tensors().items():
            if not name.startswith("lora."):
                one.copy_(tensors[name])

    def save(self, folder: Path) -> None:
        """Write what was tuned as files of a folder: prompts in fp32, LoRA and denoiser in half precision."""
        if self.prompt is not None:
            write_atomic(folder / PROMPTS, prompt_bytes(self.prompt))
        if self.layers is not None:
            about = {"mode": self.settings.mode, "rank": self.settings.rank, "weights": self.base}
            write_atomic(folder / LORA, lora_bytes(self.layers.saved(), about))
        if self.masters:
            write_atomic(folder / UNET, weights_bytes(self.model.model.denoiser))

    def seal(self, head: SceneHead, folder: Path) -> list[Path]:
        """Let a head refer to the files of a folder by their digests, and return them."""
        digests = digests_in(folder, [name for name, there in self._files().items() if there])
        refer(head, self.base, digests)
        return [folder / name for name in digests]

    def _files(self) -> dict[str, bool]:
        return {PROMPTS: self.prompt is not None, LORA: self.layers is not None, UNET: bool(self.masters)}


@contextmanager
def tuning(
    model: Any,
    recipes: Sequence[Recipe],
    settings: TuneSettings | None = None,
    classes: Sequence[str] = (),
    clip: ClipFolder | None = None,
) -> Iterator[Tuning]:
    """Let parts of a model learn inside the `with`; afterwards it is, to the bit, as it was before.

    model    a U-Net of this library, in the dtype that it computes in; what learns is fp32
    recipes  that it is read by
    classes  names, for prompts of classes; `clip` looks at photos, for implicit prompts

    The autoencoder and the text encoder learn nothing. Raises BadInput as `check_tunable` does.

    >>> from shiftless.backbones.registry import load
    >>> with tuning(load("twin:sd15", dtype="fp32"), [Recipe()], TuneSettings("lora", rank=2)) as learned:
    ...     [(len(weights), factor) for weights, factor in learned.groups()]
    [(256, 1.0)]
    """
    settings = settings or TuneSettings()
    check_tunable(model, recipes, settings)
    check(model, recipes, None)
    base, name = model.fingerprint, digest_of("in training", model.fingerprint)
    mixed = settings.mode != "prompts" and model.dtype == torch.bfloat16
    with ExitStack() as stack:
        prompt, layers, masters = None, None, None
        if settings.prompts:
            with seeded(settings.seed):
                prompt = new_prompt(model, settings.prompts, settings.tokens, classes, clip)
        if settings.mode == "lora":
            how = Settings(rank=settings.rank, alpha=settings.alpha, targets=settings.targets, seed=settings.seed)
            layers = stack.enter_context(in_training({"unet": model.denoiser}, how))
        if settings.mode == "unet":
            masters = stack.enter_context(master_weights(model.denoiser))
        if settings.checkpointing:
            stack.callback(model.denoiser.disable_gradient_checkpointing)
            model.denoiser.enable_gradient_checkpointing()
        tuned = TunedModel(model, name, prompt=prompt, mixed=mixed, checkpointing=settings.checkpointing)
        yield Tuning(tuned, settings, base, prompt=prompt, layers=layers, masters=masters)


def check_tunable(model: Any, recipes: Sequence[Recipe], settings: TuneSettings) -> None:
    """Raise BadInput for a model that cannot be trained through, or recipes that it cannot be tuned with."""
    spec = model.spec
    if spec.family not in FAMILIES:
        raise BadInput(
            f"{spec.name}: is trained through U-Nets of Stable Diffusion 1, 2 and XL, not through the {spec.family} "
            "family; train a head alone, with --tune none"
        )
    if model.offload or model.quantise:
        raise BadInput(
            f"{spec.name}: a model that is offloaded or quantised cannot be trained through; load it without"
        )
    if model.dtype == torch.float16:
        raise BadInput(f"{spec.name}: small gradients are lost in fp16; load it in bf16 or fp32")
    if settings.mode == "lora":
        steerable(model, "lora")
    for one in recipes:
        if own := [*one.lora, *one.image_prompt]:
            raise BadInput(
                f"{one.label or 'a reading'}: has an adapter of its own ({own[0]}), which a model that is tuned does "
                "not take; leave it out"
            )


def tuning_dtype(dtype: str, device: str) -> str:
    """Return the dtype to load a model in that is to be tuned: as given, and fp32 where "auto" would be fp16.

    >>> tuning_dtype("bf16", "cpu")
    'bf16'
    """
    if dtype == "auto" and choose_dtype("auto", choose_device(device)) == torch.float16:
        return "fp32"
    return dtype
