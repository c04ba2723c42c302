"""The two functions that users call: extract, all at once, and stream, one image after another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, overload

import torch

from shiftless.backbones.base import Backbone
from shiftless.backbones.device import DTYPES
from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.presets import default_recipe
from shiftless.reading.finite import warned
from shiftless.reading.images import OneImage, SeveralImages, images_in
from shiftless.reading.loop import buckets, check
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe

Model: TypeAlias = Backbone | str | os.PathLike[str]
Dtype: TypeAlias = str | torch.dtype | None


@overload
def extract(
    model: Model, images: OneImage, recipes: Recipe | None = None,
    *, fill: Fill | None = None, batch: int | None = None, dtype: Dtype = "fp32",
) -> FeatureMaps: ...  # fmt: skip
@overload
def extract(
    model: Model, images: OneImage, recipes: Sequence[Recipe],
    *, fill: Fill | None = None, batch: int | None = None, dtype: Dtype = "fp32",
) -> Bucket: ...  # fmt: skip
@overload
def extract(
    model: Model, images: SeveralImages, recipes: Recipe | None = None,
    *, fill: Fill | None = None, batch: int | None = None, dtype: Dtype = "fp32",
) -> list[FeatureMaps]: ...  # fmt: skip
@overload
def extract(
    model: Model, images: SeveralImages, recipes: Sequence[Recipe],
    *, fill: Fill | None = None, batch: int | None = None, dtype: Dtype = "fp32",
) -> list[Bucket]: ...  # fmt: skip
@overload
def extract(
    model: Model, images: Any, recipes: Any = None,
    *, fill: Fill | None = None, batch: int | None = None, dtype: Dtype = "fp32",
) -> Any: ...  # fmt: skip
def extract(
    model: Model,
    images: Any,
    recipes: Recipe | Sequence[Recipe] | None = None,
    *,
    fill: Fill | None = None,
    batch: int | None = None,
    dtype: Dtype = "fp32",
) -> Any:
    """Read features of images by recipes.

    model    a loaded model, or a name that `shiftless.load` takes: it is then loaded for this call alone
    images   one image: a path, a PIL image, an array H W 3 or a tensor 3 H W; or several: a list, a generator, an
             array B H W 3 or a tensor B 3 H W (B = 1 included)
    recipes  one Recipe or a list of K; the model's own default (`shiftless.presets.default_recipe`) if none is given
    fill     values for the fields of prompts ({"category": "horse"}), or a function Photo -> a photo's own values
    batch    how many noisy latents the denoiser sees at once; by default as many as the device's memory allows
    dtype    of the maps that come out: "fp32", "fp16", "bf16", a torch dtype, or None for what the model computes in

    One image and one recipe give a FeatureMaps; several images a list of them; a list of recipes gives a Bucket
    of K FeatureMaps in the place of each FeatureMaps. The noise of an image depends on its content, the recipe's
    seed and the ensemble index, so the answer does not depend on what else is in the batch. What K recipes share is
    done once: the latent, prompts, captions, edge maps, and whole passes that differ in their taps only.

    float32 maps open in NumPy whatever the model computes in, and hold the same numbers; a large bucket of a model in
    half precision takes half the memory with dtype=None.

    Raises BadInput for an image that cannot be read, a tap that the model does not have, a ControlNet, LoRA or
    captioner that is missing or does not fit, a prompt's field without a value; the model is as it was afterwards.

    >>> from shiftless.backbones.registry import load
    >>> import numpy as np
    >>> picture = np.zeros((90, 120, 3), np.uint8)
    >>> extract(load("twin:sd15"), picture, Recipe(taps=("up1", "up2")))
    FeatureMaps(image, 120x90 pixels read as 128x128: up1 64x8x8 stride 16 · up2 64x16x16 stride 8)
    >>> [maps["up0"].numpy().dtype for maps in extract("mini", np.stack([picture, picture]))]
    [dtype('float32'), dtype('float32')]
    """
    several, pictures = images_in(images)
    features = list(stream(model, pictures, recipes, fill=fill, batch=batch, dtype=dtype))
    return features if several else features[0]


@overload
def stream(
    model: Model, images: Any, recipes: Recipe | None = None,
    *, fill: Fill | None = None, batch: int | None = None, dtype: Dtype = "fp32", skipped: list[str] | None = None,
) -> Iterator[FeatureMaps]: ...  # fmt: skip
@overload
def stream(
    model: Model, images: Any, recipes: Sequence[Recipe],
    *, fill: Fill | None = None, batch: int | None = None, dtype: Dtype = "fp32", skipped: list[str] | None = None,
) -> Iterator[Bucket]: ...  # fmt: skip
def stream(
    model: Model,
    images: Any,
    recipes: Recipe | Sequence[Recipe] | None = None,
    *,
    fill: Fill | None = None,
    batch: int | None = None,
    dtype: Dtype = "fp32",
    skipped: list[str] | None = None,
) -> Any:
    """Yield what `extract` gives, one image after another, in order, with the memory of one batch.

    Arguments and errors are those of `extract`; recipes, taps and adapters are checked by the call itself, before the
    first image is opened. With a list of recipes each item is a Bucket, with one Recipe a FeatureMaps.

    skipped  if given, an image that cannot be read is left out and its message is added here instead of raised

    >>> pictures = (torch.zeros(3, 64, 64) for _ in range(3))
    >>> [maps["up1"].shape for maps in stream("twin:sd15", pictures, batch=2)]
    [torch.Size([1, 64, 8, 8]), torch.Size([1, 64, 8, 8]), torch.Size([1, 64, 8, 8])]
    """
    out = choose_output(dtype)
    loaded = _loaded(model)
    chosen = _chosen(loaded, recipes)
    rows = check(loaded, chosen, batch)
    _, pictures = images_in(images)
    bucket_stream = warned(buckets(loaded, pictures, chosen, fill=fill, batch=rows, dtype=out, skipped=skipped))
    return (bucket[0] for bucket in bucket_stream) if recipes is None or isinstance(recipes, Recipe) else bucket_stream


def _loaded(model: Model) -> Backbone:
    if not isinstance(model, (str, os.PathLike)):
        return model
    from shiftless.backbones.registry import load

    return load(model)


def _chosen(model: Backbone, recipes: Recipe | Sequence[Recipe] | None) -> list[Recipe]:
    if recipes is None:
        return [default_recipe(model.spec.name, model.spec.family)]
    if isinstance(recipes, Recipe):
        return [recipes]
    chosen = list(recipes) if isinstance(recipes, Sequence) else [recipes]
    for one in [recipes] if isinstance(recipes, str) else chosen:
        if not isinstance(one, Recipe):
            raise BadInput(f"recipes: {one!r} is not a Recipe; give one, a list of them, or preset(NAME).recipes")
    return chosen


def choose_output(dtype: Dtype) -> torch.dtype | None:
    """Return the dtype that maps come out in, None for what the model computes in; raises BadInput for others.

    >>> choose_output("fp16"), choose_output(None)
    (torch.float16, None)
    """
    if dtype is None or (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        return dtype
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise BadInput(f"dtype={dtype!r}: must be {', '.join(DTYPES)}, a torch dtype of floating point, or None")
    return DTYPES[dtype]
