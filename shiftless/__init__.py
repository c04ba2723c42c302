"""shiftless: diffusion features without the content shift.

Nothing is computed at import, and the parts that need torch are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shiftless.errors import BadInput
from shiftless.presets import preset
from shiftless.recipe import Recipe

if TYPE_CHECKING:
    from shiftless.auditing import Audit, audit
    from shiftless.backbones.registry import load
    from shiftless.features import Bucket, FeatureMaps
    from shiftless.reading import extract, stream
    from shiftless.tasks.correspondence import match

__version__ = "0.1.0"
__all__ = [
    "Audit", "BadInput", "Bucket", "FeatureMaps", "Recipe", "audit", "extract", "load", "match", "preset", "stream",
]  # fmt: skip

_LAZY = {
    "audit": "shiftless.auditing",
    "Audit": "shiftless.auditing",
    "load": "shiftless.backbones.registry",
    "extract": "shiftless.reading",
    "stream": "shiftless.reading",
    "Bucket": "shiftless.features",
    "FeatureMaps": "shiftless.features",
    "match": "shiftless.tasks.correspondence",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'shiftless' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
