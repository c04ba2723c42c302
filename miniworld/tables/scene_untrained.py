"""The rows of the tables of scenes that take no training: MaskCLIP, GoCA and DiffCut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from miniworld.tables.scenes import Other, ScenePictures
from shiftless import mini
from shiftless.backbones.base import Backbone
from shiftless.backbones.clip_folder import open_clip
from shiftless.bench.untrained import score_untrained
from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.errors import BadInput
from shiftless.metrics.resplit import Split
from shiftless.segmenting import MaskClip, NormalisedCuts, Untrained, WordAttention
from shiftless.segmenting.diffcut import diffcut_recipe
from shiftless.segmenting.goca import layers_of

MASKCLIP, GOCA, DIFFCUT = "MaskCLIP", "GoCA", "DiffCut, segments told their class"
CLIP = "clip"
"""The folder of the embedded model's CLIP, inside its weights."""


def untrained_rows(model: Backbone, weights: Path | None = None) -> dict[str, Other]:
    """Return the rows, by name; MaskCLIP is there if `weights` holds a CLIP, by default those of the embedded model.

    The others are there if the model has the attention that they read.
    """
    clip = (mini.weights() if weights is None else weights) / CLIP
    rows: dict[str, Other] = {}
    if (clip / "config.json").is_file():
        rows[MASKCLIP] = _row(lambda labelled: MaskClip(open_clip(clip, model.device), labelled.classes))
    if _fits(layers_of, model):
        rows[GOCA] = _row(lambda labelled: WordAttention(model, labelled.classes))
    if _fits(diffcut_recipe, model):
        rows[DIFFCUT] = _row(lambda labelled: NormalisedCuts(model))
    return rows


def _fits(places: Callable[[Backbone], object], model: Backbone) -> bool:
    """Whether a model has the places that a method reads."""
    try:
        places(model)
    except BadInput:
        return False
    return True


def _row(method: Callable[[LabelledPhotos], Untrained]) -> Other:
    """A row without a seed: the same counts for each."""

    def scores(pictures: ScenePictures, seeds: int) -> list[Split]:
        counted = score_untrained(method(pictures.test), pictures.test, progress=True)
        return [dict(enumerate(counted))] * seeds

    return scores
