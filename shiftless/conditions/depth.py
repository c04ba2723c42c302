"""Depth maps for ControlNets: estimated by a transformers depth model that is on this machine."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from shiftless.conditions.hub import fetch_command, fetched
from shiftless.conditions.weights import TRANSFORMERS, find_weights
from shiftless.digest import digest_of_folder
from shiftless.errors import BadInput
from shiftless.taps.lock import construction

ESTIMATORS = ("Intel/dpt-large", "depth-anything/Depth-Anything-V2-Small-hf", "LiheYoung/depth-anything-small-hf")
"""Hub ids that are tried, in this order, when SHIFTLESS_DEPTH does not name one; the first is the published one."""


@torch.no_grad()
def depth(pixels: torch.Tensor, estimator: str | None = None) -> torch.Tensor:
    """Relative depth of B 3 H W in [-1, 1]: B 3 H W in [0, 1], near is bright, each image over its own range.

    estimator  hub id or folder of a transformers depth model; by default $SHIFTLESS_DEPTH, or the first known one here

    Raises BadInput, with the command that fetches one, if no depth model is on this machine.
    """
    folder = find_estimator(estimator)
    processor, model = _load(folder, digest_of_estimator(estimator))
    mean, std = (torch.tensor(getattr(processor, name)).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    side = _side(processor)
    fed = F.interpolate((pixels.float().cpu() + 1) / 2, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    estimate = model(pixel_values=(fed - mean) / std).predicted_depth[:, None]
    estimate = F.interpolate(estimate.float(), pixels.shape[-2:], mode="bicubic", align_corners=False)
    low, high = estimate.amin((2, 3), keepdim=True), estimate.amax((2, 3), keepdim=True)
    return ((estimate - low) / (high - low).clamp_min(1e-8)).expand(-1, 3, -1, -1).contiguous()


def _side(processor: Any) -> int:
    size = dict(processor.size)
    return int(size.get("height") or size.get("shortest_edge") or 384)


def find_estimator(estimator: str | None = None) -> Path:
    """Return the folder of the depth model that `depth` uses; raises BadInput, with the command that fetches one."""
    requested = estimator or os.environ.get("SHIFTLESS_DEPTH")
    for name in (requested,) if requested else ESTIMATORS:
        folder = Path(name) if Path(name).is_dir() else fetched(name)
        if folder is not None and (folder / "config.json").is_file():
            return folder
    if requested and Path(requested).exists():
        raise BadInput(
            f"{requested}: not a depth model that can be loaded; give a transformers folder with safetensors"
        )
    raise BadInput(
        "control 'depth' needs a depth model, and none is on this machine; fetch one once with: "
        f"{fetch_command(requested or ESTIMATORS[0])}"
    )


def digest_of_estimator(estimator: str | None = None) -> str:
    """Return the digest of the files of the depth model that `depth` uses; raises BadInput as `find_estimator`."""
    return digest_of_folder(find_estimator(estimator), ("*.json", "*.safetensors"))


@lru_cache(maxsize=2)
def _load(folder: Path, _digest: str) -> tuple[Any, Any]:
    from transformers import AutoModelForDepthEstimation

    variant = find_weights(folder, TRANSFORMERS).variant
    try:
        options: dict[str, Any] = {"local_files_only": True, "variant": variant}
        with construction():
            model = AutoModelForDepthEstimation.from_pretrained(folder, use_safetensors=True, **options)
        return _processor(folder), model.eval()
    except (OSError, ValueError):
        raise BadInput(
            f"{folder}: not a depth model that can be loaded; give a transformers folder with safetensors"
        ) from None


def _processor(folder: Path) -> Any:
    """The image processor's settings alone: its own code may need packages that are not installed."""
    from types import SimpleNamespace

    from transformers.image_processing_base import ImageProcessingMixin

    settings, _ = ImageProcessingMixin.get_image_processor_dict(folder, local_files_only=True)
    half = [0.5, 0.5, 0.5]
    return SimpleNamespace(
        size=settings.get("size") or {"height": 384},
        image_mean=settings.get("image_mean") or half,
        image_std=settings.get("image_std") or half,
    )
