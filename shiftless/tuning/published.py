"""Published settings of training on scenes, as data: the head, what is tuned, and how it is trained."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from shiftless.errors import BadInput
from shiftless.training.scenesettings import SceneSettings
from shiftless.tuning.settings import TuneSettings


@dataclass(frozen=True)
class Published:
    """How a paper trained a head: on ADE20K, on Cityscapes, or on COCO (ODISE).

    head, width, order  as SceneHead takes them      scenes  steps, batch, rates
    tune     what it tuned of the model; None is nothing
    stride   pixels between the windows by which it segmented photos
    presets  what the names of the presets begin with that were read so
    source   where it is published
    """

    name: str
    head: str
    width: int
    order: str
    scenes: SceneSettings
    tune: TuneSettings | None
    stride: int
    presets: tuple[str, ...]
    source: str


_GATE = "GATE, NeurIPS 2024, section on standard segmentation"
_TABLE = (
    Published("gate", "upernet", 512, "coarse", SceneSettings(), None, 512, ("gate-ade20k",), _GATE),
    Published(
        "gate-cityscapes", "upernet", 512, "coarse", SceneSettings(side=1024), None, 512, ("gate-cityscapes",), _GATE
    ),
    Published(
        "vpd", "fpn", 256, "fine",
        SceneSettings(batch=16, lr=8e-5, least_lr=0.0, power=1.0, warmup=1500, lovasz=0.0, auxiliary=0.0),
        TuneSettings("unet", "classes", denoiser_lr=0.1), 341, ("vpd",),
        "VPD, ICCV 2023: semantic segmentation of ADE20K, 80,000 steps",
    ),
    Published(
        "odise", "mask2former", 256, "fine",
        SceneSettings(batch=64, lr=1e-4, least_lr=1e-6, warmup=500, weight_decay=0.05, scales=(0.1, 2.0), colour=False),
        TuneSettings("prompts", "implicit"), 512, ("odise",),
        "ODISE, CVPR 2023: trained with labels, 92,188 steps; its rate is constant until it falls twice by ten",
    ),
)  # fmt: skip
_PUBLISHED = {row.name: row for row in _TABLE}


def published(name: str) -> Published:
    """Return published settings by name; raises BadInput for another name.

    >>> published("vpd").tune.mode, published("gate").scenes.lr
    ('unet', 0.00016)
    """
    if name not in _PUBLISHED:
        near = difflib.get_close_matches(name, _PUBLISHED, n=1, cutoff=0.3)
        raise BadInput(f"no published settings {name!r}: give one of {', '.join(near or _PUBLISHED)}")
    return _PUBLISHED[name]


def names() -> tuple[str, ...]:
    """Return the names of all published settings.

    >>> names()
    ('gate', 'gate-cityscapes', 'vpd', 'odise')
    """
    return tuple(_PUBLISHED)


def settings_of(presets: Sequence[str], usual: str = "gate") -> str:
    """Return the name of the settings under which the first of some presets was published, or the usual one.

    >>> settings_of(["gate-cityscapes-plain"]), settings_of(["vpd"]), settings_of(["mine.toml"])
    ('gate-cityscapes', 'vpd', 'gate')
    """
    found = (row.name for row in _TABLE if presets and presets[0].startswith(row.presets))
    return next(found, usual)
