"""bench mini-audit: does content shift, measured without ground truth, predict how good features are?"""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from miniworld.datasets import photos, seeds
from miniworld.tables.configurations import PLAIN, TIMESTEPS, configurations, halves
from miniworld.tables.correspondence import LOOKS
from miniworld.tables.downstream import Downstream, downstream, halves_of_pairs
from miniworld.tables.suggested import PCK, suggested
from miniworld.tables.suggested import TIMESTEPS as ADVISED
from shiftless.auditing.cost import audit_calls
from shiftless.auditing.measures import FINISHED, HEADLINE
from shiftless.auditing.observation import Observation, observe, planned
from shiftless.backbones.base import Backbone
from shiftless.bench.table import Row, Table, machine
from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import Difference, difference, interval
from shiftless.metrics.multiplicity import multiplicity
from shiftless.metrics.pck import pooled
from shiftless.metrics.rank import spearman_interval
from shiftless.progress import count, reporting
from shiftless.reading.available import available
from shiftless.recipe import Recipe
from shiftless.view.curves import Point, curves_picture
from shiftless.view.sheet import save_picture

MIOU = "part mIoU"
FINISH = 4  # steps of the full denoising, to save time
ORACLE = "oracle: "
"""Prefix of the measures that use the ground truth."""
TRUTH = f"{ORACLE}parts"
"""What was really invented: how many more parts are wrong in the predicted clean image than in the reconstruction."""
ENDS = ("", ", at fixed noise")
CHEAPEST = ("latent", "structure", "edges", "colour", "scales", "spread", "features", "seeds")
"""The measures without ground truth, the cheapest first."""
TIE = 0.05
"""Sums of correlations within this distance count as equal: it is far below the width of their intervals."""


@dataclass(frozen=True, eq=False)
class Result:
    """One configuration on one look: each measure on each of n pictures, and its downstream scores."""

    key: tuple[int, str]
    look: str
    shifts: Mapping[str, np.ndarray]
    worth: Downstream

    def half(self, half: int) -> Result:
        """Return the result on every second picture and on one half of the pairs."""
        shifts = {name: values[half::2] for name, values in self.shifts.items()}
        return replace(self, shifts=shifts, worth=self.worth.half(half))


@dataclass(frozen=True, eq=False)
class MiniAudit:
    """What the bench returns.

    answer  rank correlations over all configurations, over the half that chose, and held out; what advice is worth
    results every configuration with all its numbers
    """

    answer: Table
    results: Sequence[Result]

    def summary(self) -> Table:
        """Return the rows to print: measures after one step, and the oracle's parts; all and held out."""

        def printed(row: Row) -> bool:
            half, _, name = row.method.partition(": ")
            return half in ("all", "held-out") and FINISHED not in name and (ORACLE not in name or name == TRUTH)

        return replace(self.answer, rows=[row for row in self.answer.rows if printed(row)])

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the answer and every configuration's numbers as one JSON table."""
        rows = [*self.answer.rows, *rows_of(self.results)]
        return Table(self.answer.bench, self.answer.model, rows, self.answer.machine).write(path)

    def draw(self, path: str | os.PathLike[str], measure: str = HEADLINE) -> Path:
        """Draw, for each look, a measure of shift and the matching over the timestep, a curve for each technique."""
        panels = []
        for look in dict.fromkeys(one.look for one in self.results):
            some = [one for one in self.results if one.look == look]
            shifts: dict[str, dict[int, Point]] = {}
            worth: dict[str, dict[int, Point]] = {}
            for one in some:
                t, name = one.key
                values, scores = one.shifts[measure], one.worth.matches
                shifts.setdefault(name, {})[t] = (float(values.mean()), *interval(values))
                worth.setdefault(name, {})[t] = (
                    pooled(scores.bbox, scores.totals),
                    *scores.interval(),
                )
            panels.append(curves_picture(shifts, title=f"Content shift, {look} pictures", metric=measure))
            panels.append(curves_picture(worth, title=f"Matching, {look} pairs", metric=PCK))
        wide, high = panels[0].size
        sheet = Image.new("RGB", (2 * wide, high * (len(panels) // 2)), "white")
        for i, panel in enumerate(panels):
            sheet.paste(panel, (i % 2 * wide, i // 2 * high))
        return save_picture(sheet, path)


def run(
    model: Backbone,
    *,
    looks: Sequence[str] = LOOKS,
    timesteps: Sequence[int] = TIMESTEPS,
    pictures: int = 24,
    pairs: int = 120,
    batch: int | None = None,
    progress: bool = True,
) -> MiniAudit:
    """Audit every configuration on unseen pictures, score it on pairs, and rank one against the other.

    Configurations whose parts the model does not have are left out and named.
    """
    began = time.perf_counter()
    results: list[Result] = []
    notes: list[str] = []
    for look in looks:
        every = configurations(look, timesteps)
        keys = {f"{t} {name}": (t, name) for t, name in every}
        here = available(model, {f"{t} {name}": recipe for (t, name), recipe in every.items()})
        if len(here) < len(every):
            left = {name for t, name in every if f"{t} {name}" not in here}
            notes.append(f"{look}: left out, as parts are not at hand: {', '.join(sorted(left))}")
        shifts = shifts_of(model, here, look, n=pictures, batch=batch, progress=progress)
        worth = downstream(model, here, look, n=pairs, batch=batch, progress=progress)
        results += [Result(keys[name], look, shifts[name], worth[name]) for name in here]
    count = len({(one.key, one.look) for one in results})
    notes += [
        f"{count} configurations: {len(timesteps)} timesteps x techniques x {len(looks)} looks; {pictures} pictures "
        f"and {pairs} pairs a look, none of them trained on",
        f"Spearman of each measure's mean with {PCK}; -1: more shift is always worse. 95% bootstrap intervals over "
        "configurations, ranked within a look; at fixed noise: within a look and timestep",
        "held out are half of the configurations, and half of the pictures and of the pairs too: the choice used "
        "none of them. But a held-out configuration resembles some of the choosing half (the next timestep, edges at "
        "half strength), so this confirms the choice for other pictures, not for other kinds of technique",
    ]
    gains = [Difference(row.value, *row.ci95) for row in rows_of(results) if row.metric == f"gain, {PCK}"]
    if gains:
        notes.append(f"of the configurations over the plain reading at their timestep (--json): {multiplicity(gains)}")
    rows = correlations(results)
    for look, steps in product(looks, ADVISED):
        advised, advice = suggested(model, look, steps, pictures=min(16, pictures), pairs=pairs, batch=batch)
        rows += advised
        notes.append(f"{look}, advised from t = {', '.join(map(str, steps))}: {advice.lines()[0]}")
        for row in advised:
            low, high = row.ci95
            notes.append(f"    {row.method}, {row.metric}: {row.value:.3f} [{low:.3f}, {high:.3f}]")
    notes.append("of the advice: " + multiplicity([Difference(r.value, *r.ci95) for r in rows if r.is_gain]))
    notes.append(f"{time.perf_counter() - began:.0f} s")
    notes.insert(0, f"chosen as headline by the choosing half: {chosen(rows)}; the audit ranks by: {HEADLINE}")
    return MiniAudit(Table("mini-audit", model.spec.name, rows, machine(), notes), results)


def shifts_of(
    model: Backbone,
    recipes: Mapping[str, Recipe],
    look: str,
    *,
    n: int,
    batch: int | None = None,
    progress: bool = False,
) -> dict[str, dict[str, np.ndarray]]:
    """Audit recipes on n unseen pictures of a look: recipe -> measure -> n numbers, the oracle's among them."""
    from shiftless.image import open_photo

    drawn = {f"{look}-{i}": picture for i, picture in enumerate(photos(seeds("audit", n).start, n, look))}
    kinds = {name: {"category": picture.kind} for name, picture in drawn.items()}
    numbers: dict[str, dict[str, list[float]]] = {name: {} for name in recipes}
    judge = _oracle()
    every = list(recipes.values())
    doing = f"auditing {count(n, 'picture')} by {count(len(every), 'configuration')}, {look}"
    total = n * audit_calls(*planned(every, finish=FINISH))
    with reporting(progress, doing, total, "denoiser call") as report:
        observations = observe(
            model,
            [open_photo(picture.image, name=name) for name, picture in drawn.items()],
            every,
            fill=lambda photo: kinds[photo.name],
            finish=FINISH,
            batch=batch,
            report=report,
        )
        for one in observations:
            scores = dict(one.scores)
            if judge is not None:
                scores |= really(judge, one, drawn[one.name])
            for measure, values in scores.items():
                for name, value in zip(recipes, values):
                    numbers[name].setdefault(measure, []).append(float(value))
    return {name: {m: np.array(values) for m, values in by.items()} for name, by in numbers.items()}


def really(judge: Any, observation: Observation, truth: Any) -> dict[str, np.ndarray]:
    """Measure what each predicted clean image invented, after one step and at the end: measure -> K numbers."""
    from miniworld.oracle import invented

    numbers: dict[str, np.ndarray] = {}
    for ending, pictures in (("", observation.once), (FINISHED, observation.finished)):
        reports = judge.look(np.stack([observation.kept, *pictures]))
        each = [invented(reports[0], reports[i + 1], truth) for i in range(len(pictures))]
        for name in ("parts", "appeared", "vanished", "points"):
            numbers[f"{ORACLE}{name}{ending}"] = np.array([getattr(one, name) for one in each])
    return numbers


def correlations(results: Sequence[Result]) -> list[Row]:
    """Rank-correlate every measure with the downstream scores: over all configurations, and over the two halves.

    Half of the configurations choose, on half of the pictures and of the pairs; the others are held out, on the other
    pictures and pairs.
    """
    choosing, held_out = halves(sorted({one.key for one in results}))
    rows = []
    for half, keys, part in (("all", choosing | held_out, None), ("choosing", choosing, 0), ("held-out", held_out, 1)):
        whole = [one for one in results if one.key in keys]
        some = whole if part is None else [one.half(part) for one in whole]
        for measure in results[0].shifts:
            shifts = [float(one.shifts[measure].mean()) for one in some]
            rows += ranked(f"{half}: {measure}", shifts, some)
            if TRUTH in results[0].shifts and measure != TRUTH:
                rows += picture_by_picture(f"{half}: {measure}", measure, some)
        rows += ranked(f"{half}: the timestep alone", [one.key[0] for one in some], some)
        first, second = zip(*(halves_of_pairs(one.worth.matches) for one in whole))
        rows += ranked(
            f"{half}: PCK on half the pairs (negated), with the other half", [-v for v in first], whole, second
        )
    return rows


def chosen(rows: Sequence[Row]) -> str:
    """Return the measure without ground truth that the choosing half picks, by its two correlations' sum with PCK.

    >>> values = {"colour": -0.5, "latent": -0.48, "edges": -0.2, "oracle: parts": -0.9}
    >>> rows = [Row(f"choosing: {m}", f"with {PCK}{end}", v, (v, v)) for m, v in values.items() for end in ENDS]
    >>> chosen(rows)
    'latent'
    """
    totals: dict[str, float] = {}
    for row in rows:
        half, _, name = row.method.partition(": ")
        if half == "choosing" and row.metric in [f"with {PCK}{end}" for end in ENDS]:
            totals[name] = totals.get(name, 0.0) + row.value
    return cheapest_of_the_best(totals)


def cheapest_of_the_best(totals: Mapping[str, float], tie: float = TIE) -> str:
    """Return the cheapest of the measures without ground truth whose sum is within `tie` of the least.

    One step is cheaper than full denoising, a latent cheaper than a decoded image, one reading cheaper than several.

    >>> cheapest_of_the_best({"colour": -1.0, "latent": -0.96, "edges": -0.4})
    'latent'
    """
    blind = {name: value for name, value in totals.items() if name.removesuffix(FINISHED) in CHEAPEST}
    close = [name for name, value in blind.items() if value <= min(blind.values()) + tie]
    return min(close, key=lambda name: (FINISHED in name, CHEAPEST.index(name.removesuffix(FINISHED))))


def rows_of(results: Sequence[Result]) -> list[Row]:
    """Return every configuration's numbers: its shifts, what they save against the plain one, PCK, parts."""
    plain = {(one.look, one.key[0]): one for one in results if one.key[1] == PLAIN}
    rows = []
    for one in results:
        name = f"{one.look} t={one.key[0]} {one.key[1]}"
        scores = one.worth.matches
        rows.append(Row(name, PCK, pooled(scores.bbox, scores.totals), scores.interval()))
        rows.append(Row(name, MIOU, one.worth.miou, (one.worth.miou, one.worth.miou)))
        rows += [Row(name, m, float(values.mean()), interval(values)) for m, values in one.shifts.items()]
        base = plain.get((one.look, one.key[0]))
        if base is not None and base is not one:
            gain = scores.gain(base.worth.matches)
            rows.append(Row(name, f"gain, {PCK}", gain.value, (gain.low, gain.high)))
            for measure in (HEADLINE, "latent"):
                saved = difference(base.shifts[measure], one.shifts[measure])
                rows.append(Row(name, f"saved, {measure}", saved.value, (saved.low, saved.high)))
    return rows


def ranked(
    name: str, shifts: Sequence[float], some: Sequence[Result], other: Sequence[float] | None = None
) -> list[Row]:
    """Rank a measure against PCK, the parts' mIoU and what was really invented: over all noise, and at fixed noise.

    other  ranked against this alone, under PCK's name
    """
    pck = [pooled(one.worth.matches.bbox, one.worth.matches.totals) for one in some] if other is None else other
    targets: dict[str, Sequence[float]] = {PCK: pck}
    if other is None:
        targets[MIOU] = [one.worth.miou for one in some]
        if TRUTH in some[0].shifts and TRUTH not in name:
            targets[TRUTH] = [float(one.shifts[TRUTH].mean()) for one in some]
    groups: tuple[Sequence[Hashable], ...]
    groups = [one.look for one in some], [(one.look, one.key[0]) for one in some]
    rows = []
    for target, worth in targets.items():
        for end, group in zip(ENDS, groups):
            value = spearman_interval(shifts, worth, group, [one.key for one in some])
            rows.append(Row(name, f"with {target}{end}", value.value, (value.low, value.high)))
    return rows


def picture_by_picture(name: str, measure: str, some: Sequence[Result]) -> list[Row]:
    """Rank-correlate a measure with what was really invented, over the pictures of each configuration."""
    blind, truth, groups, clusters = [], [], [], []
    for one in some:
        for i, (a, b) in enumerate(zip(one.shifts[measure], one.shifts[TRUTH])):
            blind.append(float(a))
            truth.append(float(b))
            groups.append((one.key, one.look))
            clusters.append((one.look, i))
    value = spearman_interval(blind, truth, groups, clusters, draws=200)
    return [Row(name, f"with {TRUTH}, picture by picture", value.value, (value.low, value.high))]


def _oracle() -> Any:
    """The oracle, or None where its weights are not installed."""
    from miniworld.oracle import load_oracle

    try:
        return load_oracle()
    except BadInput:
        return None
