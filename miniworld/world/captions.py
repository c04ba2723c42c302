"""Captions at three grains, and the list of every word they use."""

from __future__ import annotations

from typing import Any

from miniworld.world.kinds import COLOURS, KINDS
from miniworld.world.marks import PARTS, describe
from miniworld.world.vehicles import VEHICLES

PLACES = {
    "meadow": "in a meadow", "desert": "in the desert", "snow": "in the snow", "beach": "on a beach",
    "town": "in a town", "forest": "in a forest", "night": "under the stars", "sea": "on the water",
}  # fmt: skip
TIMES = {"morning": "in the morning", "day": "at noon", "dusk": "at dusk", "night": "at night"}
OCCLUDERS = {"fence": "behind a fence", "grass": "behind tall grass", "tree": "behind a tree"}
GAITS = {
    "stand": "standing", "walk": "walking", "trot": "running", "graze": "grazing",
    "lie": "lying", "sit": "sitting", "rear": "rearing",
}  # fmt: skip
HEADS = {"back": "looking back", "viewer": "looking at the camera"}

_MORE = (
    "a an the of and with in on at under by no photo picture image drawing high quality best realistic masterpiece "
    "detailed sharp blurry empty bad low pencil sketch embroidery stitched night vision green animal vehicle person "
    "people horses animals grass sky sand water road house houses tree trees clouds sun moon stars mountains fence "
    "field side view facing left right ridden rider coat mane saddle bridle bandages legs tail horns trunk snout wool "
    "very small large big standing walking running grazing behind tall"
)


def article(word: str) -> str:
    """`a` or `an`.

    >>> article("orange"), article("horse")
    ('an', 'a')
    """
    return "an" if word[0] in "aeiou" else "a"


def captions(kind: str, attributes: dict[str, Any], facing: str) -> tuple[str, str, str]:
    """The three grains: nothing said, the kind, everything worth saying."""
    colour = attributes["colour"]
    if attributes["pattern"] in ("patched", "spotted", "striped") and kind != "zebra":
        look = f"{colour} and {attributes['second']} {attributes['pattern']}"
    elif kind == "zebra":
        look = "striped"
    else:
        look = colour
    text = f"a photo of {article(look)} {look} {kind}"
    gear = []
    if attributes.get("mane"):
        gear.append(f"{article(attributes['mane'])} {attributes['mane']} mane")
    if attributes.get("saddle"):
        gear.append(f"{article(attributes['saddle'])} {attributes['saddle']} saddle")
    if attributes.get("wraps"):
        gear.append(f"{attributes['wraps']} bandages")
    gear += describe(attributes.get("marks", {}))
    if gear:
        text += " with " + (", ".join(gear[:-1]) + " and " + gear[-1] if len(gear) > 1 else gear[0])
    if attributes["rider"]:
        text += f", ridden by a person in {attributes['shirt']}"
    if attributes.get("gait"):
        text += f", {GAITS[attributes['gait']]}"
    if attributes.get("head") in HEADS:
        text += f", {HEADS[attributes['head']]}"
    text += f", facing {facing}"
    if attributes["occluder"]:
        text += f", {OCCLUDERS[attributes['occluder']]}"
    text += f", {PLACES[attributes['scene']]}"
    if attributes["scene"] != "night":
        text += f" {TIMES[attributes['time']]}"
    return "a photo", f"a photo of {article(kind)} {kind}", text


def vocabulary() -> list[str]:
    """Every word that a caption can hold, and some that prompts like to use, sorted.

    >>> "giraffe" in vocabulary() and len(vocabulary()) < 200
    True
    """
    words = set(_MORE.split()) | set(COLOURS) | set(KINDS) | set(VEHICLES) | {"patched", "spotted", "striped"}
    for phrases in (PLACES, TIMES, OCCLUDERS, GAITS, HEADS, {part: part for part in PARTS}):
        for phrase in phrases.values():
            words |= set(phrase.split())
    return sorted(words)
