"""The configurations of bench mini-audit: noise x technique, and their split into a choosing and a held-out half."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from miniworld.tables.methods import CONVOLUTIONAL, IMAGE_PROMPT, LORA_SCALE, SIMPLE
from shiftless.recipe import Recipe

TIMESTEPS = (50, 200, 350, 500, 650, 800)
PLAIN = "plain"
TECHNIQUES = (
    PLAIN, "kind named", "captions", "edges", "edges x0.5", "LoRA", "LoRA x1", "captions, edges and LoRA",
    "image prompt",
)  # fmt: skip


def configuration(technique: str, timestep: int, look: str) -> Recipe:
    """Return the recipe of a technique at a timestep for pictures of a look; ControlNets act where it is read.

    >>> configuration("edges x0.5", 500, "photo").control_scale
    (0.5,)
    """
    base = Recipe(timestep=timestep, taps=CONVOLUTIONAL, prompt=SIMPLE, label=f"t={timestep} {technique}")
    lora = {"lora": f"{look}-a"}
    changes: dict[str, dict[str, Any]] = {
        PLAIN: {},
        "kind named": {"prompt": "a photo of a {category}"},
        "captions": {"prompt": "auto"},
        "edges": {"control": "canny"},
        "edges x0.5": {"control": "canny", "control_scale": 0.5},
        "LoRA": {**lora, "lora_scale": LORA_SCALE},
        "LoRA x1": lora,
        "captions, edges and LoRA": {"prompt": "auto", "control": "canny", **lora, "lora_scale": LORA_SCALE},
        "image prompt": {"image_prompt": IMAGE_PROMPT},
    }
    return base.but(**changes[technique])


def configurations(look: str, timesteps: Sequence[int] = TIMESTEPS) -> dict[tuple[int, str], Recipe]:
    """Return every configuration for a look, by (timestep, technique).

    >>> len(configurations("photo"))
    54
    """
    return {(t, name): configuration(name, t, look) for t in timesteps for name in TECHNIQUES}


def halves(keys: Sequence[tuple[int, str]]) -> tuple[set[tuple[int, str]], set[tuple[int, str]]]:
    """Split configurations into those that choose the headline and those held out, by a digest of their names.

    The halves were fixed before anything was measured; both looks of a configuration are in one half.

    >>> choosing, held_out = halves([(t, name) for t in TIMESTEPS for name in TECHNIQUES])
    >>> len(choosing), len(held_out), choosing & held_out
    (27, 27, set())
    """
    order = sorted(keys, key=lambda key: hashlib.blake2s(f"{key[0]} {key[1]}".encode()).hexdigest())
    return set(order[: (len(order) + 1) // 2]), set(order[(len(order) + 1) // 2 :])
