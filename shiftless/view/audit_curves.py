"""Shift over noise, a curve for each technique: does it lower the curve, or only move along it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shiftless.auditing.compared import is_bare, named
from shiftless.auditing.measures import worded
from shiftless.view.audit_answer import less
from shiftless.view.curves import Curve

if TYPE_CHECKING:
    from shiftless.auditing.audit import Audit
    from shiftless.recipe import Recipe

BARE = "bare"
_MOST = 10  # curves that are still distinguishable


@dataclass(frozen=True)
class Line:
    """One way of steering, at one or several timesteps: its name, and timestep -> index of the recipe."""

    name: str
    recipes: dict[int, int]


def lines_of(audit: Audit) -> list[Line]:
    """Return the ways of steering that an audit holds, each with its timesteps; the bare one first.

    Recipes that differ only in timestep, start and steps belong to one way.
    """
    recipes_of: dict[tuple[Recipe, bool, int], dict[int, int]] = {}
    for k, recipe in enumerate(audit.recipes):
        way, turn = recipe.but(timestep=0, start=None, steps=None, label=""), 0
        while recipe.timestep in recipes_of.setdefault((way, recipe.start is not None, turn), {}):
            turn += 1
        recipes_of[way, recipe.start is not None, turn][recipe.timestep] = k
    ways = list(dict.fromkeys(way for way, _, _ in recipes_of))
    names = {
        way: f"{BARE if is_bare(way) else ''} {one.label.removeprefix('t=0').strip()}".strip()
        for way, one in zip(ways, named(ways))
    }
    both = {way for way, walks, _ in recipes_of if walks} & {way for way, walks, _ in recipes_of if not walks}
    lines = []
    for (way, walks, turn), recipes in recipes_of.items():
        name = names[way] + (", walked" if walks and way in both else "") + (f" ({turn + 1})" if turn else "")
        lines.append(Line(name, dict(sorted(recipes.items()))))
    return sorted(lines, key=lambda line: not _is_bare(audit, line))


def curves_of(audit: Audit) -> dict[str, Curve]:
    """Return the headline score over the timestep, name -> timestep -> (value, low, high); {} if there is no curve.

    Ways that were audited at one timestep are points; at most ten are returned, the bare one and those of most
    timesteps and least shift.
    """
    lines = lines_of(audit)
    if all(len(line.recipes) == 1 for line in lines):
        return {}
    rank = {k: place for place, k in enumerate(audit.ranked())}

    def first(line: Line) -> tuple[bool, int, float]:
        return not _is_bare(audit, line), -len(line.recipes), float(np.mean([rank[k] for k in line.recipes.values()]))

    kept = sorted(lines, key=first)[:_MOST]
    return {line.name: {t: audit.value(k) for t, k in line.recipes.items()} for line in kept}


def moves(audit: Audit) -> list[str]:
    """Say of each technique with several timesteps whether it moves the curve: a sentence each."""
    sentences, what = [], worded(audit.headline)
    for line in lines_of(audit):
        if len(line.recipes) == 1 or _is_bare(audit, line):
            continue
        saved = {t: audit.saved(k) for t, k in line.recipes.items()}
        lower, clear = ([t for t in saved if test(saved[t])] for test in (lambda d: d.value > 0, lambda d: d.low > 0))
        text = f"{line.name}: less {what} than the bare reading at {len(lower)} of {len(saved)} timesteps"
        if len(audit.names) > 1 and lower:
            text += f", clearly at {len(clear)}"
        least, largest = (pick(saved, key=lambda t: saved[t].value) for pick in (min, max))
        text += f"; from {less(saved[least].value)} (t={least}) to {less(saved[largest].value)} (t={largest})."
        sentences.append(text + _worth(audit, line))
    return sentences


def _worth(audit: Audit, line: Line) -> str:
    """Say at which timestep a bare reading has as much shift, for the noisiest timestep that allows interpolation."""
    for t, k in reversed(line.recipes.items()):
        bare = next(one.recipes for one in lines_of(audit) if audit.baselines[k] in one.recipes.values())
        steps = [step for step in bare if step <= t]
        values = [audit.value(bare[step]).value for step in steps]
        goal = audit.value(k).value
        if len(steps) > 1 and values == sorted(values) and values[0] < goal < values[-1]:
            same = float(np.interp(goal, values, steps))
            return f" At t={t} it has as much {worded(audit.headline)} as a bare reading would at about t={same:.0f}."
    return ""


def _is_bare(audit: Audit, line: Line) -> bool:
    return all(is_bare(audit.recipes[k]) for k in line.recipes.values())
