"""Inputs: what a model is given of one photo, made on the CPU, each thing once: pixels at every size, and noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import torch

from shiftless.backbones.base import Backbone, Spec
from shiftless.image import Frame, Photo, mirror, open_photo, plan
from shiftless.noise import noise_for
from shiftless.pixels import resized
from shiftless.reading.passes import effective
from shiftless.recipe import Recipe


class Inputs:
    """A photo with the pixels and the noise that recipes need of it.

    What is missing is made when it is asked for; `prepare` makes it beforehand, in a thread that is not the model's.
    Either way the numbers are the same.

    device  where the model computes; for CUDA what is prepared lies in pinned memory, from which it is copied while
            the caller goes on

    >>> import numpy as np
    >>> inputs = Inputs(open_photo(np.zeros((60, 80, 3), np.uint8)))
    >>> inputs.pixels((24, 32)).shape, inputs.noise(0, 0, (4, 3, 4)).shape
    (torch.Size([1, 24, 32, 3]), torch.Size([1, 4, 3, 4]))
    """

    def __init__(self, photo: Photo, device: torch.device | None = None) -> None:
        self.photo, self._device = photo, device
        self._pinned = device is not None and device.type == "cuda"
        self._pixels: dict[tuple[int, int], torch.Tensor] = {}
        self._noise: dict[tuple[int, int, tuple[int, ...], str], torch.Tensor] = {}

    def prepare(self, spec: Spec, recipes: Iterable[Recipe]) -> Inputs:
        """Make what these recipes need of a model of this kind, and return the inputs themselves.

        >>> from shiftless.backbones.registry import load
        >>> Inputs(open_photo(torch.zeros(3, 64, 64))).prepare(load("twin:sd15").spec, [Recipe()]).photo.hw
        (64, 64)
        """
        recipes = [effective(recipe, spec) for recipe in recipes]
        if both := [recipe.but(mirror=False) for recipe in recipes if recipe.mirror]:
            self.mirrored.prepare(spec, both)
        for recipe in recipes:
            fed = frame_of(spec, self.photo, recipe).fed
            if fed not in self._pixels:
                self._pixels[fed] = self._made(resized(self.photo.array, fed))
            shape = latent_shape(spec, fed)
            drawn = ["posterior"] if recipe.latent == "sample" else []
            drawn += ["diffusion"] if spec.takes_noise and recipe.noise != "invert" else []
            for stream in drawn:
                for member in range(recipe.ensemble):
                    key = (recipe.seed, member, shape, stream)
                    if key not in self._noise:
                        self._noise[key] = self._made(noise_for(self.photo.digest, *key)[None])
        return self

    @cached_property
    def mirrored(self) -> Inputs:
        """The inputs of the photo mirrored left to right."""
        return Inputs(mirror(self.photo), self._device)

    def pixels(self, fed: tuple[int, int]) -> torch.Tensor:
        """Return the photo at (h, w) pixels, 1 h w 3 uint8 on the CPU; `floats_of` makes what a model sees.

        Bytes take a quarter of the memory of floats, and of the time to reach an accelerator, which makes floats of
        them faster than the threads that open photos.
        """
        made = self._pixels.get(fed)
        return resized(self.photo.array, fed) if made is None else made

    def noise(self, seed: int, member: int, shape: tuple[int, ...], stream: str = "diffusion") -> torch.Tensor:
        """Return what `shiftless.noise.noise_for` draws for the photo: 1 c h w float32, on the CPU."""
        made = self._noise.get((seed, member, shape, stream))
        return noise_for(self.photo.digest, seed, member, shape, stream)[None] if made is None else made

    def _made(self, value: torch.Tensor) -> torch.Tensor:
        return value.pin_memory() if self._pinned else value


def inputs_of(image: Any, device: torch.device | None = None) -> Inputs:
    """Return the inputs of what `open_photo` takes, or inputs as they are; raises BadInput as `open_photo` does.

    >>> inputs = inputs_of(torch.zeros(3, 64, 64))
    >>> inputs_of(inputs) is inputs
    True
    """
    return image if isinstance(image, Inputs) else Inputs(open_photo(image), device)


def frame_of(spec: Spec, photo: Photo, recipe: Recipe) -> Frame:
    """Return how a recipe fits a photo to what a model takes."""
    return plan(photo.hw, recipe.size or spec.size, spec.multiple, recipe.fit)


def frames_of(model: Backbone, photos: Sequence[Photo], recipes: Sequence[Recipe]) -> list[list[Frame]]:
    """Return for each photo how each recipe fits it to what the model takes."""
    return [[frame_of(model.spec, photo, recipe) for recipe in recipes] for photo in photos]


def latent_shape(spec: Spec, fed: tuple[int, int]) -> tuple[int, int, int]:
    """Return the shape c h w of the latent of a photo that is fed at (h, w) pixels."""
    channels, stride = spec.latent
    return channels, fed[0] // stride, fed[1] // stride
