"""The one loop: (model, images, recipes) -> FeatureMaps, sharing what recipes share."""

from shiftless.reading.loop import extract, stream

__all__ = ["extract", "stream"]
