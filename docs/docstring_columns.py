"""An extension of griffe: paragraphs of docstrings that are laid out in columns keep their lines on the API pages."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_COLUMNS = re.compile(r"^(\w[\w, ]*|\w+=.*)\s{2,}\S", re.MULTILINE)  # "batch    how many latents", below each other


class DocstringColumns(Extension):
    """Fence columns, so that Markdown leaves their lines as they are."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change an object's docstring before it is rendered."""
        if obj.docstring:
            obj.docstring.value = columns_kept(obj.docstring.value)


def columns_kept(docstring: str) -> str:
    """Fence each paragraph of columns, and each example, so that Markdown leaves its lines as they are.

    >>> print(columns_kept("Read.\\n\\nsize   in pixels\\nbatch  at once"))
    Read.
    <BLANKLINE>
    ```text
    size   in pixels
    batch  at once
    ```
    """
    parts = re.split(r"\n{2,}", docstring.strip("\n"))
    return "\n\n".join(_fenced(part) for part in parts)


def _fenced(part: str) -> str:
    if part.lstrip().startswith(">>>"):
        return f"```pycon\n{part}\n```"
    return f"```text\n{part}\n```" if _COLUMNS.search(part) else part
