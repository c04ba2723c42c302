"""The rows of the tables of scenes whose model learns together with the head: VPD, and one like ODISE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from miniworld.tables.scene_methods import HEAD, SETTINGS
from miniworld.tables.scene_methods import TAPS as LEVELS
from miniworld.tables.scene_untrained import CLIP
from miniworld.tables.scenes import Other, ScenePictures
from shiftless import mini
from shiftless.backbones.base import Backbone
from shiftless.backbones.clip_folder import open_clip
from shiftless.bench.published import published_scenes
from shiftless.bench.tuned import tuned_scores
from shiftless.errors import BadInput
from shiftless.metrics.resplit import Split
from shiftless.presets import preset
from shiftless.reading.together import Reader
from shiftless.recipe import Recipe
from shiftless.training.scenesettings import SceneSettings
from shiftless.tuning import TuneSettings
from shiftless.tuning.published import published
from shiftless.tuning.tuning import check_tunable

VPD = "VPD: the U-Net learns too"
ODISE = "ODISE-like: masks, an implicit caption, words"
TAPS = ("up0.attn1", "up1.attn1", "up2.res1", "both.cross.map.s16", "both.cross.map.s8")
"""Where VPD reads a U-Net, for one of three levels: all of the decoder, and the attention of the coarser two."""


MASK_HEAD: Mapping[str, Any] = {
    "decoder": "mask2former", "options": {"width": 64, "hidden": 32, "proposals": {"queries": 25, "layers": 2}},
}  # fmt: skip
MASK_SETTINGS: Mapping[str, Any] = {"batch": 2, "lr": 1e-3, "least_lr": 1e-5, "weight_decay": 0.05}
"""What a transformer that proposes masks is trained with, besides the steps of the other heads."""


def vpd_recipe() -> Recipe:
    """Return the preset of VPD, read where the embedded model has its levels.

    >>> vpd_recipe().timestep, vpd_recipe().noise, vpd_recipe().latent
    (1, 'none', 'unscaled')
    """
    return preset("vpd").recipes[0].but(taps=TAPS)


def tuned_rows(
    model: Backbone,
    keep: Path,
    *,
    settings: SceneSettings = SETTINGS,
    head: Mapping[str, Any] = HEAD,
    batch: int | None = None,
    progress: bool = True,
) -> dict[str, Other]:
    """Return the row, by name, with the head, steps and views of the others; none for a model that cannot be tuned.

    keep  folder of the heads, and of what was tuned beside them
    """
    tune = published("vpd").tune
    assert tune is not None
    tune = replace(tune, checkpointing=False)  # a small model's activations fit into memory
    return _rows(VPD, model, vpd_recipe(), tune, keep, settings=settings, head=head, batch=batch, progress=progress)


def odise_recipe() -> Recipe:
    """Return the preset of ODISE, read where the embedded model has its levels.

    >>> odise_recipe().timestep, odise_recipe().taps
    (0, ('up0', 'up1', 'up2'))
    """
    return preset("odise").recipes[0].but(taps=LEVELS)


def odise_rows(
    model: Backbone,
    keep: Path,
    *,
    weights: Path | None = None,
    settings: SceneSettings = SETTINGS,
    head: Mapping[str, Any] = MASK_HEAD,
    batch: int | None = None,
    progress: bool = True,
) -> dict[str, Other]:
    """Return the row, by name, with the steps of the others, but two views in each.

    It is there if `weights` holds a CLIP, by default those of the embedded model, and the model can be tuned. `keep`
    is the folder of the heads, and of the captions beside them.
    """
    place = (mini.weights() if weights is None else weights) / CLIP
    tune = TuneSettings("prompts", "implicit", checkpointing=False)
    if not (place / "config.json").is_file():
        return {}
    return _rows(
        ODISE, model, odise_recipe(), tune, keep, settings=replace(settings, **MASK_SETTINGS), head=head, clip=place,
        batch=batch, progress=progress,
    )  # fmt: skip


def _rows(
    name: str,
    model: Backbone,
    recipe: Recipe,
    tune: TuneSettings,
    keep: Path,
    *,
    settings: SceneSettings,
    head: Mapping[str, Any],
    clip: Path | None = None,
    batch: int | None,
    progress: bool,
) -> dict[str, Other]:
    """Return a row by its name, or none for a model that cannot be tuned so; `clip` is the folder of a CLIP."""
    try:
        check_tunable(model, (recipe,), tune)
    except BadInput:
        return {}

    def scores(pictures: ScenePictures, seeds: int) -> list[Split]:
        return tuned_scores(
            Reader(model, (recipe,)), pictures.train, pictures.test, keep / "heads", settings, tune, seeds=seeds,
            validation=pictures.val, clip=None if clip is None else open_clip(clip, model.device), batch=batch,
            progress=progress, **head,
        )  # fmt: skip

    return {name: scores}


def odise_note() -> str:
    """Return what is published for ODISE on ADE20K, and what the row in the tables lacks.

    >>> odise_note()
    "ODISE: published on ADE20K are 29.9 mIoU (ODISE, CVPR 2023, ...); the row learns from the pictures..."
    """
    (row,) = published_scenes("ade20k", ("odise",))
    return (
        f"ODISE: published on ADE20K are {100 * row['mIoU']:.4g} mIoU ({row['source']}); the row learns from the "
        "pictures and classes of the others and so names no class that it was not trained with; it lacks features of "
        "the autoencoder and a learned time embedding, has a small head and two views a step, and pools CLIP's cells "
        "over each mask where ODISE lets CLIP attend to it"
    )


def vpd_note() -> str:
    """Return what is published for VPD on ADE20K, under two budgets, and under which it stands in the tables.

    >>> vpd_note()
    "VPD: published on ADE20K are 53.7 mIoU (VPD, ICCV 2023, ...) and 37.63 mIoU (GATE, ...); here it has the head..."
    """
    rows = published_scenes("ade20k", ("vpd",))
    each = " and ".join(f"{100 * row['mIoU']:.4g} mIoU ({row['source']})" for row in rows)
    return f"VPD: published on ADE20K are {each}; here it has the head, the steps and the views of the other rows"
