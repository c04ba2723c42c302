"""shiftless: diffusion features without the content shift.

Read features of photos with a Stable Diffusion model, and find the points of one photo in another; `load` never
fetches anything, and says how to get a model that is not here.

>>> import numpy as np
>>> import shiftless
>>> a, b = (np.random.default_rng(i).random((96, 128, 3)) for i in range(2))  # paths, PIL images and tensors do too
>>> model = shiftless.load("mini")
>>> maps_a, maps_b = shiftless.extract(model, [a, b])
>>> maps_a
FeatureMaps(image, 128x96 pixels read as 128x96: up0 192x12x16 stride 8)
>>> len(shiftless.match(maps_a, maps_b, points=[(64, 40), (20, 90)]))
2

Nothing is computed at import, and the parts that need torch are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shiftless.errors import BadInput
from shiftless.presets import preset
from shiftless.recipe import Recipe

if TYPE_CHECKING:
    from shiftless import amalgamate, tasks, training
    from shiftless.auditing import Audit, audit
    from shiftless.backbones.catalogue import ModelInfo, list_models, list_taps, model_info
    from shiftless.backbones.registry import load
    from shiftless.features import Bucket, FeatureMaps
    from shiftless.image import mirror
    from shiftless.reading import extract, stream
    from shiftless.searching import SearchIndex
    from shiftless.store.dataset import FeatureDataset
    from shiftless.store.featurestore import FeatureStore
    from shiftless.tasks.correspondence import match

__version__ = "0.1.0"
__all__ = [
    "Audit", "BadInput", "Bucket", "FeatureDataset", "FeatureMaps", "FeatureStore", "ModelInfo", "Recipe",
    "SearchIndex", "amalgamate", "audit", "extract", "list_models", "list_taps", "load", "match", "mirror",
    "model_info", "preset", "stream", "tasks", "training",
]  # fmt: skip

_LAZY = {  # a public name -> the module that has it; one that is a module itself -> ""
    "audit": "shiftless.auditing",
    "Audit": "shiftless.auditing",
    "ModelInfo": "shiftless.backbones.catalogue",
    "model_info": "shiftless.backbones.catalogue",
    "list_models": "shiftless.backbones.catalogue",
    "list_taps": "shiftless.backbones.catalogue",
    "load": "shiftless.backbones.registry",
    "extract": "shiftless.reading",
    "stream": "shiftless.reading",
    "Bucket": "shiftless.features",
    "FeatureMaps": "shiftless.features",
    "FeatureDataset": "shiftless.store.dataset",
    "FeatureStore": "shiftless.store.featurestore",
    "SearchIndex": "shiftless.searching",
    "match": "shiftless.tasks.correspondence",
    "mirror": "shiftless.image",
    "amalgamate": "",
    "tasks": "",
    "training": "",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'shiftless' has no attribute {name!r}")
    place = _LAZY[name]
    return getattr(import_module(place), name) if place else import_module(f"shiftless.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
