"""The audit's report: index.html with the answer, the numbers, the pictures, and what they mean."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftless.auditing.measures import FINISHED, measure_named, shown, worded
from shiftless.auditing.suggest import MEASURE
from shiftless.errors import BadInput
from shiftless.presets import default_recipe
from shiftless.recipe import READ_THE_SAME, Recipe
from shiftless.view.audit import columns, glance_sheet, heat_scale, photo_sheet, roles
from shiftless.view.audit_answer import advised, answer, described_groups, doubts, photos, techniques
from shiftless.view.audit_curves import curves_of, moves
from shiftless.view.curves import curves_picture
from shiftless.view.page import Bars, Chapter, Grid, draw_figure, write_page

if TYPE_CHECKING:
    from shiftless.auditing.audit import Audit
    from shiftless.auditing.observation import Observation
    from shiftless.auditing.suggest import Suggestion


def write_report(
    out: Path,
    audit: Audit,
    sheets: Sequence[Observation],
    *,
    title: str = "",
    foot: str = "",
    commands: Sequence[tuple[str, str]] = (),
    advice: Suggestion | None = None,
) -> Path:
    """Write an audit as index.html with its pictures, in light and dark, into a folder; return the page's path.

    sheets    the observations to draw, such as an `Album`'s; they may be fewer than the photos audited
    title     of the page        foot  the line under it
    commands  what to do next, before the report's own: (command, why)
    advice    which readings to take, shown in a chapter of its own

    The pictures are written first and the page last. Raises BadInput if the folder cannot be written.
    """
    taken = Chapter("What to take", [advised(audit, advice)], "", items=advice.lines()) if advice else None
    chapters = [
        _answered(audit),
        taken,
        _curve(out, audit),
        _measures(audit),
        _photos(out, audit, sheets),
        _failed(audit),
    ]
    chapters += [_glossary(audit), _next(audit, commands, advice)]
    title = title or f"Content shift of {audit.model} on {photos(len(audit.names))}"
    return write_page(out, title, answer(audit), [chapter for chapter in chapters if chapter], foot)


def _answered(audit: Audit) -> Chapter:
    """The headline of every recipe, and what each technique saves."""
    ranked, digits = audit.ranked(), measure_named(audit.headline).digits
    text = [
        "To read features from a photo, noise is added to it. What the noise hides, the model makes up, and the "
        "features describe that too: this is content shift. An audit measures it, and tells which techniques lead the "
        "model back to the photo.",
    ]
    chapter = Chapter("Which recipe keeps the content", text, "")
    ends = ", with 95% bootstrap intervals over photos" if len(audit.names) > 1 else ""
    values = {k: audit.value(k) for k in ranked}
    top = max(value.high for value in values.values()) * 1.02 or 1.0
    steps = sorted({recipe.timestep for recipe in audit.recipes})
    for t in steps:
        here = [k for k in ranked if audit.recipes[k].timestep == t]
        rows = [(audit.recipes[k].label, *values[k], k == here[0]) for k in here]
        at = f" at t = {t}" if len(steps) > 1 else ""
        name = f"{worded(audit.headline).capitalize()}{at}, 0 is none; least first{ends}"
        chapter.bars.append(Bars(name, rows, top, f"{{:.{digits}f}}"))
    steered = sorted(techniques(audit), key=lambda k: -audit.saved(k).value)
    if steered:
        saved = []
        for k in steered:
            value, low, high = (100 * share for share in audit.saved(k))
            saved.append((audit.recipes[k].label, value, low, high, low > 0 and len(audit.names) > 1))
        low, high = min(0.0, *(row[2] for row in saved)), max(0.0, *(row[3] for row in saved))
        room = 0.02 * (high - low) or 1.0
        name = f"What each technique saves of the bare reading's {worded(audit.headline)} at the same noise, "
        name += "in pairs of the same photo"
        name += "; in colour where that is clear" if any(row[4] for row in saved) else ""
        bottom = low - room if low < 0 else 0.0
        chapter.bars.append(Bars(name, saved, high + room, "{:.0f}%", bottom))
    chapter.after = doubts(audit)
    return chapter


def _curve(out: Path, audit: Audit) -> Chapter | None:
    """Shift over noise, if there were several timesteps."""
    curves = curves_of(audit)
    if not curves:
        return None
    text = [
        "With less noise there is less to make up: that is moving along a curve. A technique is worth its cost if it "
        "moves the curve itself, down, at the same noise.",
    ]
    chapter = Chapter("Noise against shift", text, "", after=moves(audit))

    def drawn(theme: str) -> Any:
        metric = f"{worded(audit.headline)}, 0 is none"
        return curves_picture(curves, title=f"{audit.model}, {photos(len(audit.names))}", metric=metric, theme=theme)

    caption = f"{worded(audit.headline).capitalize()} over the noise that is added before reading."
    if len(audit.names) > 1:
        caption += " Bands are 95% bootstrap intervals over photos; they overlap more than paired comparisons do."
    try:
        chapter.figures.append(draw_figure(out, "curve.png", caption, drawn))
    except BadInput as error:
        if "matplotlib" not in str(error):
            raise
        chapter.text.append(f"The curve itself is left out: {error}.")
    return chapter


def _measures(audit: Audit) -> Chapter:
    """Every measure of every recipe."""
    text = [
        "Each column is one way to say how far content has shifted; 0 is not at all, and each has a scale of its own. "
        "The last row compares the photo itself with what the autoencoder alone makes of it: recipes are compared "
        "with that copy, so that this is not counted against them.",
    ]
    chapter = Chapter("By every measure", text, "")
    bold = "bold is least" + (" at its timestep" if len({recipe.timestep for recipe in audit.recipes}) > 1 else "")
    once = [measure for measure in audit.measures if not measure.endswith(FINISHED)]
    done = [measure for measure in audit.measures if measure.endswith(FINISHED)]
    chapter.grids.append(_grid(audit, once, f"After one step, where features are read; {bold}"))
    if done:
        chapter.grids.append(_grid(audit, done, f"After denoising to the end; {bold}"))
    return chapter


def _grid(audit: Audit, measures: Sequence[str], title: str) -> Grid:
    ranked = sorted(audit.ranked(), key=lambda k: audit.recipes[k].timestep)
    rows = [(audit.recipes[k].label, [audit.formatted(k, m) for m in measures]) for k in ranked]
    bold = set()
    for t in {recipe.timestep for recipe in audit.recipes}:
        here = [(i, k) for i, k in enumerate(ranked) if audit.recipes[k].timestep == t]
        for j, measure in enumerate(measures):
            means = audit.scores[measure].mean(0)
            least = min(means[k] for _, k in here)
            if least < max(means[k] for _, k in here):
                bold |= {(i, j) for i, k in here if means[k] == least}
    floor = {measure: audit.floor.get(measure.removesuffix(FINISHED)) for measure in measures}
    if any(values is not None for values in floor.values()):
        cells = ["" if (values := floor[measure]) is None else shown(measure, values) for measure in measures]
        rows.append(("the autoencoder alone", cells))
    return Grid(title, [measure.removesuffix(FINISHED) for measure in measures], rows, frozenset(bold))


def _photos(out: Path, audit: Audit, sheets: Sequence[Observation]) -> Chapter | None:
    """A sheet for each photo, most shift first."""
    if not sheets:
        return None
    shown, what = columns(audit), worded(audit.headline)
    labels, top = roles(audit, shown), heat_scale(sheets, shown)
    text = [
        f"The clean picture that each recipe makes the model predict of a photo, the least {what} on the left. Below, "
        "where that departs from the autoencoder's own copy: bright is far, grey is not at all. All photos here have "
        "one scale.",
    ]
    if len({recipe.timestep for recipe in audit.recipes}) > 1:
        t = audit.recipes[shown[0]].timestep
        text.append(f"The recipes shown are those of t = {t}, the timestep at which they differ most by {what}.")
    chapter = Chapter("Photo by photo", text, "")
    if len(sheets) < len(audit.names):
        chapter.text.append(f"Shown are {len(sheets)} of {photos(len(audit.names))}.")
    digits = measure_named(audit.headline).digits
    ordered = sorted(sheets, key=lambda observation: -float(observation.scores[audit.headline].mean()))
    if len(ordered) > 1:

        def glance(theme: str) -> Any:
            return glance_sheet(ordered, labels, shown, top, theme=theme)

        caption = "Where content shifted, at a glance: a row is a photo, the most shifted first."
        chapter.figures.append(draw_figure(out, "sheet.png", caption, glance))
    for number, observation in enumerate(ordered, 1):
        scores = observation.scores[audit.headline][shown]

        def sheet(theme: str, observation: Observation = observation) -> Any:
            return photo_sheet(observation, labels, shown, headline=audit.headline, top=top, theme=theme)

        caption = f"{observation.name}: {what} {scores.min():.{digits}f}"
        caption += f" to {scores.max():.{digits}f}" if len(scores) > 1 else ""
        chapter.figures.append(draw_figure(out, f"photo-{number:02}.png", caption, sheet))
    return chapter


def _failed(audit: Audit) -> Chapter | None:
    if not audit.skipped:
        return None
    text = [f"{photos(len(audit.skipped)).capitalize()} could not be read, and took no part:"]
    return Chapter("What was left out", text, "", items=list(audit.skipped))


def _glossary(audit: Audit) -> Chapter:
    """What each measure that was taken says."""
    names = dict.fromkeys(measure.removesuffix(FINISHED) for measure in audit.measures)
    terms = [(name, f"{measure_named(name).about}.") for name in names]
    if any(measure.endswith(FINISHED) for measure in audit.measures):
        terms.append(("finished", "of the picture that is left when the model takes all noise away, step by step."))
    terms += [
        ("bare", "a reading that nothing steers: no caption, no ControlNet, no LoRA."),
        ("saves", "how much less a recipe has of a measure than the bare reading at its noise, as a share of that."),
    ]
    if len(audit.names) > 1:
        terms.append(("95% interval", "where the number would likely lie on another draw of as many photos."))
    text = [
        "Content shift is what the model's prediction adds to a photo or takes from it. Each measure says it in its "
        f"own way, and 0 is none: {worded('colour')} is content shift by colour, and so on. The ranking here is by "
        f"{worded(audit.headline)}; advice, where it was asked for, is told in {worded(MEASURE)}.",
    ]
    return Chapter("What is measured", text, "", terms=terms)


def _next(audit: Audit, commands: Sequence[tuple[str, str]], advice: Suggestion | None) -> Chapter:
    best, own = audit.best(), []
    if advice is None:
        for k in [group[0] for group in described_groups(audit)] or audit.ranked()[:1]:
            one = audit.recipes[k]
            command = f"shiftless extract PHOTOS --model {shlex.quote(audit.model)} {flags(one, audit.model)}"
            own.append((command, f"Features by the recipe that keeps the content best at its noise: {one.label}."))
    if len({recipe.timestep for recipe in audit.recipes}) == 1:
        t, more = best.timestep, best.timestep < 400
        why = "more noise, where there is more to make up" if more else "less noise, where there is less to make up"
        command = (
            f"shiftless audit PHOTOS --model {shlex.quote(audit.model)} --timestep {(t * 2 or 100) if more else t // 2}"
        )
        own.append((command, f"The same question at {why}."))
    return Chapter("What to do next", [], "", commands=[*commands, *own])


def flags(recipe: Recipe, model: str) -> str:
    """Return the command line's flags for a recipe, as they are needed for a model with defaults of its own.

    >>> flags(Recipe(timestep=100, control=("canny", "depth"), label="a"), "twin:sd15")
    '--timestep 100 --taps up1 --control canny,depth'
    >>> flags(Recipe(timestep=260, taps="single9.in", modulate=True, discard=(154, 1446)), "flux-dev")
    '--timestep 260 --taps single9.in --modulate --discard 154,1446'
    """
    usual, parts = default_recipe(model), []
    for name in (field.name for field in fields(Recipe) if field.name not in READ_THE_SAME):
        value = getattr(recipe, name)
        if value is None or (value == getattr(usual, name) and name not in ("timestep", "taps")):
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{'' if value else 'no-'}{flag}")
            continue
        many = isinstance(value, tuple)
        text = ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value) if many else str(value)
        parts.append(f"--{flag} {shlex.quote(text)}")
    return " ".join(parts)
