"""The Backbone protocol: what a model family must offer to be read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import torch

from shiftless.conditions.condition import Condition
from shiftless.conditions.control import Control
from shiftless.errors import BadInput
from shiftless.noise import Schedule
from shiftless.taps.names import Tap

if TYPE_CHECKING:
    from shiftless.backbones.tiny_encoder import TinyEncoder
    from shiftless.conditions.captioner import Captioner
    from shiftless.conditions.image_prompt import ImageAdapter
    from shiftless.conditions.textual_inversion import LearnedWord


PHOTOGRAPHS = "photographs"


@dataclass(frozen=True)
class Spec:
    """The facts about a model that the reading loop needs.

    name        what the user loaded
    family      "sd", "sdxl", "ddpm", "dit", "vit" ...
    size        the longer side in pixels that it was trained at
    multiple    every side fed must be a multiple of this many pixels
    latent      (channels, stride) of what encode_image returns; stride in pixels a cell
    takes_text  whether a prompt has an effect
    takes_noise whether noise is added before reading (a ViT or CleanDIFT takes none)
    techniques  what may steer it: "prompt", "control", "lora", "image_prompt", "textual_inversion",
                "inpaint", "start"
    made_for    what pictures it was trained on, such as PHOTOGRAPHS; "" if unknown
    """

    name: str
    family: str
    size: int
    multiple: int
    latent: tuple[int, int]
    takes_text: bool = True
    takes_noise: bool = True
    techniques: tuple[str, ...] = ()
    made_for: str = ""

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise BadInput for images of (h, w) pixels that the model's grid of cells cannot take.

        >>> Spec("toy", "toy", 64, 16, (4, 8)).check_size((64, 72))
        Traceback (most recent call last):
        ...
        shiftless.errors.BadInput: toy: an image of 72 x 64 pixels; each side must be a multiple of 16
        """
        if any(side < 1 or side % self.multiple for side in size):
            rule = f"each side must be a multiple of {self.multiple}"
            raise BadInput(f"{self.name}: an image of {size[1]} x {size[0]} pixels; {rule}")


@dataclass(frozen=True)
class Reading:
    """The result of one denoiser call.

    maps        tap name -> B C H W, in the order of the request
    prediction  B C h w, the denoiser's own output; None when it was stopped after the last tap
    """

    maps: dict[str, torch.Tensor]
    prediction: torch.Tensor | None


@runtime_checkable
class Backbone(Protocol):
    """One model family: an adapter of an unmodified class, which reads by forward hooks.

    `denoise` given taps stops after the last one unless `full` asks for the prediction too.
    A family without noise or text ignores those inputs; `spec` tells which it takes.
    """

    spec: Spec
    taps: tuple[Tap, ...]
    schedule: Schedule
    device: torch.device
    dtype: torch.dtype

    @property
    def fingerprint(self) -> str:
        """The digest of its weights, the same in every dtype; features and caches are keyed by it."""

    def encode_image(
        self, pixels: torch.Tensor, *, latent: str = "mean", noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """B 3 H W in [-1, 1] -> the clean latent B c h w; `noise` B c h w draws the posterior sample."""

    def encode_prompt(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None) -> Condition:
        """B texts of any length -> their Condition; `size` (h, w) in pixels of the images, if the family is told it."""

    def denoise(
        self,
        latent: torch.Tensor,
        timestep: int,
        condition: Condition,
        taps: Sequence[Tap] = (),
        *,
        full: bool = False,
    ) -> Reading:
        """B c h w noisy latent at `timestep` -> the taps' maps, and the prediction if no taps or `full`."""

    def predict_clean(self, latent: torch.Tensor, prediction: torch.Tensor, timestep: int) -> torch.Tensor:
        """The clean latent that `prediction` at `timestep` stands for (epsilon, v, sample or flow), B c h w."""

    def predict_noise(self, latent: torch.Tensor, prediction: torch.Tensor, timestep: int) -> torch.Tensor:
        """The noise that `prediction` at `timestep` stands for, B c h w."""

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """B c h w clean latent -> pixels B 3 H W, clamped to [-1, 1]."""


class Steerable(Backbone, Protocol):
    """A family that takes more than a prompt; its `spec.techniques` say what."""

    def control(self, name: str) -> Control:
        """The ControlNet or T2I-Adapter that a recipe names, loaded once; the caller draws its map of an image."""

    def adapted(self, loras: Sequence[tuple[str, float]]) -> AbstractContextManager[None]:
        """Inside this `with`, LoRA files act on denoiser and text encoder; afterwards the model is as before."""

    def image_prompt(self, name: str) -> ImageAdapter:
        """The IP-Adapter that a recipe names, loaded once and kept; it embeds a photo."""

    def image_prompted(self, adapters: Sequence[tuple[str, float]]) -> AbstractContextManager[None]:
        """Inside this `with`, IP-Adapters act on the denoiser; afterwards the model is as before."""

    def image_prompts(self) -> list[str]:
        """The names of the IP-Adapters that are known for the model."""

    def textual_inversion(self, name: str) -> LearnedWord:
        """The learned word that a recipe names, checked against the model's text encoders."""

    def worded(self, names: Sequence[str]) -> AbstractContextManager[None]:
        """Inside this `with`, prompts may name learned words; the model itself is not changed."""

    def controls(self) -> list[str]:
        """The names of the ControlNets and T2I-Adapters that are known for the model."""

    def loras(self) -> list[str]:
        """The names of the LoRAs that lie in the model's folder."""

    def tiny_encoder(self, name: str) -> TinyEncoder:
        """The tiny encoder that a recipe names, loaded once and checked against the model's latents."""

    def digest(self, technique: str, name: str) -> str:
        """The digest of the contents of what a recipe names for a technique; a captioner and an encoder are too."""

    def captioner(self, name: str) -> Captioner:
        """The captioner of this model: by name, or the model's own for ""."""


def with_tiny_encoder(model: Backbone) -> Steerable:
    """Return a model as one whose autoencoder can be replaced; raises BadInput for a family that has none.

    >>> from shiftless.backbones.registry import load
    >>> with_tiny_encoder(load("twin:dino-s16"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: twin:dino-s16: a model of the vit family has no autoencoder to be replaced; leave ...
    """
    if not hasattr(model, "tiny_encoder"):
        raise BadInput(
            f"{model.spec.name}: a model of the {model.spec.family} family has no autoencoder to be replaced; leave "
            "encoder out of the recipe"
        )
    return cast(Steerable, model)


def steerable(model: Backbone, technique: str) -> Steerable:
    """Return a model as one that can be steered; raises BadInput if its family does not take the technique.

    >>> from shiftless.backbones.registry import load
    >>> steerable(load("twin:sd15"), "control").spec.techniques
    ('prompt', 'control', 'lora', 'image_prompt', 'textual_inversion', 'start')
    """
    if technique == "lora" and bool(getattr(model, "quantise", "")):
        raise BadInput(f"{model.spec.name}: its weights are quantised, and LoRAs change plain ones; load it without")
    if technique not in model.spec.techniques:
        takes = ", ".join(model.spec.techniques) or "none"
        raise BadInput(
            f"{model.spec.name}: {technique} cannot steer a model of the {model.spec.family} family "
            f"(techniques it takes: {takes}); leave {technique} out of the recipe"
        )
    return cast(Steerable, model)
