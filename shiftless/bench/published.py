"""What papers report for presets on published sets: rows of data files that stand beside this one."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any


def published_rows(file: str) -> list[dict[str, Any]]:
    """Return all rows of a data file; each names at least a preset and a source.

    file  "published.json" (matching), "published_parts.json" (label-scarce segmentation) or "published_scenes.json"
          (standard segmentation)

    >>> sorted({row["set"] for row in published_rows("published_scenes.json")})
    ['ade20k', 'cityscapes']
    """
    return [dict(row) for row in _read(file)]


def published_scenes(name: str, presets: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return what was published for some presets on a set of scenes: "mIoU" and, of some, "aAcc" and "mAcc", in [0, 1].

    >>> [row["mIoU"] for row in published_scenes("ade20k", ("vpd",))]
    [0.537, 0.3763]
    """
    return [row for row in published_rows("published_scenes.json") if row["set"] == name and row["preset"] in presets]


@lru_cache(maxsize=8)
def _read(file: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads((Path(__file__).parent / file).read_text(encoding="utf-8")))
