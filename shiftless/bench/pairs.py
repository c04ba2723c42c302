"""Scoring matches on pairs of photos: the part that every matching benchmark shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from shiftless.backbones.base import Backbone, Spec
from shiftless.bench.table import Row, Table, machine
from shiftless.data.photopair import PhotoPair, photo_content, photo_key, photo_name
from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.image import mirror
from shiftless.metrics.bootstrap import Difference, difference, interval
from shiftless.metrics.dyadic import Photos, photo_count, photos_shared
from shiftless.metrics.pck import hits, per_image, pooled
from shiftless.progress import count, reporting
from shiftless.reading.counted import Counted, calls
from shiftless.recipe import Recipe
from shiftless.tasks.correspondence import Matches, match

Reader = Callable[[list[Any]], Iterator[Bucket]]  # photos -> their K readings, in order
LazyReader = Callable[[Iterable[Any]], Iterator[Bucket]]  # the same of photos that are opened as they are read
Report = Callable[[int], object] | None  # called with the rows of each denoiser call
Choice = tuple[int, Sequence[str] | None]  # which of the K readings, and which of its taps (None: all)
TRIVIAL = "trivial: same relative position"
FLIPPED = "baseline with flip"
ONE: dict[str, Choice] = {"one": (0, None)}
UNTRAINED = "untrained: same network, random weights"


@dataclass(frozen=True, eq=False)
class Scores:
    """Hits of each of K pairs, by the image's and by the box's threshold.

    img, bbox  K, points that are hits
    totals     K, points in all
    alpha      the threshold's share of the longer side
    photos     K, the two photos of each pair; None if pairs are known to share none
    """

    img: np.ndarray
    bbox: np.ndarray
    totals: np.ndarray
    alpha: float = 0.1
    photos: Photos | None = None

    def rows(self, method: str) -> list[Row]:
        """Return the four rows of a method: both thresholds, pooled and per image, each with its interval."""
        rows = []
        for rule, counts in (("img", self.img), ("bbox", self.bbox)):
            name = f"PCK@{self.alpha:g} {rule}"
            rows.append(Row(method, name, pooled(counts, self.totals), self.interval(rule)))
            ci95 = interval(counts / self.totals, photos=self.photos)
            rows.append(Row(method, f"{name} per image", per_image(counts, self.totals), ci95))
        return sorted(rows, key=lambda row: row.metric.endswith("per image"))

    def counts(self, rule: str = "bbox") -> np.ndarray:
        """Return each pair's hits by the threshold "img" or "bbox"."""
        return self.img if rule == "img" else self.bbox

    def interval(self, rule: str = "bbox") -> tuple[float, float]:
        """Return the 95% interval of the pooled PCK; pairs that share a photo count as dependent."""
        return interval(self.counts(rule), self.totals, photos=self.photos)

    def gain(self, over: Scores, rule: str = "bbox") -> Difference:
        """Return the pooled PCK less that of another method on the same pairs, with its paired 95% interval."""
        return difference(self.counts(rule), over.counts(rule), self.totals, photos=self.photos)

    def resampling(self) -> str:
        """Say how the intervals were made.

        >>> one = np.ones(2)
        >>> Scores(one, one, one).resampling()
        '95% bootstrap intervals over pairs, no photo in two of them'
        """
        if self.photos is None or not photos_shared(self.photos):
            return "95% bootstrap intervals over pairs, no photo in two of them"
        count = photo_count(self.photos)
        return f"95% intervals clustered by photo ({count} photos, shared by pairs; dyadic cluster-robust)"


def score(pairs: Sequence[PhotoPair], predicted: Sequence[Any], alpha: float = 0.1) -> Scores:
    """Score one prediction a pair, N 2 in original pixels of its target."""
    img = [hits(p, pair.target_points, pair.target_size, alpha).sum() for p, pair in zip(predicted, pairs, strict=True)]
    box = [hits(p, pair.target_points, pair.target_box, alpha).sum() for p, pair in zip(predicted, pairs, strict=True)]
    totals = np.array([len(pair.target_points) for pair in pairs])
    return Scores(np.array(img), np.array(box), totals, alpha, photos_of(pairs))


def photos_of(pairs: Sequence[PhotoPair]) -> list[tuple[str, str]]:
    """Return the identities of the two photos of each pair; a copy under another name has the same one."""
    return [(photo_content(pair.source), photo_content(pair.target)) for pair in pairs]


def same_place(pair: PhotoPair) -> np.ndarray:
    """The trivial baseline: each point's relative position in the source, used in the target."""
    (h, w), (th, tw) = pair.source_size, pair.target_size
    return np.asarray(pair.source_points * [tw / w, th / h])


def evaluate(
    pairs: Sequence[PhotoPair],
    read: Reader,
    choices: Mapping[str, Choice],
    *,
    alpha: float = 0.1,
    refine: str = "upsample",
) -> dict[str, Scores]:
    """Match every pair and score it, for each choice of reading and taps: name -> Scores.

    Each distinct photo is read once, in the order of first use, and let go after its last pair.

    Raises BadInput if a photo is not of the size that its annotation says.
    """
    predictions: dict[str, list[Any]] = {name: [None] * len(pairs) for name in choices}
    for index, a, b, _ in pair_visits(pairs, read):
        for name, (k, taps) in choices.items():
            predictions[name][index] = match(a[k], b[k], pairs[index].source_points, taps=taps, refine=refine).points
    return {name: score(pairs, predicted, alpha) for name, predicted in predictions.items()}


def run_pairs(
    bench: str,
    model: Backbone,
    pairs: Sequence[PhotoPair],
    recipe: Recipe,
    *,
    alpha: float = 0.1,
    refine: str = "upsample",
    controls: bool = True,
    batch: int | None = None,
    progress: bool = True,
    finer: Sequence[float] = (),
    groups: Mapping[str, Sequence[int]] | None = None,
    flip: bool = False,
) -> Table:
    """Score a model's features on pairs, beside the trivial baseline and the same network untrained.

    finer   other thresholds to score the same matches by, after alpha's
    groups  name -> which pairs: add rows of the model's scores on these pairs alone
    flip    add a row that may match the mirrored source, where that fits better over the whole photo (`match`'s
            flip="auto"), and its paired gain; every source is then read once more, mirrored
    """
    doing = f"{bench}: {count(len(pairs), 'pair')} with {model.spec.name}" + (", also untrained" if controls else "")
    plain, more = pair_calls(pairs, [recipe], model.spec), mirrored_calls(pairs, [recipe], model.spec)
    name, turned = f"baseline: {describe(recipe)}", f"{FLIPPED}: {describe(recipe)}"
    points_of = {TRIVIAL: [same_place(pair) for pair in pairs]}
    with reporting(progress, doing, plain * (1 + controls) + more * flip, "denoiser call") as report:
        matched = matches_by_prompt(model, pairs, recipe, batch, report, refine=refine, flip=flip)
        if controls:
            from shiftless.backbones.registry import untrained

            points_of[UNTRAINED] = points_by_prompt(untrained(model), pairs, recipe, batch, report, refine=refine)
    points_of[name] = [one.points for one, _ in matched]
    if flip:
        points_of[turned] = [one.points for _, one in matched]
    scores = {method: score(pairs, points, alpha) for method, points in points_of.items()}
    rows = [
        row
        for method, points in points_of.items()
        for one in (scores[method], *(score(pairs, points, share) for share in finer))
        for row in one.rows(method)
    ]
    ours = scores[name]
    notes = [f"{len(pairs)} pairs, {int(ours.totals.sum())} points; {ours.resampling()}"]
    notes += [
        gain(f"baseline - {other.partition(':')[0]}", ours, scores[other])
        for other in (TRIVIAL, UNTRAINED)
        if other in scores
    ]
    if flip:
        notes.append(gain("with flip - baseline", scores[turned], ours))
        notes.append(
            f"with flip {sum(one.flipped for _, one in matched)} of {count(len(pairs), 'pair')} matched mirrored; the "
            f"mirrored sources took {count(more, 'denoiser call')} beside {plain}"
        )
    for group, chosen in (groups or {}).items():
        for method in (name, turned) if flip else (name,):
            part = score([pairs[i] for i in chosen], [points_of[method][i] for i in chosen], alpha)
            label = f"{method.partition(':')[0]}, {group} ({count(len(chosen), 'pair')})"
            rows += [row for row in part.rows(label) if not row.metric.endswith("per image")]
    return Table(bench, model.spec.name, rows, machine(), notes, {"recipe": asdict(recipe)})


def by_category(pairs: Sequence[PhotoPair]) -> dict[str, list[int]]:
    """Return which pairs are of each category, in alphabetical order."""
    kinds = sorted({pair.category for pair in pairs})
    return {kind: [i for i, pair in enumerate(pairs) if pair.category == kind] for kind in kinds}


def by_prompt(
    model: Backbone,
    pairs: Sequence[PhotoPair],
    recipe: Recipe,
    batch: int | None,
    *,
    alpha: float = 0.1,
    **options: Any,
) -> Scores:
    """Score one recipe; where its prompt says {category}, each category's pairs are read with its own prompt."""
    return score(pairs, points_by_prompt(model, pairs, recipe, batch, **options), alpha)


def points_by_prompt(
    model: Backbone,
    pairs: Sequence[PhotoPair],
    recipe: Recipe,
    batch: int | None,
    report: Report = None,
    refine: str = "upsample",
) -> list[np.ndarray]:
    """Match every pair by one recipe: N 2 in original pixels of each pair's target; prompts as in `by_prompt`."""
    return [one.points for one, _ in matches_by_prompt(model, pairs, recipe, batch, report, refine=refine)]


def matches_by_prompt(
    model: Backbone,
    pairs: Sequence[PhotoPair],
    recipe: Recipe,
    batch: int | None,
    report: Report = None,
    *,
    refine: str = "upsample",
    flip: bool = False,
) -> list[tuple[Matches, Matches]]:
    """Match every pair by one recipe, the source as it is, and, with `flip`, as it is or mirrored (else as it is)."""
    groups: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        groups.setdefault(recipe.prompt.replace("{category}", pair.category), []).append(i)
    matched: dict[int, tuple[Matches, Matches]] = {}
    for prompt, rows in groups.items():
        part = [pairs[i] for i in rows]
        read = reader(model, [recipe.but(prompt=prompt)], batch, report)
        for index, a, b, turned in pair_visits(part, read, read if flip else None):
            points = part[index].source_points
            plain = match(a[0], b[0], points, refine=refine)
            either = plain if turned is None else match(a[0], b[0], points, refine=refine, **flip_with(turned[0]))
            matched[rows[index]] = plain, either
    return [matched[i] for i in range(len(pairs))]


def flip_with(mirrored: FeatureMaps | None) -> dict[str, Any]:
    """Return what makes `match` choose between a source and its mirror image; nothing if there is none."""
    return {} if mirrored is None else {"flip": "auto", "mirrored": mirrored}


def pair_calls(pairs: Sequence[PhotoPair], recipes: Sequence[Recipe], spec: Spec | None = None) -> int:
    """Return how many denoiser calls reading the photos of pairs takes, each once, or once a category of its prompt.

    spec  of the model, if it is known
    """
    return _distinct(pairs, recipes, lambda two: two) * calls(recipes, spec)


def mirrored_calls(pairs: Sequence[PhotoPair], recipes: Sequence[Recipe], spec: Spec | None = None) -> int:
    """Return how many more it takes to read the sources of pairs mirrored, each once."""
    return _distinct(pairs, recipes, lambda two: two[:1]) * calls(recipes, spec) if recipes else 0


def _distinct(pairs: Sequence[PhotoPair], recipes: Sequence[Recipe], of: Callable[[Any], Sequence[str]]) -> int:
    by_category = any("{category}" in recipe.prompt for recipe in recipes)
    return len({(by_category and pair.category, key) for pair, two in zip(pairs, photos_of(pairs)) for key in of(two)})


def reader(model: Backbone, recipes: Sequence[Recipe], batch: int | None = None, report: Report = None) -> LazyReader:
    """Return a function that reads photos with a model by K recipes in batches; `report` gets its denoiser calls."""
    read_by = model if report is None else Counted(model, report)

    def read(photos: Iterable[Any]) -> Iterator[Bucket]:
        from shiftless.reading import stream

        return stream(read_by, photos, recipes, batch=batch, dtype=None)

    return read


def describe(recipe: Recipe) -> str:
    """Name a recipe in a table: its label, or where and at what noise it reads.

    >>> describe(Recipe(timestep=100, taps=("up1", "up2"), ensemble=8))
    't=100 up1+up2 x8'
    """
    if recipe.label:
        return recipe.label
    extra = (f" x{recipe.ensemble}" if recipe.ensemble > 1 else "") + (f" {recipe.prompt!r}" if recipe.prompt else "")
    return f"t={recipe.timestep} {'+'.join(recipe.taps)}{extra}"


def gain(name: str, ours: Scores, theirs: Scores) -> str:
    """Say in a line what one method gains over another on the same pairs, with its interval."""
    paired = ours.gain(theirs)
    return f"{name}: {paired.value:+.3f} [{paired.low:+.3f}, {paired.high:+.3f}] PCK@{ours.alpha:g} bbox, paired"


class Visit(NamedTuple):
    """The readings of a pair's photos, and of its source mirrored where that was asked; `row` is the pair's index."""

    row: int
    source: Bucket
    target: Bucket
    mirrored: Bucket | None = None


def pair_visits(pairs: Sequence[PhotoPair], read: Reader, read_mirrored: LazyReader | None = None) -> Iterator[Visit]:
    """Yield each pair as soon as both photos are read.

    read_mirrored  if given, reads each distinct source once more, mirrored; photos are read as they are without it
    """
    keys = [(photo_key(pair.source), photo_key(pair.target)) for pair in pairs]
    photos = {key: photo for pair, two in zip(pairs, keys) for key, photo in zip(two, (pair.source, pair.target))}
    place = {key: i for i, key in enumerate(photos)}
    left = Counter(key for two in keys for key in two)
    waiting: dict[str, list[int]] = {}
    for index, two in enumerate(keys):
        waiting.setdefault(max(two, key=place.__getitem__), []).append(index)
    sources = {source for source, _ in keys} if read_mirrored else set()
    turned = read_mirrored(mirror(photos[key]) for key in photos if key in sources) if read_mirrored else iter(())
    held: dict[str, Bucket] = {}
    held_mirrored: dict[str, Bucket] = {}
    for key, bucket in zip(photos, read(list(photos.values())), strict=True):
        held[key] = bucket
        if key in sources:
            held_mirrored[key] = next(turned)
        for index in waiting.get(key, ()):
            source, target = keys[index]
            _check_size(pairs[index].source, pairs[index].source_size, held[source][0])
            _check_size(pairs[index].target, pairs[index].target_size, held[target][0])
            yield Visit(index, held[source], held[target], held_mirrored.get(source))
            for used in keys[index]:
                left[used] -= 1
                if not left[used]:
                    held.pop(used, None)
                    held_mirrored.pop(used, None)


def _check_size(photo: Any, size: tuple[int, int], maps: FeatureMaps) -> None:
    if tuple(maps.frame.original) != tuple(size):
        (h, w), (fh, fw) = size, maps.frame.original
        raise BadInput(f"{photo_name(photo)}: the annotation says {w}x{h} pixels, the picture has {fw}x{fh}")
