"""What is said of a street: nothing, that it is one, and everything worth saying."""

from __future__ import annotations

from typing import Any

from miniworld.world.captions import article
from miniworld.world.street.faces import Thing
from miniworld.world.street.people import CLOTHES
from miniworld.world.street.traffic import PAINTS

STREETS = {
    "town centre": "a street in a town centre", "suburb": "a street in a suburb", "avenue": "an avenue",
    "crossing": "a street crossing", "tram street": "a tram street", "industrial street": "an industrial street",
}  # fmt: skip
TIMES = {"day": "at noon", "morning": "in the morning", "dusk": "at dusk", "night": "at night"}
WEATHERS = {"clear": "", "cloudy": "under clouds", "rain": "in the rain", "fog": "in fog", "snow": "in the snow"}
NAMES = {"train": "tram"}
LONGEST = 46
"""Words and commas of the longest caption."""
SHARES = {"person": 0.0006, "rider": 0.0008, "bicycle": 0.0004, "motorcycle": 0.0004}
LEAST = 0.002
"""The share of the frame from which a thing is worth naming."""
_ORDER = ("train", "bus", "truck", "car", "motorcycle", "bicycle")


def seen(things: list[Thing], name: str) -> list[Thing]:
    """The things of a class that show enough to be named, the largest first."""
    least = SHARES.get(name, LEAST)
    return sorted((t for t in things if t.name == name and t.visible >= least), key=lambda t: -t.visible)


def _vehicle(thing: Thing) -> tuple[str, str]:
    """What is said of a vehicle, and the same in few words."""
    short = f"{article(thing.colour)} {thing.colour} {NAMES.get(thing.name, thing.name)}"
    if thing.place in ("left", "right"):
        return f"{short} parked on the {thing.place}", short
    return f"{short} {thing.place}", short


def _people(things: list[Thing]) -> list[tuple[str, str]]:
    people = seen(things, "person")
    crossing = [t for t in people if t.place == "crossing"]
    walking = [t for t in people if t.place != "crossing"]
    out = []
    if len(crossing) > 1:
        out.append(("people crossing the road", "people crossing"))
    elif crossing:
        out.append((f"a person in {crossing[0].colour} crossing the road", "a person crossing"))
    if len(walking) > 1:
        out.append(("people on the sidewalk", "people"))
    elif walking:
        out.append((f"a person in {walking[0].colour} on the sidewalk", "a person"))
    return out


def length(text: str) -> int:
    """Words and commas of a caption.

    >>> length("a photo of a street, with a red car")
    10
    """
    return len(text.replace(",", " ,").split())


def _joined(text: str, said: list[str]) -> str:
    if not said:
        return text
    return text + ", with " + (", ".join(said[:-1]) + " and " + said[-1] if len(said) > 1 else said[0])


def captions(a: dict[str, Any], things: list[Thing]) -> tuple[str, str, str]:
    """The three grains; every kind of vehicle and of people that shows enough is named, the largest of each first.

    A street with much in it has the last of it in fewer words, so that no caption is longer than LONGEST.
    """
    street = STREETS[a["kind"]]
    text = f"a photo of {street} {TIMES[a['time']]} {WEATHERS[a['weather']]}".rstrip()
    said = []
    riders = {t.place: t for t in reversed(seen(things, "rider"))}
    for name in _ORDER:
        shown = seen(things, name)
        if name in riders:
            on = f" on a {name}" if shown else ""  # else what is ridden is hidden
            said.append((f"a rider in {riders[name].colour}{on}", f"a rider{on}"))
        elif shown:
            said.append(_vehicle(shown[0]))
    said += _people(things)
    must = len(said)
    if a["trees"]:
        said.append(("trees on both sides" if len(a["trees"]) == 2 else f"trees on the {a['trees'][0]}", "trees"))
    if a["light_shown"]:
        said.append((f"a {a['traffic_light']} traffic light",) * 2)
    bend = "" if a["bend"] == "straight" else f", bending to the {a['bend']}"
    full = [long for long, _ in said]
    for i in range(len(said) - 1, 0, -1):
        if length(_joined(text + bend, full)) <= LONGEST:
            break
        full[i] = said[i][1]
    while length(_joined(text + bend, full)) > LONGEST and len(full) > must:
        full.pop()
    if length(_joined(text + bend, full)) > LONGEST:
        bend = ""
    return "a photo", f"a photo of {street}", _joined(text + bend, full)


def words() -> list[str]:
    """Every word that the captions of streets can hold, sorted.

    >>> "tram" in words(), len(words()) < 100
    (True, True)
    """
    text = (
        "a an photo of in at with and bending to the left right parked on crossing road ahead coming towards us person "
        "people sidewalk rider trees both sides red yellow green traffic light car bus truck tram "
        "motorcycle bicycle street"
    )
    out = {*text.split(), *PAINTS, *CLOTHES}
    for phrases in (STREETS, TIMES, WEATHERS):
        out |= {word for phrase in phrases.values() for word in phrase.split()}
    return sorted(out)
