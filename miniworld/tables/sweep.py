"""Sweep: how matching depends on the noise and on where the features are read; it also picks a model's defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from miniworld.tables.pairs import mini_pairs
from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import TRIVIAL, Choice, Scores, evaluate, pair_calls, reader, same_place, score
from shiftless.bench.table import Row, Table, machine
from shiftless.data.photopair import PhotoPair
from shiftless.errors import BadInput
from shiftless.metrics.pck import pooled
from shiftless.progress import count, notice, reporting
from shiftless.recipe import Recipe
from shiftless.taps.names import select
from shiftless.view.curves import draw_curves

if TYPE_CHECKING:
    from rich.table import Table as RichTable

TIMESTEPS = (1, 20, 50, 100, 200, 300, 400, 600, 800)


@dataclass(frozen=True, eq=False)
class Sweep:
    """The result of a sweep: scores by (timestep, name of the taps).

    table   a row each: "baseline: t=50 up1", both thresholds; its notes compare the best with the extremes
    trivial scores of the trivial baseline on the same pairs
    best    the recipe that scores highest by `metric`, on the pairs swept (validation pairs)
    """

    table: Table
    scores: dict[tuple[int, str], Scores]
    trivial: Scores
    best: Recipe
    metric: str

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the table as JSON."""
        return self.table.write(path)

    def draw(self, path: str | os.PathLike[str]) -> Path:
        """Draw the score over the timestep, a curve for each choice of taps with its 95% band (PNG, PDF or SVG).

        Raises BadInput without matplotlib, or if the path cannot be written.
        """
        steps, names = self._axes()
        return draw_curves(
            path,
            {
                name: {t: (v, *ci) for t in steps for v, ci in [_value(self.scores[t, name], self.metric)]}
                for name in names
            },
            title=f"{self.table.bench} with {self.table.model}",
            metric=self.metric,
            floor=_value(self.trivial, self.metric)[0],
            best=(self.best.timestep, "+".join(self.best.taps)),
        )

    def __rich__(self) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable

        steps, names = self._axes()
        shown = RichTable(box=box.SIMPLE_HEAD, title=f"{self.table.bench} with {self.table.model}: {self.metric}")
        shown.add_column("t", justify="right")
        for name in names:
            shown.add_column(name.replace("+", " +"), justify="right", min_width=6)
        for t in steps:
            cells = []
            for name in names:
                value, (low, high) = _value(self.scores[t, name], self.metric)
                bold = "[bold]" if (t, name) == (self.best.timestep, "+".join(self.best.taps)) else "[not bold]"
                cells.append(f"{bold}{value:.3f}[/]\n[dim]±{(high - low) / 2:.3f}[/dim]")
            shown.add_row(str(t), *cells)
        shown.caption, shown.caption_justify = "\n".join(self.table.notes), "left"
        return shown

    def __repr__(self) -> str:
        return str(self.table)

    def _axes(self) -> tuple[list[int], list[str]]:
        return sorted({t for t, _ in self.scores}), list(dict.fromkeys(name for _, name in self.scores))


def run(
    model: Backbone,
    recipe: Recipe | None = None,
    *,
    timesteps: Sequence[int] = TIMESTEPS,
    taps: Sequence[Sequence[str]] | None = None,
    split: str = "val",
    n: int | None = 120,
    look: str = "photo",
    metric: str = "PCK@0.1 bbox",
    batch: int | None = None,
    progress: bool = True,
) -> Sweep:
    """Sweep timesteps and taps on the world's validation pairs.

    recipe  what stays the same: prompt, seed, ensemble ... (Recipe())
    taps    which to read, alone or joined: [("up1",), ("up1", "up2")]; `default_taps` by default
    split   "val": defaults are never picked from the test pairs

    Every photo is encoded once, and all taps are read in one pass a timestep.
    Raises BadInput for an unknown tap, split or timestep.
    """
    pairs = mini_pairs(split, n, look)
    return sweep_pairs(
        f"mini-pairs {split} sweep", model, pairs, recipe, timesteps=timesteps, taps=taps, metric=metric,
        batch=batch, progress=progress,
    )  # fmt: skip


def sweep_pairs(
    bench: str,
    model: Backbone,
    pairs: Sequence[PhotoPair],
    recipe: Recipe | None = None,
    *,
    timesteps: Sequence[int] = TIMESTEPS,
    taps: Sequence[Sequence[str]] | None = None,
    metric: str = "PCK@0.1 bbox",
    batch: int | None = None,
    progress: bool = True,
) -> Sweep:
    """Sweep on any pairs; arguments and errors as in `run`.

    Timesteps that the recipe cannot be read at, such as those at or above its `start`, are left out and noted; raises
    BadInput if none is left.
    """
    if metric not in ("PCK@0.1 img", "PCK@0.1 bbox"):
        raise BadInput(f"metric={metric!r}: pick by 'PCK@0.1 img' or 'PCK@0.1 bbox'")
    if not timesteps:
        raise BadInput("no timestep was given; give at least one")
    requested = [select(one, model.taps, model.spec.name) for one in taps or default_taps(model)]
    named = {"+".join(tap.name for tap in choice): tuple(tap.name for tap in choice) for choice in requested}
    union = tuple(dict.fromkeys(tap for chosen in named.values() for tap in chosen))
    base = recipe or Recipe()
    swept, left_out = _possible(base.but(taps=union), list(dict.fromkeys(timesteps)))
    steps, recipes = list(swept), list(swept.values())
    for line in left_out:  # said before the work, and below the table
        notice(line)
    choices: dict[str, Choice] = {
        f"t={t} {name}": (k, chosen) for k, t in enumerate(steps) for name, chosen in named.items()
    }
    doing = f"{bench}: {count(len(pairs), 'pair')} at {count(len(steps), 'timestep')}"
    with reporting(progress, doing, pair_calls(pairs, recipes), "denoiser call") as report:
        results = evaluate(pairs, reader(model, recipes, batch, report), choices)
    scores = {(t, name): results[f"t={t} {name}"] for t in steps for name in named}
    trivial = score(pairs, [same_place(pair) for pair in pairs])
    # The first of equals: fewer taps before more, as they are listed.
    step, name = max(scores, key=lambda key: _value(scores[key], metric)[0])
    best = base.but(timestep=step, taps=named[name], label="")  # the label described the given recipe
    rows = _rows(TRIVIAL, trivial)
    rows += [row for (t, taps_), s in scores.items() for row in _rows(f"baseline: t={t} {taps_}", s)]
    notes = [
        f"{len(pairs)} pairs; {trivial.resampling()}",
        f"best by {metric}, of {len(scores)} on these same pairs (so optimistic): t={step} {name}",
        *_doubts(scores, (step, name), metric),
        *left_out,
    ]
    return Sweep(Table(bench, model.spec.name, rows, machine(), notes), scores, trivial, best, metric)


def _possible(recipe: Recipe, timesteps: Sequence[int]) -> tuple[dict[int, Recipe], list[str]]:
    """Return the recipe at each timestep that it can be read at, and a line about those left out, if any."""
    recipes: dict[int, Recipe] = {}
    refused: dict[int, BadInput] = {}
    for t in timesteps:
        try:
            recipes[t] = recipe.but(timestep=t)
        except BadInput as error:
            refused[t] = error
    if refused and not recipes:
        raise next(iter(refused.values()))
    steps = ", ".join(map(str, refused))
    return recipes, [f"left out: t = {steps} ({next(iter(refused.values()))})"] if refused else []


def default_taps(model: Backbone) -> list[tuple[str, ...]]:
    """Return what a sweep reads: mid, each up block, each two neighbours and all the up blocks together."""
    names = {tap.name for tap in model.taps}
    ups = sorted((n for n in names if re.fullmatch(r"up\d+", n)), key=lambda n: int(n[2:]))
    if not ups:
        raise BadInput(f"{model.spec.name} has no up blocks; say which taps to sweep")
    single: list[tuple[str, ...]] = [(n,) for n in (*(["mid"] if "mid" in names else []), *ups)]
    return [*single, *pairwise(ups), *([tuple(ups)] if len(ups) > 2 else [])]


def _value(scores: Scores, metric: str) -> tuple[float, tuple[float, float]]:
    rule = metric.rpartition(" ")[2]
    return pooled(scores.counts(rule), scores.totals), scores.interval(rule)


def _rows(method: str, scores: Scores) -> list[Row]:
    return [row for row in scores.rows(method) if not row.metric.endswith("per image")]


def _doubts(scores: dict[tuple[int, str], Scores], best: tuple[int, str], metric: str) -> list[str]:
    """The best timestep against the least and the most noise, with the same taps, paired."""
    lines = []
    ours = scores[best]
    steps = sorted({t for t, _ in scores})
    for step in (steps[0], steps[-1]):
        if step != best[0]:
            theirs = scores[step, best[1]]
            gain = ours.gain(theirs, metric.rpartition(" ")[2])
            lines.append(
                f"t={best[0]} - t={step}, {best[1]}: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], paired"
            )
    return lines
