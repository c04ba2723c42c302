"""The campaign: which groups there are, how many cases each tries, and the table of what became of them."""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.robustness import files, models
from benchmarks.robustness.files import Case
from benchmarks.robustness.outcome import Outcome

Maker = Callable[[random.Random, Path], Iterator[Case]]
GROUPS: Mapping[str, tuple[Maker, int, int]] = {  # what makes the cases, how many in full, how many with --quick
    "pictures": (files.pictures, 3000, 250),
    "recipes": (files.recipes, 3000, 250),
    "taps": (files.taps, 1000, 100),
    "annotations": (files.annotations, 2000, 200),
    "feature files": (files.features, 2000, 150),
    "head files": (files.heads, 1000, 80),
    "captions and prompts": (files.captions, 500, 60),
    "LoRAs": (models.loras, 400, 12),
    "model folders": (models.model_folders, 600, 25),
    "ControlNets": (models.controlnets, 300, 12),
    "captioners": (models.captioners, 200, 6),
}


def run_group(name: str, seed: int, count: int, first: int = 0, mark: Path | None = None) -> Outcome:
    """Try `count` cases of one group, from case `first` on; the same seed gives the same cases.

    mark  a file that holds the number of the case being tried: what is left of it where the process itself dies
    """
    make = GROUPS[name][0]
    outcome = Outcome(name)
    with tempfile.TemporaryDirectory() as folder:
        made = make(random.Random(f"{seed} {name}"), Path(folder))
        for number, (case, act) in enumerate(itertools.islice(made, first + count)):
            if number >= first:
                if mark is not None:
                    mark.write_text(f"{number} {case}", encoding="utf-8", errors="replace")
                outcome.attempt(f"[{number}] {case}", act)
    return outcome


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the table of tried, done, refused and failed, and a line for each failure.

    >>> print(render([Outcome("pictures", 3, 1, 1, ["[2] a: KeyError: b"])]))
    group                        tried   done  refused  failed  seconds
    pictures                         3      1        1       1        0
    total                            3      1        1       1        0
    pictures: [2] a: KeyError: b
    """
    total = Outcome("total")
    for outcome in outcomes:
        total.tried, total.done = total.tried + outcome.tried, total.done + outcome.done
        total.refused, total.seconds = total.refused + outcome.refused, total.seconds + outcome.seconds
        total.failures += outcome.failures
    lines = [f"{'group':<27}{'tried':>7}{'done':>7}{'refused':>9}{'failed':>8}{'seconds':>9}"]
    for one in (*outcomes, total):
        numbers = f"{one.tried:>7}{one.done:>7}{one.refused:>9}{len(one.failures):>8}{one.seconds:>9.0f}"
        lines.append(f"{one.group:<27}{numbers}" + (f"  skipped: {one.skipped}" if one.skipped else ""))
    return "\n".join([*lines, *(f"{one.group}: {line}" for one in outcomes for line in one.failures)])


def own_cache(folder: str) -> None:
    """Keep captions that are made on the way away from the user's."""
    os.environ["SHIFTLESS_CACHE"] = folder
