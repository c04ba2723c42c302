"""Class prompts: of models that take a class in place of a text, by its name or its number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shiftless.conditions.config import AGAIN, read_config, short
from shiftless.errors import BadInput


def read_labels(home: Path | None, count: int) -> dict[str, tuple[int, ...]]:
    """Return the names of a model's classes, in lower case, and the classes that bear each.

    home   the model's folder, whose model_index.json may list them as "id2label"; or None
    count  how many classes the model has

    Raises BadInput for a broken list.

    >>> read_labels(None, 1000)
    {}
    """
    path = None if home is None else home / "model_index.json"
    listed = read_config(path).get("id2label") or {} if path is not None and path.is_file() else {}
    known = {str(i) for i in range(count)}
    if not isinstance(listed, dict) or not all(k in known and isinstance(v, str) for k, v in listed.items()):
        raise BadInput(f"{path}: 'id2label' is {short(listed)}; it must give a name for each class; {AGAIN}")
    labels: dict[str, tuple[int, ...]] = {}
    for number, names in listed.items():
        for name in names.split(","):
            labels[name.strip().lower()] = (*labels.get(name.strip().lower(), ()), int(number))
    return labels


def class_of_prompt(
    prompt: str, labels: Mapping[str, tuple[int, ...]], count: int, model: str, *, null: int | None = None
) -> int:
    """Return the class that a prompt stands for: a name, a number, or "" for the class that stands for none.

    labels  what `read_labels` gives
    count   how many classes the model has
    model   its name, for messages
    null    the class that stands for none, or None for a model that was trained without one

    Raises BadInput for a prompt that names no class, or several.

    >>> class_of_prompt("Tabby", {"tabby": (281,)}, 1000, "dit"), class_of_prompt("", {}, 1000, "dit", null=1000)
    (281, 1000)
    """
    name = prompt.strip().lower()
    numbers = labels.get(name, (int(name),) if name.isdecimal() and len(name) < 10 else ())
    if not name and null is not None:
        numbers = (null,)
    if len(numbers) > 1:
        raise BadInput(f"{model}: {prompt!r} names the classes {numbers}; give the number of one")
    if not numbers or not (numbers[0] == null or 0 <= numbers[0] < count):
        named = "the name of one, as its model_index.json spells it, " if labels else ""
        given = f"{prompt!r} is none" if name else "it got none"
        ways = [f"{named}a number from 0 to {count - 1}", *(["no prompt"] if null is not None else [])]
        raise BadInput(f"{model}: the prompt of this model is a class, and {given}; give {', or '.join(ways)}")
    return numbers[0]
