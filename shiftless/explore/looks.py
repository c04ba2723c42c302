"""Looks: the features of photos as colours, by any tap and at any timestep."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from shiftless.errors import BadInput
from shiftless.explore.readings import Readings, Recipes
from shiftless.explore.worker import Job, Step, Steps
from shiftless.reading.loop import check
from shiftless.recipe import Recipe
from shiftless.view.pca import pca_rgb


@dataclass(frozen=True)
class Look:
    """A request: the first three principal components of one tap, in colours that the photos share.

    tap       the name of any tap of the model; "" takes the first of the column's recipe
    timestep  None takes the recipe's own
    """

    photos: tuple[int, ...]
    column: int
    tap: str = ""
    timestep: int | None = None


def recipes_of(readings: Readings, look: Look) -> Recipes:
    """Return what is read for a look: the column's first recipe at that tap and timestep.

    Raises BadInput for a tap that the model does not have, and for a timestep out of range or above the recipe's start.
    """
    recipe: Recipe = readings.column(look.column).recipes[0]
    if look.tap:
        recipe = recipe.but(taps=(look.tap,))
    if look.timestep is not None:
        recipe = recipe.but(timestep=look.timestep)
    check(readings.model, [recipe], None)
    return (recipe,)


def look_at(readings: Readings, look: Look, job: Job) -> Steps:
    """Read what is not in memory, and return a picture H W 3 uint8 for each photo, on the tap's own grid."""
    if not look.photos:
        raise BadInput("no photo is chosen; choose at least one")
    recipes = recipes_of(readings, look)
    maps = []
    for done, photo in enumerate(look.photos, 1):
        reading = readings.read(photo, recipes, job.check).bucket[0]
        maps.append(reading[next(iter(reading))])
        yield Step(done, len(look.photos), "reading")
    return [_shrunk(picture, readings.album.limits.side) for picture in pca_rgb(maps)]


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    h, w = picture.shape[:2]
    scale = min(1.0, side / max(h, w))
    if scale == 1:
        return picture
    size = max(1, round(w * scale)), max(1, round(h * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
