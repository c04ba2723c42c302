"""Small copies of the published layouts of scenes, made of drawn scenes: for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.training.scenedata import CLASSES, scene

SPLITS: Mapping[str, Sequence[int]] = {"train": (0, 1), "val": (2,)}


def ade20k(folder: Path, splits: Mapping[str, Sequence[int]] = SPLITS) -> Path:
    """SceneParse150, with the classes wall, building and sky."""
    root = folder / "ADEChallengeData2016"
    for split, seeds in splits.items():
        part = {"train": "training", "val": "validation"}[split]
        for seed in seeds:
            one = scene(seed)
            _write(root / "images" / part / f"ADE_{split}_{seed:08}.png", one.photo)
            _write(root / "annotations" / part / f"ADE_{split}_{seed:08}.png", one.values + 1)
    return root


def cityscapes(folder: Path, splits: Mapping[str, Sequence[int]] = SPLITS) -> Path:
    """Cityscapes in train ids, with the classes road, sidewalk and building."""
    for split, seeds in splits.items():
        for seed in seeds:
            stem, one = f"ulm_{seed:06}_000019", scene(seed)
            _write(folder / "leftImg8bit" / split / "ulm" / f"{stem}_leftImg8bit.png", one.photo)
            _write(folder / "gtFine" / split / "ulm" / f"{stem}_gtFine_labelTrainIds.png", one.values)
    return folder


def own(folder: Path, splits: Mapping[str, Sequence[int]]) -> Path:
    """A user's own folder of images, masks and the names of their classes."""
    for split, seeds in splits.items():
        for seed in seeds:
            one = scene(seed)
            _write(folder / "images" / split / f"{seed}.png", one.photo)
            _write(folder / "masks" / split / f"{seed}.png", one.values)
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    return folder


def _write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)
