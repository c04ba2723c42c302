"""The model card of a saved module: what it is, what it was read with, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from shiftless.recipe import Recipe, recipes_to_toml

_TAGS = ["diffusion-features", "semantic-correspondence"]


def card(kind: str, settings: Mapping[str, Any], recipes: Sequence[Recipe], usage: str) -> ModelCard:
    """Return the README of a folder that `save_pretrained` writes, with the fields that a hub reads at its head.

    usage  the Python that opens and uses the module

    >>> print(card("head", {"conv": True}, [Recipe(seed=1)], "open it").data.library_name)
    shiftless
    """
    data = ModelCardData(library_name="shiftless", license="other", tags=_TAGS)
    rows = "\n".join(f"| `{name}` | `{value}` |" for name, value in settings.items())
    readings = recipes_to_toml(recipes, "readings, in the order in which they are merged") if recipes else ""
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# A {kind} of shiftless",
        f"It merges {len(recipes) or 'several'} readings of a diffusion model's features into one map.",
        f"```python\n{usage}\n```",
        f"## Settings\n\n| setting | value |\n|---|---|\n{rows}",
    ]
    if readings:
        parts.append(
            f"## Readings\n\nSave this as a .toml file and give it to `--recipe`.\n\n```toml\n{readings.strip()}\n```"
        )
    parts.append("What it was trained on and how well it does is for its author to add here.")
    return ModelCard("\n\n".join(parts) + "\n")
