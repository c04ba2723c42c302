"""The chapter on the audit: content shift of the demo's own pictures, measured, by technique."""

from __future__ import annotations

from PIL import Image

from miniworld.demo.chapters import Plan
from shiftless.auditing import Observation, audit
from shiftless.auditing.candidates import candidates, fewer
from shiftless.auditing.measures import measure_named, worded
from shiftless.view.audit import Album, columns, photo_sheet, roles
from shiftless.view.audit_answer import answer, doubts
from shiftless.view.page import Bars, Chapter, draw_figure

_MOST = 6  # recipes, as `shiftless audit` tries
_TIMESTEP = 300  # as in the table of methods: enough noise to hide part of the picture


def audited(plan: Plan) -> Chapter:
    """Measure the content shift of each technique on the demo's pictures, and show it on one of them."""
    subjects = plan.subjects[: 2 if plan.quick else None]
    recipes = fewer(candidates(plan.model, plan.recipe.but(timestep=_TIMESTEP)), _MOST)
    album = Album(1)
    result = audit(
        plan.model,
        [subject.photo for subject in subjects],
        recipes,
        finish=0 if plan.quick else 8,
        on_observation=album,
    )
    result.write(plan.out / "audit.json")
    text = [
        "Does a technique reduce content shift? That can be measured without labels, before anything is trained: "
        "compare the predicted clean image with the picture as the autoencoder alone reconstructs it. "
        "shiftless audit does so for your own photos.",
    ]
    chapter = Chapter("The audit: which technique keeps the content", text, "the bars: longer is more shift")
    shown = columns(result)
    labels = roles(result, shown)
    for each in album.sheets:

        def sheet(theme: str, observation: Observation = each) -> Image.Image:
            return photo_sheet(observation, labels, shown, headline=result.headline, theme=theme)

        caption = f"The picture that shifted most, {each.name}, at t = {_TIMESTEP}: bright is where content shifted."
        chapter.figures.append(draw_figure(plan.out, "audit.png", caption, sheet))
    ranked, digits = result.ranked(), measure_named(result.headline).digits
    rows = [(result.recipes[k].label, *result.value(k), k == ranked[0]) for k in ranked]
    title = f"{worded(result.headline).capitalize()} of {len(result.names)} pictures; 0 is none"
    chapter.bars.append(Bars(title, rows, max(row[3] for row in rows) * 1.02 or 1.0, f"{{:.{digits}f}}"))
    chapter.after += [answer(result), *doubts(result)]
    return chapter
