"""The predicted clean image (x0 prediction) of each reading, as a latent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from shiftless.backbones.base import Backbone
from shiftless.backbones.walk import finish as denoise_to_the_end
from shiftless.conditions.condition import take
from shiftless.image import Frame, Photo
from shiftless.reading.answer import answered, taps_of, taps_read
from shiftless.reading.inputs import Inputs, frames_of
from shiftless.reading.latents import Latents
from shiftless.reading.loop import check, recipes_of_passes, run_passes, windows
from shiftless.reading.words import Fill, check_predicts
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model predicts in one reading of one photo.

    clean     1 c h w float32, the photo's own clean latent
    once      1 c h w float32, the clean latent predicted in one step (DDPM, Ho et al. 2020, eq. 15) at the very point
              where features are read, after the walk if there is one
    finished  1 c h w float32, the latent after denoising from there to the end; None if it was not requested
    maps      tap name -> 1 C H W, the features read in the same call; empty if they were not requested
    frame     maps between the photo's pixels and those that the model is fed
    prompt    the text that it was read with
    """

    clean: torch.Tensor
    once: torch.Tensor
    finished: torch.Tensor | None
    maps: dict[str, torch.Tensor]
    photo: Photo
    frame: Frame
    prompt: str


def predictions(
    model: Backbone,
    images: Iterable[Any],
    recipes: Sequence[Recipe],
    *,
    fill: Fill | None = None,
    batch: int | None = None,
    finish: int | Sequence[int] = 0,
    maps: bool = False,
    skipped: list[str] | None = None,
) -> Iterator[list[Prediction]]:
    """Yield the predictions of each image in order: a list over recipes.

    finish  the number of steps in which to denoise to the end, for all recipes or one each; 0 leaves it out
    maps    keep the features of the recipes' taps too

    Predictions and features of an ensemble are means over its noise draws, as in `shiftless.stream`. Memory is that
    of `batch` images; the other arguments and errors are those of `shiftless.stream`.

    >>> from shiftless.backbones.registry import load
    >>> import numpy as np
    >>> picture = np.zeros((64, 64, 3), np.uint8)
    >>> steered = Recipe(control="canny", start=60, steps=2)
    >>> plain, walked = next(predictions(load("twin:sd15"), [picture], [Recipe(), steered], finish=(0, 3), maps=True))
    >>> plain.once.shape, plain.finished, walked.finished.shape, list(walked.maps)
    (torch.Size([1, 4, 16, 16]), None, torch.Size([1, 4, 16, 16]), ['up1'])
    """
    check_predicts(model, recipes)
    batch = check(model, recipes, batch)
    tap_lists = [taps_of(recipe, model.taps, model.spec.name) if maps else () for recipe in recipes]
    steps = [finish] * len(recipes) if isinstance(finish, int) else list(finish)
    for inputs, prompts in windows(model, images, recipes, fill=fill, batch=batch, skipped=skipped):
        by_reading = _window(model, inputs, recipes, prompts, tap_lists, steps, batch)
        yield from ([by_reading[i, k] for k in range(len(recipes))] for i in range(len(inputs)))


def predict_latents(
    model: Backbone,
    images: Sequence[Any],
    recipes: Sequence[Recipe],
    *,
    fill: Fill | None = None,
    batch: int | None = None,
) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
    """Return each image's clean latent, and the clean latent predicted in each recipe's reading.

    Both are float32, 1 c h w: a list over images, and for each image a list over recipes; as in `predictions`.
    """
    per_image = list(predictions(model, images, recipes, fill=fill, batch=batch))
    return [one[0].clean for one in per_image], [[prediction.once for prediction in one] for one in per_image]


def _window(
    model: Backbone,
    inputs: Sequence[Inputs],
    recipes: Sequence[Recipe],
    prompts: Sequence[Sequence[str]],
    tap_lists: Sequence[tuple[Tap, ...]],
    steps: Sequence[int],
    batch: int,
) -> dict[tuple[int, int], Prediction]:
    """The predictions of a window of photos, by (photo, recipe)."""
    photos = [one.photo for one in inputs]
    frames = frames_of(model, photos, recipes)
    latents, requested = Latents(model, inputs), recipes_of_passes(recipes, prompts, frames)
    read_at = [taps_read(recipe, taps) for recipe, taps in zip(recipes, tap_lists)]
    joined: dict[tuple[int, int], Prediction] = {}
    for rows, condition, noisy, timestep, read in run_passes(model, latents, requested, read_at, batch, full=True):
        assert read.prediction is not None
        once = model.predict_clean(noisy.to(read.prediction.device), read.prediction, timestep)
        ends: dict[tuple[int, int], torch.Tensor] = {}
        for count in {steps[k] for one in rows for k in requested[one] if steps[k]}:
            some = [row for row, one in enumerate(rows) if any(steps[k] == count for k in requested[one])]
            end = denoise_to_the_end(model, noisy[some], timestep, count, take(condition, some))
            ends |= {(row, count): end[i : i + 1].float().cpu() for i, row in enumerate(some)}
        for row, one in enumerate(rows):
            for k in requested[one]:
                part = Prediction(
                    latents.clean(one).float().cpu(),
                    once[row : row + 1].float().cpu(),
                    ends.get((row, steps[k])),
                    {tap.name: read.maps[tap.name][row : row + 1].float().cpu() for tap in read_at[k]},
                    photos[one.photo],
                    frames[one.photo][k],
                    prompts[k][one.photo],
                )
                joined[one.photo, k] = _joined(joined.get((one.photo, k)), part, recipes[k])
    return {
        (i, k): replace(one, maps=answered(recipes[k], tap_lists[k], one.maps, one.photo.name))
        for (i, k), one in joined.items()
    }


def _joined(total: Prediction | None, part: Prediction, recipe: Recipe) -> Prediction:
    """Add one noise draw of an ensemble to those before it, each with its share of the mean."""
    count = recipe.ensemble
    if count == 1:
        return part
    part = replace(
        part,
        clean=part.clean if recipe.latent != "sample" else part.clean / count,
        once=part.once / count,
        finished=None if part.finished is None else part.finished / count,
        maps={name: one / count for name, one in part.maps.items()},
    )
    if total is None:
        return part
    return replace(
        part,
        clean=part.clean if recipe.latent != "sample" else total.clean + part.clean,
        once=total.once + part.once,
        finished=None if part.finished is None or total.finished is None else total.finished + part.finished,
        maps={name: total.maps[name] + one for name, one in part.maps.items()},
    )
