"""Content shift of one photo: its noisy latent, the predicted clean image, and the error of that against the photo."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from miniworld.demo.subjects import Subject
from shiftless.backbones.base import Backbone
from shiftless.backbones.walk import finish as denoise_to_the_end
from shiftless.image import Photo, plan, to_pixels, to_uint8
from shiftless.noise import noise_for


@dataclass(frozen=True, eq=False)
class Given:
    """A photo as the model sees it.

    pixels  1 3 H W, as fed            clean  1 c h w, its latent
    noise   1 c h w, the photo's own   mask   H W bool, what the error is counted on
    """

    pixels: torch.Tensor
    clean: torch.Tensor
    noise: torch.Tensor
    mask: np.ndarray


def give(model: Backbone, subject: Subject, seed: int = 0) -> Given:
    """Encode a subject and draw its noise, the same noise that `shiftless.extract` reads it with."""
    photo: Photo = subject.photo
    frame = plan(photo.hw, model.spec.size, model.spec.multiple)
    pixels = to_pixels(photo, frame)
    clean = model.encode_image(pixels).float().cpu()
    noise = noise_for(photo.digest, seed, 0, tuple(clean.shape[1:]))[None]
    size = (frame.fed[1], frame.fed[0])
    mask = cv2.resize(subject.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    return Given(pixels, clean, noise, mask)


def predict_latents(model: Backbone, given: Given, timestep: int, prompt: str) -> torch.Tensor:
    """Return the clean latent that the model predicts from the noisy one in one step (DDPM, eq. 15), 1 c h w."""
    return finish(model, given, timestep, prompt, steps=1)


def finish(model: Backbone, given: Given, timestep: int, prompt: str, steps: int = 20) -> torch.Tensor:
    """Denoise to the end in `steps` steps (DDIM with eta = 0, eq. 12) and return the clean latent, 1 c h w."""
    noisy = model.schedule.add(given.clean, given.noise, timestep)
    return denoise_to_the_end(model, noisy, timestep, steps, model.encode_prompt([prompt])).cpu()


def error(model: Backbone, latent: torch.Tensor, given: Given) -> tuple[np.ndarray, float]:
    """Decode a latent: H W 3 uint8, and its error inside the mask: RMS, in percent of black to white."""
    pixels = model.decode(latent).cpu()
    wrong = ((pixels - given.pixels) / 2).square().mean(1)[0].numpy()[given.mask]
    return to_uint8(pixels)[0], 100 * float(np.sqrt(wrong.mean())) if wrong.size else float("nan")


def noisy_picture(model: Backbone, given: Given, timestep: int) -> np.ndarray:
    """Decode the noisy latent itself, to show what the model is given: H W 3 uint8."""
    return to_uint8(model.decode(model.schedule.add(given.clean, given.noise, timestep)).cpu())[0]
