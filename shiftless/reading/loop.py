"""The loop itself: windows of photos, passes of the denoiser, maps back to their recipes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from shiftless.backbones.base import Backbone, Reading, steerable, with_tiny_encoder
from shiftless.backbones.batch import default_batch
from shiftless.backbones.memory import kept_memory
from shiftless.backbones.walk import continued, invert, reference_walk, strides_left, walk
from shiftless.conditions.condition import IMAGE_PROMPT, Condition, join, take
from shiftless.conditions.template import fields_of
from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Frame
from shiftless.noise import reference_timestep
from shiftless.reading.answer import answered, taps_of, taps_read
from shiftless.reading.inputs import Inputs, frames_of, inputs_of
from shiftless.reading.latents import Latents
from shiftless.reading.mirrored import mirror_sum, with_mirrored
from shiftless.reading.origin import check_unchanged, of_photo, origins_of
from shiftless.reading.passes import Pass, controls_of, effective, image_prompts_of, loras_of, passes_of, union
from shiftless.reading.words import Fill, check_named, check_techniques, prompts_of
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap

RecipesOfPass = dict[Pass, list[int]]  # a pass -> which of the K recipes read from it
PassResult = tuple[list[Pass], Condition, torch.Tensor, int, Reading]
InversionCache = dict[tuple[Pass, float], tuple[int, torch.Tensor]]  # (pass, stride) -> (timestep, latent)


def buckets(
    model: Backbone,
    images: Iterable[Any],
    recipes: Sequence[Recipe],
    *,
    fill: Fill | None = None,
    batch: int,
    dtype: torch.dtype | None = None,
    skipped: list[str] | None = None,
) -> Iterator[Bucket]:
    """Yield the Bucket of each image, in order, with the memory of one batch; arguments as in `shiftless.stream`.

    Raises BadInput as `shiftless.extract` does; `check` is left to the caller.
    """
    tap_lists = [taps_of(recipe, model.taps, model.spec.name) for recipe in recipes]
    for inputs, prompts in windows(model, images, recipes, fill=fill, batch=batch, skipped=skipped):
        yield from _read_window(model, inputs, recipes, prompts, tap_lists, batch, dtype, fill)


def check(model: Backbone, recipes: Sequence[Recipe], batch: int | None) -> int:
    """Raise BadInput for a recipe that the model cannot be read by, before any photo is opened; return the batch."""
    if batch is not None and batch < 1:
        raise BadInput(f"batch={batch}: give a whole number from 1 up")
    if not recipes:
        raise BadInput("no recipe was given; give at least one Recipe")
    check_techniques(model, recipes)
    for recipe in recipes:
        taps_of(recipe, model.taps, model.spec.name)
    for name in dict.fromkeys(name for recipe in recipes for name in recipe.control):
        steerable(model, "control").control(name)
    for loras in dict.fromkeys(loras_of(recipe) for recipe in recipes if recipe.lora):
        with steerable(model, "lora").adapted(loras):  # read, and fitted to the model's layers
            pass
    for name in dict.fromkeys(name for recipe in recipes for name in recipe.image_prompt):
        steerable(model, "image_prompt").image_prompt(name)
    for name in dict.fromkeys(recipe.encoder for recipe in recipes if recipe.encoder):
        with_tiny_encoder(model).tiny_encoder(name)
    for recipe in recipes:
        if recipe.textual_inversion:
            with steerable(model, "textual_inversion").worded(recipe.textual_inversion):  # no two of one name
                pass
            if not fields_of(recipe.prompt):
                check_named(model, recipe, recipe.prompt)
    if batch is not None:
        return batch
    return default_batch(model.device, model.dtype, max(recipe.size or model.spec.size for recipe in recipes))


class WindowEnd:
    """An item among images at which a window ends, full or not: photos behind it share no batch with those before."""


WINDOW_END = WindowEnd()


def windows(
    model: Backbone,
    images: Iterable[Any],
    recipes: Sequence[Recipe],
    *,
    fill: Fill | None,
    batch: int,
    skipped: list[str] | None,
) -> Iterator[tuple[list[Inputs], list[list[str]]]]:
    """Open photos, `batch` at a time, and write their prompts: for each recipe a list with one for each photo.

    images   WINDOW_END among them ends a window early
    skipped  if given, a photo that cannot be read or given its prompts is left out, and its message added here
    """
    for window in _cut(images, batch):
        inputs = []
        for image in window:
            try:
                inputs.append(inputs_of(image, model.device))
            except BadInput as error:
                if skipped is None:
                    raise
                skipped.append(str(error))
        yield _prompts(model, inputs, recipes, fill, skipped)


def _cut(images: Iterable[Any], batch: int) -> Iterator[list[Any]]:
    """The images of each window; no image is taken before those of the last window were used."""
    window: list[Any] = []
    for image in images:
        if image is not WINDOW_END:
            window.append(image)
        if len(window) == batch or (image is WINDOW_END and window):
            yield window
            window = []
    if window:
        yield window


def _prompts(
    model: Backbone, inputs: list[Inputs], recipes: Sequence[Recipe], fill: Fill | None, skipped: list[str] | None
) -> tuple[list[Inputs], list[list[str]]]:
    """The photos for which every recipe's prompt could be written, and those prompts by recipe."""
    try:
        photos = [one.photo for one in inputs]
        return inputs, [prompts_of(model, photos, recipe, fill) for recipe in recipes]
    except BadInput:
        if skipped is None:
            raise
    kept: list[Inputs] = []
    columns: list[list[str]] = []
    for one in inputs:
        try:
            columns.append([prompts_of(model, [one.photo], recipe, fill)[0] for recipe in recipes])
            kept.append(one)
        except BadInput as error:
            skipped.append(str(error))
    return kept, [[column[k] for column in columns] for k in range(len(recipes))]


def _read_window(
    model: Backbone,
    inputs: Sequence[Inputs],
    recipes: Sequence[Recipe],
    prompts: Sequence[Sequence[str]],
    tap_lists: Sequence[tuple[Tap, ...]],
    batch: int,
    dtype: torch.dtype | None,
    fill: Fill | None,
) -> list[Bucket]:
    """Read every (photo, recipe): encode once, then send equal passes through the denoiser together."""
    n = len(inputs)
    inputs, prompts, readers = with_mirrored(inputs, prompts, recipes)
    photos = [one.photo for one in inputs]
    frames = frames_of(model, photos, recipes)
    latents, run = Latents(model, inputs), [effective(recipe, model.spec) for recipe in recipes]
    requested = recipes_of_passes(run, prompts, frames, readers)
    read_at = [taps_read(recipe, taps) for recipe, taps in zip(recipes, tap_lists)]
    totals: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
    words: dict[tuple[int, int], tuple[str, ...]] = {}
    origins = origins_of(model, recipes)
    for rows, condition, _, _, read in run_passes(model, latents, requested, read_at, batch):
        maps = {name: value.cpu() for name, value in read.maps.items()}  # features leave the device as they are made
        for row, one in enumerate(rows):
            for k in requested[one]:
                key = (one.photo, k)
                words[key] = condition.words[row] if condition.words else ()
                _add(totals.setdefault(key, {}), maps, read_at[k], row, run[k].ensemble)
    check_unchanged(model, recipes, origins)
    answers = {(i, k): answered(recipes[k], tap_lists[k], mean, photos[i].name) for (i, k), mean in totals.items()}
    for i, k in [key for key in answers if key[0] >= n]:
        turned = answers[i, k]
        answers[i - n, k] = {tap: mirror_sum(value, turned[tap]) for tap, value in answers[i - n, k].items()}
    return [
        Bucket(
            tuple(
                FeatureMaps(
                    {name: value.to(dtype=dtype) for name, value in answers[i, k].items()},
                    {tap.name: tap for tap in tap_lists[k]},
                    frames[i][k],
                    recipe,
                    photo.name,
                    words[i, k],
                    prompts[k][i],
                    of_photo(origins[k], photo, fill),
                )
                for k, recipe in enumerate(recipes)
            )
        )
        for i, photo in enumerate(photos[:n])
    ]


def recipes_of_passes(
    recipes: Sequence[Recipe],
    prompts: Sequence[Sequence[str]],
    frames: Sequence[Sequence[Frame]],
    readers: Sequence[Sequence[int]] | None = None,
) -> RecipesOfPass:
    """List the passes that recipes need of photos and which of them read from each.

    readers  for each photo the numbers of the recipes that read it; by default all do
    """
    requested: RecipesOfPass = {}
    for k, recipe in enumerate(recipes):
        for i, frame in enumerate(frames):
            if readers is not None and k not in readers[i]:
                continue
            for one in passes_of(i, recipe, prompts[k][i], frame[k].fed):
                requested.setdefault(one, []).append(k)
    return requested


def run_passes(
    model: Backbone,
    latents: Latents,
    requested: RecipesOfPass,
    tap_lists: Sequence[tuple[Tap, ...]],
    batch: int,
    full: bool = False,
) -> Iterator[PassResult]:
    """Run passes in batches of one kind: yield (passes, their condition, noisy latents B c h w, timestep, reading).

    Passes with the same LoRAs and image prompts run together while these are in place; `full` keeps the
    prediction beside the taps' maps.
    """
    for fed in dict.fromkeys(one.fed for one in requested):
        with kept_memory(model.device):  # a pool of its own: the denoiser's tensors have other sizes
            latents.encode([one for one in requested if one.fed == fed])
    by_adapters: dict[Any, RecipesOfPass] = {}
    for one, readers in requested.items():
        by_adapters.setdefault((loras_of(one.recipe), image_prompts_of(one.recipe)), {})[one] = readers
    for (loras, images), part in by_adapters.items():
        with (
            steerable(model, "lora").adapted(loras) if loras else nullcontext(),
            steerable(model, "image_prompt").image_prompted(images) if images else nullcontext(),
        ):
            yield from _run(model, latents, part, tap_lists, batch, full)


def _run(
    model: Backbone,
    latents: Latents,
    requested: RecipesOfPass,
    tap_lists: Sequence[tuple[Tap, ...]],
    batch: int,
    full: bool,
) -> Iterator[PassResult]:
    """Run passes whose LoRAs are injected."""
    texts = {one: _text_of(model, one) for one in requested}
    groups: dict[Any, list[Pass]] = {}
    for one, readers in requested.items():
        r = one.recipe
        taps = union(tap_lists[k] for k in readers)
        length = 0 if (embeds := texts[one].embeds) is None else embeds.shape[1]
        key = (one.fed, r.timestep, r.start, r.steps, r.noise, r.scheduler, controls_of(r), r.inpaint, length, taps)
        groups.setdefault(key, []).append(one)
    inverted: InversionCache = {}
    for (*_, taps), group in sorted(groups.items(), key=lambda item: item[0][1]):
        for first in range(0, len(group), batch):
            rows = group[first : first + batch]
            condition = join([_steered(latents, one, texts[one]) for one in rows])
            with kept_memory(model.device):
                noisy, timestep = _brought_to(model, latents, rows, condition, inverted)
                read = model.denoise(noisy, timestep, condition, taps, full=full)
            yield rows, condition, noisy, timestep, read


def _text_of(model: Backbone, one: Pass) -> Condition:
    """The prompt of a pass, encoded; the model keeps each prompt that it has encoded."""
    words = one.recipe.textual_inversion
    with steerable(model, "textual_inversion").worded(words) if words else nullcontext():
        return model.encode_prompt([one.prompt], size=one.fed)


def _steered(latents: Latents, one: Pass, text: Condition) -> Condition:
    steers = tuple(latents.steer(one, name, scale) for name, scale in controls_of(one.recipe))
    images = {f"{IMAGE_PROMPT}{i}": latents.image_prompt(one, name) for i, name in enumerate(one.recipe.image_prompt)}
    return Condition(
        text.embeds, text.words, {**text.extra, **images, **latents.mask(one), **latents.seen(one)}, steers
    )


def _brought_to(
    model: Backbone, latents: Latents, rows: Sequence[Pass], condition: Condition, inverted: InversionCache
) -> tuple[torch.Tensor, int]:
    """The noisy latents B c h w that are read, and the timestep that they are read at."""
    recipe = rows[0].recipe
    if recipe.noise == "invert":
        return _inverted(model, latents, rows, condition, inverted), recipe.timestep
    reference = recipe.scheduler == "pndm-reference"
    first = recipe.timestep if recipe.start is None else recipe.start
    first = reference_timestep(first) if reference else first
    noisy = torch.cat([latents.noisy(one, first) for one in rows])
    if recipe.start is None:
        return noisy, first
    if reference:
        return reference_walk(model, noisy, recipe.start, recipe.timestep, condition), recipe.timestep
    return walk(model, noisy, recipe.start, recipe.timestep, recipe.steps, condition), recipe.timestep


def _inverted(
    model: Backbone, latents: Latents, rows: Sequence[Pass], condition: Condition, inverted: InversionCache
) -> torch.Tensor:
    """Latents inverted to their timestep, continued from the latest cached latent of the same inversion."""
    timestep = rows[0].recipe.timestep
    if timestep == 0:
        return torch.cat([latents.clean(one) for one in rows])
    steps = rows[0].recipe.steps or timestep
    keys = [(replace(one, recipe=one.recipe.but(timestep=1, steps=None)), timestep / steps) for one in rows]
    begun = [continued(timestep, steps, inverted[key][0]) if key in inverted else 0 for key in keys]
    latent_of: dict[int, torch.Tensor] = {}
    for first in dict.fromkeys(begun):  # rows that continue from one timestep share calls
        some = [i for i, one in enumerate(begun) if one == first]
        latent = torch.cat([inverted[keys[i]][1] if first else latents.clean(rows[i]) for i in some])
        if left := strides_left(timestep, steps, first):
            latent = invert(model, latent, first, timestep, left, take(condition, some))
        latent_of |= {i: latent[row : row + 1] for row, i in enumerate(some)}
    inverted |= {key: (timestep, latent_of[i]) for i, key in enumerate(keys)}
    return torch.cat([latent_of[i] for i in range(len(rows))])


def _add(
    total: dict[str, torch.Tensor], maps: dict[str, torch.Tensor], taps: Sequence[Tap], row: int, ensemble: int
) -> None:
    """Add one row of a batch's maps to a reading; an ensemble is a mean."""
    for tap in taps:
        one = maps[tap.name][row : row + 1]
        if ensemble > 1:
            one = one.float() / ensemble
        total[tap.name] = total[tap.name] + one if tap.name in total else one.clone()
