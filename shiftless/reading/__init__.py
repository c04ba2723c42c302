"""The one loop: (model, images, recipes) -> FeatureMaps, sharing what recipes share."""

from shiftless.reading.extraction import extract, stream

__all__ = ["extract", "stream"]
