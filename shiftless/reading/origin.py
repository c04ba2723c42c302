"""Origins: what a model's readings are made from, by the digests of its weights and of every adapter's contents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from shiftless.backbones.base import Backbone, steerable, with_tiny_encoder
from shiftless.conditions.template import CAPTION, fields_of
from shiftless.errors import BadInput
from shiftless.header import Origin
from shiftless.image import Photo
from shiftless.reading.words import Fill, values_of
from shiftless.recipe import Recipe

_DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def origin_of(model: Backbone, recipe: Recipe, fingerprint: str | None = None) -> Origin:
    """Return the origin of what a recipe reads now, without the photo.

    fingerprint  the model's, where the caller has just taken it

    Contents are digested once and looked up afterwards. Raises BadInput for an adapter that is missing.

    >>> from shiftless.backbones.registry import load
    >>> origin_of(load("twin:sd15", dtype="bf16"), Recipe(control="canny")).adapters[0][0]
    'control canny'
    """
    kinds = ("lora", "control", "image_prompt", "textual_inversion")
    named = [(kind, name) for kind in kinds for name in getattr(recipe, kind)]
    if CAPTION in fields_of(recipe.prompt) and "prompt" in model.spec.techniques:
        named.append(("captioner", recipe.captioner))
    adapters = {}
    for technique, name in named:
        steered = steerable(model, "prompt" if technique == "captioner" else technique)
        try:
            adapters[f"{technique} {name}".rstrip()] = steered.digest(technique, name)
        except BadInput:
            if technique != "captioner":  # the caller may give captions; if not, reading raises
                raise
    if recipe.encoder:
        adapters[f"encoder {recipe.encoder}"] = with_tiny_encoder(model).digest("encoder", recipe.encoder)
    dtype = _DTYPES.get(model.dtype, str(model.dtype).removeprefix("torch."))
    weights = model.fingerprint if fingerprint is None else fingerprint
    return Origin("", model.spec.name, weights, tuple(adapters.items()), dtype)


def origins_of(model: Backbone, recipes: Sequence[Recipe]) -> list[Origin]:
    """Return the origin of what each recipe reads now."""
    fingerprint = model.fingerprint  # samples of every tensor of the model, which is worth doing once
    return [origin_of(model, recipe, fingerprint) for recipe in recipes]


def of_photo(origin: Origin, photo: Photo, given: Fill | None) -> Origin:
    """Return the origin of one photo's features; a captioner has no part in it where the caller gave the caption."""
    adapters = origin.adapters
    if any(what.startswith("captioner") for what, _ in adapters) and CAPTION in values_of(photo, given):
        adapters = tuple((what, digest) for what, digest in adapters if not what.startswith("captioner"))
    return replace(origin, photo=photo.digest, adapters=adapters)


def check_unchanged(model: Backbone, recipes: Sequence[Recipe], origins: Sequence[Origin]) -> None:
    """Raise BadInput if the model's weights or an adapter's contents changed since the origins were taken."""
    for before, after in zip(origins, origins_of(model, recipes), strict=True):
        if conflict := before.conflict(after):
            raise BadInput(f"{model.spec.name} changed while photos were read: {conflict}; read them again")
