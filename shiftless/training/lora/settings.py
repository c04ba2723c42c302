"""How a LoRA is trained: the published settings, and those that suit a small model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput

TARGETS = ("attention", "all")
NOISE = {"uniform": 1.0, "low": 2.0}  # the power of a uniform draw that becomes the share of the schedule


@dataclass(frozen=True)
class Settings:
    """What a run does; the defaults are GATE's for Stable Diffusion 1.5 (NeurIPS 2024).

    rank, alpha     of every LoRA layer; the update is alpha / rank B A
    lr, text_lr     learning rates of the denoiser's and the text encoder's layers
    targets         "attention": q, k, v, out; "all": every linear and convolution layer inside the blocks too
    photos          how many to train on, drawn at random        hold_out  share of the photos to validate on
    repeats         how often an epoch shows each photo with each of its captions
    batch           photos a step             accumulate  steps that are summed before the weights move
    epochs, steps, minutes   the run's length: one of them
    noise           "uniform" over the schedule, or "low": more often little noise, where features are read
    read_at         timesteps at which content shift is measured
    checks          how often, in a run, a candidate is saved and measured
    seed            of weights, photos drawn, order and noise

    Raises BadInput for values that no run could have.

    >>> Settings(rank=0)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: rank=0: give a number above 0
    """

    rank: int = 64
    alpha: float = 32
    lr: float = 1e-4
    text_lr: float = 5e-5
    targets: str = "attention"
    photos: int = 30
    hold_out: float = 0.2
    repeats: int = 10
    batch: int = 1
    accumulate: int = 1
    epochs: int | None = 10
    steps: int | None = None
    minutes: float | None = None
    noise: str = "uniform"
    read_at: tuple[int, ...] = (50, 100, 260)
    checks: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "alpha", "lr", "photos", "repeats", "batch", "accumulate", "checks"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name}={getattr(self, name)!r}: give a number above 0")
        if not self.text_lr >= 0:
            raise BadInput(f"text_lr={self.text_lr!r}: give a number from 0 up; 0 leaves the text encoder alone")
        if not 0 < self.hold_out < 1:
            raise BadInput(f"hold_out={self.hold_out!r}: give a share between 0 and 1, such as 0.2")
        given = [v for v in (self.epochs, self.steps, self.minutes) if v is not None]
        if len(given) != 1 or not given[0] > 0:
            raise BadInput("give one length of the run: epochs, steps or minutes, above 0")
        for name, legal in (("targets", TARGETS), ("noise", tuple(NOISE))):
            if getattr(self, name) not in legal:
                raise BadInput(f"{name}={getattr(self, name)!r}: must be one of {', '.join(legal)}")

    def but(self, **changes: Any) -> Settings:
        """Return a variant; a length takes the place of any other length.

        >>> Settings().but(steps=100).epochs is None
        True
        """
        lengths = ("epochs", "steps", "minutes")
        if any(changes.get(name) is not None for name in lengths):
            changes = {**dict.fromkeys(lengths), **changes}
        return Settings(**{**vars(self), **changes})


PUBLISHED = Settings()
# A model of a few million parameters has little to adapt in attention alone, and takes larger steps without harm.
SMALL = Settings(
    rank=16, alpha=16, lr=1e-3, text_lr=2e-4, targets="all", repeats=4, batch=16, epochs=None, steps=80, noise="low",
    read_at=(100, 200, 300), checks=8,
)  # fmt: skip
_SMALL = 50_000_000  # parameters of the denoiser


def settings_for(model: Backbone) -> Settings:
    """Return the settings to begin with for a model, by the size of its denoiser.

    >>> from shiftless.backbones.registry import load
    >>> settings_for(load("twin:sd15")).rank
    16
    """
    unet: Any = getattr(model, "unet", None)
    if unet is None:
        raise BadInput(f"{model.spec.name}: LoRAs are not trained for the {model.spec.family} family")
    return SMALL if sum(p.numel() for p in unet.parameters()) < _SMALL else PUBLISHED
