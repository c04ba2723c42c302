"""The demo: features, matches and content shift, explained with pictures in one folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from shiftless.recipe import Recipe


def run(
    out: str | os.PathLike[str],
    photos: Sequence[str] = (),
    *,
    model: Any = "mini",
    prompt: str = "",
    recipe: Recipe | None = None,
    quick: bool = False,
    console: Console | None = None,
) -> Path:
    """Write the whole demo, pictures and page, into the folder `out` and return its index.html.

    photos   two pictures of the user's, in place of drawn ones
    model    a name for `shiftless.load`, or a loaded backbone
    prompt   what is in the photos, to see what a prompt saves
    recipe   how features are read; by default the recipe that `shiftless` uses for this model
    quick    fewer pictures and pairs: for a first look, and for tests
    console  where progress is printed; by default the terminal

    Raises BadInput for photos that cannot be read, any number of them but two or none, and a folder that cannot be
    written.
    """
    from miniworld.demo.story import tell

    return tell(Path(out), photos, model=model, prompt=prompt, recipe=recipe, quick=quick, console=console)
