"""`--dry-run`: what reading photos would take on disk and how long, from the sizes of some and the reading of three."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shiftless.cli.answer import say, show
from shiftless.progress import count, duration, notice

if TYPE_CHECKING:
    from shiftless.backbones.base import Backbone
    from shiftless.recipe import Recipe
    from shiftless.store.size import Size

SAMPLE = 3


def rehearse(model: Backbone, paths: Sequence[Any], recipes: Sequence[Recipe], size: Size, **options: Any) -> None:
    """Print the table of maps, the space on disk and the time that photos will take; nothing is written.

    Raises BadInput if none of the three photos, which lie evenly in the list, can be read.
    """
    from rich.table import Table

    from shiftless.data.video import decoded
    from shiftless.errors import BadInput
    from shiftless.reading import stream
    from shiftless.store.size import in_bytes

    table = Table(title=f"{count(size.photos, 'photo')}, {count(size.maps, 'map')} of each in {size.dtype}")
    for column in ("tap", "bytes a photo", "bytes in all"):
        table.add_column(column, justify="left" if column == "tap" else "right")
    for tap, each in size.taps:
        table.add_row(tap, in_bytes(each), in_bytes(each * size.photos))
    show(table, 100)
    say(str(size))
    sample = list(paths[:: -(-len(paths) // SAMPLE)])
    notice(f"reading {count(len(sample), 'photo')} to see how long it takes")
    skipped: list[str] = []
    begun = time.monotonic()
    done = sum(1 for _ in stream(model, decoded(sample), list(recipes), dtype=None, skipped=skipped, **options))
    seconds = time.monotonic() - begun
    if not done:
        raise BadInput(skipped[0])
    left = size.photos - (size.there // size.each if size.each else 0)
    say(
        f"time: about {duration(seconds / done * left)} for {count(left, 'photo')} that {'is' if left == 1 else 'are'} "
        f"not there ({count(done, 'photo')} took {seconds:.2g} s on {model.device})"
    )
