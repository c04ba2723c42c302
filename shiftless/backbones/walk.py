"""The walk: steered denoising from a noisier timestep down to the one that is read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from shiftless.backbones.base import Backbone
from shiftless.conditions.condition import Condition
from shiftless.noise import Schedule, reference_timestep


def timesteps_between(start: int, timestep: int, steps: int | None = None) -> list[int]:
    """List the timesteps of a walk, `start` first and `timestep` last: one by one, or in equal strides.

    >>> timesteps_between(60, 50, steps=2), len(timesteps_between(60, 50))
    ([60, 55, 50], 11)
    """
    steps = start - timestep if steps is None else steps
    return [start - round(i * (start - timestep) / steps) for i in range(steps + 1)]


def continued(timestep: int, steps: int, reached: int) -> int:
    """Return where an inversion to `timestep` in `steps` steps begins if an earlier one was taken to `reached`.

    It begins at `reached` if that is a whole number of strides; else at the clean latent, 0.

    >>> continued(200, 10, reached=100), continued(200, 10, reached=90)
    (100, 0)
    """
    return 0 if reached % (timestep / steps) else reached


def strides_left(timestep: int, steps: int, first: int) -> int:
    """Return how many of an inversion's strides lie between `first` and `timestep`.

    >>> strides_left(200, 10, first=100)
    5
    """
    return round((timestep - first) * steps / timestep)


def walk_calls(start: int, timestep: int, steps: int | None, reference: bool = False) -> int:
    """Return how many denoiser calls a walk takes before the one that is read.

    reference  as the GDF and GATE codes walk: one by one, and one more

    >>> walk_calls(60, 50, None), walk_calls(60, 50, 2), walk_calls(60, 50, None, reference=True)
    (10, 2, 11)
    """
    if reference:
        return reference_timestep(start) - timestep
    return start - timestep if steps is None else steps


def finish_calls(timestep: int, steps: int) -> int:
    """Return how many denoiser calls `finish` takes: `steps`, or one for each timestep if those are fewer.

    >>> finish_calls(300, 8), finish_calls(3, 8), finish_calls(0, 8)
    (8, 4, 1)
    """
    return min(steps, timestep + 1)


@torch.no_grad()
def walk(
    model: Backbone, latent: torch.Tensor, start: int, timestep: int, steps: int | None, condition: Condition
) -> torch.Tensor:
    """Denoise a latent B c h w, noisy as at `start`, down to `timestep`; float32.

    Each stride is deterministic: the predicted clean latent, with the predicted noise added back at the next
    timestep (DDIM, Song et al. 2021, eq. 12 with sigma 0).

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:sd15", dtype="fp32")
    >>> walk(model, torch.randn(1, 4, 8, 8), 60, 50, 2, model.encode_prompt([""])).shape
    torch.Size([1, 4, 8, 8])
    """
    return _along(model, latent, timesteps_between(start, timestep, steps), condition)


@torch.no_grad()
def invert(
    model: Backbone, latent: torch.Tensor, first: int, timestep: int, steps: int, condition: Condition
) -> torch.Tensor:
    """Walk a latent B c h w up from timestep `first` to a noisier one by the model's own predictions; float32.

    The same stride as in `walk`, the other way (DDIM inversion, Song et al. 2021, section 4.3): the noise that
    is added is predicted from the image, not drawn. `first` is 0 for a clean
    latent.
    """
    return _along(model, latent, timesteps_between(timestep, first, steps)[::-1], condition)


@torch.no_grad()
def finish(model: Backbone, latent: torch.Tensor, timestep: int, steps: int, condition: Condition) -> torch.Tensor:
    """Denoise a latent B c h w, noisy as at `timestep`, to the end: the clean latent, float32.

    What image-to-image generation would leave of the image: `steps` calls of the model at equal distances from
    `timestep` to 0, each stride as in `walk`; the last gives the predicted clean latent. One step is the
    prediction at `timestep` itself.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:sd15", dtype="fp32")
    >>> finish(model, torch.randn(1, 4, 8, 8), 60, 3, model.encode_prompt([""])).shape
    torch.Size([1, 4, 8, 8])
    """
    strides = finish_calls(timestep, steps) - 1
    path = timesteps_between(timestep, 0, strides) if strides else [timestep]
    latent = _along(model, latent, path, condition)
    prediction = model.denoise(latent, path[-1], condition).prediction
    assert prediction is not None
    return model.predict_clean(latent, prediction.float(), path[-1])


def _along(model: Backbone, latent: torch.Tensor, path: Sequence[int], condition: Condition) -> torch.Tensor:
    """Take a latent along a path of timesteps, to less or to more noise."""
    latent = latent.to(model.device).float()
    for now, then in pairwise(path):
        prediction = model.denoise(latent, now, condition).prediction
        assert prediction is not None
        prediction = prediction.float()
        clean = model.predict_clean(latent, prediction, now)
        latent = model.schedule.add(clean, model.predict_noise(latent, prediction, now), then)
    return latent


@torch.no_grad()
def reference_walk(
    model: Backbone, latent: torch.Tensor, start: int, timestep: int, condition: Condition
) -> torch.Tensor:
    """Denoise a latent B c h w as the GDF and GATE codes do, from `start` + 1 to be read at `timestep`; float32.

    Their PNDM scheduler calls the model at start + 1, start, ... timestep + 1 and repeats its second step, so that
    what is read at `timestep` still holds the noise of timestep + 1. The noise of start + 1 must have been added.
    """
    scheduler = _pndm(model.schedule)
    latent = latent.to(model.device).float()
    for t in range(reference_timestep(start), timestep, -1):
        prediction = model.denoise(latent, t, condition).prediction
        assert prediction is not None
        latent = scheduler.step(prediction.float(), t, latent, return_dict=False)[0]
    return latent


def _pndm(schedule: Schedule):  # type: ignore[no-untyped-def]  # diffusers is not typed
    from diffusers import PNDMScheduler

    scheduler = PNDMScheduler(
        trained_betas=schedule.betas(), skip_prk_steps=True, steps_offset=1, prediction_type=schedule.prediction
    )
    scheduler.set_timesteps(len(schedule))
    return scheduler
