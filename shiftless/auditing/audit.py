"""Audit: the content shift of K recipes on n photos, ranked, with intervals."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shiftless.atomic import write_atomic
from shiftless.auditing.compared import compared
from shiftless.auditing.measures import FINISHED, HEADLINE, MEASURES, measure_named, shown, worded
from shiftless.auditing.observation import CLEANEST, DRAWS, FINISH, Observation, observe
from shiftless.auditing.windows import Windows
from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import Difference, interval, saving
from shiftless.reading.loop import check
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from shiftless.backbones.perceptual import PerceptualModel


@dataclass(frozen=True, eq=False)
class Audit:
    """How far K recipes' readings of n photos have shifted.

    model      its name
    recipes    K, each with a label, including the bare recipes that were added as baselines
    baselines  K, the bare recipe at the same noise and places that each is compared with (itself, for a bare one)
    names      n photos
    scores     measure -> n K, 0 where nothing shifted; "..., finished" is after denoising to the end
    floor      picture measure -> n, what the autoencoder alone does to the photo
    skipped    a line for each photo that could not be read
    headline   the measure that ranks
    left_out   how many photos of those given were not reached in the minutes that were allowed

    >>> scores = {"latent": np.array([[0.4, 0.2], [0.6, 0.4]])}
    >>> recipes = Recipe(label="bare"), Recipe(control="canny", label="edges")
    >>> result = Audit("m", recipes, (0, 0), ["a", "b"], scores, {})
    >>> result.ranked(), round(result.value(1).value, 2), round(result.saved(1).value, 2)
    ([1, 0], 0.3, 0.4)
    """

    model: str
    recipes: tuple[Recipe, ...]
    baselines: tuple[int, ...]
    names: list[str]
    scores: dict[str, np.ndarray]
    floor: dict[str, np.ndarray]
    skipped: list[str] = field(default_factory=list)
    headline: str = HEADLINE
    left_out: int = 0

    @property
    def measures(self) -> list[str]:
        """The measures taken, those of the finished picture last."""
        names = [measure.name for measure in MEASURES]
        return [name for name in (*names, *(name + FINISHED for name in names)) if name in self.scores]

    def ranked(self, measure: str | None = None) -> list[int]:
        """Return the recipes' indices, least shift first."""
        return [int(k) for k in np.argsort(self._of(measure).mean(0), kind="stable")]

    def groups(self, measure: str | None = None) -> list[list[int]]:
        """Return the recipes grouped by baseline: groups by timestep, recipes within a group least shift first.

        Recipes of different groups are read at different noise or taps, and their shift cannot be compared.
        """
        ranked = self.ranked(measure)
        baselines = sorted(set(self.baselines), key=lambda b: (self.recipes[b].timestep, ranked.index(b)))
        return [[k for k in ranked if self.baselines[k] == b] for b in baselines]

    def value(self, k: int, measure: str | None = None) -> Difference:
        """Return a recipe's mean shift over photos with its 95% bootstrap interval."""
        values = self._of(measure)[:, k]
        return Difference(float(values.mean()), *interval(values))

    def saved(self, k: int, measure: str | None = None) -> Difference:
        """Return how much less a recipe shifts than its baseline, paired, as a share of the baseline's shift."""
        scores = self._of(measure)
        return saving(scores[:, self.baselines[k]], scores[:, k])

    def best(self) -> Recipe:
        """Return the recipe that keeps the content best."""
        return self.recipes[self.ranked()[0]]

    def ranking_by(self, measure: str) -> Audit:
        """Return the same audit with another headline; raises BadInput for a measure that was not taken."""
        self._of(measure)
        return replace(self, headline=measure)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: a row for each recipe and measure, in ranked order, and the photos' own numbers."""
        rows = []
        for rank, k in enumerate(self.ranked(), 1):
            for measure in self.measures:
                value, saved = self.value(k, measure), self.saved(k, measure)
                rows.append(
                    {
                        "rank": rank,
                        "recipe": self.recipes[k].label,
                        "baseline": self.recipes[self.baselines[k]].label,
                        "measure": measure,
                        "value": value.value,
                        "ci95": [value.low, value.high],
                        "saved": saved.value,
                        "saved_ci95": [saved.low, saved.high],
                    }
                )
        return {
            "model": self.model,
            "headline": self.headline,
            "recipes": [recipe.to_dict() for recipe in self.recipes],
            "rows": rows,
            "autoencoder": {name: float(values.mean()) for name, values in self.floor.items()},
            "photos": [
                {"name": name, "scores": {m: self.scores[m][i].tolist() for m in self.measures}}
                for i, name in enumerate(self.names)
            ],
            "failed": self.skipped,
            "left_out": self.left_out,
        }  # fmt: skip

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all; raises BadInput if the path cannot be written."""
        return write_atomic(path, (json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n").encode())

    def formatted(self, k: int, measure: str) -> str:
        """Return a recipe's mean of a measure as it is printed."""
        return shown(measure, self._of(measure)[:, k])

    def __str__(self) -> str:
        what = worded(self.headline)
        lines = [f"content shift of {self.model} on {_photos(len(self.names))}, least first, by {what}"]
        wide, d = max(len(recipe.label) for recipe in self.recipes), measure_named(self.headline).digits
        for k in self.ranked():
            value, saved = self.value(k), self.saved(k)
            share = f"{100 * saved.value:+.0f}% [{100 * saved.low:+.0f}, {100 * saved.high:+.0f}]"
            against = "" if self.baselines[k] == k else f"  saves {share} of the bare reading's"
            label = self.recipes[k].label.ljust(wide)
            lines.append(f"{label}  {value.value:.{d}f} [{value.low:.{d}f}, {value.high:.{d}f}]{against}".rstrip())
        return "\n".join([*lines, *self.reached(), *self.skipped])

    def reached(self) -> list[str]:
        """Say how many photos of how many were audited, if the minutes allowed did not reach all: a line, or none."""
        if not self.left_out:
            return []
        tried = len(self.names) + len(self.skipped)
        return [f"Audited are {tried} of {tried + self.left_out} photos: the time allowed for no more."]

    def __rich__(self) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable

        table = RichTable(box=box.SIMPLE_HEAD, title=f"Content shift of {self.model} on {_photos(len(self.names))}")
        table.add_column("recipe, least shift first", overflow="fold")
        table.add_column(worded(self.headline), justify="right", style="bold", header_style="bold cyan")
        table.add_column("saves, of the bare reading's", justify="right")
        others = [m for m in self.measures if m != self.headline and FINISHED not in m]
        d = measure_named(self.headline).digits
        for measure in others:
            table.add_column(measure, justify="right", style="not bold")
        for k in self.ranked():
            value, saved = self.value(k), self.saved(k)
            sure = "green" if saved.low > 0 else "red" if saved.high < 0 else "dim"
            against = "-" if self.baselines[k] == k else (
                f"[{sure}]{100 * saved.value:+.0f}%[/]\n[dim]{100 * saved.low:+.0f} to {100 * saved.high:+.0f}[/dim]"
            )  # fmt: skip
            table.add_row(
                self.recipes[k].label.replace("[", r"\["),
                f"{value.value:.{d}f}\n[dim not bold]{value.low:.{d}f}–{value.high:.{d}f}[/]",
                against,
                *(self.formatted(k, measure) for measure in others),
            )
        table.caption_justify = "left"
        table.caption = (
            "0 is no shift; 95% bootstrap intervals over photos, what is saved is paired with the bare reading at the "
            "same noise; all but features, seeds and latents against the autoencoder's own reconstruction"
        )
        return table

    def _of(self, measure: str | None) -> np.ndarray:
        name = self.headline if measure is None else measure
        if name not in self.scores:
            raise BadInput(f"measure {name!r} was not taken; there are {', '.join(self.measures)}")
        return self.scores[name]


def audit(
    model: Backbone,
    images: Any,
    recipes: Recipe | Sequence[Recipe],
    *,
    fill: Fill | None = None,
    draws: int = DRAWS,
    finish: int = FINISH,
    cleanest: int = CLEANEST,
    perceptual: PerceptualModel | None = None,
    batch: int | None = None,
    minutes: float | None = None,
    on_observation: Callable[[Observation], None] | None = None,
    report: Callable[[int], object] | None = None,
) -> Audit:
    """Measure how far recipes' readings drift from photos: which technique keeps the content, and by how much.

    images   one image or many (path, PIL image, array, tensor), or anything that gives one after another
    recipes  what to audit; the bare reading at the same noise is added where it is missing
    minutes  about how long it may take: it stops when the next photo would not fit by the pace so far, and counts
             those left out of a list in `left_out`. The first photo is always read
    on_observation  called with each photo's Observation, to draw it; only the scores are kept afterwards
    report   called with the number of noisy latents of each denoiser call, to say how far the work is

    A photo that cannot be read is left out and listed in `skipped`. Other arguments and errors are those of
    `shiftless.auditing.observe`; raises BadInput too if no photo could be read.

    >>> from shiftless.backbones.registry import load
    >>> picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    >>> result = audit(load("twin:sd15"), picture, Recipe(timestep=300, control="canny"), finish=0)
    >>> [recipe.label for recipe in result.recipes], result.baselines
    (['t=300', 't=300 canny'], (0, 0))
    """
    requested = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    if not requested:
        raise BadInput("no recipe was given; give at least one Recipe")
    every, baselines = compared(requested)
    one_image = (str, bytes, np.ndarray, torch.Tensor)
    photos: Any = images if isinstance(images, Iterable) and not isinstance(images, one_image) else [images]
    names: list[str] = []
    scores: dict[str, list[np.ndarray]] = {}
    floor: dict[str, list[float]] = {}
    skipped: list[str] = []
    options: dict[str, Any] = {
        "fill": fill,
        "draws": draws,
        "finish": finish,
        "cleanest": cleanest,
        "perceptual": perceptual,
    }
    batch = check(model, every, batch)
    windows = Windows(photos, batch, minutes)
    for some in windows:
        for observation in observe(model, some, every, batch=batch, skipped=skipped, report=report, **options):
            names.append(observation.name)
            for name, values in observation.scores.items():
                scores.setdefault(name, []).append(values)
            for name, value in observation.floor.items():
                floor.setdefault(name, []).append(value)
            if on_observation is not None:
                on_observation(observation)
    if not names:
        raise BadInput(f"no photo could be read: {'; '.join(skipped[:3]) or 'none was given'}")
    return Audit(
        model.spec.name,
        every,
        baselines,
        names,
        {name: np.stack(rows) for name, rows in scores.items()},
        {name: np.array(values) for name, values in floor.items()},
        skipped,
        left_out=windows.left_out,
    )


def _photos(n: int) -> str:
    return f"{n} photo" + ("s" if n != 1 else "")
