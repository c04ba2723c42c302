"""Prompt templates: `a photo of a {category}, {caption}`, filled for each image."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shiftless.errors import BadInput

AUTO = "auto"
CAPTION = "caption"
_FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


def template(prompt: str) -> str:
    """Return the template that a recipe's prompt stands for: "auto" is "{caption}".

    >>> template("auto"), template("a photo")
    ('{caption}', 'a photo')
    """
    return f"{{{CAPTION}}}" if prompt == AUTO else prompt


def fields_of(prompt: str) -> tuple[str, ...]:
    """List the fields that a prompt asks for, in order; braces around anything but a lower-case name are text.

    >>> fields_of("a photo of a {category}, {caption}"), fields_of("{Not} {a field!}")
    (('category', 'caption'), ())
    """
    return tuple(dict.fromkeys(_FIELD.findall(template(prompt))))


def fill(prompt: str, values: Mapping[str, str], photo: str = "image") -> str:
    """Put a photo's values into a prompt's fields; raises BadInput for a field that has no
    value, and for text that is not UTF-8.

    >>> fill("a photo of a {category}", {"category": "horse"})
    'a photo of a horse'
    """
    missing = [name for name in fields_of(prompt) if name not in values]
    if missing:
        raise BadInput(
            f"{photo}: the prompt {prompt!r} asks for {{{missing[0]}}}; give it a value (fill={{{missing[0]!r}: ...}}, "
            f"or --fill {missing[0]}=...)"
        )
    filled = _FIELD.sub(lambda match: str(values[match[1]]), template(prompt))
    if any("\ud800" <= letter <= "\udfff" for letter in filled):
        raise BadInput(f"{photo}: the prompt {filled!r} holds bytes that are not UTF-8 text; write it in UTF-8")
    return filled
