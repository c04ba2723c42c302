"""The chapter on labels: parts learned from thirty drawn pictures, and where the answer is uncertain."""

from __future__ import annotations

from typing import Any

import numpy as np

from miniworld.demo.chapters import Plan
from miniworld.tables.labelled_pictures import labelled_pictures
from miniworld.tables.part_methods import TAPS, TIMESTEP
from miniworld.tables.parts import FITTING, SAMPLE, SIDE
from shiftless.bench.parts import fit_parts, read_labelled_photos, score_parts
from shiftless.reading.together import Reader
from shiftless.tasks.parts import Parts
from shiftless.view.page import Chapter, draw_figure
from shiftless.view.segmentation import segmented

LEARNED, TESTED = 30, 9
FIRST = 59_000  # of the seeds of "shown"; the cast and the examples of other chapters come before


def parts(plan: Plan) -> Chapter:
    """Fit an ensemble on thirty labelled pictures, and show the test picture whose score is in the middle."""
    learned, tested = (4, 3) if plan.quick else (LEARNED, TESTED)
    pool = labelled_pictures("parts", "shown", learned + tested, FIRST)
    train, test = pool[:learned], pool[learned:]
    readers = [Reader(plan.model, (plan.recipe.but(timestep=TIMESTEP, taps=_taps(plan)),))]
    fitting = {**FITTING, "members": 2} if plan.quick else FITTING
    fitted, _ = fit_parts(read_labelled_photos(readers, train), train, sample=SAMPLE, **fitting)
    answers: list[Parts] = []
    counted = score_parts(
        fitted.head, read_labelled_photos(readers, test), test, side=SIDE, each=lambda *row: answers.append(row[2])
    )
    scores = [one.miou() for one in counted]
    middle = int(np.argsort(scores)[len(scores) // 2])
    whole = sum(counted[1:], counted[0])
    one, answer = test[middle], answers[middle]

    def sheet(theme: str) -> Any:
        return segmented(
            one.photo, answer.mask, answer.uncertainty, pool.classes, pool.palette, truth=one.mask(), theme=theme
        )

    text = [
        f"Here {learned} pictures of horses with riders have their parts labelled: {len(pool.classes)} classes, pixel "
        f"by pixel. {fitted.head.members} small networks learn to tell the classes from a pixel's features, from "
        f"{SAMPLE['per_photo']} pixels of each picture, and vote. Where they disagree the answer is uncertain, and "
        "labels are needed most.",
        f"The picture shown is the one in the middle of {tested} that the networks did not see, ordered by their mIoU. "
        f"Over all {tested} the mIoU is {whole.miou():.2f}.",
    ]
    chapter = Chapter("Parts from a few labels", text, "where the uncertainty lies: along borders, and on small parts")
    caption = f"A picture, its true parts, the parts that were found (mIoU {scores[middle]:.2f}), and the uncertainty."
    chapter.figures.append(draw_figure(plan.out, "parts.png", caption, sheet))
    return chapter


def _taps(plan: Plan) -> tuple[str, ...]:
    known = {tap.name for tap in plan.model.taps}
    return TAPS if known.issuperset(TAPS) else plan.recipe.taps
