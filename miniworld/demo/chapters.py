"""The chapters on what is there: the pictures, their features, their matches, and the table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from miniworld.demo.subjects import Subject
from miniworld.demo.typical import PAIRS, Judged, typical
from shiftless.backbones.base import Backbone
from shiftless.backbones.registry import not_for_photographs
from shiftless.bench.table import Table
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.reading import extract
from shiftless.recipe import Recipe
from shiftless.tasks.correspondence import heat
from shiftless.tasks.mutual import mutual_matches
from shiftless.view import contact_sheet, match_sheet, matches_picture, pca_rgb, save_picture
from shiftless.view.page import Bars, Chapter, draw_figure

_FEW = 3  # validation pairs, for a first look


@dataclass(frozen=True)
class Plan:
    """What every chapter needs: output folder, model, recipe, pictures, and whether few are enough."""

    out: Path
    model: Backbone
    recipe: Recipe
    subjects: list[Subject]
    quick: bool

    @property
    def drawn(self) -> bool:
        """Whether the pictures are the world's own, so that the truth is known."""
        return self.subjects[0].picture is not None


def meet(plan: Plan) -> Chapter:
    """Show the pictures."""
    size = plan.model.spec.size
    if plan.drawn:
        text = [
            "A seed draws a creature in a scene: its kind, its pose, its coat, the light, the grain of the picture. So "
            "everything about it is known exactly: what it is, where each part lies, and what to call it.",
        ]
        if plan.model.spec.name == "mini":
            text.append(
                "A model small enough to ship inside a Python package has learned this world from pictures and their "
                "captions; a last, short stage told it where in a picture the words of its caption are. These six "
                "pictures were not among them."
            )
        caption = f"Six drawn pictures of {size} pixels, each with the caption that its seed gives it."
        for i, subject in enumerate(plan.subjects, 1):
            save_picture(Image.fromarray(subject.photo.array), plan.out / "photos" / f"{i}-{subject.title}.png")
    else:
        text = [f"These are your photos. The model reads them with their longer side at {size} pixels."]
        if warning := not_for_photographs(plan.model):
            text.append(f"A word of warning: {warning}.")
        caption = "Your photos" + (f", described as: {plan.subjects[0].prompt}" if plan.subjects[0].prompt else ".")
    cells = [(s.photo, s.prompt if plan.drawn else s.title) for s in plan.subjects]
    rows = [cells[i : i + 3] for i in range(0, len(cells), 3)]

    def sheet(theme: str) -> Any:
        return contact_sheet(rows, height=300, theme=theme)

    chapter = Chapter("The pictures", text, "the pictures that everything below is about")
    chapter.figures.append(draw_figure(plan.out, "pictures.png", caption, sheet))
    return chapter


def features(plan: Plan) -> tuple[Chapter, list[FeatureMaps]]:
    """Show the PCA of the features in one colour space; returns the readings for the next chapter."""
    stages = [tap.name for tap in plan.model.taps if re.fullmatch(r"up\d+", tap.name)]
    read = extract(plan.model, [s.photo for s in plan.subjects], plan.recipe.but(taps=tuple(stages)))
    maps: list[FeatureMaps] = extract(plan.model, [s.photo for s in plan.subjects], plan.recipe)
    rows: list[list[Any]] = [[s.photo for s in plan.subjects]]
    titles = ["picture"]
    for stage in stages:
        rows.append(list(pca_rgb([one[stage] for one in read])))
        titles.append(stage + "\n" + " x ".join(map(str, read[0][stage].shape[1:])))
    if plan.drawn:
        rows.append(list(pca_rgb([one.dense() for one in maps], [s.mask for s in plan.subjects])))
        titles.append("on the creature\nalone")

    def sheet(theme: str) -> Any:
        return contact_sheet(rows, row_titles=titles, height=190, theme=theme)

    t = plan.recipe.timestep
    text = [
        f"Add a little noise to a picture (timestep {t} of 1000), run the denoiser once, and keep what its layers "
        "compute. Each place of the picture then has a vector of numbers. Here the three directions in which those "
        "vectors vary most are shown as red, green and blue, with the same directions for all pictures in a row.",
        "Similar colours therefore mean similar vectors. Nothing in the model's training said which places of two "
        "pictures belong together.",
    ]
    caption = "A row is one place to read inside the model. Compare colours along a row, not between rows."
    look = "which things have similar colours in both photos"
    if plan.drawn:
        look = "which parts have similar colours on different creatures (last row)"
        caption += " In the last row the colours are fitted on the creatures alone, so that their parts stand out."
    chapter = Chapter("What the model sees", text, look)
    chapter.figures.append(draw_figure(plan.out, "features.png", caption, sheet))
    return chapter, maps


def matches(plan: Plan, maps: list[FeatureMaps]) -> Chapter:
    """Match points by their nearest features."""
    text = [
        "Take the vector at a point of the left picture and look for the most similar one in the right picture. That "
        "is all: no training for matching, no template, no flipping.",
    ]
    chapter = Chapter("Same features, same part", text, "each numbered dot and its partner; green is right, red wrong")
    if not plan.drawn:
        return _your_matches(plan, maps, chapter)
    count = _FEW if plan.quick else PAIRS
    found = typical(plan.model, plan.recipe, count)
    middle, quarter, overall = found.middle, found.quarter, found.overall()
    chapter.text.append(
        f"The pair shown is picked by a rule: the first {count} validation pairs (the tables below score test pairs) "
        "are ordered by the share of their points that are right, and the one in the middle is taken. So half of the "
        "others do at least as well, and half at most as well."
    )
    hot = heat(*middle.maps, middle.matches.source[0])

    def sheet(theme: str) -> Any:
        options: dict[str, Any] = {"truth": middle.pair.target_points, "correct": middle.right, "height": 520}
        return match_sheet(middle.pair.source, middle.pair.target, middle.matches, hot, theme=theme, **options)

    def harder(theme: str) -> Any:
        options: dict[str, Any] = {"truth": quarter.pair.target_points, "correct": quarter.right, "height": 520}
        a, b, matches = quarter.pair.source, quarter.pair.target, quarter.matches
        return matches_picture(a, b, matches.source, matches.points, theme=theme, **options)

    caption = (
        f"The pair in the middle: {_score(middle)}, within a tenth of the box's longer side (PCK@0.1). Over all "
        f"{count} pairs, {100 * overall.value:.0f}% of the points are right [{100 * overall.low:.0f}, "
        f"{100 * overall.high:.0f}; 95%]. A ring marks where a wrong point belongs. Below, how similar every place on "
        "the right is to point 1: bright is similar."
    )
    chapter.figures.append(draw_figure(plan.out, "matches.png", caption, sheet))
    caption = f"A harder pair, a quarter from the bottom of the same order: {_score(quarter)}."
    chapter.figures.append(draw_figure(plan.out, "matches-harder.png", caption, harder))
    return chapter


def _score(one: Judged) -> str:
    return f"{int(one.right.sum())} of {len(one.right)} points are right ({one.pair.category})"


def _your_matches(plan: Plan, maps: list[FeatureMaps], chapter: Chapter) -> Chapter:
    """The mutual matches of two photos whose truth nobody knows."""
    a, b = plan.subjects
    chapter.look = "whether each number lies on the same thing in both photos"
    try:
        mutual = mutual_matches(maps[0], maps[1])
    except BadInput:
        chapter.after.append("The two photos have no mutual matches: no two points are each other's nearest.")
        return chapter
    hot = heat(maps[0], maps[1], mutual.source[0])

    def sheet(theme: str) -> Any:
        return match_sheet(a.photo, b.photo, mutual, hot, height=460, theme=theme)

    caption = (
        f"The {len(mutual)} mutual matches (each point is the other's nearest), with their cosine. The true matches "
        "are not known, so none is marked right or wrong. Below, how similar every place is to point 1."
    )
    chapter.figures.append(draw_figure(plan.out, "matches.png", caption, sheet))
    return chapter


def table(plan: Plan) -> Chapter:
    """Score the model in a small table, with intervals and both controls."""
    from miniworld.tables.pairs import run

    options: dict[str, Any] = {"quick": True, "n": 6 if plan.quick else None, "progress": not plan.quick}
    table = run(plan.model, plan.recipe, flip=False, facing=False, **options)
    table.write(plan.out / "table.json")
    metric = "PCK@0.1 bbox"
    ours, trivial = table.row("baseline", metric), table.row("trivial", metric)
    text = [
        "Single pictures prove little, so here are scores. Each pair shows the same kind of thing with everything else "
        "different, and half of the pairs face opposite ways. The bars give the share of points that land within a "
        "tenth of the longer side of the box around the thing (bbox), or of the picture (img), of where they belong:",
    ]
    clear = ours.ci95[0] > trivial.ci95[1]
    after = [
        f"{table.notes[0]}. The black line in a bar is the interval: on another draw of as many pairs the value would "
        "likely lie there. The trivial method copies the point's relative position without reading the picture"
        + (
            "; the model is clearly better than that." if clear else "; the model is not clearly better than that here."
        ),
    ]
    title = "How often is it right?"
    if not plan.drawn:
        title = "How often is it right on drawn pictures?"
        text.insert(
            0,
            "The true matches of your photos are not known, so nothing here is measured on them. This table is of "
            "drawn pairs, and says nothing about how well your photos are matched.",
        )
    chapter = Chapter(title, text, f"{metric}: {ours.value:.2f} against {trivial.value:.2f} for the trivial method")
    chapter.bars, chapter.after = [table_bars(table, metric), table_bars(table, "PCK@0.1 img")], after
    return chapter


def table_bars(table: Table, metric: str) -> Bars:
    """Turn one metric of a bench's table into bars from 0 to 1.

    >>> from shiftless.bench.table import Row
    >>> table_bars(Table("b", "m", [Row("trivial", "PCK", 0.2, (0.1, 0.3))], "here"), "PCK").rows
    [('trivial', 0.2, 0.1, 0.3, False)]
    """
    rows = [row for row in table.rows if row.metric == metric]
    values = [(row.method, row.value, *row.ci95, row.method.startswith("baseline")) for row in rows]
    return Bars(metric, values, top=1.0)
