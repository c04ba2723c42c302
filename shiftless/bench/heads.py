"""Heads on pairs: read annotated pairs into what heads train from, and score heads beside the plain mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shiftless import plugins
from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import (
    FLIPPED,
    TRIVIAL,
    Scores,
    flip_with,
    gain,
    mirrored_calls,
    pair_calls,
    pair_visits,
    reader,
    same_place,
    score,
)
from shiftless.bench.table import Table, machine
from shiftless.data.pairs import read_pairs
from shiftless.data.photopair import PhotoPair, spread
from shiftless.data.spair import read_spair
from shiftless.data.splits import split_pairs
from shiftless.errors import BadInput
from shiftless.progress import Progress, count, reporting
from shiftless.recipe import Recipe
from shiftless.tasks.correspondence import match
from shiftless.tasks.head import CorrespondenceHead
from shiftless.tasks.pairfeatures import AnnotatedBuckets, PairFeatures

SPLITS = ("train", "val", "test")
WITH_FLIP = ", with flip"
_USED = {
    "train": "heads are trained on these pairs, which flatters them",
    "val": "these pairs choose the step at which a head is taken, which flatters it",
}


class SplitPairs(NamedTuple):
    """The pairs of a split, and the notes for a table of them.

    how   how a folder without splits was split
    used  what training uses these pairs for
    """

    pairs: list[PhotoPair]
    how: str = ""
    used: str = ""

    @property
    def notes(self) -> list[str]:
        """The notes for the table, a line each."""
        return [note for note in (self.how, self.used) if note]


def annotated_pairs(data: str, split: str, n: int | None = None, look: str = "photo") -> SplitPairs:
    """Return the pairs of a split: of the embedded world ("mini"), of SPair-71k, or of the user's own folder.

    The user's own folder has no splits, so it is split by photo (`shiftless.data.splits`), and a note says how.

    Raises BadInput naming what is wrong with the data, and for a folder whose photos are too few for three splits.

    >>> annotated_pairs("mini", "train", 1).pairs
    [PhotoPair(train-000: train-000-a -> train-000-b, ... points, horse)]
    """
    if split not in SPLITS:
        raise BadInput(f"split={split!r}: must be one of {', '.join(SPLITS)}")
    drawn = plugins.find(plugins.PAIRS, data)
    if drawn is not None:
        pairs: list[PhotoPair] = drawn(split, n, look)
        return SplitPairs(pairs, used=_USED.get(split, ""))
    folder = Path(data)
    if any((place / "PairAnnotation").is_dir() for place in (folder, folder / "SPair-71k")):
        published = read_spair(folder, {"train": "trn"}.get(split, split))
        return SplitPairs(spread(published, n), used=_USED.get(split, ""))
    split_data = split_pairs(read_pairs(folder), data)
    return SplitPairs(spread(split_data.parts[split], n), split_data.note(), _USED.get(split, ""))


def visits(
    model: Backbone,
    pairs: Sequence[PhotoPair],
    recipes: Sequence[Recipe],
    *,
    batch: int | None = None,
    title: str = "",
    progress: bool | Progress = False,
    mirrored: Sequence[Recipe] = (),
) -> Iterator[tuple[int, AnnotatedBuckets]]:
    """Yield (pair's index, its buckets and points) as soon as both photos are read, each photo once.

    title     what the pairs are, where progress is shown
    mirrored  the recipes by which each source is read once more, mirrored
    progress  whether to show it, or the Progress that the denoiser calls are to be reported to

    Where a prompt says {category}, each category's pairs are read with its own.
    """
    groups: dict[str, list[int]] = {}
    by_category = any("{category}" in recipe.prompt for recipe in (*recipes, *mirrored))
    for i, pair in enumerate(pairs):
        groups.setdefault(pair.category if by_category else "", []).append(i)
    doing = f"reading {count(len(pairs), 'pair')}{title and f' ({title})'} by {count(len(recipes), 'recipe')}"
    total = pair_calls(pairs, recipes, model.spec) + mirrored_calls(pairs, mirrored, model.spec)
    with reporting(progress, doing, total, "denoiser call") as report:
        for category, rows in groups.items():
            as_is, turned = (
                [recipe.but(prompt=recipe.prompt.replace("{category}", category)) for recipe in some]
                for some in (recipes, mirrored)
            )
            part = [pairs[i] for i in rows]
            read_mirrored = reader(model, turned, batch, report) if turned else None
            for row, a, b, turned_a in pair_visits(part, reader(model, as_is, batch, report), read_mirrored):
                pair = part[row]
                points = pair.source_points, pair.target_points
                yield rows[row], AnnotatedBuckets(a, b, *points, pair.target_box, turned_a)


def keep(
    model: Backbone, pairs: Sequence[PhotoPair], recipes: Sequence[Recipe], *, attention: int | None = None,
    layout: Any = None, normalise: bool = True, side: int | None = None, **reading: Any,
) -> PairFeatures:  # fmt: skip
    """Read pairs once and keep what a head trains from; arguments as in `visits` and PairFeatures.gather."""
    rows = (pair for _, pair in visits(model, pairs, recipes, **reading))
    return PairFeatures.gather(rows, attention=attention, layout=layout, normalise=normalise, side=side)


def evaluate_heads(
    model: Backbone,
    pairs: Sequence[PhotoPair],
    heads: Mapping[str, CorrespondenceHead],
    recipes: Sequence[Recipe],
    *,
    alpha: float = 0.1,
    refine: str = "upsample",
    flip: bool = False,
    **reading: Any,
) -> dict[str, Scores]:
    """Match every pair with each head's map and score it: name -> Scores; every photo is read once for all heads.

    flip  read each source once more, mirrored, and score each head with flip="auto" too: f"{name}{WITH_FLIP}"
    """
    names = [*heads, *(f"{name}{WITH_FLIP}" for name in heads if flip)]
    predictions: dict[str, list[Any]] = {name: [None] * len(pairs) for name in names}
    for index, pair in visits(model, pairs, recipes, mirrored=recipes if flip else (), **reading):
        for name, head in heads.items():
            a, b = head.merge_bucket(pair.source), head.merge_bucket(pair.target)
            predictions[name][index] = match(a, b, pair.source_points, refine=refine).points
            if pair.mirrored is not None:
                turned = flip_with(head.merge_bucket(pair.mirrored))
                either = match(a, b, pair.source_points, refine=refine, **turned)
                predictions[f"{name}{WITH_FLIP}"][index] = either.points
    return {name: score(pairs, predicted, alpha) for name, predicted in predictions.items()}


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Return the mean hits of several training seeds on the same pairs, so that an interval is of the mean.

    >>> one, two = (Scores(np.array([h]), np.array([h]), np.array([4])) for h in (1, 2))
    >>> mean_scores([one, two]).img.tolist()
    [1.5]
    """
    img, bbox = (np.mean([getattr(s, rule) for s in scores], axis=0) for rule in ("img", "bbox"))
    return Scores(img, bbox, scores[0].totals, scores[0].alpha, scores[0].photos)


def run(
    model: Backbone,
    pairs: Sequence[PhotoPair],
    heads: Sequence[CorrespondenceHead],
    *,
    name: str = "correspondence",
    alpha: float = 0.1,
    refine: str = "upsample",
    batch: int | None = None,
    progress: bool = True,
    notes: Sequence[str] = (),
    flip: bool = False,
) -> Table:
    """Score heads that differ in their training seed alone, beside the plain mean of their bucket and no model.

    notes  what else the table should say of the pairs
    flip   add rows that may match the mirrored source, for the mean and for the heads, and their paired gains

    Raises BadInput if the heads are not of one kind, or were saved without recipes.
    """
    first = heads[0]
    if not first.recipes:
        raise BadInput("the head was saved without recipes, so its photos cannot be read; fit it again with recipes")
    if any((h.settings, h.recipes) != (first.settings, first.recipes) for h in heads):
        raise BadInput("the heads differ in more than their seed; test them one at a time")
    k = first.layout.readings
    plain = CorrespondenceHead(first.layout, "mean", recipes=first.recipes)
    named = {"mean": plain, **{f"seed {i}": head for i, head in enumerate(heads)}}
    reading: dict[str, Any] = {"batch": batch, "title": model.spec.name, "progress": progress}
    scores = evaluate_heads(model, pairs, named, first.recipes, alpha=alpha, refine=refine, flip=flip, **reading)
    ours = mean_scores([scores[n] for n in named if n != "mean"])
    trivial = score(pairs, [same_place(pair) for pair in pairs], alpha)
    title = {"gate": "GATE"}.get(first.amalgamator, first.amalgamator) + (" + convolution" if first.out else "")
    seeds = f", mean of {len(heads)} seeds" if len(heads) > 1 else ""
    rows = trivial.rows(TRIVIAL) + scores["mean"].rows(f"baseline: mean of {k} readings")
    rows += ours.rows(f"{title}: {k} readings{seeds}")
    notes = [f"{len(pairs)} pairs, {int(ours.totals.sum())} points; {ours.resampling()}", *notes]
    notes.append(gain(f"{title} - mean of its readings", ours, scores["mean"]))
    if flip:
        mean = scores[f"mean{WITH_FLIP}"]
        either = mean_scores([scores[f"{n}{WITH_FLIP}"] for n in named if n != "mean"])
        rows += mean.rows(f"{FLIPPED}: mean of {k} readings") + either.rows(f"{title} with flip: {k} readings{seeds}")
        notes += [
            gain("baseline with flip - baseline", mean, scores["mean"]),
            gain(f"{title} with flip - {title}", either, ours),
            gain(f"{title} with flip - baseline with flip", either, mean),
            f"the mirrored sources took {count(mirrored_calls(pairs, first.recipes, model.spec), 'denoiser call')} "
            f"beside {pair_calls(pairs, first.recipes, model.spec)}",
        ]
    return Table(name, model.spec.name, rows, machine(), notes)
