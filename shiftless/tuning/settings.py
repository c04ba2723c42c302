"""What is tuned of a model, and how."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from shiftless.errors import BadInput
from shiftless.training.lora.settings import TARGETS

MODES = ("none", "prompts", "lora", "unet")
PROMPTS = ("", "tokens", "classes", "implicit")


@dataclass(frozen=True)
class TuneSettings:
    """What is tuned of a model together with a head.

    mode           "prompts" (learned prompt embeddings alone), "lora" (a LoRA of the denoiser) or "unet" (all of the
                   denoiser's weights)
    prompts        learned prompt embeddings, which every mode may have: "tokens" stand behind the prompt's own,
                   "classes" in its place, one for each class, through a text adapter (VPD), "implicit" adds what a
                   CLIP sees of the photo (ODISE); "" is none, and in the mode "prompts" it is "tokens"
    tokens         how many of the first kind
    rank, alpha    of the LoRA, whose update is alpha / rank B A       targets  "attention", or "all" layers
    denoiser_lr    learning rate of the denoiser's own weights, in the mode "unet", as a factor of the head's
    checkpointing  keep few activations of the denoiser, and compute the others again in the backward pass
    seed           of what begins at random

    Raises BadInput for settings that make no sense.

    >>> TuneSettings("prompts").prompts, TuneSettings("unet", "classes").denoiser_lr
    ('tokens', 0.1)
    """

    mode: str = "lora"
    prompts: str = ""
    tokens: int = 16
    rank: int = 16
    alpha: float = 16
    targets: str = "attention"
    denoiser_lr: float = 0.1
    checkpointing: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, legal in (("mode", MODES[1:]), ("prompts", PROMPTS), ("targets", TARGETS)):
            if getattr(self, name) not in legal:
                raise BadInput(f"{name}={getattr(self, name)!r}: must be one of {', '.join(filter(None, legal))}")
        if self.mode == "prompts" and not self.prompts:
            object.__setattr__(self, "prompts", "tokens")
        if min(self.tokens, self.rank) < 1 or not self.alpha > 0 or not self.denoiser_lr > 0 or self.seed < 0:
            raise BadInput(
                f"tokens={self.tokens}, rank={self.rank}, alpha={self.alpha:g}, denoiser_lr={self.denoiser_lr:g}, "
                f"seed={self.seed}: give numbers above 0, and a seed of 0 or more"
            )

    def plan(self) -> dict[str, Any]:
        """Return what a run may not change when it is continued; checkpointing changes no number.

        >>> "checkpointing" in TuneSettings().plan()
        False
        """
        return {name: value for name, value in asdict(self).items() if name != "checkpointing"}
