"""Which seeds are whose, and the pairs, streams and contact sheets of the pictures that are drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from miniworld.world.picture import KINDS, VEHICLES, Picture, draw, keypoint_names
from shiftless.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image

WORLDS = {
    "creatures": ("miniworld.world.picture", "draw"),
    "bedrooms": ("miniworld.world.bedroom.picture", "draw_bedroom"),
    "streets": ("miniworld.world.street.picture", "draw_street"),
}
"""The worlds: file and function that draws a picture of one from a seed. They share the ranges of seeds."""
HELD_OUT = 2**31
"""The first of the seeds that neither training nor pairs use."""
SEEDS = {
    # Models are trained on these.
    "model": range(700_000),  # every stage but the two below; grounding those from 650,000 on
    "loras": range(700_000, 701_000),
    "oracle": range(600_000_000, 2**30),
    # Annotated pairs: heads are trained, settings are chosen, and everything is tested on them.
    "train": range(2**30, 2**30 + 2**28),
    "val": range(2**30 + 2**28, 2**30 + 2**29),
    "test": range(2**30 + 2**29, HELD_OUT),
    # Single pictures that nothing is trained on.
    "shown": range(HELD_OUT, HELD_OUT + 60_000),  # the demo's cast and examples: measured by no table
    "audit": range(HELD_OUT + 60_000, HELD_OUT + 80_000),  # bench mini-audit
    "advice": range(HELD_OUT + 80_000, HELD_OUT + 100_000),  # what the audit's advice is taken from, there
    "shift": range(HELD_OUT + 120_000, HELD_OUT + 140_000),  # bench mini-shift
    "parts": range(HELD_OUT + 160_000, HELD_OUT + 170_000),  # bench mini-parts and mini-rooms
    "parts choice": range(HELD_OUT + 170_000, HELD_OUT + 180_000),  # what their settings are chosen on
    "scenes train": range(HELD_OUT + 180_000, HELD_OUT + 184_000),  # bench mini-scenes and mini-streets: heads learn,
    "scenes val": range(HELD_OUT + 184_000, HELD_OUT + 187_000),  # settings are chosen,
    "scenes test": range(HELD_OUT + 187_000, HELD_OUT + 190_000),  # and rows are scored on them
    "oracle proof": range(HELD_OUT + 140_000, HELD_OUT + 160_000),
    "crowd": range(HELD_OUT + 1_000_000, HELD_OUT + 2_000_000),  # what the demo counts on
    "attention": range(HELD_OUT + 2_000_000, HELD_OUT + 3_000_000),  # bench mini-attention
    "prove": range(HELD_OUT + 3_000_000, HELD_OUT + 4_000_000),  # mini prove
}
"""Which seeds are whose; no seed is in two ranges."""
SPLIT_SEEDS = {name: SEEDS[name] for name in ("train", "val", "test")}
SPLIT_SIZES = {"train": 720, "val": 180, "test": 360}
_SEEDS_A_PAIR = 64
_LEAST_POINTS = 4


@dataclass(frozen=True)
class Pair:
    """Two pictures of one kind and the N 2 points, in pixels, that both show; `names` says what each point is."""

    source: Picture
    target: Picture
    source_points: np.ndarray
    target_points: np.ndarray
    names: tuple[str, ...]


def drawer(world: str) -> Callable[..., Any]:
    """Return the function that draws a world's pictures: seed to a picture with `image`, `captions` and `kind`.

    Raises `BadInput` for an unknown world.

    >>> drawer("bedrooms")(3).image.shape
    (128, 128, 3)
    """
    if world not in WORLDS:
        raise BadInput(f"world {world!r} is unknown: use one of {', '.join(WORLDS)}")
    file, function = WORLDS[world]
    draw_one: Callable[..., Any] = getattr(import_module(file), function)
    return draw_one


def _differs(a: Picture, b: Picture) -> bool:
    """Whether two pictures show a different place (or time, at sea) and, where a kind has several, another colour."""
    keys = ("time", "colour") if a.kind == "boat" else ("scene",) if a.kind == "zebra" else ("scene", "colour")
    return all(a.attributes[k] != b.attributes[k] for k in keys)


def pair(split: str, index: int, look: str = "photo") -> Pair:
    """The pair of a split at an index, the same whatever else is asked for.

    Kinds take turns, and within a kind every second pair faces opposite ways. Near and far limbs are the viewer's, so
    a near knee matches a near knee in a flipped pair too. Raises `BadInput` for an unknown split or a negative index.

    >>> p = pair("val", 0)
    >>> p.source.kind == p.target.kind, len(p.names) == len(p.source_points) >= 4
    (True, True)
    """
    if split not in SPLIT_SEEDS:
        raise BadInput(f"split {split!r} is unknown: use one of {', '.join(SPLIT_SEEDS)}")
    seeds = SPLIT_SEEDS[split]
    if not 0 <= index < len(seeds) // _SEEDS_A_PAIR:
        raise BadInput(f"pair {index} of split {split!r}: use 0 to {len(seeds) // _SEEDS_A_PAIR - 1}")
    kinds = KINDS + VEHICLES
    turn, which = divmod(index, len(kinds))
    kind = kinds[which]
    facing = ("left", "right")[turn // 2 % 2]
    other = facing if (turn + which) % 2 else {"left": "right", "right": "left"}[facing]
    first = seeds.start + index * _SEEDS_A_PAIR
    source = draw(first, kind=kind, facing=facing, look=look)
    for seed in range(first + 1, first + _SEEDS_A_PAIR):
        target = draw(seed, kind=kind, facing=other, look=look)
        common = np.flatnonzero(source.visible & target.visible)
        if len(common) >= _LEAST_POINTS and _differs(source, target):
            names = keypoint_names(kind)
            return Pair(
                source, target, source.keypoints[common], target.keypoints[common], tuple(names[i] for i in common)
            )
    raise RuntimeError(f"no partner for seed {first}: too few of its points are visible")


def pairs(split: str, n: int | None = None, look: str = "photo") -> list[Pair]:
    """The first n pairs of a split (all SPLIT_SIZES[split] when n is None); raises `BadInput` as `pair` does.

    >>> [p.source.kind for p in pairs("test", 2)]
    ['horse', 'cow']
    """
    if split not in SPLIT_SIZES:
        raise BadInput(f"split {split!r} is unknown: use one of {', '.join(SPLIT_SIZES)}")
    if n is not None and n < 1:
        raise BadInput(f"{n} pairs: ask for 1 or more")
    return [pair(split, i, look) for i in range(SPLIT_SIZES[split] if n is None else n)]


def seeds(name: str, n: int, first: int = 0) -> range:
    """The n seeds from number `first` on of a range of SEEDS.

    Raises `BadInput` for an unknown name, and where the seeds would leave the range.

    >>> seeds("val", 2, first=3)
    range(1342177283, 1342177285)
    >>> seeds("loras", 2000)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: 2000 pictures from number 0 on: the seeds of 'loras' are 700000 to 700999
    """
    if name not in SEEDS:
        raise BadInput(f"seeds of {name!r} are unknown: use one of {', '.join(SEEDS)}")
    whole = SEEDS[name]
    if not 0 <= first <= first + n <= len(whole):
        raise BadInput(
            f"{n} pictures from number {first} on: the seeds of {name!r} are {whole.start} to {whole.stop - 1}"
        )
    return whole[first : first + n]


def photos(start: int, n: int, look: str = "photo") -> Iterator[Picture]:
    """The pictures of n seeds from a start; seeds from HELD_OUT on are in no training set and no pair.

    >>> [p.kind in KINDS + VEHICLES for p in photos(HELD_OUT, 2)]
    [True, True]
    """
    for seed in range(start, start + n):
        yield draw(seed, look=look)


class _Shown(Protocol):
    @property
    def image(self) -> np.ndarray: ...


def contact_sheet(pictures: Sequence[_Shown], columns: int) -> Image.Image:
    """Pictures of one size, of any world, in a grid with thin gaps; raises `BadInput` without pictures or columns.

    >>> contact_sheet(list(photos(0, 3)), columns=2).size
    (258, 258)
    """
    from PIL import Image

    if not pictures or columns < 1:
        raise BadInput(f"a sheet of {len(pictures)} pictures in {columns} columns: give at least one of each")
    gap = 2
    rows = -(-len(pictures) // columns)
    h, w = pictures[0].image.shape[:2]
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        y, x = row * (h + gap), column * (w + gap)
        sheet[y : y + h, x : x + w] = picture.image
    return Image.fromarray(sheet)
