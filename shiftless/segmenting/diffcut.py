"""DiffCut: the cells of a photo parted into segments by normalised cuts of a diffusion model's features."""

from __future__ import annotations

import numpy as np

from shiftless.backbones.base import Backbone
from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.recipe import Recipe
from shiftless.segmenting.untrained import ByReading
from shiftless.tasks.cuts import MOST_COST, POWER, affinities, normalised_cuts, segment_likeness
from shiftless.tasks.parts import Parts

TIMESTEP = 50
"""DiffCut's."""
MOST = 32
"""How many segments a photo has at most."""
_FINER = 4  # cells of the answer along each cell of the features, as in DiffCut: 128 for 32


class NormalisedCuts(ByReading):
    """Segments photos without classes: cells whose features are alike, by recursive normalised cuts.

    model      what reads photos
    recipe     how; by default at t = 50 without a prompt, at the last transformer of the encoder's coarsest level
    most_cost  a segment is parted where that costs less      power  of affinities      most  segments of a photo

    Raises BadInput for a model whose encoder has no attention, where a recipe must say what is read, and for a recipe
    of several taps. Source: Couairon et al., NeurIPS 2024.
    """

    method = "DiffCut"

    def __init__(
        self, model: Backbone, recipe: Recipe | None = None, *, most_cost: float = MOST_COST, power: float = POWER,
        most: int = MOST, batch: int | None = None,
    ) -> None:  # fmt: skip
        self.model, self.recipe, self.batch = model, recipe or diffcut_recipe(model), batch
        self.most_cost, self.power, self.most = most_cost, power, most
        self.classes = tuple(f"segment {n}" for n in range(1, most + 1))
        settings = [most_cost, power, most]
        self.mark = digest_of("diffcut", model.fingerprint, self.recipe.to_dict(), settings)

    def segment(self, maps: FeatureMaps) -> Parts:
        """Part one photo's features; the numbers of segments are in the order of their first cells."""
        if len(maps) != 1:
            raise BadInput(f"features of {len(maps)} taps: segments are cut by one; give one tap")
        features = next(iter(maps.values()))[0]
        labels = normalised_cuts(affinities(features, self.power), self.most_cost, self.most)
        grid = features.shape[-2] * _FINER, features.shape[-1] * _FINER
        votes = segment_likeness(features, labels, grid).flatten(1)
        return Parts.on(grid, votes, votes.new_zeros(1, votes.shape[1]), maps.frame.original, maps.name)


def diffcut_recipe(model: Backbone, tap: str | None = None) -> Recipe:
    """Return how DiffCut reads a model: t = 50, no prompt, at a tap or the encoder's coarsest level's last transformer.

    >>> from shiftless.backbones.registry import load
    >>> diffcut_recipe(load("twin:sd15")).taps
    ('down2.attn1',)
    """
    if tap is None:
        places = [
            one for one in model.taps if one.name.startswith("down") and one.name.split(".")[-1].startswith("attn")
        ]
        if not places:
            raise BadInput(
                f"{model.spec.name}: its encoder has no attention; say what is read, with --taps or a recipe"
            )
        coarsest = max(one.stride for one in places)
        tap = [one.name for one in places if one.stride == coarsest][-1]
    return Recipe(timestep=TIMESTEP, taps=(tap,), prompt="", label="diffcut")


def told(found: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Return a mask of segments in which each has the class that most of its labelled pixels have: H W uint8.

    found  H W, numbers of segments      truth  H W, classes and 255 where nothing is labelled

    It bounds from above what naming the segments can reach. A segment without labels has class 0.

    >>> told(np.array([[0, 0, 0, 1]]), np.array([[1, 1, 0, 255]]), 2).tolist()
    [[1, 1, 1, 0]]
    """
    known = truth < classes
    agree = np.zeros((int(found.max()) + 1, classes), np.int64)
    np.add.at(agree, (found[known], truth[known]), 1)
    return agree.argmax(1).astype(np.uint8)[found]
