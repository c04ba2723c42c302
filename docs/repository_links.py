"""A hook of mkdocs: links to files of the repository that are no pages lead to the repository."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Point `](../FILE)` at the repository's own copy of the file."""
    return _OUTSIDE.sub(rf"]({config['extra']['repository']}/blob/main/\1)", markdown)
