"""bench mini-attention: attention to the word "horse", and where it changes features, on horses with riders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from miniworld.datasets import seeds
from miniworld.tables.techniques import BASE, BASELINE, SWAPPED, WORD, say_each, swap, techniques
from miniworld.world.picture import SCENE_CLASSES, Picture, draw
from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import UNTRAINED
from shiftless.bench.table import Row, Table, machine
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Photo, open_photo
from shiftless.metrics.bootstrap import Difference, difference, interval
from shiftless.metrics.multiplicity import multiplicity
from shiftless.progress import count, reporting
from shiftless.reading.counted import Counted, calls
from shiftless.recipe import Recipe

MAPS = "up.cross.map.s*"
N, QUICK = 48, 12
EVEN = "trivial: a map that is even everywhere"
NAMED = "a photo of a horse, ridden by a person"
"""A prompt that names both, each by its own word."""
METRICS = ("attention on the horse", "attention on the rider", "effect on the horse", "effect on the rider")
_HORSE, _RIDER = SCENE_CLASSES.index("animal"), SCENE_CLASSES.index("person")


@dataclass(frozen=True, eq=False)
class AttentionShares:
    """Attention to the word and the word's effect, for one recipe on one picture.

    read       the features, and what they were read with
    attention  H W, how much each place attends to the word; its sum is 1
    effect     H W, how far the features move when the word is exchanged for another; its sum is 1
    """

    read: FeatureMaps
    attention: np.ndarray
    effect: np.ndarray

    def shares(self, picture: Picture) -> tuple[float, float, float, float]:
        """Return the shares of both maps' masses on the horse's and on the rider's own pixels, as in METRICS."""
        horse, rider = subjects(picture)
        return tuple(share(one, mask) for one in (self.attention, self.effect) for mask in (horse, rider))  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Measured:
    """Shares of both maps' masses: method -> N 4, as METRICS names them; and why techniques are absent."""

    scores: dict[str, np.ndarray]
    absent: list[str]

    def gain(self, name: str, metric: str, over: str = BASELINE) -> Difference:
        """Return how much more of a metric's mass a method has than another, paired, with its 95% interval."""
        column = METRICS.index(metric)
        return difference(self.scores[name][:, column], self.scores[over][:, column])

    def table(self, bench: str, model: str) -> Table:
        """Return the shares with their intervals, and the gains as notes."""
        titles = {BASELINE: f"{BASELINE}: {BASE!r}"}
        rows = [
            Row(titles.get(name, name), metric, float(values.mean()), interval(values))
            for name, scores in self.scores.items()
            for metric, values in zip(METRICS, scores.T)
        ]
        notes = [f"{len(self.scores[EVEN])} pictures; shares of a map's mass, 95% bootstrap intervals over pictures"]
        compared = [(BASELINE, EVEN)]
        compared += [(name, BASELINE) for name in self.scores if name not in (EVEN, UNTRAINED, BASELINE)]
        notes += [self._gains(name, over) for name, over in compared]
        notes.append(multiplicity([self.gain(name, metric, over) for name, over in compared for metric in METRICS]))
        return Table(bench, model, rows, machine(), notes + self.absent)

    def _gains(self, name: str, over: str) -> str:
        gains = []
        for metric in METRICS:
            gain = self.gain(name, metric, over)
            gains.append(f"{metric.replace(' on the', ',')} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
        return f"{name} - {over.partition(':')[0]}, paired: " + "; ".join(gains)


def subjects(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of the horse and of its rider, H W bool each.

    >>> horse, rider = subjects(draw(3, kind="horse", rider=True))
    >>> bool((horse & rider).any()), bool(rider.any())
    (False, True)
    """
    return picture.scene == _HORSE, picture.scene == _RIDER


def share(mass: np.ndarray, mask: np.ndarray) -> float:
    """Return which share of a map's mass, H W and nowhere negative, lies on a mask, H W bool.

    Raises BadInput for a map that is negative, empty, not finite or of another size.

    >>> share(np.array([[3.0, 1.0], [0.0, 0.0]]), np.array([[True, False], [True, False]]))
    0.75
    """
    if mass.shape != mask.shape:
        raise BadInput(f"a map of {mass.shape} on a mask of {mask.shape}: give both on one grid")
    total = float(mass.sum())
    if not np.isfinite(total) or total <= 0 or mass.min() < 0:
        raise BadInput("a map's mass must be finite, nowhere negative, and not zero everywhere")
    return float(mass[mask].sum() / total)


def riders(n: int, look: str = "photo") -> list[Picture]:
    """Draw n horses with riders as their seeds give them; raises BadInput for an unknown look.

    >>> [picture.attributes["rider"] for picture in riders(2)]
    [True, True]
    """
    return [draw(seed, look=look, kind="horse", rider=True) for seed in seeds("attention", n)]


def observe_attention(
    model: Backbone,
    photos: Sequence[Photo],
    recipes: Mapping[str, Recipe],
    *,
    batch: int | None = None,
    title: str = "",
    progress: bool = False,
) -> Iterator[dict[str, AttentionShares]]:
    """Read photos by named recipes, each a second time with another word: yield name -> shares, by photo.

    Attention is the mean of the up blocks' cross-attention maps over heads, layers and resolutions. The effect is the
    distance between features of unit length with the word and with another animal's in its place, as in DiffEdit
    (Couairon et al. 2022), which compares predictions so.
    """
    from shiftless.reading import stream

    words = word_taps(model, WORD)
    pairs: list[Recipe] = []
    for recipe in recipes.values():
        other = swap(recipe.prompt).replace("{caption}", f"{{{SWAPPED}}}")
        pairs += [recipe.but(taps=(*recipe.taps, *words)), recipe.but(prompt=other)]
    fill = say_each(model, photos, recipes.values())
    doing = f"reading {count(len(photos), 'picture')}{title and f' ({title})'} by {count(len(pairs), 'recipe')}"
    with reporting(progress, doing, len(photos) * calls(pairs), "denoiser call") as report:
        buckets = stream(Counted(model, report), photos, pairs, fill=fill, batch=batch)
        for photo, bucket in zip(photos, buckets, strict=True):
            shares: dict[str, AttentionShares] = {}
            for i, name in enumerate(recipes):
                read, other = bucket[2 * i], bucket[2 * i + 1]
                plain = list(other)
                moved = (read.dense(plain) - other.dense(plain)).norm(dim=1, keepdim=True)
                maps = [_mass(read[word], photo.hw) for word in words]
                shares[name] = AttentionShares(read, np.mean(maps, axis=0), _mass(moved, photo.hw))
            yield shares


def word_taps(model: Backbone, word: str) -> tuple[str, ...]:
    """Return the taps of a word's maps in the up blocks, one for each resolution.

    Raises BadInput for a model without such maps.
    """
    groups = [tap.name for tap in model.taps if tap.kind == "group" and tap.name.startswith(MAPS[:-1])]
    if not groups:
        raise BadInput(f"{model.spec.name}: no cross-attention maps in its up blocks, so no word has a map")
    return tuple(f"{name}:{word}" for name in groups)


def named_note(
    model: Backbone, recipe: Recipe, pictures: Sequence[Picture], *, batch: int | None = None, progress: bool = False
) -> str:
    """Say how much of each word's map lies on what it names, as multiples of the areas, where one prompt names both.

    Nothing steers; maps are merged as in `observe_attention`. Intervals resample mass and area together.
    """
    from shiftless.reading import stream

    named = {word: word_taps(model, word) for word in ("horse", "person")}
    read = Recipe(timestep=recipe.timestep, taps=sum(named.values(), ()), prompt=NAMED)
    photos = [open_photo(one.image) for one in pictures]
    masses, areas = [], []
    with reporting(progress, "reading both words", len(photos) * calls([read]), "denoiser call") as report:
        for picture, bucket in zip(pictures, stream(Counted(model, report), photos, [read], batch=batch), strict=True):
            maps = [np.mean([_mass(bucket[0][tap], picture.image.shape[:2]) for tap in taps], axis=0)
                    for taps in named.values()]  # fmt: skip
            masses.append([share(one, mask) for one, mask in zip(maps, subjects(picture))])
            areas.append([float(mask.mean()) for mask in subjects(picture)])
    said = []
    for (word, mass, area), thing in zip(zip(named, np.transpose(masses), np.transpose(areas)), ("horse", "rider")):
        low, high = interval(mass, area)
        said.append(f'"{word}" {mass.sum() / area.sum():.2f} [{low:.2f}, {high:.2f}] times the {thing}\'s area')
    return f"mass of the maps of {NAMED!r} on what is named: {' and '.join(said)}"


def measure(
    model: Backbone,
    recipe: Recipe,
    look: str = "photo",
    *,
    n: int = N,
    controls: bool = True,
    batch: int | None = None,
    progress: bool = False,
) -> Measured:
    """Count both maps' masses on n horses and riders with every technique at hand; arguments as in `run`."""
    pictures = riders(n, look)
    photos = [open_photo(one.image, name=f"horse-{i:02d}") for i, one in enumerate(pictures)]
    chosen, absent = techniques(model, recipe, look)
    scores = {EVEN: np.array([[mask.mean() for mask in subjects(picture)] * 2 for picture in pictures])}

    def count(reader: Backbone, recipes: dict[str, Recipe], title: str) -> None:
        each = zip(
            pictures,
            observe_attention(reader, photos, recipes, batch=batch, title=title, progress=progress),
            strict=True,
        )
        shares = [{name: one.shares(picture) for name, one in many.items()} for picture, many in each]
        scores.update({name: np.array([one[name] for one in shares]) for name in recipes})

    if controls:
        from shiftless.backbones.registry import untrained

        count(untrained(model), {UNTRAINED: chosen[BASELINE]}, "untrained")
    count(model, chosen, "where the word acts")
    return Measured(scores, absent)


def run(
    model: Backbone,
    recipe: Recipe | None = None,
    *,
    look: str = "photo",
    quick: bool = False,
    n: int | None = None,
    controls: bool = True,
    batch: int | None = None,
    progress: bool = True,
) -> Table:
    """Measure attention to "horse" and the word's effect with each technique, on horses with riders.

    recipe    how to read, and which ControlNet, LoRA and captioner the columns take; None is Recipe()
    look      "photo", or a look that the embedded denoiser was not trained on
    quick, n  12 pictures, or so many, in place of 48
    controls  also the same network untrained; chance (the area) is always a row

    A technique that is not at hand is left out, and a note says why. Raises BadInput for an unknown look or tap.
    """
    many = n if n is not None else QUICK if quick else N
    options: dict[str, Any] = {"n": many, "controls": controls, "batch": batch, "progress": progress}
    name = "mini-attention" + ("" if look == "photo" else f" {look}")
    table = measure(model, recipe or Recipe(), look, **options).table(name, model.spec.name)
    both = named_note(model, recipe or Recipe(), riders(many, look), batch=batch, progress=progress)
    return replace(table, notes=[*table.notes, both])


def _mass(one: torch.Tensor, hw: tuple[int, int]) -> np.ndarray:
    """A map 1 1 h w on the picture's own grid, H W, its sum 1."""
    large: Any = F.interpolate(one.float().cpu(), hw, mode="bilinear")[0, 0].double().numpy()
    total = large.sum()
    return np.asarray(large / total if total > 0 else np.full(hw, 1 / (hw[0] * hw[1])))
