"""What the model believes: the clean latent that each reading's noisy one makes it predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from shiftless.backbones.base import Backbone
from shiftless.image import open_photo
from shiftless.reading.latents import Latents
from shiftless.reading.loop import Wanted, frame_of, run_passes
from shiftless.reading.passes import passes_of
from shiftless.reading.words import Fill, check_techniques, prompts_of
from shiftless.recipe import Recipe


def believe(
    model: Backbone, images: Sequence[Any], recipes: Sequence[Recipe], *, fill: Fill | None = None, batch: int = 8
) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
    """Return each image's clean latent, and what each recipe's reading makes the model believe in its place.

    Both are float32, 1 c h w: a list over images, and for each image a list over recipes. The belief is the one-step
    prediction (DDPM, Ho et al. 2020, eq. 15) at the very point where features are read, after the walk if there is
    one, so that its distance from the clean latent is that reading's content shift. An ensemble's first draw counts.
    Arguments and errors as in `shiftless.extract`.

    >>> from shiftless.backbones.registry import load
    >>> import numpy as np
    >>> picture = np.zeros((64, 64, 3), np.uint8)
    >>> clean, found = believe(load("twin:sd15"), [picture], [Recipe(), Recipe(control="canny", start=60, steps=2)])
    >>> clean[0].shape, len(found[0])
    (torch.Size([1, 4, 16, 16]), 2)
    """
    check_techniques(model, recipes)
    clean: list[torch.Tensor] = []
    found: list[list[torch.Tensor]] = []
    for first in range(0, len(images), batch):
        photos = [open_photo(image) for image in images[first : first + batch]]
        prompts = [prompts_of(model, photos, recipe, fill) for recipe in recipes]
        latents = Latents(model, photos)
        asked: Wanted = {}
        for k, recipe in enumerate(recipes):
            for i, photo in enumerate(photos):
                one = passes_of(i, recipe, prompts[k][i], frame_of(model, photo, recipe).fed)[0]
                asked.setdefault(one, []).append(k)
        beliefs: dict[tuple[int, int], torch.Tensor] = {}
        truths: dict[int, torch.Tensor] = {}
        for rows, _, noisy, timestep, read in run_passes(model, latents, asked, [()] * len(recipes), batch):
            assert read.prediction is not None
            predicted = model.predict_clean(noisy.to(read.prediction.device), read.prediction, timestep)
            for row, one in enumerate(rows):
                truths[one.photo] = latents.clean(one).float().cpu()
                for k in asked[one]:
                    beliefs[one.photo, k] = predicted[row : row + 1].float().cpu()
        clean += [truths[i] for i in range(len(photos))]
        found += [[beliefs[i, k] for k in range(len(recipes))] for i in range(len(photos))]
    return clean, found
