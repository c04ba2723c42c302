"""The loop that reads photos into a folder or a store: threads open them ahead of the model, one writes behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.features import Bucket
from shiftless.image import open_photo
from shiftless.reading.ahead import Ahead
from shiftless.reading.extraction import stream
from shiftless.reading.inputs import Inputs
from shiftless.reading.loop import WindowEnd
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe
from shiftless.store.behind import Behind
from shiftless.store.folder import FeatureFolder
from shiftless.store.writer import StoreWriter


@dataclass
class Extracted:
    """What became of photos.

    done     how many were read     there  how many needed no reading
    failed   a line for each that could not be read, in their order
    widened  maps that were saved in fp32 because they hold values beyond the range of fp16
    """

    done: int = 0
    there: int = 0
    failed: list[str] = field(default_factory=list)
    widened: int = 0


def extract_into(
    target: FeatureFolder | StoreWriter,
    model: Backbone,
    photos: Iterable[Any],
    recipes: Sequence[Recipe],
    *,
    batch: int,
    fill: Fill | None = None,
    threads: int = 0,
    skip: Callable[[], object] = lambda: None,
    read: Callable[[Bucket], object] = lambda bucket: None,
) -> Extracted:
    """Read photos that a target lacks and write their features into it; the target is left open.

    photos   what `open_photo` takes; WINDOW_END of `shiftless.reading.loop` among them ends a batch
    batch    how many noisy latents the model sees at once
    threads  that decode, digest and resize photos and draw their noise ahead of the model; another one then writes
             features behind it. 0 does everything in turn. What is written is the same to the bit.
    skip     called for each photo that is not read: it is there already, or cannot be read
    read     called with each bucket before it is written

    A photo that cannot be read is left out. Memory is that of two batches and of `threads` photos. Raises BadInput as
    `shiftless.stream` does, and where the target cannot be written.

    >>> import tempfile
    >>> from shiftless.backbones.registry import load
    >>> model, recipes = load("twin:sd15"), [Recipe()]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = FeatureFolder(folder, model, recipes)
    ...     extract_into(target, model, ["nowhere.jpg"], recipes, batch=4, threads=1)
    Extracted(done=0, there=0, failed=['nowhere.jpg: no such file; check the path'], widened=0)
    """
    result, widened = Extracted(), target.widened
    target.hold()
    options: dict[str, Any] = {"fill": fill, "batch": batch, "dtype": None, "skipped": result.failed}
    with Ahead(threads) as ahead, Behind(target, batch if threads else 0) as behind:
        unread = unread_inputs(target, model, photos, recipes, ahead, batch, result, skip)
        for bucket in stream(model, unread, list(recipes), **options):
            read(bucket)
            behind.write(bucket)
            result.done += 1
    result.widened = target.widened - widened
    return result


def unread_inputs(
    target: FeatureFolder | StoreWriter,
    model: Backbone,
    photos: Iterable[Any],
    recipes: Sequence[Recipe],
    ahead: Ahead,
    batch: int,
    result: Extracted,
    skip: Callable[[], object] = lambda: None,
) -> Iterator[Inputs | WindowEnd]:
    """Yield the inputs of photos that a target lacks, claimed, in order; the others go into the result.

    ahead  the threads that open photos and prepare their inputs, at most `batch` and two a thread beyond the one that
           was asked for

    Other arguments are those of `extract_into`.
    """

    def opened(source: Any) -> Inputs | BadInput | WindowEnd:
        if isinstance(source, WindowEnd):
            return source
        try:
            inputs = Inputs(open_photo(source), model.device)
            return inputs if not ahead.threads or target.holds(inputs.photo) else inputs.prepare(model.spec, recipes)
        except BadInput as error:
            return error

    for one in ahead.map(opened, photos, batch + 2 * ahead.threads):
        if isinstance(one, WindowEnd):
            yield one
            continue
        try:
            if isinstance(one, BadInput):
                raise one
            claimed = target.claim(one.photo)
        except BadInput as error:
            result.failed.append(str(error))
            skip()
            continue
        if claimed:
            yield one
        else:
            result.there += 1
            skip()
