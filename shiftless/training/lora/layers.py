"""The layers of a LoRA in training: which they are, and the file they become."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from shiftless.conditions.lora import injected
from shiftless.noise import seeded
from shiftless.training.lora.settings import Settings

ADAPTER = "in_training"
_ATTENTION = {
    "unet": re.compile(r".*\battn[12]\.(to_q|to_k|to_v|to_out\.0)"),
    "text_encoder": re.compile(r".*self_attn\.(q_proj|k_proj|v_proj|out_proj)"),
}
_ALL = {
    "unet": re.compile(r"(down_blocks|mid_block|up_blocks)\..*|conv_in|conv_out"),
    "text_encoder": re.compile(r".*\blayers\.\d+\..*"),
}


def ranks_of(model: nn.Module, part: str, targets: str, rank: int) -> dict[str, int]:
    """List the layers to adapt, with their ranks: module path -> rank, never above what the layer's matrix has.

    part  "unet" or "text_encoder"      targets  "attention" or "all", as `Settings` has them
    """
    pattern = (_ATTENTION if targets == "attention" else _ALL)[part]
    ranks = {}
    for path, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and pattern.fullmatch(path):
            ranks[path] = min(rank, module.weight.shape[0], module.weight[0].numel())
    return ranks


class Layers:
    """LoRA layers in place: part -> module path -> peft's layer, with their numbers as plain tensors."""

    def __init__(self, parts: dict[str, dict[str, Any]]) -> None:
        self.parts = parts

    def parameters(self, part: str) -> list[nn.Parameter]:
        """What is trained of one part."""
        return [half[ADAPTER].weight for layer in self.parts[part].values() for half in (layer.lora_A, layer.lora_B)]

    def numbers(self) -> dict[str, torch.Tensor]:
        """Copy every weight, by name, in float32 on the CPU."""
        return {name: p.detach().float().cpu().clone() for name, p in self._named()}

    @torch.no_grad()
    def set_numbers(self, numbers: Mapping[str, torch.Tensor]) -> None:
        """Put weights back."""
        for name, parameter in self._named():
            parameter.copy_(numbers[name])

    def saved(self) -> dict[str, torch.Tensor]:
        """The tensors of a LoRA file in diffusers' names, alpha / rank multiplied in, in half precision.

        Readers that know nothing of alpha take such a file at its full strength.
        """
        state = {}
        for part, layers in self.parts.items():
            for path, layer in layers.items():
                # every release of diffusers and transformers reads the older, longer name
                longer = "text_model." if part == "text_encoder" and not path.startswith("text_model.") else ""
                for letter, half, scale in (("A", layer.lora_A, 1.0), ("B", layer.lora_B, layer.scaling[ADAPTER])):
                    weight = half[ADAPTER].weight.detach().float().cpu() * scale
                    state[f"{part}.{longer}{path}.lora_{letter}.weight"] = weight.half().contiguous()
        return state

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for part, layers in self.parts.items():
            for path, layer in layers.items():
                yield f"{part}.{path}.A", layer.lora_A[ADAPTER].weight
                yield f"{part}.{path}.B", layer.lora_B[ADAPTER].weight


@contextmanager
def in_training(models: Mapping[str, nn.Module], settings: Settings) -> Iterator[Layers]:
    """Put new LoRA layers around some of each model's own inside the `with`; the models are as before afterwards.

    A starts at random, B at zero, so that nothing changes before the first step (Hu et al. 2021, section 4.1). A text
    encoder without layers has none to put them around, and is left out.
    """
    with ExitStack() as stack, seeded(settings.seed):
        parts = {}
        for part, model in models.items():
            if ranks := ranks_of(model, part, settings.targets, settings.rank):
                parts[part] = stack.enter_context(injected(model, ranks, ADAPTER, empty=False, alpha=settings.alpha))
        yield Layers(parts)
