"""Keys: the name of a file of features, made of everything that the features depend on."""

from __future__ import annotations

from typing import Any

from shiftless.conditions.template import CAPTION, template
from shiftless.conditions.template import fill as fill_in
from shiftless.digest import digest_of
from shiftless.header import Origin
from shiftless.image import Photo
from shiftless.reading.words import Fill, values_of
from shiftless.recipe import Recipe

RULES = 1
"""Raised when what a recipe reads changes, so that features read by older rules are not reused."""
LENGTH = 16
"""Hexadecimal digits of a key: 64 bits."""


def key_of(origin: Origin, recipe: Recipe, fed: tuple[int, int], words: str, dtype: str) -> str:
    """Return the key of a file of features.

    origin  the digests of photo, model and adapters, the model's dtype, and how many cells were averaged
    recipe  how it is read; its paths and names take no part, the contents that they stand for do
    fed     (h, w) in pixels at which the model sees the photo
    words   the prompt, as `words_of` gives it
    dtype   in which the maps are saved

    >>> one, other = (Origin(photo="1f", fingerprint=weights) for weights in ("2e", "3d"))
    >>> key_of(one, Recipe(), (64, 64), "", "fp16") == key_of(other, Recipe(), (64, 64), "", "fp16")
    False
    """
    replaced = (
        "label",
        "prompt",
        "captioner",
        "size",
        "lora",
        "control",
        "image_prompt",
        "textual_inversion",
        "encoder",
    )
    fields = {name: value for name, value in recipe.to_dict().items() if name not in replaced}
    counts: list[Any] = [len(recipe.lora), len(recipe.control)]
    counts += [len(recipe.image_prompt)] if recipe.image_prompt else []
    counts += ["words", len(recipe.textual_inversion)] if recipe.textual_inversion else []
    counts += ["encoder"] if recipe.encoder else []
    made_of = [origin.photo, origin.fingerprint, [digest for _, digest in origin.adapters], origin.dtype, origin.pool]
    return digest_of(RULES, made_of, fields, counts, list(fed), words, dtype)[:LENGTH]


def words_of(recipe: Recipe, photo: Photo, given: Fill | None) -> str:
    """Return a photo's prompt as far as it is known before reading: a captioner's field is left unfilled.

    What it will write is a function of the photo and of the captioner, whose digest stands among the adapters. Raises
    BadInput for a field that has no value.

    >>> import numpy as np
    >>> photo = Photo(np.zeros((8, 8, 3), np.uint8), "a.png", "1f")
    >>> words_of(Recipe(prompt="a {category}, {caption}"), photo, {"category": "cow"})
    'a cow, {caption}'
    """
    values = {CAPTION: template("auto"), **values_of(photo, given)}
    return fill_in(recipe.prompt, values, photo.name)
