"""Looks: the features of photos as colours, by any tap and at any timestep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from shiftless.errors import BadInput
from shiftless.explore.clicks import quantised
from shiftless.explore.readings import Readings, Recipes
from shiftless.explore.segments import clustered, cut
from shiftless.explore.worker import Job, Step, Steps
from shiftless.reading.loop import check
from shiftless.recipe import Recipe
from shiftless.taps.attention import word_columns
from shiftless.view.pca import pca_rgb


@dataclass(frozen=True)
class Look:
    """A request: the first three principal components of one tap, in colours that the photos share.

    tap       the name of any tap of the model; "" takes the first of the column's recipe
    timestep  None takes the recipe's own
    word      of the prompt: its attention is shown in place of the colours; the tap must be a cross-attention map
    segments  how many segments of k-means are shown in place of the colours, 0 for none
    cuts      whether each photo's own segments, by normalised cuts, are shown in place of the colours
    """

    photos: tuple[int, ...]
    column: int
    tap: str = ""
    timestep: int | None = None
    word: str = ""
    segments: int = 0
    cuts: bool = False


@dataclass(frozen=True, eq=False)
class Looked:
    """What is shown of one photo, on the tap's own grid.

    picture  H W 3 uint8; or H W uint8, how much attention a word gets, 0 to 255
    words    of the prompt, where the tap is a cross-attention map
    """

    picture: np.ndarray
    words: tuple[str, ...] = ()


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
    """Read what is not in memory, and return a Looked for each photo.

    Raises BadInput for a word that a photo's prompt does not hold, and for one where the tap is no cross-attention map.
    """
    if not look.photos:
        raise BadInput("no photo is chosen; choose at least one")
    recipes = recipes_of(readings, look)
    maps, words, heats = [], [], []
    for done, photo in enumerate(look.photos, 1):
        reading = readings.read(photo, recipes, job.check).bucket[0]
        maps.append(reading[next(iter(reading))])
        tokens = reading.words if len(reading.words) == maps[-1].shape[1] else ()
        words.append(words_of(tokens))
        if look.word:
            if not tokens:
                raise BadInput(
                    f"{next(iter(reading))}: no map of a prompt's words; choose a tap that ends in cross.map"
                )
            columns = word_columns(tokens, look.word)
            heats.append(quantised(maps[-1][0, columns].float().mean(0).cpu().numpy())[0])
        yield Step(done, len(look.photos), "reading")
    pictures = heats or pca_rgb(maps)
    if look.cuts and not heats:
        pictures = [cut(one, picture) for one, picture in zip(maps, pictures)]
    elif look.segments and not heats:
        pictures = clustered(maps, pictures, look.segments)
    side = readings.album.limits.side
    return [Looked(_shrunk(picture, side), here) for picture, here in zip(pictures, words)]


def words_of(tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a prompt, each once, from its tokens; one that ends a word ends with a space.

    >>> words_of(["", "a ", "gir", "affe ", "and ", "a ", "horse ", ""])
    ('a', 'giraffe', 'and', 'horse')
    """
    words, text = [], ""
    for piece in (*tokens, ""):
        text += piece
        if not piece or piece.endswith(" "):
            words.append(text.strip())
            text = ""
    return tuple(dict.fromkeys(word for word in words if word))


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    h, w = picture.shape[:2]
    scale = min(1.0, side / max(h, w))
    if scale == 1:
        return picture
    size = max(1, round(w * scale)), max(1, round(h * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
