"""Captions of bedrooms at three grains, and the words that they use."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from miniworld.world.bedroom.choices import FLOORS, KINDS, TIMES, WOODS
from miniworld.world.bedroom.classes import CLASS
from miniworld.world.captions import article
from miniworld.world.kinds import COLOURS

LEAST = 40  # pixels of 128 x 128 that a thing must show to be named
VIEWS = {"back": "seen from its foot", "left": "with its head on the left", "right": "with its head on the right"}
WHEN = {"day": "by day", "dusk": "at dusk", "night": "at night"}
#: class: how it is named wherever it is shown; {} stands for its colour
NAMED = {
    "carpet": "a {carpet} carpet", "curtain": "{curtain_colour} curtains", "window": "a window", "door": "a door",
    "wardrobe": "a {wardrobe_colour} wardrobe", "chair": "{seat}", "pouf": "a {pouf_colour} pouf",
    "plant": "a plant", "chandelier": "{hanging}", "lamp_shade": "a lamp", "picture": "{framed}",
}  # fmt: skip
HANGING = {
    "chandelier": "a chandelier", "pendant": "a ceiling lamp", "globe": "a ceiling lamp", "dome": "a ceiling lamp",
    "fan": "a ceiling fan",
}  # fmt: skip
#: by what there is: nothing, an armchair, a plain chair, both
SEATS = ("", "a {chair_colour} armchair", "a chair with a {chair_colour} seat", "chairs")


def wooden(name: str) -> str:
    """The name of a wood or paint, before a thing made of it.

    >>> wooden("dark wood"), wooden("white")
    ('dark wooden', 'white')
    """
    return name + "en" if name.endswith("wood") else name


def captions(a: dict[str, Any], counts: np.ndarray, hung: list[int]) -> tuple[str, str, str]:
    """The three grains; `counts` says how many pixels of each class a picture of 128 x 128 shows.

    `hung` lists the things that show a picture or a mirror.
    """
    kind = f"a photo of {article(a['kind'])} {a['kind']} bedroom"
    frame = wooden(a["frame"])
    covers = a["duvet"] + ("" if a["duvet_pattern"] == "plain" else f" {a['duvet_pattern']}")
    bed = f"{article(frame)} {frame} {a['bed_size']} bed with {covers} covers"
    if a["blanket"]:
        bed += f", {article(a['blanket'])} {a['blanket']} blanket"
    if counts[CLASS["pillow"]] >= LEAST:
        bed += f" and {a['pillow']} pillows"
    things = [f"{a['walls']} walls"]
    if counts[CLASS["floor"]] >= LEAST:
        things.append(f"{article(a['floor'])} {a['floor']} floor")
    pictures = [thing for thing in hung if thing not in a["mirrors"]]
    framed = "pictures" if len(pictures) > 1 else "a picture" if pictures or not hung else "a mirror"
    words = {**a, "wardrobe_colour": wooden(a["wardrobe_colour"]), "hanging": HANGING.get(a["ceiling_lamp"])}
    words |= {"framed": framed, "seat": SEATS[bool(a["armchair"]) + 2 * bool(a["plain_chair"])].format(**a)}
    for name, phrase in NAMED.items():
        if counts[CLASS[name]] >= LEAST:
            text = phrase.format(**words)
            things.append(re.sub(r"\ba (?=[aeiou])", "an ", text))
    lit = " with the lamps lit" if a["lit"] and a["time"] != "day" else ""
    return "a photo", kind, f"{kind} with {bed}, {VIEWS[a['bed_wall']]}, {', '.join(things)}, {WHEN[a['time']]}{lit}"


def words() -> list[str]:
    """Every word that a bedroom's caption can hold, sorted.

    >>> "pillows" in words() and "chandelier" in words()
    True
    """
    text = "a an and with photo of bedroom bed covers blanket pillows walls floor single double lamps lit the"
    found = {*text.split(), *KINDS, *COLOURS, *TIMES, "striped", "checked", "dotted", "patched"}
    phrases = (
        *VIEWS.values(),
        *WHEN.values(),
        *HANGING.values(),
        *FLOORS,
        *map(wooden, WOODS),
        "a mirror",
        "pictures",
        "a picture",
    )
    for phrase in (*phrases, *NAMED.values(), *SEATS):
        found |= {word for word in phrase.split() if "{" not in word}
    return sorted(found)
