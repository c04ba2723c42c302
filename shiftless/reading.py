"""The one loop: (model, images, recipes) -> FeatureMaps, streaming, sharing what recipes share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from shiftless.backbones.base import Backbone
from shiftless.backbones.memory import kept_memory
from shiftless.conditions.condition import Condition
from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Frame, Photo, open_photo, plan, to_pixels
from shiftless.noise import noise_for, reference_timestep
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap, select


def extract(model: Backbone, images: Any, recipes: Recipe | Sequence[Recipe], *, batch: int = 8) -> Any:
    """Read features of images by recipes.

    images   one image (path, PIL image, array, tensor) or a list of them
    recipes  one Recipe or a list of K
    batch    how many noisy latents the denoiser sees at once

    One image and one recipe give a FeatureMaps; a list of images a list of them; a list of recipes gives a Bucket
    of K FeatureMaps in the place of each FeatureMaps. The noise of an image depends on its content, the recipe's
    seed and the ensemble index, so the answer does not depend on what else is in the batch.

    Raises BadInput for an image that cannot be read and a tap that the model does not have.

    >>> from shiftless.backbones.registry import load
    >>> import numpy as np
    >>> picture = np.zeros((90, 120, 3), np.uint8)
    >>> extract(load("twin:sd15"), picture, Recipe(taps=("up1", "up2")))
    FeatureMaps(image, 120x90 pixels read as 128x128: up1 64x8x8 stride 16 · up2 64x16x16 stride 8)
    """
    many = isinstance(images, (list, tuple))
    found = list(stream(model, images if many else [images], recipes, batch=batch))
    return found if many else found[0]


def stream(
    model: Backbone,
    images: Iterable[Any],
    recipes: Recipe | Sequence[Recipe],
    *,
    batch: int = 8,
    skipped: list[str] | None = None,
) -> Iterator[Any]:
    """Yield what `extract` gives, one image after another, in order, with the memory of one batch.

    With a list of recipes each item is a Bucket, with one Recipe a FeatureMaps.
    skipped  if given, an image that cannot be read is left out and its message is added here instead of raised
    """
    if batch < 1:
        raise BadInput(f"batch={batch}: give a whole number from 1 up")
    several = not isinstance(recipes, Recipe)
    chosen: list[Recipe] = list(recipes) if not isinstance(recipes, Recipe) else [recipes]
    if not chosen:
        raise BadInput("no recipe was given; give at least one Recipe")
    wanted = [select(recipe.taps, model.taps, model.spec.name) for recipe in chosen]
    source = iter(images)
    while window := list(islice(source, batch)):
        photos = []
        for image in window:
            try:
                photos.append(open_photo(image))
            except BadInput as error:
                if skipped is None:
                    raise
                skipped.append(str(error))
        for bucket in _read_window(model, photos, chosen, wanted, batch):
            yield bucket if several else bucket[0]


def _read_window(
    model: Backbone, photos: Sequence[Photo], recipes: Sequence[Recipe], wanted: Sequence[tuple[Tap, ...]], batch: int
) -> list[Bucket]:
    """Read every (photo, recipe): encode once, then denoise rows of equal size and timestep together."""
    frames = [[_frame(model, photo, recipe) for recipe in recipes] for photo in photos]
    conditions = {recipe.prompt: model.encode_prompt([recipe.prompt]) for recipe in recipes}
    latents = _Latents(model, photos)
    totals: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
    rows: dict[tuple[Any, ...], list[tuple[int, int, int]]] = {}
    for i in range(len(photos)):
        for k, recipe in enumerate(recipes):
            timestep = reference_timestep(recipe.timestep) if recipe.scheduler == "pndm-reference" else recipe.timestep
            key = (frames[i][k].fed, timestep, wanted[k], _length(conditions[recipe.prompt]))
            rows.setdefault(key, []).extend((i, k, member) for member in range(recipe.ensemble))
    for (fed, timestep, taps, _), group in rows.items():
        with kept_memory(model.device):  # apart from the denoiser's, whose tensors have other sizes
            latents.encode([(i, recipes[k]) for i, k, _ in group], fed)
        for start in range(0, len(group), batch):
            part = group[start : start + batch]
            noisy = torch.cat([latents.noisy(i, recipes[k], fed, member, timestep) for i, k, member in part])
            condition = _join([conditions[recipes[k].prompt] for _, k, _ in part])
            with kept_memory(model.device):
                maps = model.denoise(noisy, timestep, condition, taps).maps
            for row, (i, k, _) in enumerate(part):
                total = totals.setdefault((i, k), {})
                for name, value in maps.items():
                    one = value[row : row + 1]
                    if recipes[k].ensemble > 1:
                        one = one.float() / recipes[k].ensemble
                    total[name] = total[name] + one if name in total else one.clone()
    return [
        Bucket(
            tuple(
                FeatureMaps(
                    {tap.name: totals[i, k][tap.name] for tap in wanted[k]},
                    {tap.name: tap for tap in wanted[k]},
                    frames[i][k],
                    recipe,
                    photo.name,
                    conditions[recipe.prompt].words[0] if conditions[recipe.prompt].words else (),
                )
                for k, recipe in enumerate(recipes)
            )
        )
        for i, photo in enumerate(photos)
    ]


class _Latents:
    """Clean latents of a window of photos, each encoded once however many recipes ask."""

    def __init__(self, model: Backbone, photos: Sequence[Photo]) -> None:
        self.model, self.photos = model, photos
        self._clean: dict[tuple[Any, ...], torch.Tensor] = {}

    def encode(self, asked: Sequence[tuple[int, Recipe]], fed: tuple[int, int]) -> None:
        """Encode what is not yet there, all photos of one size in one call."""
        means = sorted({i for i, recipe in asked if recipe.latent == "mean" and (i, fed) not in self._clean})
        if means:
            pixels = torch.cat([self._pixels(i, fed) for i in means])
            for i, latent in zip(means, self.model.encode_image(pixels)):
                self._clean[i, fed] = latent[None].float()
        for i, recipe in asked:
            key = (i, fed, recipe.seed, recipe.ensemble)
            if recipe.latent == "sample" and key not in self._clean:
                shape = self._shape(fed)
                draws = [self._noise(i, recipe, member, shape, "posterior") for member in range(recipe.ensemble)]
                pixels = self._pixels(i, fed)
                self._clean[key] = self.model.encode_image(pixels, latent="sample", noise=torch.cat(draws)).float()

    def noisy(self, i: int, recipe: Recipe, fed: tuple[int, int], member: int, timestep: int) -> torch.Tensor:
        """The latent of photo i with its own noise added, 1 c h w float32."""
        if recipe.latent == "mean":
            clean = self._clean[i, fed]
        else:
            clean = self._clean[i, fed, recipe.seed, recipe.ensemble][member : member + 1]
        if not self.model.spec.takes_noise:
            return clean
        noise = self._noise(i, recipe, member, tuple(clean.shape[1:]), "diffusion").to(clean.device)
        return self.model.schedule.add(clean, noise, timestep)

    def _noise(self, i: int, recipe: Recipe, member: int, shape: tuple[int, ...], stream: str) -> torch.Tensor:
        return noise_for(self.photos[i].digest, recipe.seed, member, shape, stream)[None]

    def _shape(self, fed: tuple[int, int]) -> tuple[int, int, int]:
        channels, stride = self.model.spec.latent
        return channels, fed[0] // stride, fed[1] // stride

    def _pixels(self, i: int, fed: tuple[int, int]) -> torch.Tensor:
        return to_pixels(self.photos[i], Frame(self.photos[i].hw, fed))


def _frame(model: Backbone, photo: Photo, recipe: Recipe) -> Frame:
    return plan(photo.hw, recipe.size or model.spec.size, model.spec.multiple, recipe.fit)


def _length(condition: Condition) -> int:
    return 0 if condition.embeds is None else condition.embeds.shape[1]


def _join(conditions: Sequence[Condition]) -> Condition:
    """Stack single-image conditions into one for a batch."""
    if conditions[0].embeds is None:
        return Condition()
    embeds = torch.cat([c.embeds for c in conditions if c.embeds is not None])
    extra = {
        name: torch.cat([c.extra[name] for c in conditions]) if isinstance(value, torch.Tensor) else value
        for name, value in conditions[0].extra.items()
    }
    return Condition(embeds, tuple(c.words[0] for c in conditions if c.words), extra)
