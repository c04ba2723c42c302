"""The chapter on content shift: what noise hides is filled in by the model."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from miniworld.demo.chapters import Plan
from miniworld.demo.predictions import Given, error, finish, give, noisy_picture, predict_latents
from miniworld.demo.subjects import CONTRAST, crowd
from shiftless.backbones.base import Backbone
from shiftless.features import FeatureMaps
from shiftless.metrics.bootstrap import Difference, difference, interval
from shiftless.reading import extract
from shiftless.view import contact_sheet, pca_rgb
from shiftless.view.page import Bars, Chapter, draw_figure

TIMESTEPS = (100, 300, 600)
_NONE, _TRUE, _OTHER = "with no prompt", "with its caption", "with another's caption"


def content_shift(plan: Plan) -> Chapter:
    """Show content shift, and measure it."""
    subject = plan.subjects[0]
    prompts = {_NONE: ""}
    if subject.prompt:
        prompts |= {_TRUE: subject.prompt, _OTHER: plan.subjects[3].prompt if plan.drawn else CONTRAST}
    given = give(plan.model, subject)
    text = [
        "Features are read from a noisy picture. The early layers see the noise. The late layers hold something "
        "clean, because removing noise is what the model was trained for. But what the noise has hidden cannot be "
        "recovered from the input, so the model fills it in. The late features describe this predicted clean image "
        "instead of your picture. The difference is content shift.",
        "Read the rows from left to right: the picture, the noisy picture that the model is given, what an early and a "
        "late layer compute from it (colours as before), and the predicted clean image.",
    ]
    if subject.prompt:
        text.append(
            "A caption describes what the noise has hidden, so the model has less to fill in. The last column gives a "
            "caption of something else with the same noisy picture: what changes there comes from the words alone."
        )
    chapter = Chapter("Content shift, made visible", text, "the predicted clean images, from top to bottom")
    where = "on the creature" if plan.drawn else "on the whole photo"
    caption = (
        f"Content shift on one picture. Errors are counted {where}: root mean square, in percent of the way from "
        "black to white."
    )
    sheet = _sheet(plan, given, prompts)
    chapter.figures.append(draw_figure(plan.out, "content-shift.png", caption, sheet))
    finished = _finished(plan, given, prompts)
    more = (
        "The same noisy pictures, denoised to the end step by step (DDIM). The result is sharp: details that the noise "
        "hid are filled in, and the more noise there was, the more of them differ from the picture."
    )
    chapter.figures.append(draw_figure(plan.out, "finished.png", more, finished))
    if plan.drawn:
        _measure(plan, chapter)
    elif not subject.prompt:
        chapter.after.append('Say what is in the photos with --prompt "a photo of ...", to see its effect.')
    return chapter


def stages(model: Backbone) -> tuple[str, str]:
    """Return the names of an early tap, at full resolution, and of the last up block but one.

    The last block itself holds noise again, since noise is what the model predicts.
    """
    early = [tap.name for tap in model.taps if re.fullmatch(r"down0\.(res|attn)\d+", tap.name)]
    late = [tap.name for tap in model.taps if re.fullmatch(r"up\d+", tap.name)]
    return early[-1], late[-2:][0]


def _sheet(plan: Plan, given: Given, prompts: dict[str, str]) -> Any:
    early, late = stages(plan.model)
    photo = plan.subjects[0].photo
    recipes = [plan.recipe.but(timestep=t, taps=(early, late), prompt="", ensemble=1, seed=0) for t in TIMESTEPS]
    read: list[FeatureMaps] = list(extract(plan.model, photo, recipes))
    first, last = (pca_rgb([one[tap] for one in read], centre=True) for tap in (early, late))
    _, floor = error(plan.model, given.clean, given)
    rows: list[list[Any]] = []
    for i, t in enumerate(TIMESTEPS):
        predictions = []
        for prompt in prompts.values():
            picture, wrong = error(plan.model, predict_latents(plan.model, given, t, prompt), given)
            predictions.append((picture, f"error {wrong:.1f}%"))
        rows.append([photo, noisy_picture(plan.model, given, t), first[i], last[i], *predictions])
    columns = ["the picture", "the noisy picture", f"early: {early}", f"late: {late}"]
    columns += [f"predicted,\n{name}" for name in prompts]
    titles = [f"t = {t}" for t in TIMESTEPS]
    note = f"The autoencoder alone, without any noise, has an error of {floor:.1f}%."
    if len(prompts) > 1:
        note += f"\nIts caption: {prompts[_TRUE]}.\nAnother's: {prompts[_OTHER]}."
    return lambda theme: contact_sheet(rows, columns, titles, note=note, height=232, theme=theme)


def _finished(plan: Plan, given: Given, prompts: dict[str, str]) -> Any:
    steps = 3 if plan.quick else 20
    rows: list[list[Any]] = []
    for t in TIMESTEPS:
        ends = []
        for prompt in prompts.values():
            picture, wrong = error(plan.model, finish(plan.model, given, t, prompt, steps), given)
            ends.append((picture, f"error {wrong:.1f}%"))
        rows.append([plan.subjects[0].photo, noisy_picture(plan.model, given, t), *ends])
    columns = ["the picture", "the noisy picture", *prompts]
    titles = [f"from t = {t}" for t in TIMESTEPS]
    return lambda theme: contact_sheet(rows, columns, titles, height=288, theme=theme)


def _measure(plan: Plan, chapter: Chapter) -> None:
    """Measure the error over unselected pictures, for every prompt and timestep."""
    people = list(crowd(3 if plan.quick else 32))
    others = [*people[1:], people[0]]
    gains: list[tuple[int, Difference]] = []
    errors: dict[int, dict[str, np.ndarray]] = {}
    top = 0.0
    everyone = [give(plan.model, subject) for subject in people]
    floors = [error(plan.model, given.clean, given)[1] for given in everyone]
    for t in TIMESTEPS:
        errors[t] = {
            name: np.array(
                [error(plan.model, predict_latents(plan.model, given, t, words), given)[1] for given, words in inputs]
            )
            for name, inputs in {
                _TRUE: [(g, p.prompt) for g, p in zip(everyone, people)],
                _NONE: [(g, "") for g in everyone],
                _OTHER: [(g, p.prompt) for g, p in zip(everyone, others)],
            }.items()
        }
        gains.append((t, difference(errors[t][_NONE], errors[t][_TRUE])))
        top = max(top, *(interval(values)[1] for values in errors[t].values()))
    for t in TIMESTEPS:
        rows = [("the autoencoder alone", float(np.mean(floors)), *interval(floors), False)]
        rows += [(name, float(v.mean()), *interval(v), name == _TRUE) for name, v in errors[t].items()]
        chapter.bars.append(Bars(f"Error of the predicted clean image at t = {t}, percent", rows, top * 1.02, "{:.1f}"))
    savings = "; ".join(f"at t = {t} by {gain.value:.2f} [{gain.low:.2f}, {gain.high:.2f}]" for t, gain in gains)
    sure = [t for t, gain in gains if gain.low > 0]
    zero = f"Zero is outside the interval at t = {', '.join(map(str, sure))}." if sure else "No interval excludes zero."
    chapter.after.append(
        f"The same, measured on the creature in {len(people)} other pictures, drawn without selection. Its caption "
        f"lowers the error against no prompt, in percentage points: {savings} (95% bootstrap intervals, paired). {zero}"
    )
