"""Published settings of training on scenes, as data: the head, what is tuned, and how it is trained."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from shiftless.errors import BadInput
from shiftless.training.scenesettings import SceneSettings
from shiftless.tuning.settings import TuneSettings


@dataclass(frozen=True)
class Published:
    """How a paper trained a head on ADE20K.

    head, width  as SceneHead takes them       scenes  steps, batch, rates
    tune         what it tuned of the model; None is nothing
    source       where it is published
    """

    name: str
    head: str
    width: int
    scenes: SceneSettings
    tune: TuneSettings | None
    source: str


_TABLE = (
    Published("gate", "upernet", 512, SceneSettings(), None, "GATE, NeurIPS 2024, section on standard segmentation"),
    Published(
        "vpd", "fpn", 256,
        SceneSettings(batch=16, lr=8e-5, least_lr=0.0, power=1.0, warmup=1500, lovasz=0.0, auxiliary=0.0),
        TuneSettings("unet", "classes", denoiser_lr=0.1),
        "VPD, ICCV 2023: semantic segmentation of ADE20K, 80,000 steps",
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
    ('gate', 'vpd')
    """
    return tuple(_PUBLISHED)
