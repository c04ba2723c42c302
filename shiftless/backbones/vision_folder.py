"""Folders of vision models in transformers' layout: their config, weights and preprocessing, checked as they load."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shiftless.conditions.config import check_layers, check_values, read_config
from shiftless.conditions.hub import fetch_again
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import TRANSFORMERS, find_weights
from shiftless.digest import digest_of_files, marks_of
from shiftless.errors import BadInput, first_line
from shiftless.taps.lock import construction

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, for a folder whose settings lack the normalisation."""
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_NORMS = {"clip": _CLIP, "siglip": ((0.5,) * 3, (0.5,) * 3)}
"""What config.json calls a model -> its mean and standard deviation, where they are not ImageNet's."""
_SETTINGS = (("preprocessor_config.json", None), ("processor_config.json", "image_processor"))
_UNUSED = ("pooler", "mask_token", "text_", "logit_")  # parts that a patch token does not pass through
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class Preparation:
    """How pictures are prepared for a vision model: (values in [0, 1] - mean) / std, and the side they are scaled to.

    size  in pixels, 0 where the folder says none

    >>> Preparation().normalise(torch.full((1, 3, 2, 2), 0.485))[0, 0, 0, 0].item()
    0.0
    """

    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    size: int = 0

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """B 3 H W in [0, 1] -> B 3 H W as the model takes it."""
        mean, std = (torch.tensor(x, device=pixels.device).view(3, 1, 1) for x in (self.mean, self.std))
        return (pixels - mean) / std


@contextmanager
def one_line(folder: Path, what: str) -> Iterator[None]:
    """Inside the `with`, whatever the library raises becomes a BadInput that names the folder; `what` it is not.

    >>> with one_line(Path("bert"), "vision transformer"):
    ...     raise ValueError("a bert without patches")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: bert: not a vision transformer that can be loaded (a bert without patches); give another
    """
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # the library raises many kinds; the user needs one line
        reason = first_line(error)
        raise BadInput(f"{folder}: not a {what} that can be loaded ({reason}); give another") from error


def checked_config(folder: Path, what: str) -> dict[str, Any]:
    """Return a folder's config.json, whose layers the weights hold; raises BadInput naming what is wrong."""
    path = folder / "config.json"
    if not path.is_file():
        remedy = fetch_again(folder) or "give a transformers folder"
        raise BadInput(f"{folder}: no config.json of a {what} here; {remedy}")
    find_weights(folder, TRANSFORMERS)
    config = read_config(path)
    check_layers(folder, config, path)
    return config


def vision_config(folder: Path) -> Any:
    """Return the config object of the model that sees, which models of image and text hold inside theirs."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, **_LOCAL)
    return getattr(config, "vision_config", config)


def load_network(folder: Path, kind: Any, **options: Any) -> Any:
    """Load a checked folder by a class of transformers, safetensors only; raises ValueError where weights lack.

    options  for the class's `from_pretrained`, such as `config`
    """
    variant = find_weights(folder, TRANSFORMERS).variant
    loading = {"use_safetensors": True, "output_loading_info": True, "variant": variant}
    with construction(), silenced():
        model, info = kind.from_pretrained(folder, **loading, **options, **_LOCAL)
    lacking = sorted(key for key in info["missing_keys"] if not any(part in key for part in _UNUSED))
    if lacking:
        raise ValueError(f"its weights lack {lacking[0]}")
    check_values(model, folder)
    return model


def preparation(folder: Path, kind: str) -> Preparation:
    """Return what a folder's settings say of preprocessing; their code may need packages that are not installed.

    kind  what config.json calls the model; it decides the normalisation where the settings say none, as beside the
          image encoders that IP-Adapters are published with

    >>> preparation(Path("nowhere"), "clip_vision_model").mean
    (0.48145466, 0.4578275, 0.40821073)
    """
    settings: dict[str, Any] = {}
    for file, key in _SETTINGS:
        if (folder / file).is_file():
            settings = json.loads((folder / file).read_text(encoding="utf-8"))
            settings = settings.get(key, {}) if key else settings
            break
    known = _NORMS.get(kind.removesuffix("_vision_model"), (MEAN, STD))
    mean, std = (settings.get(key) or own for key, own in zip(("image_mean", "image_std"), known))
    size = side(settings.get("crop_size")) or side(settings.get("size"))
    return Preparation(tuple(map(float, mean)), tuple(map(float, std)), size)


def digest_of_vision(folder: Path) -> Callable[[], str]:
    """Return a function that digests what a folder's features come from: config, preprocessing and weights.

    Call it before loading; its answer is "" where the files have changed since.
    """
    files = [folder / name for name in ("config.json", *(file for file, _ in _SETTINGS))]
    with suppress(BadInput):  # loading reports what is wrong with the weights
        files += find_weights(folder, TRANSFORMERS).files
    files = [file for file in files if file.is_file()]
    before = marks_of(files)
    return lambda: digest_of_files({file.name: file for file in files}) if marks_of(files) == before else ""


def side(size: int | dict[str, Any] | Sequence[int] | None) -> int:
    """Return a side in pixels from any of transformers' spellings of a size; 0 if there is none.

    >>> side({"shortest_edge": 256}), side([224, 224]), side(None)
    (256, 224, 0)
    """
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    if isinstance(size, (list, tuple)):
        size = size[0] if len(set(size)) == 1 else 0
    return int(size or 0)  # type: ignore[arg-type]  # one number by now
