"""Generation: pictures from noise, by diffusers' own pipelines around a loaded model."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from shiftless.backbones.base import Backbone, steerable
from shiftless.backbones.batch import default_batch
from shiftless.backbones.latent_model import LatentModel
from shiftless.conditions.condition import Condition
from shiftless.errors import BadInput
from shiftless.image import to_uint8
from shiftless.taps.lock import construction

GUIDANCE = 7.5
"""Strength of classifier-free guidance towards a prompt, as the pipelines have it."""


def generate(
    model: Backbone,
    n: int,
    *,
    prompt: str = "",
    steps: int = 50,
    guidance: float | None = None,
    eta: float = 0.0,
    seed: int = 0,
    first: int = 0,
    size: int | tuple[int, int] | None = None,
    batch: int | None = None,
    loras: Sequence[tuple[str, float]] = (),
) -> Iterator[np.ndarray]:
    """Yield n pictures that a model makes of noise, H W 3 uint8 each, by DDIM (Song et al., ICLR 2021).

    model     Stable Diffusion 1 or 2, or a DDPM on pixels, in any dtype, offloaded or not
    prompt    what to show; of a DDPM with classes, the class
    steps     denoiser calls for each picture
    guidance  strength of classifier-free guidance; above 1 every call is made twice. By default 7.5 with a prompt, and
              none without
    eta       0 is DDIM; 1 adds as much noise after each step as DDPM does
    seed, first  picture i is drawn from (seed, first + i) alone, so that a run is continued with a larger `first`
    size      side in pixels, or (H, W); by default what the model was trained at
    batch     pictures at once; by default what the device's memory allows. It changes them by rounding only
    loras     (file or name, scale) of LoRAs that act meanwhile

    Noise is drawn and steps are taken in float32, and the model is called in its own dtype. No lock is held while the
    consumer works. Raises BadInput for a model of another family, for settings that it cannot take, and for a size that
    its grid cannot.

    >>> from shiftless.backbones.registry import load
    >>> [picture.shape for picture in generate(load("twin:ddpm-bedroom"), 2, steps=2, size=32)]
    [(32, 32, 3), (32, 32, 3)]
    """
    if not isinstance(model, LatentModel) or model.spec.family not in _SAMPLERS:
        raise BadInput(
            f"{model.spec.name}: pictures are generated here with {' and '.join(_SAMPLERS)} models, and not with the "
            f"{model.spec.family} family; generate them elsewhere, such as with diffusers, and give their folder"
        )
    if "inpaint" in model.spec.techniques:
        raise BadInput(f"{model.spec.name}: a model for inpainting fills gaps in a photo; generate with its base model")
    if loras:
        steerable(model, "lora")
    most = len(model.schedule)
    if min(n, seed, first) < 0 or not 1 <= steps <= most or (batch is not None and batch < 1) or not 0 <= eta <= 1:
        raise BadInput(
            f"{n} pictures, steps={steps}, eta={eta:g}, seed={seed}, first={first}, batch={batch}: give 1 to {most} "
            "steps, eta from 0 to 1, and no negative numbers"
        )
    hw = (model.spec.size, model.spec.size) if size is None else (size, size) if isinstance(size, int) else size
    model.spec.check_size(hw)
    strength = guidance if guidance is not None else GUIDANCE if prompt else 1.0
    if model.spec.family != "sd":
        if guidance is not None:
            raise BadInput(f"{model.spec.name}: guidance={guidance:g}: it takes no text to be guided to; leave it out")
        strength = 1.0
    if batch is None:
        batch = max(1, default_batch(model.device, model.dtype, max(hw)) // (2 if strength > 1 else 1))
    sample = _SAMPLERS[model.spec.family](model, prompt, hw, steps, strength, eta)
    starts = range(first, first + n, batch)
    return _batches(model, sample, [range(at, min(at + batch, first + n)) for at in starts], seed, loras)


def can_generate(model: Backbone) -> bool:
    """Whether `generate` makes pictures with a model.

    >>> from shiftless.backbones.registry import load
    >>> can_generate(load("twin:ddpm-bedroom")), can_generate(load("twin:dino-s16"))
    (True, False)
    """
    return model.spec.family in _SAMPLERS and "inpaint" not in model.spec.techniques


def picture_noise(seed: int, index: int) -> torch.Generator:
    """Return the generator that picture `index` of a seed is drawn from.

    torch's generator on the CPU takes 32 bits of a seed: the pictures of one seed are numbered on from a place that a
    digest of the seed gives, so that no two of them share their noise.

    >>> one, again, other = (torch.randn(2, generator=picture_noise(0, i)) for i in (5, 5, 6))
    >>> torch.equal(one, again), torch.equal(one, other)
    (True, False)
    """
    digest = hashlib.blake2b(f"generate\0{operator.index(seed)}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed((int.from_bytes(digest, "big") + operator.index(index)) % 2**32)


Sample = Callable[[list[torch.Generator]], torch.Tensor]
"""From a generator for each picture to pixels B 3 H W in [-1, 1]."""


def _batches(
    model: LatentModel, sample: Sample, batches: Sequence[range], seed: int, loras: Sequence[tuple[str, float]]
) -> Iterator[np.ndarray]:
    for indices in batches:
        adapted: AbstractContextManager[None] = model.adapted(loras) if loras else nullcontext()
        with adapted:
            pixels = sample([picture_noise(seed, index) for index in indices])
        yield from to_uint8(pixels)


class _Denoiser(torch.nn.Module):
    """A loaded model in the place of a pipeline's UNet: in float32 outside, in the model's dtype inside.

    The model's own `denoise` takes care of locks, of what is offloaded, and of a variance beside the prediction.
    """

    dtype = torch.float32

    def __init__(self, model: LatentModel, hw: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.condition = model, Condition()
        channels, stride = model.spec.latent
        cells = hw[0] // stride, hw[1] // stride
        self.config = SimpleNamespace(sample_size=cells, in_channels=channels, time_cond_proj_dim=None)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def forward(
        self,
        sample: torch.Tensor,
        timestep: Any,
        encoder_hidden_states: torch.Tensor | None = None,
        return_dict: bool = True,
        **unused: Any,
    ) -> Any:
        condition = self.condition
        if encoder_hidden_states is not None:
            condition = Condition(encoder_hidden_states.to(self.model.dtype))
        prediction = self.model.denoise(sample, int(timestep), condition).prediction
        assert prediction is not None  # no taps, so it was not stopped
        return SimpleNamespace(sample=prediction.float()) if return_dict else (prediction.float(),)


def _from_latents(
    model: LatentModel, prompt: str, hw: tuple[int, int], steps: int, guidance: float, eta: float
) -> Sample:
    """Sample latents by StableDiffusionPipeline, and decode them."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    with construction():  # the pipeline itself asks for these two settings
        scheduler = DDIMScheduler.from_config(model.scheduler.config, clip_sample=False, steps_offset=1)
        pipe = StableDiffusionPipeline(
            vae=model.vae, text_encoder=None, tokenizer=None, unet=_Denoiser(model, hw), scheduler=scheduler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)

    def sample(generators: list[torch.Generator]) -> torch.Tensor:
        embeds = [_embeds(model, text) for text in (prompt, "")]
        windows = max(one.shape[1] for one in embeds)
        shown, without = (one.repeat(len(generators), windows // one.shape[1], 1) for one in embeds)
        latents = pipe(
            prompt_embeds=shown, negative_prompt_embeds=without, height=hw[0], width=hw[1], num_inference_steps=steps,
            guidance_scale=guidance, eta=eta, generator=generators, output_type="latent",
        ).images  # fmt: skip
        return model.decode(latents)

    return sample


def _embeds(model: LatentModel, text: str) -> torch.Tensor:
    embeds = model.encode_prompt([text]).embeds
    assert embeds is not None
    return embeds.float()


def _from_pixels(
    model: LatentModel, prompt: str, hw: tuple[int, int], steps: int, guidance: float, eta: float
) -> Sample:
    """Sample pixels by DDIMPipeline."""
    from diffusers import DDIMPipeline

    model.encode_prompt([prompt])  # raises for a class that there is not
    with construction():
        denoiser = _Denoiser(model, hw)
        pipe = DDIMPipeline(denoiser, model.scheduler)
    pipe.set_progress_bar_config(disable=True)

    def sample(generators: list[torch.Generator]) -> torch.Tensor:
        denoiser.condition = model.encode_prompt([prompt] * len(generators))
        images: torch.Tensor = pipe(
            batch_size=len(generators), generator=generators, eta=eta, num_inference_steps=steps, output_type="pt"
        ).images
        return 2 * images - 1

    return sample


_SAMPLERS: dict[str, Callable[..., Sample]] = {"sd": _from_latents, "ddpm": _from_pixels}
"""Family -> what makes its sampler."""
