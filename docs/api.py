"""Write the API pages from the docstrings: python docs/api.py FOLDER (needs the extra "docs")."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

MODULES = ("shiftless", "shiftless.presets", "shiftless.training.lora")  # and what their __all__ lists
_COLUMNS = re.compile(r"^(\w[\w, ]*|\w+=.*)\s{2,}\S", re.MULTILINE)  # "batch    how many latents", below each other


def main(out: Path) -> None:
    """Write one page a module, and an index."""
    import pdoc
    import pdoc.render

    import shiftless

    for name in shiftless.__all__:  # loaded when first used, and pdoc looks without using
        setattr(shiftless, name, getattr(shiftless, name))
    warnings.filterwarnings("error", message="Found .* in .*__all__")
    warnings.filterwarnings("ignore", message="Error parsing type annotation")  # of a NamedTuple's own __init__
    converted = pdoc.render.env.filters["to_markdown"]

    def to_markdown(context, docstring: str) -> str:  # type: ignore[no-untyped-def]
        return converted(context, columns_kept(docstring))

    to_markdown.jinja_pass_arg = converted.jinja_pass_arg  # type: ignore[attr-defined]
    pdoc.render.env.filters["to_markdown"] = to_markdown
    pdoc.render.configure(docformat="markdown", footer_text=f"shiftless {shiftless.__version__}")
    pdoc.pdoc(*MODULES, output_directory=out)


def columns_kept(docstring: str) -> str:
    """Fence each paragraph that is laid out in columns, so that Markdown leaves its lines as they are.

    >>> print(columns_kept("Read.\\n\\nsize   in pixels\\nbatch  at once"))
    Read.
    <BLANKLINE>
    ```text
    size   in pixels
    batch  at once
    ```
    """
    parts = re.split(r"\n{2,}", docstring.strip("\n"))
    tables = (f"```text\n{part}\n```" if _COLUMNS.search(part) and ">>>" not in part else part for part in parts)
    return "\n\n".join(tables)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "site"))
