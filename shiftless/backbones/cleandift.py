"""CleanDIFT: Stable Diffusion 1 or 2 with a UNet that was fine-tuned to be read without noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from shiftless.backbones.base import Reading
from shiftless.backbones.parts import check_there, digest_of_parts, load_parts
from shiftless.backbones.sd import StableDiffusion
from shiftless.backbones.sd_config import check_model, check_tokenizer
from shiftless.backbones.single_file import read_network
from shiftless.conditions.condition import Condition
from shiftless.digest import digest_of, digest_of_file, marks_of
from shiftless.noise import Schedule
from shiftless.taps.names import Tap

_TIMESTEP = 261  # what the network is told always, as in the authors' notebook


class CleanDIFT(StableDiffusion):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    Source: Stracke et al., CVPR 2025, "CleanDIFT: Diffusion features without noise". The UNet is given the clean
    latent, so that timestep, seed and ensemble change nothing. Its output was not trained, so that it predicts no
    picture: `Reading.prediction` is None.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:cleandift-sd15", dtype="fp32")
    >>> taps = [tap for tap in model.taps if tap.name == "up1"]
    >>> latent, condition = model.encode_image(torch.zeros(1, 3, 64, 128)), model.encode_prompt([""])
    >>> read = [model.denoise(latent, t, condition, taps).maps["up1"] for t in (0, 500)]
    >>> read[0].shape, torch.equal(*read)
    (torch.Size([1, 64, 4, 8]), True)
    """

    FAMILY = "cleandift"
    TAKES_NOISE = False
    TECHNIQUES: ClassVar[tuple[str, ...]] = ("prompt", "control", "lora", "image_prompt", "textual_inversion")

    def __init__(self, *parts: Any, **options: Any) -> None:
        """Adapt loaded parts; there is no noise in a latent of this family."""
        super().__init__(*parts, **options)
        self.schedule = Schedule.none()

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """No folder says that its UNet is CleanDIFT's, whose config is that of the model that it was made of."""
        return False

    @classmethod
    def from_unet(
        cls,
        name: str,
        file: Path,
        rest: Path,
        row: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
        size: int | None = None,
    ) -> CleanDIFT:
        """Load a UNet that was published as a file of its own, and the other parts from another model's folder.

        file  the UNet's tensors, in diffusers' names      rest  the folder of the model that it was made of
        row   of models.json, whose "unet" is the UNet's config

        Raises BadInput naming the file or the part that is missing or broken.
        """
        from transformers import CLIPTextConfig

        parts = {part: kind for part, kind in cls.PARTS.items() if part != "unet"}
        check_there(rest, parts)
        text = check_model(rest, denoiser=row["unet"])["text_encoder"]
        before, made_of = marks_of([file]), digest_of_parts(rest, parts)
        loaded = load_parts(rest, parts, dtype, configs={"text_encoder": CLIPTextConfig(**text)})
        check_tokenizer(loaded["tokenizer"], loaded["text_encoder"], rest / "tokenizer")
        loaded["unet"] = read_network(file, cls.PARTS["unet"], row["unet"])

        def digest() -> str:
            others = made_of()
            return digest_of(others, digest_of_file(file)) if others and marks_of([file]) == before else ""

        options: dict[str, Any] = {"controls": row.get("controls"), "images": row.get("images")}
        options["made_for"] = row.get("made_for", "")
        return cls(name, loaded, size or row["size"], device, dtype, made_of=digest, **options)

    @torch.no_grad()
    def denoise(
        self,
        latent: torch.Tensor,
        timestep: int,
        condition: Condition,
        taps: Sequence[Tap] = (),
        *,
        full: bool = False,
    ) -> Reading:
        """Read `taps` of the clean latent, B C H W each; `timestep` is ignored, and the prediction is None always."""
        return Reading(super().denoise(latent, _TIMESTEP, condition, taps, full=full).maps, None)
