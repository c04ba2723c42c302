"""GoCA: a diffusion model's attention to the names of classes in its prompt, rescaled and refined."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from shiftless.backbones.base import Backbone
from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.recipe import Recipe
from shiftless.segmenting.untrained import ByReading, check_names, parts_of
from shiftless.taps.names import Tap
from shiftless.tasks.parts import Parts
from shiftless.tasks.wordattention import class_attention, class_columns, layer_weights, refined, rescaled

TIMESTEP = 100
"""GoCA's, for Stable Diffusion."""
REFERENCES = ("up2.attn1.block0.cross.q", "up1.attn0.block0.cross.q")
"""Where the dense features are read that layers are weighed by: of Stable Diffusion 1.5, and of SDXL."""
_CROSS, _SELF = ".cross.map", ".self.map"


class WordAttention(ByReading):
    """Segments photos by a diffusion model's cross-attention to the names of classes, without any training.

    model    what reads photos; its prompt is "a photo of" and all the names
    classes  names, class 0 first
    times    how often scores are refined by self-attention, 0 for not at all

    Raises BadInput for names that `check_names` refuses, and a model without cross-attention. Source: Meng et al.,
    CVPR 2026.
    """

    method = "GoCA"

    def __init__(
        self, model: Backbone, classes: Sequence[str], *, timestep: int = TIMESTEP, times: int = 1,
        batch: int | None = None,
    ) -> None:  # fmt: skip
        self.model, self.classes, self.times, self.batch = model, check_names(classes), times, batch
        self.layers, self.reference = layers_of(model), reference_of(model.taps)
        taps = (*(layer + part for layer in self.layers for part in (_CROSS, _SELF)), self.reference)
        prompt = "a photo of " + ", ".join(self.classes)
        self.recipe = Recipe(timestep=timestep, taps=taps, prompt=prompt, label="goca")
        self.mark = digest_of("goca", model.fingerprint, self.recipe.to_dict(), self.classes, times)

    def segment(self, maps: FeatureMaps) -> Parts:
        """Segment one photo, whose maps were read by `recipe`; raises BadInput for a name that the prompt lost."""
        cross = [maps[layer + _CROSS][0].float().cpu() for layer in self.layers]
        own = [maps[layer + _SELF][0].float().cpu() for layer in self.layers]
        weights = layer_weights(maps[self.reference][0].float().cpu(), own)
        sizes = [(int(one.shape[-2]), int(one.shape[-1])) for one in cross]
        grid = max(sizes, key=lambda hw: hw[0] * hw[1])
        columns = class_columns(maps.words, self.classes)
        scores = rescaled(class_attention(cross, weights, columns, grid))
        if self.times:
            finest = [n for n, size in enumerate(sizes) if size == grid]
            shares = weights[finest] / weights[finest].sum().clamp_min(1e-12)
            attention = torch.stack([share * own[n] for share, n in zip(shares, finest)]).sum(0)
            scores = refined(scores, attention, self.times)
        return parts_of(scores, maps.frame.original, maps.name)


def layers_of(model: Backbone) -> tuple[str, ...]:
    """Return the attention layers of a model that have a map of the prompt's words and one of the image's cells.

    >>> from shiftless.backbones.registry import load
    >>> len(layers_of(load("twin:sd15")))
    16
    """
    single = {tap.name for tap in model.taps if tap.kind == "map"}
    layers = [name[: -len(_CROSS)] for name in single if name.endswith(_CROSS)]
    both = tuple(sorted(layer for layer in layers if layer + _SELF in single))
    if not both:
        raise BadInput(f"{model.spec.name}: has no attention to the words of a prompt; give a model that takes one")
    return both


def reference_of(taps: Sequence[Tap]) -> str:
    """Return the tap of the dense features: GoCA's, where the model has it, or its last queries or block.

    >>> reference_of([Tap("block0", 8, 16, ""), Tap("block1", 8, 16, ""), Tap("block1.self.map", 0, 16, "", "map")])
    'block1'
    """
    names = [tap.name for tap in taps if tap.kind == "out"]
    for choice in REFERENCES:
        if choice in names:
            return choice
    queries = [name for name in names if name.endswith("cross.q")]
    blocks = [name for name in names if name.startswith("block") and "." not in name]
    return (queries or blocks or names)[-1]
