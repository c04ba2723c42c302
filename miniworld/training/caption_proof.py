"""Accuracy of a captioner against the world's captions, on pictures that no training has used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from miniworld.datasets import seeds
from miniworld.training.captioned import FINE
from miniworld.training.pictures import unseen
from miniworld.world.captions import GAITS, HEADS, OCCLUDERS, PLACES, TIMES
from miniworld.world.kinds import KINDS
from miniworld.world.vehicles import VEHICLES
from shiftless.conditions.captioner import Captioner
from shiftless.errors import BadInput
from shiftless.image import Photo, open_photo

ALWAYS = ("kind", "colour", "facing", "scene", "time")
"""What every caption says."""
SOMETIMES = ("gait", "head", "rider", "occluder", "mane", "saddle", "bandages")
"""What only some captions say."""
_HEAD = re.compile(rf"a photo of an? (?P<colour>.+?) (?P<kind>{'|'.join([*KINDS, *VEHICLES])})\b")


def facts(caption: str) -> dict[str, str]:
    """Take a fine caption apart into what it says; "" for what it does not.

    >>> said = facts("a photo of a brown horse with a black mane, walking, facing left, in the snow at dusk")
    >>> said["kind"], said["colour"], said["mane"], said["scene"], said["time"], said["rider"]
    ('horse', 'brown', 'black', 'snow', 'dusk', '')
    """
    head = _HEAD.match(caption)
    answers = {"kind": head["kind"], "colour": head["colour"]} if head else {"kind": "", "colour": ""}
    answers["facing"] = _after(r"facing (left|right)\b", caption)
    answers["scene"] = _which(PLACES, caption)
    answers["time"] = _which(TIMES, caption)
    answers["gait"] = _which(GAITS, caption)
    answers["head"] = _which(HEADS, caption)
    answers["occluder"] = _which(OCCLUDERS, caption)
    answers["rider"] = _after(r"(ridden) by", caption)
    return answers | {gear: _after(rf"(\w+) {gear}\b", caption) for gear in ("mane", "saddle", "bandages")}


def agreement(said: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """Give the share of captions that are right, whole ("exact") and in each fact.

    A fact that only some captions have is counted over the pictures where either caption has it.

    >>> truth = ["a photo of a red bus, facing left, in a town at noon"]
    >>> shares = agreement(["a photo of a red bus, facing right, in a town at noon"], truth)
    >>> shares["exact"], shares["colour"], shares["facing"], "rider" in shares
    (0.0, 1.0, 0.0, False)
    """
    pairs = [(facts(a), facts(b)) for a, b in zip(said, truth, strict=True)]
    shares = {"exact": _share([a == b for a, b in zip(said, truth)])}
    for name in (*ALWAYS, *SOMETIMES):
        counted = [a[name] == b[name] for a, b in pairs if name in ALWAYS or a[name] or b[name]]
        if counted:
            shares[name] = _share(counted)
    return shares


def caption_accuracy(captioner: Captioner, n: int, *, first: int = 300_000) -> dict[str, Any]:
    """Caption `n` pictures that no training has used and give `agreement` with their true captions, and examples.

    A picture of which the captioner says nothing counts as wrong.
    """
    said: list[str] = []
    truth: list[str] = []
    waiting = []
    for seed, (image, about) in zip(seeds("prove", n, first), unseen(n, first=first)):
        waiting.append(open_photo(image, f"picture {seed}"))
        truth.append(about["captions"][FINE])
        if len(waiting) == 32 or len(truth) == n:
            said += _said(captioner, waiting)
            waiting = []
    examples = [{"said": a, "true": b} for a, b in list(zip(said, truth))[:8]]
    return {"pictures": n, **agreement(said, truth), "examples": examples}


def _said(captioner: Captioner, photos: Sequence[Photo]) -> list[str]:
    try:
        return captioner.caption(photos)
    except BadInput:  # a photo without a caption must not lose the others' captions
        return [""] if len(photos) == 1 else [text for photo in photos for text in _said(captioner, [photo])]


def _which(phrases: dict[str, str], caption: str) -> str:
    return next((name for name, phrase in phrases.items() if re.search(rf"\b{phrase}\b", caption)), "")


def _after(pattern: str, caption: str) -> str:
    match = re.search(pattern, caption)
    return match[1] if match else ""


def _share(right: Sequence[bool]) -> float:
    return round(sum(right) / len(right), 4)
