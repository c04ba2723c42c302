"""Advice: which readings of a user's photos are worth their cost, what they are expected to save, and how surely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shiftless.auditing.compared import named
from shiftless.auditing.cost import cost
from shiftless.auditing.measures import worded
from shiftless.auditing.observation import CLEANEST
from shiftless.auditing.similarities import Similarities
from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import Difference, interval, saving
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe, recipes_to_toml

MEASURE = "features"
"""The measure that advice reports: the one that is defined for readings joined in a bucket."""
_LEAST = 0.01  # share of the usual reading's shift that another reading must save to be added


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A bucket of readings, and what to expect of it.

    recipes  the bucket: one recipe or several, each with a label
    usual    the bare reading that it is compared with
    limit    the highest cost allowed for a photo, in plain denoiser calls
    shift, usual_shift  the bucket's and the usual reading's features shift, with 95% intervals over photos
    saved    the share of the usual reading's shift that the bucket saves, paired
    better   the share of photos on which it shifts less
    path     the shift on the choosing photos after each reading that was added
    chosen_on, measured_on  the number of photos it was chosen on, and of the other photos it was measured on
    too_noisy  the timesteps at which no bucket within the limit came down to the usual reading's shift
    """

    recipes: tuple[Recipe, ...]
    usual: Recipe
    limit: float
    shift: Difference
    usual_shift: Difference
    saved: Difference
    better: float
    path: tuple[float, ...]
    chosen_on: int
    measured_on: int
    too_noisy: tuple[int, ...] = ()

    @property
    def cost(self) -> float:
        """What a photo costs, in plain denoiser calls."""
        return cost(self.recipes)

    def lines(self) -> list[str]:
        """Return in plain words what was chosen, what to expect, and how sure that is."""
        s, u, t = (tuple(round(v, 3) for v in one) for one in (self.shift, self.usual_shift, self.saved))
        n, names = len(self.recipes), "; ".join(recipe.label for recipe in self.recipes)
        lines = [f"{'one reading' if n == 1 else f'a bucket of {n} readings'}: {names}"]
        lines.append(f"cost: {self.cost:g} plain denoiser calls a photo, of {self.limit:g} allowed")
        lines.append(
            f"expected: {worded(MEASURE)} {s[0]:.3f} [{s[1]:.3f}, {s[2]:.3f}] where the usual reading, "
            f"{self.usual.label}, has {u[0]:.3f}; it saves {100 * t[0]:.0f}% [{100 * t[1]:.0f}, {100 * t[2]:.0f}], "
            f"and has less on {100 * self.better:.0f}% of photos"
        )
        if self.chosen_on:
            photos = "1 photo" if self.measured_on == 1 else f"{self.measured_on} photos"
            lines.append(f"measured on {photos}; {self.chosen_on} others chose")
        lines.append(self._surety())
        if self.too_noisy:
            steps = ", ".join(f"t={t}" for t in self.too_noisy)
            what = worded(MEASURE)
            lines.append(f"too noisy: at {steps} nothing within the cost came down to the usual reading's {what}")
        return lines

    def to_toml(self, model: str = "") -> str:
        """Return the recipe file, its advice above the recipes; `model` is the one to read them with."""
        return recipes_to_toml(self.recipes, "\n".join(["suggested by shiftless audit", *self.lines()]), model) + "\n"

    def _surety(self) -> str:
        if self.measured_on < 2:
            how = "measured on one photo only" if self.chosen_on else "chosen and measured on the same photo"
            return f"how sure: not at all, it was {how}; give more, 16 tell most of it"
        if self.saved.low > 0:
            return "how sure: the 95% interval of what it saves lies above zero"
        if self.saved.high < 0:
            return f"how sure: it has more {worded(MEASURE)} than the usual reading, which is better kept"
        return "how sure: not sure, the 95% interval of what it saves holds zero; give more photos or a higher cost"


def suggest(
    model: Backbone,
    images: Sequence[Any],
    recipes: Sequence[Recipe],
    usual: Recipe,
    *,
    limit: float = 4.0,
    fill: Fill | None = None,
    cleanest: int = CLEANEST,
    batch: int | None = None,
    report: Callable[[int], object] | None = None,
) -> Suggestion:
    """Choose timestep, techniques and bucket for photos, within a cost.

    recipes  what may be chosen, each also with another noise draw
    usual    the bare reading that a user would take otherwise
    limit    the most that a photo may cost, in plain denoiser calls
    report   called with the number of noisy latents of each denoiser call, to say how far the work is

    Minimising shift alone would always choose the least noise, but features need noise to carry meaning. So the
    largest timestep is taken at which a bucket shifts no more than the usual reading. There readings are added
    greedily, each the one that brings the bucket's features nearest to those of a nearly clean photo. The bucket is
    chosen on the first, third, fifth photo and so on, and measured on the others.

    Raises BadInput if nothing fits the limit, or no photo can be read.

    >>> from shiftless.backbones.registry import load
    >>> import numpy as np
    >>> pictures = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(4)]
    >>> usual = Recipe(timestep=300)
    >>> suggestion = suggest(load("twin:sd15"), pictures, [usual, usual.but(control="canny")], usual, limit=2)
    >>> suggestion.cost <= 2, suggestion.chosen_on, suggestion.measured_on
    (True, 2, 2)
    """
    options = options_of(recipes, usual, limit)
    read = Similarities(model, images, options, cleanest=cleanest, fill=fill, batch=batch, skipped=[], report=report)
    if not len(read):
        raise BadInput("no photo could be read; give pictures")
    choosing = list(range(0, len(read), 2))
    others = list(range(1, len(read), 2))
    target = float(read.shifts([0], choosing).mean())
    grown: dict[int, tuple[list[int], list[float]]] = {}
    for t in sorted({recipe.timestep for recipe in recipes if recipe in options}, reverse=True):
        grown[t] = _grown(read, options, [k for k, o in enumerate(options) if o.timestep == t], choosing, limit, target)
        if grown[t][1][-1] <= target:
            break
    else:
        t = min(grown, key=lambda t: grown[t][1][-1])
    bucket, path = grown[t]
    too_noisy = [one for one, (_, shifts) in grown.items() if one != t and shifts[-1] > target]
    return _measured(read, options, bucket, path, choosing, others, limit, too_noisy)


def options_of(recipes: Sequence[Recipe], usual: Recipe, limit: float) -> list[Recipe]:
    """Return the readings that advice weighs: the usual one first, then what the limit allows and other draws of it.

    Raises BadInput if nothing fits the limit.

    >>> [(one.timestep, one.seed) for one in options_of([Recipe(), Recipe(start=60)], Recipe(), limit=4)]
    [(50, 0), (50, 1)]
    """
    affordable = [recipe for recipe in recipes if cost([recipe]) <= limit]
    if not affordable:
        least = min((cost([recipe]) for recipe in recipes), default=0)
        raise BadInput(f"cost {limit:g}: no reading is that cheap; the cheapest takes {least:g} plain denoiser calls")
    again = [recipe.but(seed=recipe.seed + 1, label="") for recipe in affordable if recipe.noise == "draw"]
    return list(dict.fromkeys([usual, *affordable, *again]))


def _grown(
    read: Similarities,
    options: Sequence[Recipe],
    here: Sequence[int],
    photos: Sequence[int],
    limit: float,
    target: float,
) -> tuple[list[int], list[float]]:
    """Grow a bucket from options of one timestep: at each step the one that lowers the shift most, while it pays."""
    bucket: list[int] = []
    path: list[float] = []
    while True:
        fits = [k for k in here if k not in bucket and cost(options[j] for j in (*bucket, k)) <= limit]
        shifts = {k: float(read.shifts([*bucket, k], photos).mean()) for k in fits}
        best = min(fits, key=lambda k: shifts[k], default=None)
        if best is None or (path and path[-1] - shifts[best] < _LEAST * target):
            return bucket, path
        bucket.append(best)
        path.append(shifts[best])


def _measured(
    read: Similarities,
    options: Sequence[Recipe],
    bucket: Sequence[int],
    path: Sequence[float],
    choosing: Sequence[int],
    others: Sequence[int],
    limit: float,
    too_noisy: Sequence[int],
) -> Suggestion:
    rows = others or choosing
    ours, theirs = read.shifts(bucket, rows), read.shifts([0], rows)
    shown = list(dict.fromkeys([0, *bucket]))
    labelled = dict(zip(shown, named([replace(options[k], label="") for k in shown])))
    return Suggestion(
        tuple(labelled[k] for k in bucket),
        labelled[0],
        limit,
        Difference(float(ours.mean()), *interval(ours)),
        Difference(float(theirs.mean()), *interval(theirs)),
        saving(theirs, ours),
        float((ours < theirs).mean()),
        tuple(path),
        len(choosing) if others else 0,
        len(rows),
        tuple(too_noisy),
    )
