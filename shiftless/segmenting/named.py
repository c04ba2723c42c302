"""NamedClasses: what the segmentors share that take CLIP's classes by their names, a photo at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from shiftless.errors import BadInput
from shiftless.progress import count, reporting
from shiftless.tasks.parts import Parts


class NamedClasses(ABC):
    """A segmentor into `classes`, which are given by their names."""

    classes: tuple[str, ...]

    @abstractmethod
    def segment(self, photo: Any) -> Parts:
        """Say what each pixel of a photo shows; raises BadInput for one that cannot be read."""

    def segmented(
        self, photos: Sequence[Any], *, skipped: list[str] | None = None, progress: bool = False
    ) -> Iterator[Parts]:
        """Yield each photo's parts, in order; one that cannot be read is left out, and `skipped` gets its message."""
        doing = f"segmenting {count(len(photos), 'photo')} by {count(len(self.classes), 'name')}"
        with reporting(progress, doing, len(photos), "photo") as report:
            for photo in photos:
                try:
                    yield self.segment(photo)
                except BadInput as error:
                    if skipped is None:
                        raise
                    skipped.append(str(error))
                report(1)
